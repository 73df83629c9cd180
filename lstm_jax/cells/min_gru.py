"""minGRU: a GRU whose gate does not look at the past."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.arrays import PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import gate_biases, scaled_normal
from lstm_jax.cells.linear import AFFINE, LOG_AFFINE, Affine, LinearForm, LogAffine, read_hidden
from lstm_jax.errors import require_among


class MinGRUParams(NamedTuple):
    """Update gate and candidate side by side."""

    input_kernel: jax.Array  # [input, 2 * hidden]
    bias: jax.Array  # [2 * hidden]


class MinGRUCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


class LogCarry(NamedTuple):
    log_hidden: jax.Array  # [hidden], log h; -inf before the first step


def positive(x: jax.Array) -> jax.Array:
    """x + 0.5 where x >= 0, else sigmoid(x): above 0, so that its logarithm exists (Feng et al.
    2024, appendix B)."""
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def log_positive(x: jax.Array) -> jax.Array:
    """log of `positive`, also where that is too small for a float."""
    return jnp.where(x >= 0, jnp.log(jnp.maximum(x, 0) + 0.5), jax.nn.log_sigmoid(x))


def log_mean(log_keep: jax.Array, log_take: jax.Array, proposed: jax.Array) -> LogAffine:
    """h -> keep h + take g(proposed), of log h."""
    return LogAffine(LogCarry(log_keep), LogCarry(log_take + log_positive(proposed)))


def _read_log(weights: PyTree, carry: LogCarry, projected: PyTree, dot: object) -> jax.Array:
    del weights, projected, dot
    return jnp.exp(carry.log_hidden)


def log_form(element) -> LinearForm:
    """The form of a cell that carries log h and tells h."""
    return LinearForm(element, _read_log, LOG_AFFINE)


def nothing_yet(like: jax.Array) -> LogCarry:
    """log 0, the first carry."""
    return LogCarry(jnp.full_like(like, -jnp.inf))


def min_gru(
    input_size: int,
    hidden_size: int,
    *,
    candidate: Literal["positive", "linear", "log_space"] = "positive",
    init: Literal["normal", "chrono"] = "normal",
    time_scale: float | None = None,
) -> Cell:
    """minGRU (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?")::

        z_t = sigmoid(x_t W_z + b_z)
        n_t = g(x_t W_n + b_n),  g(x) = x + 0.5 where x >= 0, else sigmoid(x)
        h_t = (1 - z_t) h_{t-1} + z_t n_t

    With this g every h is positive, and the recurrence can run on log h, which the paper does to
    scan it in parallel. The plain form gives the same numbers, in parallel too, and is cheaper.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t. The first carry is zero.
      candidate: `positive`, g as above; `log_space`, the same with log h as the carry, as the
        paper runs it; `linear`, g(x) = x (the paper's vanilla form).
      init: W ~ N(0, 1/input), biases zero; `chrono`, b_z ~ -log U(1, T-1) for T = `time_scale`
        (Tallec & Ollivier 2018).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("candidate", candidate, ("positive", "linear", "log_space"))
    log_space = candidate == "log_space"
    require_among("init", init, ("normal", "chrono"))
    biases = gate_biases(init, None, time_scale)

    def init_params(key):
        input_key, bias_key = jax.random.split(key)
        _, update_bias = biases(bias_key, hidden_size)
        return MinGRUParams(
            scaled_normal(input_key, input_size, 2 * hidden_size),
            jnp.concatenate([update_bias, jnp.zeros(hidden_size)]),
        )

    def initial_carry(weights):
        bias = weights.bias[:hidden_size]
        return nothing_yet(bias) if log_space else MinGRUCarry(hidden=jnp.zeros_like(bias))

    def project(weights, inputs, key):
        del key
        update, proposed = jnp.split(inputs @ weights.input_kernel + weights.bias, 2)
        if log_space:
            return update, proposed
        return jax.nn.sigmoid(update), positive(proposed) if candidate == "positive" else proposed

    def element(weights, projected):
        del weights
        update, proposed = projected
        if log_space:
            return log_mean(jax.nn.log_sigmoid(-update), jax.nn.log_sigmoid(update), proposed)
        return Affine(MinGRUCarry(1 - update), MinGRUCarry(update * proposed))

    def gates(weights, carry, projected):
        del weights, carry
        update, _ = projected
        return {"update": jax.nn.sigmoid(update) if log_space else update}

    form = log_form(element) if log_space else LinearForm(element, read_hidden, AFFINE)
    return Cell(
        init_params, initial_carry, project, form.step, hidden_size, gates=gates, linear=form
    )
