"""mLSTM: a matrix memory of keys and values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import require_at_least, scaled_normal
from lstm_jax.errors import InputError

_FORGET_BIASES = 3.0, 6.0  # of the first and the last head


class MLSTMParams(NamedTuple):
    """Queries, keys, values and output gate side by side; the gates of the heads apart."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    bias: jax.Array  # [4 * hidden]
    gate_kernel: jax.Array  # [input, 2 * heads], input and forget gates
    gate_bias: jax.Array  # [2 * heads]


class MLSTMCarry(NamedTuple):
    memory: jax.Array  # [heads, size, size], C exp(-m): rows are values, columns keys
    normalizer: jax.Array  # [heads, size], n exp(-m)
    stabilizer: jax.Array  # [heads], m; -inf before the first step


def mlstm(input_size: int, hidden_size: int, *, heads: int = 4) -> Cell:
    """mLSTM (Beck et al. 2024, "xLSTM: extended long short-term memory", equations 19 to 27)::

        q_t = x_t W_q + b_q,  k_t = (x_t W_k) / sqrt(d) + b_k,  v_t = x_t W_v + b_v
        i_t = exp(x_t w_i + b_i),  f_t = sigmoid(x_t w_f + b_f)       one of each a head
        C_t = f_t C_{t-1} + i_t v_t k_t^T
        n_t = f_t n_{t-1} + i_t k_t
        h_t = sigmoid(x_t W_o + b_o) C_t q_t / max(|n_t q_t|, 1)

    C and n are carried times exp(-m_t), m_t = max(log f_t + m_{t-1}, log i_t), so that no
    exponential overflows; h does not change by it.

    Args:
      input_size: features of one input.
      hidden_size: size of the output, all heads together: a multiple of `heads`; d = hidden/heads.
      heads: memories side by side, each d x d.

    At the start W ~ N(0, 1/input), the gates' w zero, b_f from 3 to 6 over the heads as in the
    authors' code, other biases zero (they draw b_i a little around it). The recurrence alone: their
    gates see q, k and v, and a norm of each head, a skip and an up-projection stand around it. The
    paper also allows f = exp.

    Raises:
      InputError: a hidden size that the heads do not share evenly.
    """
    require_at_least("heads", heads, 1)
    if hidden_size % heads:
        raise InputError(f"hidden_size={hidden_size}: must be a multiple of heads={heads}")
    size = hidden_size // heads

    def init(key):
        biases = jnp.linspace(*_FORGET_BIASES, heads)
        return MLSTMParams(
            scaled_normal(key, input_size, 4 * hidden_size),
            jnp.zeros(4 * hidden_size),
            jnp.zeros((input_size, 2 * heads)),
            jnp.concatenate([jnp.zeros(heads), biases]),
        )

    def initial_carry(weights):
        zeros = jnp.zeros((heads, size, size), weights.bias.dtype)
        return MLSTMCarry(zeros, zeros[:, 0], jnp.full_like(zeros[:, 0, 0], -jnp.inf))

    def project(weights, inputs, key):
        del key
        kernel = weights.input_kernel.at[:, hidden_size : 2 * hidden_size].multiply(size**-0.5)
        mixed = inputs @ kernel + weights.bias
        *heads_of, output = jnp.split(mixed, 4)
        query, key_vector, value = (part.reshape(heads, size) for part in heads_of)
        log_input, forget = jnp.split(inputs @ weights.gate_kernel + weights.gate_bias, 2)
        gates = log_input, jax.nn.log_sigmoid(forget), jax.nn.sigmoid(output)
        return query, key_vector, value, gates

    def advance(weights, carry, projected, dot):
        del weights, dot
        query, key_vector, value, (log_input, log_forget, output) = projected
        log_kept = log_forget + carry.stabilizer
        stabilizer = jnp.maximum(log_kept, log_input)
        entered, kept = jnp.exp(log_input - stabilizer), jnp.exp(log_kept - stabilizer)
        written = (entered[:, None] * value)[:, :, None] * key_vector[:, None, :]
        memory = kept[:, None, None] * carry.memory + written
        normalizer = kept[:, None] * carry.normalizer + entered[:, None] * key_vector
        read = (memory * query[:, None, :]).sum(2)
        # 1 in the units of n, which is carried times exp(-m).
        weight = jnp.maximum(jnp.abs((normalizer * query).sum(1)), jnp.exp(-stabilizer))
        hidden = output * (read / weight[:, None]).reshape(hidden_size)
        gates = {"forget": jnp.exp(log_forget), "input": jnp.exp(log_input), "output": output}
        return MLSTMCarry(memory, normalizer, stabilizer), hidden, gates

    step, gates = gated(advance)
    return Cell(init, initial_carry, project, step, hidden_size, gates=gates, parallel=True)
