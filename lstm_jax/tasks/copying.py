"""Copy memory: a string of symbols is given back after a delay."""

import typing
from collections.abc import Collection
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from lstm_jax.errors import require_among
from lstm_jax.tasks.base import SURE, Example, Task, below, classification, require_whole

Layout = Literal["urnn", "exprnn", "tcn", "variable"]
Scored = Literal["recall", "all"]


def copy(
    gap: int,
    *,
    symbols: int = 8,
    items: int = 10,
    layout: Layout = "urnn",
    scored: Scored = "recall",
) -> Task:
    """Give back `items` symbols in order, each `gap` steps after it was shown.

    Layout `urnn` with 3 items at gap 6, which is T = 3 in the papers (blank 0, marker M)::

        step     0  1  2  3  4  5  6  7  8
        input    B  A  C  0  0  M  0  0  0
        target   0  0  0  0  0  0  B  A  C

    Layouts; sequences are T + 2 items long, and the gap is T + items:

    * `urnn`: items, T - 1 blanks, the marker, blanks while the answer is given (Arjovsky, Shah &
      Bengio 2016; Hochreiter & Schmidhuber 1997 is its ancestor).
    * `exprnn`: items, T blanks, the marker, items - 1 blanks; the first answer is given at the
      marker (Lezcano-Casado & Martinez-Rubio 2019).
    * `tcn`: as `urnn`, but the marker is repeated to the end (Bai, Kolter & Koltun 2018).
    * `variable`: as `urnn`, with the number of blanks uniform from 1 to T - 1 and blanks after the
      answer (Tallec & Ollivier 2018, variable copy). The argument is the length; the smallest lag
      is items + 2.

    Papers report cross entropy over all steps. The blind predictor of `scored=all` is sure of a
    blank until the answer is due and guesses then: its loss is items ln(symbols) / (T + 2 items),
    the floor of every published figure. Accuracy is that of the items in either case.

    Args:
      gap: steps from a symbol to its use, more than `items`; for `variable` the length.
      symbols: how many, K; chance is 1/K.
      items: length of the string.
      layout: where marker and blanks stand.
      scored: `recall`, the items only, of K classes; `all`, every step, of K + 1 classes (0 is the
        blank), as the papers train.

    Raises:
      InputError: an option outside what is named above, or a gap too small.
    """
    require_among("layout", layout, typing.get_args(Layout))
    require_among("scored", scored, typing.get_args(Scored))
    require_whole("symbols", symbols, 2)
    require_whole("items", items, 1)
    variable = layout == "variable"
    if variable:
        require_whole("layout=variable: length", gap, 2 * items + 2)
        length, longest = gap, gap - 2 * items  # T
        least = items + 2
    else:
        require_whole("gap", gap, items + 1)
        length, longest = gap + items, gap - items
        least = gap
    marker, before = symbols + 1, 0 if layout == "exprnn" else 1  # steps before the first answer
    order = np.arange(items)
    steps = np.arange(length)

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (items + 1,))
        shown = below(bits[:items], symbols)
        # Steps from an item to its answer.
        delay = jnp.int32(gap)
        if variable:
            delay = items + 2 + below(bits[items], longest - 1)
        inputs = jnp.zeros(length, jnp.int32).at[order].set(shown + 1)
        first = delay  # step of the first answer
        if layout == "tcn":
            inputs = jnp.where(steps >= first - 1, marker, inputs)
        else:
            inputs = inputs.at[first - before].set(marker)
        answers = first + order
        if scored == "recall":
            return Example(
                inputs=inputs,
                targets=shown,
                weights=jnp.ones(items),
                info_times=jnp.asarray(order[:, None], jnp.int32),
                use_times=answers.astype(jnp.int32),
                lag=jnp.broadcast_to(delay, (items,)),
            )
        nothing = jnp.full(length, -1, jnp.int32)
        return Example(
            inputs=inputs,
            targets=jnp.zeros(length, jnp.int32).at[answers].set(shown + 1),
            weights=jnp.ones(length),
            info_times=nothing.at[answers].set(order.astype(np.int32))[:, None],
            use_times=jnp.arange(length, dtype=jnp.int32),
            lag=nothing.at[answers].set(delay),
        )

    def oracle(inputs):
        # The first marker tells when the answer is due.
        first = jnp.argmax(inputs == marker) + before
        shown = inputs[order]
        if scored == "recall":
            return shown - 1
        return jnp.zeros(length, jnp.int32).at[first + order].set(shown)

    delays = range(items + 2, items + longest + 1) if variable else [gap]
    fields = {} if scored == "recall" else _at_every_step(length, items, symbols, delays)
    return classification(
        classes=symbols,
        name="copy",
        gap=least,
        kind="tokens",
        input_size=symbols + 2,
        length=length,
        sample=sample,
        oracle=oracle,
        swept_by="length" if variable else "gap",
        fixed_position=True,
        **fields,
    )


def _at_every_step(length: int, items: int, symbols: int, delays: Collection[int]) -> dict:
    """What `scored=all` changes; `delays` are those that may be, each as likely."""
    due = np.zeros(length)  # how likely an answer is due
    for delay in delays:
        due[delay : delay + items] += 1 / len(delays)
    likely = np.full((length, symbols + 1), np.exp(-SURE))
    likely[:, 0] = np.maximum(1 - due, np.exp(-SURE))
    likely[:, 1:] = np.maximum(due / symbols, np.exp(-SURE))[:, None]
    losses = special.entr(1 - due) + special.entr(due) + due * np.log(symbols)
    # Accuracy is that of the items, so the best guess is never a blank.
    guess = np.zeros(symbols + 1, np.float32)
    guess[0] = -SURE
    return {
        "output_size": symbols + 1,
        "blind": guess,
        "loss_blind": np.log(likely).astype(np.float32),
        "blind_loss": float(losses.mean()),
    }
