"""The latch: one bit is kept against noise."""

from lstm_jax.tasks.base import Task, require_whole
from lstm_jax.tasks.two_sequence import noisy_class


def latch(gap: int, *, onset: int = 1) -> Task:
    """The class is in the first `onset` values, 1 or -1; Gaussian noise of variance 0.2 follows.

    At gap 4::

        step      0   1   2   3   4
        value    -1 -.3  .6  .1 -.4
        target                    0

    The minimal task of Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with
    gradient descent is difficult", section III: the class hangs on the first values only, and all
    sequences are equally long. There the first values are trained; here they are given.

    Args:
      gap: steps from the last of the first values to the answer.
      onset: how many values say the class.

    Raises:
      InputError: a gap or onset below 1.
    """
    require_whole("gap", gap, 1)
    return noisy_class("latch", gap, onset, extra=0, noisy_onset=False)
