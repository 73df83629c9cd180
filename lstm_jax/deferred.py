"""Backpropagation through time with the gradients of kernels deferred.

The derivative of a plain `lax.scan` adds to the gradient of each kernel at every step: the whole of
it is read and written each time. Here the backward scan only writes down the gradient by the result
of each recurrent product, and the gradient of a kernel is one product, over batch and time at once.
It works for any cell that forms its recurrent products with `dot`.

1. A forward scan, which is not differentiated, writes down what the derivative of a step reads:
   results of products and transcendental functions; the cheap arithmetic between is done again.
2. Projections and recurrent products stand there once more, over all steps, for their derivative
   alone: nothing reads their values, so XLA leaves them out. As ordinary operations on
   `[time * batch, ...]`, they have transposes that sum over batch and time in one product.
3. A `custom_vjp` ties the two: its value is what the forward scan gave, and its derivative a
   reversed scan over what that wrote down.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

from lstm_jax.arrays import PyTree, inexact_leaves, joined, with_inexact, without_axes
from lstm_jax.derivatives import constant_once, tied
from lstm_jax.programs import alone, inlined, name, reached

# Dearer to do again than to read back. A slice counts, so that of a product only what is needed is
# kept.
_TRANSCENDENTAL = (
    "acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma erf erf_inv erfc exp exp2 expm1 "
    "lgamma log log1p logistic pow rsqrt sin sinh sqrt tan tanh"
)
_PRODUCTS = "conv_general_dilated dot_general ragged_dot_general"
_KEPT = frozenset(f"{_TRANSCENDENTAL} {_PRODUCTS} slice split".split())


class Recurrence(NamedTuple):
    """What is scanned, for one example.

    Attributes:
      project: weights, x -> projected: all that needs no carry.
      step: shared, carry, projected, x, dot -> carry, emitted. It calls `dot(operand, kernel)` as
        often and in the same order each time.
      kernels: shared -> the kernels of those calls.
      project_all: weights, xs with leading axis `[time * batch]` -> projected, likewise. It is what
        is differentiated of `project`, and its values are not read.
      scan: as `lax.scan`, forwards and backwards; it is not differentiated.
    """

    project: Callable[[PyTree, PyTree], PyTree]
    step: Callable[..., tuple[PyTree, PyTree]]
    kernels: Callable[[PyTree], list[jax.Array]]
    project_all: Callable[[PyTree, PyTree], PyTree]
    scan: Callable[..., tuple[PyTree, PyTree]] = lax.scan


class _Fixed(NamedTuple):
    """What each step reads."""

    weights: PyTree
    shared: PyTree
    kernels: list[jax.Array]


class _Record(NamedTuple):
    """What is known of a step afterwards: of one example, or leaves `[time, batch, ...]`."""

    x: PyTree
    emitted: PyTree
    kept: list[jax.Array]


class _Variables(NamedTuple):
    """What is differentiated by: of one step of one example, or `carry` with leaves `[batch, ...]`
    and `projected` and `products` with `[time * batch, ...]`. Inexact leaves alone."""

    carry: list[jax.Array]
    projected: list[jax.Array]
    products: list[jax.Array]
    shared: list[jax.Array]


def scan_deferred(
    recurrence: Recurrence, weights: PyTree, shared: PyTree, carry: PyTree, over_time: PyTree
) -> tuple[PyTree, PyTree]:
    """`lax.scan` of a recurrence over a batch: the same values and the same first derivatives.

    Args:
      recurrence: what is scanned.
      weights: what `project` reads.
      shared: what `step` reads.
      carry: where to start, leaves `[batch, ...]`.
      over_time: what each step is given, leaves `[time, batch, ...]`.

    Returns:
      The last carry, and what was emitted, leaves `[time, batch, ...]`.

    Raises:
      NotImplementedError: when it is differentiated a second time.
    """
    kernels = recurrence.kernels(shared)
    fixed, start, xs = constant_once((_Fixed(weights, shared, kernels), carry, over_time))
    ahead = _Ahead(recurrence, fixed, start, xs)
    last, record = ahead.scan(fixed, start, xs)
    operands = ahead.find(ahead.operands, fixed, record)
    variables = _Variables(
        carry=inexact_leaves(carry),
        projected=inexact_leaves(recurrence.project_all(weights, joined(over_time))),
        products=[
            joined(operand) @ kernel for operand, kernel in zip(operands, kernels, strict=True)
        ],
        shared=inexact_leaves(shared),
    )
    behind = _Behind(recurrence, ahead, fixed, last, record)
    return tied(behind.scan)(variables, (last, record.emitted), (fixed, record))


class _Ahead:
    """The forward scan: one step of it as a traced program, and where what it gives is found.

    Attributes:
      residuals: where the leaves of a step's derivative are found.
      operands: where those of its products are.
      derivative: the tree of which `residuals` are the leaves: a function from cotangents of
        inexact leaves of (carry, emitted) to those of `_Variables`.
    """

    def __init__(self, recurrence: Recurrence, fixed: _Fixed, carry: PyTree, xs: PyTree):
        self._scan = recurrence.scan

        def one(fixed, carry, x):
            after, emitted, derivative, operands = _differentiated(recurrence, fixed, carry, x)
            residuals, self.derivative = jax.tree.flatten(derivative)
            return after, emitted, residuals, operands

        carry, x = without_axes(carry, 1), without_axes(xs, 2)
        closed, shapes = jax.make_jaxpr(one, return_shape=True)(fixed, carry, x)
        self._program = inlined(closed)
        self._carry = jax.tree.structure(carry)
        _, self._emitted, residuals, _ = (jax.tree.structure(shape) for shape in shapes)
        jaxpr = self._program.jaxpr
        first = self._carry.num_leaves
        self._emitted_at = slice(first, first + self._emitted.num_leaves)
        given = zip(("fixed", "carry", "x"), (fixed, carry, x), strict=True)
        inputs = [(kind, i) for kind, tree in given for i in range(len(jax.tree.leaves(tree)))]
        self._places: dict[Any, tuple[str, Any]] = dict(zip(jaxpr.invars, inputs, strict=True))
        self._places.update((var, ("constant", i)) for i, var in enumerate(jaxpr.constvars))
        for i, var in enumerate(jaxpr.outvars[self._emitted_at]):
            self._places.setdefault(name(var), ("emitted", i))
        self._kept: list[int] = []  # of the program's results
        middle = self._emitted_at.stop + residuals.num_leaves
        wanted = range(self._emitted_at.stop, middle), range(middle, len(jaxpr.outvars))
        self.operands = [self._place(i, ("x", "emitted", "kept")) for i in wanted[1]]
        everywhere = ("x", "emitted", "kept", "fixed", "constant", "cut")
        whole = {name(jaxpr.outvars[i]) for i in wanted[0]}
        for equation in jaxpr.eqns:
            # A slice of what is kept anyway is cut out of it again.
            if equation.primitive.name in ("slice", "split") and equation.invars[0] in whole:
                for i, var in enumerate(equation.outvars):
                    self._places.setdefault(var, ("cut", (equation, i)))
        self.residuals = [self._place(i, everywhere) for i in wanted[0]]

    def _place(self, result: int, allowed: tuple[str, ...]) -> tuple[str, Any]:
        """Where a result of the program is found; it is kept if it is nowhere else."""
        value = name(self._program.jaxpr.outvars[result])
        if self._places.get(value, ("nowhere", 0))[0] not in allowed:
            self._places[value] = ("kept", len(self._kept))
            self._kept.append(result)
        return self._places[value]

    def scan(self, fixed: _Fixed, carry: PyTree, xs: PyTree) -> tuple[PyTree, _Record]:
        """The last carry, and the record of all steps."""

        def one(carry, x):
            results = jaxpr_as_fun(self._program)(*jax.tree.leaves((fixed, carry, x)))
            after = self._carry.unflatten(results[: self._emitted_at.start])
            emitted = self._emitted.unflatten(results[self._emitted_at])
            return after, (emitted, [results[i] for i in self._kept])

        carry, (emitted, kept) = self._scan(jax.vmap(one), carry, xs)
        return carry, _Record(xs, emitted, kept)

    def find(self, places: list[tuple[str, Any]], fixed: _Fixed, record: _Record) -> list:
        """The arrays at these places."""
        held = {
            "fixed": jax.tree.leaves(fixed),
            "constant": self._program.consts,
            "x": jax.tree.leaves(record.x),
            "emitted": jax.tree.leaves(record.emitted),
            "kept": record.kept,
        }

        def at(kind, where):
            if kind != "cut":
                return held[kind][where]
            equation, i = where
            whole = at(*self._places[equation.invars[0]])
            return alone(self._program.jaxpr, equation)(whole)[i]

        return [at(*place) for place in places]


class _Behind:
    """The backward scan: one step of it as a traced program."""

    def __init__(
        self, recurrence: Recurrence, ahead: _Ahead, fixed: _Fixed, last: PyTree, record: _Record
    ):
        self._scan = recurrence.scan

        def one(fixed, record, after, emitted):
            derivative = ahead.derivative.unflatten(ahead.find(ahead.residuals, fixed, record))
            return _Variables(*derivative((after, emitted)))

        record = without_axes(record, 2)
        after = without_axes(inexact_leaves(last), 1)
        emitted = inexact_leaves(record.emitted)
        closed, self._shapes = jax.make_jaxpr(one, return_shape=True)(fixed, record, after, emitted)
        self._program = inlined(closed)
        where = iter(range(len(self._program.jaxpr.outvars)))
        self._where = _Variables(*([next(where) for _ in shapes] for shapes in self._shapes))
        # Where a product is added to what was projected, the gradients by both are one array.
        results = list(map(name, self._program.jaxpr.outvars))
        first: dict[Any, int] = {}
        self._same = [first.setdefault(value, i) for i, value in enumerate(results)]
        written = (*self._where.projected, *self._where.products)
        self._written = sorted({self._same[i] for i in written})
        live = reached(self._program)
        self._used = [i for i in self._where.shared if results[i] in live]

    def scan(self, saved: tuple[_Fixed, _Record], cotangent: PyTree) -> _Variables:
        """Gradients by the variables, from those by (last carry, emitted)."""
        fixed, record = saved
        where = self._where

        def one(after, total, record, emitted):
            results = jaxpr_as_fun(self._program)(*jax.tree.leaves((fixed, record, after, emitted)))
            total = [so_far + results[i] for so_far, i in zip(total, self._used, strict=True)]
            return [results[i] for i in where.carry], total, [results[i] for i in self._written]

        def body(carried, at_step):
            after, total, written = jax.vmap(one)(*carried, *at_step)
            return (after, total), written

        last, emitted = (inexact_leaves(tree) for tree in cotangent)
        batch = jax.tree.leaves(record)[0].shape[1]
        shared = dict(zip(where.shared, self._shapes.shared, strict=True))
        total = [jnp.zeros((batch, *shared[i].shape), shared[i].dtype) for i in self._used]
        at_steps = record, emitted
        (carry, total), written = self._scan(body, (last, total), at_steps, reverse=True)
        gradients = dict(zip(self._written, map(joined, written), strict=True))
        used = dict(zip(self._used, total, strict=True))
        return _Variables(
            carry=carry,
            projected=[gradients[self._same[i]] for i in where.projected],
            products=[gradients[self._same[i]] for i in where.products],
            shared=[
                used[i].sum(0) if i in used else jnp.zeros(shape.shape, shape.dtype)
                for i, shape in shared.items()
            ],
        )


def _differentiated(recurrence: Recurrence, fixed: _Fixed, carry: PyTree, x: PyTree):
    """One step: the carry after it, what it emits, its derivative, the operands of its products."""
    projected = recurrence.project(fixed.weights, x)

    def results(variables: _Variables):
        operands = []

        def dot(operand, _):
            at = len(operands)
            operands.append(operand)
            product = jnp.matmul(operand, fixed.kernels[at])
            return product if variables.products is None else product + variables.products[at]

        after, emitted = recurrence.step(
            with_inexact(fixed.shared, variables.shared),
            with_inexact(carry, variables.carry),
            with_inexact(projected, variables.projected),
            x,
            dot,
        )
        return (inexact_leaves(after), inexact_leaves(emitted)), (after, emitted, operands)

    variables = _Variables(
        inexact_leaves(carry), inexact_leaves(projected), None, inexact_leaves(fixed.shared)
    )
    _, (_, _, operands) = jax.eval_shape(results, variables)
    products = [
        jnp.zeros(kernel.shape[1:], jnp.result_type(operand, kernel))
        for operand, kernel in zip(operands, fixed.kernels, strict=True)
    ]
    variables = variables._replace(products=products)
    kept = jax.checkpoint(
        lambda *variables: results(_Variables(*variables)),
        prevent_cse=False,  # in a scan nothing is there to merge with
        policy=lambda primitive, *_, **__: primitive.name in _KEPT,
    )
    _, derivative, (after, emitted, operands) = jax.vjp(kept, *variables, has_aux=True)
    return after, emitted, derivative, operands
