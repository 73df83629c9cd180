"""A cell at a small size with everything that the clauses ask of it, computed once.

Each compiled program is shared by several clauses, for compiling is what checking a cell costs.
"""

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import PyTree, inexact_leaves, with_inexact
from lstm_jax.cells.base import Cell
from lstm_jax.cells.products import uses_key
from lstm_jax.cells.sketch import Sketch, doing
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import Unrolled, unroll, unroll_batch

BATCH, TIME, CHUNK = 3, 8, 4


class Gradients(NamedTuple):
    """Gradients of one example; `carry` holds the inexact leaves alone, as a list."""

    params: PyTree
    inputs: PyTree
    carry: PyTree


class Case:
    """A cell, parameters, data, and its programs.

    Attributes:
      sketch: the cell seen by tracing.
      cell: the cell.
      params: near those that `init` draws, but with no two alike: an initial value of zero may hide
        what a parameter does.
      inputs: `[batch, time, input]`, N(0, 1); those of a test set's size are never needed.
      traces: how often each program was traced.
    """

    def __init__(self, build: Callable[..., Cell]):
        """Builds the cell.

        Raises:
          BrokenClauseError: construction fails.
        """
        self.sketch = Sketch(build)
        self.cell = self.sketch.cell
        self._random = np.random.default_rng(0)
        self.traces: Counter[str] = Counter()
        self.inputs = self.normal((BATCH, TIME, self.sketch.input_size))
        self.cotangents = self.normal((BATCH, TIME, self.cell.output_size))
        self._init = quick_jit(self.cell.init)
        self._run = quick_jit(self._traced_run)
        self._gradients = quick_jit(jax.vmap(jax.checkpoint(self._example_gradients)))

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """N(0, 1) draws, float32."""
        return self._random.normal(size=shape).astype(np.float32)

    def drawn(self, seed: int) -> PyTree:
        """Parameters as `init` draws them."""
        with doing("init"):
            return self._init(jax.random.key(seed))

    @cached_property
    def params(self) -> PyTree:
        return jax.tree.map(
            lambda leaf: leaf + (0.1 * self.normal(leaf.shape)).astype(leaf.dtype), self.drawn(0)
        )

    @cached_property
    def carry(self) -> PyTree:
        """The initial carry of one example, with the dtypes and weak types that the cell gives."""
        start = quick_jit(lambda params: self.cell.initial_carry(self.cell.prepare(params)))
        with doing("initial_carry"):
            return start(self.params)

    @cached_property
    def carries(self) -> PyTree:
        """The initial carry of each example of the batch."""
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * BATCH), self.carry)

    @cached_property
    def uses_key(self) -> bool:
        """Whether `project` draws anything."""
        return uses_key(self.cell.project, self.sketch.weights, self.sketch.inputs)

    @cached_property
    def plain(self) -> Unrolled:
        """The batch run from the initial carry, in evaluation: NumPy leaves."""
        return self.run()

    @cached_property
    def double(self) -> "Double":
        """The case in double precision."""
        return Double(self)

    def run(
        self,
        inputs: np.ndarray | None = None,
        *,
        carries: PyTree = None,
        reset: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        key: jax.Array | None = None,
        start: int = 0,
        params: PyTree = None,
    ) -> Unrolled:
        """The batch over time, all carries included; what is not given is the case's own."""
        inputs = self.inputs if inputs is None else inputs
        flags = np.zeros(inputs.shape[:2], bool)
        with doing("unroll"):
            unrolled = self._run(
                self.params if params is None else params,
                inputs,
                self.carries if carries is None else carries,
                flags if reset is None else reset,
                ~flags if mask is None else mask,
                None if key is None else jax.random.split(key, BATCH),
                np.int32(start),
            )
        return jax.tree.map(np.asarray, unrolled)

    def _traced_run(self, params, inputs, carries, reset, mask, key, start):
        self.traces[f"run {inputs.shape[1]} {key is not None}"] += 1
        return unroll_batch(
            self.cell,
            params,
            inputs,
            carry=carries,
            reset=reset,
            mask=mask,
            key=key,
            start=start,
            return_carries=True,
        )

    @cached_property
    def alone(self) -> Callable[..., Unrolled]:
        """`(params, inputs, carry) -> Unrolled` of one example, compiled by itself."""

        @quick_jit
        def one(params, inputs, carry):
            self.traces["one"] += 1
            return unroll(self.cell, params, inputs, carry=carry, return_carries=True)

        return one

    def gradients(
        self,
        inputs: np.ndarray | None = None,
        cotangents: np.ndarray | None = None,
        *,
        reset: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        params: PyTree = None,
    ) -> Gradients:
        """Gradients of sum(outputs * cotangents), example by example, leaves `[batch, ...]`.

        Parameters are mapped over along with the examples, as training maps over trials.
        """
        params = self.params if params is None else params
        flags = np.zeros((BATCH, TIME), bool)
        with doing("the gradient under jit, vmap and checkpoint"):
            gradients = self._gradients(
                jax.tree.map(lambda leaf: jnp.stack([leaf] * BATCH), params),
                self.inputs if inputs is None else inputs,
                self.carries,
                flags if reset is None else reset,
                ~flags if mask is None else mask,
                self.cotangents if cotangents is None else cotangents,
            )
        return jax.tree.map(np.asarray, gradients)

    def _example_gradients(self, params, inputs, carry, reset, mask, cotangents):
        def objective(params, inputs, inexact):
            unrolled = unroll(
                self.cell,
                params,
                inputs,
                carry=with_inexact(carry, inexact),
                reset=reset,
                mask=mask,
            )
            return (unrolled.outputs * cotangents).sum()

        return Gradients(*jax.grad(objective, (0, 1, 2))(params, inputs, inexact_leaves(carry)))


