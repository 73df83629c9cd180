"""Checks a cell against the contract: `python -m lstm_jax.cells.check my_cell.py`.

Takes a file, or a cell of the project by name, with or without options::

    python -m lstm_jax.cells.check my_cell.py
    python -m lstm_jax.cells.check my_cell.py my_cell:gain=2
    python -m lstm_jax.cells.check lstm:init=chrono

Prints one line for each broken clause. Exit status 0 where all hold, 1 where some are broken, 2
where the file or the words cannot be used. `check_structure` is the quick part, for whoever runs a
user's cell.
"""

import contextlib
import sys
import time
import typing
from collections.abc import Callable
from functools import partial

import jax

from lstm_jax import backend
from lstm_jax.cells import CELLS, fading
from lstm_jax.cells.base import Cell
from lstm_jax.cells.case import Case
from lstm_jax.cells.clauses import CLAUSES
from lstm_jax.cells.sketch import Sketch
from lstm_jax.cells.structure import STRUCTURE, signature
from lstm_jax.errors import BrokenClauseError, InputError, first_line
from lstm_jax.spec import Value, load_file, options_of, parse

_USAGE = "usage: python -m lstm_jax.cells.check my_cell.py [my_cell:option=value]"
_GAP = 100  # what an option that is told the gap is told here


def check_structure(build: Callable[..., Cell]) -> None:
    """The quick part of the contract, by tracing alone: nothing is compiled.

    Args:
      build: `(input_size, hidden_size) -> Cell`, a constructor, or one with its options given.

    Raises:
      InputError: names the clause that is broken, in one line.
    """
    lines = broken_structure(build)
    if lines:
        raise InputError(f"cell breaks the contract: {lines[0]}")


def check(build: Callable[..., Cell]) -> None:
    """The whole contract, in a few seconds.

    Args:
      build: as for `check_structure`.

    Raises:
      InputError: names the first clause that is broken, in one line.
    """
    lines = broken(build)
    if lines:
        raise InputError(f"cell breaks the contract: {lines[0]}")


def broken_structure(build: Callable[..., Cell]) -> list[str]:
    """The first of the quick clauses that is broken, as a line; nothing where all hold.

    One at a time, for what comes later stands on what comes before.
    """
    line = message("signature", signature, build)
    if line:
        return [line]
    try:
        sketch = Sketch(build)
    except BrokenClauseError as error:
        return [f"construction: {error}"]
    for name, clause in STRUCTURE.items():
        line = message(name, clause, sketch)
        if line:
            return [line]
    return []


def broken(build: Callable[..., Cell]) -> list[str]:
    """Everything that is wrong with a cell, one line each; empty where all clauses hold.

    Args:
      build: as for `check_structure`.
    """
    lines = broken_structure(build)
    if lines:
        return lines
    case = Case(build)
    for name, clause in CLAUSES.items():
        line = message(name, clause, case)
        reason = line.partition(": ")[2]
        # What stops several clauses is said once.
        if line and reason not in [said.partition(": ")[2] for said in lines]:
            lines.append(line)
    return lines


def message(name: str, clause: Callable, subject: object) -> str:
    """`name: what is broken`, or nothing. Promotion is a clause of its own, so free in the rest."""
    with contextlib.ExitStack() as free:
        free.enter_context(jax.numpy_dtype_promotion("standard"))
        free.enter_context(jax.numpy_rank_promotion("allow"))
        try:
            clause(subject)
        except BrokenClauseError as error:
            return f"{name}: {error}"
        except Exception as error:
            return f"{name}: fails with {first_line(error)}"
    return ""


def variations(constructor: Callable[..., Cell]) -> list[dict[str, Value]]:
    """Each word or truth value that an option can be but is not by default, one at a time.

    Those that the constructor refuses without the company of another option are left out.
    """
    found = []
    for name, option in options_of(constructor).items():
        words = typing.get_args(option.annotation)
        if typing.get_origin(option.annotation) is not typing.Literal:
            words = (True, False) if option.annotation is bool else ()
        for word in words:
            if word == option.default:
                continue
            with contextlib.suppress(InputError):
                Sketch(partial(constructor, **{name: word}))
                found.append({name: word})
    return found


def label(name: str, options: dict[str, Value]) -> str:
    """A cell and its options in a word: `lstm:init=chrono`."""
    return ":".join([name, *(f"{option}={value}" for option, value in options.items())])


def _read(file_or_spec: str, spec_of_file: str | None = None):
    """Name and constructor of what is asked for, and whether its options were given."""
    known, text = CELLS, file_or_spec
    if file_or_spec.endswith(".py"):
        user_file = load_file(file_or_spec, "cell")
        known = {user_file.name: user_file.constructor}
        text = spec_of_file or user_file.name
    elif spec_of_file is not None:
        raise InputError(f"{file_or_spec!r}: a cell file is named <function>.py")
    if text in known:
        return text, known[text], False
    spec = parse(text, known, "cell")
    return str(spec), partial(known[spec.name], **spec.arguments(gap=_GAP)), True


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print(_USAGE, file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    started = time.perf_counter()
    try:
        name, build, given = _read(*arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with contextlib.suppress(OSError):  # without a cache it is only slower
        backend.set_up(backend.default_compile_cache())
    lines = broken(build)
    others = [] if lines or given else variations(build)
    for options in others:
        found = broken_structure(partial(build, **options))
        lines.extend(f"{label(name, options)}: {line}" for line in found)
    for line in lines:
        print(line)
    if lines:
        if not broken_structure(build):  # it runs, so that its gradient can be looked at
            print(fading.describe(build))
        return 1
    clauses = len(STRUCTURE) + len(CLAUSES) + 1
    seconds = time.perf_counter() - started
    print(f"{name}: all {clauses} clauses hold ({seconds:.1f} s)")
    print(fading.describe(build))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
