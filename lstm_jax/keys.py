"""Every stream of random numbers, in one place.

One root key a seed. From it, by `fold_in` with a named constant, independent streams: `INIT` for
parameters, `DATA` for training examples, `NOISE` for dropout and the like, `GUESSES` for an
optimizer that draws parameters. The streams of update `u` are folded by `u`, so that a trial
resumed at update `u` draws what it would have drawn.
Evaluation sets hang on the task alone, never on the seed: they are paired over cells and seeds.
"""

import jax
from jaxtyping import Array, Int

from lstm_jax.arrays import Key

INIT, DATA, NOISE, GUESSES = 0, 1, 2, 3
# A root that no seed reaches (seeds are below 2**31 - 1), so that evaluation and training examples
# come from different streams.
_EVALUATION_ROOT = 2**31 - 1
MAX_SEED = _EVALUATION_ROOT - 1
_SPLITS = {"monitor": 0, "report": 1}


def root(seed: int | Int[Array, ""]) -> Key:
    """The root key of a seed."""
    return jax.random.key(seed)


def init(root_key: Key) -> Key:
    """The key of a trial's parameters."""
    return jax.random.fold_in(root_key, INIT)


def data(root_key: Key, update: Int[Array, ""]) -> Key:
    """The key of the examples of one update."""
    return jax.random.fold_in(jax.random.fold_in(root_key, DATA), update)


def noise(root_key: Key, update: Int[Array, ""]) -> Key:
    """The key of the noise (dropout, zoneout) of one update."""
    return jax.random.fold_in(jax.random.fold_in(root_key, NOISE), update)


def guesses(root_key: Key, update: Int[Array, ""]) -> Key:
    """The key of the parameters that an optimizer draws at one update."""
    return jax.random.fold_in(jax.random.fold_in(root_key, GUESSES), update)


def evaluation(split: str) -> Key:
    """The key of an evaluation set, `monitor` or `report`: the same for every seed and cell."""
    return jax.random.fold_in(jax.random.key(_EVALUATION_ROOT), _SPLITS[split])
