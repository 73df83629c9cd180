"""The essay's example: "I grew up in France ... I speak fluent French", with a gap that grows."""

import typing
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError, require_among
from lstm_jax.tasks.base import (
    Example,
    Task,
    below,
    classification,
    longest_lead_in,
    require_whole,
)
from lstm_jax.tasks.grammar import SHORTEST, Grammar, fill, fill_bits, make

Language = Literal["english", "korean"]

# Where one grew up, and what one therefore speaks.
_PLACES = {
    "english": {
        "France": "French", "Spain": "Spanish", "Italy": "Italian", "Germany": "German",
        "Japan": "Japanese", "Korea": "Korean", "Russia": "Russian", "Turkey": "Turkish",
        "Greece": "Greek", "Poland": "Polish", "Sweden": "Swedish", "China": "Chinese",
    },
    "korean": {
        "프랑스": "프랑스어", "스페인": "스페인어", "이탈리아": "이탈리아어", "독일": "독일어",
        "일본": "일본어", "한국": "한국어", "러시아": "러시아어", "터키": "터키어",
        "그리스": "그리스어", "폴란드": "폴란드어", "스웨덴": "스웨덴어", "중국": "중국어",
    },
}  # fmt: skip
_CLASSES = {
    "english": {
        "NAME": ("Maria", "Tom", "Anna", "Paul", "Ella", "Hugo"),
        "NOUN": ("dog", "teacher", "river", "house", "garden", "train", "child", "window"),
        "ADJECTIVE": ("old", "small", "green", "quiet"),
        "SLEEPS": ("sleeps", "waits", "sings", "smiles"),
        "SEES": ("sees", "likes", "paints", "finds"),
    },
    "korean": {
        "NAME": ("마리아는", "톰은", "안나는", "폴은", "엘라는", "휴고는"),
        "NOUN": ("개를", "교사를", "강을", "집을", "정원을", "기차를", "아이를", "창문을"),
        "ADJECTIVE": ("오래된", "작은", "푸른", "조용한"),
        "SLEEPS": ("잔다", "기다린다", "노래한다", "웃는다"),
        "SEES": ("본다", "좋아한다", "그린다", "찾는다"),
    },
}
# Sentences that say nothing of the speaker, and some that name places.
_FORMS = {
    "english": (
        "NAME SLEEPS .",
        "the NOUN SLEEPS .",
        "NAME SEES the NOUN .",
        "the NOUN SEES the NOUN .",
        "the ADJECTIVE NOUN SEES the NOUN .",
        "NAME visits PLACE .",
        "NAME lives in PLACE .",
    ),
    "korean": (
        "NAME SLEEPS .",
        "NAME NOUN SEES .",
        "NAME ADJECTIVE NOUN SEES .",
        "NAME PLACE 에 산다 .",
        "NAME PLACE 에서 SLEEPS .",
    ),
}
# Up to the place, after it, and up to the answer, in three lengths so that every gap can be made.
_STORY = {
    "english": ("I grew up in", ".", ("I speak", "I speak fluent", "so I speak fluent")),
    "korean": (
        "내가 자란 곳은",
        "이다 .",
        ("나는 유창하게", "나는 지금 유창하게", "그래서 나는 지금 유창하게"),
    ),
}
# The word of the story that says whose place it is, which stands nowhere else.
_MARK = {"english": "grew", "korean": "자란"}
_LONGEST_LEAD_IN = 16


