"""A cell over time: the one place that scans, prepares and batches.

`method="deferred"` is the fast path: a scan whose weight gradients wait until its backward pass is
done (`deferred.py`). `method="scan"` is a plain `lax.scan`, for forward mode and for higher
derivatives. `method="loop"` is the essay's unrolled picture, literally: a chain of explicit copies
of the cell, each handing its carry to the next. For cells that are linear in the carry there are
`method="associative"` and `method="chunked"` (`parallel.py`), for others `method="newton"`
(`newton.py`). All give the same values and gradients, which the contract suite holds for every
registered cell. `method="auto"` is the one that was measured to be fastest for the cell, the length
and the machine.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lstm_jax.arrays import Flags, Inputs, Key, Outputs, PyTree, joined, parted, without_axes
from lstm_jax.cells.base import Cell
from lstm_jax.cells.products import products, uses_key
from lstm_jax.deferred import Recurrence, scan_deferred
from lstm_jax.errors import InputError
from lstm_jax.newton import Convergence, Newton, scan_newton
from lstm_jax.on_chip import scan_on_chip
from lstm_jax.parallel import LinearRecurrence, chunk_steps, fastest, scan_linear
from lstm_jax.scans import in_segments, loop

Method = Literal["auto", "deferred", "scan", "loop", "associative", "chunked", "newton", "on_chip"]
METHODS = get_args(Method)
LINEAR_METHODS = ("associative", "chunked")


class Rows(NamedTuple):
    """Inputs that are rows of a table: tokens as one-hot or embedding vectors.

    A table that is shorter than the inputs is projected once, and its projected rows are picked.

    Attributes:
      table: `[rows, input]`.
      index: `[time]` or, in a batch, `[batch, time]`: which row.
    """

    table: Float[Array, "rows input"]
    index: Int[Array, "*batch time"]

    def picked(self) -> Float[Array, "*batch time input"]:
        """The inputs, row by row."""
        return self.table[self.index]


class Unrolled(NamedTuple):
    """What comes out of a cell over time.

    Attributes:
      outputs: `[time, output]`; zero where `mask` is False.
      carry: the carry after the last step.
      carries: the carry after every step, leaves `[time, ...]`; None unless asked for.
      convergence: with `method="newton"`, how the search went; else None.
    """

    outputs: Outputs
    carry: PyTree
    carries: PyTree | None
    convergence: Convergence | None = None


def unroll(
    cell: Cell,
    params: PyTree,
    inputs: Inputs | Rows,
    *,
    carry: PyTree | None = None,
    reset: Flags | None = None,
    mask: Flags | None = None,
    length: Int[Array, ""] | int | None = None,
    key: Key | None = None,
    **options,
) -> Unrolled:
    """Runs a cell over one sequence.

    Args:
      cell: what is run.
      params: the cell's parameters; `cell.prepare` is applied to them once, here.
      inputs: `[time, input]`, or rows of a table.
      carry: where to start; the cell's initial carry if None.
      reset: `[time]`; True restores the initial carry *before* that step.
      mask: `[time]`; False leaves the carry as it is and makes the output zero.
      length: steps that count: the same as a mask that is True for the first `length` steps.
      key: for the noise of `project`, folded by absolute time; None means evaluation.
      **options: `start`, `return_carries`, `method`, `newton` and `segment`, as for `unroll_batch`.

    Returns:
      `Unrolled(outputs, carry, carries)`.

    Raises:
      ValueError: both `mask` and `length` given, or an unknown method.
    """
    arguments = {
        "carry": carry,
        "reset": reset,
        "mask": mask,
        "length": length,
        "key": key,
    }
    arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], arguments)
    rows = isinstance(inputs, Rows)
    inputs = inputs._replace(index=inputs.index[None]) if rows else inputs[None]
    unrolled = unroll_batch(cell, params, inputs, **arguments, **options)
    return jax.tree.map(lambda leaf: leaf[0], unrolled)


def unroll_batch(
    cell: Cell,
    params: PyTree,
    inputs: Float[Array, "batch time input"] | Rows,
    *,
    carry: PyTree | None = None,
    reset: Bool[Array, "batch time"] | None = None,
    mask: Bool[Array, "batch time"] | None = None,
    length: Int[Array, " batch"] | None = None,
    key: Array | None = None,
    start: Int[Array, ""] | int = 0,
    return_carries: bool = False,
    method: Method = "auto",
    newton: Newton | None = None,
    segment: int | None = None,
    time_major: bool = False,
) -> Unrolled:
    """Runs a cell over a batch of sequences. What is an array of `unroll` has a leading batch axis.

    Args:
      cell: what is run.
      params: the cell's parameters, shared by the batch.
      inputs: `[batch, time, input]`, or rows of a table.
      carry: leaves `[batch, ...]`.
      reset: `[batch, time]`.
      mask: `[batch, time]`.
      length: `[batch]`.
      key: `[batch]` of keys.
      start: absolute time of the first step, so that a sequence cut in pieces draws the same noise.
      return_carries: whether to return every carry.
      method: `auto`, the fastest of those that follow; `deferred`; `scan`, which can be
        differentiated more than once and in forward mode; `loop`, a chain of copies (slow to
        compile; a reference). For linear cells, `associative`, a parallel scan over all steps, and
        `chunked`, over a segment at a time. A cell that calls `dot` within a loop or a branch of
        its step is scanned plainly where it would be deferred. For cells with a real carry,
        `newton`: it fails where it does not converge, so look at `convergence`. On TPU, `on_chip`:
        one kernel that keeps the weights on the chip (`on_chip.py`).
      newton: options of that method, if others than its defaults.
      segment: steps between two carries that the backward pass keeps; what lies between is computed
        again, a third more work. Memory is least near sqrt(time). None keeps everything, but
        chooses a length for `chunked`.
      time_major: whether inputs, reset, mask, outputs and carries are `[time, batch, ...]`, as they
        are scanned; it saves two transpositions.

    Returns:
      `Unrolled`, every leaf with a leading batch axis (behind time where `time_major`).

    Raises:
      InputError: a method for linear cells, with a cell that is not; Newton's, with a carry that is
        not real, with an option that cannot be, or in segments.
      ValueError: both `mask` and `length` given, an unknown method, or a segment below 1.
    """
    if mask is not None and length is not None:
        raise ValueError("give mask or length, not both")
    if method not in METHODS:
        raise ValueError(f"method={method!r}: allowed are {', '.join(map(repr, METHODS))}")
    if method in LINEAR_METHODS and cell.linear is None:
        raise InputError(f"method={method}: the cell is not linear in its carry")
    if method == "newton" and segment is not None:
        raise InputError(f"segment={segment}: method=newton takes a sequence whole")
    if segment is not None and segment < 1:
        raise ValueError(f"segment={segment}: must be at least 1")
    given = inputs.index if isinstance(inputs, Rows) else inputs
    over_time = {"inputs": given, "reset": reset, "mask": mask}
    if not time_major:
        over_time = _axes_swapped(over_time)
    steps, batch = over_time["inputs"].shape[:2]
    if method == "auto":
        method = fastest(cell.linear, steps)
    if method == "chunked" and segment is None:
        segment = chunk_steps(cell.linear)
    if length is not None:
        over_time["mask"] = jnp.arange(steps)[:, None] < jnp.asarray(length)[None]
    weights = cell.prepare(params)
    initial_carry = cell.initial_carry(weights)
    if carry is None:
        carry = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (batch, *jnp.shape(leaf))), initial_carry
        )
    keys = None
    if key is not None and uses_key(cell.project, weights, _an_input(inputs)):
        times = start + jnp.arange(steps)
        of_batch = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        keys = jax.vmap(partial(of_batch, key))(times)
    if isinstance(inputs, Rows) and (keys is not None or len(inputs.table) > batch * steps):
        inputs = over_time["inputs"] = Rows(inputs.table, over_time["inputs"]).picked()
    project, project_all, read = _projections(cell, weights, inputs)
    over_time = _AtStep(**over_time, key=keys)

    def step(shared, carry, projected, x, dot=jnp.matmul):
        weights, initial_carry = shared
        before = carry if x.reset is None else _where(x.reset, initial_carry, carry)
        after, output = cell.step(weights, before, projected, dot)
        if x.mask is not None:
            after = _where(x.mask, after, before)
            output = jnp.where(x.mask, output, jnp.zeros_like(output))
        return after, (output, after if return_carries else None)

    shared = weights, initial_carry

    def one(carry, x):
        return step(shared, carry, project(read, x), x)

    run = partial(loop if method == "loop" else lax.scan, jax.vmap(one))
    if method in LINEAR_METHODS:
        recurrence = LinearRecurrence(
            form=cell.linear,
            project_all=project_all,
            read=read,
            weights=weights,
            initial_carry=initial_carry,
            return_carries=return_carries,
            associative=method == "associative",
        )
        run = partial(scan_linear, recurrence)
    elif method in ("deferred", "on_chip"):
        projected = jax.eval_shape(project, read, without_axes(over_time, 2))
        bound = products(cell.step, weights, initial_carry, projected).bound
        if bound and method == "on_chip":
            raise InputError("method=on_chip: the cell calls `dot` within a loop or a branch")
        recurrence = Recurrence(project, step, partial(_kernels, cell, projected), project_all)
        if method == "on_chip":
            recurrence = _projected_first(recurrence)._replace(scan=scan_on_chip)
        if not bound:
            run = partial(scan_deferred, recurrence, read, shared)
    if method in ("newton", "on_chip"):
        projected = parted(project_all(read, joined(over_time)), steps)
        over_time = projected, over_time._replace(inputs=None, key=None)
    if segment is not None:
        run = partial(in_segments, run, segment)
    convergence = None
    if method == "newton":
        last, (outputs, carries), convergence = scan_newton(
            newton or Newton(), lambda carry, x: step(shared, carry, *x), carry, over_time
        )
    else:
        last, (outputs, carries) = run(carry, over_time)
    if not time_major:
        outputs, carries = _axes_swapped((outputs, carries))
    return Unrolled(outputs, last, carries, convergence)


class _AtStep(NamedTuple):
    """What one step of one example is given; over a sequence, leaves `[time, batch, ...]`. What is
    projected already needs neither inputs nor key."""

    inputs: Array | None
    reset: Array | None
    mask: Array | None
    key: Array | None


def _projected_first(recurrence: Recurrence) -> Recurrence:
    """The same recurrence over pairs of what is projected and what else a step is given."""

    def step(shared, carry, projected, x, dot):
        return recurrence.step(shared, carry, projected, x[1], dot)

    def project(_, x):
        return x[0]

    return recurrence._replace(project=project, step=step, project_all=project)


def _an_input(inputs: Array | Rows) -> jax.ShapeDtypeStruct:
    given = inputs.table if isinstance(inputs, Rows) else inputs
    return jax.ShapeDtypeStruct(given.shape[-1:], given.dtype)


def _projections(
    cell: Cell, weights: PyTree, inputs: Array | Rows
) -> tuple[Callable[[PyTree, _AtStep], PyTree], Callable[[PyTree, _AtStep], PyTree], PyTree]:
    """How a step gets what is projected: of one input, of all at once, and what both read."""
    if isinstance(inputs, Rows):
        table = jax.vmap(lambda row: cell.project(weights, row, None))(inputs.table)

        def pick(table, x):
            return jax.tree.map(lambda leaf: leaf[x.inputs], table)

        def pick_all(table, x):
            # As a product, because its transpose is: XLA:CPU is slow at adding up scattered rows.
            def pick_leaf(leaf):
                hot = jax.nn.one_hot(x.inputs, len(leaf), dtype=leaf.dtype)
                return jnp.tensordot(hot, leaf, 1)

            return jax.tree.map(pick_leaf, table)

        return pick, pick_all, table

    def project(weights, x):
        inputs = x.inputs
        if x.mask is not None:
            # Padding may hold anything: a NaN here would reach gradients through the choice below.
            inputs = jnp.where(x.mask, inputs, jnp.zeros_like(inputs))
        return cell.project(weights, inputs, x.key)

    return project, jax.vmap(project, in_axes=(None, 0)), weights


def _kernels(cell: Cell, projected: PyTree, shared: PyTree) -> list[Array]:
    """The kernels that a step calls `dot` with, in order, as functions of its weights."""
    weights, initial_carry = shared
    kernels = []

    def dot(operand, kernel):
        kernels.append(kernel)
        return operand @ kernel

    # The values at which they are asked for are irrelevant, and nothing else is computed of them.
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), projected)
    cell.step(weights, initial_carry, zeros, dot)
    return kernels


def _axes_swapped(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def _where(condition: Array, chosen: PyTree, other: PyTree) -> PyTree:
    """A choice, never a product: carries may hold -inf or integers."""
    return jax.tree.map(partial(jnp.where, condition), chosen, other)
