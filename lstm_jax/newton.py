"""Nonlinear cells in parallel over time: the whole trajectory as a root, found by Newton's method.

The carries of a sequence solve c_t = step(c_{t-1}, x_t) for all t at once. An iteration works out
all steps at the trajectory so far, and their Jacobians; what is left is a linear recurrence, which
an associative scan solves (DEER: Lim, Zhu, Selfridge & Kasim 2024, "Parallelizing non-linear
sequential models over the sequence length"). With the diagonals of the Jacobians alone (quasi-DEER:
Gonzalez, Warrington, Smith & Linderman 2024, "Towards scalable and stable parallelization of
nonlinear RNNs") an iteration is cheap and there are more of them.

Whatever stands in for the Jacobians, the first k steps are exact after k iterations, so that as
many iterations as steps always suffice; what makes it pay is that far fewer do. Steps that are
exact are taken as they are, so that this holds in floating point, too.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from lstm_jax.arrays import PyTree
from lstm_jax.cells.linear import AFFINE, Affine
from lstm_jax.errors import InputError, require_among


class Newton(NamedTuple):
    """How the trajectory is looked for.

    Attributes:
      jacobian: `full`, memory and work of `[time, carry, carry]`; or `diagonal`.
      damping: from 0 to 1; Jacobians count by one less this. It slows what converges and tames what
        does not; the root is the same. At 1 it is the fixed-point iteration of Jacobi.
      tolerance: of the residual, the largest |c_t - step(c_{t-1}, x_t)| as a share of the largest
        entry of that step, or of 1 where none is larger. None is 8 times the spacing of floats at
        1. Where each iteration leaves a share r of the error, that is up to residual / (1 - r).
      max_iterations: no more than the sequence has steps.
      on_failure: what an example that did not converge gives: `nan`, outputs and carries that are
        not numbers; or `scan`, those of a plain scan over the whole batch.
    """

    jacobian: Literal["full", "diagonal"] = "full"
    damping: float = 0.0
    tolerance: float | None = None
    max_iterations: int = 100
    on_failure: Literal["nan", "scan"] = "nan"


class Convergence(NamedTuple):
    """How the search went, for one example or `[batch]`.

    Attributes:
      iterations: done.
      residual: of the last trajectory, as `Newton.tolerance` counts it.
      converged: whether it is within the tolerance.
    """

    iterations: jax.Array
    residual: jax.Array
    converged: jax.Array


class NotConvergedError(Exception):
    """Newton's method did not reach its tolerance; the message says by how much."""


def require_converged(convergence: Convergence) -> None:
    """Raises NotConvergedError unless all examples converged. Outside `jit` only."""
    converged = jnp.atleast_1d(convergence.converged)
    if not converged.all():
        worst = jnp.where(converged, 0, jnp.atleast_1d(convergence.residual)).max()
        raise NotConvergedError(
            f"Newton's method: {int((~converged).sum())} of {converged.size} sequences did not "
            f"converge within {int(jnp.max(convergence.iterations))} iterations (residual "
            f"{float(worst):.2g}); raise max_iterations or damping, or scan"
        )


def require_options(options: Newton) -> None:
    """Raises InputError for an option that cannot be."""
    require_among("newton.jacobian", options.jacobian, ("full", "diagonal"))
    require_among("newton.on_failure", options.on_failure, ("nan", "scan"))
    if not 0 <= options.damping <= 1:
        raise InputError(f"newton.damping={options.damping}: must be from 0 to 1")
    if options.max_iterations < 1:
        raise InputError(f"newton.max_iterations={options.max_iterations}: must be at least 1")
    if options.tolerance is not None and not options.tolerance > 0:
        raise InputError(f"newton.tolerance={options.tolerance}: must be above 0")


