"""What all commands share: flags that say what they allow, and errors of one line.

Exit status: 0 done, or stopped by SIGTERM with everything saved (a machine that is taken away); 1
something went wrong on the way; 2 the command line cannot be used; 130 stopped by Ctrl-C, with
everything saved.
"""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator

from absl import flags

from lstm_jax.errors import InputError, MissingExtraError
from lstm_jax.results import ResultsWarning

INTERRUPTED = 130


class Number(flags.ArgumentParser):
    """A number above a bound, or from it on, up to another."""

    def __init__(self, least: float, *, whole: bool, above: bool = False, most: float = 1e9):
        self._least, self._whole, self._above, self._most = least, whole, above, most
        self.syntactic_help = self._allowed()

    def _allowed(self) -> str:
        kind = "a whole number" if self._whole else "a number"
        least = f"{kind} {'above' if self._above else 'of at least'} {self._least:g}"
        return f"{least} and at most {self._most:,.0f}"

    def parse(self, argument):
        """The number; ValueError says what is allowed."""
        try:
            value = int(argument) if self._whole else float(argument)
        except (ValueError, TypeError):
            raise ValueError(f"must be {self._allowed()}") from None
        enough = value > self._least if self._above else value >= self._least
        if not enough or value > self._most:
            raise ValueError(f"must be {self._allowed()}")
        return value


class ListOf(flags.ArgumentParser):
    """Comma-separated values, at least one, none twice."""

    def __init__(self, item: flags.ArgumentParser | None = None):
        self._item = item
        self.syntactic_help = "a comma-separated list"

    def parse(self, argument):
        """The values; ValueError says what is wrong."""
        if not isinstance(argument, str):
            return argument
        parts = [part.strip() for part in argument.split(",")]
        if parts == [""]:
            raise ValueError("is empty: give at least one")
        values = []
        for part in parts:
            if not part:
                raise ValueError("has an empty item")
            value = part
            if self._item is not None:
                try:
                    value = self._item.parse(part)
                except ValueError as error:
                    raise ValueError(f"{part!r}: each {error}") from None
            if value in values:
                raise ValueError(f"{part!r} is given twice")
            values.append(value)
        return values


class Words(flags.ArgumentParser):
    """One of some words."""

    def __init__(self, allowed: tuple[str, ...]):
        self._allowed = allowed
        self.syntactic_help = "one of " + ", ".join(allowed)

    def parse(self, argument):
        """The word; ValueError says which are allowed."""
        if argument not in self._allowed:
            raise ValueError(f"allowed are {', '.join(self._allowed)}")
        return argument


class Flags(flags.FlagValues):
    """The flags of one command, apart from those of all others, so that two commands may be
    imported together."""

    def __init__(self):
        """With `--help` alone."""
        super().__init__()
        self.define("help", False, "prints this and ends", flags.BooleanParser())

    def define(self, name: str, default, text: str, parser: flags.ArgumentParser | None = None):
        """Adds a flag; text if no parser is given. Returns its holder."""
        if isinstance(parser, flags.BooleanParser):
            flag = flags.BooleanFlag(name, default, text)
            flag.parser = parser
            return flags.DEFINE_flag(flag, flag_values=self)
        parser = parser or flags.ArgumentParser()
        return flags.DEFINE(parser, name, default, text, flag_values=self)


class TrueOrFalse(flags.BooleanParser):
    """true or false."""

    def parse(self, argument):
        """The value; ValueError says what is allowed."""
        try:
            return super().parse(argument)
        except (TypeError, ValueError):
            raise ValueError("must be true or false") from None


TRUE_OR_FALSE = TrueOrFalse()


@contextlib.contextmanager
def naming(flag: str) -> Iterator[None]:
    """Puts the flag's name before the message of an InputError raised inside."""
    try:
        yield
    except MissingExtraError as error:
        raise InputError(f"--{flag}: {error}") from error
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith("--") else f"--{flag}: {message}") from error


class Interrupt:
    """Ctrl-C or SIGTERM asks for a stop between chunks; a second one ends at once. Call it to ask
    whether to stop; use as a context manager.

    Attributes:
      status: exit status that the command should end with, if nothing else went wrong.
    """

    def __init__(self, said: str = "stopping after this chunk; again to stop at once"):
        """With what is said when a stop is asked."""
        self.status = 0
        self._said = said
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self):
        self._before = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        del frame
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self.status = INTERRUPTED if number == signal.SIGINT else 0
        if self._said:
            print(self._said, file=sys.stderr, flush=True)


def run(main: Callable[[], int | None], own: Flags, about: str) -> None:
    """Parses flags, calls `main`, and exits; every expected error is one line on standard error.

    Args:
      main: the command; returns its exit status, None for 0.
      own: its flags.
      about: what `--help` says first.
    """
    warnings.showwarning = _show_warning
    sys.unraisablehook = show_unraisable
    try:
        extra = own(sys.argv)[1:]
        if extra:
            raise InputError(f"{extra[0]!r} is not a flag: write --flag=value")
        if own["help"].value:
            print(f"{about.strip()}\n{own.get_help()}")
            sys.exit(0)
        status = main() or 0
    except flags.UnrecognizedFlagError as error:
        status = _fail(f"--{error.flagname}: not a flag; --help lists them all", 2)
    except (flags.Error, InputError, MissingExtraError) as error:
        status = _fail(error, 2)
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        status = _fail(error, 1)
    except KeyboardInterrupt:
        status = _fail("stopped at once; run the same command to go on", INTERRUPTED)
    sys.exit(status)


def _fail(error: object, status: int) -> int:
    line = " ".join(str(error).split()).removeprefix("flag ")
    print(f"error: {line}", file=sys.stderr, flush=True)
    return status


def show_unraisable(what: "sys.UnraisableHookArgs") -> None:
    """A hook that tells everything but this: once a write has failed, TensorStore says of each
    other one, with a traceback, that nobody waits for it. The first is told as an error."""
    error = what.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        sys.__unraisablehook__(what)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Our own warnings are lines for a person; others keep their form."""
    del file, line
    if issubclass(category, ResultsWarning):
        print(f"warning: {message}", file=sys.stderr, flush=True)
    else:
        print(warnings.formatwarning(message, category, filename, lineno), file=sys.stderr, end="")
