"""`launch.on_slurm`: submitit's local and debug executors, and a stand-in for Slurm."""

import os
import re
import signal
import sys
import time
import uuid

import pytest
from launching import (
    DEADLY,
    ENDLESS,
    SWEEP,
    command,
    ended,
    here,
    one_line,
    processes_with,
    rows,
    undisturbed,
    unfinished,
    wait_until,
)

from launch import on_slurm
from lstm_jax import results

pytest.importorskip("submitit")
pytestmark = pytest.mark.xdist_group("on_slurm")  # shares what its fixtures have run
SMALL = [*SWEEP, "--gaps=2"]
# Nobody solves it, and it takes a while.
HARD = [*SWEEP, "--updates=1000", "--task=recall:lead_in=2:symbols=32", "--gaps=60", "--cells=rnn"]
# Commands of Slurm, by the name this is called by. Elements of an array run one after another.
SLURM = r"""#!PYTHON
import os, re, subprocess, sys

here, name = os.path.split(os.path.abspath(sys.argv[0]))
with open(f"{here}/calls", "a") as calls:
    calls.write(" ".join([name, *sys.argv[1:]]) + "\n")
script = f"{here}/job.sh"
if name == "sbatch":
    text = open(sys.argv[1]).read()
    if "partition=full" in text:
        sys.exit("sbatch: error: invalid partition specified: full")
    open(script, "w").write(text)
    away = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen([f"{here}/slurmd"], **away)
    print("Submitted batch job 42")
elif name == "slurmd":
    count = re.search(r"--array=0-(\d+)", open(script).read())
    for i in range(int(count[1]) + 1):
        if os.path.exists(f"{here}/cancelled"):
            break
        own = {"SLURM_JOB_ID": "42", "SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": str(i)}
        subprocess.run(["bash", script], env={**os.environ, **own})
    open(f"{here}/ended", "w").close()
elif name == "srun":  # --unbuffered --output FILE --error FILE COMMAND ...
    os.execvp(sys.argv[6], sys.argv[6:])
elif name == "scancel":
    open(f"{here}/cancelled", "w").close()
elif name == "sacct":
    state = "CANCELLED by 0" if os.path.exists(f"{here}/ended") else "RUNNING"
    print(f"JobID|State\n42_[0-9]|{state}")
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(SMALL, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def expected_long(tmp_path_factory):
    return undisturbed(HARD, tmp_path_factory.mktemp("long"))


@pytest.fixture
def slurm(tmp_path):
    """A directory with the commands of Slurm, and the environment in which they are found."""
    directory = tmp_path / "slurm"
    directory.mkdir()
    for name in ("sbatch", "slurmd", "srun", "scancel", "sacct"):
        (directory / name).write_text(SLURM.replace("PYTHON", sys.executable))
        (directory / name).chmod(0o755)
    return directory, {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.filterwarnings("ignore:unclosed file")  # submitit leaves its logs open
def test_debug_runs_here_to_the_rows_of_the_experiment(tmp_path, expected, capfd):
    assert here(on_slurm, [f"--results_dir={tmp_path}", "--cluster=debug", "--", *SMALL]) == 0
    assert rows(tmp_path) == expected
    assert "4 trials: 4 finished, 0 of them failed, 0 left" in capfd.readouterr().out


def test_slurm_is_told_everything_and_runs_all_without_the_launcher(tmp_path, slurm, expected):
    directory, environment = slurm
    out, _ = ended(
        command(
            "launch.on_slurm", "--results_dir=rows", "--log_dir=logs", "--partition=small",
            "--account=lab/one", "--cpus_per_task=2", "--mem_gb=3", "--gpus_per_task=1",
            "--time_minutes=30", "--at_once=5", "--nowait",
            "--slurm_option=qos=low,comment=a b;c", "--", *SMALL,
            environment=environment, cwd=tmp_path,
        )
    )  # fmt: skip
    assert "submitted: 42_0 42_1" in out
    until = time.time() + 100
    while not (directory / "ended").exists():
        assert time.time() < until
        time.sleep(0.1)
    assert rows(tmp_path / "rows") == expected
    script = (directory / "job.sh").read_text()
    for option in (
        "partition=small", "account=lab/one", "cpus-per-task=2", "mem=3GB", "gpus-per-node=1",
        "time=30", "array=0-1%2", "requeue", "qos=low", "comment='a b;c'", "signal=USR2@90",
    ):  # fmt: skip
        assert f"#SBATCH --{option}\n" in script, option
    assert list((tmp_path / "logs").glob("*_submitted.pkl"))


def test_ctrl_c_saves_and_cancels(tmp_path, slurm):
    directory, environment = slurm
    flags = f"--results_dir={tmp_path / 'rows'}", "--", *ENDLESS
    process = command("launch.on_slurm", *flags, environment=environment)
    wait_until(unfinished(tmp_path / "rows"), process)
    process.send_signal(signal.SIGINT)
    out, _ = ended(process, status=130)
    assert "4 trials: 0 finished, 0 of them failed, 4 left" in out
    assert "scancel --state=PENDING 42\n" in (directory / "calls").read_text()
    begun = results.read_directory(tmp_path / "rows")
    assert {record.trial["cell"] for record in begun} == {"rnn"}  # the other element had not
    assert all(record.evaluations and not record.end for record in begun)


def test_what_sbatch_refuses_is_one_line(tmp_path, slurm, monkeypatch, capfd):
    monkeypatch.setenv("PATH", slurm[1]["PATH"])
    for name in ("PYTHONPATH", "XLA_FLAGS"):  # which the launcher sets for its jobs
        monkeypatch.setenv(name, os.environ.get(name, ""))
    flags = f"--results_dir={tmp_path / 'rows'}", "--partition=full", "--", *SWEEP
    status, error = one_line(on_slurm, flags, capfd)
    assert status == 1
    assert "invalid partition specified: full" in error


def test_a_preempted_job_goes_on(tmp_path, expected_long):
    """By the signal that Slurm sends, in the middle of a cohort."""
    mark = f"LSTM_JAX_TEST_MARK={uuid.uuid4()}"
    process = command(
        "launch.on_slurm", f"--results_dir={tmp_path}", "--cluster=local", "--retries=0", "--",
        *HARD, environment=dict([mark.split("=")]),
    )  # fmt: skip

    def elements():
        return {k for k, line in processes_with(mark).items() if "submitit.core._submit" in line}

    wait_until(elements, process)
    before = elements()
    wait_until(unfinished(tmp_path), process)
    for pid in before:
        os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: elements() and not elements() & before, process)
    assert any(not record.end for record in results.read_directory(tmp_path))
    out, _ = ended(process)
    assert "2 trials: 2 finished, 0 of them failed, 0 left" in out
    assert rows(tmp_path) == expected_long
    logs = "".join(path.read_text() for path in (tmp_path / ".launch").rglob("*_log.out"))
    assert logs.count("Requeued job") == len(before)


def test_a_poison_cohort_is_named_after_its_retries_and_takes_none_along(tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY.replace("MARK", "None"))
    sweep = [*SWEEP, "--cells=rnn", "--gaps=2", f"--cell_file={tmp_path / 'deadly.py'}"]
    out, _ = ended(
        command(
            "launch.on_slurm", f"--results_dir={tmp_path / 'rows'}", "--cluster=local",
            "--cohorts_per_job=2", "--retries=1", "--", *sweep,
        ),
        status=1,
    )  # fmt: skip
    assert re.search(r"failed: recall\S+ gap 2 deadly: its job \d+ broke off; .*\(2 times\)", out)
    assert "4 trials: 2 finished, 0 of them failed, 2 left" in out


def test_dry_run_says_what_would_be_submitted(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    flags = "--results_dir=rows", "--cohorts_per_job=3", "--partition=p", "--dry_run", "--", *SWEEP
    assert here(on_slurm, flags) == 0
    out = capfd.readouterr().out
    assert "slurm_partition=p" in out
    assert [line.count("-gap") for line in out.splitlines() if "element" in line] == [3, 1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--results_dir=rows"], "there is no sbatch here"),
        (["--results_dir=rows", "--cluster=pbs"], "--cluster"),
        (["--results_dir=rows", "--partition=a b"], "--partition"),
        (["--results_dir=rows", "--slurm_option=qos"], "KEY=VALUE"),
        (["--results_dir=rows", "--slurm_option=qos=a,qos=b"], "given twice"),
        (["--results_dir=rows", "--slurm_option=qos=a\nb"], "KEY=VALUE"),
        (["--results_dir=rows", "--time_minutes=0"], "--time_minutes"),
        (["--results_dir=rows", "--cluster=debug", "--nowait"], "--nowait"),
        (["--results_dir=rows", "--nowait", "--max_hours=1"], "--max_hours: needs the launcher to"),
        (
            ["--results_dir=rows", "--nowait", "--retries=1"],
            "--retries: needs the launcher to wait",
        ),
        (
            ["--results_dir=rows", "--slurm_option=time=3"],
            "--slurm_option=time: the launcher's own",
        ),
        (["--results_dir=rows", "--slurm_option=cpus_per_task=3"], "--slurm_option=cpus_per_task"),
        (
            ["--results_dir=rows", "--cluster=local", "--log_dir=/dev/null/x"],
            "--log_dir: /dev/null/x",
        ),
        (["--results_dir=gs://bucket/rows"], "--log_dir: missing"),
        (["--results_dir=rows", "--log_dir=gs://bucket/logs"], "--log_dir"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path, monkeypatch, capfd, flags, said):
    monkeypatch.chdir(tmp_path)
    status, error = one_line(on_slurm, [*flags, "--", *SWEEP], capfd)
    assert status == 2, error
    assert said in error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "submitit", None)
    status, error = one_line(on_slurm, [f"--results_dir={tmp_path}", "--", *SWEEP], capfd)
    assert status == 2
    assert "pip install 'lstm_jax[slurm]'" in error
