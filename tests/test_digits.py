"""The handwritten digits: the data set on disk, and the task made of it."""

import os
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from lstm_jax import datasets
from lstm_jax.errors import InputError, MissingExtraError
from lstm_jax.tasks import digits
from lstm_jax.tasks.digits import load

pytestmark = pytest.mark.xdist_group("digits")  # shares what is compiled or made once

VERSION = "handwritten_digits/1.0.0"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError(f"reached for the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """A directory in which the set has been generated."""
    where = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTM_JAX_DATA_DIR", str(where))
        load()
    return where


@pytest.fixture
def data(on_disk, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(on_disk))
    return load()


def pixels(part):
    """Images as the task shows them, rows of pixels from 0 to 1."""
    return np.asarray(part.inputs, np.float32).reshape(-1, 64) / 16


def records(where, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(where))
    builder = datasets.prepared("handwritten_digits")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 1500,
        "test": 297,
    }
    return {split: datasets.read(builder, split) for split in ("train", "test")}


def test_generated_twice_gives_equal_records(on_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path))
    load()
    once, twice = records(on_disk, monkeypatch), records(tmp_path, monkeypatch)
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    assert sorted(os.listdir(on_disk / VERSION)) == sorted(os.listdir(tmp_path / VERSION))


def test_records_are_those_of_scikit_learn_in_its_order(on_disk, monkeypatch):
    source = load_digits()
    stored = records(on_disk, monkeypatch)
    for name, expected in (("image", source.images), ("label", source.target)):
        together = np.concatenate([stored["train"][name], stored["test"][name]])
        np.testing.assert_array_equal(together, expected)


def test_parts_are_apart(data):
    sizes = [len(part.labels) for part in data]
    assert sizes == [1203, 297, 297]
    images = np.concatenate([part.inputs for part in data])
    assert len(np.unique(images, axis=0)) == 1797
    assert (images.min(), images.max()) == (0, 16)


def test_an_example_is_pixels_noise_and_the_question(data):
    sample = jax.jit(digits(6).sample)
    inputs, other = (np.asarray(sample(data, jax.random.key(seed)).inputs) for seed in (0, 1))
    assert (pixels(data.train) == inputs[:64, 0]).all(axis=1).sum() == 1
    noise = inputs[64:69, 0]
    assert ((noise > 0) & (noise < 1)).all()
    assert not np.isin(noise, other[64:69, 0]).any()
    np.testing.assert_array_equal(inputs[:, 1], np.arange(70) == 69)
    assert inputs[69, 0] == 0


def test_every_training_image_is_drawn(data):
    task = digits(1)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.jit(jax.vmap(task.sample, in_axes=(None, 0)))(data, keys)
    assert len(np.unique(drawn.inputs[:, :64, 0], axis=0)) == 1203


def test_evaluation_noise_is_fixed_and_of_its_split(data):
    sets = {split: digits(9).evaluation_set(data, split) for split in ("monitor", "report")}
    again = digits(9).evaluation_set(data, "report")
    np.testing.assert_array_equal(sets["report"].inputs, again.inputs)
    noise = {split: np.asarray(example.inputs[:, 64:72, 0]) for split, example in sets.items()}
    assert len(np.unique(np.concatenate(list(noise.values())))) > 0.99 * 2 * 297 * 8
    np.testing.assert_array_equal(sets["report"].inputs[:, :64, 0], pixels(data.report))
    np.testing.assert_array_equal(sets["monitor"].targets[:, 0], data.monitor.labels)


@pytest.mark.parametrize("package", ["tensorflow_datasets", "sklearn.datasets"])
def test_missing_extra_is_one_line(package, tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        load()
    assert str(caught.value) == ("task digits needs the extra 'data': pip install 'lstm_jax[data]'")


def test_reading_needs_no_scikit_learn(on_disk, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(on_disk))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    load()


def test_read_only_directory_is_enough_to_read(on_disk, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(on_disk))

    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock", refuse)
    load()


@pytest.mark.parametrize("below", ["", "data"])
def test_unwritable_directory_is_one_line(below, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(file / below))
    with pytest.raises(InputError, match=r"cannot be written .*LSTM_JAX_DATA_DIR") as caught:
        load()
    assert "\n" not in str(caught.value)


def test_an_interrupted_generation_is_done_again(tmp_path, monkeypatch):
    from lstm_jax.datasets.digits import HandwrittenDigits

    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path))

    def interrupted(self, digits, begin, end):
        yield 0, {"image": digits.images[0].astype(np.uint8), "label": 0}
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HandwrittenDigits, "_generate_examples", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert not (tmp_path / VERSION).exists()
    assert len(load().report.labels) == 297


def test_processes_that_generate_at_once(tmp_path):
    script = (
        "from lstm_jax import datasets; "
        "from lstm_jax.datasets.digits import HandwrittenDigits; "
        "builder = datasets.generated(HandwrittenDigits); "
        "assert len(datasets.read(builder, 'train')['label']) == 1500"
    )
    environment = os.environ | {"LSTM_JAX_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", script]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert not output
    assert os.listdir(tmp_path / "handwritten_digits") == ["1.0.0"]


def test_absent_set_fails_at_once_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"run once: python -m lstm_jax\.datasets\.prepare mnist$"):
        datasets.prepared("mnist")
    assert time.perf_counter() - start < 1


def test_set_in_a_format_that_needs_tensorflow(on_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path))
    (tmp_path / VERSION).mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        text = (on_disk / VERSION / name).read_text()
        (tmp_path / VERSION / name).write_text(text.replace("array_record", "tfrecord"))
    with pytest.raises(InputError, match=r"stored as tfrecord .* run once: python -m"):
        datasets.prepared("handwritten_digits")


def test_data_lie_below_the_working_directory_unless_told(monkeypatch):
    monkeypatch.delenv("LSTM_JAX_DATA_DIR", raising=False)
    assert datasets.directory() == "data"
