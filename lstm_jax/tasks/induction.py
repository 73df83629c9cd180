"""Induction heads: what came after this symbol the last time?"""

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

Layout = Literal["gap", "mamba"]


def induction(
    gap: int,
    *,
    symbols: int = 15,
    lead_in: int = 16,
    layout: Layout = "gap",
    length: int | None = None,
) -> Task:
    """The symbol that followed a special one must be said when the special one comes again.

    With a lead-in of 1 at gap 4 (special symbol S)::

        step     0  1  2  3  4  5  6 ...
        input    D  S  B  A  D  C  S  A ...
        target                     B

    What follows the special symbol is drawn from the same symbols as all others, so that what is to
    be kept shows only in what stands before it. Gu & Dao 2023 ("Mamba"), after Olsson et al. 2022,
    "In-context learning and induction heads".

    Layouts:

    * `gap`: the pair stands behind a lead-in drawn for each example, and is asked for `gap` steps
      after its second symbol.
    * `mamba`: the argument is the length; the pair stands anywhere before the last step, where it
      is asked for; the smallest lag is 1. The paper trains at 256 with 16 symbols, the special one
      among them.

    Args:
      gap: steps from the symbol to be said to the question; the length for `mamba`.
      symbols: how many beside the special one; chance is 1/symbols.
      lead_in: longest lead-in, in steps; not read for `mamba`, nor with `length`.
      layout: where the pair stands.
      length: steps of an example, the same at every gap: the lead-in may take what is left; as
        few as may be if None. Not for `mamba`.

    Raises:
      InputError: an unknown layout, a gap below 1, too few symbols, a negative lead-in, a length
        that is too small, or two of them.
    """
    require_among("layout", layout, typing.get_args(Layout))
    require_whole("symbols", symbols, 2)
    by_gap = layout == "gap"
    require_whole("gap" if by_gap else "layout=mamba: length", gap, 1 if by_gap else 4)
    if by_gap:
        lead_in = longest_lead_in(lead_in, length, gap + 2)
        length = lead_in + gap + 2
    elif length is None:
        length = gap
    else:
        raise InputError(f"length={length}: layout=mamba is given its length in place of the gap")
    places = lead_in + 1 if by_gap else gap - 2
    special = symbols

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (length + 1,))
        time = below(bits[0], places)
        inputs = below(bits[1:], symbols)
        asked = time + 1 + gap if by_gap else jnp.int32(length - 1)
        inputs = inputs.at[time].set(special).at[asked].set(special)
        return Example(
            inputs=inputs,
            targets=inputs[time + 1][None],
            weights=jnp.ones(1),
            info_times=jnp.stack([time, time + 1])[None],
            use_times=asked[None],
            lag=(asked - time - 1)[None],
        )

    def oracle(inputs):
        return inputs[jnp.argmax(inputs == special) + 1][None]

    return classification(
        classes=symbols,
        name="induction",
        gap=gap if by_gap else 1,
        kind="tokens",
        input_size=symbols + 1,
        length=length,
        sample=sample,
        oracle=oracle,
        swept_by="gap" if by_gap else "length",
        fixed_position=by_gap and lead_in == 0,
    )