def scan_newton(
    options: Newton, step: Callable, carry: PyTree, over_time: PyTree
) -> tuple[PyTree, PyTree, Convergence]:
    """What `lax.scan(jax.vmap(step), carry, over_time)` gives, and how it was found.

    Each example is iterated until it has converged itself; those that have stay as they are while
    others go on. The gradient is that of the implicit function: the linear recurrence of the
    transposed full Jacobians at the root, backwards in time; no iteration is differentiated.

    Args:
      options: as above.
      step: carry, x -> carry, emitted, for one example.
      carry: leaves `[batch, ...]`, real and of one float dtype.
      over_time: leaves `[time, batch, ...]`.

    Returns:
      The last carry, what was emitted `[time, batch, ...]`, and `Convergence` `[batch]`.

    Raises:
      InputError: a carry with other leaves, or an option that cannot be.
    """
    require_options(options)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(carry)}
    if len(dtypes) != 1 or not jnp.issubdtype(*dtypes, jnp.floating):
        found = ", ".join(sorted(map(str, dtypes)))
        raise InputError(f"method=newton: the carry is {found}: must be real, of one float dtype")
    solve = jax.vmap(partial(_example, options, step), (0, 1), (0, 1, 0))
    *found, convergence = solve(carry, over_time)
    found = tuple(found)
    if options.on_failure == "nan":
        instead = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), found)
    else:
        instead = lax.cond(
            convergence.converged.all(),
            lambda: found,
            lambda: lax.scan(jax.vmap(step), carry, over_time),
        )
    return *_chosen(convergence.converged, found, instead), convergence


def _example(options, step, carry, over_time):
    """One sequence."""
    start, unravel = ravel_pytree(carry)

    def flat_step(flat, x):
        return ravel_pytree(step(unravel(flat), x)[0])[0]

    fixed = lax.stop_gradient((start, over_time))
    first = jax.tree.map(lambda leaf: leaf[0], over_time)
    flat_fixed, hoisted = jax.closure_convert(flat_step, start, first)
    root, convergence = _search(
        options, lambda flat, x: flat_fixed(flat, x, *lax.stop_gradient(hoisted)), *fixed
    )
    root = lax.stop_gradient(root)
    # Once more, and differentiated: by all but the carries between, which `_implicit` answers for.
    reached = jax.vmap(flat_step)(_before(start, root), over_time)
    saved = lax.stop_gradient((hoisted, _before(start, root), over_time))
    reached = _implicit(options.jacobian, flat_fixed, saved, reached)
    _, emitted = jax.vmap(lambda flat, x: step(unravel(flat), x))(
        _before(start, reached), over_time
    )
    return unravel(reached[-1]), emitted, convergence


def _search(options, step, start, over_time):
    """The root `[time, carry]`, and how it was found."""
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = 8 * float(jnp.finfo(start.dtype).eps)
    steps = jax.vmap(step)
    length = jax.tree.leaves(over_time)[0].shape[0]
    most = min(options.max_iterations, length)
    solve = _full_update if options.jacobian == "full" else _diagonal_update

    def residuals(trajectory, reached):
        # Of what each step itself reaches: elsewhere the trajectory may still be anywhere.
        scale = jnp.abs(reached).max(axis=1, initial=1)
        return jnp.abs(trajectory - reached).max(axis=1, initial=0) / scale

    def goes_on(state):
        trajectory, reached, iterations = state
        # Not below the tolerance, rather than above: NaN goes on, too.
        return ~(residuals(trajectory, reached).max() <= tolerance) & (iterations < most)

    def iterate(state):
        trajectory, reached, iterations = state
        exact = jnp.cumprod(residuals(trajectory, reached) <= tolerance).astype(bool)
        # A step from what is exact is exact: it needs no Jacobian.
        share = jnp.where(_before(True, exact), 0, 1 - options.damping).astype(start.dtype)
        moved = solve(step, _before(start, trajectory), over_time, reached, share)
        # Where products of Jacobians overflow, the fixed-point iteration steps in.
        moved = jnp.where(jnp.isfinite(moved), moved, reached)
        return moved, steps(_before(start, moved), over_time), iterations + 1

    # As if each step were the first: a guess that is finite also where the first carry is not.
    guess = steps(jnp.broadcast_to(start, (length, *start.shape)), over_time)
    state = guess, steps(_before(start, guess), over_time), jnp.int32(0)
    trajectory, reached, iterations = lax.while_loop(goes_on, iterate, state)
    residual = residuals(trajectory, reached).max()
    return reached, Convergence(iterations, residual, residual <= tolerance)


