"""A network of the last few inputs, and of nothing before: the baseline without memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import require_at_least, scaled_normal


class NoMemoryParams(NamedTuple):
    kernels: jax.Array  # [width, input, hidden], the present input first
    bias: jax.Array  # [hidden]


class NoMemoryCarry(NamedTuple):
    seen: jax.Array  # [width - 1, input], the inputs before this one, the last first


def no_memory(input_size: int, hidden_size: int, *, width: int = 1) -> Cell:
    """A window of the last inputs, without recurrence (a time-delay network: Waibel et al. 1989,
    "Phoneme recognition using time-delay neural networks")::

        h_t = relu(x_t W_0 + x_{t-1} W_1 + ... + x_{t-width+1} W_{width-1} + b)

    What it solves needs no memory beyond `width` steps. Before the first input stand zeros.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      width: inputs that it sees, the present one included. W ~ N(0, 1/(width input)), b = 0.

    Raises:
      InputError: a width below 1.
    """
    require_at_least("width", width, 1)

    def init(key):
        kernel = scaled_normal(key, width * input_size, hidden_size)
        return NoMemoryParams(
            kernel.reshape(width, input_size, hidden_size), jnp.zeros(hidden_size)
        )

    def initial_carry(weights):
        return NoMemoryCarry(jnp.zeros((width - 1, input_size), weights.bias.dtype))

    def project(weights, inputs, key):
        del key
        return inputs, inputs @ weights.kernels[0] + weights.bias

    def step(weights, carry, projected, dot=jnp.matmul):
        inputs, driven = projected
        if width > 1:
            kernel = weights.kernels[1:].reshape((width - 1) * input_size, hidden_size)
            driven = driven + dot(carry.seen.reshape(-1), kernel)
        hidden = jax.nn.relu(driven)
        seen = jnp.concatenate([inputs[None], carry.seen])[: width - 1]
        return NoMemoryCarry(seen), hidden

    return Cell(init, initial_carry, project, step, hidden_size)
