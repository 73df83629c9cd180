"""The contract of a layer: sequence in, sequence out."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from lstm_jax.arrays import Inputs, Key, Outputs, PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.unroll import unroll


class ApplyFn(Protocol):
    """`[time, input]` to `[time, output]` for one example; `key` is for noise, None without."""

    def __call__(self, params: PyTree, inputs: Inputs, *, key: Key | None = None) -> Outputs: ...


class Layer(NamedTuple):
    """A map from sequence to sequence.

    Attributes:
      init: key -> params.
      apply: params, inputs `[time, input]` -> outputs `[time, output_size]`.
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
        return unroll(cell, params, inputs, key=key).outputs

    return Layer(cell.init, apply, cell.output_size, causal=True)
