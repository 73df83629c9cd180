"""What happens to machines never loses or alters a result: `make faults`.

Each fault is done to the real commands, again and again at random moments, and at the end the rows
must be those of an undisturbed run: no trial lost, none twice, no value changed. Counts are printed
(`-s`). Minutes, so behind a marker.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import launching
import pytest

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parent.parent
SWEEP = [
    "experiments.gap_sweep", "--task=recall:lead_in=2:symbols=32", "--cells=rnn,gru", "--gaps=2,3",
    "--seeds=2", "--updates=6000", "--hidden_size=8", "--batch_size=8", "--eval_every=100",
    "--learning_rates=1e-6",
]  # fmt: skip
RANDOM = random.Random(0)
COUNTS: dict[str, int] = {}


@pytest.fixture(scope="module", autouse=True)
def counts():
    yield
    print("\nfaults done: " + ", ".join(f"{name} {count}" for name, count in COUNTS.items()))


def counted(name, count=1):
    COUNTS[name] = COUNTS.get(name, 0) + count


def start(module, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def alone(directory, **options):
    return start(SWEEP[0], *SWEEP[1:], f"--results_dir={directory}", **options)


def launched(directory, **options):
    flags = [f"--results_dir={directory}", "--workers=2", "--retries=1000"]
    return start("launch.locally", *flags, "--", *SWEEP, **options)


def finished(process, status=0):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == status, out
    assert "Traceback" not in out, out
    return out


def rows(directory):
    found = {}
    for lines in launching.rows(directory):
        name = lines[0]["trial_id"]
        assert name not in found, "a trial twice"
        found[name] = lines
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    finished(alone(directory))
    found = rows(directory)
    assert len(found) == 8
    assert all(len(lines) == 62 for lines in found.values())
    return found


def progress(directory):
    """Evaluations on disk: kills wait for some, so that each run gets somewhere."""
    return sum(path.read_bytes().count(b'"evaluation"') for path in Path(directory).glob("*.jsonl"))


def let_it_get_somewhere(directory, process, most=60):
    before, until = progress(directory), time.time() + most
    while process.poll() is None and progress(directory) <= before and time.time() < until:
        time.sleep(0.02)
    time.sleep(RANDOM.uniform(0, 0.4))


def workers_of(process):
    """Process ids of a launcher's workers."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process.pid}/task").glob("*/children")
        return [int(pid) for path in children for pid in path.read_text().split()]
    return []


def kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def test_kills_of_workers(tmp_path, undisturbed):
    process, kills = launched(tmp_path), 0
    while process.poll() is None and kills < 45:
        let_it_get_somewhere(tmp_path, process)
        if workers := workers_of(process):
            kill(RANDOM.choice(workers))
            kills += 1
    finished(process)
    counted("SIGKILL of a worker", kills)
    assert rows(tmp_path) == undisturbed
    assert kills >= 25


@pytest.mark.parametrize("kind", [alone, launched])
def test_kills_of_whole_runs(tmp_path, undisturbed, kind):
    kills = 0
    while kills < 40:
        process = kind(tmp_path)
        let_it_get_somewhere(tmp_path, process)
        if process.poll() is not None:
            break
        workers = workers_of(process)
        kill(process.pid)
        kills += 1
        process.communicate()
        if RANDOM.random() < 0.5:  # else the workers notice by themselves that nobody listens
            for pid in workers:
                kill(pid)
                counted("SIGKILL of a worker")
    finished(kind(tmp_path))
    counted(f"SIGKILL of a run ({kind.__name__})", kills)
    assert rows(tmp_path) == undisturbed
    assert kills >= 20


def test_kills_of_ray_workers_and_nodes(tmp_path):
    """With a longer sweep: Ray takes a while to notice, and to make a node."""
    pytest.importorskip("ray")
    sweep = [*SWEEP, "--updates=30000", "--eval_every=500"]
    expected = launching.undisturbed(sweep, tmp_path / "undisturbed")
    directory, mark = tmp_path / "rows", f"LSTM_JAX_TEST_MARK={uuid.uuid4()}"
    workers = nodes = 0
    with launching.ray_cluster(**dict([mark.split("=")])) as (order, address):
        flags = f"--address={address}", f"--results_dir={directory}", "--retries=1000"
        process = start("launch.on_ray", *flags, "--", *sweep)
        while process.poll() is None and workers < 20:
            let_it_get_somewhere(directory, process)
            found = launching.processes_with(mark)
            for pid in [pid for pid, name in found.items() if name.startswith("ray::recall")]:
                kill(pid)
                workers += 1
            if workers >= 4 * (nodes + 1):
                order("kill")
                order("add")
                nodes += 1
        finished(process)
    counted("SIGKILL of a Ray worker", workers)
    counted("Ray node killed", nodes)
    assert launching.rows(directory) == expected
    assert workers >= 8
    assert nodes >= 2


