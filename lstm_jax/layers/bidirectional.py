"""Two cells over one sequence, from both ends."""

import jax
import jax.numpy as jnp

from lstm_jax.arrays import Array
from lstm_jax.cells.base import Cell
from lstm_jax.layers.base import Layer, array, counted
from lstm_jax.unroll import unroll_batch


def bidirectional(forward: Cell, backward: Cell) -> Layer:
    """Outputs of a cell that reads from the first step on beside those of one that reads from the
    last (Schuster & Paliwal 1997, "Bidirectional recurrent neural networks").

    The last step of a sequence is that of its length: the backward cell never sees padding.

    Args:
      forward: reads from the first step on.
      backward: reads from the last step back; may be another kind of cell.

    Returns:
      A layer whose outputs `[batch, time, forward.output_size + backward.output_size]` at a step
      are what both cells know of it: all before it, and all behind it.
    """

    def init(key):
        forward_key, backward_key = jax.random.split(key)
        return {"forward": forward.init(forward_key), "backward": backward.init(backward_key)}

    def apply(params, inputs, *, key=None, length=None):
        inputs = counted(array(inputs), length)
        batch, steps, _ = inputs.shape
        ends = jnp.full(batch, steps) if length is None else jnp.asarray(length)
        keys = [None, None]
        if key is not None:
            fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))
            keys = [fold_in(key, side) for side in range(2)]
        ahead = unroll_batch(forward, params["forward"], inputs, key=keys[0], length=length)
        turned = reverse(inputs, ends)
        behind = unroll_batch(backward, params["backward"], turned, key=keys[1], length=length)
        return jnp.concatenate([ahead.outputs, reverse(behind.outputs, ends)], axis=-1)

    return Layer(init, apply, forward.output_size + backward.output_size, causal=False)


def reverse(values: Array, length: Array) -> Array:
    """`[batch, time, ...]` with the first `length` `[batch]` steps of each in opposite order."""
    times = jnp.arange(values.shape[1])[None]
    turned = jnp.where(times < length[:, None], length[:, None] - 1 - times, times)
    return jax.vmap(lambda one, order: one[order])(values, turned)
