"""Whole sweeps on an object store: the same rows as on a disk, whatever happens."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_gcs import BUCKET, running_store, store  # noqa: F401

from lstm_jax import results, storage
from lstm_jax.checkpoints import Checkpoints
from lstm_jax.results import ResultsWarning

pytestmark = pytest.mark.xdist_group("gs")  # shares what is compiled or made once

ROOT = Path(__file__).parent.parent
SWEEP = [
    "--task=recall:lead_in=2:symbols=32", "--cells=rnn,gru", "--gaps=2,3", "--seeds=2",
    "--updates=400", "--hidden_size=8", "--batch_size=8", "--eval_every=100",
    "--learning_rates=1e-4",
]  # fmt: skip
LONG = [flag for flag in SWEEP if not flag.startswith("--updates")] + ["--updates=3000"]
ONE = {"weights": np.zeros((3,), np.float32), "update": np.zeros((), np.int32)}


def states(*updates):
    return {
        "weights": np.stack([np.full(3, update, np.float32) for update in updates]),
        "update": np.asarray(updates, np.int32),
    }


def start(directory, sweep=SWEEP, lease_seconds=3):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.gap_sweep", *sweep, f"--results_dir={directory}"],
        env={**os.environ, "LSTM_JAX_LEASE_SECONDS": str(lease_seconds)}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finished(process):
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    assert "Traceback" not in out, out
    return out


def rows(directory):
    fleeting = ("provenance", "cohort_seconds", "cohort_size", "compile_seconds")
    return {
        record.trial["trial_id"]: [
            {name: value for name, value in row.items() if name not in fleeting}
            for row in (record.trial, *record.evaluations, *record.ends)
        ]
        for record in results.read_directory(directory)
    }


def evaluations(store):  # noqa: F811
    """Lines in the store, without a request."""
    files = store.storage._store._files.copy()
    return sum(data.count(b'"evaluation"') for name, data in files.items() if ".jsonl" in name)


def restored(directory, *names):
    with Checkpoints(directory, "program") as checkpoints:
        found = checkpoints.restore(ONE, list(names))
    return {name: int(state["update"]) for name, state in found.items()}


def save(directory, names, *updates):
    with Checkpoints(directory, "program") as checkpoints:
        checkpoints.restore(ONE, names)
        checkpoints.save(names, states(*updates))


def test_checkpoints_are_saved_restored_and_joined(store):  # noqa: F811
    directory = f"gs://{BUCKET}/r"
    assert restored(directory, "a") == {}
    save(directory, ["a", "b"], 5, 6)
    assert restored(directory, "a", "b") == {"a": 5, "b": 6}
    save(directory, ["b", "c"], 7, 8)
    assert restored(directory, "a", "b", "c", "d") == {"a": 5, "b": 7, "c": 8}


def test_saves_that_take_long_are_put_off_but_not_the_last(store):  # noqa: F811
    directory = f"gs://{BUCKET}/r"
    with Checkpoints(directory, "program") as checkpoints:
        checkpoints.save(["a"], states(1))
        checkpoints.wait()
        each = sum(store.requests.values())
        for update in range(2, 40):
            checkpoints.save(["a"], states(update))
        checkpoints.wait()
    assert sum(store.requests.values()) < 20 * each
    assert restored(directory, "a") == {"a": 39}


def test_a_damaged_checkpoint_is_set_aside(store):  # noqa: F811
    directory = f"gs://{BUCKET}/r"
    save(directory, ["a"], 5)
    before = storage.files(f"{directory}/checkpoints/program")
    (name,) = [name for name in before if name.endswith("trials/metadata")]
    storage.write(f"{directory}/checkpoints/program/{name}", "rubbish")
    with pytest.warns(ResultsWarning, match=r"unreadable checkpoint, set aside as program\.corr"):
        assert restored(directory, "a") == {}
    aside = storage.files(f"{directory}/checkpoints/program.corrupt-0")
    assert set(aside) == set(before)
    save(directory, ["a"], 9)
    assert restored(directory, "a") == {"a": 9}


def test_what_only_gcsfs_raises_is_told_in_a_line(store, monkeypatch):  # noqa: F811
    class OfItsOwn(Exception):
        pass

    def refuse(path):
        raise OfItsOwn("no such user\nand much more")

    monkeypatch.setattr("lstm_jax.checkpoints._manager", refuse)
    with pytest.raises(OSError, match=r"cannot be opened: OfItsOwn: no such user$"):
        Checkpoints(f"gs://{BUCKET}/r", "program").__enter__()


def test_a_sweep_gives_the_same_rows_as_on_a_disk(store, tmp_path):  # noqa: F811
    """With a store that errs now and then; and what has ended is not run again."""
    process = start(tmp_path)
    directory, choices = f"gs://{BUCKET}/r", random.Random(0)
    store.fault = lambda method, path: (
        choices.choice(["503", "reset", "lost"]) if choices.random() < 0.005 else None
    )
    out = finished(start(directory))
    assert "8 trials trained (0 failed)" in out
    assert f"wrote {directory}/horizons.md" in out
    finished(process)
    assert rows(directory) == rows(tmp_path)
    assert len(rows(directory)) == 8
    assert sorted(results.read_manifest(directory)) == sorted(rows(directory))
    assert [name for name in storage.files(directory) if ".lease" in name] == []
    before = storage.read(f"{directory}/horizons.md", 10**6).data
    assert before == (tmp_path / "horizons.md").read_bytes()


def test_a_store_that_refuses_is_one_line(store):  # noqa: F811
    store.fault = lambda method, path: "403"
    process = start(f"gs://{BUCKET}/r")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out.startswith(f"error: --results_dir: gs://{BUCKET}/r: cannot be written (Forbidden")
    assert out.count("\n") == 1


# --- by `make faults`


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    finished(start(directory, LONG))
    found = rows(directory)
    assert len(found) == 8
    assert all(len(lines) == 32 for lines in found.values())
    return found


@pytest.mark.faults
def test_kills_stops_two_at_once_and_a_bad_store(store, undisturbed):  # noqa: F811
    directory, choices = f"gs://{BUCKET}/r", random.Random(1)
    kills = stops = 0
    store.latency = 0.01
    store.fault = lambda method, path: (
        choices.choice(["503", "reset", "lost"]) if choices.random() < 0.01 else None
    )
    running = []
    until = time.time() + 240
    while time.time() < until:
        for process in [process for process in running if process.poll() is not None]:
            finished(process)
            running.remove(process)
        while len(running) < 2:
            running.append(start(directory, LONG, lease_seconds=2))
        before, soon = evaluations(store), time.time() + 25
        while evaluations(store) <= before and time.time() < soon:
            time.sleep(0.05)
        victim = choices.choice(running)
        if choices.random() < 0.3:
            victim.send_signal(signal.SIGSTOP)
            time.sleep(choices.uniform(1, 5))
            victim.send_signal(signal.SIGCONT)
            stops += 1
        else:
            victim.kill()
            victim.communicate()
            running.remove(victim)
            kills += 1
    for process in running:
        finished(process)
    finished(start(directory, LONG, lease_seconds=2))
    print(f"\n{kills} SIGKILLs, {stops} SIGSTOPs, {sum(store.requests.values())} requests")
    assert rows(directory) == undisturbed
    assert kills >= 5


@pytest.mark.faults
def test_two_at_once_share_the_work(store, undisturbed):  # noqa: F811
    directory = f"gs://{BUCKET}/r"
    outs = [finished(process) for process in [start(directory, LONG), start(directory, LONG)]]
    assert rows(directory) == undisturbed
    trained = [int(out.rpartition(" trials trained")[0].split()[-1]) for out in outs]
    assert sum(trained) == 8
