"""What the commands of this package share: flags, exit statuses, files that are whole."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from lstm_jax.errors import InputError, MissingExtraError, first_line


class Parser(argparse.ArgumentParser):
    """Flags written out in full; a wrong one raises InputError, and `--help` is the docstring."""

    def __init__(self, module: str, doc: str):
        """A parser of the command `python -m lstm_jax.datasets.<module>`."""
        super().__init__(
            prog=f"python -m lstm_jax.datasets.{module}",
            description=doc,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def exit_status(body: Callable[[], None], directory: str) -> int:
    """Runs a command: 0; 2 where a person's input cannot be; 1 where files cannot be written.

    Args:
      body: the command.
      directory: what says where files go, for the message.
    """
    try:
        body()
    except (InputError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {directory}: {first_line(error)}", file=sys.stderr)
        return 1
    return 0


def write_whole(path: str, content: bytes) -> None:
    """Writes a file beside its place and renames it when it is whole."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "wb") as file:
        file.write(content)
    os.replace(beside, path)
