"""Writes a small working cell to start from: `python -m lstm_jax.cells.new my_cell.py`.

Exit status 0 where the file was written, 2 where it was not; a file that exists is left alone.
"""

import sys

from lstm_jax.cells import CELLS
from lstm_jax.starter import Starter

TEMPLATE = '''\
"""NAME: a tanh unit that leaks. Change `init`, `project` and `step` into your own cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import Cell


class Carry(NamedTuple):
    hidden: jax.Array  # [hidden]


def NAME(input_size: int, hidden_size: int, *, leak: float = -2.0) -> Cell:
    """h_t = h_{t-1} + sigmoid(a) (tanh(x_t W + h_{t-1} U + b) - h_{t-1}); a starts at `leak`."""

    def init(key):  # what is trained; all is for one example at one step
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

STARTER = Starter("cell", TEMPLATE, CELLS)

if __name__ == "__main__":
    sys.exit(STARTER.main(sys.argv[1:]))
