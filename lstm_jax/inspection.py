"""Looking inside a cell while it runs; nothing here is on the path of training."""

import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import Array, Float, Inputs, PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.errors import InputError
from lstm_jax.unroll import Rows, unroll


def gate_values(
    cell: Cell, params: PyTree, inputs: Inputs | Rows, **options
) -> dict[str, Float[Array, "time ..."]]:
    """The gates of a cell at every step of one sequence::

        gates = gate_values(cell, params, inputs)
        plt.imshow(gates["forget"].T)

    Args:
      cell: one with gates.
      params: its parameters.
      inputs: `[time, input]`, or rows of a table.
      **options: `carry`, `reset`, `mask`, `length`, `key` and `start`, as for `unroll`.

    Returns:
      By name, `[time, ...]`, mostly `[time, hidden]`; zero where masked.

    Raises:
      InputError: a cell without gates.
    """
    if cell.gates is None:
        raise InputError("cell: has no gates to show")
    shapes = {}

    def step(weights, carry, projected, dot=jnp.matmul):
        after, _ = cell.step(weights, carry, projected, dot)
        values = cell.gates(weights, carry, projected)
        shapes.update({name: value.shape for name, value in values.items()})
        return after, jnp.concatenate([value.reshape(-1) for value in values.values()])

    shown = cell._replace(step=step)  # as its output, so that resets and masks are unroll's
    outputs = unroll(shown, params, inputs, method="scan", **options).outputs
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = jnp.split(outputs, ends[:-1].tolist(), axis=1)
    return {
        name: part.reshape(len(outputs), *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
