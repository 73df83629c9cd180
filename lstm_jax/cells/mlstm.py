"""mLSTM: a matrix memory of keys and values."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import require_at_least, scaled_normal
from lstm_jax.cells.linear import Algebra, LinearForm
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


class _Element(NamedTuple):
    """C -> f C + (what was written), the latter in its own units of exp(-m), and n alike."""

    log_forget: jax.Array  # [heads], log f
    written: MLSTMCarry


def _combine(earlier: _Element, later: _Element) -> _Element:
    """Also of leaves with leading axes."""
    log_kept = later.log_forget + earlier.written.stabilizer
    stabilizer = jnp.maximum(log_kept, later.written.stabilizer)
    units = _units(stabilizer)
    kept, entered = jnp.exp(log_kept - units), jnp.exp(later.written.stabilizer - units)

    def total(before, now):
        def scaled(factor, leaf):
            return jnp.expand_dims(factor, range(factor.ndim, leaf.ndim)) * leaf

        return scaled(kept, before) + scaled(entered, now)

    return _Element(
        later.log_forget + earlier.log_forget,
        MLSTMCarry(
            total(earlier.written.memory, later.written.memory),
            total(earlier.written.normalizer, later.written.normalizer),
            stabilizer,
        ),
    )


def _constant(carry: MLSTMCarry) -> _Element:
    return _Element(jnp.full_like(carry.stabilizer, -jnp.inf), carry)


def _identity(element: _Element) -> _Element:
    zeros = jax.tree.map(jnp.zeros_like, element)
    nothing = jnp.full_like(element.written.stabilizer, -jnp.inf)
    return zeros._replace(written=zeros.written._replace(stabilizer=nothing))


# Its elements carry their own units, so that no exponential overflows however they are combined.
STABILIZED = Algebra(_combine, _constant, lambda element: element.written, _identity)


def _units(stabilizer: jax.Array) -> jax.Array:
    """m where anything was written; any units will do where nothing was."""
    return jnp.where(jnp.isfinite(stabilizer), stabilizer, 0)


def _head_chunk(reset, carry, query, key, value, log_input, log_forget):
    """Steps of one head as attention within the chunk, so that memories between them are never
    formed (Yang et al. 2024, "Gated linear attention transformers with hardware-efficient
    training").

    Args:
      reset: `[time]` or None.
      carry: before the chunk.
      query: `[time, size]`, as are `key` and `value`.
      log_input: `[time]`, -inf at masked steps.
      log_forget: `[time]`, 0 at masked steps.

    Returns:
      The carry behind the chunk; C q, n q and m of each step.
    """
    steps = len(query)
    resets = jnp.zeros(steps, jnp.int32) if reset is None else jnp.cumsum(reset)
    seen = jnp.tri(steps, dtype=bool) & (resets[:, None] == resets[None])
    decayed = jnp.cumsum(log_forget)  # only its differences count
    # [time, time of writing]: log of what is left of what was written.
    log_left = decayed[:, None] - decayed[None] + log_input[None]
    log_left = jnp.where(seen, log_left, -jnp.inf)
    log_kept = jnp.where(resets == 0, decayed + carry.stabilizer, -jnp.inf)
    stabilizer = jnp.maximum(log_kept, log_left.max(1))
    units = _units(stabilizer)
    left, kept = jnp.exp(log_left - units[:, None]), jnp.exp(log_kept - units)
    matched = left * (query @ key.T)
    memory_read = matched @ value + kept[:, None] * (query @ carry.memory.T)
    normalizer_read = matched.sum(1) + kept * (query @ carry.normalizer)
    left, kept = left[-1], kept[-1]
    after = MLSTMCarry(
        memory=kept * carry.memory + (left[:, None] * value).T @ key,
        normalizer=kept * carry.normalizer + left @ key,
        stabilizer=stabilizer[-1],
    )
    return after, (memory_read, normalizer_read, stabilizer)


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

    def element(weights, projected):
        del weights
        _, key_vector, value, (log_input, log_forget, _) = projected
        written = value[:, :, None] * key_vector[:, None, :]
        return _Element(log_forget, MLSTMCarry(written, key_vector, log_input))

    def read(memory_read, normalizer_read, stabilizer, output):
        # 1 in the units of n, which is carried times exp(-m).
        weight = jnp.maximum(jnp.abs(normalizer_read), jnp.exp(-_units(stabilizer)))
        return output * (memory_read / weight[:, None]).reshape(hidden_size)

    def readout(weights, carry, projected, dot):
        del weights, dot
        query, _, _, (_, _, output) = projected
        memory_read = (carry.memory * query[:, None, :]).sum(2)
        normalizer_read = (carry.normalizer * query).sum(1)
        return read(memory_read, normalizer_read, carry.stabilizer, output)

    def chunk(weights, carry, projected, reset, mask):
        del weights
        query, key_vector, value, (log_input, log_forget, output) = projected
        if mask is not None:
            log_input = jnp.where(mask[:, None], log_input, -jnp.inf)
            log_forget = jnp.where(mask[:, None], log_forget, jnp.zeros_like(log_forget))
        of_head = jax.vmap(partial(_head_chunk, reset), (0, 1, 1, 1, 1, 1), (0, 1))
        carry, reads = of_head(carry, query, key_vector, value, log_input, log_forget)
        return carry, jax.vmap(read)(*reads, output)

    def gates(weights, carry, projected):
        del weights, carry
        *_, (log_input, log_forget, output) = projected
        return {"forget": jnp.exp(log_forget), "input": jnp.exp(log_input), "output": output}

    form = LinearForm(element, readout, STABILIZED, chunk)
    return Cell(init, initial_carry, project, form.step, hidden_size, gates=gates, linear=form)
