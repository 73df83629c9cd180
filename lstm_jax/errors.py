"""Errors that a person can mend: one line each, shown without a traceback."""


class InputError(ValueError):
    """A value that a person gave cannot be used; the message says which, and what is allowed."""


class MissingExtraError(ImportError):
    """An optional package is missing; the message says which extra to install."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs the extra '{extra}': pip install 'lstm_jax[{extra}]'")
