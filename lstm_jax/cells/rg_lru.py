"""RG-LRU: a real, diagonal, linear recurrence with gates that see the input."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import scaled_normal
from lstm_jax.cells.linear import AFFINE, Affine, LinearForm, read_hidden
from lstm_jax.errors import InputError

_SHARPNESS = 8.0  # c in the paper
_SMALLEST = 1e-12  # under the root, whose derivative has no bound at 0


class RGLRUParams(NamedTuple):
    """Recurrence gate, input gate and the input itself side by side."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    bias: jax.Array  # [3 * hidden]
    decay: jax.Array  # [hidden], Lambda: a = exp(-softplus(Lambda))


class RGLRUCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def rg_lru(
    input_size: int, hidden_size: int, *, min_radius: float = 0.9, max_radius: float = 0.999
) -> Cell:
    """Real-gated linear recurrent unit (De et al. 2024, "Griffin: mixing gated linear recurrences
    with local attention for efficient language models")::

        r_t = sigmoid(x_t W_r + b_r)
        i_t = sigmoid(x_t W_i + b_i)
        a_t = exp(-8 r_t softplus(Lambda))
        h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t (x_t W_u + b_u))

    In Griffin a projection and a short convolution stand before it, whose results are both what is
    gated and what the gates see. Here u is a projection of x, and the gates see x.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      min_radius: exp(-8 softplus(Lambda)), the strongest decay, starts with its square uniform
        between the squares of this (the paper: itself uniform, which is nearly the same here)
      max_radius: and this. W ~ N(0, 1/input), biases zero.

    Raises:
      InputError: radii that are not 0 < min < max < 1.
    """
    if not 0 < min_radius < max_radius < 1:
        raise InputError(
            f"min_radius={min_radius}, max_radius={max_radius}: must be 0 < min < max < 1"
        )

    def init(key):
        input_key, radius_key = jax.random.split(key)
        squared = jax.random.uniform(
            radius_key, (hidden_size,), minval=min_radius**2, maxval=max_radius**2
        )
        return RGLRUParams(
            scaled_normal(input_key, input_size, 3 * hidden_size),
            jnp.zeros(3 * hidden_size),
            # softplus(Lambda) = -log(radius) / 8
            jnp.log(jnp.expm1(-0.5 * jnp.log(squared) / _SHARPNESS)),
        )

    def initial_carry(weights):
        return RGLRUCarry(hidden=jnp.zeros_like(weights.decay))

    def project(weights, inputs, key):
        del key
        preactivations = inputs @ weights.input_kernel + weights.bias
        recurrence, input_gate, proposed = jnp.split(preactivations, 3)
        input_gate = jax.nn.sigmoid(input_gate)
        log_decay = -_SHARPNESS * jax.nn.sigmoid(recurrence) * jax.nn.softplus(weights.decay)
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_decay), _SMALLEST))
        return jnp.exp(log_decay), scale * input_gate * proposed, input_gate

    def element(weights, projected):
        del weights
        decay, driven, _ = projected
        return Affine(RGLRUCarry(decay), RGLRUCarry(driven))

    def gates(weights, carry, projected):
        del weights, carry
        decay, _, input_gate = projected
        return {"forget": decay, "input": input_gate}

    form = LinearForm(element, read_hidden, AFFINE)
    return Cell(init, initial_carry, project, form.step, hidden_size, gates=gates, linear=form)
