"""The essay's examples, with a gap that grows: "I grew up in France ... I speak fluent French", and
"the clouds are in the sky"."""

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
Story = Literal["sky"]

# The clue and the answer: where one grew up and what one therefore speaks; what one sees and where.
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
    "english sky": {
        "clouds": "sky", "ships": "sea", "cows": "meadow", "books": "library",
        "trains": "station", "bees": "hive", "bears": "forest", "players": "stadium",
        "planes": "airport", "doctors": "hospital", "camels": "desert", "actors": "theatre",
    },
    "korean sky": {
        "구름은": "하늘에", "배는": "바다에", "소는": "들판에", "책은": "도서관에",
        "열차는": "역에", "벌은": "벌집에", "곰은": "숲에", "선수는": "경기장에",
        "비행기는": "공항에", "의사는": "병원에", "낙타는": "사막에", "배우는": "극장에",
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
_FORMS["english sky"] = (*_FORMS["english"][:5], "NAME draws PLACE .", "NAME thinks of PLACE .")
_FORMS["korean sky"] = (*_FORMS["korean"][:3], "PLACE SLEEPS .", "PLACE NOUN SEES .")
# Up to the clue; then what follows it and what leads up to the answer, in several lengths so that
# every gap can be made that is large enough for a sentence between.
_STORY = {
    "english": (
        "I grew up in",
        ((".", "I speak"), (".", "I speak fluent"), (".", "so I speak fluent")),
    ),
    "korean": (
        "내가 자란 곳은",
        (
            ("이다 .", "나는 유창하게"),
            ("이다 .", "나는 지금 유창하게"),
            ("이다 .", "그래서 나는 지금 유창하게"),
        ),
    ),
    "english sky": (
        "today the",
        (
            ("", "are in the"),
            (".", "they are in the"),
            (".", "and they are in the"),
            (".", "and so they are in the"),
        ),
    ),
    "korean sky": (
        "오늘",
        (
            ("", "언제나 그렇듯 모두"),
            ("보인다 .", "그것들은 언제나 모두"),
            ("보인다 .", "그것들은 지금 언제나 모두"),
            ("보인다 .", "그래서 그것들은 지금 언제나 모두"),
        ),
    ),
}
# The word of the story that says whose clue it is, which stands nowhere else.
_MARK = {"english": "grew", "korean": "자란", "english sky": "today", "korean sky": "오늘"}
_LONGEST_LEAD_IN = 16


def sentences(
    gap: int,
    *,
    languages: int = 8,
    language: Language = "english",
    length: int | None = None,
    story: Story | None = None,
) -> Task:
    """Cloze: the speaker grew up somewhere, other people do other things, and what does the speaker
    speak? Words are symbols. At gap 9, with what a lead-in may say::

        Tom sleeps . I grew up in France . the dog likes the river . I speak [French]
                                  clue                                 use

    Olah's essay "Understanding LSTM Networks" has the sentence as what a recurrent network becomes
    unable to learn. Between clue and question stand well-formed sentences of a small grammar, drawn
    for each example, which name other places too (Maria visits Spain): neither the order of words
    nor a place alone tells the answer, only the place where *I grew up*. The lead-in is of up to 16
    words of such sentences, so that the step of the question tells nothing; full stops follow it.

    With `story=sky` it is the essay's sentence of a small gap, "the clouds are in the *sky*". At
    gap 3 that is all, and where ships, cows or books are is asked likewise; at larger gaps
    sentences stand between, which may speak of other such things::

        today the clouds are in the [sky]
        today the clouds . Tom draws ships . they are in the [sky]

    Args:
      gap: words from the clue to the one before the answer; at least 3, in Korean 4; with
        `story=sky` 3 in both, and not 4.
      languages: how many, or how many places, K; chance is 1/K, at most 12.
      language: the vocabulary and the order of words.
      length: words of an example, the same at every gap: a longer lead-in may take what is left; as
        few as may be if None.
      story: `sky`, or None for France and French.

    Raises:
      InputError: an unknown language or story, a gap or length that small, or languages below 2 or
        above 12.
    """
    require_among("language", language, typing.get_args(Language))
    require_among("story", story, (None, *typing.get_args(Story)))
    told = _told(language, story)
    before, forms = _story(told)
    require_whole("gap", gap, min(len(after) + len(ask) for after, ask in forms))
    words = _grammar(languages, told)
    symbol = {word: index for index, word in enumerate(words.words)}

    def symbols(part):
        return np.array([symbol[word] for word in part], np.int32)

    before = symbols(before)
    mark = symbol[_MARK[told]]
    # From the mark to the place.
    offset = len(before) - int(np.flatnonzero(before == mark)[0])
    # Each form of the question that leaves a number of words between that can be filled. Nothing
    # can stand in the middle of a sentence.
    usable = [
        (symbols(after), symbols(ask), between)
        for after, ask in forms
        if (between := gap - len(after) - len(ask)) == 0 or (between >= SHORTEST and after)
    ]
    if not usable:
        raise InputError(
            f"gap={gap}: no sentence of this length; {gap - 1} and {gap + 1} are allowed"
        )
    needed_words = len(before) + 1 + gap
    longest = longest_lead_in(_LONGEST_LEAD_IN, length, needed_words)
    length = longest + needed_words
    steps = np.arange(length)
    lead_ins = np.array([0, *range(SHORTEST, longest + 1)], np.int32)
    needed = fill_bits(length)

    def sample(data, key):
        del data
        bits = jax.random.bits(key, (2 * needed + 3,))
        place = below(bits[0], languages)
        lead_in = jnp.asarray(lead_ins)[below(bits[1], len(lead_ins))]
        clue = lead_in + len(before)
        chosen = below(bits[2], len(usable))
        said, between = jnp.asarray(
            [(len(after), words_between) for after, _, words_between in usable], jnp.int32
        )[chosen]
        rest = clue + 1 + said  # where other people come in
        inputs = fill(words, lead_in, length, bits[3 : 3 + needed])
        others = fill(words, between, length, bits[3 + needed :])
        inputs = jnp.where(steps >= rest, others[jnp.maximum(steps - rest, 0)], inputs)
        inputs = _put(inputs, before, lead_in)
        inputs = inputs.at[clue].set(place)
        by_question = [
            _put(_put(inputs, after, clue + 1), ask, clue + 1 + gap - len(ask))
            for after, ask, _ in usable
        ]
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


def vocabulary(
    languages: int = 8, language: Language = "english", story: Story | None = None
) -> tuple[str, ...]:
    """The word of each symbol; the answers are `spoken(languages, language, story)`."""
    return _grammar(languages, _told(language, story)).words


def spoken(
    languages: int = 8, language: Language = "english", story: Story | None = None
) -> tuple[str, ...]:
    """The word of each answer."""
    return tuple(_PLACES[_told(language, story)].values())[:languages]


def _told(language: Language, story: Story | None) -> str:
    """Which words and sentences these are, in the tables above."""
    return language if story is None else f"{language} {story}"


def _story(told: str) -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    before, forms = _STORY[told]
    return before.split(), [(after.split(), ask.split()) for after, ask in forms]


def _grammar(languages: int, told: str) -> Grammar:
    places = tuple(_PLACES[told])
    require_whole("languages", languages, 2)
    if languages > len(places):
        raise InputError(f"languages={languages}: must be at most {len(places)}")
    before, forms = _story(told)
    in_forms = {word for form in _FORMS[told] for word in form.split()}
    # In this order, which gives words their symbols: what follows the clue, then each question.
    parts = [before, *(after for after, _ in forms), *(ask for _, ask in forms)]
    story = dict.fromkeys(word for part in parts for word in part)
    classes = {
        "PLACE": places[:languages],
        **_CLASSES[told.partition(" ")[0]],
        "STORY": tuple(word for word in story if word not in in_forms),
    }
    return make(classes, _FORMS[told])


def _put(inputs, words, start):
    """`words` at the steps from `start` on."""
    return jax.lax.dynamic_update_slice(inputs, jnp.asarray(words), (start,))
