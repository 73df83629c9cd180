"""The depth-gated LSTM: a gate between the memories of neighbouring layers."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import (
    gate_biases,
    orthogonal_blocks,
    require_at_least,
    scaled_normal,
)
from lstm_jax.errors import require_among

_PEEPHOLE_SCALE = 0.1  # standard deviation at the start


class DepthGatedLSTMParams(NamedTuple):
    """Side by side, in the order input, forget, candidate, output, and depth in upper layers."""

    input_kernel: jax.Array  # [input, 4 * hidden], of the lowest layer
    upper_kernel: jax.Array  # [layers - 1, hidden, 5 * hidden], of h of the layer below
    recurrent_kernel: jax.Array  # [layers, hidden, 4 * hidden]
    peepholes: jax.Array  # [layers, 3, hidden], of input, forget and output gate
    depth_peepholes: jax.Array  # [layers - 1, 2, hidden], of own memory, of that of the layer below
    bias: jax.Array  # [layers, 4 * hidden]
    depth_bias: jax.Array  # [layers - 1, hidden]


class DepthGatedLSTMCarry(NamedTuple):
    hidden: jax.Array  # [layers, hidden]
    memory: jax.Array  # [layers, hidden]


def depth_gated_lstm(
    input_size: int,
    hidden_size: int,
    *,
    layers: int = 2,
    init: Literal["orthogonal", "chrono"] = "orthogonal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
) -> Cell:
    """Depth-gated LSTM (Yao, Cohn, Vylomova, Duh & Dyer 2015, "Depth-gated recurrent neural
    networks"), for layer l above the lowest::

        x^l = h_t^{l-1}
        i, f = sigmoid(x^l W_* + h_{t-1}^l U_* + p_* C_{t-1}^l + b_*)
        d    = sigmoid(x^l W_d + p_d C_{t-1}^l + q_d C_t^{l-1} + b_d)
        C_t^l = d C_t^{l-1} + f C_{t-1}^l + i tanh(x^l W_g + h_{t-1}^l U_g + b_g)
        o    = sigmoid(x^l W_o + h_{t-1}^l U_o + p_o C_t^l + b_o)
        h_t^l = o tanh(C_t^l)

    The lowest layer has no memory below it: there d = 0. All layers are one cell, because d needs
    the memory of the layer below at the same step.

    Args:
      input_size: features of one input.
      hidden_size: units of h and of C in each layer; also the size of the output, h of the last.
      layers: at least 2.
      init: W ~ N(0, 1/rows), U orthogonal, p and q ~ N(0, 0.01), biases zero but for b_f =
        `forget_bias`; `chrono`, b_f ~ log U(1, T-1), b_i = -b_f for T = `time_scale`.
      forget_bias: default 1 (not taken with `chrono`).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("init", init, ("orthogonal", "chrono"))
    require_at_least("layers", layers, 2, most=64)
    biases = gate_biases(init, forget_bias, time_scale)

    def init_params(key):
        input_key, upper_key, recurrent_key, peephole_key, depth_key, bias_key = jax.random.split(
            key, 6
        )
        upper = [
            scaled_normal(k, hidden_size, 5 * hidden_size)
            for k in jax.random.split(upper_key, layers - 1)
        ]
        recurrent = [
            orthogonal_blocks(k, hidden_size, 4) for k in jax.random.split(recurrent_key, layers)
        ]
        bias = []
        for layer_key in jax.random.split(bias_key, layers):
            forget, input_gate = biases(layer_key, hidden_size)
            bias.append(jnp.concatenate([input_gate, forget, jnp.zeros(2 * hidden_size)]))
        peephole_shape, depth_shape = (layers, 3, hidden_size), (layers - 1, 2, hidden_size)
        return DepthGatedLSTMParams(
            scaled_normal(input_key, input_size, 4 * hidden_size),
            jnp.stack(upper),
            jnp.stack(recurrent),
            _PEEPHOLE_SCALE * jax.random.normal(peephole_key, peephole_shape),
            _PEEPHOLE_SCALE * jax.random.normal(depth_key, depth_shape),
            jnp.stack(bias),
            jnp.zeros((layers - 1, hidden_size)),
        )

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.peepholes[:, 0])
        return DepthGatedLSTMCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias[0]

    def advance(weights, carry, projected, dot):
        hiddens, memories, gates = [], [], {}
        for layer in range(layers):
            hidden, memory = carry.hidden[layer], carry.memory[layer]
            seen_by_input, seen_by_forget, seen_by_output = weights.peepholes[layer]
            driven = projected
            if layer:
                fed = dot(hiddens[-1], weights.upper_kernel[layer - 1])
                driven = fed[: 4 * hidden_size] + weights.bias[layer]
            driven = driven + dot(hidden, weights.recurrent_kernel[layer])
            input_gate, forget, candidate, output = jnp.split(driven, 4)
            input_gate = jax.nn.sigmoid(input_gate + seen_by_input * memory)
            forget = jax.nn.sigmoid(forget + seen_by_forget * memory)
            after = forget * memory + input_gate * jnp.tanh(candidate)
            if layer:
                own, below = weights.depth_peepholes[layer - 1]
                depth = fed[4 * hidden_size :] + weights.depth_bias[layer - 1]
                depth = jax.nn.sigmoid(depth + own * memory + below * memories[-1])
                after = after + depth * memories[-1]
                gates[f"depth_{layer + 1}"] = depth
            output = jax.nn.sigmoid(output + seen_by_output * after)
            memories.append(after)
            hiddens.append(output * jnp.tanh(after))
            gates |= {
                f"input_{layer + 1}": input_gate,
                f"forget_{layer + 1}": forget,
                f"output_{layer + 1}": output,
            }
        after = DepthGatedLSTMCarry(jnp.stack(hiddens), jnp.stack(memories))
        return after, hiddens[-1], gates

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