class Double:
    """The first example of a case over `CHUNK` steps in double precision, from a carry that the
    cell has reached: values and gradients by every method of `unroll`."""

    def __init__(self, case: Case):
        self.case = case
        self._compiled: dict[str, Callable] = {}
        reached = jax.tree.map(lambda leaf: leaf[0, CHUNK - 1], case.plain.carries)
        self.point = Gradients(
            *jax.tree.map(_widened, (case.params, case.inputs[0, CHUNK:])),
            [_widened(leaf) for leaf in inexact_leaves(reached)],
        )
        self._carry = jax.tree.map(_widened, reached)
        self._cotangents = _widened(case.cotangents[0, CHUNK:])
        self._carry_cotangents = [
            _widened(case.normal(leaf.shape)) for leaf in inexact_leaves(reached)
        ]

    def __call__(self, method: str, point: Gradients) -> tuple[float, Gradients]:
        """A weighted sum of outputs and last carry, and its gradients, at a point."""
        with jax.enable_x64(True), doing("the cell in float64 (let dtypes follow the weights)"):
            if method not in self._compiled:
                objective = jax.value_and_grad(self._objective, argnums=(1, 2, 3))
                self._compiled[method] = quick_jit(objective, static_argnums=0)
            value, gradients = self._compiled[method](method, *point)
            return float(value), jax.tree.map(np.asarray, Gradients(*gradients))

    def _objective(self, method, params, inputs, inexact):
        unrolled = unroll(
            self.case.cell,
            params,
            inputs,
            carry=with_inexact(self._carry, inexact),
            method=method,
        )
        total = (unrolled.outputs * self._cotangents).sum()
        leaves = inexact_leaves(unrolled.carry)
        for leaf, cotangent in zip(leaves, self._carry_cotangents, strict=True):
            # A leaf may be -inf by design; it weighs nothing.
            finite = jnp.where(jnp.isfinite(leaf), leaf, 0)
            total = total + jnp.real(finite * cotangent).sum()
        return total


def _widened(leaf: np.ndarray) -> np.ndarray:
    """The same values in double precision, where they are inexact."""
    leaf = np.asarray(leaf)
    if np.issubdtype(leaf.dtype, np.complexfloating):
        return leaf.astype(np.complex128)
    return leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.inexact) else leaf
