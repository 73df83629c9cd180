"""The 2-sequence problem: the first values say the class, the rest is noise."""

import typing
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from lstm_jax.errors import require_among
from lstm_jax.tasks.base import Example, Task, classification, require_whole

Noise = Literal["distractors", "everywhere"]
_DEVIATION = 0.2**0.5  # of the noise: variance 0.2 in the paper


def two_sequence(gap: int, *, onset: int = 3, noise: Noise = "distractors") -> Task:
    """One of two classes: the first `onset` values are 1 for one and -1 for the other; then noise.

    With an onset of 2 at gap 4, in a sequence of the shortest length::

        step      0   1   2   3   4   5
        value     1   1 -.3  .6  .1 -.4
        target                        1

    Hochreiter & Schmidhuber 1997, experiment 3, after Bengio, Simard & Frasconi 1994: noise is
    Gaussian with variance 0.2, sequences have T to T + T/10 values, T = gap + onset, and the answer
    is asked for at the last. A second feature is 1 there and 0 before. Experiment 3a adds noise to
    the distractors alone; 3b (`everywhere`) to the first values too, so that the best guess, the
    sign of their sum, is wrong with probability Phi(-sqrt(onset / 0.2)): 1.3 % of the sequences
    with one value, 5e-5 with three. (3c has noisy targets; it is not here.)

    Guessing weights solves it faster than training does (Hochreiter & Schmidhuber 1996, "Bridging
    long time lags by weight guessing"): one bit is little. Try `--optimizer=guess`.

    Args:
      gap: steps from the last of the first values to the answer, at least.
      onset: N, how many values say the class.
      noise: what has noise.

    Raises:
      InputError: an unknown noise, or a gap or onset below 1.
    """
    require_whole("gap", gap, 1)
    require_among("noise", noise, typing.get_args(Noise))
    return noisy_class(
        "two_sequence", gap, onset, extra=(gap + onset) // 10, noisy_onset=noise == "everywhere"
    )


def noisy_class(name: str, gap: int, onset: int, *, extra: int, noisy_onset: bool) -> Task:
    """What `two_sequence` and `latch` share.

    Args:
      name: of the task.
      gap: smallest number of steps from the last informative value to the answer.
      onset: informative values.
      extra: by how much the longest sequence is longer than the shortest.
      noisy_onset: whether these have noise too.
    """
    require_whole("onset", onset, 1)
    shortest = gap + onset
    length = shortest + extra
    steps = np.arange(length)

    def sample(data, key):
        del data
        normal = jax.random.normal(key, (length + 2,))
        # Two of the draws serve as a coin and as a uniform number.
        up = normal[length] > 0
        uniform = jax.scipy.stats.norm.cdf(normal[length + 1])
        last = shortest - 1 + jnp.floor(uniform * (extra + 1)).astype(jnp.int32)
        last = jnp.minimum(last, length - 1)
        values = _DEVIATION * normal[:length]
        told = jnp.where(up, 1.0, -1.0) + (values if noisy_onset else 0)
        values = jnp.where(steps < onset, told, values)
        values = jnp.where(steps <= last, values, 0)
        asked = (steps == last).astype(values.dtype)
        return Example(
            inputs=jnp.stack([values, asked], axis=1),
            targets=up.astype(jnp.int32)[None],
            weights=jnp.ones(1),
            info_times=jnp.arange(onset, dtype=jnp.int32)[None],
            use_times=last[None],
            lag=(last - onset + 1)[None],
        )

    def oracle(inputs):
        return (jnp.sum(inputs[:onset, 0]) > 0).astype(jnp.int32)[None]

    ceiling = 1.0
    if noisy_onset:
        ceiling = float(stats.norm.cdf(onset**0.5 / _DEVIATION))
    return classification(
        classes=2,
        name=name,
        gap=gap,
        kind="dense",
        input_size=2,
        length=length,
        sample=sample,
        oracle=oracle,
        fixed_position=True,
        ceiling=ceiling,
    )
