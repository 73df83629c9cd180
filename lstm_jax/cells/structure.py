"""The quick clauses of a cell's contract: what tracing alone tells, with nothing compiled or run.

A clause is a function of a `Sketch` that raises `BrokenClauseError` and says in words what is
wrong. Its docstring is what must hold. The clauses that run the cell are in `cells/clauses.py`.
"""

import contextlib
import inspect
import re
import types
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import count
from lstm_jax.cells.base import Cell
from lstm_jax.cells.products import products
from lstm_jax.cells.sketch import (
    Sketch,
    anew,
    doing,
    entries,
    kind,
    named,
    named_leaves,
    outline,
    show,
)
from lstm_jax.errors import BrokenClauseError, InputError, require
from lstm_jax.spec import options_of

_LARGER = (2, 32)
_SPEC_TYPES = (types.NoneType, bool, int, float, str)


def signature(constructor: Callable[..., Cell]) -> None:
    """The constructor takes `input_size` and `hidden_size`, then options by name only, each with a
    default that a spec can write. (Not of a Sketch: nothing is built yet.)"""
    while isinstance(constructor, partial):
        constructor = constructor.func
    parameters = list(inspect.signature(constructor).parameters.values())
    by_name = inspect.Parameter.KEYWORD_ONLY
    names = [parameter.name for parameter in parameters[:2] if parameter.kind is not by_name]
    require(
        names == ["input_size", "hidden_size"],
        "the first two parameters must be `input_size, hidden_size`",
    )
    for parameter in parameters[2:]:
        require(parameter.kind is by_name, f"`{parameter.name}` must stand after `*`, by name only")
    try:
        options = options_of(constructor)
    except (InputError, NameError) as error:
        raise BrokenClauseError(str(error)) from None
    for name, option in options.items():
        annotated = parameters[[p.name for p in parameters].index(name)].annotation
        require(
            option.default is not None or annotated is not inspect.Parameter.empty,
            f"option {name} has the default None: say what else it may be, `{name}: float | None`",
        )
        members = [option.annotation]
        if typing.get_origin(option.annotation) in (typing.Union, types.UnionType):
            members = list(typing.get_args(option.annotation))
        require(
            all(m in _SPEC_TYPES or typing.get_origin(m) is Literal for m in members),
            f"option {name} is annotated {option.annotation}: a spec can write only numbers, "
            "words, true, false and none",
        )


def fields(sketch: Sketch) -> None:
    """The constructor returns a Cell of functions with a positive `output_size`."""
    cell = sketch.cell
    require(isinstance(cell, Cell), f"the constructor returned {kind(cell)}, not a Cell")
    for name in ("init", "prepare", "initial_carry", "project", "step"):
        require(callable(getattr(cell, name)), f"`{name}` is {kind(getattr(cell, name))}")
    size = cell.output_size
    require(
        isinstance(size, int) and not isinstance(size, bool) and size > 0,
        f"output_size is {size!r}: must be a positive int",
    )


def params(sketch: Sketch) -> None:
    """`init` gives a NamedTuple or a flat dict of inexact arrays."""
    tree = sketch.params
    require(named(tree), f"`init` gives {kind(tree)}: must be a NamedTuple or a dict of arrays")
    for name, leaf in entries(tree):
        require(
            isinstance(leaf, jax.ShapeDtypeStruct),
            f"parameter `{name}` is {kind(leaf)}: parameters are flat, name to array",
        )
        require(
            jnp.issubdtype(leaf.dtype, jnp.inexact),
            f"parameter `{name}` is {show(leaf)}: must be floats, for it is trained; what is "
            "fixed belongs in `prepare` or the closure",
        )


def carry(sketch: Sketch) -> None:
    """`initial_carry` gives a NamedTuple (or dict) with named leaves."""
    tree = sketch.carry
    require(
        named(tree), f"`initial_carry` gives {kind(tree)}: must be a NamedTuple of named leaves"
    )


def step(sketch: Sketch) -> None:
    """The carry out has exactly the structure, shapes and dtypes of the carry in, and the output is
    `[output_size]` floats, at any size."""
    _step_shapes(sketch)
    try:
        larger = Sketch(sketch.build, _LARGER)
        _step_shapes(larger)
    except BrokenClauseError as error:
        raise BrokenClauseError(f"at (input_size, hidden_size) = {_LARGER}: {error}") from error
    require(
        count(larger.params) > count(sketch.params),
        f"as many parameters with hidden_size={larger.hidden_size} as with {sketch.hidden_size}: "
        "the cell does not use it",
    )


