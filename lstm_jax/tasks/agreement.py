"""Agreement: gender and number of a subject are kept until a new subject replaces it."""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.tasks.base import (
    SURE,
    Example,
    Task,
    below,
    classification,
    longest_lead_in,
    require_whole,
)

_FORMS = 4  # gender and number: il, elle, ils, elles
_NOUNS = 4  # of each form
_ADVERBS = 8
_WAIT = 4  # longest way from pronoun to verb, and from there to the next subject


def agreement(gap: int, *, subjects: int = 2, lead_in: int = 8, length: int | None = None) -> Task:
    """A subject is named, then its pronoun is asked for, then the number of its verb; then comes
    the next subject. At gap 4 (subject S, object o, adverb a)::

        step     0  1   2  3  4     5  6     7   8  ...
        input    a  S1  o  a  o     ?  a     !   S2 ...
        target                elle?          singular

    The walk-through of Olah's essay "Understanding LSTM Networks": the cell state holds the gender
    of the present subject, so that its pronoun can be used; a forget gate drops it and an input
    gate takes up the next one's when a new subject comes; an output gate lets out whether the
    subject is singular or plural, in case a verb is next. Pronouns have four forms, as in French
    (il, elle, ils, elles), so that a guess is right in a quarter of them, and in half of the verbs:
    3/8 of all answers.

    Between stand adverbs and objects, nouns with gender and number of their own that do not count.
    The pronoun comes `gap` steps after its subject, the verb 1 to 4 steps after the pronoun, the
    next subject 1 to 4 after the verb.

    Args:
      gap: steps from a subject to its pronoun.
      subjects: how many come one after another.
      lead_in: longest lead-in, in steps; not read with `length`.
      length: steps of an example, the same at every gap: the lead-in may take what is left; as
        few as may be if None.

    Raises:
      InputError: a gap or subjects below 1, a negative lead-in, or a length too small.
    """
    require_whole("gap", gap, 1)
    require_whole("subjects", subjects, 1)
    needed = subjects * (gap + 2 * _WAIT)
    lead_in = longest_lead_in(lead_in, length, needed)
    nouns = _FORMS * _NOUNS  # a noun's form is its number modulo 4
    pronoun = 2 * nouns + _ADVERBS  # subjects, objects, adverbs, and the two questions
    verb = pronoun + 1
    length = lead_in + needed
    order = np.arange(subjects)

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (length + 3 * subjects + 1,))
        own, bits = bits[: 3 * subjects + 1], bits[3 * subjects + 1 :]
        chosen = below(own[:subjects], nouns)
        to_verb = 1 + below(own[subjects : 2 * subjects], _WAIT)
        to_next = 1 + below(own[2 * subjects : 3 * subjects], _WAIT)
        spans = gap + to_verb + to_next
        named = below(own[-1], lead_in + 1) + jnp.cumsum(spans) - spans
        inputs = nouns + below(bits, nouns + _ADVERBS)
        pronouns, verbs = named + gap, named + gap + to_verb
        inputs = inputs.at[named].set(chosen).at[pronouns].set(pronoun).at[verbs].set(verb)
        form = chosen % _FORMS
        # Pronoun and verb of each subject in turn.
        times = jnp.stack([pronouns, verbs], axis=1).reshape(-1)
        infos = jnp.repeat(named, 2)
        return Example(
            inputs=inputs,
            targets=jnp.stack([form, _FORMS + form // 2], axis=1).reshape(-1),
            weights=jnp.ones(2 * subjects),
            info_times=infos[:, None],
            use_times=times,
            lag=times - infos,
        )

    def oracle(inputs):
        steps = jnp.arange(length)
        latest = jax.lax.cummax(jnp.where(inputs < nouns, steps, -1))
        form = inputs[latest] % _FORMS

        def answers(question, of_form):
            asked = inputs == question
            rank = jnp.where(asked, jnp.cumsum(asked) - 1, subjects)
            return jnp.zeros(subjects, inputs.dtype).at[rank].set(of_form, mode="drop")

        pronouns, verbs = answers(pronoun, form), answers(verb, _FORMS + form // 2)
        return jnp.stack([pronouns, verbs], axis=1).reshape(-1)

    blind = np.full((2 * subjects, _FORMS + 2), -SURE, np.float32)
    blind[2 * order, :_FORMS] = 0
    blind[2 * order + 1, _FORMS:] = 0
    return classification(
        classes=_FORMS + 2,
        name="agreement",
        gap=gap,
        kind="tokens",
        input_size=verb + 1,
        length=length,
        sample=sample,
        oracle=oracle,
        blind=blind,
        chance=(1 / _FORMS + 1 / 2) / 2,
        blind_loss=float(np.log(_FORMS) + np.log(2)) / 2,
    )
