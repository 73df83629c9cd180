"""Tasks whose data a person prepares: without them, on made-up ones, and how they are prepared."""

import functools
import os
import re
import socket
import subprocess
import sys
import time

import jax
import launching
import made_sets
import numpy as np
import published_files
import pytest

import lstm_jax
from launch import locally
from lstm_jax import datasets
from lstm_jax.cohort import _data
from lstm_jax.datasets import prepare
from lstm_jax.datasets.tensorflow_free import without_tensorflow
from lstm_jax.errors import InputError, MissingExtraError
from lstm_jax.tasks import TASKS, cifar10, digits, mnist, speech_commands
from lstm_jax.tasks.base import evaluation_set
from lstm_jax.tasks.check import variations
from lstm_jax.tasks.images import permutation
from lstm_jax.tasks.speech_commands import LABELS

pytestmark = pytest.mark.xdist_group("real_data")  # shares what is compiled or made once

GAP = 40
NETWORK = {
    name: task.data_set
    for name, constructor in TASKS.items()
    if (task := constructor(GAP)).data_set is not None
}
IMAGES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError(f"reached for the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def absent(tmp_path, monkeypatch):
    """A directory without any data."""
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def made(tmp_path_factory, monkeypatch):
    """Has tasks find made-up data."""
    where = made_sets.shared(tmp_path_factory)
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(where))
    return where


@functools.cache
def loaded(name, where, **options):
    del where  # which the environment names
    return TASKS[name](1, **options).load()


def remedy(name):
    found = NETWORK[name]
    return f"data set {found}: not in .*: python -m lstm_jax.datasets.prepare {found}"


@pytest.mark.parametrize("name", NETWORK)
def test_load_without_data_fails_at_once_with_the_command(name, absent):
    task = TASKS[name](GAP)
    start = time.perf_counter()
    with pytest.raises(InputError, match=remedy(name)) as caught:
        task.load()
    assert time.perf_counter() - start < 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NETWORK)
@pytest.mark.parametrize("flags", [[], ["--minutes=1"]], ids=["", "minutes"])
def test_a_sweep_without_data_is_one_line_and_writes_nothing(name, flags, absent, capfd):
    launching.sweep_here(["--gaps=3", "--dry_run"], absent)  # everything is imported
    capfd.readouterr()
    start = time.perf_counter()
    line = [f"--task={name}", "--gaps=3", "--cells=rnn", "--match=hidden", *flags]
    status = launching.sweep_here(line, absent)
    seconds = time.perf_counter() - start
    said = capfd.readouterr()
    assert status == 2, said.err
    assert re.fullmatch(f"error: {remedy(name)}\n", said.err)
    assert not said.out
    assert not os.listdir(absent)
    assert seconds < 1


