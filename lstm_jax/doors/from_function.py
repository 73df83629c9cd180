"""Any `(params, carry, x) -> (carry, output)` as a cell.

A cell of ours is in parts: what needs the weights alone, what needs the inputs but no carry, and
the recurrent step, whose products go through `dot`. A function in one piece is traced, and its
operations are sorted into these parts, so that it unrolls as fast as a cell written in them.
"""

import contextlib
import re
from collections import namedtuple
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from lstm_jax.arrays import PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.errors import InputError
from lstm_jax.programs import alone, inlined


class _Prepared(NamedTuple):
    params: dict[str, jax.Array]
    derived: list[jax.Array]  # what is made of them alone


class _Parts(NamedTuple):
    """A traced function, sorted.

    Attributes:
      closed: all of it; its inputs are params, carry and x, leaf by leaf.
      prepare: indices of the equations that read params alone, `project` of those that read x, and
        `step` of those that read the carry.
      kernels: by the index of a product of a vector with a kernel, which operand the kernel is.
      derived: what `prepare` makes and the others read; `projected`, what `project` makes, or x,
        and `step` reads.
    """

    closed: ClosedJaxpr
    prepare: list[int]
    project: list[int]
    step: list[int]
    kernels: dict[int, int]
    derived: list[Any]
    projected: list[Any]


def from_function(
    step: Callable[[PyTree, PyTree, jax.Array], tuple[PyTree, jax.Array]],
    init: Callable[[jax.Array], PyTree],
    initial_carry: PyTree | Callable[[PyTree], PyTree],
    *,
    input_size: int,
) -> Cell:
    """A cell of any function of one step, such as that of another library.

    Args:
      step: params, carry, x `[input]` -> carry, output `[output]`, for one example and without
        noise. The carry out is as the carry in.
      init: key -> params, any pytree; its floating arrays are trained, and what else is in it (a
        function, an integer) is taken from a first draw and stays. An Equinox module fits.
      initial_carry: the carry before the first step, any pytree of arrays, or a function of params
        that gives it.
      input_size: features of x.

    Returns:
      A cell whose params are a dict, and whose carry is a NamedTuple, by the names of the leaves.

    Raises:
      InputError: the output is no vector of floats, or the carry out is not as the carry in.
    """
    first = init(jax.random.key(0))
    names, structure = _named(first, "params")
    fixed = [None if _is_trained(leaf) else leaf for leaf in jax.tree.leaves(first)]
    trained = [name for name, leaf in zip(names, fixed, strict=True) if leaf is None]

    def whole(params):
        given = (
            params[name] if leaf is None else leaf for name, leaf in zip(names, fixed, strict=True)
        )
        return structure.unflatten(given)

    def init_params(key):
        leaves = filter(_is_trained, jax.tree.leaves(init(key)))
        return dict(zip(trained, map(jnp.asarray, leaves), strict=True))

    def start(params):
        given = initial_carry(whole(params)) if callable(initial_carry) else initial_carry
        dtype = _float_dtype(params)

        def of_params(leaf):
            # Another library gives a dtype of its own, and numbers without one would compile anew.
            leaf = jnp.asarray(leaf)
            return leaf.astype(dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype)

        return jax.tree.map(of_params, given)

    with _as_others_write():
        params_shapes = jax.eval_shape(init_params, jax.random.key(0))
        before = jax.eval_shape(start, params_shapes)
    carry_names, carry_structure = _named(before, "carry")
    carry_type = _carry_type(tuple(carry_names))

    def of_ours(carry):
        return carry_type(*jax.tree.leaves(carry))

    def flat(params, carry, x):
        after, output = step(whole(params), carry_structure.unflatten(carry), x)
        _require_same(before, after)
        return of_ours(after), output

    @lru_cache(maxsize=8)
    def parts_of(avals) -> _Parts:
        params = {name: jax.ShapeDtypeStruct(*aval) for name, aval in avals}
        x = jax.ShapeDtypeStruct((input_size,), _float_dtype(params))
        with _as_others_write():
            carry = of_ours(jax.eval_shape(start, params))
            closed = inlined(jax.make_jaxpr(flat)(params, carry, x))
        return _sorted(closed, len(params), len(carry))

    def known(params, carry=()):
        """The parts, and their values as far as they are known."""
        parts = parts_of(tuple((name, (leaf.shape, leaf.dtype)) for name, leaf in params.items()))
        jaxpr = parts.closed.jaxpr
        values = dict(zip(jaxpr.constvars, parts.closed.consts, strict=True))
        values.update(zip(jaxpr.invars, [*jax.tree.leaves(params), *carry], strict=False))
        return parts, values

    def prepare(params):
        parts, values = known(params)
        _run(parts, parts.prepare, values)
        return _Prepared(params, _read(values, parts.derived))

    def first_carry(weights):
        with _as_others_write():
            return of_ours(start(weights.params))

    def project(weights, inputs, key):
        del key
        parts, values = known(weights.params)
        values[parts.closed.jaxpr.invars[-1]] = inputs.astype(_float_dtype(weights.params))
        values.update(zip(parts.derived, weights.derived, strict=True))
        _run(parts, parts.project, values)
        return _read(values, parts.projected)

    def one_step(weights, carry, projected, dot=jnp.matmul):
        parts, values = known(weights.params, jax.tree.leaves(carry))
        values.update(zip(parts.derived, weights.derived, strict=True))
        values.update(zip(parts.projected, projected, strict=True))
        _run(parts, parts.step, values, dot)
        *after, output = _read(values, parts.closed.jaxpr.outvars)
        return carry_type(*after), output

    x = jax.ShapeDtypeStruct((input_size,), _float_dtype(params_shapes))
    with _as_others_write():
        _, output = jax.eval_shape(flat, params_shapes, of_ours(before), x)
    if getattr(output, "ndim", None) != 1 or not jnp.issubdtype(output.dtype, jnp.floating):
        raise InputError(f"from_function: the output of step is {output}: must be [output], floats")
    return Cell(init_params, first_carry, project, one_step, len(output), prepare)


