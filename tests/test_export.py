"""Exported sets: our very examples, the same bytes again, scored without JAX."""

import hashlib
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from lstm_jax import evaluation, keys
from lstm_jax.cells import CELLS
from lstm_jax.datasets import export, score
from lstm_jax.spec import parse
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import Example, evaluation_set
from lstm_jax.training import assemble, make_program
from lstm_jax.trial import Catalogue


def exported(folder, *flags):
    assert export.main([f"--out={folder}", *flags]) == 0
    return {path.stem: score.read(str(path)) for path in sorted(folder.glob("*.npz"))}


@pytest.mark.parametrize(
    ("task", "gap"),
    [
        ("recall", 5),
        ("adding", 10),
        ("copy:layout=variable:scored=all", 30),
        ("agreement", 4),
        ("two_sequence:noise=targets", 9),
        ("film", 6),
    ],
)
def test_the_report_set_is_the_one_that_networks_are_scored_on(tmp_path, task, gap):
    ((arrays, about),) = exported(tmp_path, f"--task={task}", f"--gaps={gap}").values()
    spec = parse(task, TASKS, "task")
    built = TASKS[spec.name](gap, **spec.arguments(gap))
    expected = evaluation_set(built, (), "report")
    for name in Example._fields:
        np.testing.assert_array_equal(arrays[name], np.asarray(getattr(expected, name)))
        assert about["arrays"][name]["shape"] == list(arrays[name].shape)
        assert about["arrays"][name]["dtype"] == str(arrays[name].dtype)
    assert (about["task"], about["gap"], about["split"]) == (task, gap, "report")
    assert about["chance"] == built.chance
    assert about["tolerance"] == {"adding": 0.04, "two_sequence:noise=targets": 0.1}.get(task)
    assert about["licence"] == "CC0-1.0"


def test_the_train_stream_is_what_a_trial_sees(tmp_path):
    """The same network, trained by a loop over the file, has the trial's losses."""
    flags = ["--task=recall:lead_in=2", "--gaps=3", "--split=train", "--examples=20", "--seed=7"]
    ((arrays, about),) = exported(tmp_path, *flags, "--batch_size=8").values()
    assert (about["seed"], about["batch_size"], about["examples"]) == (7, 8, 20)
    task = TASKS["recall"](3, lead_in=2)
    for update in range(3):
        own = jax.random.split(keys.data(keys.root(7), np.int32(update)), 8)
        batch = jax.vmap(task.sample, in_axes=(None, 0))((), own)
        rows = slice(8 * update, min(8 * update + 8, 20))
        np.testing.assert_array_equal(
            arrays["inputs"][rows], batch.inputs[: rows.stop - rows.start]
        )


def test_again_it_writes_nothing_and_never_over_another(tmp_path, capsys):
    flags = ["--task=recall", "--gaps=2,4"]
    first = exported(tmp_path, *flags)
    before = {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()
    }
    capsys.readouterr()
    assert exported(tmp_path, *flags).keys() == first.keys()
    told = capsys.readouterr()
    assert told.out.count("is there:") == 2
    assert told.err == "", "a bar where there is no terminal"
    for name, (content, written) in before.items():
        path = tmp_path / name
        assert path.read_bytes() == content
        assert path.stat().st_mtime_ns == written or name == "score.py"
    (path,) = tmp_path.glob("*gap2-report.npz")
    path.write_bytes(b"mine")
    assert export.main([f"--out={tmp_path}", *flags]) == 2
    assert "is there and differs" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"


def test_several_seeds_are_those_of_one_each(tmp_path):
    flags = ["--task=recall", "--gaps=2", "--split=train", "--examples=9", "--batch_size=8"]
    together = exported(tmp_path / "together", *flags, "--seed=1,5")
    assert sorted(together) == [f"recall-gap2-train-seed{seed}-batch8-9" for seed in (1, 5)]
    ((name, (_, alone)),) = exported(tmp_path / "alone", *flags, "--seed=5").items()
    assert together[name][1] == alone


@pytest.mark.parametrize("split", export.SPLITS)
def test_a_bar_is_shown_on_a_terminal(split, tmp_path, capsys, monkeypatch):
    flags = ["--task=recall", "--gaps=2,4", f"--split={split}"]
    flags += ["--examples=40"] if split == "train" else []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    exported(tmp_path, *flags)
    told = capsys.readouterr()
    assert "2/2" in told.err
    assert " sets" in told.err
    assert (" batches" in told.err) == (split == "train")
    assert told.out.count("wrote") == 2


