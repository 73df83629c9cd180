"""Recall one of K symbols, seen once, after a gap of distractors."""

import jax
import jax.numpy as jnp

from lstm_jax.tasks.base import (
    Example,
    Task,
    below,
    classification,
    longest_lead_in,
    require_whole,
)


def recall(
    gap: int,
    *,
    symbols: int = 8,
    distractors: int = 8,
    lead_in: int = 16,
    length: int | None = None,
) -> Task:
    """One of `symbols` cues, gap - 1 distractors, then a query: which cue was it?

    With a lead-in of 2 and gap 4 (cue C, distractors d, query ?, and what follows it)::

        step     0  1  2  3  4  5  6  7 ...
        input    d  d  C  d  d  d  ?  d ...
        target                     C

    The lead-in is 0 to `lead_in` distractors long, drawn for each example, so that the cue never
    meets the initial carry at a known step. The query stands exactly `gap` steps after the cue. The
    noise-free long-time-lag tasks of Hochreiter & Schmidhuber 1997 (section 5.2) are the ancestor.

    Args:
      gap: steps from cue to query; 1 is the very next step.
      symbols: number of cues K; chance is 1/K.
      distractors: number of distractor symbols, all different from the cues.
      lead_in: longest lead-in, in steps; not read with `length`.
      length: steps of an example, the same at every gap: the lead-in may take what is left; as
        few as may be if None.

    Raises:
      InputError: a gap, symbols, distractors or length too small, or a negative lead-in.
    """
    require_whole("gap", gap, 1)
    require_whole("symbols", symbols, 2)
    require_whole("distractors", distractors, 1)
    lead_in = longest_lead_in(lead_in, length, gap + 1)
    length = lead_in + gap + 1
    query = symbols + distractors

    def sample(data, key):
        del data
        # One draw of bits for the whole example: several would be slower to compile and to run.
        bits = jax.random.bits(key, (length + 2,))

        cue = below(bits[0], symbols)
        cue_time = below(bits[1], lead_in + 1)
        inputs = symbols + below(bits[2:], distractors)
        inputs = inputs.at[cue_time].set(cue).at[cue_time + gap].set(query)
        return Example(
            inputs=inputs,
            targets=cue[None],
            weights=jnp.ones(1),
            info_times=cue_time[None, None],
            use_times=cue_time[None] + gap,
            lag=jnp.full(1, gap),
        )

    def oracle(inputs):
        return jnp.min(inputs)[None]  # cues are the smallest symbols, and there is one

    return classification(
        classes=symbols,
        name="recall",
        gap=gap,
        kind="tokens",
        input_size=query + 1,
        length=length,
        sample=sample,
        oracle=oracle,
        fixed_position=lead_in == 0,
    )
