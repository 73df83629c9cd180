"""Masks of dropout and zoneout, drawn in `project` from its key."""

import jax
import jax.numpy as jnp

from lstm_jax.arrays import Key, Vector


def dropout_mask(key: Key | None, shape: tuple[int, ...], rate: float, dtype) -> Vector:
    """0 with probability `rate`, else 1 / (1 - rate), so that the mean is 1; ones without a key."""
    if key is None:
        return jnp.ones(shape, dtype)
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return kept.astype(dtype) / (1 - rate)
