"""What tasks of real data share: a labelled sequence, steps that say nothing, then the question.

An example of T relevant steps at gap g is T + g steps long::

    step        0 ... T - 1   T ... T + g - 2   T + g - 1
    features    the sequence  padding           zeros
    flag        0             0                 1          one more feature
    target                                      its label

The lag counts from step T - 1. `report` is the test split; `monitor` is held out from training.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import keys
from lstm_jax.arrays import Array, Key, PyTree
from lstm_jax.programs import quick_jit
from lstm_jax.tasks.base import (
    Example,
    Split,
    Task,
    classification,
    require_whole,
    whole,
)

# A frozen generator: `numpy.random.RandomState` draws the same numbers in every version of NumPy.
FIXED_NOISE_SEED = 92917

Padding = Literal["noise", "neutral", "fixed"]


class Labelled(NamedTuple):
    """Sequences, and what each is.

    Attributes:
      inputs: `[examples, ...]`, as they are stored.
      labels: `[examples]`, the class.
    """

    inputs: Array
    labels: Array


class Parts(NamedTuple):
    """A data set, each example in one part only.

    Attributes:
      train: what training draws from.
      monitor: held out from training.
      report: the test split.
    """

    train: Labelled
    monitor: Labelled
    report: Labelled


def zeros(shape: tuple[int, ...], dtype: type) -> Parts:
    """One example of zeros a part, as `Task.zero_data` gives them.

    Args:
      shape: of one example's inputs.
      dtype: theirs.
    """
    part = Labelled(jnp.zeros((1, *shape), dtype), jnp.zeros(1, jnp.int32))
    return Parts(part, part, part)


def labelled_task(
    *,
    gap: int,
    classes: int,
    steps: int,
    features: int,
    encode: Callable[[Array], Array],
    padding: Padding,
    loudness: tuple[float, float] = (0, 1),
    balanced: bool = False,
    load: Callable[[], PyTree],
    **fields,
) -> Task:
    """A task whose question is which label a sequence has.

    Args:
      gap: steps from the sequence's last to the question.
      classes: how many labels there are.
      steps: of a sequence, T.
      features: of one step.
      encode: inputs as stored, of any leading axes, in NumPy or in JAX -> float32
        `[..., steps, features]`.
      padding: what stands between sequence and question: `noise`, uniform and new in every training
        example, fixed in the evaluation sets; `neutral`, zeros; `fixed`, one draw from the standard
        normal distribution, the same in every example, at the question too.
      loudness: least and largest value of `noise`.
      balanced: draws a class first and then one of its examples, from training examples that are
        sorted by label; otherwise all examples are as likely.
      load: () -> `Parts`.
      **fields: of the task: its name, `solved_at` and so on.

    Raises:
      InputError: a gap below 1.
    """
    require_whole("gap", gap, 1)
    question = steps - 1 + gap
    low, high = loudness
    noises = (gap - 1) * features if padding == "noise" else 0
    after = np.zeros((gap, features + 1), np.float32)  # the padding and the question
    if padding == "fixed":
        fixed = np.random.RandomState(FIXED_NOISE_SEED).standard_normal((gap, features))
        after[:, :-1] = fixed
    after[-1, -1] = 1
    unflagged = np.zeros((steps + gap, 1), np.float32)
    info_times = np.arange(steps, dtype=np.int32)

    def example(xp, inputs, labels, uniform):
        """Examples of any leading axes, in NumPy or in JAX."""
        axes = labels.shape

        def same(value):
            return xp.broadcast_to(value, (*axes, *value.shape))

        def without_flag(values):
            return xp.concatenate([values, same(unflagged[: values.shape[-2]])], axis=-1)

        pieces = [without_flag(encode(inputs)), same(after)]
        if noises:
            noise = (low + (high - low) * uniform).reshape(*axes, gap - 1, features)
            pieces[1:] = [without_flag(noise), same(after[-1:])]
        return Example(
            inputs=xp.concatenate(pieces, axis=-2),  # once: a set may fill gigabytes
            targets=labels[..., None],
            weights=xp.ones((*axes, 1), np.float32),
            info_times=same(info_times[None]),
            use_times=xp.full((*axes, 1), question, np.int32),
            lag=xp.full((*axes, 1), gap, np.int32),
        )

    def sample(data: Parts, key: Key) -> Example:
        # One draw for noise and choice: each call of the generator adds to compilation.
        uniform = jax.random.uniform(key, (noises + 1 + balanced,), jnp.float32)
        inputs, labels = data.train
        begin, end = 0, len(labels)
        if balanced:
            chosen = whole(uniform[-2], classes)
            begin, end = jnp.searchsorted(labels, jnp.stack([chosen, chosen + 1]))
        index = begin + whole(uniform[-1], end - begin)
        return example(jnp, inputs[index], labels[index], uniform[:noises])

    def evaluation_set(data: Parts, split: Split) -> Example:
        inputs, labels = map(np.asarray, getattr(data, split))
        # In NumPy: a set is built once, which is not worth compiling.
        uniform = np.zeros((len(labels), noises), np.float32)
        if noises:
            uniform = np.asarray(_uniform(uniform.shape)(keys.evaluation(split)))
        return example(np, inputs, labels, uniform)

    return classification(
        classes=classes,
        gap=gap,
        kind="dense",
        input_size=features + 1,
        length=steps + gap,
        sample=sample,
        load=load,
        evaluation_set=evaluation_set,
        fixed_position=True,
        **fields,
    )


@functools.lru_cache(maxsize=32)
def _uniform(shape: tuple[int, ...]) -> Callable[[Key], Array]:
    """Numbers in [0, 1) from a key."""
    return quick_jit(lambda key: jax.random.uniform(key, shape, jnp.float32))
