"""The adding problem: two marked numbers, told apart from noise, are summed at the end."""

import typing
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import Array
from lstm_jax.errors import require_among
from lstm_jax.tasks.base import Example, Task, require_whole, squared_error, whole

Layout = Literal["lag", "halves", "anywhere"]
TOLERANCE = 0.04


def adding(gap: int, *, layout: Layout = "lag") -> Task:
    """The sum of the two marked values among values drawn from U[0, 1].

    Layout `lag` at gap 4: T = 2 gap = 8, two of the steps 1 to 3 are marked, and the sequence is
    T to T + T/10 long (T/10 is rounded down, here to 0)::

        step      0   1   2   3   4   5   6   7
        value    .3  .9  .1  .6  .2  .7  .5  .4
        marker   -1   1   0   1   0   0   0  -1
        target                              1.5

    Layouts, and what the constructor's first argument is in each:

    * `lag`: the gap. Hochreiter & Schmidhuber 1997, experiment 4, with T = 2 gap: the first marker
      at one of the first ten steps, the second at one of the first T/2 - 1 still unmarked ones, the
      length uniform in T to T + T/10, markers -1 at the first and the last step, the answer at the
      last. So the last relevant value stands at least T/2 steps before its use: T/2 is their
      minimal time lag. What follows a shorter sequence is zero. Step 0 is never marked here;
      there they mark it and set its value to zero, which changes the target's distribution. Below
      gap 11 the first marker keeps to the first gap - 1 steps, else the lag would shrink.
    * `halves`: the length T. Arjovsky, Shah & Bengio 2016 (arXiv:1511.06464): one marker uniform in
      [0, T/2), one in [T/2, T), the answer at step T - 1.
    * `anywhere`: the length T. Bai, Kolter & Koltun 2018 (arXiv:1803.01271): two distinct steps
      of all T, the answer at step T - 1.

    In the last two a marker may stand at the step of the answer: their minimal lag is 0, whatever
    T is, so they are swept by length.

    Correct means an error below 0.04, as in 1997; they scale the sum to [0, 1], here it is in
    [0, 2] as in later work, so the same number is twice as strict. The blind predictor answers 1:
    it is within 0.04 in 2 * 0.04 - 0.04 ** 2 of the examples and its mean squared error is 1/6.
    One that knows one of the two values is correct in 0.08 of them. `solved_at` is 0.9 as in the
    other tasks: far above both, and about memory. 1997 asks for precision as well (the last 2,000
    sequences correct), later papers report mean squared error alone; rows carry both numbers.

    Args:
      gap: steps from the later marker to the answer, at least; the length for `halves` and
        `anywhere`.
      layout: where the markers stand.

    Raises:
      InputError: a gap below 3, a length below 2 or an unknown layout.
    """
    return two_numbers(
        "adding",
        gap,
        layout,
        jnp.sum,
        blind=np.ones(1, np.float32),
        chance=2 * TOLERANCE - TOLERANCE**2,
        blind_loss=1 / 6,
    )


def two_numbers(
    name: str, gap: int, layout: Layout, combine: Callable[[Array], Array], **fields
) -> Task:
    """What `adding` and `multiplication` share.

    Args:
      name: of the task.
      gap: as for `adding`.
      layout: as for `adding`.
      combine: two values `[2]` -> target.
      **fields: of the task: what a blind guess is and scores.
    """
    require_among("layout", layout, typing.get_args(Layout))
    by_gap = layout == "lag"
    # Two steps from 1 to gap - 1 are marked; two steps of all are in the other layouts.
    least = 3 if by_gap else 2
    require_whole("gap" if by_gap else f"layout={layout}: length", gap, least)
    shortest = 2 * gap if by_gap else gap
    longest = shortest + shortest // 10 if by_gap else gap
    steps = np.arange(longest)

    def one_of(uniform, begin, end):
        """A step from `begin` to `end` - 1, each as likely, from a number in [0, 1)."""
        return begin + whole(uniform, end - begin)

    def marked_steps(uniform):
        if layout == "halves":
            return jnp.stack([one_of(uniform[0], 0, gap // 2), one_of(uniform[1], gap // 2, gap)])
        begin, first_end = (1, min(10, gap)) if by_gap else (0, gap)
        first = one_of(uniform[0], begin, first_end)
        # One of the steps from `begin` to gap - 1 other than `first`.
        second = one_of(uniform[1], begin, gap - 1)
        return jnp.stack([first, second + (second >= first).astype(jnp.int32)])

    def sample(data, key):
        del data
        # One draw for everything: each call of the generator adds 0.1 s of compilation on CPU.
        uniform = jax.random.uniform(key, (longest + 3,), jnp.float32)
        values, uniform = uniform[:longest], uniform[longest:]
        marked = marked_steps(uniform)
        markers = jnp.zeros(longest, jnp.float32).at[marked].set(1)
        last = one_of(uniform[2], shortest - 1, longest)
        if by_gap:
            markers = markers.at[0].set(-1).at[last].set(-1)
            values = jnp.where(steps <= last, values, 0)
        return Example(
            inputs=jnp.stack([values, markers], axis=1),
            targets=combine(values[marked])[None, None],
            weights=jnp.ones(1, jnp.float32),
            info_times=marked[None],
            use_times=last[None],
            lag=(last - jnp.max(marked))[None],
        )

    def oracle(inputs):
        values, markers = inputs[:, 0], inputs[:, 1]
        return combine(values[jax.lax.top_k(markers, 2)[1]])[None, None]

    return Task(
        name=name,
        gap=gap if by_gap else 0,
        kind="dense",
        input_size=2,
        output_size=1,
        length=longest,
        sample=sample,
        loss=squared_error,
        correct=_close,
        solved_at=0.9,
        oracle=oracle,
        swept_by="gap" if by_gap else "length",
        fixed_position=gap == least,
        **fields,
    )


def _close(prediction, target):
    return jnp.max(jnp.abs(prediction - target)) < TOLERANCE
