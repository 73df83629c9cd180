"""Long short-term memory, in the form that the essay walks through."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import (
    gate_biases,
    orthogonal_blocks,
    pytorch_bias,
    pytorch_uniform,
    require_at_least,
    require_rate,
    scaled_normal,
)
from lstm_jax.cells.noise import dropout_mask
from lstm_jax.errors import require_among


class LSTMParams(NamedTuple):
    """Gates side by side, in the order input, forget, candidate, output (as in PyTorch)."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 4 * hidden]
    bias: jax.Array  # [4 * hidden]


class LSTMProjectionParams(NamedTuple):
    """As LSTMParams, with h of `projection` units."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    recurrent_kernel: jax.Array  # [projection, 4 * hidden]
    bias: jax.Array  # [4 * hidden]
    projection_kernel: jax.Array  # [hidden, projection]


class LSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden] (or [projection]), h
    memory: jax.Array  # [hidden], C in the essay


def lstm(
    input_size: int,
    hidden_size: int,
    *,
    init: Literal["orthogonal", "pytorch", "chrono"] = "orthogonal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
    projection: int | None = None,
    recurrent_dropout: float | None = None,
) -> Cell:
    """LSTM with a forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000)::

        i_t = sigmoid(x_t W_i + h_{t-1} U_i + b_i)
        f_t = sigmoid(x_t W_f + h_{t-1} U_f + b_f)
        g_t =    tanh(x_t W_g + h_{t-1} U_g + b_g)
        o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)
        C_t = f_t C_{t-1} + i_t g_t
        h_t = o_t tanh(C_t)

    Args:
      input_size: features of one input.
      hidden_size: units of h and of C; also the size of the output, which is h_t.
      init: `orthogonal`, W ~ N(0, 1/input), every U_* orthogonal, biases zero but for b_f;
        `pytorch`, all parameters as `torch.nn.LSTM` (U(±1/sqrt(hidden)), b the sum of its two);
        `chrono`, as `orthogonal` with b_f ~ log U(1, T-1) and b_i = -b_f for T = `time_scale`
        (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?").
      forget_bias: mean of b_f at the start. Default 1 with `orthogonal` (Gers et al. 2000;
        Jozefowicz et al. 2015), 0 with `pytorch`; not taken with `chrono`.
      time_scale: T of `chrono`, in steps; default 200, one scale for every gap. The spec
        `time_scale=gap` tells the cell the gap, and is labelled so wherever it is shown.
      projection: units of h, if not those of C: h_t = (o_t tanh(C_t)) P (Sak, Senior &
        Beaufays 2014, without their non-recurrent part; `proj_size` of PyTorch). P starts as the U.
      recurrent_dropout: share of the entries of g_t that are zero at each step of training, the
        others scaled up, so that nothing held in C is lost (Semeniuta, Severyn & Barth 2016).

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("init", init, ("orthogonal", "pytorch", "chrono"))
    if recurrent_dropout is not None:
        require_rate("recurrent_dropout", recurrent_dropout)
    if projection is not None:
        require_at_least("projection", projection, 1)
    biases = gate_biases(init, forget_bias, time_scale, default=0.0 if init == "pytorch" else 1.0)
    output_size = hidden_size if projection is None else projection

    def init_params(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        width = 4 * hidden_size
        projection_key = jax.random.fold_in(recurrent_key, 1)
        projection_shape = (hidden_size, output_size)
        if init == "pytorch":
            input_kernel = pytorch_uniform(input_key, (input_size, width), hidden_size)
            recurrent_kernel = pytorch_uniform(recurrent_key, (output_size, width), hidden_size)
            projection_kernel = pytorch_uniform(projection_key, projection_shape, hidden_size)
            bias = pytorch_bias(bias_key, width, hidden_size)
        else:
            input_kernel = scaled_normal(input_key, input_size, width)
            recurrent_kernel = orthogonal_blocks(recurrent_key, hidden_size, 4, rows=output_size)
            projection_kernel = jax.nn.initializers.orthogonal()(projection_key, projection_shape)
            bias = jnp.zeros(width)
        forget_gate_bias, input_gate_bias = biases(bias_key, hidden_size)
        bias = bias.at[: 2 * hidden_size].add(jnp.concatenate([input_gate_bias, forget_gate_bias]))
        if projection is None:
            return LSTMParams(input_kernel, recurrent_kernel, bias)
        return LSTMProjectionParams(input_kernel, recurrent_kernel, bias, projection_kernel)

    def initial_carry(weights):
        memory = jnp.zeros_like(weights.bias[:hidden_size])
        return LSTMCarry(hidden=jnp.zeros(output_size, memory.dtype), memory=memory)

    def project(weights, inputs, key):
        preactivations = inputs @ weights.input_kernel + weights.bias
        if not recurrent_dropout:
            return preactivations
        dtype = preactivations.dtype
        return preactivations, dropout_mask(key, (hidden_size,), recurrent_dropout, dtype)

    def advance(weights, carry, projected, dot):
        preactivations, mask = projected if recurrent_dropout else (projected, None)
        preactivations = preactivations + dot(carry.hidden, weights.recurrent_kernel)
        input_gate, forget_gate, candidate, output_gate = jnp.split(preactivations, 4)
        candidate = jnp.tanh(candidate)
        candidate = candidate if mask is None else mask * candidate
        gates = {
            "input": jax.nn.sigmoid(input_gate),
            "forget": jax.nn.sigmoid(forget_gate),
            "output": jax.nn.sigmoid(output_gate),
        }
        memory = gates["forget"] * carry.memory + gates["input"] * candidate
        hidden = gates["output"] * jnp.tanh(memory)
        hidden = hidden if projection is None else dot(hidden, weights.projection_kernel)
        return LSTMCarry(hidden, memory), hidden, gates

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, output_size, gates=gates)
