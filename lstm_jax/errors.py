"""Errors that a person can mend: one line each, shown without a traceback."""


class InputError(ValueError):
    """A value that a person gave cannot be used; the message says which, and what is allowed."""


class MissingExtraError(ImportError):
    """An optional package is missing; the message says which extra to install."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs the extra '{extra}': pip install 'lstm_jax[{extra}]'")


class BrokenClauseError(Exception):
    """A cell or a task breaks a clause of its contract; the message says how."""


def require(holds: object, message: str) -> None:
    """Raises BrokenClauseError with this message unless something holds."""
    if not holds:
        raise BrokenClauseError(message)


def require_among(name: str, value: object, allowed: tuple) -> None:
    """Raises InputError, in one line, where `value` is not among `allowed`."""
    if value not in allowed:
        raise InputError(f"{name}={value}: allowed are {', '.join(map(str, allowed))}")


def first_line(error: BaseException) -> str:
    """Type and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def printable(text: str, most: int = 1000) -> str:
    """Text from a stranger as it is safe to print: no control characters, and not without end."""
    return "".join(char if char.isprintable() else "?" for char in text[:most])
