"""Sweeps that are stopped, killed, raised, damaged, and run twice at once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import pytest

from lstm_jax import results
from lstm_jax.cells import CELLS
from lstm_jax.layers import MODELS
from lstm_jax.locks import hold
from lstm_jax.results import ResultsWarning
from lstm_jax.running import plan, run
from lstm_jax.sweep import Settings, cohorts, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.trial import Catalogue

pytestmark = pytest.mark.xdist_group("running")  # shares what is compiled or made once

ROOT = Path(__file__).parent.parent
CATALOGUE = Catalogue(CELLS, TASKS)
SETTINGS = Settings(hidden_size=8, batch_size=8, eval_every=10)
# What may differ between two runs of one sweep: when and how fast, not what.
TIMES = ("cohort_seconds", "compile_seconds", "cohort_size", "provenance")


def sweep(seeds=3, gaps=(2, 3), cells=("rnn", "gru"), rates=(1e-2,)):
    return make_sweep(
        CATALOGUE,
        task="recall:lead_in=2:symbols=4",
        cells=cells,
        gaps=gaps,
        seeds=range(seeds),
        learning_rates=rates,
        settings=SETTINGS,
    )


def go(directory, trials=None, updates=30, **options):
    options.setdefault("devices", jax.devices()[:2])
    trials = sweep() if trials is None else trials
    plan(trials, directory, CATALOGUE)
    return run(
        trials,
        directory,
        updates=updates,
        catalogue=CATALOGUE,
        match=SETTINGS.described_match(),
        **options,
    )


def rows(directory, *, superseded_ends=False):
    """Every row by trial without times; ends that a raised budget superseded are left out."""
    found = {}
    for record in results.read_directory(directory):
        ends = record.ends if superseded_ends else record.ends[-1:]
        found[record.trial["trial_id"]] = [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in (record.trial, *record.evaluations, *ends)
        ]
    return found


class StopAfter:
    """Asks for a stop at the n-th time that it is asked."""

    def __init__(self, asked):
        self.left = asked

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The rows of the small sweep, run in one go."""
    directory = tmp_path_factory.mktemp("undisturbed")
    outcome = go(directory)
    assert outcome.trained == 12
    return rows(directory)


def test_a_layer_without_recurrence_is_a_trial_like_any_other(tmp_path):
    known = Catalogue(MODELS, TASKS)
    trials = make_sweep(
        known,
        task="recall:lead_in=2:symbols=4",
        cells=["attention:heads=2", "rnn"],
        gaps=[2],
        seeds=[0, 1],
        learning_rates=[1e-2],
        settings=SETTINGS,
    )
    plan(trials, tmp_path, known)
    outcome = run(
        trials, tmp_path, updates=20, catalogue=known, match=SETTINGS.described_match(),
        devices=jax.devices()[:2],
    )  # fmt: skip
    assert outcome.trained == 4
    records = results.read_directory(tmp_path)
    attention = [r.trial for r in records if r.trial["cell"] == "attention:heads=2"]
    assert len(attention) == 2
    for row in attention:
        assert (row["carry_size"], row["flops_per_step"]) == (0, None)
        assert row["cell_options"] == {"heads": 2, "positions": "sinusoidal"}
    assert all(record.end is not None for record in records)


def test_every_trial_is_written_once_and_a_second_run_trains_nothing(tmp_path, undisturbed):
    go(tmp_path)
    assert rows(tmp_path) == undisturbed
    assert sorted(results.read_manifest(tmp_path)) == sorted(undisturbed)
    for trial in undisturbed.values():
        assert [row["kind"] for row in trial] == ["trial"] + ["evaluation"] * 3 + ["end"]
        assert [row.get("update") for row in trial] == [None, 10, 20, 30, 30]
    before = {path: path.stat().st_mtime_ns for path in Path(tmp_path).glob("*.jsonl")}
    outcome = go(tmp_path)
    assert (outcome.trained, outcome.skipped, outcome.compile_seconds) == (0, 12, 0.0)
    assert before == {path: path.stat().st_mtime_ns for path in Path(tmp_path).glob("*.jsonl")}


@pytest.mark.parametrize("asked", [1, 2, 3, 6, 9])
def test_stopped_and_resumed_equals_undisturbed(tmp_path, undisturbed, asked):
    outcome = go(tmp_path, stop=StopAfter(asked))
    assert outcome.left > 0
    assert outcome.left + outcome.trained == 12
    assert go(tmp_path).left == 0
    assert rows(tmp_path) == undisturbed


def test_the_devices_do_not_matter(tmp_path, undisturbed):
    go(tmp_path, devices=jax.devices()[:8])
    assert rows(tmp_path) == undisturbed


def test_a_raised_budget_equals_one_long_run(tmp_path):
    go(tmp_path / "long", updates=60)
    go(tmp_path / "raised", updates=30)
    first = rows(tmp_path / "raised")
    go(tmp_path / "raised", updates=60)
    raised, long = rows(tmp_path / "raised"), rows(tmp_path / "long")
    for trial in (*raised.values(), *long.values()):
        if trial[-1]["stopped_by"] == "monitor":
            trial[-1]["budget"] = None  # it had ended before, within the smaller budget
    assert raised == long
    everything = rows(tmp_path / "raised", superseded_ends=True)
    for name, trial in first.items():  # nothing that was written is gone
        assert all(row in everything[name] for row in trial)


def test_more_seeds_join_what_is_there(tmp_path, undisturbed):
    few = {"gaps": (2,), "cells": ("rnn",)}
    go(tmp_path, sweep(seeds=2, **few), stop=StopAfter(3))
    go(tmp_path, sweep(seeds=1, **few))
    go(tmp_path)
    assert rows(tmp_path) == undisturbed


