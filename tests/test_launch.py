"""Launchers issue the same work: rows equal those of the experiment's own command."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from launching import DEADLY, LONG, SWEEP, command, ended, rows, undisturbed

from launch.locally import Place, places
from lstm_jax import results

# A cell that fails when its cohort is compiled, not when it is checked.
POISON = DEADLY.replace("deadly", "poison").replace("os._exit(77)", 'raise ValueError("too bad")')
POISON = POISON.replace("MARK", '""')
FIRST = ["--results_dir=rows", "--coordinator=localhost:1234", "--processes=2", "--process=0"]
pytestmark = pytest.mark.xdist_group("launch")  # shares what its fixtures have run


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    found = undisturbed(SWEEP, tmp_path_factory.mktemp("undisturbed"))
    assert len(found) == 8
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def hosts(directory, *flags, sweep=SWEEP, count=2):
    """The processes of a `jax.distributed` run on this machine."""
    port = free_port()
    return [
        command(
            "launch.each_host", f"--results_dir={directory}", f"--coordinator=localhost:{port}",
            f"--processes={count}", f"--process={i}", *flags, "--", *sweep,
        )
        for i in range(count)
    ]  # fmt: skip


def test_locally_gives_the_same_rows_and_runs_nothing_twice(tmp_path, expected):
    flags = f"--results_dir={tmp_path / 'rows'}", "--workers=2", "--", *SWEEP
    out, _ = ended(command("launch.locally", *flags))
    assert rows(tmp_path / "rows") == expected
    assert "8 trials: 8 finished, 0 of them failed, 0 left" in out
    again, _ = ended(command("launch.locally", *flags))
    assert "0 cohorts to run" in again


def test_workers_bound_to_a_core_round_as_the_command_does(tmp_path):
    """XLA:CPU compiles for the threads it sees; what it makes of it shows in longer sequences."""
    sweep = [*SWEEP, "--gaps=40", "--hidden_size=16", "--batch_size=32", "--updates=100"]
    own = {"environment": {"XLA_FLAGS": ""}}  # as many devices as cores, as a user has them
    ended(command(sweep[0], *sweep[1:], f"--results_dir={tmp_path / 'own'}", **own))
    flags = f"--results_dir={tmp_path / 'rows'}", "--", *sweep
    ended(command("launch.locally", *flags, **own))
    assert rows(tmp_path / "rows") == rows(tmp_path / "own")


def test_dry_run_says_what_would_be_issued_and_writes_nothing(tmp_path):
    flags = f"--results_dir={tmp_path / 'rows'}", "--workers=2", "--dry_run", "--", *SWEEP
    out, _ = ended(command("launch.locally", *flags))
    assert out.count("cohort recall") == 4
    assert out.count("launch.worker") == 2
    assert list(tmp_path.iterdir()) == []


def deadly_cell(tmp_path, mark=None):
    """Kills its process always, or until it has left a mark."""
    path = tmp_path / "deadly.py"
    path.write_text(DEADLY.replace("MARK", repr(mark and str(mark))))
    return f"--cell_file={path}"


def test_a_worker_that_dies_is_replaced_and_its_cohort_retried(tmp_path):
    sweep = [*SWEEP, "--cells=rnn", deadly_cell(tmp_path, tmp_path / "mark")]
    out, _ = ended(
        command(
            "launch.locally", f"--results_dir={tmp_path / 'rows'}", "--", *sweep
        )
    )  # fmt: skip
    assert "ended with status 77; will be tried again" in out
    assert "8 trials: 8 finished, 0 of them failed, 0 left" in out


def test_a_poison_cohort_is_named_after_its_retries(tmp_path):
    sweep = [*SWEEP, "--cells=rnn", "--gaps=2", deadly_cell(tmp_path)]
    out, _ = ended(
        command(
            "launch.locally", f"--results_dir={tmp_path / 'rows'}", "--retries=1", "--", *sweep
        ),
        status=1,
    )  # fmt: skip
    assert "gap 2 deadly: its worker ended with status 77 (2 times)" in out
    assert "4 trials: 2 finished, 0 of them failed, 2 left" in out


def wait_for_rows(directory, processes):
    until = time.time() + 100
    while time.time() < until and not list(Path(directory).glob("*.jsonl")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def expected_long(tmp_path_factory):
    return undisturbed(LONG, tmp_path_factory.mktemp("long"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_locally_saves_everything_when_told_to_stop(tmp_path, expected_long, number):
    flags = f"--results_dir={tmp_path}", "--", *LONG
    process = command("launch.locally", *flags)
    wait_for_rows(tmp_path, [process])
    process.send_signal(number)
    out, _ = ended(process, status=130 if number == signal.SIGINT else 0)
    assert "run the same command to go on" in out
    ended(command("launch.locally", *flags))
    assert rows(tmp_path) == expected_long


def test_one_process_told_to_end_saves_and_exits_0(tmp_path, expected_long):
    flags = *LONG[1:], f"--results_dir={tmp_path}"
    process = command(LONG[0], *flags)
    wait_for_rows(tmp_path, [process])
    process.send_signal(signal.SIGTERM)
    out, _ = ended(process)
    assert "run the same command to go on" in out
    ended(command(LONG[0], *flags))
    assert rows(tmp_path) == expected_long


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], 1),
        (["--together"], 1),
        pytest.param(["--together"], 0, marks=pytest.mark.campaign),
    ],
)
def test_two_processes_of_jax_distributed(tmp_path, expected_long, flags, told):
    """SIGTERM to one stops both; started again they go on, to the same rows."""
    processes = hosts(tmp_path, *flags, sweep=LONG)
    wait_for_rows(tmp_path, processes)
    processes[told].send_signal(signal.SIGTERM)
    for process in processes:
        ended(process)
    assert sum(record.end is not None for record in results.read_directory(tmp_path)) < 4
    for process in hosts(tmp_path, *flags, sweep=LONG):
        ended(process)
    assert rows(tmp_path) == expected_long


@pytest.mark.parametrize(
    ("module", "flags", "said"),
    [
        ("locally", ["--results_dir=rows"], "say behind --"),
        ("locally", ["--", *SWEEP], "--results_dir: missing"),
        ("locally", ["--results_dir=rows", "--", "os"], "must be an experiment"),
        ("locally", ["--results_dir=rows", "--", "experiments.nothing"], "no such experiment"),
        ("locally", ["--results_dir=rows", "--", "experiments.figures"], "runs no trials"),
        ("locally", ["--results_dir=rows", "--", *SWEEP, "--minutes=3"], "the launcher's"),
        ("locally", ["--results_dir=rows", "--", *SWEEP, "--sneeds=3"], "--sneeds: not a flag"),
        ("locally", ["--results_dir=rows", "--", *SWEEP, "--gaps=0"], "--gaps"),
        ("locally", ["--results_dir=rows", "--", *SWEEP, "--help"], "--help: runs nothing"),
        (
            "locally",
            ["--results_dir=rows", "--", *SWEEP, "--flagfile=own"],
            "--flagfile=own: write",
        ),
        ("locally", ["--results_dir=/dev/null", "--dry_run", "--", *SWEEP], "is not a directory"),
        ("locally", ["--results_dir=gs://", "--dry_run", "--", *SWEEP], "gs://BUCKET"),
        ("locally", ["--results_dir=rows", "--workers=x", "--", *SWEEP], "--workers"),
        ("locally", ["--results_dir=s3://b/c", "--", *SWEEP], "must be a local directory or gs://"),
        ("locally", ["--results_dir=rows", "--max_hours=0", "--", *SWEEP], "--max_hours"),
        ("each_host", ["--results_dir=rows", "--process=1", "--", *SWEEP], "give all three"),
        (
            "each_host",
            ["--results_dir=rows", "--", *SWEEP],
            "--process: missing; only on Cloud TPU",
        ),
        ("each_host", [*FIRST, "--coordinator=here", "--", *SWEEP], "must be HOST:PORT"),
        ("each_host", [*FIRST, "--process=2", "--", *SWEEP], "below --processes=2"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path, module, flags, said):
    _, err = ended(command(f"launch.{module}", *flags, cwd=tmp_path), status=2)
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_together_a_cohort_that_fails_ends_all_with_its_name(tmp_path):
    (tmp_path / "poison.py").write_text(POISON)
    sweep = [*SWEEP, f"--cell_file={tmp_path / 'poison.py'}", "--cells=poison,rnn", "--gaps=2"]
    for process in hosts(tmp_path / "rows", "--together", sweep=sweep):
        _, err = ended(process, status=1)
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "gap 2 poison: ValueError: too bad; --together ends here" in line


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_that_stays_alone_is_one_line(tmp_path, process):
    own = f"--coordinator=localhost:{free_port()}", f"--process={process}", "--wait_seconds=3"
    flags = [*FIRST, *own, "--", *SWEEP]
    _, err = ended(command("launch.each_host", *flags, cwd=tmp_path), status=1)
    assert re.fullmatch(r"error: --coordinator=\S+: not all processes met within 3 s .*\n", err)
    assert list(tmp_path.iterdir()) == []


def test_workers_share_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr("launch.locally.visible_gpus", list)
    assert places(2) == [Place(frozenset({0, 2}), None), Place(frozenset({1, 3}), None)]
    assert [place.cores for place in places(0)] == [frozenset({i}) for i in range(4)]
    assert len(places(6)) == 6
    monkeypatch.setattr("launch.locally.visible_gpus", lambda: ["0", "3"])
    assert [place.gpu for place in places(0)] == ["0", "3"]
    assert [place.gpu for place in places(3)] == ["0", "3", "0"]


def test_workers_answer_in_lines(tmp_path):
    job = {"experiment": SWEEP[0], "arguments": SWEEP[1:], "results_dir": str(tmp_path)}
    process = command("launch.worker", stdin=subprocess.PIPE)
    process.stdin.write(json.dumps(job) + "\nnot-a-cohort\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    out, _ = ended(process)  # its input has ended
    assert out == ""
    assert answer["program_id"] == "not-a-cohort"
    assert "is this the same code" in answer["answer"]
