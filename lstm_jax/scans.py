"""Scans other than `lax.scan`: a chain of copies, and pieces one after another."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.arrays import PyTree


def loop(step: Callable, carry: PyTree, over_time: PyTree) -> tuple[PyTree, PyTree]:
    """`lax.scan` as a chain of explicit copies."""
    steps = jax.tree.leaves(over_time)[0].shape[0]
    outputs = []
    for time in range(steps):
        carry, output = step(carry, jax.tree.map(lambda leaf, time=time: leaf[time], over_time))
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def in_segments(
    run: Callable, segment: int, carry: PyTree, over_time: PyTree
) -> tuple[PyTree, PyTree]:
    """`run` over pieces of so many steps, of which the backward pass keeps the carries alone."""
    run = jax.checkpoint(run, prevent_cse=False)
    steps = jax.tree.leaves(over_time)[0].shape[0]
    whole = steps // segment

    def cut(leaf):
        return leaf[: whole * segment].reshape(whole, segment, *leaf.shape[1:])

    if not whole:
        return run(carry, over_time)
    carry, pieces = lax.scan(run, carry, jax.tree.map(cut, over_time))
    results = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), pieces)
    if whole * segment < steps:
        rest = jax.tree.map(lambda leaf: leaf[whole * segment :], over_time)
        carry, last = run(carry, rest)
        results = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), results, last)
    return carry, results
