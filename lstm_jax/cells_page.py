"""Writes docs/cells.md from the registries: `python -m lstm_jax.cells_page > docs/cells.md`.

Everything on the page is read off the code: names and equations from docstrings, options from
signatures, sizes from traced programs, and whether learning rates were selected for a cell from the
rows in docs/results/cells.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from lstm_jax import results
from lstm_jax.arrays import count
from lstm_jax.cells import CELLS, Cell
from lstm_jax.layers import LAYERS
from lstm_jax.pages import section, table
from lstm_jax.training import carry_size

SIZE = 128
ROWS = Path("docs/results/cells")

_HEAD = f"""# Cells

Every recurrence that a sweep can name, with its equations as implemented; this page is made by
`make docs` from the code. Sizes are those of one layer with {SIZE} features a step and
`hidden_size={SIZE}`.

- *multiplications*: of one step of one example, forward: those of matrix products and those between
  arrays, four for one of complex numbers; what is done once a sequence (`prepare`) is not in them.
- *parallel*: linear in the carry, so that long sequences are run in chunks or by a parallel scan
  (`unroll`'s methods `chunked` and `associative`).
- *rates*: how many learning rates were tried for the cell in the published comparison
  ([docs/results/cells](results/cells/horizons.md)), each seed read at the rate that the others
  choose; a cell with one rate is present, not tuned.
"""


def multiplications(function: Callable, *arguments) -> int:
    """Of a traced function, real ones: in matrix products, and between arrays of its own."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr, outermost=True)


def _count(jaxpr, *, outermost: bool) -> int:
    total = 0
    for equation in jaxpr.eqns:
        size = equation.outvars[0].aval.size
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            for axis in contracted:
                size *= shape[axis]
            total += size
        elif equation.primitive.name in ("mul", "div") and outermost:
            complex_ = jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.complexfloating)
            total += size * (4 if complex_ else 1)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                total += _count(inner, outermost=False)
    return total


def _step_cost(cell: Cell) -> int:
    weights = jax.eval_shape(lambda key: cell.prepare(cell.init(key)), jax.random.key(0))
    carry = jax.eval_shape(cell.initial_carry, weights)
    inputs = jax.ShapeDtypeStruct((SIZE,), jnp.float32)
    return multiplications(
        lambda w, c, x: cell.step(w, c, cell.project(w, x, None)), weights, carry, inputs
    )


def _rates(directory: Path) -> dict[str, int]:
    """Learning rates by the name of the cell, from published rows."""
    rates: dict[str, set] = {}
    if directory.is_dir():
        for record in results.read_directory(directory):
            name = record.trial["cell"].partition(":")[0]
            rates.setdefault(name, set()).add(record.trial["learning_rate"])
    return {name: len(tried) for name, tried in rates.items()}


def _overview(rates: dict[str, int]) -> list[str]:
    rows = [
        ("cell", "parameters", "carry", "multiplications", "parallel", "rates"),
        ("---", "---:", "---:", "---:", "---", "---:"),
    ]
    for name, constructor in CELLS.items():
        cell = constructor(SIZE, SIZE)
        params = jax.eval_shape(cell.init, jax.random.key(0))
        rows.append(
            (
                f"[`{name}`](#{name})",
                f"{count(params):,}",
                f"{carry_size(cell):,}",
                f"{_step_cost(cell):,}",
                "yes" if cell.linear else "no",
                rates.get(name, 0) or "-",
            )
        )
    for name, constructor in LAYERS.items():
        params = jax.eval_shape(constructor(SIZE, SIZE).init, jax.random.key(0))
        kept = "every input"
        tried = rates.get(name, 0) or "-"
        rows.append(
            (f"[`{name}`](#{name})", f"{count(params):,}", kept, "with length", "yes", tried)
        )
    return table(rows)


def markdown(directory: Path = ROWS) -> str:
    """The page.

    Args:
      directory: of the published comparison's rows.
    """
    lines = [_HEAD, *_overview(_rates(directory)), ""]
    for name, constructor in {**CELLS, **LAYERS}.items():
        lines += section(name, constructor)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
