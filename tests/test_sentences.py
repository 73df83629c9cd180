"""The essay's cloze: well-formed words, an exact gap, and an answer that only the clue tells."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from lstm_jax.errors import InputError
from lstm_jax.tasks import grammar, sentences
from lstm_jax.tasks.sentences import spoken, vocabulary

pytestmark = pytest.mark.xdist_group("sentences")  # shares what is compiled or made once

COUNT = 6000
LANGUAGES = ("english", "korean")
TOLD = (*LANGUAGES, "english sky", "korean sky")


@functools.cache
def draw(gap, told="english", languages=8):
    task = sentences(gap, **options(told), languages=languages)
    keys = jax.random.split(jax.random.key(5), COUNT)
    example = jax.jit(jax.vmap(task.sample, in_axes=(None, 0)))((), keys)
    return jax.tree.map(np.asarray, example)


def options(told):
    """Language and story, as `sentences` takes them, of `english sky` and the like."""
    language, _, story = told.partition(" ")
    return {"language": language, "story": story or None}


def read(example, index, told="english", languages=8):
    """One example as words up to the question, and the answer's word."""
    words = vocabulary(languages, **options(told))
    use = example.use_times[index, 0]
    text = [words[symbol] for symbol in example.inputs[index, : use + 1]]
    return text, spoken(languages, **options(told))[example.targets[index, 0]]


def test_as_the_essay_says_it():
    example = draw(4)
    text, answer = read(example, 0)
    story = " ".join(text[text.index("I") :])
    assert story in {f"I grew up in {place} . I speak fluent" for place in vocabulary()[:8]}
    pairs = {"France": "French", "Korea": "Korean", "Turkey": "Turkish"}
    for index in range(300):
        text, answer = read(example, index)
        place = text[text.index("grew") + 3]
        assert pairs.get(place, answer) == answer


def test_in_korean():
    text, answer = read(draw(5, "korean"), 0, "korean")
    start = text.index("내가")
    assert text[start : start + 3] == ["내가", "자란", "곳은"]
    assert answer == text[start + 3] + "어"
    assert len(vocabulary(12, "korean")) == len(set(vocabulary(12, "korean")))


def test_the_clouds_are_in_the_sky():
    example = draw(3, "english sky")
    places = dict(zip(vocabulary(8, story="sky"), spoken(8, story="sky"), strict=False))
    assert (places["clouds"], places["ships"]) == ("sky", "sea")
    seen = set()
    for index in range(300):
        text, answer = read(example, index, "english sky")
        *_, today, the, thing, are, within, article = text
        assert (today, the, are, within, article) == ("today", "the", "are", "in", "the")
        assert answer == places[thing]
        seen.add(thing)
    assert len(seen) == 8
    text, answer = read(draw(3, "korean sky"), 0, "korean sky")
    assert text[-5] == "오늘"
    assert text[-3:] == ["언제나", "그렇듯", "모두"]


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("gap", [4, 5, 6, 7, 8, 9, 17, 40])
def test_every_word_is_of_a_sentence(gap, told):
    """From the forms alone, apart from how they are drawn."""
    if "sky" in told and gap == 4:  # no sentence has this length
        gap = 3
    example = draw(gap, told)
    made = sentences.__globals__
    forms = [form.split() for form in made["_FORMS"][told]]
    classes = made["_CLASSES"][told.split()[0]] | {"PLACE": vocabulary(8, **options(told))[:8]}
    before, both = made["_STORY"][told]
    # What follows the clue ends the sentence, but where the question is the rest of it.
    after, asks = both[-1][0], [ask for after, ask in both if after]
    story = [*before.split(), "PLACE", *after.split()]
    if gap == 3 and "sky" in told:
        start = [*before.split(), "PLACE"]
        story, asks = None, [" ".join([*start[:-1], own, both[0][1]]) for own in classes["PLACE"]]

    def fits(sentence, form):
        return (
            form is not None
            and len(sentence) == len(form)
            and all(
                word in classes.get(part, (part,))
                for word, part in zip(sentence, form, strict=True)
            )
        )

    seen = set()
    for index in range(200):
        text, _ = read(example, index, told)
        parts, sentence = [], []
        for word in text:
            sentence.append(word)
            if word == ".":
                parts.append(sentence)
                sentence = []
        assert " ".join(sentence) in asks
        assert sum(fits(part, story) for part in parts) == (story is not None)
        for part in parts:
            kinds = [i for i, form in enumerate(forms) if fits(part, form)]
            assert kinds or fits(part, story), part
            seen.update(kinds)
        assert example.lag[index, 0] == gap
    assert len(seen) == len(forms)  # the lead-in alone has them all


