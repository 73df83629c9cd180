"""Programs: compiled quickly, and traced (jaxprs), read and taken apart."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

# At small sizes compiling takes all the time, and unoptimized code compiles in half of it.
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def quick_jit(function: Callable, **options) -> Callable:
    """`jax.jit`, compiled quickly rather than well on CPU: for what is small, or runs a few times.

    Args:
      function: to compile.
      **options: of `jax.jit`.
    """
    quick = _QUICK if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=quick, **options)


def name(result: Var | Literal) -> Any:
    """What tells results apart; each literal is one of its own."""
    return result if isinstance(result, Var) else id(result)


_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")


def inlined(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same program with calls replaced by what they call, so that one value has one name."""

    def run(jaxpr, consts, arguments):
        values = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(operand):
            return operand.val if isinstance(operand, Literal) else values[operand]

        for equation in jaxpr.eqns:
            operands = [read(operand) for operand in equation.invars]
            if equation.primitive.name in _CALLS:
                inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
                inner_consts = inner.consts if isinstance(inner, ClosedJaxpr) else ()
                inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
                results = run(inner, inner_consts, operands)
            else:
                results = alone(jaxpr, equation)(*operands)
            values.update(zip(equation.outvars, results, strict=True))
        return [read(result) for result in jaxpr.outvars]

    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in closed.in_avals]
    return jax.make_jaxpr(lambda *arguments: run(closed.jaxpr, closed.consts, arguments))(*shapes)


def alone(jaxpr: Jaxpr, equation: JaxprEqn) -> Callable[..., list]:
    """A function of the operands of an equation, literals included, that is this equation."""
    given = [operand for operand in equation.invars if isinstance(operand, Var)]
    invars = list(dict.fromkeys(given))
    single = jaxpr.replace(
        constvars=[],
        invars=invars,
        outvars=equation.outvars,
        eqns=[equation],
        debug_info=jaxpr.debug_info._replace(arg_names=None, result_paths=None),
    )
    function = jaxpr_as_fun(ClosedJaxpr(single, ()))
    at = [equation.invars.index(var) for var in invars]
    return lambda *operands: function(*(operands[i] for i in at))


def reached(closed: ClosedJaxpr) -> set[Var]:
    """The values that depend on an input; an unused variable's gradient does not."""
    found = set(closed.jaxpr.invars)
    for equation in closed.jaxpr.eqns:
        if any(isinstance(operand, Var) and operand in found for operand in equation.invars):
            found.update(equation.outvars)
    return found


def depends(function: Callable, shapes: Any, *, of: Callable = lambda result: result) -> Any:
    """Which parts of a function's result depend on its argument at all, and not only on what the
    function holds.

    Args:
      function: of one argument.
      shapes: of the argument.
      of: the part of the result that is asked about.

    Returns:
      A truth value for each leaf of that part.
    """
    closed, result = jax.make_jaxpr(lambda argument: of(function(argument)), return_shape=True)(
        shapes
    )
    closed = inlined(closed)
    found = reached(closed)
    outcomes = [isinstance(var, Var) and var in found for var in closed.jaxpr.outvars]
    return jax.tree.unflatten(jax.tree.structure(result), outcomes)
