"""The Clockwork RNN: modules that run at their own rates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import scaled_normal
from lstm_jax.errors import InputError


class ClockworkRNNParams(NamedTuple):
    input_kernel: jax.Array  # [input, hidden]
    connections: jax.Array  # [those that exist], entries of U, row by row
    bias: jax.Array  # [hidden]


class ClockworkRNNWeights(NamedTuple):
    input_kernel: jax.Array  # [input, hidden]
    recurrent_kernel: jax.Array  # [hidden, hidden]
    bias: jax.Array  # [hidden]


class ClockworkRNNCarry(NamedTuple):
    hidden: jax.Array  # [hidden]
    clock: jax.Array  # [], steps so far


def clockwork_rnn(input_size: int, hidden_size: int, *, modules: int = 8) -> Cell:
    """Clockwork RNN (Koutnik, Greff, Gomez & Schmidhuber 2014, "A clockwork RNN")::

        h_t[g] = tanh(x_t W[:, g] + h_{t-1} U[:, g] + b[g])    where t mod 2^g = 0, for module g
        h_t[g] = h_{t-1}[g]                                    at other steps

    Module g sees modules of its own and of longer periods: U is block-triangular, and only entries
    that exist are parameters. t is 0 at the first step, when every module runs.

    Args:
      input_size: features of one input.
      hidden_size: units, shared out to the modules as evenly as may be; also the size of the
        output, which is h_t.
      modules: how many, of periods 1, 2, 4 ...; no more than units. W ~ N(0, 1/input), entries of U
        N(0, 1/those of their column), b = 0 (the paper: all N(0, 0.01)).

    Raises:
      InputError: fewer than one module, or more than 30 (their clock would pass 32 bits).
    """
    if not 1 <= modules <= 30:
        raise InputError(f"modules={modules}: must be from 1 to 30")
    of_unit = np.arange(hidden_size) * min(modules, hidden_size) // hidden_size
    exists = of_unit[:, None] >= of_unit[None]
    rows, columns = (index.astype(np.int32) for index in np.nonzero(exists))
    periods = (2**of_unit).astype(np.int32)

    def init(key):
        input_key, recurrent_key = jax.random.split(key)
        draws = jax.random.normal(recurrent_key, (len(rows),))
        seen = jnp.asarray(exists.sum(0)[columns], draws.dtype)
        return ClockworkRNNParams(
            scaled_normal(input_key, input_size, hidden_size),
            draws / jnp.sqrt(seen),
            jnp.zeros(hidden_size),
        )

    def prepare(params):
        kernel = jnp.zeros((hidden_size, hidden_size), params.connections.dtype)
        kernel = kernel.at[rows, columns].set(params.connections)
        return ClockworkRNNWeights(params.input_kernel, kernel, params.bias)

    def initial_carry(weights):
        return ClockworkRNNCarry(jnp.zeros_like(weights.bias), jnp.zeros((), jnp.int32))

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def step(weights, carry, projected, dot=jnp.matmul):
        due = carry.clock % periods == 0
        moved = jnp.tanh(projected + dot(carry.hidden, weights.recurrent_kernel))
        hidden = jnp.where(due, moved, carry.hidden)
        # The longest period, after which all starts over, keeps the clock from ever overflowing.
        return ClockworkRNNCarry(hidden, (carry.clock + 1) % periods[-1]), hidden

    return Cell(init, initial_carry, project, step, hidden_size, prepare)
