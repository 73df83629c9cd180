"""UR-LSTM: a refine gate moves the forget gate, and time scales are spread at the start."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import orthogonal_blocks, scaled_normal, uniform_gate_bias


class URLSTMParams(NamedTuple):
    """Gates side by side, in the order forget, refine, candidate, output."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 4 * hidden]
    bias: jax.Array  # [4 * hidden]


class URLSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden], h
    memory: jax.Array  # [hidden], c


def ur_lstm(input_size: int, hidden_size: int) -> Cell:
    """UR-LSTM (Gu, Gulcehre, Paine, Hoffman & Pascanu 2020, "Improving the gating mechanism of
    recurrent neural networks": uniform gate initialisation and refine gate)::

        f_t = sigmoid(x_t W_f + h_{t-1} U_f + b_f)
        r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        e_t = r_t (1 - (1 - f_t)^2) + (1 - r_t) f_t^2
        c_t = e_t c_{t-1} + (1 - e_t) tanh(x_t W_g + h_{t-1} U_g + b_g)
        o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)
        h_t = o_t tanh(c_t)

    The refine gate r moves the effective forget gate e between f^2 and 1 - (1 - f)^2, so that it
    can come near 1 where f is not saturated and still learns. At the start sigmoid(b_f) is uniform
    between 1/hidden and 1 - 1/hidden, and b_r = -b_f; both are trained, each for itself.
    W ~ N(0, 1/input), every U_* orthogonal, b_g and b_o zero.

    Args:
      input_size: features of one input.
      hidden_size: units of h and of c; also the size of the output, which is h_t.
    """

    def init(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        forget = uniform_gate_bias(bias_key, hidden_size)
        return URLSTMParams(
            scaled_normal(input_key, input_size, 4 * hidden_size),
            orthogonal_blocks(recurrent_key, hidden_size, 4),
            jnp.concatenate([forget, -forget, jnp.zeros(2 * hidden_size)]),
        )

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.bias[:hidden_size])
        return URLSTMCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def advance(weights, carry, projected, dot):
        preactivations = projected + dot(carry.hidden, weights.recurrent_kernel)
        forget, refine, candidate, output = jnp.split(preactivations, 4)
        forget, refine = jax.nn.sigmoid(forget), jax.nn.sigmoid(refine)
        output = jax.nn.sigmoid(output)
        effective = forget * forget + 2 * refine * forget * (1 - forget)
        memory = effective * carry.memory + (1 - effective) * jnp.tanh(candidate)
        hidden = output * jnp.tanh(memory)
        gates = {"forget": forget, "refine": refine, "effective": effective, "output": output}
        return URLSTMCarry(hidden, memory), hidden, gates

    step, gates = gated(advance)
    return Cell(init, initial_carry, project, step, hidden_size, gates=gates)
