"""Checks a task against the contract: `python -m lstm_jax.tasks.check my_task.py`.

Prints one line for each broken clause. Exit status 0 where all hold, 1 where some are broken, 2
where the file cannot be used. `check_structure` is the quick part, for whoever runs a user's task.
"""

import contextlib
import inspect
import sys
import time
import typing
from collections.abc import Callable, Iterator

import jax

from lstm_jax.errors import BrokenClauseError, InputError, MissingExtraError, first_line
from lstm_jax.spec import Value, load_file, members, options_of
from lstm_jax.tasks.base import Task, with_floors
from lstm_jax.tasks.contract import CLAUSES, STRUCTURE, Case

# Gaps at which a task is looked at, until enough were possible. The larger ones are for tasks that
# have no small gap.
GAPS = (10, 25, 60, 150, 400)
BAD_GAPS = (0, -1, 1.5)


class Subject:
    """A constructor and its cases: the defaults at two gaps, and each word that an option can be,
    at one."""

    def __init__(self, constructor: Callable[..., Task]):
        """Builds the tasks and reads their data; nothing is drawn yet.

        Raises:
          BrokenClauseError: the constructor does not work as the contract says.
        """
        check_signature(constructor)
        self.cases: dict[str, Case] = {}
        for options in variations(constructor):
            words = "".join(f":{name}={value}" for name, value in options.items())
            build = _bound(constructor, options)
            data = None
            for gap in _possible_gaps(build, 1 if options else 2):
                task = build(gap)
                # A task reads the same data at each gap, though not with each option.
                data = _loaded(task) if data is None else data
                self.cases[f"{constructor.__name__}{words} at {gap}"] = _case(gap, task, data)

    def broken(self, clause: str) -> Iterator[str]:
        """One line for each case that breaks a clause."""
        for label, case in self.cases.items():
            message = _message(CLAUSES[clause], case)
            if message:
                yield f"{clause}: {label}: {message}"


def broken(constructor: Callable[..., Task]) -> list[str]:
    """Everything that is wrong with a task, one line each; empty where all clauses hold."""
    try:
        subject = Subject(constructor)
    except BrokenClauseError as error:
        return [str(error)]
    lines: list[str] = []
    for clause in CLAUSES:
        lines.extend(subject.broken(clause))
        # Values cannot be looked at where shapes are wrong, nor lags where times are.
        if lines and clause in ("fields", "shapes", "values", "times"):
            break
    return lines


def check(constructor: Callable[..., Task]) -> None:
    """The whole contract, in a few seconds.

    Raises:
      InputError: names the first clause that is broken, in one line.
      MissingExtraError: the task's data need a package that is not installed.
    """
    lines = broken(constructor)
    if lines:
        raise InputError(f"task breaks the contract: {lines[0]}")


def check_structure(build: Callable[[int], Task]) -> None:
    """The quick part of the contract, in under a second: fields, shapes and dtypes, and the values
    and times of examples.

    Args:
      build: gap -> Task, a constructor with its options given.

    Raises:
      InputError: names the clause that is broken.
      MissingExtraError: the task's data need a package that is not installed.
    """
    try:
        gap = next(_possible_gaps(build, 1))
        task = build(gap)
        case = _case(gap, task, _loaded(task))
    except BrokenClauseError as error:
        raise InputError(f"task breaks the contract: {error}") from None
    for name, clause in STRUCTURE.items():
        message = _message(clause, case)
        if message:
            raise InputError(f"task breaks the contract: {name}: at {gap}: {message}")


def check_signature(constructor: Callable[..., Task]) -> None:
    """The constructor takes `gap` first and then options by name only, and refuses bad gaps.

    Raises:
      BrokenClauseError: it does not.
    """
    parameters = list(inspect.signature(constructor).parameters.values())
    by_name = inspect.Parameter.KEYWORD_ONLY
    if not parameters or parameters[0].name != "gap" or parameters[0].kind is by_name:
        raise BrokenClauseError("signature: the first parameter must be `gap`")
    for parameter in parameters[1:]:
        if parameter.kind is not by_name:
            raise BrokenClauseError(f"signature: {parameter.name} must stand after `*`")
    try:
        options_of(constructor)
    except InputError as error:
        raise BrokenClauseError(f"signature: {error}") from None
    for gap in BAD_GAPS:
        try:
            constructor(gap)
        except InputError:
            continue
        except Exception as error:
            raise BrokenClauseError(
                f"signature: gap={gap} must raise InputError, not {first_line(error)}"
            ) from error
        raise BrokenClauseError(f"signature: gap={gap} must raise InputError")


def variations(constructor: Callable[..., Task]) -> list[dict[str, Value]]:
    """No option, then each word or truth value that an option can be but is not by default."""
    found: list[dict[str, Value]] = [{}]
    for name, option in options_of(constructor).items():
        words = [word for member in members(option.annotation) for word in _words(member)]
        found.extend({name: word} for word in words if word != option.default)
    return found


def _words(annotation) -> tuple:
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    return (True, False) if annotation is bool else ()


def _bound(constructor, options):
    return lambda gap: constructor(gap, **options)


def _possible_gaps(build: Callable[[int], Task], count: int) -> Iterator[int]:
    """The first `count` of GAPS that a constructor takes."""
    refused = ""
    for gap in GAPS:
        try:
            build(gap)
        except InputError as error:
            refused = str(error)
            continue
        except Exception as error:
            raise BrokenClauseError(f"construction: gap={gap}: {first_line(error)}") from error
        yield gap
        count -= 1
        if count == 0:
            return
    raise BrokenClauseError(f"construction: too few of the gaps {GAPS} are possible: {refused}")


def _loaded(task: Task):
    if not isinstance(task, Task):
        return ()  # for the clause `fields` to say
    try:
        return task.load()
    except (InputError, MissingExtraError):
        raise
    except Exception as error:
        raise BrokenClauseError(f"construction: load fails: {first_line(error)}") from error


def _case(gap, task, data) -> Case:
    if not isinstance(task, Task):
        return Case(gap, task, data)
    try:
        return Case(gap, with_floors(task, data), data)
    except InputError:
        raise
    except Exception as error:
        raise BrokenClauseError(f"construction: floors fails: {first_line(error)}") from error


def _message(clause, case) -> str:
    """What is broken, or nothing."""
    with contextlib.ExitStack() as strict:
        strict.enter_context(jax.numpy_dtype_promotion("strict"))
        strict.enter_context(jax.numpy_rank_promotion("raise"))
        try:
            clause(case)
        except BrokenClauseError as error:
            return str(error)
        except Exception as error:
            return f"fails with {first_line(error)}"
    return ""


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m lstm_jax.tasks.check my_task.py", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    start = time.perf_counter()
    try:
        task_file = load_file(arguments[0], "task")
        lines = broken(task_file.constructor)
    except (InputError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in lines:
        print(line)
    if lines:
        return 1
    seconds = time.perf_counter() - start
    print(f"{task_file.name}: all {len(CLAUSES) + 1} clauses hold ({seconds:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
