"""The LSTM whose forget and input gates are one."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import gate_biases, orthogonal_blocks, scaled_normal
from lstm_jax.errors import require_among


class CIFGParams(NamedTuple):
    """Side by side, in the order forget, candidate, output."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 3 * hidden]
    bias: jax.Array  # [3 * hidden]


class CIFGCarry(NamedTuple):
    hidden: jax.Array  # [hidden], h
    memory: jax.Array  # [hidden], C


def cifg(
    input_size: int,
    hidden_size: int,
    *,
    init: Literal["orthogonal", "chrono"] = "orthogonal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
) -> Cell:
    """LSTM with coupled forget and input gates (drawn in Olah's essay; CIFG in Greff et al. 2015,
    who have peepholes beside it: `peephole_lstm:variant=CIFG`)::

        f_t = sigmoid(x_t W_f + h_{t-1} U_f + b_f)
        g_t =    tanh(x_t W_g + h_{t-1} U_g + b_g)
        o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)
        C_t = f_t C_{t-1} + (1 - f_t) g_t
        h_t = o_t tanh(C_t)

    Args:
      input_size: features of one input.
      hidden_size: units of h and of C; also the size of the output, which is h_t.
      init: W ~ N(0, 1/input), every U_* orthogonal, biases zero but for b_f = `forget_bias`;
        `chrono`, b_f ~ log U(1, T-1) for T = `time_scale` (Tallec & Ollivier 2018).
      forget_bias: default 1 (not taken with `chrono`).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("init", init, ("orthogonal", "chrono"))
    biases = gate_biases(init, forget_bias, time_scale)

    def init_params(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        forget, _ = biases(bias_key, hidden_size)
        return CIFGParams(
            scaled_normal(input_key, input_size, 3 * hidden_size),
            orthogonal_blocks(recurrent_key, hidden_size, 3),
            jnp.concatenate([forget, jnp.zeros(2 * hidden_size)]),
        )

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.bias[:hidden_size])
        return CIFGCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def advance(weights, carry, projected, dot):
        preactivations = projected + dot(carry.hidden, weights.recurrent_kernel)
        forget, candidate, output = jnp.split(preactivations, 3)
        forget, output = jax.nn.sigmoid(forget), jax.nn.sigmoid(output)
        memory = forget * carry.memory + (1 - forget) * jnp.tanh(candidate)
        hidden = output * jnp.tanh(memory)
        return CIFGCarry(hidden, memory), hidden, {"forget": forget, "output": output}

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
