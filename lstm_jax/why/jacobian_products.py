"""Products of a cell's Jacobians, backward in time, of any size that a logarithm can hold.

A gradient that travels back over many steps soon leaves the range of a float: 1e-38 is reached by
a plain RNN in less than a hundred steps. So after every step the travelling rows are scaled by a
power of two, exactly, and the powers are counted in integers. What is told is a natural logarithm,
to one rounding of float32 however long the way was.

A carry is one vector of real numbers here: its inexact leaves one after another, a complex leaf as
its real and its imaginary parts, integer leaves left out.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lstm_jax.arrays import Inputs, PyTree, inexact_leaves, with_inexact
from lstm_jax.cells.base import Cell
from lstm_jax.unroll import unroll

_LOG_2 = float(np.log(2))


class Before(NamedTuple):
    """What stood before some steps of one sequence, the last step first.

    Attributes:
      carry: that the step was given, leaves `[lags, ...]`.
      inputs: of the step, `[lags, input]`.
    """

    carry: PyTree
    inputs: Float[Array, "lags input"]


def carry_shapes(cell: Cell) -> PyTree:
    """The shapes and dtypes of a cell's carry."""
    return jax.eval_shape(
        lambda key: cell.initial_carry(cell.prepare(cell.init(key))), jax.random.key(0)
    )


def leaf_names(cell: Cell) -> tuple[str, ...]:
    """The names of the inexact leaves of a cell's carry, in their order."""
    leaves = jax.tree_util.tree_leaves_with_path(carry_shapes(cell))
    return tuple(
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in leaves
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    )


def leaf_slices(cell: Cell) -> tuple[slice, ...]:
    """Where each of `leaf_names` stands in the vector."""
    sizes = [
        leaf.size * (2 if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else 1)
        for leaf in inexact_leaves(carry_shapes(cell))
    ]
    ends = np.cumsum([0, *sizes])
    return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends))


def vector_dtype(cell: Cell) -> jnp.dtype:
    """The dtype of the vector of a cell's carry."""
    return jax.eval_shape(vector, carry_shapes(cell)).dtype


def vector(carry: PyTree) -> Float[Array, " numbers"]:
    """A carry as one vector of real numbers."""
    parts = []
    for leaf in inexact_leaves(carry):
        is_complex = jnp.iscomplexobj(leaf)
        parts += [leaf.real, leaf.imag] if is_complex else [leaf]
    return jnp.concatenate([part.reshape(-1) for part in parts])


def with_vector(carry: PyTree, numbers: Float[Array, " numbers"]) -> PyTree:
    """`carry` with the numbers of its inexact leaves replaced."""
    leaves, start = [], 0
    for leaf in inexact_leaves(carry):
        end = start + leaf.size
        part = numbers[start:end].reshape(leaf.shape)
        if jnp.iscomplexobj(leaf):
            start, end = end, end + leaf.size
            part = lax.complex(part, numbers[start:end].reshape(leaf.shape))
        leaves.append(part)
        start = end
    return with_inexact(carry, leaves)


def before(
    cell: Cell, params: PyTree, inputs: Inputs, last: Array | int, count: int
) -> tuple[PyTree, Before]:
    """Runs a cell, and gives its weights and what stood before the steps `last`, `last` - 1, ...,
    as many as `count`. The cell is run as in evaluation, without noise.

    Args:
      cell: what is run.
      params: its parameters.
      inputs: `[time, input]`.
      last: the step to begin with, at least `count` - 1.
      count: of steps.
    """
    weights = cell.prepare(params)
    carries = unroll(cell, params, inputs, return_carries=True, method="scan").carries
    start = cell.initial_carry(weights)
    given = jax.tree.map(
        lambda first, after: jnp.concatenate([jnp.asarray(first)[None], after[:-1]]), start, carries
    )
    steps = last - jnp.arange(count)
    return weights, jax.tree.map(lambda leaf: leaf[steps], Before(given, inputs))


def backward(
    cell: Cell,
    weights: PyTree,
    given: Before,
    rows: tuple[Float[Array, "rows output"], Float[Array, "rows numbers"]],
    measure: Callable[[Array, Array], Array],
) -> Float[Array, "lags rows parts"]:
    """Takes cotangents back over the steps of `given`, one after another.

    Args:
      cell: whose steps they are.
      weights: of the cell, prepared.
      given: what stood before the steps, the last one first.
      rows: cotangents of the last step's output and of the carry after it, one a row.
      measure: rows by the carry `[rows, numbers]` and by the input `[rows, input]` of a step ->
        natural logarithms `[rows, parts]` of what is to be known of them, each of which rises by
        log(2) where the rows are doubled (see `log_norm`).

    Returns:
      What `measure` says after each step, `[lags, rows, parts]`; -inf where a row is zero.
    """

    def back(state, at):
        output_rows, carry_rows, exponents = state

        def step(numbers, inputs):
            carry = with_vector(at.carry, numbers)
            carry, output = cell.step(weights, carry, cell.project(weights, inputs, None))
            return output, vector(carry)

        _, pull = jax.vjp(step, vector(at.carry), at.inputs)
        carry_rows, input_rows = jax.vmap(pull)((output_rows, carry_rows))
        # The rows are smaller than they should be by a power of two that is known.
        logs = measure(carry_rows, input_rows)
        logs = logs + (_LOG_2 * exponents.astype(logs.dtype))[:, None]
        _, shift = jnp.frexp(jnp.max(jnp.abs(carry_rows), axis=1, initial=0))
        carry_rows = jnp.ldexp(carry_rows, -shift[:, None])
        # Only the last step's output is asked about.
        return (jnp.zeros_like(output_rows), carry_rows, exponents + shift), logs

    exponents = jnp.zeros(len(rows[0]), jnp.int32)
    return lax.scan(back, (*rows, exponents), given)[1]


def log_norm(values: Array, axis: int = -1) -> Array:
    """The natural logarithm of the 2-norm along an axis, -inf of zeros; squares may underflow."""
    largest = jnp.max(jnp.abs(values), axis=axis, keepdims=True, initial=0)
    scaled = values / jnp.where(largest > 0, largest, jnp.ones_like(largest))
    norm = 0.5 * jnp.log(jnp.sum(jnp.square(scaled), axis=axis))
    return norm + jnp.log(jnp.squeeze(largest, axis))


def log_root_sum(logs: Array, axis: int) -> Array:
    """The logarithm of the root of the sum of squares of what `logs` are the logarithms of."""
    return 0.5 * jax.nn.logsumexp(2 * logs, axis=axis)
