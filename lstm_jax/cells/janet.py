"""JANET: an LSTM with nothing but its forget gate."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import (
    gate_biases,
    orthogonal_blocks,
    require_finite,
    scaled_normal,
)
from lstm_jax.errors import require_among


class JANETParams(NamedTuple):
    """Forget gate and candidate side by side."""

    input_kernel: jax.Array  # [input, 2 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 2 * hidden]
    bias: jax.Array  # [2 * hidden]


class JANETCarry(NamedTuple):
    memory: jax.Array  # [hidden], c, which is also the output


def janet(
    input_size: int,
    hidden_size: int,
    *,
    init: Literal["chrono", "orthogonal"] = "chrono",
    forget_bias: float | None = None,
    time_scale: float | None = None,
    beta: float = 1.0,
) -> Cell:
    """JANET (van der Westhuizen & Lasenby 2018, "The unreasonable effectiveness of the forget
    gate")::

        s_t = x_t W_f + c_{t-1} U_f + b_f
        g_t = tanh(x_t W_g + c_{t-1} U_g + b_g)
        c_t = sigmoid(s_t) c_{t-1} + (1 - sigmoid(s_t - beta)) g_t

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is c_t.
      init: W ~ N(0, 1/input), every U_* orthogonal, b_g zero, and with `chrono`
        b_f ~ log U(1, T-1) for T = `time_scale` (as in the paper); with `orthogonal` b_f =
        `forget_bias`.
      forget_bias: of `orthogonal`, default 1.
      time_scale: T of `chrono`, in steps; default 200, one scale for every gap. The spec
        `time_scale=gap` tells the cell the gap, and is labelled so wherever it is shown.
      beta: how much more is let in than is forgotten; 0 makes the two gates one.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("init", init, ("chrono", "orthogonal"))
    require_finite("beta", beta)
    biases = gate_biases(init, forget_bias, time_scale)

    def init_params(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        forget, _ = biases(bias_key, hidden_size)
        return JANETParams(
            scaled_normal(input_key, input_size, 2 * hidden_size),
            orthogonal_blocks(recurrent_key, hidden_size, 2),
            jnp.concatenate([forget, jnp.zeros(hidden_size)]),
        )

    def initial_carry(weights):
        return JANETCarry(memory=jnp.zeros_like(weights.bias[:hidden_size]))

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def advance(weights, carry, projected, dot):
        forget, candidate = jnp.split(projected + dot(carry.memory, weights.recurrent_kernel), 2)
        gates = {"forget": jax.nn.sigmoid(forget), "input": jax.nn.sigmoid(beta - forget)}
        memory = gates["forget"] * carry.memory + gates["input"] * jnp.tanh(candidate)
        return JANETCarry(memory), memory, gates

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
