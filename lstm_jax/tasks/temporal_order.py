"""Temporal order: in which order did the relevant symbols come?"""

import typing
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError, require_among
from lstm_jax.tasks.base import Example, Task, below, classification, require_whole

Layout = Literal["hochreiter", "pascanu"]
# Where the relevant symbols stand, in parts of the length T: begin and end of each.
_PLACES = {
    ("hochreiter", 2): ((0.1, 0.2), (0.5, 0.6)),
    ("hochreiter", 3): ((0.1, 0.2), (0.33, 0.43), (0.66, 0.76)),
    ("pascanu", 2): ((0.1, 0.2), (0.5, 0.6)),
    ("pascanu", 3): ((0.1, 0.2), (0.3, 0.4), (0.6, 0.7)),
}
_DISTRACTORS = 4


def temporal_order(gap: int, *, items: int = 2, layout: Layout = "hochreiter") -> Task:
    """Two or three symbols X or Y stand among distractors a, b, c, d: which came, in order?

    Layout `hochreiter` with 2 items at gap 8, where T = 20 (B begins, E ends)::

        step     0  1  2  3 ... 10 11 12 ... 18 19 20
        input    B  c  a  X ...  d  Y  a ...  b  c  E
        target                                     XY

    Layouts:

    * `hochreiter`: Hochreiter & Schmidhuber 1997, experiments 6a and 6b: sequences of T to
      T + T/10 steps, the first X or Y at a step from T/10 to T/5, the second from T/2 to 3T/5; with
      three, from T/10 to T/5, from 33 to 43 and from 66 to 76 hundredths of T. The answer is asked
      for at E, the last step. The gap is T minus the latest step of the last one: 2T/5, or 6T/25.
      (Steps here begin at 0, so that T = 100 has its places one lower than the paper.)
    * `pascanu`: the code of Pascanu, Mikolov & Bengio 2013, swept by the length: the symbols stand
      uniformly in parts 0.1 to 0.2 and 0.5 to 0.6 of it, with three in 0.1 to 0.2, 0.3 to 0.4 and
      0.6 to 0.7 (ends excluded), without B and E; the answer is asked for at the last step.

    Chance is 1/4 with two items and 1/8 with three. H&S count a sequence as right if the error of
    each of their outputs is below 0.3; here the largest output decides.

    Args:
      gap: steps from the last relevant symbol to the answer, at least; the length for `pascanu`.
      items: 2 or 3.
      layout: where the symbols stand.

    Raises:
      InputError: an option outside what is named above, or a gap below 3 or length below 20.
    """
    require_among("layout", layout, typing.get_args(Layout))
    framed = layout == "hochreiter"
    if items not in (2, 3):
        raise InputError(f"items={items}: allowed are 2, 3")
    places = _PLACES[layout, items]
    if framed:
        require_whole("gap", gap, 3)
        total = round(gap / (1 - places[-1][1]))  # T
        # Inclusive, one lower than the paper; the last is set by the gap itself.
        ends = [round(end * total) - 1 for _, end in places[:-1]] + [total - 1 - gap]
        begins = [max(1, round(begin * total) - 1) for begin, _ in places]
        shortest, longest = total, total + total // 10
    else:
        require_whole("layout=pascanu: length", gap, 20)
        begins = [int(begin * gap) for begin, _ in places]
        ends = [int(end * gap) - 1 for _, end in places]
        shortest = longest = gap
    # Places of neighbours never meet.
    for index in range(items):
        before = ends[index - 1] + 1 if index else 0
        begins[index] = max(begins[index], before)
        ends[index] = max(ends[index], begins[index])
    begins, widths = np.array(begins), np.array(ends) - np.array(begins) + 1
    begin_symbol, end_symbol = 2 + _DISTRACTORS, 3 + _DISTRACTORS

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (longest + 2 * items + 1,))
        chosen = below(bits[:items], 2)
        places = jnp.stack(
            [
                int(begin) + below(draw, int(width))
                for begin, draw, width in zip(begins, bits[items : 2 * items], widths, strict=True)
            ]
        )
        last = shortest - 1 + below(bits[2 * items], longest - shortest + 1)
        inputs = 2 + below(bits[2 * items + 1 :], _DISTRACTORS)
        inputs = inputs.at[places].set(chosen)
        if framed:
            inputs = inputs.at[0].set(begin_symbol).at[last].set(end_symbol)
        return Example(
            inputs=inputs,
            targets=_number(chosen)[None],
            weights=jnp.ones(1),
            info_times=places[None],
            use_times=last[None],
            lag=(last - places[-1])[None],
        )

    def oracle(inputs):
        relevant = inputs < 2
        rank = jnp.where(relevant, jnp.cumsum(relevant) - 1, items)
        found = jnp.zeros(items, inputs.dtype).at[rank].set(inputs, mode="drop")
        return _number(found)[None]

    return classification(
        classes=2**items,
        name="temporal_order",
        gap=gap if framed else gap - 1 - int(ends[-1]),
        kind="tokens",
        input_size=2 + _DISTRACTORS + 2 * framed,
        length=longest,
        sample=sample,
        oracle=oracle,
        swept_by="gap" if framed else "length",
    )


def _number(choices):
    """Binary digits, the first the highest, as one number."""
    weights = 2 ** np.arange(len(choices))[::-1].astype(np.int32)
    return jnp.sum(choices * jnp.asarray(weights, choices.dtype))
