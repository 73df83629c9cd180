"""Multi-query associative recall: which value came with this key?"""

import typing
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import require_among
from lstm_jax.tasks.base import Example, Task, below, classification, require_whole

Layout = Literal["gap", "zoology"]
_DISTRACTORS = 8
_POWER = 0.01  # of the distribution of distances in Zoology


def mqar(gap: int, *, pairs: int = 4, symbols: int = 8, layout: Layout = "gap") -> Task:
    """Pairs of a key and a value, distractors, then every key once: which value was it?

    With 2 pairs at gap 4 (keys k, values v, distractors d)::

        step     0   1   2   3   4   5   6   7   8
        input    k3  v1  k5  v0  d   d   d   k5  k3
        target                               v0  v1

    Keys differ from each other, values need not. Arora et al. 2023, "Zoology: measuring and
    improving recall in efficient language models".

    Layouts:

    * `gap`: queries stand one after another in random order, the first one `gap` steps after the
      last value, so that the smallest lag is the gap.
    * `zoology`: the layout of the authors' generator, swept by the length: key j, in the order of
      the pairs, is asked for 2 g_j steps after the first step behind them, g_j drawn without
      replacement with probability proportional to (g + 1)^(0.01 - 1), so that earlier keys tend to
      be asked for sooner. There are `symbols` keys (one symbol of their half stands for padding
      there) and as many values: the authors' vocabulary of 8,192 is symbols=4096. The smallest lag
      is 1. Two differences, for what would give an answer away or ask for none: steps that ask for
      nothing hold random values here, random symbols of the whole vocabulary there, where a key
      among them looks like a question; and values are drawn one by one here, without replacement
      there, so that one says what the others are not. With 8,192 symbols and a length of 64 either
      shows in at most 3 % of the sequences.

    Args:
      gap: steps from the last value to the first query; the length for `zoology`.
      pairs: how many pairs, and queries.
      symbols: number of keys, and of values; chance is 1/symbols.
      layout: where queries stand.

    Raises:
      InputError: an unknown layout, fewer symbols than pairs, a gap below 1, or a length that does
        not hold pairs and queries.
    """
    require_among("layout", layout, typing.get_args(Layout))
    require_whole("pairs", pairs, 2)
    require_whole("symbols", symbols, pairs)
    by_gap = layout == "gap"
    begin = 2 * pairs  # first step after the pairs
    if by_gap:
        require_whole("gap", gap, 1)
        length = begin - 1 + gap + pairs
    else:
        require_whole("layout=zoology: length", gap, 4 * pairs)
        length = gap
        space = (gap - begin) // 2
        log_likely = (_POWER - 1) * np.log(np.arange(1, space + 1))
    keys_at, values_at = 2 * np.arange(pairs), 2 * np.arange(pairs) + 1
    steps = np.arange(length)

    def different(bits):
        """`pairs` symbols, those with the largest draws."""
        return jax.lax.top_k(bits, pairs)[1]

    def one_after_another(bits, key):
        """Pairs in the order in which they are asked for, the steps of the questions, filler."""
        del key
        asked = begin - 1 + gap + jnp.arange(pairs, dtype=jnp.int32)
        return jnp.argsort(bits[:pairs]), asked, 2 * symbols + below(bits[pairs:], _DISTRACTORS)

    def as_in_zoology(bits, key):
        """The same."""
        # In order of size: as draws without replacement come one after another.
        gumbel = jax.random.gumbel(key, (space,)) + jnp.asarray(log_likely, jnp.float32)
        times = begin + 2 * different(gumbel)
        return jnp.argsort(times), jnp.sort(times), symbols + below(bits[pairs:], symbols)

    asking = one_after_another if by_gap else as_in_zoology

    def sample(data, key):
        del data
        bits_key, times_key = jax.random.split(key)
        bits = jax.random.bits(bits_key, (symbols + 2 * pairs + length,))
        chosen = different(bits[:symbols])
        values = below(bits[symbols : symbols + pairs], symbols)
        asked_for, asked, filler = asking(bits[symbols + pairs :], times_key)
        inputs = filler.at[keys_at].set(chosen).at[values_at].set(symbols + values)
        infos = jnp.stack([2 * asked_for, 2 * asked_for + 1], axis=1)
        return Example(
            inputs=inputs.at[asked].set(chosen[asked_for]),
            targets=values[asked_for],
            weights=jnp.ones(pairs),
            info_times=infos,
            use_times=asked,
            lag=asked - infos[:, 1],
        )

    def oracle(inputs):
        same = inputs[:, None] == inputs[keys_at][None]  # [time, pairs]
        query = same.any(axis=1) & (steps >= begin)
        rank = jnp.where(query, jnp.cumsum(query) - 1, pairs)
        answers = inputs[values_at][jnp.argmax(same, axis=1)] - symbols
        return jnp.zeros(pairs, inputs.dtype).at[rank].set(answers, mode="drop")

    return classification(
        classes=symbols,
        name="mqar",
        gap=gap if by_gap else 1,
        kind="tokens",
        input_size=2 * symbols + _DISTRACTORS * by_gap,
        length=length,
        sample=sample,
        oracle=oracle,
        swept_by="gap" if by_gap else "length",
        joint=True,
    )
