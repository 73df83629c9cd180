"""minGRU: a GRU whose gate does not look at the past."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import gate_biases, scaled_normal
from lstm_jax.errors import require_among


class MinGRUParams(NamedTuple):
    """Update gate and candidate side by side."""

    input_kernel: jax.Array  # [input, 2 * hidden]
    bias: jax.Array  # [2 * hidden]


class MinGRUCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def positive(x: jax.Array) -> jax.Array:
    """x + 0.5 where x >= 0, else sigmoid(x): above 0, so that its logarithm exists (Feng et al.
    2024, appendix B)."""
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def min_gru(
    input_size: int,
    hidden_size: int,
    *,
    candidate: Literal["positive", "linear"] = "positive",
    init: Literal["normal", "chrono"] = "normal",
    time_scale: float | None = None,
) -> Cell:
    """minGRU (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?")::

        z_t = sigmoid(x_t W_z + b_z)
        n_t = g(x_t W_n + b_n),  g(x) = x + 0.5 where x >= 0, else sigmoid(x)
        h_t = (1 - z_t) h_{t-1} + z_t n_t

    With this g every h is positive, and the recurrence can run on log h, which the paper does to
    scan it in parallel. Step by step the plain form gives the same numbers.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t. The first carry is zero.
      candidate: `positive`, g as above (the paper's log-space form); `linear`, g(x) = x (its
        vanilla form).
      init: W ~ N(0, 1/input), biases zero; `chrono`, b_z ~ -log U(1, T-1) for T = `time_scale`
        (Tallec & Ollivier 2018).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("candidate", candidate, ("positive", "linear"))
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
        return MinGRUCarry(hidden=jnp.zeros_like(weights.bias[:hidden_size]))

    def project(weights, inputs, key):
        del key
        update, proposed = jnp.split(inputs @ weights.input_kernel + weights.bias, 2)
        return jax.nn.sigmoid(update), positive(proposed) if candidate == "positive" else proposed

    def advance(weights, carry, projected, dot):
        del weights, dot
        update, proposed = projected
        hidden = (1 - update) * carry.hidden + update * proposed
        return MinGRUCarry(hidden), hidden, {"update": update}

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates, parallel=True)
