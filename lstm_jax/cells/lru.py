"""The linear recurrent unit: complex, diagonal, linear."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import require_positive, scaled_normal
from lstm_jax.cells.linear import AFFINE, Affine, LinearForm
from lstm_jax.errors import InputError


class LRUParams(NamedTuple):
    decay: jax.Array  # [hidden], nu: |lambda| = exp(-exp(nu))
    phase: jax.Array  # [hidden], log of theta
    input_scale: jax.Array  # [hidden], log of gamma
    input_kernel: jax.Array  # [input, 2 * hidden], B: real and imaginary part
    output_kernel: jax.Array  # [2 * hidden, hidden], C: real part above, imaginary below
    skip_kernel: jax.Array  # [input, hidden], D


class DiagonalWeights(NamedTuple):
    """A diagonal linear recurrence, discrete in time; shared with S5."""

    eigenvalues: jax.Array  # [hidden], complex
    input_kernel: jax.Array  # [input, 2 * hidden], real and imaginary part
    output_kernel: jax.Array  # [2 * hidden, output], [real part of C; -imaginary part of C]
    skip_kernel: jax.Array  # [input, output]


class DiagonalCarry(NamedTuple):
    state: jax.Array  # [hidden], complex


def diagonal_cell(init, prepare, hidden_size: int) -> Cell:
    """h_t = lambda h_{t-1} + x_t B, y_t = Re(h_t C) + x_t D, for `prepare` giving DiagonalWeights
    and as many outputs as states."""

    def initial_carry(weights):
        return DiagonalCarry(state=jnp.zeros_like(weights.eigenvalues))

    def project(weights, inputs, key):
        del key
        real, imaginary = jnp.split(inputs @ weights.input_kernel, 2)
        return lax.complex(real, imaginary), inputs @ weights.skip_kernel

    def element(weights, projected):
        driven, _ = projected
        return Affine(DiagonalCarry(weights.eigenvalues), DiagonalCarry(driven))

    def readout(weights, carry, projected, dot):
        _, skipped = projected
        # Re(h C) as one real product.
        seen = dot(jnp.concatenate([carry.state.real, carry.state.imag]), weights.output_kernel)
        return seen + skipped

    form = LinearForm(element, readout, AFFINE)
    return Cell(init, initial_carry, project, form.step, hidden_size, prepare, linear=form)


def lru(
    input_size: int,
    hidden_size: int,
    *,
    min_radius: float = 0.0,
    max_radius: float = 1.0,
    max_phase: float = 6.283185307179586,
) -> Cell:
    """Linear recurrent unit (Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu & De 2023,
    "Resurrecting recurrent neural networks for long sequences")::

        lambda = exp(-exp(nu) + i exp(theta)),  gamma = sqrt(1 - |lambda|^2) at the start
        h_t = lambda h_{t-1} + gamma (x_t B)
        y_t = Re(h_t C) + x_t D

    The layer alone: it is linear in its inputs, and the paper puts a gated MLP after each.

    Args:
      input_size: features of one input.
      hidden_size: complex units of h, and features of the output y_t.
      min_radius: |lambda|^2 starts uniform between the squares of this
      max_radius: and this. Near 1 for long memory (the paper: 0.9 to 0.999 for its longest tasks).
      max_phase: the phase starts uniform between 0 and this. B ~ N(0, 1/(2 input)) for both parts,
        C ~ N(0, 1/hidden), D ~ N(0, 1/input).

    Raises:
      InputError: radii that are not 0 <= min < max <= 1, or a phase that is not above 0.
    """
    if not 0 <= min_radius < max_radius <= 1:
        raise InputError(
            f"min_radius={min_radius}, max_radius={max_radius}: must be 0 <= min < max <= 1"
        )
    require_positive("max_phase", max_phase)

    def init(key):
        radius_key, phase_key, input_key, output_key, skip_key = jax.random.split(key, 5)
        # Neither end itself: its logarithms are infinite.
        draws = jax.random.uniform(radius_key, (hidden_size,), minval=1e-6, maxval=1 - 1e-6)
        squared = draws * (max_radius**2 - min_radius**2) + min_radius**2
        phases = max_phase * jax.random.uniform(phase_key, (hidden_size,), minval=1e-6)
        return LRUParams(
            decay=jnp.log(-0.5 * jnp.log(squared)),
            phase=jnp.log(phases),
            input_scale=0.5 * jnp.log1p(-squared),
            input_kernel=0.5**0.5 * scaled_normal(input_key, input_size, 2 * hidden_size),
            output_kernel=2**0.5 * scaled_normal(output_key, 2 * hidden_size, hidden_size),
            skip_kernel=scaled_normal(skip_key, input_size, hidden_size),
        )

    def prepare(params):
        radius, phase = jnp.exp(-jnp.exp(params.decay)), jnp.exp(params.phase)
        scale = jnp.exp(params.input_scale)
        signs = jnp.repeat(jnp.asarray([1, -1], params.decay.dtype), hidden_size)
        return DiagonalWeights(
            lax.complex(radius * jnp.cos(phase), radius * jnp.sin(phase)),
            params.input_kernel * jnp.concatenate([scale, scale])[None],
            params.output_kernel * signs[:, None],
            params.skip_kernel,
        )

    return diagonal_cell(init, prepare, hidden_size)