def _step_shapes(sketch: Sketch) -> None:
    stepped = sketch.stepped
    require(
        isinstance(stepped, tuple) and len(stepped) == 2,
        f"`step` gives {kind(stepped)}: must be `carry, output`",
    )
    before, (after, output) = sketch.carry, stepped
    structures = jax.tree.structure(before), jax.tree.structure(after)
    require(
        structures[0] == structures[1],
        f"the carry changes from {outline(before)} to {outline(after)}",
    )
    for (name, leaf), new in zip(named_leaves(before), jax.tree.leaves(after), strict=True):
        require(
            leaf.dtype == new.dtype, f"carry leaf `{name}` drifts from {leaf.dtype} to {new.dtype}"
        )
        require(
            leaf.shape == new.shape,
            f"carry leaf `{name}` changes shape from {list(leaf.shape)} to {list(new.shape)}",
        )
    size = sketch.cell.output_size
    require(
        isinstance(output, jax.ShapeDtypeStruct),
        f"the output is {kind(output)}: must be one array [{size}]",
    )
    require(
        output.shape == (size,) and jnp.issubdtype(output.dtype, jnp.floating),
        f"the output is {show(output)}: must be floats of shape [{size}], the cell's output_size; "
        "a cell sees one example, `unroll` adds the batch",
    )


def noise(sketch: Sketch) -> None:
    """`project` gives the same structure, shapes and dtypes with a key as without."""
    with doing("project"):
        noisy = jax.eval_shape(
            sketch.cell.project, sketch.weights, sketch.inputs, jax.random.key(0)
        )
    require(
        jax.tree.structure(noisy) == jax.tree.structure(sketch.projected)
        and outline(noisy) == outline(sketch.projected),
        f"`project` gives {outline(noisy)} with a key and {outline(sketch.projected)} without",
    )


def dot(sketch: Sketch) -> None:
    """Every product of something that depends on the carry with a kernel goes through `dot`, a
    vector times a matrix."""
    with doing("step"):
        found = products(sketch.cell.step, sketch.weights, sketch.carry, sketch.projected)
    for operand, kernel in found.through_dot:
        require(
            len(operand) == 1 and len(kernel) == 2,
            f"`dot` is given shapes {list(operand)} and {list(kernel)}: must be a vector and a "
            "kernel [rows, columns]",
        )
    require(
        not found.recurrent,
        f"`step` multiplies {_pairs(found.recurrent)} outside `dot`: write dot(operand, kernel)",
    )


def purity(sketch: Sketch) -> None:
    """The functions do the same each time: no counter, no randomness but from a key."""
    with doing("tracing a second time"):
        pairs = zip(sketch.jaxprs(), sketch.jaxprs(), strict=True)
    for (name, once), (_, again) in pairs:
        same_constants = len(once.consts) == len(again.consts) and all(
            np.array_equal(a, b, equal_nan=True)
            for a, b in zip(once.consts, again.consts, strict=True)
            if not jax.dtypes.issubdtype(jnp.result_type(a), jax.dtypes.extended)
        )
        require(
            same_constants and _text(once) == _text(again),
            f"`{name}` is another function each time it is traced: it reads something that changes "
            "(NumPy's or Python's random numbers, a counter); draw from the key instead",
        )


def promotion(sketch: Sketch) -> None:
    """Nothing relies on silent promotion of dtypes or ranks."""
    with contextlib.ExitStack() as strict:
        strict.enter_context(jax.numpy_dtype_promotion("strict"))
        strict.enter_context(jax.numpy_rank_promotion("raise"))
        for name, cell_function, arguments in (
            ("prepare", sketch.cell.prepare, (sketch.params,)),
            ("initial_carry", sketch.cell.initial_carry, (sketch.weights,)),
            ("project", sketch.project, (sketch.weights, sketch.inputs)),
            ("step", sketch.cell.step, (sketch.weights, sketch.carry, sketch.projected)),
        ):
            with doing(f"{name} under strict promotion"):
                jax.eval_shape(anew(cell_function), *arguments)


def _pairs(shapes: list) -> str:
    return " and ".join(f"{list(left)} by {list(right)}" for left, right in shapes)


def _text(jaxpr: Any) -> str:
    """A printed jaxpr without addresses of Python objects."""
    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr))


STRUCTURE: dict[str, Callable[[Sketch], None]] = {
    "fields": fields,
    "params": params,
    "carry": carry,
    "step": step,
    "noise": noise,
    "dot": dot,
    "purity": purity,
    "promotion": promotion,
}