def test_rows_ahead_of_the_checkpoint_are_kept_until_made_again(tmp_path, undisturbed):
    """A kill between writing rows and saving the checkpoint leaves rows ahead of it."""
    go(tmp_path, stop=StopAfter(3))
    ahead = rows(tmp_path)
    for program in (tmp_path / "checkpoints").iterdir():
        for step in program.iterdir():
            subprocess.run(["rm", "-r", step], check=True)
    asked = []

    def watching():
        asked.append(1)
        for name, trial in rows(tmp_path).items():
            assert all(row in trial for row in ahead.get(name, []) if row["kind"] != "trial")
        return False

    go(tmp_path, stop=watching)
    assert len(asked) > 4
    assert rows(tmp_path) == undisturbed


def test_a_corrupt_file_is_set_aside_and_its_trial_run_again(tmp_path, undisturbed):
    go(tmp_path)
    path = sorted(tmp_path.glob("*.jsonl"))[0]
    path.write_text("garbage\n")
    with pytest.warns(ResultsWarning, match="set aside"):
        outcome = go(tmp_path)
    assert outcome.trained == 1
    assert rows(tmp_path) == undisturbed
    assert Path(f"{path}.corrupt-0").read_text() == "garbage\n"


def test_a_torn_file_is_gone_on_from(tmp_path, undisturbed):
    go(tmp_path)
    for path in tmp_path.glob("*.jsonl"):
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(ResultsWarning, match="torn"):
        go(tmp_path)
    assert rows(tmp_path) == undisturbed


def test_a_damaged_checkpoint_is_set_aside(tmp_path, undisturbed):
    go(tmp_path, stop=StopAfter(2))
    damaged = 0
    for path in (tmp_path / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
            damaged += 1
    assert damaged
    with pytest.warns(ResultsWarning, match="set aside"):
        go(tmp_path)
    assert rows(tmp_path) == undisturbed
    assert list((tmp_path / "checkpoints").glob("*.corrupt-0"))


def test_a_trial_that_is_not_finite_fails_alone_and_is_not_run_again(tmp_path):
    trials = sweep(seeds=2, gaps=(2,), cells=("rnn:activation=relu",), rates=(1e-2, 1e9))
    outcome = go(tmp_path, trials)
    assert (outcome.trained, outcome.failed) == (4, 2)
    ends = [trial[-1] for trial in rows(tmp_path).values()]
    failed = [end for end in ends if end["status"] == "failed"]
    assert len(failed) == 2
    assert all(end["accuracy"] is None and end["reason"] for end in failed)
    assert go(tmp_path, trials, updates=60).trained == 2


def test_a_cohort_that_another_process_runs_is_left_to_it(tmp_path, undisturbed):
    first = cohorts(sweep(), CATALOGUE)[0].program_id
    holder = hold(tmp_path, first)
    assert holder.__enter__()
    released = []

    def stop():
        # Asked once a cohort and chunk: the others are trained while the first is held.
        if not released and len(rows(tmp_path)) == 9:
            released.append(holder.__exit__(None, None, None))
        return False

    outcome = go(tmp_path, stop=stop)
    assert released
    assert outcome.trained == 12
    assert rows(tmp_path) == undisturbed


def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path, undisturbed, monkeypatch):
    real, writes = os.fsync, []

    def fsync(descriptor):
        writes.append(1)
        if len(writes) == 8:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        go(tmp_path)
    monkeypatch.undo()
    go(tmp_path)
    assert rows(tmp_path) == undisturbed


def launch(directory):
    # conftest: the devices and the compile cache of these tests.
    code = "import sys, conftest, test_running; test_running.go(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], env=environment, stderr=subprocess.DEVNULL
    )


def killed_until_done(directory, kills, seed):
    """Runs the small sweep, killed `kills` times at random moments."""
    chance = random.Random(seed)
    for _ in range(kills):
        process = launch(directory)
        moment = time.time() + chance.uniform(0.5, 9.0)
        while process.poll() is None and time.time() < moment:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert launch(directory).wait() == 0


def test_two_launchers_on_one_directory_write_each_trial_once(tmp_path, undisturbed):
    both = [launch(tmp_path), launch(tmp_path)]
    assert [process.wait() for process in both] == [0, 0]
    assert rows(tmp_path, superseded_ends=True) == undisturbed


def test_killed_and_resumed_equals_undisturbed(tmp_path, undisturbed):
    killed_until_done(tmp_path, kills=2, seed=0)
    assert rows(tmp_path) == undisturbed


@pytest.mark.campaign
def test_twenty_kills(tmp_path, undisturbed):
    killed_until_done(tmp_path, kills=20, seed=1)
    assert rows(tmp_path) == undisturbed
    leftovers = [path.name for path in tmp_path.iterdir() if "corrupt" in path.name]
    assert not leftovers


def test_a_trial_that_stops_early_is_not_continued(tmp_path):
    trials = sweep(seeds=2, gaps=(1,), cells=("gru",), rates=(3e-2,))
    go(tmp_path, trials, updates=400)
    ends = [record.end for record in results.read_directory(tmp_path)]
    assert all(end["stopped_by"] == "monitor" and end["update"] < 400 for end in ends), ends
    assert all(end["status"] == "solved" and end["accuracy"] >= 0.9 for end in ends)
    assert go(tmp_path, trials, updates=800).trained == 0
    (line, *_) = next(Path(tmp_path).glob("*.jsonl")).read_text().splitlines()
    assert json.loads(line)["stop_at"] == 0.95


def test_no_warning_of_ours_in_an_ordinary_run(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(tmp_path, sweep(seeds=1, gaps=(2,), cells=("rnn",)))
