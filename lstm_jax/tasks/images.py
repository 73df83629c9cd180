"""Images as sequences: the layouts that tasks of images share, and how sets of images are read."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lstm_jax import datasets
from lstm_jax.arrays import Array
from lstm_jax.errors import require_among
from lstm_jax.tasks.base import EVALUATION_SIZES
from lstm_jax.tasks.labelled import Labelled, Parts

# Of expRNN's and scoRNN's permuted MNIST (`permutation` below); papers do not share one.
PERMUTATION_SEED = 92916


def permutation(pixels: int) -> np.ndarray:
    """`[pixels]`, the order in which `permuted` shows them: pixel `permutation[t]` at step t.

    That of the official code of expRNN (Lezcano-Casado & Martinez-Rubio 2019) and scoRNN (Helfrich
    et al. 2018), `numpy.random.RandomState(92916).permutation(784)`, at MNIST's 784 pixels. NumPy
    keeps what a seeded `RandomState` draws for ever (NEP 19).
    """
    return np.random.RandomState(PERMUTATION_SEED).permutation(pixels)


class Sequence(NamedTuple):
    """An image as a sequence, as `labelled_task` takes it.

    Attributes:
      steps: how many.
      features: of one step.
      encode: images `[..., height, width, channels]` -> float32 `[..., steps, features]`, in NumPy
        or in JAX.
    """

    steps: int
    features: int
    encode: Callable[[Array], Array]


def as_sequence(layout: str, shape: tuple[int, int, int], scale: float) -> Sequence:
    """An image as a sequence.

    Args:
      layout: `pixel`, a pixel a step, rows one after another; `permuted`, the same in the order of
        `permutation`; `row`, a row a step, all of its first channel, then all of the next.
      shape: of an image, `[height, width, channels]`.
      scale: what stored values are multiplied by.

    Raises:
      InputError: another layout.
    """
    require_among("layout", layout, ("pixel", "permuted", "row"))
    height, width, channels = shape
    steps, features = height * width, channels
    if layout == "row":
        steps, features = height, channels * width
    order = permutation(steps) if layout == "permuted" else None

    def encode(image):
        axes = image.shape[:-3]
        image = image.astype(np.float32) * np.float32(scale)
        if layout == "row":
            return image.swapaxes(-1, -2).reshape(*axes, steps, features)
        pixels = image.reshape(*axes, steps, features)
        return pixels if order is None else pixels[..., order, :]

    return Sequence(steps, features, encode)


def load(name: str) -> Parts:
    """A prepared set of images on the device, as bytes; monitored are the first examples of its
    training split, which TFDS has shuffled.

    Raises:
      InputError, MissingExtraError: as `datasets.prepared`.
    """
    builder = datasets.prepared(name)
    train, test = (part(datasets.read(builder, split)) for split in ("train", "test"))
    held_out = EVALUATION_SIZES["monitor"]
    monitor, rest = (
        Labelled(*(leaf[chosen] for leaf in train))
        for chosen in (slice(held_out), slice(held_out, None))
    )
    return Parts(rest, monitor, test)


def part(examples: dict[str, np.ndarray]) -> Labelled:
    """Images and labels as TFDS gives them, on the device."""
    return Labelled(jnp.asarray(examples["image"]), jnp.asarray(examples["label"], jnp.int32))
