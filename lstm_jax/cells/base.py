"""The contract of a cell.

A cell is a recurrence as pure functions of weights, carry and one input, written for **one**
example. A constructor named as the field names the cell returns the tuple::

    def rnn(input_size: int, hidden_size: int, *, option=default) -> Cell

What every registered cell must satisfy is written once, as the clauses of `cells/check.py`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from lstm_jax.arrays import Kernel, Key, PyTree, Vector
from lstm_jax.cells.linear import LinearForm


class Dot(Protocol):
    """How `step` multiplies a recurrent operand by a kernel: `[rows] @ [rows, columns]`.

    Whoever unrolls a cell may pass another that gives the same product, such as one that records
    operands, so that the gradient of a kernel is one product after the backward scan.
    """

    def __call__(self, operand: Vector, kernel: Kernel) -> Vector: ...


class InitFn(Protocol):
    """Draws the parameters: a NamedTuple or flat dict of arrays with spelled-out names."""

    def __call__(self, key: Key) -> PyTree: ...


class PrepareFn(Protocol):
    """Turns parameters into the weights that `step` reads; called once per unroll, outside scan and
    batch (orthogonal parametrisation, discretisation, masks)."""

    def __call__(self, params: PyTree) -> PyTree: ...


class InitialCarryFn(Protocol):
    """The carry before the first step; no key and no batch axis. It may be learned."""

    def __call__(self, weights: PyTree) -> PyTree: ...


class ProjectFn(Protocol):
    """Everything at one step that needs no carry. Noise is drawn here, from `key`; `None` means
    evaluation. `unroll` calls it wherever that is faster, so it may not depend on the order."""

    def __call__(self, weights: PyTree, inputs: Vector, key: Key | None) -> PyTree: ...


class StepFn(Protocol):
    """One step: `(carry, output)`. The carry out has exactly the carry in's structure, shapes and
    dtypes; `output` is `[output_size]`. Recurrent products go through `dot`."""

    def __call__(
        self, weights: PyTree, carry: PyTree, projected: PyTree, dot: Dot = jnp.matmul
    ) -> tuple[PyTree, Vector]: ...


class GatesFn(Protocol):
    """The gates of one step, by name: floats of at least 0, mostly `[hidden]`. For looking at;
    nothing in training calls it (`inspection.gate_values` does, over time)."""

    def __call__(
        self, weights: PyTree, carry: PyTree, projected: PyTree
    ) -> dict[str, jnp.ndarray]: ...


class AdvanceFn(Protocol):
    """A step that also tells its gates: `(carry, output, gates)`."""

    def __call__(
        self, weights: PyTree, carry: PyTree, projected: PyTree, dot: Dot
    ) -> tuple[PyTree, Vector, dict[str, jnp.ndarray]]: ...


def gated(advance: AdvanceFn) -> tuple[StepFn, GatesFn]:
    """`step` and `gates` of one function, so that what is shown is what was computed."""

    def step(weights, carry, projected, dot=jnp.matmul):
        after, output, _ = advance(weights, carry, projected, dot)
        return after, output

    def gates(weights, carry, projected):
        return advance(weights, carry, projected, jnp.matmul)[2]

    return step, gates


def prepare_nothing(params: PyTree) -> PyTree:
    """The default `prepare`: the weights are the parameters."""
    return params


class Cell(NamedTuple):
    """A recurrence as pure functions. Build it once per trial and close over it: two equal tuples
    of closures are two different things to `jax.jit`."""

    init: InitFn
    initial_carry: InitialCarryFn
    project: ProjectFn
    step: StepFn
    output_size: int
    prepare: PrepareFn = prepare_nothing
    gates: GatesFn | None = None
    linear: LinearForm | None = None  # where `step` is linear in the carry: for parallel forms


CellConstructor = Callable[..., Cell]
