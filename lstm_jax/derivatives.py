"""Values with a derivative of their own."""

from collections.abc import Callable

import jax
from jax.custom_derivatives import zero_from_primal

from lstm_jax.arrays import PyTree


def tied(backward: Callable[[PyTree, PyTree], PyTree]) -> Callable[..., PyTree]:
    """A function of variables, value and saved arrays that is `value`, and whose derivative by the
    variables is `backward(saved, cotangent)`."""

    @jax.custom_vjp
    def given(variables, value, saved):
        del variables, saved
        return value

    given.defvjp(
        lambda variables, value, saved: (value, saved),
        lambda saved, cotangent: (backward(saved, cotangent), None, None),
    )
    return given


@jax.custom_jvp
def constant_once(tree: PyTree) -> PyTree:
    """The tree, constant for a first derivative and an error in a second."""
    return tree


def _constant_jvp(primals, tangents):
    del tangents
    (tree,) = primals
    return _never(tree), jax.tree.map(
        lambda leaf: zero_from_primal(leaf, symbolic_zeros=True), tree
    )


constant_once.defjvp(_constant_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _never(tree: PyTree) -> PyTree:
    return tree


@_never.defjvp
def _never_jvp(primals, tangents):
    raise NotImplementedError(
        "a second derivative of unroll(method='deferred'): method='scan' has it"
    )
