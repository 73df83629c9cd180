"""The LSTM with layer normalisation inside."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import gate_biases, orthogonal_blocks, scaled_normal
from lstm_jax.errors import require_among

_EPSILON = 1e-5  # beside the variance


class LayerNormLSTMParams(NamedTuple):
    """Gates side by side, in the order input, forget, candidate, output."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 4 * hidden]
    bias: jax.Array  # [4 * hidden], the sum of b and of the shifts of both norms
    input_gain: jax.Array  # [4 * hidden]
    recurrent_gain: jax.Array  # [4 * hidden]
    memory_gain: jax.Array  # [hidden]
    memory_shift: jax.Array  # [hidden]


class LayerNormLSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden]
    memory: jax.Array  # [hidden]


def normalized(x: jax.Array) -> jax.Array:
    """x with mean 0 and variance 1 over its last axis; without an infinite derivative where all are
    equal."""
    centered = x - x.mean(-1, keepdims=True)
    return centered * jax.lax.rsqrt((centered**2).mean(-1, keepdims=True) + _EPSILON)


def layer_norm_lstm(
    input_size: int,
    hidden_size: int,
    *,
    init: Literal["orthogonal", "chrono"] = "orthogonal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
) -> Cell:
    """LSTM with layer normalisation (Ba, Kiros & Hinton 2016, "Layer normalization", equations 20
    to 22)::

        i, f, g, o = norm(x_t W) a_x + norm(h_{t-1} U) a_h + b
        C_t = sigmoid(f) C_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(norm(C_t) a_c + b_c)
        norm(z) = (z - mean z) / sqrt(var z + 1e-5)

    As in the paper, one norm spans all four gates.

    Args:
      input_size: features of one input.
      hidden_size: units of h and of C; also the size of the output, which is h_t.
      init: W ~ N(0, 1/input), every U_* orthogonal, gains 1, biases zero but for b_f =
        `forget_bias`; `chrono`, b_f ~ log U(1, T-1), b_i = -b_f for T = `time_scale`.
      forget_bias: default 1 (not taken with `chrono`).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("init", init, ("orthogonal", "chrono"))
    biases = gate_biases(init, forget_bias, time_scale)

    def init_params(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        forget, input_gate = biases(bias_key, hidden_size)
        width = 4 * hidden_size
        return LayerNormLSTMParams(
            scaled_normal(input_key, input_size, width),
            orthogonal_blocks(recurrent_key, hidden_size, 4),
            jnp.concatenate([input_gate, forget, jnp.zeros(2 * hidden_size)]),
            jnp.ones(width),
            jnp.ones(width),
            jnp.ones(hidden_size),
            jnp.zeros(hidden_size),
        )

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.memory_shift)
        return LayerNormLSTMCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return normalized(inputs @ weights.input_kernel) * weights.input_gain + weights.bias

    def advance(weights, carry, projected, dot):
        recurrent = normalized(dot(carry.hidden, weights.recurrent_kernel))
        driven = projected + recurrent * weights.recurrent_gain
        input_gate, forget, candidate, output = jnp.split(driven, 4)
        gates = {
            "input": jax.nn.sigmoid(input_gate),
            "forget": jax.nn.sigmoid(forget),
            "output": jax.nn.sigmoid(output),
        }
        memory = gates["forget"] * carry.memory + gates["input"] * jnp.tanh(candidate)
        seen = normalized(memory) * weights.memory_gain + weights.memory_shift
        hidden = gates["output"] * jnp.tanh(seen)
        return LayerNormLSTMCarry(hidden, memory), hidden, gates

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
