"""The legend of axes, and names for the arrays that carry them.

Axes, in the order in which they stand:

=========  ==============================================================
trial      trials of one cohort (only in `training`)
batch      examples of one update or of an evaluation set
time       steps of a sequence
uses       moments at which a task asks for an answer
infos      inputs that one answer depends on
input      features of one input to a cell
hidden     units of a cell
classes    width of a prediction
=========  ==============================================================

Cells and tasks are written for one example. The batch appears in `unroll`, layers and the network;
the trial axis in `training` alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

PyTree = Any

Key = PRNGKeyArray
Kernel = Float[Array, "rows columns"]
Vector = Float[Array, " width"]
Inputs = Float[Array, "time input"]
Outputs = Float[Array, "time output"]
Flags = Bool[Array, " time"]
Tokens = Int[Array, " time"]
Scalar = Float[Array, ""]


def inexact_leaves(tree: PyTree) -> list:
    """The leaves that can be differentiated; a carry may also hold integers."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def with_inexact(tree: PyTree, inexact: list) -> PyTree:
    """`tree` with its inexact leaves replaced."""
    leaves, structure = jax.tree.flatten(tree)
    new = iter(inexact)
    return structure.unflatten(
        next(new) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf for leaf in leaves
    )


def without_axes(tree: PyTree, axes: int) -> PyTree:
    """Shapes of leaves without their first axes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype), tree)


def joined(tree: PyTree) -> PyTree:
    """Leaves `[time, batch, ...]` as `[time * batch, ...]`: XLA:CPU multiplies matrices faster than
    what has two axes to sum over."""

    def join(leaf):
        time, batch, *rest = leaf.shape
        return leaf.reshape(time * batch, *rest)

    return jax.tree.map(join, tree)


def parted(tree: PyTree, time: int) -> PyTree:
    """Leaves `[time * batch, ...]` as `[time, batch, ...]`."""
    return jax.tree.map(lambda leaf: leaf.reshape(time, -1, *leaf.shape[1:]), tree)


def count(tree: PyTree) -> int:
    """Number of scalars in the leaves of `tree` (arrays or shapes of arrays)."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
