"""Bits: how much a prediction says of an answer, by how little the answer surprises it.

The mutual information between answer and prediction is at least the entropy of the answer minus the
cross entropy of *any* belief that is formed from the prediction (Barber & Agakov 2003, eq. 3). Here
the belief is the network's own, made firmer or more doubtful by one factor::

    logits(f) = blind + f * (prediction - blind)

f = 1 is what the network says; f = 0 is the blind guess, 0 bits. The factor is chosen on one half
of the examples and the bits are read on the other, and the other way round: so the mean never
overstates the information, however many classes there are. The plug-in estimate from a table of
answers does: with 64 classes and 2,048 guesses at random it finds more than a bit.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax.arrays import Array
from lstm_jax.tasks.base import Task, cross_entropy

FACTORS = np.asarray([0.0, *2.0 ** np.arange(-4, 2.5, 0.5)], np.float32)
_NATS = np.float32(np.log(2))  # of a bit


def bits(task: Task, predictions: Array, targets: Array, weights: Array) -> Array:
    """What the answers of one example keep at each factor, and last what they ask for: the
    surprise of the blind predictor. NaN where the loss of the task is no cross entropy.

    Args:
      task: what is asked.
      predictions: `[uses, output]`.
      targets: `[uses]`.
      weights: `[uses]`, what each use counts for.

    Returns:
      Weighted sums over the uses, `[len(FACTORS) + 1]`.
    """
    if task.loss is not cross_entropy:
        return jnp.full(len(FACTORS) + 1, jnp.nan, jnp.float32)
    blind = jnp.asarray(task.blind if task.loss_blind is None else task.loss_blind, jnp.float32)
    blind = jnp.broadcast_to(blind, predictions.shape)

    def surprise(factor):
        losses = jax.vmap(cross_entropy)(blind + factor * (predictions - blind), targets)
        return jnp.where(weights > 0, losses, jnp.zeros_like(losses)) @ weights / _NATS

    surprises = lax.map(surprise, jnp.asarray(FACTORS))  # one after another: outputs may be many
    asked = surprises[0]
    return jnp.append(asked - surprises, asked)


def read(halves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Bits kept and bits asked for an answer.

    Args:
      halves: sums of `bits` over each half of the examples, `[trials, 2, len(FACTORS) + 1]`.
      weights: what all counted answers weigh, `[trials]`.

    Returns:
      `[trials, 2]`.
    """
    kept = halves[..., :-1]
    chosen = np.nan_to_num(kept[:, ::-1], nan=-np.inf).argmax(axis=-1)  # by the other half
    read_off = np.take_along_axis(kept, chosen[..., None], axis=-1)[..., 0]
    sums = np.stack([read_off.sum(axis=1), halves[..., -1].sum(axis=1)], axis=1)
    return sums / weights[:, None]