def test_what_is_missing_is_said_before_what_takes_seconds_is_imported(absent):
    script = (
        "import runpy, sys\n"
        "sys.argv = ['gap_sweep', '--task=recall,mnist']\n"
        "try:\n"
        "    runpy.run_module('experiments.gap_sweep', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert end.code == 2, end.code\n"
        "assert not {'matplotlib', 'flax', 'optax', 'tensorflow_datasets'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(launching.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=absent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(f"error: {remedy('mnist')}\n", done.stderr)


def test_a_dry_run_needs_no_data(absent, capfd):
    status = launching.sweep_here(["--task=mnist", "--gaps=3", "--dry_run"], absent)
    assert status == 0, capfd.readouterr().err


def test_a_launcher_without_data_is_one_line(absent, capfd):
    results = absent / "rows"
    flags = [f"--results_dir={results}", "--", "experiments.gap_sweep", "--task=mnist", "--gaps=3"]
    assert launching.here(locally, flags) == 2
    assert re.fullmatch(f"error: {remedy('mnist')}\n", capfd.readouterr().err)
    assert not results.exists()


def test_measure_horizon_without_data_writes_nothing(absent):
    with pytest.raises(InputError, match=remedy("cifar10")):
        lstm_jax.measure_horizon(
            "rnn", task="cifar10", gaps=[3], seeds=1, updates=50, results_dir=absent / "rows"
        )
    assert not os.listdir(absent)


def test_without_tfds_the_extra_is_named(absent, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lstm_jax\[data\]'"):
        mnist(3).load()


@pytest.mark.parametrize("name", NETWORK)
def test_there_is_made_up_data_for_every_word(name):
    for options in variations(TASKS[name]):
        assert TASKS[name](GAP, **options).data_set in made_sets.SETS


@pytest.mark.parametrize("name", [*IMAGES, "speech_commands"])
def test_made_up_data_are_as_tfds_makes_them_up(name, made):
    tfds = datasets.require("tensorflow_datasets", "this test")
    with without_tensorflow(), tfds.testing.mock_data(num_examples=1):
        mock = tfds.data_source(name, split="train")[0]
    own = next(datasets.examples(datasets.prepared(name), "train"))
    assert own.keys() == mock.keys()
    for feature in own.keys() - {"id"}:
        value, other = np.asarray(own[feature]), np.asarray(mock[feature])
        assert value.dtype == other.dtype
        assert feature == "audio" or value.shape == other.shape
    assert datasets.prepared(name).info.version == tfds.builder_cls(name).VERSION


def test_data_are_read_once_for_all_gaps(made):
    _data.cache_clear()
    tasks = [mnist(1), mnist(7), mnist(9, layout="row")]
    first, *others = (_data(task.load, str(made)) for task in tasks)
    assert all(other is first for other in others)
    slow, fast = (speech_commands(1, rate=rate).load for rate in (16000, 8000))
    assert slow is speech_commands(5).load
    assert slow is not fast


def test_the_permutation_is_that_of_exprnn():
    """Computed with NumPy 2.4; the legacy generator may not change."""
    assert permutation(784)[:8].tolist() == [319, 576, 323, 107, 355, 716, 197, 20]
    assert sorted(permutation(64)) == list(range(64))
    assert permutation(64)[:8].tolist() == [13, 12, 55, 7, 0, 18, 5, 16]


@pytest.mark.parametrize("name", IMAGES)
def test_images_become_the_sequences_that_are_said(name, made):
    data = loaded(name, made)
    height, width, channels = IMAGES[name]
    images = np.asarray(data.report.inputs, np.float32) / np.float32(255)
    pixels = images.reshape(-1, height * width, channels)
    rows = images.transpose(0, 1, 3, 2).reshape(-1, height, channels * width)
    expected = {"pixel": pixels, "row": rows}
    if name == "mnist":
        expected["permuted"] = pixels[:, permutation(784)]
    for layout, sequences in expected.items():
        steps = sequences.shape[1]
        example = evaluation_set(TASKS[name](5, layout=layout), data, "report")
        np.testing.assert_allclose(example.inputs[:, :steps, :-1], sequences, rtol=1e-6)
        flag = np.arange(steps + 5) == steps + 4
        assert (example.inputs[:, :, -1] == flag).all()
        np.testing.assert_array_equal(example.targets[:, 0], data.report.labels)


def test_digits_are_permuted_as_mnist_is(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(made_sets.shared(tmp_path_factory)))
    data = digits(1).load()
    plain, permuted, spelled = (
        digits(3, **options).evaluation_set(data, "report").inputs
        for options in ({}, {"layout": "permuted"}, {"layout": "pixel", "padding": "noise"})
    )
    np.testing.assert_array_equal(permuted[:, :64], plain[:, permutation(64)])
    np.testing.assert_array_equal(permuted[:, 64:], plain[:, 64:])
    np.testing.assert_array_equal(spelled, plain)


def test_padding(made):
    data = loaded("cifar10", made)
    drawn = {}
    for padding in ("noise", "neutral", "fixed"):
        task = cifar10(6, layout="row", padding=padding)
        keys = jax.random.split(KEY, 64)
        training = jax.vmap(task.sample, in_axes=(None, 0))(data, keys).inputs[:, 32:, :-1]
        drawn[padding] = np.asarray(training), task.evaluation_set(data, "report").inputs[:, 32:]
    noise, _ = drawn["noise"]
    assert len(np.unique(noise[:, :5])) > 0.99 * noise[:, :5].size
    assert (noise.min(), noise.max() <= 1) == (0, True)
    assert abs(noise[:, :5].mean() - 0.5) < 0.01
    assert not noise[:, 5].any()
    assert not drawn["neutral"][0].any()
    assert not drawn["neutral"][1][..., :-1].any()
    fixed, evaluated = drawn["fixed"]
    assert (fixed == fixed[:1]).all()
    assert (evaluated[..., :-1] == fixed[0]).all()


def test_ncifar_is_a_thousand_steps_of_which_968_are_one_draw_of_normal_noise(made):
    task = cifar10(968, layout="row", padding="fixed")
    inputs = np.asarray(task.sample(loaded("cifar10", made), KEY).inputs)
    assert inputs.shape == (1000, 97)
    noise = inputs[32:, :96]
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    shorter = np.asarray(
        cifar10(9, layout="row", padding="fixed").sample(loaded("cifar10", made), KEY).inputs
    )
    np.testing.assert_array_equal(shorter[32:, :96], noise[:9])


def test_parts_are_apart_and_monitored_images_are_never_trained_on(made):
    data = loaded("mnist", made)
    assert [len(part.labels) for part in data] == [128, 512, 512]
    images = np.concatenate([np.asarray(part.inputs).reshape(-1, 784) for part in data])
    assert len(np.unique(images, axis=0)) == 1152
    drawn = jax.vmap(mnist(1).sample, in_axes=(None, 0))(data, jax.random.split(KEY, 2000))
    assert len(np.unique(drawn.inputs[:, :784, 0], axis=0)) == 128


@pytest.mark.parametrize("words", ["ten", "all"])
def test_labels_of_speech_are_tfds_s_and_drawn_evenly(words, made):
    names = datasets.prepared("speech_commands").info.features["label"].names
    assert tuple(names) == LABELS
    classes = {"ten": 10, "all": 12}[words]
    data = loaded("speech_commands", made, words=words, rate=1000)
    task = speech_commands(2, words=words, rate=1000)
    for part in data:
        assert np.unique(part.labels).tolist() == list(range(classes))
    keys = jax.random.split(KEY, 3000)
    drawn = jax.vmap(task.sample, in_axes=(None, 0))(data, keys)
    shares = np.bincount(np.asarray(drawn.targets[:, 0]), minlength=classes) / 3000
    np.testing.assert_allclose(shares, 1 / classes, atol=0.03)
    known = {
        (np.asarray(sound, np.float32) / 2**15).tobytes(): label
        for sound, label in zip(data.train.inputs, data.train.labels.tolist(), strict=True)
    }
    sounds = np.asarray(drawn.inputs[:, :1000, 0])
    assert [known[sound.tobytes()] for sound in sounds] == drawn.targets[:, 0].tolist()
    assert {sound.tobytes() for sound in sounds} == set(known)


def test_speech_ends_at_the_last_sample_and_is_thinned(made):
    examples = list(datasets.examples(datasets.prepared("speech_commands"), "test"))
    stored = {
        np.pad(example["audio"], (16_000 - len(example["audio"]), 0)).tobytes()
        for example in examples
        if example["label"] < 10
    }
    assert len({len(example["audio"]) for example in examples}) == 3
    raw, half = (
        loaded("speech_commands", made, words="ten", rate=rate).report for rate in (16_000, 8_000)
    )
    assert {np.asarray(sound).tobytes() for sound in raw.inputs} == stored
    np.testing.assert_array_equal(half.inputs, raw.inputs[:, ::2])


@pytest.mark.parametrize("rate", [0, 7000, 2.5])
def test_bad_rate_is_one_line(rate):
    with pytest.raises(InputError, match=f"rate={rate}: must"):
        speech_commands(3, rate=rate)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        (mnist, {"layout": "column"}),
        (mnist, {"padding": "fixed"}),
        (cifar10, {"layout": "permuted"}),
        (cifar10, {"padding": "loud"}),
        (digits, {"layout": "row"}),
        (digits, {"padding": "fixed"}),
        (speech_commands, {"words": "35"}),
    ],
)
def test_another_word_is_one_line(task, options):
    (name, word), *_ = options.items()
    with pytest.raises(InputError, match=f"{name}={word}: allowed are"):
        task(3, **options)


