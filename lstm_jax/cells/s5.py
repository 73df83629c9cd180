"""S5: a diagonal state space, sampled."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import scaled_normal
from lstm_jax.cells.lru import DiagonalWeights, diagonal_cell
from lstm_jax.errors import InputError

_LARGEST_STEP = 1000.0


class S5Params(NamedTuple):
    decay: jax.Array  # [hidden], log of -Re(Lambda)
    frequency: jax.Array  # [hidden], Im(Lambda)
    log_step: jax.Array  # [hidden], log of Delta
    input_kernel: jax.Array  # [input, 2 * hidden], B: real and imaginary part
    output_kernel: jax.Array  # [2 * hidden, hidden], C: real part above, imaginary below
    skip_kernel: jax.Array  # [input, hidden], D


def s5(
    input_size: int, hidden_size: int, *, min_step: float = 0.001, max_step: float = 0.1
) -> Cell:
    """S5 with a diagonal start (Smith, Warrington & Linderman 2023, "Simplified state space layers
    for sequence modeling"; spectrum: S4D-Lin of Gu, Gupta, Goel & Re 2022, "On the parameterization
    and initialization of diagonal state space models")::

        Lambda_n = -1/2 + i pi n at the start, one step Delta_n a state
        Lambda' = exp(Lambda Delta),  B' = Lambda^{-1} (Lambda' - 1) B     (zero-order hold)
        h_t = Lambda' h_{t-1} + x_t B'
        y_t = 2 Re(h_t C) + x_t D

    The layer alone: it is linear in its inputs, and the papers put a nonlinearity after each. S5
    itself starts with the spectrum of HiPPO-N, which S4D-Lin comes near.

    Args:
      input_size: features of one input.
      hidden_size: complex units of h, each standing for a conjugate pair, and features of y_t.
      min_step: Delta starts log-uniform between this
      max_step: and this. B ~ N(0, 1/(2 input)) and C ~ N(0, 1/(2 hidden)) for both parts,
        D ~ N(0, 1/input).

    Raises:
      InputError: steps that are not 0 < min <= max <= 1000.
    """
    if not 0 < min_step <= max_step <= _LARGEST_STEP:
        raise InputError(
            f"min_step={min_step}, max_step={max_step}: must be 0 < min <= max <= {_LARGEST_STEP:g}"
        )

    def init(key):
        step_key, input_key, output_key, skip_key = jax.random.split(key, 4)
        bounds = np.log(min_step), np.log(max_step)
        return S5Params(
            decay=jnp.full(hidden_size, np.log(0.5), jnp.float32),
            frequency=jnp.pi * jnp.arange(hidden_size, dtype=jnp.float32),
            log_step=jax.random.uniform(
                step_key, (hidden_size,), minval=bounds[0], maxval=bounds[1]
            ),
            input_kernel=0.5**0.5 * scaled_normal(input_key, input_size, 2 * hidden_size),
            output_kernel=scaled_normal(output_key, 2 * hidden_size, hidden_size),
            skip_kernel=scaled_normal(skip_key, input_size, hidden_size),
        )

    def prepare(params):
        step = jnp.exp(params.log_step)
        continuous = lax.complex(-jnp.exp(params.decay), params.frequency)
        moved = lax.complex(-jnp.exp(params.decay) * step, params.frequency * step)
        discrete = jnp.exp(moved)
        held = jnp.expm1(moved) / continuous
        real, imaginary = jnp.split(params.input_kernel, 2, axis=1)
        driven = held[None] * lax.complex(real, imaginary)
        signs = jnp.repeat(jnp.asarray([2, -2], params.decay.dtype), hidden_size)
        return DiagonalWeights(
            discrete,
            jnp.concatenate([driven.real, driven.imag], axis=1),
            params.output_kernel * signs[:, None],
            params.skip_kernel,
        )

    return diagonal_cell(init, prepare, hidden_size)
