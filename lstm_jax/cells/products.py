"""Which matrix products a step forms, and of what: read off its traced program."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from lstm_jax.arrays import PyTree

_PRODUCTS = ("dot_general", "ragged_dot_general", "conv_general_dilated")
_DOT = "recurrent_dot"
_WEIGHTS, _CARRY, _PROJECTED = "weights", "carry", "projected"
Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class Products(NamedTuple):
    """Shapes of the operands of the products in a step.

    Attributes:
      through_dot: those formed by `dot`.
      recurrent: outside `dot`, of something that depends on the carry with a kernel (something that
        depends on the weights alone).
      hoistable: of things that do not depend on the carry, which belong in `project` or `prepare`.
      bound: through `dot`, but within a loop or a branch of the step, or with a kernel that is not
        made of weights alone, so that the gradient of the kernel cannot wait.
    """

    through_dot: list[Shapes]
    recurrent: list[Shapes]
    hoistable: list[Shapes]
    bound: list[Shapes]


def products(step: Callable, weights: PyTree, carry: PyTree, projected: PyTree) -> Products:
    """Traces a step and sorts its products.

    Args:
      step: a cell's step.
      weights: arrays or their shapes, as are `carry` and `projected`.
    """
    found = Products([], [], [], [])

    def recording_dot(operand, kernel):
        found.through_dot.append((operand.shape, kernel.shape))
        return operand @ kernel

    recording_dot.__name__ = _DOT

    def traced(weights, carry, projected):
        # A jitted function keeps its name in the traced program, which marks what went through it.
        return step(weights, carry, projected, jax.jit(recording_dot))

    jaxpr = jax.make_jaxpr(traced)(weights, carry, projected).jaxpr
    sources = [
        {source}
        for source, tree in ((_WEIGHTS, weights), (_CARRY, carry), (_PROJECTED, projected))
        for _ in jax.tree.leaves(tree)
    ]
    _walk(jaxpr, sources, found)
    return found


def uses_key(project: Callable, weights: PyTree, inputs: PyTree) -> bool:
    """Whether a cell's `project` draws anything from its key."""
    traced = jax.make_jaxpr(project)(weights, inputs, jax.random.key(0)).jaxpr
    used = {value for eqn in traced.eqns for value in eqn.invars if isinstance(value, Var)}
    return traced.invars[-1] in used


def _walk(
    jaxpr: Jaxpr, sources: list[set[str]], found: Products, *, outermost: bool = True
) -> list[set[str]]:
    """Follows what each value depends on; returns that of the results."""
    depends = dict(zip(jaxpr.invars, sources, strict=True))

    def of(value):
        return set() if isinstance(value, Literal) else depends.get(value, set())

    for equation in jaxpr.eqns:
        inputs = [of(value) for value in equation.invars]
        results = [set().union(*inputs)] * len(equation.outvars)
        shapes = tuple(value.aval.shape for value in equation.invars[:2])
        if equation.params.get("name") == _DOT:
            if not outermost or not inputs[1] <= {_WEIGHTS}:
                found.bound.append(shapes)
        elif equation.primitive.name in _PRODUCTS:
            _sort(inputs, shapes, found)
        else:
            for inner in _inner(equation):
                # Control flow has operands of its own (a predicate, other constants), which lead.
                lead = len(inputs) - len(inner.invars)
                given = inputs[lead:] if lead >= 0 else [results[0]] * len(inner.invars)
                inner_results = _walk(inner, given, found, outermost=False)
                if lead == 0 and equation.primitive.name != "scan":
                    results = inner_results
        depends.update(zip(equation.outvars, results, strict=True))
    return [of(value) for value in jaxpr.outvars]


def _inner(equation) -> list[Jaxpr]:
    """Traced programs inside an equation: a jitted function, a branch, a loop's body."""
    values = []
    for value in equation.params.values():
        values.extend(value if isinstance(value, (tuple, list)) else [value])
    programs = [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in values]
    return [program for program in programs if isinstance(program, Jaxpr)]


def _sort(inputs: list[set[str]], shapes: Shapes, found: Products) -> None:
    left, right = inputs[:2]
    if _CARRY not in left | right:
        # A product with a constant of the program is no kernel of the cell's.
        if left or right:
            found.hoistable.append(shapes)
    elif {_WEIGHTS} in (left, right):
        found.recurrent.append(shapes)
