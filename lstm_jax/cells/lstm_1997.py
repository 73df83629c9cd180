"""The LSTM of 1997, which has no forget gate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import orthogonal_blocks, require_finite, scaled_normal


class LSTM1997Params(NamedTuple):
    """Side by side, in the order input, candidate, output."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 3 * hidden]
    bias: jax.Array  # [3 * hidden]


class LSTM1997Carry(NamedTuple):
    hidden: jax.Array  # [hidden], y^c
    memory: jax.Array  # [hidden], s_c


def lstm_1997(input_size: int, hidden_size: int, *, output_bias: float = -2.0) -> Cell:
    """LSTM without a forget gate (Hochreiter & Schmidhuber 1997, "Long short-term memory", with
    memory blocks of one cell)::

        i_t = sigmoid(x_t W_i + h_{t-1} U_i + b_i)
        o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)
        C_t = C_{t-1} + i_t (4 sigmoid(x_t W_g + h_{t-1} U_g + b_g) - 2)
        h_t = o_t (2 sigmoid(C_t) - 1)

    The gradient is whole here; the paper cut it where it would leave a memory cell through a gate.
    The memory has no bound: it drifts with what is let in.

    Args:
      input_size: features of one input.
      hidden_size: units of h and of C; also the size of the output, which is h_t.
      output_bias: b_o at the start, below 0 so that cells begin unheard; the paper starts gates at
        negative values in some of its experiments, such as -2, -4, -6 one after another. b_i and
        b_g are zero, W ~ N(0, 1/input), every U_* orthogonal (the paper: all U(±0.1)).

    Raises:
      InputError: an output bias that is not finite.
    """
    require_finite("output_bias", output_bias)

    def init(key):
        input_key, recurrent_key = jax.random.split(key)
        return LSTM1997Params(
            scaled_normal(input_key, input_size, 3 * hidden_size),
            orthogonal_blocks(recurrent_key, hidden_size, 3),
            jnp.zeros(3 * hidden_size).at[2 * hidden_size :].set(output_bias),
        )

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.bias[:hidden_size])
        return LSTM1997Carry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def advance(weights, carry, projected, dot):
        preactivations = projected + dot(carry.hidden, weights.recurrent_kernel)
        squashed = jax.nn.sigmoid(preactivations)
        input_gate, candidate, output_gate = jnp.split(squashed, 3)
        memory = carry.memory + input_gate * (4 * candidate - 2)
        hidden = output_gate * (2 * jax.nn.sigmoid(memory) - 1)
        return LSTM1997Carry(hidden, memory), hidden, {"input": input_gate, "output": output_gate}

    step, gates = gated(advance)
    return Cell(init, initial_carry, project, step, hidden_size, gates=gates)
