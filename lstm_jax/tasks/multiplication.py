"""The multiplication problem: two marked numbers are multiplied at the end."""

import jax.numpy as jnp
import numpy as np

from lstm_jax.tasks.adding import TOLERANCE, Layout, two_numbers
from lstm_jax.tasks.base import Task


def multiplication(gap: int, *, layout: Layout = "lag") -> Task:
    """The product of the two marked values among values drawn from U[0, 1]: `adding`, with a
    product for the sum (Hochreiter & Schmidhuber 1997, experiment 5)::

        step      0   1   2   3   4   5   6   7
        value    .3  .9  .1  .6  .2  .7  .5  .4
        marker   -1   1   0   1   0   0   0  -1
        target                              .54

    Correct means an error below 0.04. Small products are many: of all constants 0.04 is right most
    often, in 0.08 (1 - ln 0.08) = 0.282 of the examples, while 1/4 has the lowest mean squared
    error, 7/144.

    Args:
      gap: as for `adding`.
      layout: as for `adding`.

    Raises:
      InputError: as for `adding`.
    """
    widest = 2 * TOLERANCE
    return two_numbers(
        "multiplication",
        gap,
        layout,
        jnp.prod,
        blind=np.full(1, TOLERANCE, np.float32),
        chance=float(widest * (1 - np.log(widest))),
        loss_blind=np.full(1, 0.25, np.float32),
        blind_loss=7 / 144,
    )