def counts(example, languages=8, *, without_clue):
    """How often each word stands before the question."""
    symbols = np.where(np.arange(example.inputs.shape[1]) <= example.use_times, example.inputs, -1)
    if without_clue:
        np.put_along_axis(symbols, example.info_times[:, 0, 1:], -1, axis=1)
    size = len(vocabulary(languages))
    return np.stack([(symbols == word).sum(axis=1) for word in range(size)], axis=1)


def fitted_accuracy(features, targets):
    """Of a linear reader of word counts, on examples that it was not fitted to."""
    half = len(targets) // 2
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(float)
    wanted = np.eye(targets.max() + 1)[targets[:half]]
    weights, *_ = np.linalg.lstsq(inputs[:half], wanted, rcond=None)
    return float(((inputs[half:] @ weights).argmax(axis=1) == targets[half:]).mean())


@pytest.mark.parametrize("gap", [9, 40])
def test_the_answer_is_in_the_clue_alone(gap):
    example = draw(gap)
    targets = example.targets[:, 0]
    accuracy = fitted_accuracy(counts(example, without_clue=True), targets)
    assert abs(accuracy - 1 / 8) < 3.5 * (1 / 8 * 7 / 8 / (COUNT / 2)) ** 0.5


def test_words_without_their_order_do_not_tell_it():
    """Other places are named too."""
    example = draw(40)
    accuracy = fitted_accuracy(counts(example, without_clue=False), example.targets[:, 0])
    assert accuracy < sentences(40).solved_at - 0.2


def test_the_last_place_is_not_the_speakers():
    example = draw(40)
    places = np.where(np.arange(example.inputs.shape[1]) <= example.use_times, example.inputs, 99)
    last = places.shape[1] - 1 - (places[:, ::-1] < 8).argmax(axis=1)
    guess = np.take_along_axis(places, last[:, None], axis=1)[:, 0]
    assert (guess == example.targets[:, 0]).mean() < 0.4


def test_places_and_lead_ins_are_drawn_evenly():
    example = draw(9)
    assert stats.chisquare(np.bincount(example.targets[:, 0], minlength=8)).pvalue > 1e-3
    starts = example.info_times[:, 0, 0] - 1
    assert set(starts) == {0, *range(3, 17)}
    assert stats.chisquare(np.unique(starts, return_counts=True)[1]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("gap", "options", "words"),
    [
        (2, {}, "gap=2: must be a whole number, at least 3"),
        (3, {"language": "korean"}, "gap=3: must be a whole number, at least 4"),
        (9, {"languages": 13}, "languages=13: must be at most 12"),
        (9, {"languages": 1}, "languages=1"),
        (9, {"language": "latin"}, "language=latin: allowed are english, korean"),
        (9, {"story": "sea"}, "story=sea: allowed are None, sky"),
        (2, {"story": "sky"}, "gap=2: must be a whole number, at least 3"),
        (4, {"story": "sky"}, "gap=4: no sentence of this length; 3 and 5 are allowed"),
    ],
)
def test_what_cannot_be_is_named(gap, options, words):
    with pytest.raises(InputError) as caught:
        sentences(gap, **options)
    assert words in str(caught.value)


def test_a_fill_is_exact():
    own = grammar.make({"NAME": ("a", "b")}, ("NAME x .", "NAME y NAME .", "x y x y ."))
    bits = jax.random.bits(jax.random.key(0), (500, grammar.fill_bits(30)))
    for count in (3, 4, 6, 7, 11, 29, 30):
        filled = np.asarray(
            jax.vmap(lambda draw, count=count: grammar.fill(own, np.int32(count), 30, draw))(bits)
        )
        stops = filled[:, :count] == own.words.index(".")
        assert stops[:, -1].all()
        lengths = {
            int(length)
            for row in stops
            for length in np.diff(np.flatnonzero(np.concatenate([[True], row])))
        }
        assert lengths <= {3, 4, 5}
