"""Selective copy: symbols at random steps are given back in order."""

import typing
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import require_among
from lstm_jax.tasks.base import Example, Task, below, classification, require_whole

Layout = Literal["gap", "mamba"]


def selective_copy(gap: int, *, symbols: int = 14, items: int = 4, layout: Layout = "gap") -> Task:
    """Give back the symbols among blanks, which stand at random steps, in order.

    With 2 items in a window of 8 steps at gap 7 (blank 0, cue ?)::

        step     0  1  2  3  4  5  6  7  8  9 10 11 12 13
        input    0  B  0  0  0  A  0  0  0  0  0  0  ?  ?
        target                                       B  A

    A recurrence that does not look at its inputs when it decides what to keep solves `copy` but not
    this (Gu & Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces";
    Jing et al. 2019, "Gated orthogonal recurrent units").

    Layouts:

    * `gap`: items stand in the first 4 items steps; the last possible one is asked for `gap` steps
      later, so that the smallest lag is the gap.
    * `mamba`: the argument is the number of steps among which the items stand, all that come before
      the cues; the smallest lag is then `items`. The paper has 4,096 steps, 16 items, 16 tokens
      with the blank and the cue among them.

    Args:
      gap: steps from an item to its use, at least; `items` or more. For `mamba` the length, cues
        included.
      symbols: how many, K; chance is 1/K.
      items: how many to give back.
      layout: where items stand.

    Raises:
      InputError: an unknown layout, or a gap too small.
    """
    require_among("layout", layout, typing.get_args(Layout))
    require_whole("symbols", symbols, 2)
    require_whole("items", items, 1)
    if layout == "gap":
        require_whole("gap", gap, items)
        window = 4 * items
        # The last item may stand at the last step of the window; it is asked for last.
        first = gap + window - items
    else:
        require_whole("layout=mamba: length", gap, 2 * items + 1)
        window = first = gap - items
    length, cue = first + items, symbols + 1
    asked = np.arange(first, length)

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (items + window,))
        shown = below(bits[:items], symbols)
        # The steps with the smallest draws, in order of time.
        steps = jnp.sort(jax.lax.top_k(bits[items:], items)[1])
        inputs = jnp.zeros(length, jnp.int32).at[steps].set(shown + 1).at[asked].set(cue)
        return Example(
            inputs=inputs,
            targets=shown,
            weights=jnp.ones(items),
            info_times=steps[:, None],
            use_times=jnp.asarray(asked, jnp.int32),
            lag=jnp.asarray(asked, jnp.int32) - steps,
        )

    def oracle(inputs):
        shown = (inputs > 0) & (inputs < cue)
        rank = jnp.cumsum(shown) - 1
        found = jnp.zeros(items, inputs.dtype)
        return found.at[jnp.where(shown, rank, items)].set(inputs - 1, mode="drop")

    return classification(
        classes=symbols,
        name="selective_copy",
        gap=gap if layout == "gap" else items,
        kind="tokens",
        input_size=symbols + 2,
        length=length,
        sample=sample,
        oracle=oracle,
        swept_by="gap" if layout == "gap" else "length",
        # What stands where says which item a use asks for.
        joint=True,
    )
