"""Frozen evaluation sets: pinned, the same again, read without JAX."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lstm_jax import datasets
from lstm_jax.datasets import export, freeze, frozen, score
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import EVALUATION_SIZES, Example, evaluation_set

pytestmark = pytest.mark.xdist_group("frozen")  # shares what is compiled or made once

NAME = "latch-gap5"  # with Gaussian noise, which is not hashed
FEW = [NAME, "recall-gap10", "adding_layout-halves-length100"]


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """A directory in which NAME has been generated."""
    where = tmp_path_factory.mktemp("frozen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTM_JAX_DATA_DIR", str(where))
        assert freeze.main([f"--sets={NAME}"]) == 0
    return where


@pytest.fixture
def pins(monkeypatch):
    """The pinned checksums, which a test may change."""
    changed = json.loads(json.dumps(frozen.pinned()))
    monkeypatch.setattr(frozen, "pinned", lambda: changed)
    return changed


def latch(change=lambda inputs: inputs):
    example = Example(*map(np.asarray, evaluation_set(TASKS["latch"](5), (), "report")))
    return example._replace(inputs=change(example.inputs.copy()))


def changed_at(index, by):
    def change(inputs):
        inputs[index] += by
        return inputs

    return change


def test_the_list_is_what_it_says():
    assert frozen.pinned().keys() == frozen.SETS.keys()
    assert frozen.RELEASE_NOTES[frozen.VERSION]
    for name, frozen_set in frozen.SETS.items():
        task = frozen.build(name)
        assert task.load is tuple, "real data are data sets of their own"
        assert name.endswith(f"-{task.swept_by}{frozen_set.argument}")
        assert frozen.pinned()[name].keys() == EVALUATION_SIZES.keys()


@pytest.mark.parametrize("name", FEW)
def test_what_is_drawn_is_what_is_pinned(name):
    for split, example in frozen.draw(name).items():
        assert len(example.inputs) == EVALUATION_SIZES[split]
        found = frozen.check(name, split, example)
        assert ("sums" in found) == (name == NAME)


@pytest.mark.campaign
def test_all_that_is_drawn_is_what_is_pinned():
    assert freeze.main(["--check"]) == 0


def test_a_checksum_survives_rounding_and_nothing_else():
    pinned = frozen.checksum(latch())
    assert pinned["sums"].keys() == {"inputs"}

    def same(change):
        return frozen.same(frozen.checksum(latch(change)), pinned)

    assert same(lambda inputs: inputs)
    assert same(lambda inputs: np.nextafter(inputs, np.float32(9)))
    assert not same(changed_at((1234, 3, 0), 0.02))
    assert not same(lambda inputs: inputs[::-1])
    assert not same(lambda inputs: inputs * np.float32(1.01))
    assert not same(np.round)
    exact = latch(np.round)  # as draws are: hashed to the last bit
    almost = exact._replace(inputs=changed_at((7, 2, 0), 2**-22)(exact.inputs * 0))
    assert frozen.checksum(exact).keys() == frozen.checksum(almost).keys() == {"sha256"}
    nothing = exact._replace(inputs=exact.inputs * 0)
    assert frozen.checksum(almost) != frozen.checksum(nothing)
    lag = latch().lag
    for other in (lag + 1, lag.astype(np.int64)):
        assert frozen.checksum(latch()._replace(lag=other))["sha256"] != pinned["sha256"]


def test_generated_twice_gives_equal_records_those_of_the_task(on_disk, tmp_path, monkeypatch):
    sets = {}
    for where in (on_disk, tmp_path):
        monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(where))
        freeze.generate(NAME)
        builder = tfds.builder(f"frozen_evaluation/{NAME}", data_dir=str(where))
        sets[where] = {split: datasets.read(builder, split) for split in frozen.SPLITS}
    for split in frozen.SPLITS:
        expected = evaluation_set(TASKS["latch"](5), (), split)
        for name in Example._fields:
            once, twice = (found[split][name] for found in sets.values())
            assert once.dtype == np.asarray(getattr(expected, name)).dtype
            np.testing.assert_array_equal(once, twice)
            np.testing.assert_array_equal(once, getattr(expected, name))


def test_the_version_is_in_the_path_and_the_rest_in_the_metadata(on_disk, monkeypatch, capsys):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(on_disk))
    before = {path: path.stat().st_mtime_ns for path in on_disk.rglob("*.array_record*")}
    assert freeze.main([f"--sets={NAME}"]) == 0
    folder = on_disk / "frozen_evaluation" / NAME / frozen.VERSION
    assert capsys.readouterr().out == f"{folder}\n"
    assert before == {path: path.stat().st_mtime_ns for path in on_disk.rglob("*.array_record*")}
    metadata = tfds.builder_from_directory(str(folder)).info.metadata
    task = TASKS["latch"](5)
    assert metadata["chance"] == task.chance
    assert metadata["solved_at"] == task.solved_at
    assert (metadata["task"], metadata["gap"], metadata["licence"]) == ("latch", 5, "CC0-1.0")
    assert metadata["checksums"] == frozen.pinned()[NAME]


# As frozen_builder.py says it, with nothing of ours to import.
WITHOUT = """
import sys
for name in ("jax", "jaxlib", "flax", "optax", "lstm_jax"):
    sys.modules[name] = None
