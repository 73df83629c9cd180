"""The contract of a layer: sequences in, sequences out.

A layer is given the batch, not one example of it: only so can an unrolled cell form the gradient of
a kernel as one product over batch and time.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from lstm_jax.arrays import Array, Float, Key, PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.unroll import Rows, unroll_batch


class ApplyFn(Protocol):
    """`[batch, time, input]` to `[batch, time, output]`.

    Inputs of a first layer may be rows of a table; `inputs.picked()` is the array. `key` `[batch]`
    is for noise, None without.
    """

    def __call__(
        self,
        params: PyTree,
        inputs: Float[Array, "batch time input"] | Rows,
        *,
        key: Array | None = None,
    ) -> Float[Array, "batch time output"]: ...


class Layer(NamedTuple):
    """A map from sequence to sequence.

    Attributes:
      init: key -> params.
      apply: params, inputs `[batch, time, input]` -> outputs `[batch, time, output_size]`.
      output_size: features of one output.
      causal: whether the output at a step depends on no later input.
    """

    init: Callable[[Key], PyTree]
    apply: ApplyFn
    output_size: int
    causal: bool


def layer(cell: Cell) -> Layer:
    """A cell unrolled over time, as a layer."""

    def apply(params, inputs, *, key=None):
        return unroll_batch(cell, params, inputs, key=key).outputs

    return Layer(cell.init, apply, cell.output_size, causal=True)