def _full_update(step, before, over_time, reached, share):
    """c'_t = F_t + J_t (c'_{t-1} - c_{t-1}), where J_t counts by its share."""
    jacobians = jax.vmap(jax.jacfwd(step))(before, over_time)
    counts = (share > 0)[:, None]
    # A choice, not a product: what does not count may be anything, as may the first carry.
    jacobians = jnp.where(counts[:, None], share[:, None, None] * jacobians, 0)
    shift = jnp.einsum("tij,tj->ti", jacobians, jnp.where(counts, before, 0))
    return _linear(jacobians, reached - shift)


def _diagonal_update(step, before, over_time, reached, share):
    """The same with the diagonals of J_t alone."""

    def entry(direction):
        def along(flat, x):
            return (jax.jvp(lambda flat: step(flat, x), (flat,), (direction,))[1] * direction).sum()

        return jax.vmap(along)(before, over_time)

    # One entry after another: the whole Jacobian is never there.
    diagonal = lax.map(entry, jnp.eye(before.shape[1], dtype=before.dtype)).T
    counts = (share > 0)[:, None]
    diagonal = jnp.where(counts, share[:, None] * diagonal, 0)
    driven = reached - diagonal * jnp.where(counts, before, 0)
    return lax.associative_scan(AFFINE.combine, Affine(diagonal, driven))[1]


def _linear(jacobians, driven, *, reverse=False):
    """c_t = J_t c_{t-1} + driven_t from nothing; in reverse with c_{t+1} in place of c_{t-1}."""

    def combine(earlier, later):
        product = jnp.einsum("tij,tjk->tik", later[0], earlier[0])
        return product, jnp.einsum("tij,tj->ti", later[0], earlier[1]) + later[1]

    return lax.associative_scan(combine, (jacobians, driven), reverse=reverse)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _implicit(jacobian, step, saved, reached):
    """`reached` itself; its derivative goes on through the carries between."""
    del jacobian, step, saved
    return reached


def _implicit_forward(jacobian, step, saved, reached):
    del jacobian, step
    return reached, saved


def _implicit_backward(jacobian, step, saved, cotangent):
    hoisted, before, over_time = saved

    def at(flat, x):
        return step(flat, x, *hoisted)

    if jacobian == "full":
        behind = jax.vmap(jax.jacrev(at))(before, over_time).swapaxes(1, 2)
        # The carry after step t is what step t + 1 starts from; behind the last comes nothing.
        behind = jnp.concatenate([behind[1:], jnp.zeros_like(behind[:1])])
        gradient = _linear(behind, cotangent, reverse=True)
    else:

        def back(entering, given):
            own, flat, x = given
            total = own + entering
            return jax.vjp(lambda flat: at(flat, x), flat)[1](total)[0], total

        nothing = jnp.zeros_like(cotangent[0])
        gradient = lax.scan(back, nothing, (cotangent, before, over_time), reverse=True)[1]
    return jax.tree.map(_no_gradient, saved), gradient


_implicit.defvjp(_implicit_forward, _implicit_backward)


def _no_gradient(leaf):
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(leaf.shape, jax.dtypes.float0)


def _before(start, trajectory):
    """The carry before each step."""
    return jnp.concatenate([jnp.asarray(start)[None], trajectory[:-1]])


def _chosen(flags, these, others):
    """By example: a carry's batch axis is the first, that of what was emitted the second."""
    choose = jax.vmap(
        lambda flag, this, other: jax.tree.map(partial(jnp.where, flag), this, other),
        in_axes=(0, (0, 1), (0, 1)),
        out_axes=(0, 1),
    )
    return choose(flags, these, others)
