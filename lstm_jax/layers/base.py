"""The contract of a layer: sequences in, sequences out.

A layer is given the batch, not one example of it: only so can an unrolled cell form the gradient of
a kernel as one product over batch and time.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lstm_jax.arrays import Array, Float, Int, Key, PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.unroll import Method, Rows, unroll_batch


class ApplyFn(Protocol):
    """`[batch, time, input]` to `[batch, time, output]`.

    Inputs of a first layer may be rows of a table; `inputs.picked()` is the array. `key` `[batch]`
    is for noise, None without. `length` `[batch]` is how many steps of each sequence count: what
    stands behind may be anything, is not read, and its outputs are zero. None counts all.
    """

    def __call__(
        self,
        params: PyTree,
        inputs: Float[Array, "batch time input"] | Rows,
        *,
        key: Array | None = None,
        length: Int[Array, " batch"] | None = None,
    ) -> Float[Array, "batch time output"]: ...


class Layer(NamedTuple):
    """A map from sequence to sequence.

    Attributes:
      init: key -> params.
      apply: params, inputs `[batch, time, input]` -> outputs `[batch, time, output_size]`.
      output_size: features of one output.
      causal: whether the output at a step depends on no later input.
      start: params, batch size -> the carry before a first segment; None for what carries nothing.
      resume: params, inputs, carry and, by name, reset, key and start (the absolute time of the
        first step) -> outputs and the carry after them, for sequences that come in segments.
    """

    init: Callable[[Key], PyTree]
    apply: ApplyFn
    output_size: int
    causal: bool
    start: Callable[[PyTree, int], PyTree] | None = None
    resume: Callable[..., tuple[Array, PyTree]] | None = None


def layer(cell: Cell, *, segment: int | None = None, method: Method = "auto") -> Layer:
    """A cell unrolled over time, as a layer.

    Args:
      cell: what is unrolled.
      segment: steps between two carries that the backward pass keeps, as for `unroll_batch`.
      method: as for `unroll_batch`. By `newton`, sequences that do not converge give NaN.
    """
    unroll = partial(unroll_batch, cell, segment=segment, method=method)

    def apply(params, inputs, *, key=None, length=None):
        return unroll(params, inputs, key=key, length=length).outputs

    def start(params, batch):
        carry = cell.initial_carry(cell.prepare(params))
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *jnp.shape(leaf))), carry)

    def resume(params, inputs, carry, **options):
        unrolled = unroll(params, inputs, carry=carry, **options)
        return unrolled.outputs, unrolled.carry

    return Layer(cell.init, apply, cell.output_size, causal=True, start=start, resume=resume)


def array(inputs: Array | Rows) -> Float[Array, "batch time input"]:
    """Inputs as an array, whatever they are."""
    return inputs.picked() if isinstance(inputs, Rows) else inputs


def counted(
    values: Float[Array, "batch time features"], length: Int[Array, " batch"] | None
) -> Float[Array, "batch time features"]:
    """Zero behind each length: a choice, for NaN times zero is NaN."""
    if length is None:
        return values
    counts = jnp.arange(values.shape[1])[None] < jnp.asarray(length)[:, None]
    return jnp.where(counts[:, :, None], values, jnp.zeros_like(values))
