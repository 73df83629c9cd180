"""A cell as a recurrent cell of Flax, to stand inside its `RNN`."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from lstm_jax.arrays import PyTree
from lstm_jax.cells.base import Cell
from lstm_jax.errors import require_among


def to_flax(cell: Cell, *, api: Literal["nnx", "linen"] = "nnx", rngs: Any = None) -> Any:
    """A cell with Flax's interface: `nnx.RNN(to_flax(lstm(4, 8), rngs=nnx.Rngs(0)))`, or
    `linen.RNN(to_flax(lstm(4, 8), api="linen"))`.

    It runs in evaluation, without noise. `prepare` is part of every step there, which for an
    orthogonal recurrent kernel is most of the work; `unroll` does it once.

    Args:
      cell: what is wrapped.
      api: which of Flax's two.
      rngs: for NNX, where the parameters come from; key 0 if None.

    Returns:
      An instance of `RNNCellBase`, with the cell's parameters under their own names.

    Raises:
      InputError: another api.
    """
    require_among("api", api, ("nnx", "linen"))
    return _nnx(cell, rngs) if api == "nnx" else _linen(cell)


def _nnx(cell: Cell, rngs: Any):
    from flax import nnx

    class RecurrentCell(nnx.RNNCellBase):
        """A cell of lstm_jax."""

        def __init__(self, rngs):
            drawn = cell.init(rngs.params())
            names, self.structure = _names(drawn), nnx.static(jax.tree.structure(drawn))
            for name, leaf in zip(names, jax.tree.leaves(drawn), strict=True):
                setattr(self, name, nnx.Param(leaf))
            self.names = tuple(names)

        def _weights(self):
            leaves = [getattr(self, name).get_value() for name in self.names]
            return cell.prepare(jax.tree.unflatten(self.structure, leaves))

        def initialize_carry(self, input_shape, rngs=None):
            del rngs
            return _broadcast(cell.initial_carry(self._weights()), input_shape)

        def __call__(self, carry, inputs):
            return _step(cell, self._weights(), carry, inputs)

        @property
        def num_feature_axes(self):
            return 1

    return RecurrentCell(rngs or nnx.Rngs(0))


def _linen(cell: Cell):
    from flax import linen

    class RecurrentCell(linen.RNNCellBase):
        """A cell of lstm_jax."""

        def setup(self):
            shapes = jax.eval_shape(cell.init, jax.random.key(0))
            names = _names(shapes)
            # One draw for all: leaves that belong together come from one key.
            drawn = self.param(
                "cell", lambda key: dict(zip(names, jax.tree.leaves(cell.init(key)), strict=True))
            )
            leaves = [drawn[name] for name in names]
            self.weights = cell.prepare(jax.tree.unflatten(jax.tree.structure(shapes), leaves))

        def initialize_carry(self, rng, input_shape):
            # Outside a network there are no parameters yet.
            alone = self.scope is None
            weights = cell.prepare(cell.init(rng)) if alone else self.weights
            return _broadcast(cell.initial_carry(weights), input_shape)

        def __call__(self, carry, inputs):
            return _step(cell, self.weights, carry, inputs)

        @property
        def num_feature_axes(self):
            return 1

    return RecurrentCell()


def _names(params: PyTree) -> list[str]:
    """Of the leaves, in their order."""
    return list(params._asdict()) if hasattr(params, "_asdict") else sorted(params)


def _broadcast(carry: PyTree, input_shape: tuple[int, ...]) -> PyTree:
    batch = input_shape[:-1]
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*batch, *jnp.shape(leaf))), carry)


def _step(cell: Cell, weights: PyTree, carry: PyTree, inputs: jax.Array):
    """One step of a batch with any axes, or with none."""

    def one(carry, x):
        return cell.step(weights, carry, cell.project(weights, x, None))

    for _ in range(inputs.ndim - 1):
        one = jax.vmap(one)
    return one(carry, inputs)