import tensorflow_datasets as tfds

builder = tfds.builder("frozen_evaluation/NAME", data_dir=sys.argv[1])
source = builder.as_data_source("report")
print(len(source), source[0]["inputs"].shape, builder.info.metadata["solved_at"], builder.version)
assert "tensorflow" not in sys.modules
"""


def test_it_is_read_without_jax(on_disk):
    code = WITHOUT.replace("NAME", NAME)
    command = [sys.executable, "-W", "error", "-c", code, str(on_disk)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=on_disk)
    assert done.stdout == f"2048 (6, 2) 0.9 {frozen.VERSION}\n", done.stderr


@pytest.mark.parametrize("alter", ["sha256", "sums", "missing"])
def test_an_altered_checksum_is_one_line(alter, pins, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path))
    if alter == "missing":
        del pins[NAME]["report"]
    elif alter == "sums":
        pins[NAME]["report"]["sums"]["inputs"] += 0.02
    else:
        pins[NAME]["report"]["sha256"] = "0" * 64
    for command in (
        lambda: freeze.main([f"--sets={NAME}"]),
        lambda: freeze.main([f"--sets={NAME}", "--check"]),
        lambda: export.main(["--task=latch", "--gaps=5", f"--out={tmp_path / 'out'}"]),
    ):
        assert command() == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: frozen set {NAME}, report: ")
        assert f"in version {frozen.VERSION}" in error
        assert "raise VERSION in lstm_jax/datasets/frozen.py" in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "frozen_evaluation" / NAME / frozen.VERSION).exists()
    assert not (tmp_path / "out").exists()


def test_an_export_names_the_version_and_the_checksum(tmp_path):
    def about(*flags):
        assert export.main([f"--out={tmp_path}", *flags]) == 0
        newest = max(tmp_path.glob("*.json"), key=os.path.getmtime)
        return score.read(str(newest.with_suffix(".npz")))[1]

    frozen_one = about("--task=latch", "--gaps=5")
    assert frozen_one["frozen_version"] == frozen.VERSION
    assert frozen_one["content"]["sha256"] == frozen.pinned()[NAME]["report"]["sha256"]
    train = about("--task=latch", "--gaps=5", "--split=train", "--examples=3")
    assert train["frozen_version"] is None
    own = tmp_path / "latch.py"
    own.write_text(
        "from lstm_jax.tasks import latch as l\ndef latch(gap): return l(gap, onset=2)\n"
    )
    out = f"--out={tmp_path / 'own'}"
    assert export.main([out, "--task=latch", f"--task_file={own}", "--gaps=5"]) == 0
    (path,) = (tmp_path / "own").glob("*.json")
    assert json.loads(path.read_text())["frozen_version"] is None


def test_pinning(tmp_path, monkeypatch):
    """The same version takes new sets and no changed one; a new version takes all."""
    path = str(tmp_path / "checksums.json")
    drawn = {split: latch() for split in frozen.SPLITS}
    monkeypatch.setattr(frozen, "draw", lambda name: drawn)
    assert freeze.pin(["one"], path) == 1
    assert freeze.pin(["one", "two"], path) == 1
    first = (tmp_path / "checksums.json").read_text()
    assert json.loads(first)["sets"].keys() == {"one", "two"}
    drawn["report"] = latch(lambda inputs: np.nextafter(inputs, np.float32(9)))
    assert freeze.pin(["one", "two"], path) == 0
    assert (tmp_path / "checksums.json").read_text() == first
    drawn["report"] = latch(changed_at((3, 3, 0), 1.0))
    with pytest.raises(frozen.InputError, match=r"one is pinned in version .* raise VERSION"):
        freeze.pin(["one", "two"], path)
    assert (tmp_path / "checksums.json").read_text() == first
    monkeypatch.setattr(frozen, "VERSION", "7.0.0")
    assert freeze.pin(["one", "two"], path) == 2
    assert json.loads((tmp_path / "checksums.json").read_text())["version"] == "7.0.0"


def test_checksums_of_another_version_are_one_line(monkeypatch, capsys):
    frozen.pinned.cache_clear()
    monkeypatch.setattr(frozen, "VERSION", "7.0.0")
    assert freeze.main(["--check", f"--sets={NAME}"]) == 2
    error = capsys.readouterr().err
    assert f"is of version {json.loads(frozen.CHECKSUMS.read_text())['version']}" in error
    assert "freeze --pin" in error
    frozen.pinned.cache_clear()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sets=recall-gap7"], "--sets: 'recall-gap7' is not known: allowed are recall-gap5,"),
        (["--pin", "--check"], "--pin: pins all sets"),
        (["--pin", f"--sets={NAME}"], "--pin: pins all sets"),
        (["--chek"], "--chek"),
    ],
)
def test_a_wrong_command_line_is_one_line(flags, words, capsys):
    assert freeze.main(flags) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
