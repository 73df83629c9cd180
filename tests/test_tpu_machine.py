"""What is sent to the machines of a TPU slice, and what their start-up script does with it."""

import contextlib
import hashlib
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO

import pytest
from paper_machine import Machine, make_checkout

from launch import on_cloud_tpu, shipping
from lstm_jax.errors import InputError

RECORD = """
    echo "$LSTM_JAX_COMMIT" > "$FAKES/commit"
    printf '%s\\0' "$@" >> "$FAKES/arguments"; printf '\\n\\0' >> "$FAKES/arguments"
    case "$*" in *--dry_run*) echo "1 trials, rows go to x; 0 cohorts to run" ;; esac"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def machine(tmp_path):
    with contextlib.closing(Machine(tmp_path / "machine")) as paper:
        yield paper


def test_the_parcel_is_what_git_tracks_and_the_users_files(checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "odd helper").mkdir()
    cell = tmp_path / "odd helper" / "my_cell.py"
    cell.write_text("import beside_it\n")
    (tmp_path / "beside_it.py").write_text("LEAK = 1\n")
    monkeypatch.setitem(sys.modules, "beside_it", __import__("beside_it"))
    (checkout / "secret_key.json").write_text("{}")
    (checkout / "launch" / "forgotten.py").write_text("")
    arguments = ["--seeds=2", "--cell_file", str(cell), f"--task_file={cell}", "--cells=a'b$(c)"]
    parcel = shipping.pack(str(checkout), arguments)
    assert parcel == shipping.pack(str(checkout), arguments)  # the same bytes, at any time
    (checkout / "launch" / "forgotten.py").unlink()
    with tarfile.open(fileobj=BytesIO(parcel.data)) as archive:
        names = archive.getnames()
        assert archive.extractfile("beside_it.py").read() == b"LEAK = 1\n"
        assert archive.extractfile("shipped/cell_file/my_cell.py").read() == cell.read_bytes()
    assert "launch/each_host.py" in names
    assert "secret_key.json" not in names
    assert parcel.left_out == ["launch/forgotten.py"]
    assert parcel.arguments == [
        "--seeds=2", "--cell_file", "shipped/cell_file/my_cell.py",
        "--task_file=shipped/task_file/my_cell.py", "--cells=a'b$(c)",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [["--cell_file=/no/such.py"], []])
def test_what_cannot_be_sent_is_said(tmp_path, checkout, arguments):
    root = checkout if arguments else tmp_path
    with pytest.raises(InputError, match="cannot be read" if arguments else "not a git checkout"):
        shipping.pack(str(root), arguments)


def job_for(tmp_path, data=b"", **changed):
    code = tmp_path / "code.tar.gz"
    code.write_bytes(data or shipping._tar({"launch/x.py": b""}))
    return {
        "run": str(tmp_path / "run"), "code": str(code),
        "sha256": hashlib.sha256(code.read_bytes()).hexdigest(), "commit": "c" * 40, "until": 0,
        "before": [], "behind": [], "name": "n", "project": "p", "zone": "z", "tries": 2,
        "pause": 0, "linger": 0, **changed,
    }  # fmt: skip


def test_the_start_up_script_is_bash():
    assert subprocess.run(["bash", "-n", on_cloud_tpu.TEMPLATE]).returncode == 0


ODD = [
    "a b",
    "",
    "'",
    '"',
    "$(touch pwned)",
    "`x`",
    "\\",
    "new\nline",
    "ü≈",
    "*",
    "-n",
    "%s",
    ";&|",
]


def test_odd_arguments_survive_the_start_up_script(tmp_path, machine):
    before = ["-m", "launch.each_host", *[f"--results_dir={text}" for text in ODD]]
    job = job_for(tmp_path, before=before, behind=ODD)
    assert machine(job, RECORD).wait(timeout=60) == 0
    first, second = calls(machine.folder / "arguments")
    assert first == [*before, "--", *ODD]
    assert second == [*before, "--dry_run", "--", *ODD]
    assert (machine.folder / "commit").read_text() == "c" * 40 + "\n"
    assert not list(machine.folder.rglob("pwned"))
    said = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert said == ["0.done", "0.log", "0.started"]
    # The launcher is gone: the machine deletes its own slice.
    last = (machine.folder / "gcloud.log").read_text().splitlines()[-1].split("\0")[:-1]
    assert last[:5] == ["compute", "tpus", "queued-resources", "delete", "n"]
    assert "--force" in last


def calls(path):
    found, current = [], []
    for word in path.read_bytes().decode().split("\0")[:-1]:
        if word == "\n":
            found.append(current)
            current = []
        else:
            current.append(word)
    return found


def test_failures_are_bounded_and_told(tmp_path, machine):
    job = job_for(tmp_path, before=["-m", "launch.each_host"])
    each_host = 'echo x >> "$FAKES/tried"; echo "error: it is broken"; exit 3'
    assert machine(job, each_host).wait(timeout=60) == 0
    assert (machine.folder / "tried").read_text() == "x\nx\n"
    assert (tmp_path / "run" / "0.failed").exists()
    assert "it is broken" in (tmp_path / "run" / "0.log").read_text()


def test_a_damaged_parcel_is_not_run(tmp_path, machine):
    job = job_for(tmp_path, before=["-m", "launch.each_host"], sha256="0" * 64)
    assert machine(job, RECORD).wait(timeout=60) == 0
    assert not (machine.folder / "arguments").exists()
    assert (tmp_path / "run" / "0.failed").read_text() == "installing failed (try 2)\n"


def test_after_the_hours_nothing_is_begun(tmp_path, machine):
    job = job_for(tmp_path, before=["-m", "launch.each_host"], until=1)
    assert machine(job, RECORD).wait(timeout=60) == 0
    assert not (machine.folder / "arguments").exists()
    assert (tmp_path / "run" / "0.stopped").exists()


def test_sigterm_reaches_the_process_and_nothing_is_said_to_be_done(tmp_path, machine):
    each_host = (
        'trap \'echo told > "$FAKES/told"; exit 0\' TERM; touch "$FAKES/ready";'
        " while true; do sleep 0.05; done"
    )
    process = machine(job_for(tmp_path, before=["-m", "launch.each_host"]), each_host)
    until = time.time() + 60
    while not (machine.folder / "ready").exists() and time.time() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert (machine.folder / "told").exists()
    assert not (tmp_path / "run" / "0.done").exists()
