"""The Elman network: a recurrent network with a single tanh (or ReLU) layer."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import (
    orthogonal_blocks,
    pytorch_bias,
    pytorch_uniform,
    require_positive,
    scaled_normal,
)
from lstm_jax.errors import require_among

_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class RNNParams(NamedTuple):
    input_kernel: jax.Array  # [input, hidden]
    recurrent_kernel: jax.Array  # [hidden, hidden]
    bias: jax.Array  # [hidden]


class RNNCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def rnn(
    input_size: int,
    hidden_size: int,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    recurrent_init: Literal["uniform", "orthogonal", "identity"] = "uniform",
    gain: float = 1.0,
) -> Cell:
    """Elman network (Elman 1990, "Finding structure in time")::

        h_t = tanh(x_t W + h_{t-1} U + b)

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      activation: `tanh` or `relu`.
      recurrent_init: `uniform`, all parameters U(±1/sqrt(hidden)) as in `torch.nn.RNN`;
        `orthogonal`, U = gain times an orthogonal matrix (Saxe et al. 2014); `identity`, U = gain
        times the identity (Le, Jaitly & Hinton 2015). With the last two W ~ N(0, 1/input), b = 0.
      gain: factor of an orthogonal or identity U.

    Raises:
      InputError: an option outside what is named above, or a gain given with `uniform`.
    """
    require_among("activation", activation, tuple(_ACTIVATIONS))
    require_among("recurrent_init", recurrent_init, ("uniform", "orthogonal", "identity"))
    require_positive("gain", gain)
    if recurrent_init == "uniform":
        require_among("gain (with recurrent_init=uniform)", gain, (1.0,))
    activate = _ACTIVATIONS[activation]

    def init(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        if recurrent_init == "uniform":
            return RNNParams(
                pytorch_uniform(input_key, (input_size, hidden_size), hidden_size),
                pytorch_uniform(recurrent_key, (hidden_size, hidden_size), hidden_size),
                pytorch_bias(bias_key, hidden_size, hidden_size),
            )
        if recurrent_init == "orthogonal":
            recurrent_kernel = orthogonal_blocks(recurrent_key, hidden_size, 1, gain)
        else:
            recurrent_kernel = gain * jnp.eye(hidden_size)
        return RNNParams(
            scaled_normal(input_key, input_size, hidden_size),
            recurrent_kernel,
            jnp.zeros(hidden_size),
        )

    def initial_carry(weights):
        return RNNCarry(hidden=jnp.zeros_like(weights.bias))

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def step(weights, carry, projected, dot=jnp.matmul):
        hidden = activate(projected + dot(carry.hidden, weights.recurrent_kernel))
        return RNNCarry(hidden), hidden

    return Cell(init, initial_carry, project, step, output_size=hidden_size)
