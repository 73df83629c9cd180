"""How fast the gradient of a cell fades with lag, before any training: a diagnosis, no clause."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lstm_jax.arrays import inexact_leaves, with_inexact
from lstm_jax.cells.base import Cell
from lstm_jax.errors import InputError

INPUT_SIZE, HIDDEN_SIZE, LAGS, EXAMPLES = 8, 32, 400, 8
FADED = 1e-6


def gradient_norms(
    cell: Cell, input_size: int, *, lags: int = LAGS, seed: int = 0
) -> Float[Array, " lags"]:
    """Norm of the gradient of an output by the carry of n steps before, for n = 1 to `lags`.

    Args:
      cell: what is looked at, with fresh parameters.
      input_size: features of its inputs, which are N(0, 1).
      lags: how far back.
      seed: of parameters, inputs and the directions in which the output is measured.

    Returns:
      Root mean square over examples, element n - 1 for lag n.
    """
    init_key, input_key, direction_key = jax.random.split(jax.random.key(seed), 3)
    inputs = jax.random.normal(input_key, (EXAMPLES, lags, input_size))
    directions = jax.random.normal(direction_key, (EXAMPLES, cell.output_size))

    @jax.jit
    def squares(key, inputs, directions):
        weights = cell.prepare(cell.init(key))
        start = cell.initial_carry(weights)

        def last_output(shifts, inputs, direction):
            def step(carry, at_time):
                shift, inputs_t = at_time
                moved = [leaf + by for leaf, by in zip(inexact_leaves(carry), shift, strict=True)]
                projected = cell.project(weights, inputs_t, None)
                return cell.step(weights, with_inexact(carry, moved), projected, jnp.matmul)

            return (lax.scan(step, start, (shifts, inputs))[1][-1] * direction).sum()

        # The gradient by a zero that is added to every carry is the gradient by that carry.
        shifts = [jnp.zeros((lags, *leaf.shape), leaf.dtype) for leaf in inexact_leaves(start)]
        gradients = jax.vmap(jax.grad(last_output), (None, 0, 0))(shifts, inputs, directions)
        flat = [jnp.abs(leaf).reshape(EXAMPLES, lags, -1) ** 2 for leaf in gradients]
        return sum(leaf.sum(-1) for leaf in flat).mean(0)

    return np.sqrt(np.asarray(squares(init_key, inputs, directions))[::-1])


def describe(build: Callable[..., Cell]) -> str:
    """A line on the lag at which a fresh cell's gradient is lost, or that it is not.

    Args:
      build: `(input_size, hidden_size) -> Cell`.
    """
    try:
        norms = gradient_norms(build(INPUT_SIZE, HIDDEN_SIZE), INPUT_SIZE)
    except InputError as error:
        return f"gradient by lag: not measured ({error})"
    at = f"in a fresh cell of hidden size {HIDDEN_SIZE}"
    if norms[0] == 0 or not np.isfinite(norms[0]):
        return f"gradient by lag: {norms[0]:g} at lag 1 already, {at}"
    ratios = norms / norms[0]
    lost = np.flatnonzero(ratios < FADED)
    if not np.isfinite(ratios).all():
        return f"gradient by lag: not finite from lag {np.argmin(np.isfinite(ratios)) + 1}, {at}"
    if lost.size:
        return (
            f"gradient by lag: under {FADED:g} of that at lag 1 from lag {lost[0] + 1} on, {at}; "
            "training starts blind beyond"
        )
    return f"gradient by lag: at lag {LAGS} still {ratios[-1]:.2g} of that at lag 1, {at}"
