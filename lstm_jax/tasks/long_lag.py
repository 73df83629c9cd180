"""Noise-free long time lags: the first symbol is asked for again at the end."""

import typing
from typing import Literal

import jax
import jax.numpy as jnp

from lstm_jax.errors import InputError, require_among
from lstm_jax.tasks.base import (
    Example,
    Task,
    below,
    classification,
    longest_lead_in,
    require_whole,
)

Layout = Literal["regular", "random"]


def long_lag(
    gap: int,
    *,
    layout: Layout = "random",
    distractors: int = 50,
    length: int | None = None,
) -> Task:
    """Was it x or y at the start? Many distractor symbols stand between.

    Layout `random` at gap 4 (b begins, e asks), in a sequence of the shortest length::

        step     0  1  2   3   4  5
        input    b  x  a7  a2  a7 e
        target                    x

    Hochreiter & Schmidhuber 1997, experiment 2:

    * `random`, 2c: b, then x or y, then q + k distractors drawn from `distractors` symbols, then e,
      after which x or y is to be foretold. k is geometric in the paper, ended with probability 1/10
      at each step; here it is uniform from 0 to q/10, so that sequences have an end. The gap is
      q + 1. The cost of this one grows slowly with the gap: their only sweep of gaps.
    * `regular`, 2a: x or y, then a1, a2, ... in the same order each time. There are but two
      sequences, and a distractor a step: `distractors` is not read.

    Args:
      gap: steps from x or y to the step after which it is asked for, at least.
      layout: random or regular distractors.
      distractors: number of distractor symbols, p in the paper.
      length: steps of an example, the same at every gap: b then stands behind a lead-in of
        distractors, drawn for each example. None for the paper's, where b stands at the start, and
        for `regular`, whose order leaves no place for others.

    Raises:
      InputError: an unknown layout, a gap or distractors below 1, or a length that is too small or
        not for this layout.
    """
    require_whole("gap", gap, 1)
    require_among("layout", layout, typing.get_args(Layout))
    require_whole("distractors", distractors, 1)
    regular = layout == "regular"
    between = gap if regular else gap - 1
    extra = 0 if regular else between // 10
    start = 0 if regular else 1
    if regular and length is not None:
        raise InputError(f"length={length}: not for layout=regular")
    lead_in = longest_lead_in(0, length, start + gap + extra + 1)
    length = lead_in + start + gap + extra + 1
    symbols = gap if regular else distractors
    begin, end = 2 + symbols, 3 + symbols

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (length + 2 + (lead_in > 0),))
        chosen = below(bits[0], 2)
        told = start + (below(bits[-1], lead_in + 1) if lead_in else jnp.int32(0))
        last = told + gap + below(bits[1], extra + 1)
        if regular:
            inputs = jnp.arange(1, length + 1, dtype=jnp.int32)  # a1 is symbol 2
        else:
            inputs = 2 + below(bits[2 : 2 + length], symbols)
            inputs = inputs.at[told - 1].set(begin).at[last].set(end)
        return Example(
            inputs=inputs.at[told].set(chosen),
            targets=chosen[None],
            weights=jnp.ones(1),
            info_times=told[None, None],
            use_times=last[None],
            lag=(last - told)[None],
        )

    def oracle(inputs):
        return jnp.min(inputs)[None]  # x and y are the smallest symbols, and there is one

    return classification(
        classes=2,
        name="long_lag",
        gap=gap,
        kind="tokens",
        input_size=2 + symbols + (0 if regular else 2),
        length=length,
        sample=sample,
        oracle=oracle,
        fixed_position=lead_in == 0,
    )