def test_absent_data_is_one_line(tmp_path, capsys):
    own = tmp_path / "absent.py"
    own.write_text(
        "from lstm_jax.errors import InputError\n"
        "from lstm_jax.tasks import recall\n\n\n"
        "def absent(gap):\n"
        "    def load():\n"
        "        raise InputError('data set x: not on disk')\n\n"
        "    return recall(gap)._replace(load=load, licence='MIT')\n"
    )
    flags = ["--task=absent", f"--task_file={own}", "--gaps=2", f"--out={tmp_path / 'out'}"]
    assert export.main(flags) == 2
    assert capsys.readouterr().err == "error: data set x: not on disk\n"
    assert not (tmp_path / "out").exists()


def test_bytes_hang_on_nothing_else(tmp_path):
    """Not on the clock, the process or what was drawn before."""
    exported(tmp_path / "here", "--task=latch", "--gaps=3,5")
    command = [sys.executable, "-m", "lstm_jax.datasets.export", "--task=latch", "--gaps=5"]
    subprocess.run([*command, f"--out={tmp_path / 'there'}"], check=True, capture_output=True)
    for path in (tmp_path / "there").glob("latch*"):
        assert path.read_bytes() == (tmp_path / "here" / path.name).read_bytes()


# Runs with NumPy alone: everything else that a user may lack fails to import.
WITHOUT = """
import runpy, sys
for name in ("jax", "jaxlib", "flax", "optax", "lstm_jax", "scipy"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def scored(folder, predictions, name):
    np.savez(folder / "predictions.npz", predictions=predictions)
    command = [sys.executable, "-c", WITHOUT, "score.py", "predictions.npz", name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("task", "gap", "chance", "lags"),
    [
        ("agreement:lead_in=2", 2, "0.375", {lag: "" for lag in range(2, 7)}),
        (
            "film:lead_in=2",
            6,
            "0.25",
            {lag: " (not counted)" if lag < 6 else "" for lag in (*range(1, 5), *range(6, 13))},
        ),
    ],
)
def test_predictions_are_scored_as_ours_are(tmp_path, task, gap, chance, lags):
    catalogue = Catalogue(CELLS, TASKS)
    (trial,) = make_sweep(
        catalogue,
        task=task,
        cells=["rnn"],
        gaps=[gap],
        seeds=[0],
        learning_rates=[1e-2],
        settings=Settings(hidden_size=8, match="hidden", batch_size=8),
    )
    assembly = assemble(trial, catalogue)
    program = make_program(
        assembly, 1, batch_size=8, matmul_precision="float32", devices=jax.devices()[:1]
    )
    state = program.init(program.place(np.zeros(1, np.int32)))
    report = evaluation_set(assembly.task, (), "report")
    own = evaluation.score(program, state.params, np.ones(1, bool), evaluation.blocks(report))
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.params)
    predictions = jax.jit(assembly.network.apply)(params, report.inputs, report.use_times)

    exported(tmp_path, f"--task={task}", f"--gaps={gap}")
    (name,) = [path.name for path in tmp_path.glob("*.npz")]
    done = scored(tmp_path, np.asarray(predictions), name)
    assert done.returncode == 0, done.stderr
    assert f"accuracy {own.accuracy[0]:.4f}" in done.stdout
    assert f"chance {chance}, solved at 0.9): not solved" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("lag ")]
    assert [line.split(":")[0] for line in lines] == [f"lag {lag}" for lag in lags]
    for line, note in zip(lines, lags.values(), strict=True):
        assert line.endswith("(not counted)") == bool(note)


def test_a_film_is_scored_by_lag(tmp_path):
    """Answers made by hand: right where the lag is one of some, else wrong."""
    ((arrays, about),) = exported(tmp_path, "--task=film", "--gaps=7").values()
    targets, lag = arrays["targets"], arrays["lag"]
    assert about["lags"] == [7, 13]
    assert about["counted_from"] == 7

    def answers(right):
        said = np.where(right, targets, (targets + 1) % about["output_size"])
        return np.eye(about["output_size"])[said]

    short = score.score(answers(lag < 7), arrays, about)
    assert (short["accuracy"], short["solved"]) == (0, False)
    assert {lag: own["accuracy"] for lag, own in short["by_lag"].items()} == {
        lag: float(lag < 7) for lag in (*range(1, 5), *range(7, 14))
    }
    long = score.score(answers(lag >= 7), arrays, about)
    assert (long["accuracy"], long["solved"]) == (1, True)
    some = score.score(answers(lag <= 10), arrays, about)
    share = (lag[lag >= 7] <= 10).mean()
    assert some["accuracy"] == pytest.approx(share, rel=1e-6)
    assert some["by_lag"][10] == {"accuracy": 1, "answers": (lag == 10).sum()}
    assert some["by_lag"][11]["accuracy"] == 0
    # A set that was exported before there was the field counts all that is past.
    before = {name: value for name, value in about.items() if name != "counted_from"}
    past = score.score(answers(lag <= 10), arrays, before)
    weights = arrays["weights"] * (lag >= 0)
    assert past["accuracy"] == pytest.approx(
        (weights * (lag <= 10)).sum() / weights.sum(), rel=1e-6
    )


def test_answers_within_the_tolerance_are_right(tmp_path):
    ((arrays, about),) = exported(tmp_path, "--task=adding", "--gaps=5").values()
    near = score.score(arrays["targets"] + np.float32(0.039), arrays, about)
    far = score.score(arrays["targets"] + np.float32(0.041), arrays, about)
    assert (near["accuracy"], near["solved"]) == (1, True)
    assert (far["accuracy"], far["solved"]) == (0, False)


def test_what_does_not_fit_is_one_line(tmp_path, capsys):
    ((arrays, _),) = exported(tmp_path, "--task=latch", "--gaps=3").values()
    shape = (*arrays["weights"].shape, 2)
    (path,) = tmp_path.glob("latch*.npz")
    for predictions, words in [
        (np.zeros((3, 1, 2)), "predictions are (3, 1, 2), must be"),
        (np.full(shape, np.nan), "not finite"),
        (np.array({}, dtype=object), "allow_pickle"),
    ]:
        done = scored(tmp_path, predictions, path.name)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    predictions = tmp_path / "predictions.npz"
    good = predictions.read_bytes()
    for content in (good[:-30], b"", good[:4]):
        predictions.write_bytes(content)
        assert score.main([str(predictions), str(path)]) == 2
    np.save(tmp_path / "predictions.npy", np.zeros(shape))
    assert score.main([str(tmp_path / "predictions.npy"), str(path)]) == 2
    assert score.main([str(predictions), str(path.with_suffix(".json"))]) == 2
    *_, array, json_file = errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5
    assert all(line.startswith("error: ") for line in errors)
    assert "must be an .npz that holds `predictions`" in array
    assert "must be the .npz of an exported set" in json_file
    path.write_bytes(path.read_bytes()[:-1])
    done = scored(tmp_path, np.zeros(shape), path.name)
    assert "altered since it was exported" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gaps=5"], "--task"),
        (["--task=recal", "--gaps=5"], "--task: task 'recal' is not known"),
        (["--task=recall", "--gaps=0"], "--gaps: gap=0"),
        (["--task=recall", "--gaps=5,x"], "--gaps: 'x' must be a whole number"),
        (["--task=recall", "--gaps=5", "--split=test"], "--split"),
        (["--task=recall", "--gaps=5", "--split=train"], "--examples: needed with --split=train"),
        (["--task=recall", "--gaps=5", "--examples=3"], "--examples: needed with --split=train"),
        (["--task=recall", "--gaps=5", "--seed=3"], "--seed: is of --split=train"),
        (["--task=recall", "--gaps=5", "--task_file=nowhere.py"], "nowhere.py"),
        (["--task=recall", "--gaps=5", "--sead=3"], "--sead=3"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path, capsys, flags, words):
    out = tmp_path / "out"
    assert export.main([f"--out={out}", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_hash_and_licence_of_real_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LSTM_JAX_DATA_DIR", str(tmp_path / "data"))
    exported(tmp_path / "out", "--task=digits", "--gaps=2")
    (path,) = (tmp_path / "out").glob("digits*.json")
    about = json.loads(path.read_text())
    assert about["sha256"] == hashlib.sha256(path.with_suffix(".npz").read_bytes()).hexdigest()
    assert about["licence"].startswith("CC-BY-4.0")
    assert about["examples"] == 297