def _read(values: dict, variables: list) -> list:
    return [var.val if isinstance(var, Literal) else values[var] for var in variables]


def _run(parts: _Parts, equations: list[int], values: dict, dot: Callable | None = None) -> None:
    """Works these equations out; with `dot`, products of the carry with a kernel by it."""
    jaxpr = parts.closed.jaxpr
    for index in equations:
        equation = jaxpr.eqns[index]
        operands = _read(values, equation.invars)
        kernel_at = None if dot is None else parts.kernels.get(index)
        if kernel_at is None:
            results = alone(jaxpr, equation)(*operands)
        else:
            kernel, vector = operands[kernel_at], operands[1 - kernel_at]
            (contracted,) = equation.params["dimension_numbers"][0][kernel_at]
            results = [dot(vector, kernel.T if contracted else kernel)]
        values.update(zip(equation.outvars, results, strict=True))


def _kernel_at(equation: JaxprEqn, ranks: dict) -> int | None:
    """Which operand of a product is a kernel, made of params alone, that a vector is multiplied by;
    None where it is no such product."""
    if equation.primitive.name != "dot_general" or any(equation.params["dimension_numbers"][1]):
        return None
    shapes = [var.aval.ndim for var in equation.invars]
    at = shapes.index(2) if sorted(shapes) == [1, 2] else None
    return at if at is not None and ranks[at] == 0 else None


def _sorted(closed: ClosedJaxpr, params: int, carry: int) -> _Parts:
    """Sorts the equations by what they read."""
    jaxpr = closed.jaxpr
    rank = dict.fromkeys(jaxpr.constvars, 0) | dict.fromkeys(jaxpr.invars[:params], 0)
    rank |= dict.fromkeys(jaxpr.invars[params : params + carry], 2)
    rank[jaxpr.invars[-1]] = 1
    indices: list[list[int]] = [[], [], []]
    kernels: dict[int, int] = {}
    read_by: dict[Any, int] = {}  # the latest part that reads a value

    def read(variables, at):
        for var in variables:
            if not isinstance(var, Literal):
                read_by[var] = max(at, read_by.get(var, 0))

    for index, equation in enumerate(jaxpr.eqns):
        ranks = [0 if isinstance(var, Literal) else rank[var] for var in equation.invars]
        at = max(ranks, default=0)
        indices[at].append(index)
        kernel_at = _kernel_at(equation, ranks)
        if kernel_at is not None:
            kernels[index] = kernel_at
        read(equation.invars, at)
        rank.update(dict.fromkeys(equation.outvars, at))
    read(jaxpr.outvars, 2)
    given = {*jaxpr.constvars, *jaxpr.invars[:-1]}
    crossing = [var for var in rank if var not in given and read_by.get(var, 0) > rank[var]]
    return _Parts(
        closed,
        *indices,
        kernels,
        derived=[var for var in crossing if rank[var] == 0],
        projected=[var for var in crossing if rank[var] == 1],
    )


@cache
def _carry_type(names: tuple[str, ...]) -> type:
    """One type for equal names: a cell that is built again has carries of the same structure."""
    return namedtuple("Carry", names, rename=True)


def _named(tree: PyTree, alone_name: str):
    """Names of the leaves, and the structure."""
    paths, structure = jax.tree.flatten_with_path(tree)
    names = []
    for path, _ in paths:
        parts = [str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path]
        words = re.sub(r"\W+", "_", "_".join(part.strip("._") for part in parts)) or alone_name
        # A name that is a mere number says nothing, and is no name in Python.
        names.append(f"{alone_name}_{words}" if words[0].isdigit() else words)
    if len(set(names)) < len(names):
        names = [f"{alone_name}_{index}" for index in range(len(names))]
    return names, structure


def _is_trained(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _float_dtype(params: dict) -> Any:
    return next(iter(params.values())).dtype if params else jnp.float32


def _require_same(before: PyTree, after: PyTree) -> None:
    structures = jax.tree.structure(before), jax.tree.structure(after)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (before, after)]
    if structures[0] != structures[1] or shapes[0] != shapes[1]:
        raise InputError(
            f"from_function: the carry out of step is {jax.tree.map(jnp.shape, after)}: must be as "
            f"the carry in, {jax.tree.map(jnp.shape, before)}"
        )


@contextlib.contextmanager
def _as_others_write():
    """JAX's own rules of promotion: what other libraries write relies on them."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