@pytest.mark.parametrize("name", published_files.WRITTEN)  # texts: test_text.py
def test_the_command_prepares_published_files_without_tensorflow(
    name, tmp_path, monkeypatch, capsys
):
    published = published_files.WRITTEN[name](tmp_path)
    published_files.downloaded(monkeypatch, tmp_path)
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path / "data"))
    assert prepare.main([name]) == 0
    assert "tensorflow" not in sys.modules
    builder = datasets.prepared(name)
    assert builder.info.splits.keys() == published.keys()
    for split, examples in published.items():
        stored = [
            (example[kind].tobytes(), int(example["label"]))
            for example in datasets.examples(builder, split)
            for kind in ("image", "audio")
            if kind in example
        ]
        assert sorted(stored) == sorted((what.tobytes(), label) for what, label in examples)
    assert prepare.main([name]) == 0  # and not again
    assert capsys.readouterr().out.count(f"{name}: in ") == 2


def test_the_command_says_in_one_line_what_it_cannot_prepare(absent, capsys, monkeypatch):
    assert prepare.main(["nosuchset"]) == 2
    monkeypatch.setattr(
        "tensorflow_datasets.core.download.DownloadManager.download_and_extract",
        lambda self, what: (_ for _ in ()).throw(ConnectionError("no\nnetwork")),
    )
    assert prepare.main(["mnist"]) == 2
    errors = capsys.readouterr().err.splitlines()
    errors = [line for line in errors if line.startswith("error: ")]
    assert "TFDS has none of this name" in errors[0]
    assert errors[1] == "error: data set mnist: cannot be prepared: ConnectionError: no"
    with pytest.raises(InputError, match="not in"):
        datasets.prepared("mnist")
