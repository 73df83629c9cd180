"""IndRNN: every unit sees only itself."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import DEFAULT_TIME_SCALE, require_positive, scaled_normal
from lstm_jax.errors import InputError

_LARGEST_LOG_BOUND = math.log(100)


class IndRNNParams(NamedTuple):
    input_kernel: jax.Array  # [input, hidden]
    recurrent: jax.Array  # [hidden]; u = limit tanh(recurrent)
    bias: jax.Array  # [hidden]


class IndRNNCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def indrnn(
    input_size: int,
    hidden_size: int,
    *,
    time_scale: float = DEFAULT_TIME_SCALE,
    magnitude: float = 2.0,
) -> Cell:
    """IndRNN (Li, Li, Cook, Zhu & Gao 2018, "Independently recurrent neural network")::

        h_t = relu(x_t W + u h_{t-1} + b),  |u| <= magnitude^(1/T)

    The paper cuts u back to its bound after each update. Here u = bound tanh(v) and v is trained,
    so that the bound holds without a step outside the gradient.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      time_scale: T, in steps; default 200, one scale for every gap.
      magnitude: what a unit may grow a signal by over T steps. W ~ N(0, 1/input), u ~ U(0, 1), as
        the paper starts layers that need not keep everything, b = 0.

    Raises:
      InputError: an option that is not a finite number above 0, or a bound outside 0.01 to 100.
    """
    require_positive("time_scale", time_scale)
    require_positive("magnitude", magnitude)
    if abs(math.log(magnitude)) / time_scale > _LARGEST_LOG_BOUND:
        raise InputError(
            f"magnitude={magnitude}, time_scale={time_scale}: their root must be from 0.01 to 100"
        )
    bound = magnitude ** (1 / time_scale)

    def init(key):
        input_key, recurrent_key = jax.random.split(key)
        draws = jax.random.uniform(recurrent_key, (hidden_size,))
        # A unit that starts at its bound itself could not be trained.
        return IndRNNParams(
            scaled_normal(input_key, input_size, hidden_size),
            jnp.arctanh(jnp.minimum(draws / bound, 0.9999)),
            jnp.zeros(hidden_size),
        )

    def prepare(params):
        return params._replace(recurrent=bound * jnp.tanh(params.recurrent))

    def initial_carry(weights):
        return IndRNNCarry(hidden=jnp.zeros_like(weights.bias))

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def step(weights, carry, projected, dot=jnp.matmul):
        del dot
        hidden = jax.nn.relu(projected + weights.recurrent * carry.hidden)
        return IndRNNCarry(hidden), hidden

    return Cell(init, initial_carry, project, step, hidden_size, prepare)
