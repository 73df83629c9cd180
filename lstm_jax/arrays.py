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

Cells, layers and tasks are written for one example, so batch and trial appear in one place each:
`unroll.unroll_batch` and `training`.
"""

from typing import Any

import jax
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


def count(tree: PyTree) -> int:
    """Number of scalars in the leaves of `tree` (arrays or shapes of arrays)."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
