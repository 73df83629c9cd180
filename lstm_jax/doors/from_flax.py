"""A recurrent cell of Flax as a cell."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.doors.from_function import from_function


def from_flax(build: Callable[..., Any], *, input_size: int) -> Cell:
    """Any cell of `flax.nnx` or `flax.linen` with the interface of their `RNNCellBase`.

    Args:
      build: for NNX, a function of `rngs` that makes the cell::

            from_flax(lambda rngs: nnx.LSTMCell(4, 8, rngs=rngs), input_size=4)

        for Linen, the cell itself::

            from_flax(linen.LSTMCell(8), input_size=4)
      input_size: features of one input.

    Returns:
      A cell whose params are the cell's, by the names of the leaves. Noise is left out: dropout of
      an NNX cell must be deterministic. The first carry is that of the first draw.

    Raises:
      InputError: what it gives is no vector of floats.
    """
    from flax import linen, nnx

    if isinstance(build, linen.Module):
        module, key = build, jax.random.key(0)
        carry = module.initialize_carry(key, (input_size,))

        def init(key):
            return module.init(key, carry, jnp.zeros(input_size))

        return from_function(module.apply, init, carry, input_size=input_size)

    made = build(nnx.Rngs(0))
    graph, _, rest = nnx.split(made, nnx.Param, ...)

    def init(key):
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param))

    state = nnx.state(made, nnx.Param)

    def step(params, carry, x):
        own = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(params))
        return nnx.merge(graph, own, rest)(carry, x)

    carry = made.initialize_carry((input_size,), nnx.Rngs(0))
    return from_function(step, init, carry, input_size=input_size)
