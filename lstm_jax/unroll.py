"""A cell over time: the one place that scans, prepares and batches.

`method="scan"` is the fast path. `method="loop"` is the essay's unrolled picture, literally: a
chain of explicit copies of the cell, each handing its carry to the next. Both give the same values,
which the contract suite holds for every registered cell.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from lstm_jax.arrays import Flags, Inputs, Key, Outputs, PyTree
from lstm_jax.cells.base import Cell, Dot

Method = Literal["scan", "loop"]


class Unrolled(NamedTuple):
    """What comes out of a cell over time.

    Attributes:
      outputs: `[time, output]`; zero where `mask` is False.
      carry: the carry after the last step.
      carries: the carry after every step, leaves `[time, ...]`; None unless asked for.
    """

    outputs: Outputs
    carry: PyTree
    carries: PyTree | None


def unroll(
    cell: Cell,
    params: PyTree,
    inputs: Inputs,
    *,
    carry: PyTree | None = None,
    reset: Flags | None = None,
    mask: Flags | None = None,
    length: Int[Array, ""] | int | None = None,
    key: Key | None = None,
    start: Int[Array, ""] | int = 0,
    return_carries: bool = False,
    method: Method = "scan",
    dot: Dot = jnp.matmul,
) -> Unrolled:
    """Runs a cell over one sequence.

    Args:
      cell: what is run.
      params: the cell's parameters; `cell.prepare` is applied to them once, here.
      inputs: `[time, input]`.
      carry: where to start; the cell's initial carry if None.
      reset: `[time]`; True restores the initial carry *before* that step.
      mask: `[time]`; False leaves the carry as it is and makes the output zero.
      length: steps that count: the same as a mask that is True for the first `length` steps.
      key: for the noise of `project`, folded by absolute time; None means evaluation.
      start: absolute time of the first step, so that a sequence cut in pieces draws the same noise.
      return_carries: whether to return every carry.
      method: `scan`, or `loop` for a chain of copies (slow to compile; a reference).
      dot: how recurrent products are formed.

    Returns:
      `Unrolled(outputs, carry, carries)`.

    Raises:
      ValueError: both `mask` and `length` given, or an unknown method.
    """
    if mask is not None and length is not None:
        raise ValueError("give mask or length, not both")
    if method not in ("scan", "loop"):
        raise ValueError(f"method={method!r}: allowed are 'scan', 'loop'")
    steps = inputs.shape[0]
    if length is not None:
        mask = jnp.arange(steps) < length
    weights = cell.prepare(params)
    initial_carry = cell.initial_carry(weights)

    def step(carry, at_time):
        inputs_t, reset_t, mask_t, time = at_time
        key_t = None if key is None else jax.random.fold_in(key, start + time)
        before = carry if reset_t is None else _where(reset_t, initial_carry, carry)
        if mask_t is not None:
            # Padding may hold anything: a NaN here would reach gradients through the choice below.
            inputs_t = jnp.where(mask_t, inputs_t, jnp.zeros_like(inputs_t))
        projected = cell.project(weights, inputs_t, key_t)
        after, output = cell.step(weights, before, projected, dot)
        if mask_t is not None:
            after = _where(mask_t, after, before)
            output = jnp.where(mask_t, output, jnp.zeros_like(output))
        return after, (output, after if return_carries else None)

    run = lax.scan if method == "scan" else _loop
    over_time = (inputs, reset, mask, jnp.arange(steps))
    last, (outputs, carries) = run(step, initial_carry if carry is None else carry, over_time)
    return Unrolled(outputs, last, carries)


def unroll_batch(
    cell: Cell,
    params: PyTree,
    inputs: Array,
    *,
    carry: PyTree | None = None,
    reset: Array | None = None,
    mask: Array | None = None,
    length: Array | None = None,
    key: Array | None = None,
    **options,
) -> Unrolled:
    """`unroll` over a batch: every argument named here and given has a leading batch axis.

    Args:
      cell: what is run.
      params: the cell's parameters, shared by the batch.
      inputs: `[batch, time, input]`.
      carry: leaves `[batch, ...]`.
      reset: `[batch, time]`.
      mask: `[batch, time]`.
      length: `[batch]`.
      key: `[batch]` of keys.
      **options: as for `unroll`, shared by the batch.

    Returns:
      `Unrolled`, every leaf with a leading batch axis.
    """
    batched = {"carry": carry, "reset": reset, "mask": mask, "length": length, "key": key}
    given = {name: value for name, value in batched.items() if value is not None}
    return jax.vmap(lambda x, rest: unroll(cell, params, x, **rest, **options))(inputs, given)


def _loop(step: Callable, carry: PyTree, over_time: PyTree) -> tuple[PyTree, PyTree]:
    """`lax.scan` as a chain of explicit copies."""
    steps = jax.tree.leaves(over_time)[0].shape[0]
    outputs = []
    for time in range(steps):
        carry, output = step(carry, jax.tree.map(lambda leaf, time=time: leaf[time], over_time))
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def _where(condition: Array, chosen: PyTree, other: PyTree) -> PyTree:
    """A choice, never a product: carries may hold -inf or integers."""
    return jax.tree.map(partial(jnp.where, condition), chosen, other)