def sentences(
    gap: int,
    *,
    languages: int = 8,
    language: Language = "english",
    length: int | None = None,
) -> Task:
    """Cloze: the speaker grew up somewhere, other people do other things, and what does the speaker
    speak? Words are symbols. At gap 9, with what a lead-in may say::

        Tom sleeps . I grew up in France . the dog likes the river . I speak [French]
                                  clue                                 use

    Olah's essay "Understanding LSTM Networks" has the sentence as what a recurrent network becomes
    unable to learn. Between clue and question stand well-formed sentences of a small grammar, drawn
    for each example, which name other places too (Maria visits Spain): neither the order of words
    nor a place alone tells the answer, only the place where *I grew up*. The lead-in is of up to 16
    words of such sentences, and more follow the question, so that its step tells nothing.

    Args:
      gap: words from the place to the one before the answer; at least 3, in Korean 4.
      languages: how many, K; chance is 1/K, at most 12.
      language: the vocabulary and the order of words.
      length: words of an example, which a longer lead-in of such sentences fills, so that it is the
        same at every gap; as few as may be if None.

    Raises:
      InputError: an unknown language, a gap or length that small, or languages below 2 or above 12.
    """
    require_among("language", language, typing.get_args(Language))
    before, after, asks = _story(language)
    require_whole("gap", gap, len(after) + len(asks[0]))
    words = _grammar(languages, language)
    symbol = {word: index for index, word in enumerate(words.words)}
    before, after, *asks = (
        np.array([symbol[word] for word in part], np.int32) for part in (before, after, *asks)
    )
    mark = symbol[_MARK[language]]
    # From the mark to the place.
    offset = len(before) - int(np.flatnonzero(before == mark)[0])
    # The words between, for each form of the question that leaves a number that can be filled.
    between = [gap - len(after) - len(ask) for ask in asks]
    usable = [i for i, words in enumerate(between) if words == 0 or words >= SHORTEST]
    story = len(before) + 1 + gap
    longest = longest_lead_in(_LONGEST_LEAD_IN, length, story)
    length = longest + story
    steps = np.arange(length)
    lead_ins = np.array([0, *range(SHORTEST, longest + 1)], np.int32)
    needed = fill_bits(length)

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (2 * needed + 3,))
        place = below(bits[0], languages)
        lead_in = jnp.asarray(lead_ins)[below(bits[1], len(lead_ins))]
        clue = lead_in + len(before)
        rest = clue + 1 + len(after)  # where other people come in
        chosen = below(bits[2], len(usable))
        asked = jnp.asarray([between[i] for i in usable], jnp.int32)[chosen]
        inputs = fill(words, lead_in, length, bits[3 : 3 + needed])
        others = fill(words, asked, length, bits[3 + needed :])
        inputs = jnp.where(steps >= rest, others[jnp.maximum(steps - rest, 0)], inputs)
        inputs = _put(inputs, before, lead_in)
        inputs = inputs.at[clue].set(place)
        inputs = _put(inputs, after, clue + 1)
        by_question = [_put(inputs, asks[i], clue + 1 + gap - len(asks[i])) for i in usable]
        inputs = jnp.stack(by_question)[chosen]
        # What follows the question says nothing.
        inputs = jnp.where(steps > clue + gap, symbol["."], inputs)
        return Example(
            inputs=inputs,
            targets=place[None],
            weights=jnp.ones(1),
            info_times=jnp.stack([clue - offset, clue])[None],
            use_times=(clue + gap)[None],
            lag=jnp.full(1, gap),
        )

    def oracle(inputs):
        return inputs[jnp.argmax(inputs == mark) + offset][None]

    return classification(
        classes=languages,
        name="sentences",
        gap=gap,
        kind="tokens",
        input_size=len(words.words),
        length=length,
        sample=sample,
        oracle=oracle,
        fixed_position=len(lead_ins) == 1,
    )


def vocabulary(languages: int = 8, language: Language = "english") -> tuple[str, ...]:
    """The word of each symbol; the answers are `spoken(languages, language)`."""
    return _grammar(languages, language).words


def spoken(languages: int = 8, language: Language = "english") -> tuple[str, ...]:
    """The word of each answer."""
    return tuple(_PLACES[language].values())[:languages]


def _story(language: Language) -> tuple[list[str], list[str], list[list[str]]]:
    before, after, asks = _STORY[language]
    return before.split(), after.split(), [ask.split() for ask in asks]


def _grammar(languages: int, language: Language) -> Grammar:
    places = tuple(_PLACES[language])
    require_whole("languages", languages, 2)
    if languages > len(places):
        raise InputError(f"languages={languages}: must be at most {len(places)}")
    before, after, asks = _story(language)
    in_forms = {word for form in _FORMS[language] for word in form.split()}
    story = dict.fromkeys(word for part in (before, after, *asks) for word in part)
    classes = {
        "PLACE": places[:languages],
        **_CLASSES[language],
        "STORY": tuple(word for word in story if word not in in_forms),
    }
    return make(classes, _FORMS[language])


def _put(inputs, words, start):
    """`words` at the steps from `start` on."""
    return jax.lax.dynamic_update_slice(inputs, jnp.asarray(words), (start,))
