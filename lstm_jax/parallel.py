"""Linear cells over time without waiting for each step: the associative and the chunked form.

A segment of a sequence is projected at once, its carries come from one parallel scan of elements
(`cells/linear.py`), and it is read out at once. `unroll_batch` puts segments one after another:
`method="associative"` takes the whole sequence as one, `method="chunked"` short ones, whose
backward pass recomputes them from the carries between.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.arrays import PyTree, joined, parted, without_axes
from lstm_jax.cells.linear import AFFINE, Affine, LinearForm
from lstm_jax.programs import depends


def chunk_steps(form: LinearForm) -> int:
    """Steps of a segment of the chunked form: on CPU what fits into its cache, as measured
    (docs/performance.md). On accelerators, where a segment is a parallel scan and nothing was
    measured, as many as make it worth one."""
    if form.chunk:
        return 32
    return 128 if jax.default_backend() == "cpu" else 2048


def fastest(form: LinearForm | None, steps: int) -> str:
    """The method that was measured to be fastest at so many steps (docs/performance.md)."""
    if form is None:
        return "deferred"
    return "chunked" if steps >= (64 if form.chunk else 1024) else "deferred"


class LinearRecurrence(NamedTuple):
    """What is run over a segment of a batch.

    Attributes:
      form: of the cell.
      project_all: read, xs with leading axis `[time * batch]` -> projected, likewise.
      read: what `project_all` reads.
      weights: of the cell.
      initial_carry: of one example; where a reset leads.
      return_carries: whether all carries are wanted.
      associative: whether carries come from an associative scan on every platform. Else on CPU they
        are formed step by step, which is faster there: such a step is one multiplication and one
        addition, as the memory delivers them.
    """

    form: LinearForm
    project_all: Callable[[PyTree, PyTree], PyTree]
    read: PyTree
    weights: PyTree
    initial_carry: PyTree
    return_carries: bool
    associative: bool


def scan_linear(
    recurrence: LinearRecurrence, carry: PyTree, over_time: PyTree
) -> tuple[PyTree, PyTree]:
    """Carry `[batch, ...]` and steps `[time, batch, ...]` (with `reset` and `mask`, arrays or
    None) to the last carry, and outputs and carries (or None) `[time, batch, ...]`."""
    steps = jax.tree.leaves(over_time)[0].shape[0]
    projected = recurrence.project_all(recurrence.read, joined(over_time))
    flags = over_time.reset, over_time.mask
    if recurrence.form.chunk is not None and not recurrence.return_carries:
        in_batch = jax.vmap(
            partial(recurrence.form.chunk, recurrence.weights), (0, 1, 1, 1), (0, 1)
        )
        last, outputs = in_batch(carry, parted(projected, steps), *flags)
        return last, (_masked(outputs, over_time.mask), None)
    carries = _carries(recurrence, carry, parted(projected, steps), *flags)
    readout = partial(recurrence.form.readout, recurrence.weights, dot=jnp.matmul)
    outputs = parted(jax.vmap(readout)(joined(carries), projected), steps)
    last = jax.tree.map(lambda leaf: leaf[-1], carries)
    outputs = _masked(outputs, over_time.mask)
    return last, (outputs, carries if recurrence.return_carries else None)


def _carries(recurrence, carry, projected, reset, mask):
    """The carries after all steps."""
    algebra = recurrence.form.algebra
    element = partial(recurrence.form.element, recurrence.weights)
    if algebra is AFFINE and reset is None and mask is None:
        # What depends on no input, such as the eigenvalues of LRU, needs no axis of time.
        shapes = without_axes(projected, 2)
        fixed = depends(element, shapes, of=lambda elements: elements.decay)
        axes = jax.tree.map(lambda moves: 0 if moves else None, fixed)
    else:
        axes = 0
    out_axes = Affine(axes, 0) if algebra is AFFINE else 0
    elements = jax.vmap(jax.vmap(element, out_axes=out_axes), out_axes=out_axes)(projected)
    if mask is not None:
        elements = _chosen(mask, elements, algebra.identity(elements))
    if reset is not None:  # at a masked step too
        start = algebra.constant(recurrence.initial_carry)
        anew = jax.vmap(jax.vmap(partial(algebra.combine, start)))(elements)
        elements = _chosen(reset, anew, elements)
    if algebra is AFFINE:
        solve = partial(affine_carries, recurrence.associative)
        return jax.tree.map(solve, elements.decay, elements.driven, carry)
    combine = jax.vmap(algebra.combine)
    start = jax.vmap(algebra.constant)(carry)

    def by_step(elements, start):
        def step(before, element):
            after = combine(before, element)
            return after, algebra.value(after)

        return lax.scan(step, start, elements)[1]

    def by_composition(elements, start):
        begun = combine(start, jax.tree.map(lambda leaf: leaf[0], elements))
        elements = jax.tree.map(lambda leaf, at: leaf.at[0].set(at), elements, begun)
        return algebra.value(lax.associative_scan(jax.vmap(combine), elements))

    return _on_platform(recurrence.associative, by_step, by_composition, elements, start)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def affine_carries(
    associative: bool, decay: jax.Array, driven: jax.Array, carry: jax.Array
) -> jax.Array:
    """h_t = decay_t h_{t-1} + driven_t, elementwise, real or complex.

    The derivative is the same recurrence backwards in time, lambda_t = dh_t + decay_{t+1}
    lambda_{t+1}, with driven_t' = lambda_t and decay_t' = lambda_t h_{t-1} (Martin & Cundy 2018,
    section 2.2).

    Args:
      associative: whether by an associative scan also on CPU.
      decay: `[time, batch, ...]`, or without both axes where it is the same at all steps.
      driven: `[time, batch, ...]`.
      carry: `[batch, ...]`, h before the first step.

    Returns:
      h after each step, `[time, batch, ...]`.
    """
    return _affine_scan(associative, decay, driven, carry)


def _affine_scan(associative, decay, driven, carry, *, reverse=False):
    """Also backwards in time; `decay[t]` takes what comes before step t, or after it."""
    fixed = decay.ndim < driven.ndim

    def by_step(decay, driven, carry):
        def step(held, x):
            kept, entering = (decay[None], x) if fixed else x
            after = kept * held + entering
            return after, after

        return lax.scan(step, carry, driven if fixed else (decay, driven), reverse=reverse)[1]

    def by_composition(decay, driven, carry):
        decay = jnp.broadcast_to(decay, driven.shape)
        first = -1 if reverse else 0
        driven = driven.at[first].add(decay[first] * carry)
        combined = lax.associative_scan(AFFINE.combine, Affine(decay, driven), reverse=reverse)
        return combined.driven

    return _on_platform(associative, by_step, by_composition, decay, driven, carry)


def _on_platform(associative, by_step, by_composition, *arguments):
    if associative:
        return by_composition(*arguments)
    return lax.platform_dependent(*arguments, cpu=by_step, default=by_composition)


def _affine_forward(associative, decay, driven, carry):
    carries = _affine_scan(associative, decay, driven, carry)
    return carries, (decay, carry, carries)


def _affine_backward(associative, saved, cotangent):
    decay, carry, carries = saved
    fixed = decay.ndim < carries.ndim
    # At the last step nothing comes from behind.
    behind = decay if fixed else jnp.concatenate([decay[1:], jnp.zeros_like(decay[:1])])
    nothing = jnp.zeros_like(carry)
    entering = _affine_scan(associative, behind, cotangent, nothing, reverse=True)
    before = jnp.concatenate([carry[None], carries[:-1]])
    by_decay = entering * before
    first = decay[None] if fixed else decay[0]
    return by_decay.sum((0, 1)) if fixed else by_decay, entering, first * entering[0]


affine_carries.defvjp(_affine_forward, _affine_backward)


def _chosen(flags: jax.Array, these: PyTree, others: PyTree) -> PyTree:
    """By flags `[time, batch]`, a choice and never a product: elements may hold -inf."""

    def choose(this, other):
        return jnp.where(jnp.expand_dims(flags, range(2, this.ndim)), this, other)

    return jax.tree.map(choose, these, others)


def _masked(outputs: jax.Array, mask: jax.Array | None) -> jax.Array:
    return outputs if mask is None else _chosen(mask, outputs, jnp.zeros_like(outputs))
