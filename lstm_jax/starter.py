"""Writes a small working file for the author of a cell or a task to start from."""

import keyword
import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from lstm_jax.errors import InputError


class Starter(NamedTuple):
    """What is written, and for whom.

    Attributes:
      what: `cell` or `task`.
      template: the file, with NAME where the function's name goes.
      registry: built-in constructors, whose names are taken.
    """

    what: str
    template: str
    registry: Mapping[str, object]

    def write(self, path: str) -> str:
        """Writes the template under a name that is also the function's.

        Returns:
          The name.

        Raises:
          InputError: the name cannot be used or is taken, or the file exists or cannot be made.
        """
        name, extension = os.path.splitext(os.path.basename(path))
        if extension != ".py" or not name.isidentifier() or keyword.iskeyword(name):
            raise InputError(
                f"{path!r}: a {self.what} file is named <function>.py, such as my_{self.what}.py"
            )
        if name in self.registry:
            raise InputError(
                f"{path!r}: there is a {self.what} {name} already: choose another name"
            )
        if name in sys.modules or name in sys.stdlib_module_names:
            raise InputError(f"{path!r}: would hide the module {name}: choose another name")
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(self.template.replace("NAME", name))
        except FileExistsError:
            raise InputError(f"{path!r}: exists already, and is left as it is") from None
        except OSError as error:
            raise InputError(f"{path!r}: cannot be written ({error.strerror})") from None
        return name

    def main(self, arguments: list[str]) -> int:
        """The command; returns its exit status, 2 where no file was written."""
        if len(arguments) != 1 or arguments[0].startswith("-"):
            usage = f"usage: python -m lstm_jax.{self.what}s.new my_{self.what}.py"
            print(usage, file=sys.stderr)
            return 0 if arguments in (["-h"], ["--help"]) else 2
        try:
            self.write(arguments[0])
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"wrote {arguments[0]}. Next:")
        print(f"  python -m lstm_jax.{self.what}s.check {arguments[0]}")
        print(f"  python -m experiments.gap_sweep --{self.what}_file={arguments[0]}")
        return 0
