"""Reviews and running text: what is read, what is asked, and what cannot be."""

import collections
import io
import math
import re
import sys
import tarfile

import jax
import made_sets
import numpy as np
import pytest
from sampling import assert_uniform

from lstm_jax import datasets
from lstm_jax.cells import CELLS
from lstm_jax.datasets import prepare
from lstm_jax.datasets.text import rows
from lstm_jax.errors import BrokenClauseError, InputError
from lstm_jax.evaluation import blocks
from lstm_jax.sweep import make_sweep
from lstm_jax.tasks import TASKS, characters, imdb
from lstm_jax.tasks.base import loaded, stop_at
from lstm_jax.tasks.characters import Text, segments
from lstm_jax.tasks.contract import CLAUSES, Case
from lstm_jax.tasks.imdb import NEUTRAL, QUESTION
from lstm_jax.trial import Catalogue, trial_id

pytestmark = pytest.mark.xdist_group("text")  # shares what is compiled or made once

REVIEWS, PLAY = "imdb_reviews/plain_text", "tiny_shakespeare"
LENGTH = 60


@pytest.fixture
def stored(tmp_path_factory):
    """Has the made-up sets read."""
    with made_sets.in_directory(made_sets.shared(tmp_path_factory)):
        yield


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a set of splits of given texts, and has it read."""

    def make(name, **splits):
        monkeypatch.setitem(
            made_sets.SETS,
            name,
            {split: lambda own=own: iter(own) for split, own in splits.items()},
        )
        made_sets.make(name, tmp_path)
        monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path))

    return make


def reviews_of(split):
    return [text for text, _ in rows(datasets.prepared(REVIEWS), split, "text", "label")]


def drawn(task, data, count):
    examples = jax.jit(jax.vmap(task.sample, in_axes=(None, 0)))(
        data, jax.random.split(jax.random.key(0), count)
    )
    return jax.tree.map(np.asarray, examples)


# Reviews.


@pytest.mark.parametrize("padding", ["noise", "neutral"])
@pytest.mark.parametrize("gap", [1, 7])
def test_a_review_stands_directly_before_the_padding(gap, padding, stored):
    task = imdb(gap, length=LENGTH, padding=padding)
    examples = drawn(task, task.load(), 300)
    kept = {text[:LENGTH] for text in reviews_of("train")}
    questions = np.argwhere(examples.inputs == QUESTION)
    np.testing.assert_array_equal(questions[:, 0], np.arange(300))  # one each
    np.testing.assert_array_equal(questions[:, 1], examples.use_times[:, 0])
    assert (examples.lag == gap).all()
    sizes = questions[:, 1] + 1 - gap
    assert sizes.min() < LENGTH == sizes.max()
    for inputs, info, size in zip(examples.inputs, examples.info_times[:, 0], sizes, strict=True):
        assert bytes(inputs[:size].astype(np.uint8)) in kept
        np.testing.assert_array_equal(
            info, np.where(np.arange(LENGTH) < size, np.arange(LENGTH), -1)
        )
        between, after = np.split(inputs[size:], [gap - 1])
        assert (between < 256).all() if padding == "noise" else (between == NEUTRAL).all()
        assert (after[1:] == NEUTRAL).all()


def test_noise_is_any_byte_new_in_training_and_fixed_in_evaluation(stored):
    task = imdb(40, length=10)
    data = task.load()
    noise = drawn(task, data, 2000).inputs[:, 10:49]  # no review is as short
    assert_uniform(noise, 0, 256)
    assert len(np.unique(noise, axis=0)) == 2000
    shown = jax.eval_shape(task.sample, data, jax.random.key(0))
    for split in ("monitor", "report"):
        one, other = (task.evaluation_set(data, split) for _ in range(2))
        np.testing.assert_array_equal(one.inputs, other.inputs)
        assert [leaf.dtype for leaf in one] == [leaf.dtype for leaf in shown]
        assert_uniform(one.inputs[:, 10:49], 0, 256)


def test_every_training_review_is_drawn_and_all_parts_are_apart(stored):
    data = imdb(1).load()
    parts = [texts_in(part) for part in data]
    assert [len(part) for part in parts] == [600, 200, 300]
    assert set(parts[0]).isdisjoint(parts[1])
    assert parts[2] == reviews_of("test")  # in stored order
    assert sorted(parts[0] + parts[1]) == sorted(reviews_of("train"))
    assert any(max(text) > 127 for text in parts[0])  # bytes, not ASCII
    examples = drawn(imdb(1, length=100), data, 8000)
    assert len(np.unique(examples.inputs, axis=0)) == len({text[:100] for text in parts[0]})


def texts_in(part):
    text = bytes(np.asarray(part.text))
    return [
        text[start : start + size] for start, size in zip(part.starts, part.lengths, strict=True)
    ]


def test_a_blind_guess_is_right_on_exactly_half(made):
    made(REVIEWS, train=some_reviews(40), test=some_reviews(30, 20, of="test"))
    data = imdb(1).load()
    assert np.bincount(data.report.labels).tolist() == [10, 10]
    assert np.bincount(data.monitor.labels).tolist() == [5, 5]


def some_reviews(count, good=None, of="train"):
    good = count // 2 if good is None else good
    return [{"text": f"{of} {index}", "label": int(index < good)} for index in range(count)]


def test_training_never_sees_a_review_that_is_scored(made):
    twice = {"text": "posted twice", "label": 1}
    made(REVIEWS, train=[*some_reviews(40), twice], test=[{"text": "no", "label": 0}, twice])
    data = imdb(1).load()
    assert b"posted twice" in texts_in(data.report)
    assert b"posted twice" not in texts_in(data.train)
    assert len(texts_in(data.train)) == 30


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ([{"text": "", "label": 0}, {"text": "good", "label": 1}], "of test is empty"),
        ([{"text": "good", "label": 1}], "test has no example of class 0"),
    ],
)
def test_reviews_that_cannot_be_used_are_one_line(test, said, made):
    made(REVIEWS, train=some_reviews(8), test=test)
    assert said in one_line(imdb(1).load)


def one_line(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Running text.


@pytest.mark.parametrize(
    ("size", "length", "most"),
    [(101, 10, 99), (109, 10, 99), (1000, 7, 20), (11, 10, 5), (4, 2, 9)],
)
def test_segments_lie_evenly_and_ask_for_no_byte_twice(size, length, most):
    found = segments(np.arange(size), length, most)
    count = min(most, (size - 1) // length)
    assert found.shape == (count, length + 1)
    assert (np.diff(found, axis=1) == 1).all()
    targets = found[:, 1:].ravel()
    assert (np.diff(targets) > 0).all()
    if count < most:  # all but the first byte and fewer than `length`
        assert size - 1 - len(targets) < length
    stride = (size - 1) // count
    np.testing.assert_array_equal(found[:, 0], np.arange(count) * stride)
    assert size - found[-1, 0] <= stride + count  # up to the end


def test_training_segments_begin_anywhere():
    train = np.arange(40, dtype=np.uint8)
    examples = drawn(characters(5), Text(train, train, train, train, train), 3000)
    assert_uniform(examples.inputs[:, 0], 0, 35)
    np.testing.assert_array_equal(examples.targets, examples.inputs + 1)
    np.testing.assert_array_equal(examples.inputs[:, 1:], examples.targets[:, :-1])
    assert (examples.weights == 1).all()


def test_evaluation_asks_for_every_next_byte_of_its_split(stored):
    task = characters(50)
    data = task.load()
    (play,) = (text for (text,) in rows(datasets.prepared(PLAY), "test", "text"))
    report = task.evaluation_set(data, "report")
    count = (len(play) - 1) // 50
    assert report.inputs.shape == (count, 50)
    stride = (len(play) - 1) // count
    for index in (0, 1, count - 1):
        begin = index * stride
        assert bytes(report.inputs[index].astype(np.uint8)) == play[begin : begin + 50]
        assert bytes(report.targets[index].astype(np.uint8)) == play[begin + 1 : begin + 51]


def test_floors_are_those_of_a_plain_count(made):
    """Also of bytes and pairs that the training text does not have."""
    train = "to be, or not to be: that is the question " * 20
    test = "to see caf\u00e9s, or not; the bees quest \u00fcber that " * 20
    play = {"train": train, "validation": train, "test": test}
    made(PLAY, **{split: [{"text": text}] for split, text in play.items()})
    task, data = loaded(characters(6))
    pieces = [row.tolist() for row in segments(np.asarray(data.report), 6, 2048)]
    after = collections.defaultdict(collections.Counter)
    seen = train.encode()
    for order in range(3):
        for begin in range(len(seen) - order):
            after[seen[begin : begin + order]][seen[begin + order]] += 1

    def told(before):
        while before not in after:
            before = before[1:]
        most = max(after[before].values())
        return min(byte for byte, times in after[before].items() if times == most)

    answers = [
        told(bytes(piece[max(0, step - 1) : step + 1])) == piece[step + 1]
        for piece in pieces
        for step in range(6)
    ]
    asked = collections.Counter(byte for piece in pieces for byte in piece[1:])
    total = asked.total()
    shares = [times / total for times in asked.values()]
    assert task.solved_at == pytest.approx(np.mean(answers))
    assert task.chance == pytest.approx(max(shares))
    assert task.blind_loss == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert task.chance < task.solved_at < stop_at(task) < 1
    assert math.isnan(characters(6).chance)  # and not known before


def test_a_language_model_is_held_to_the_best_constant_and_to_splits_apart(stored):
    task, data = loaded(characters(10))
    uniform = task._replace(blind=np.zeros(256, np.float32), chance=0.0, blind_loss=math.log(256))
    CLAUSES["blind"](Case(10, uniform, data))
    with pytest.raises(BrokenClauseError, match="a constant prediction is right more often"):
        CLAUSES["constant"](Case(10, uniform, data))
    alike = task._replace(evaluation_set=lambda data, split: task.evaluation_set(data, "report"))
    with pytest.raises(BrokenClauseError, match="monitor and report have examples in common"):
        CLAUSES["evaluation"](Case(10, alike, data))


def test_missing_splits_are_cut_from_the_end_of_training(made):
    play = [{"text": "one flew over"}, {"text": "two went away " * 40}]
    made(PLAY, train=play)
    builder = datasets.prepared(PLAY)
    whole = b"\n".join(text for (text,) in rows(builder, "train", "text"))
    data = characters(4).load()
    parts = [bytes(np.asarray(part)) for part in (data.train, data.monitor, data.report)]
    assert b"".join(parts) == whole
    assert [len(part) for part in parts[1:]] == [len(whole) // 20] * 2


def test_a_configuration_survives_spec_and_trial_id(stored):
    known = Catalogue(CELLS, TASKS)
    text = f"characters:dataset={REVIEWS}"
    (trial,) = make_sweep(
        known, task=text, cells=["rnn"], gaps=[8], seeds=[0], learning_rates=[0.1]
    )
    assert trial.task == text
    assert re.fullmatch(r"[A-Za-z0-9.=+_-]+", trial_id(trial, known))
    spec = known.task(trial.task)
    task, data = loaded(TASKS[spec.name](8, **spec.arguments(8)))
    assert task.data_set == REVIEWS
    assert bytes(np.asarray(data.report)) == b"\n".join(reviews_of("test"))
    assert len(data.monitor) == (len(data.train) + len(data.monitor)) // 20


def test_a_text_without_end_is_read_to_a_bound(stored, monkeypatch):
    whole = characters(5).load()
    monkeypatch.setattr(sys.modules["lstm_jax.tasks.characters"], "MOST_BYTES", 100)
    for text, read in zip(whole[:3], characters(5).load()[:3], strict=True):
        np.testing.assert_array_equal(read, text[:100])


def test_long_segments_are_scored_a_few_at_a_time():
    """All of them, and each once."""
    data = Text(*[np.arange(40_000, dtype=np.int32).astype(np.uint8)] * 5)
    cut = blocks(characters(1000).evaluation_set(data, "report"))
    assert [len(own.inputs) for own in cut.examples] == [131]
    cut = blocks(characters(5000).evaluation_set(data, "report"))
    assert [len(own.inputs) for own in cut.examples] == [26]
    assert [own.sum() for own in cut.valid] == [7]


@pytest.mark.parametrize("name", ["", "../data", "/etc", "a/b/c", "a/..", "a b", "a/b\n"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(InputError, match="must be a name of TFDS"):
        characters(5, dataset=name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"feature": "review"}, "has no feature 'review': allowed are label, text"),
        ({"feature": "label"}, "feature 'label' is no text"),
    ],
)
def test_features_that_are_no_text_are_one_line(options, said, stored):
    assert said in one_line(characters(5, dataset=REVIEWS, **options).load)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"test": "to be or not to be"}, "has no split 'train': allowed are test"),
        ({"train": "to be or not to be", "test": ""}, "0 bytes are too few for a segment of 5"),
        (
            {"train": "a" * 99, "test": "b" * 99, "validation": "c" * 99},
            "there is nothing to learn",
        ),
    ],
)
def test_texts_that_cannot_be_used_are_one_line(splits, said, made):
    made(PLAY, **{split: [{"text": text}] for split, text in splits.items()})
    assert said in one_line(loaded, characters(5))


# Preparing, by the builders of TFDS, with the download alone made up.


def test_text_is_prepared_without_tensorflow(tmp_path, monkeypatch):
    archive, play = tmp_path / "reviews.tar.gz", tmp_path / "input.txt"
    with tarfile.open(archive, "w:gz") as tar:
        for folder in ("train/neg", "train/pos", "train/unsup", "test/neg", "test/pos"):
            for index in range(4):
                text = f"{folder} {index}".encode()
                member = tarfile.TarInfo(f"aclImdb/{folder}/{index}.txt")
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
    play.write_text("All: speak. " * 100)
    tfds = datasets.require("tensorflow_datasets", "this test")
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download",
        lambda self, url: archive if url.endswith("gz") else play,
    )
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path / "data"))
    for name in (REVIEWS, PLAY):
        prepare.prepare(name)
    expected = [
        (f"test/{word} {index}".encode(), label)
        for label, word in enumerate(("neg", "pos"))
        for index in range(4)
    ]
    assert sorted(rows(datasets.prepared(REVIEWS), "test", "text", "label")) == expected
    data = characters(5).load()
    assert [len(part) for part in data[:3]] == [1080, 60, 60]
    assert "tensorflow" not in sys.modules
