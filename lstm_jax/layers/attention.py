"""Causal self-attention: what the essay's closing section points to, without recurrence."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import Array
from lstm_jax.cells.initializers import require_at_least, scaled_normal
from lstm_jax.errors import InputError, require_among
from lstm_jax.layers.base import Layer, array, counted

_EPSILON = 1e-5  # beside the variance
_LONGEST_WAVE = 10_000.0


def attention(
    input_size: int,
    hidden_size: int,
    *,
    heads: int = 4,
    positions: Literal["sinusoidal", "none"] = "sinusoidal",
) -> Layer:
    """Causal self-attention (Vaswani et al. 2017, "Attention is all you need"), with the norm
    before it (Xiong et al. 2020) and no feed-forward part::

        e_t = x_t W_e + b_e + position_t
        q, k, v = norm(e) W_q, norm(e) W_k, norm(e) W_v        by head
        a_t = sum over s <= t of softmax_s(q_t k_s / sqrt(d)) v_s
        y_t = e_t + a_t W_o + b_o

    Its cost grows with the square of time, and it keeps every key and value: nothing is forgotten,
    and nothing has to be.

    Args:
      input_size: features of one input.
      hidden_size: width of e and y, a multiple of `heads`; d = hidden/heads.
      heads: side by side.
      positions: `sinusoidal`, sines and cosines of wavelengths from 2 pi to 10,000 * 2 pi steps;
        `none`, so that it cannot tell order but by what is not yet there.

    All kernels start N(0, 1/rows), biases zero, the gain of the norm 1.

    Raises:
      InputError: a hidden size that the heads do not share evenly, or an unknown option.
    """
    require_at_least("heads", heads, 1)
    require_among("positions", positions, ("sinusoidal", "none"))
    if hidden_size % heads:
        raise InputError(f"hidden_size={hidden_size}: must be a multiple of heads={heads}")
    size = hidden_size // heads

    def init(key):
        embedding_key, mixing_key, output_key = jax.random.split(key, 3)
        return {
            "input_kernel": scaled_normal(embedding_key, input_size, hidden_size),
            "input_bias": jnp.zeros(hidden_size),
            "norm_gain": jnp.ones(hidden_size),
            "norm_shift": jnp.zeros(hidden_size),
            "mixing_kernel": scaled_normal(mixing_key, hidden_size, 3 * hidden_size),
            "output_kernel": scaled_normal(output_key, hidden_size, hidden_size),
            "output_bias": jnp.zeros(hidden_size),
        }

    def apply(params, inputs, *, key=None, length=None):
        del key
        inputs = counted(array(inputs), length)
        batch, steps, _ = inputs.shape
        embedded = inputs @ params["input_kernel"] + params["input_bias"][None, None]
        if positions == "sinusoidal":
            embedded = embedded + _waves(steps, hidden_size, embedded.dtype)[None]
        centered = embedded - embedded.mean(-1, keepdims=True)
        norm = centered * jax.lax.rsqrt((centered**2).mean(-1, keepdims=True) + _EPSILON)
        norm = norm * params["norm_gain"][None, None] + params["norm_shift"][None, None]
        mixed = (norm @ params["mixing_kernel"]).reshape(batch, steps, 3, heads, size)
        # Padding stands behind all that counts, so causality alone keeps it out.
        attended = jax.nn.dot_product_attention(*jnp.moveaxis(mixed, 2, 0), is_causal=True)
        attended = attended.reshape(batch, steps, hidden_size) @ params["output_kernel"]
        return counted(embedded + attended + params["output_bias"][None, None], length)

    return Layer(init, apply, hidden_size, causal=True)


def _waves(steps: int, size: int, dtype) -> Array:
    """Vaswani et al. 2017, section 3.5: `[steps, size]`, sines at even features."""
    features = np.arange(size)
    rates = _LONGEST_WAVE ** (-2 * (features // 2) / size)
    angles = np.arange(steps)[:, None] * rates[None]
    return jnp.asarray(np.where(features % 2 == 0, np.sin(angles), np.cos(angles)), dtype)
