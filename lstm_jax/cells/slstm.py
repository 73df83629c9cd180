"""sLSTM: exponential gates and a normaliser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import orthogonal_blocks, require_finite, scaled_normal


class SLSTMParams(NamedTuple):
    """Side by side, in the order input, forget, candidate, output."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 4 * hidden]
    bias: jax.Array  # [4 * hidden]


class SLSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden], h
    memory: jax.Array  # [hidden], c exp(-m)
    normalizer: jax.Array  # [hidden], n exp(-m)
    stabilizer: jax.Array  # [hidden], m; -inf before the first step


def slstm(input_size: int, hidden_size: int, *, forget_bias: float = 3.0) -> Cell:
    """sLSTM (Beck et al. 2024, "xLSTM: extended long short-term memory", equations 8 to 17, with
    one head and f = sigmoid; the paper also allows f = exp)::

        i_t = exp(x_t W_i + h_{t-1} U_i + b_i)
        f_t = sigmoid(x_t W_f + h_{t-1} U_f + b_f)
        z_t = tanh(x_t W_z + h_{t-1} U_z + b_z)
        o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)
        c_t = f_t c_{t-1} + i_t z_t
        n_t = f_t n_{t-1} + i_t
        h_t = o_t c_t / n_t

    c and n are carried times exp(-m_t), m_t = max(log f_t + m_{t-1}, log i_t), so that no
    exponential overflows; h does not change by it.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      forget_bias: b_f at the start; other biases zero, W ~ N(0, 1/input), every U_* orthogonal.

    Raises:
      InputError: a forget bias that is not finite.
    """
    require_finite("forget_bias", forget_bias)

    def init(key):
        input_key, recurrent_key = jax.random.split(key)
        return SLSTMParams(
            scaled_normal(input_key, input_size, 4 * hidden_size),
            orthogonal_blocks(recurrent_key, hidden_size, 4),
            jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(forget_bias),
        )

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.bias[:hidden_size])
        return SLSTMCarry(zeros, zeros, zeros, stabilizer=jnp.full_like(zeros, -jnp.inf))

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def advance(weights, carry, projected, dot):
        preactivations = projected + dot(carry.hidden, weights.recurrent_kernel)
        log_input, forget, candidate, output = jnp.split(preactivations, 4)
        log_kept = jax.nn.log_sigmoid(forget) + carry.stabilizer
        stabilizer = jnp.maximum(log_kept, log_input)
        entered, kept = jnp.exp(log_input - stabilizer), jnp.exp(log_kept - stabilizer)
        memory = kept * carry.memory + entered * jnp.tanh(candidate)
        normalizer = kept * carry.normalizer + entered
        output = jax.nn.sigmoid(output)
        hidden = output * memory / normalizer
        gates = {"forget": jax.nn.sigmoid(forget), "input": jnp.exp(log_input), "output": output}
        return SLSTMCarry(hidden, memory, normalizer, stabilizer), hidden, gates

    step, gates = gated(advance)
    return Cell(init, initial_carry, project, step, hidden_size, gates=gates)
