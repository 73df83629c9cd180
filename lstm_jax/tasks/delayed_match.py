"""Delayed match to sample: is it the same symbol as before?"""

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


def delayed_match(
    gap: int,
    *,
    symbols: int = 8,
    distractors: int = 8,
    lead_in: int = 16,
    length: int | None = None,
) -> Task:
    """A sample, gap - 1 distractors, then a test: is it the sample? It is in half of the examples.

    With a lead-in of 1 at gap 4::

        step     0  1  2  3  4  5  6 ...
        input    d  B  d  d  d  B' d ...      B' is B as a test
        target                  1

    The delayed match to sample of animal studies (Blough 1959), as for recurrent networks in Yang
    et al. 2019, "Task representations in neural networks trained to perform many cognitive tasks".
    The lead-in is drawn for each example, as in `recall`, from which it differs in that the
    question says what is to be compared.

    Args:
      gap: steps from sample to test.
      symbols: number of symbols that are compared; the test is another one with equal chances.
      distractors: number of distractor symbols.
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

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (length + 4,))
        shown, match = below(bits[0], symbols), below(bits[1], 2)
        other = (shown + 1 + below(bits[2], symbols - 1)) % symbols
        time = below(bits[3], lead_in + 1)
        inputs = 2 * symbols + below(bits[4:], distractors)
        tested = symbols + jnp.where(match == 1, shown, other)
        return Example(
            inputs=inputs.at[time].set(shown).at[time + gap].set(tested),
            targets=match[None],
            weights=jnp.ones(1),
            info_times=time[None, None],
            use_times=time[None] + gap,
            lag=jnp.full(1, gap),
        )

    def oracle(inputs):
        shown = jnp.min(inputs)
        tested = jnp.min(jnp.where(inputs >= symbols, inputs, 2 * symbols)) - symbols
        return (shown == tested).astype(jnp.int32)[None]

    return classification(
        classes=2,
        name="delayed_match",
        gap=gap,
        kind="tokens",
        input_size=2 * symbols + distractors,
        length=length,
        sample=sample,
        oracle=oracle,
        fixed_position=lead_in == 0,
    )
