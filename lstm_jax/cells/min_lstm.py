"""minLSTM: an LSTM whose gates do not look at the past."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import gate_biases, scaled_normal
from lstm_jax.cells.linear import AFFINE, Affine, LinearForm, read_hidden
from lstm_jax.cells.min_gru import log_form, log_mean, nothing_yet, positive
from lstm_jax.errors import require_among


class MinLSTMParams(NamedTuple):
    """Forget gate, input gate and candidate side by side."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    bias: jax.Array  # [3 * hidden]


class MinLSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def min_lstm(
    input_size: int,
    hidden_size: int,
    *,
    candidate: Literal["positive", "linear", "log_space"] = "positive",
    init: Literal["normal", "chrono"] = "normal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
) -> Cell:
    """minLSTM (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?")::

        f_t = sigmoid(x_t W_f + b_f)
        i_t = sigmoid(x_t W_i + b_i)
        n_t = g(x_t W_n + b_n),  g(x) = x + 0.5 where x >= 0, else sigmoid(x)
        h_t = (f_t h_{t-1} + i_t n_t) / (f_t + i_t)

    As for minGRU, log h can run in its stead.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t. The first carry is zero.
      candidate: `positive`, g as above; `log_space`, the same with log h as the carry, as the
        paper runs it; `linear`, g(x) = x (the paper's vanilla form).
      init: W ~ N(0, 1/input), biases zero but for b_f = `forget_bias`; `chrono`,
        b_f ~ log U(1, T-1) and b_i = -b_f for T = `time_scale` (Tallec & Ollivier 2018).
      forget_bias: default 0 (not taken with `chrono`).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("candidate", candidate, ("positive", "linear", "log_space"))
    log_space = candidate == "log_space"
    require_among("init", init, ("normal", "chrono"))
    biases = gate_biases(init, forget_bias, time_scale, default=0.0)

    def init_params(key):
        input_key, bias_key = jax.random.split(key)
        return MinLSTMParams(
            scaled_normal(input_key, input_size, 3 * hidden_size),
            jnp.concatenate([*biases(bias_key, hidden_size), jnp.zeros(hidden_size)]),
        )

    def initial_carry(weights):
        bias = weights.bias[:hidden_size]
        return nothing_yet(bias) if log_space else MinLSTMCarry(hidden=jnp.zeros_like(bias))

    def project(weights, inputs, key):
        del key
        preactivations = inputs @ weights.input_kernel + weights.bias
        forget, input_gate, proposed = jnp.split(preactivations, 3)
        # f / (f + i) through logarithms: both gates may be too small for a float.
        ratio = jax.nn.log_sigmoid(forget) - jax.nn.log_sigmoid(input_gate)
        if log_space:
            return ratio, proposed
        proposed = positive(proposed) if candidate == "positive" else proposed
        return jax.nn.sigmoid(ratio), proposed

    def element(weights, projected):
        del weights
        forget, proposed = projected
        if log_space:
            return log_mean(jax.nn.log_sigmoid(forget), jax.nn.log_sigmoid(-forget), proposed)
        return Affine(MinLSTMCarry(forget), MinLSTMCarry((1 - forget) * proposed))

    def gates(weights, carry, projected):
        del weights, carry
        forget = jax.nn.sigmoid(projected[0]) if log_space else projected[0]
        return {"forget": forget, "input": 1 - forget}

    form = log_form(element) if log_space else LinearForm(element, read_hidden, AFFINE)
    return Cell(
        init_params, initial_carry, project, form.step, hidden_size, gates=gates, linear=form
    )
