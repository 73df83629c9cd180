"""A cell seen by tracing: shapes and dtypes of everything in it, and words for them."""

import contextlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.arrays import PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.errors import BrokenClauseError, InputError, first_line

# Input and hidden sizes at which a cell is looked at: the first that the constructor takes (one
# with heads or blocks may refuse a hidden size of 5).
SIZES = ((3, 5), (3, 8), (4, 16))


@contextlib.contextmanager
def doing(what: str):
    """Turns whatever goes wrong inside into a broken clause that says where."""
    try:
        yield
    except (BrokenClauseError, InputError):
        raise
    except Exception as error:
        raise BrokenClauseError(f"`{what}` fails: {first_line(error)}") from error


class Sketch:
    """Shapes and dtypes of everything in a cell, found by tracing."""

    def __init__(self, build: Callable[..., Cell], sizes: tuple[int, int] | None = None):
        """Builds the cell.

        Args:
          build: `(input_size, hidden_size) -> Cell`.
          sizes: input and hidden size; None for the first of SIZES that is taken.

        Raises:
          BrokenClauseError: construction fails.
        """
        self.build = build
        refused = ""
        for input_size, hidden_size in SIZES if sizes is None else (sizes,):
            try:
                self.cell = build(input_size, hidden_size)
            except InputError as error:
                refused = str(error)
                continue
            except Exception as error:
                raise BrokenClauseError(f"fails with {first_line(error)}") from error
            self.input_size, self.hidden_size = input_size, hidden_size
            return
        raise BrokenClauseError(f"every size is refused, the last with: {refused}")

    @cached_property
    def params(self) -> PyTree:
        with doing("init"):
            return jax.eval_shape(self.cell.init, jax.random.key(0))

    @cached_property
    def weights(self) -> PyTree:
        with doing("prepare"):
            return jax.eval_shape(self.cell.prepare, self.params)

    @cached_property
    def carry(self) -> PyTree:
        with doing("initial_carry"):
            return jax.eval_shape(self.cell.initial_carry, self.weights)

    @cached_property
    def inputs(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.input_size,), jnp.float32)

    @cached_property
    def projected(self) -> PyTree:
        with doing("project"):
            return jax.eval_shape(self.project, self.weights, self.inputs)

    @cached_property
    def stepped(self) -> PyTree:
        with doing("step"):
            return jax.eval_shape(self.cell.step, self.weights, self.carry, self.projected)

    def project(self, weights: PyTree, inputs: jax.Array) -> PyTree:
        """`project` in evaluation."""
        return self.cell.project(weights, inputs, None)

    def jaxprs(self) -> list:
        """The cell's functions, traced anew."""
        arguments = {
            "init": (jax.random.key(0),),
            "prepare": (self.params,),
            "initial_carry": (self.weights,),
            "project": (self.weights, self.inputs, None),
            "step": (self.weights, self.carry, self.projected),
        }
        return [
            (name, jax.make_jaxpr(anew(getattr(self.cell, name)))(*given))
            for name, given in arguments.items()
        ]


def anew(function: Callable) -> Callable:
    """The same function as one that JAX has not traced yet, for it remembers what it traced."""
    return lambda *arguments: function(*arguments)


def named(tree: PyTree) -> bool:
    """Whether the top of a tree is a NamedTuple or a dict."""
    return isinstance(tree, dict) or (isinstance(tree, tuple) and hasattr(tree, "_fields"))


def entries(tree: PyTree) -> list[tuple[str, Any]]:
    """Names and values of a NamedTuple or dict."""
    return list(tree.items()) if isinstance(tree, dict) else list(tree._asdict().items())


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Leaves with their paths, such as `inner.hidden`."""
    paths = jax.tree.leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]


def kind(value: Any) -> str:
    """What a value is, with its article."""
    name = "array" if isinstance(value, jax.ShapeDtypeStruct) else type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def show(leaf: Any) -> str:
    """Dtype and shape of an array: `float32[5]`."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def outline(tree: PyTree) -> str:
    """A tree in a line: `LSTMCarry(hidden: float32[5], memory: float32[5])`."""
    if isinstance(tree, jax.ShapeDtypeStruct):
        return show(tree)
    inside = ", ".join(f"{name}: {show(leaf)}" for name, leaf in named_leaves(tree))
    return f"{type(tree).__name__}({inside})"
