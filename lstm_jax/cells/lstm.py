"""Long short-term memory, in the form that the essay walks through."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import (
    chrono_forget_bias,
    orthogonal_blocks,
    pytorch_bias,
    pytorch_uniform,
    require,
    require_positive,
    scaled_normal,
)
from lstm_jax.errors import InputError


class LSTMParams(NamedTuple):
    """Gates side by side, in the order input, forget, candidate, output (as in PyTorch)."""

    input_kernel: jax.Array  # [input, 4 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 4 * hidden]
    bias: jax.Array  # [4 * hidden]


class LSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden], h
    memory: jax.Array  # [hidden], C in the essay


def lstm(
    input_size: int,
    hidden_size: int,
    *,
    init: Literal["orthogonal", "pytorch", "chrono"] = "orthogonal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
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

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require("init", init, ("orthogonal", "pytorch", "chrono"))
    if init == "chrono":
        if forget_bias is not None:
            raise InputError(f"forget_bias={forget_bias}: init=chrono sets it; leave it out")
        time_scale = 200.0 if time_scale is None else time_scale
        require_positive("time_scale", time_scale)
    elif time_scale is not None:
        raise InputError(f"time_scale={time_scale}: taken only with init=chrono")
    elif forget_bias is None:
        forget_bias = 1.0 if init == "orthogonal" else 0.0

    def init_params(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        width = 4 * hidden_size
        if init == "pytorch":
            params = LSTMParams(
                pytorch_uniform(input_key, (input_size, width), hidden_size),
                pytorch_uniform(recurrent_key, (hidden_size, width), hidden_size),
                pytorch_bias(bias_key, width, hidden_size),
            )
        else:
            params = LSTMParams(
                scaled_normal(input_key, input_size, width),
                orthogonal_blocks(recurrent_key, hidden_size, 4),
                jnp.zeros(width),
            )
        input_gate, forget_gate = slice(0, hidden_size), slice(hidden_size, 2 * hidden_size)
        if init == "chrono":
            biases = chrono_forget_bias(bias_key, hidden_size, time_scale)
            bias = params.bias.at[forget_gate].add(biases).at[input_gate].add(-biases)
        else:
            bias = params.bias.at[forget_gate].add(forget_bias)
        return params._replace(bias=bias)

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights.bias[:hidden_size])
        return LSTMCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def step(weights, carry, projected, dot=jnp.matmul):
        preactivations = projected + dot(carry.hidden, weights.recurrent_kernel)
        input_gate, forget_gate, candidate, output_gate = jnp.split(preactivations, 4)
        memory = jax.nn.sigmoid(forget_gate) * carry.memory + jax.nn.sigmoid(input_gate) * jnp.tanh(
            candidate
        )
        hidden = jax.nn.sigmoid(output_gate) * jnp.tanh(memory)
        return LSTMCarry(hidden, memory), hidden

    return Cell(init_params, initial_carry, project, step, output_size=hidden_size)
