"""Writes a small working cell to start from: `python -m lstm_jax.cells.new my_cell.py`.

Exit status 0 where the file was written, 2 where it was not; a file that exists is left alone.
"""

import keyword
import os
import sys

from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError

TEMPLATE = '''\
"""NAME: a tanh unit that leaks. Change `init`, `project` and `step` into your own cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import Cell


class Carry(NamedTuple):
    hidden: jax.Array  # [hidden]


def NAME(input_size: int, hidden_size: int, *, leak: float = -2.0) -> Cell:
    """h_t = h_{t-1} + sigmoid(a) (tanh(x_t W + h_{t-1} U + b) - h_{t-1}), where a starts at `leak`.

    All of this is for one example at one step. `NAME:leak=-4` sets an option in a sweep.
    """

    def init(key):  # what is trained
        input_key, recurrent_key = jax.random.split(key)
        draw = jax.nn.initializers.orthogonal()
        return {
            "input_kernel": draw(input_key, (input_size, hidden_size)),
            "recurrent_kernel": draw(recurrent_key, (hidden_size, hidden_size)),
            "bias": jnp.zeros(hidden_size),
            "leak": jnp.full(hidden_size, leak),
        }

    def initial_carry(weights):
        return Carry(hidden=jnp.zeros_like(weights["bias"]))

    def project(weights, inputs, key):  # what needs no carry; noise comes from the key, if any
        return inputs @ weights["input_kernel"] + weights["bias"]

    def step(weights, carry, projected, dot=jnp.matmul):  # the recurrence; its products through dot
        candidate = jnp.tanh(projected + dot(carry.hidden, weights["recurrent_kernel"]))
        hidden = carry.hidden + jax.nn.sigmoid(weights["leak"]) * (candidate - carry.hidden)
        return Carry(hidden), hidden

    return Cell(init, initial_carry, project, step, output_size=hidden_size)
'''


def write(path: str) -> str:
    """Writes the template under a name that is also the function's.

    Returns:
      The name.

    Raises:
      InputError: the name cannot be a function's, is taken, or the file exists or cannot be made.
    """
    name, extension = os.path.splitext(os.path.basename(path))
    if extension != ".py" or not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{path!r}: a cell file is named <function>.py, such as my_cell.py")
    if name in CELLS:
        raise InputError(f"{path!r}: the project has a cell {name} already: choose another name")
    if name in sys.modules or name in sys.stdlib_module_names:
        raise InputError(f"{path!r}: would hide the module {name}: choose another name")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(TEMPLATE.replace("NAME", name))
    except FileExistsError:
        raise InputError(f"{path!r}: exists already, and is left as it is") from None
    except OSError as error:
        raise InputError(f"{path!r}: cannot be written ({error.strerror})") from None
    return name


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m lstm_jax.cells.new my_cell.py", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        write(arguments[0])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {arguments[0]}. Next:")
    print(f"  python -m lstm_jax.cells.check {arguments[0]}")
    print(f"  python -m experiments.gap_sweep --cell_file={arguments[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