def test_sigterm_during_a_save(tmp_path, undisturbed):
    """SIGTERM whenever a temporary file or a half-made checkpoint is there to be seen."""
    count = 0
    for _ in range(15):
        process = alone(tmp_path)
        let_it_get_somewhere(tmp_path, process)
        until = time.time() + 5
        while process.poll() is None and time.time() < until:
            names = [name for _, dirs, files in os.walk(tmp_path) for name in dirs + files]
            if any("tmp" in name for name in names):
                break
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            count += 1
        finished(process)
    finished(alone(tmp_path))
    counted("SIGTERM during a save", count)
    assert rows(tmp_path) == undisturbed
    assert count >= 5


def test_a_stopped_process_keeps_others_out_until_it_goes_on(tmp_path, undisturbed):
    for _ in range(3):
        first = alone(tmp_path)
        let_it_get_somewhere(tmp_path, first)
        os.kill(first.pid, signal.SIGSTOP)
        second = alone(tmp_path)
        time.sleep(6)
        os.kill(first.pid, signal.SIGCONT)
        time.sleep(RANDOM.uniform(0, 1))
        kill(first.pid)
        first.communicate()
        let_it_get_somewhere(tmp_path, second, 10)
        kill(second.pid)
        second.communicate()
        counted("SIGSTOP")
    finished(alone(tmp_path))
    assert rows(tmp_path) == undisturbed


def test_two_launchers_at_once(tmp_path, undisturbed):
    for _ in range(2):
        both = [launched(tmp_path), launched(tmp_path), alone(tmp_path)]
        let_it_get_somewhere(tmp_path, both[0])
        kill(RANDOM.choice(both).pid)
        for process in both:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
        counted("two launchers at once")
    both = [launched(tmp_path), launched(tmp_path)]
    for process in both:
        finished(process)
    assert rows(tmp_path) == undisturbed


def damage(path, what):
    """Tears a file, flips bits in it, empties it, or fills it with noise."""
    data = bytearray(path.read_bytes())
    kind = RANDOM.choice(("torn", "flipped", "emptied", "noise"))
    if kind == "torn":
        data = data[: RANDOM.randrange(len(data) + 1)]
    elif kind == "flipped":
        for _ in range(RANDOM.randint(1, 8)):
            if data:
                data[RANDOM.randrange(len(data))] ^= 1 << RANDOM.randrange(8)
    elif kind == "emptied":
        data = bytearray()
    else:
        data = bytearray(RANDOM.randbytes(len(data)))
    path.write_bytes(bytes(data))
    counted(f"{what} {kind}")


@pytest.mark.parametrize("what", ["checkpoints", "rows"])
def test_damaged_files(tmp_path, undisturbed, what):
    for _ in range(12):
        process = alone(tmp_path)
        let_it_get_somewhere(tmp_path, process)
        kill(process.pid)
        process.communicate()
        found = (tmp_path / what).rglob("*") if what == "checkpoints" else tmp_path.glob("*.jsonl")
        files = sorted(path for path in found if path.is_file())
        for path in RANDOM.sample(files, min(3, len(files))):
            damage(path, what)
    finished(alone(tmp_path))
    assert rows(tmp_path) == undisturbed


def test_a_directory_that_vanishes(tmp_path, undisturbed):
    directory = tmp_path / "rows"
    for _ in range(4):
        process = alone(directory)
        let_it_get_somewhere(directory, process)
        shutil.rmtree(directory, ignore_errors=True)
        out, _ = process.communicate(timeout=120)
        assert process.returncode in (0, 1), out
        assert "Traceback" not in out, out
        assert process.returncode == 0 or out.count("error: ") == 1, out
        counted("directory vanished")
    shutil.rmtree(directory, ignore_errors=True)
    finished(alone(directory))
    assert rows(directory) == undisturbed


@contextlib.contextmanager
def mounted(directory, options):
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], capture_output=True
    )
    if done.returncode:
        pytest.skip("may not mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def remount(directory, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(directory)], check=True)


def test_a_disk_that_is_full_for_a_while(tmp_path, undisturbed):
    directory = tmp_path / "disk"
    with mounted(directory, "size=64m"):
        for _ in range(3):
            process = alone(directory)
            let_it_get_somewhere(directory, process)
            ballast = directory / "ballast"
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**12))
            out = finished(process, status=1)
            assert "No space left" in out
            ballast.unlink()
            counted("disk full")
        finished(alone(directory))
        assert rows(directory) == undisturbed


def test_a_directory_that_is_read_only_for_a_while(tmp_path, undisturbed):
    directory = tmp_path / "disk"
    with mounted(directory, "size=64m"):
        for _ in range(3):
            process = alone(directory)
            let_it_get_somewhere(directory, process)
            kill(process.pid)
            process.communicate()
            remount(directory, "ro")
            out, _ = alone(directory).communicate(timeout=120)
            assert "cannot be written" in out
            assert "Traceback" not in out
            remount(directory, "rw")
            counted("directory read-only")
        finished(alone(directory))
        assert rows(directory) == undisturbed
