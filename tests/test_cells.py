"""Every registered cell: the contract, and its equations."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equations import EQUATIONS

from lstm_jax.cells import CELLS
from lstm_jax.cells.case import Case
from lstm_jax.cells.check import broken_structure, label, message, variations
from lstm_jax.cells.clauses import CLAUSES
from lstm_jax.cells.sketch import Sketch
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import unroll

VARIATIONS = {
    label(name, options): partial(constructor, **options)
    for name, constructor in CELLS.items()
    for options in variations(constructor)
}


# Tests of a cell share its case, so one process of a test run has them all.
def grouped(names):
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"cell-{name}")) for name in names]


@cache
def case(name: str) -> Case:
    return Case(CELLS.get(name) or VARIATIONS[name])


@pytest.mark.parametrize("name", grouped([*CELLS, *VARIATIONS]))
def test_structure(name):
    assert broken_structure(CELLS.get(name) or VARIATIONS[name]) == []


@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize("name", grouped(CELLS))
def test_contract(name, clause):
    assert message(clause, CLAUSES[clause], case(name)) == ""


@pytest.mark.parametrize("name", grouped(VARIATIONS))
@pytest.mark.parametrize("clause", ["init", "gradient"])
def test_contract_of_variations(name, clause):
    assert message(clause, CLAUSES[clause], case(name)) == ""


# Values and gradients against the equations, transcribed into NumPy.


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, (_, given) in EQUATIONS.items() for options in given],
    ids=lambda part: part if isinstance(part, str) else label("", part),
)
def test_equations(name, options, x64):
    random = np.random.default_rng(1)
    sketch = Sketch(partial(CELLS[name], **options))
    cell, size = sketch.cell, sketch.hidden_size
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), sketch.params)
    inputs = random.normal(size=(7, sketch.input_size))
    cotangents = random.normal(size=(7, cell.output_size))
    direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), params)

    def transcribed(step):
        moved = jax.tree.map(lambda leaf, by: leaf + step * by, params, direction)
        return EQUATIONS[name][0](moved, inputs, size, **options)

    def objective(params):
        outputs = unroll(cell, params, jnp.asarray(inputs)).outputs
        return (outputs * cotangents).sum(), outputs

    run = quick_jit(jax.value_and_grad(objective, has_aux=True))
    (_, outputs), gradient = run(jax.tree.map(jnp.asarray, params))
    np.testing.assert_allclose(outputs, transcribed(0), rtol=0, atol=1e-11)
    step = 1e-6
    differences = (transcribed(step) - transcribed(-step)) / (2 * step)
    slope = sum(
        (leaf * by).sum()
        for leaf, by in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(slope, (differences * cotangents).sum(), rtol=1e-6, atol=1e-6)
