"""Files and leases on an object store that is slow, errs and forgets to answer; files on a disk."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import made_rows
import pytest
from etils import epath
from fake_gcs import BUCKET, running_store, store  # noqa: F401

from lstm_jax import locks, object_store, results, storage
from lstm_jax.errors import InputError
from lstm_jax.storage import Content, LostError

ROOT = Path(__file__).parent.parent
ODD = b"\r\n\x00\xff line \n\r\n\n"


@pytest.fixture(params=["disk", "gs"])
def directory(request, tmp_path):
    if request.param == "disk":
        return epath.Path(tmp_path)
    request.getfixturevalue("store")
    return epath.Path(f"gs://{BUCKET}/results")


def test_what_is_written_is_read(directory):
    assert storage.read(directory / "a", 100) is None
    for data in (b"", b"x", ODD, os.urandom(9 * 2**20)):
        version = storage.write(directory / "a", data)
        assert storage.read(directory / "a", len(data)) == Content(data, version)
    with pytest.raises(storage.TooLargeError, match="larger than 100 bytes"):
        storage.read(directory / "a", 100)
    storage.delete(directory / "a")
    storage.delete(directory / "a")
    assert storage.read(directory / "a", 100) is None


def test_names_are_those_of_the_directory_alone(directory):
    for name in ("b.jsonl", "a.jsonl", "c.json", "below/d.jsonl"):
        if not storage.is_remote(directory):
            Path(directory / name).parent.mkdir(exist_ok=True)
        storage.write(directory / name, "x")
    assert storage.names(directory, ".jsonl") == ["a.jsonl", "b.jsonl"]
    assert storage.names(str(directory) + "/", ".jsonl") == ["a.jsonl", "b.jsonl"]
    assert storage.names(directory / "none", "") == []
    assert storage.files(directory) == {
        "a.jsonl": 1, "b.jsonl": 1, "c.json": 1, "below/d.jsonl": 1
    }  # fmt: skip


def test_many_files_are_read_in_order(directory):
    for number in range(20):
        storage.write(directory / f"{number}", f"{number}")
    paths = [directory / f"{number}" for number in (*range(20), 99)]
    found = list(storage.read_all(paths, 2))
    assert [path for path, _ in found] == paths
    assert [content and content.data for _, content in found] == [
        *(str(number).encode() for number in range(20)), None
    ]  # fmt: skip
    errors = [error for _, error in storage.read_all(paths, 1) if isinstance(error, OSError)]
    assert len(errors) == 10


def test_damaged_things_are_set_aside_whole(directory):
    for name in ("x.jsonl", "x.jsonl", "d/1/a", "d/2"):
        if not storage.is_remote(directory):
            Path(directory / name).parent.mkdir(parents=True, exist_ok=True)
        storage.write(directory / name, name)
        if name == "x.jsonl":
            storage.set_aside(directory / name)
    storage.write(directory / "dd", "a neighbour")
    assert storage.set_aside(directory / "d").name == "d.corrupt-0"
    assert set(storage.files(directory)) == {
        "x.jsonl.corrupt-0", "x.jsonl.corrupt-1", "d.corrupt-0/1/a", "d.corrupt-0/2", "dd"
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["", "s3://bucket/x", "gs://", "gs:///x", "gs://B/x", "http://bucket/x", "gs://a b/x"]
)
def test_places_that_cannot_be(name):
    with pytest.raises(InputError, match="must be a local directory or gs://"):
        storage.usable_directory(name)
    with pytest.raises(InputError, match="must be a local directory or gs://"):
        results.read_directory(name)


def test_a_directory_is_tried(directory, store):  # noqa: F811
    assert storage.usable_directory(directory / "new") == directory / "new"
    assert storage.files(directory) == {}
    with pytest.raises(InputError, match=r"gs://nobody/x: cannot be written \(NotFound: 404"):
        storage.usable_directory("gs://nobody/x")
    store.fault = lambda method, path: "403"
    with pytest.raises(InputError, match=r"cannot be written \(Forbidden: 403"):
        storage.usable_directory(f"gs://{BUCKET}/x")


# --- an object store


def test_versions_keep_writers_apart(store):  # noqa: F811
    path = f"gs://{BUCKET}/a"
    first = storage.write(path, "one", 0)
    with pytest.raises(LostError, match="another process has written"):
        storage.write(path, "a longer two", 0)
    second = storage.write(path, "two", first)
    assert second != first
    assert object_store.version(path) == second
    with pytest.raises(LostError):
        storage.write(path, "three", first)
    object_store.delete(path, first)
    assert storage.read(path, 9) == Content(b"two", second)
    object_store.delete(path, second)
    assert object_store.version(path) is None
    with pytest.raises(LostError):
        storage.write(path, "three", second)


@pytest.mark.parametrize("fault", ["503", "reset", "lost"])
def test_errors_in_between_change_nothing(store, fault):  # noqa: F811
    path = f"gs://{BUCKET}/a"
    for number in range(3):
        faults = iter([fault])
        store.fault = lambda method, path, faults=faults: next(faults, None)
        there = storage.read(path, 9)
        assert there == (None if number == 0 else Content(b"%d" % (number - 1), version))
        faults = iter([fault])
        store.fault = lambda method, path, faults=faults: next(faults, None)
        version = storage.write(path, f"{number}", 0 if there is None else there.version)
    faults = iter([fault])
    object_store.delete(path, version)
    assert storage.read(path, 9) is None


def test_a_long_list_comes_whole(store):  # noqa: F811
    for number in range(2500):
        item = {"name": f"r/{number}.jsonl", "generation": "1", "size": "0"}
        store.storage.create_file(BUCKET, item["name"], b"", item)
    assert len(storage.names(f"gs://{BUCKET}/r", ".jsonl")) == 2500
    assert store.requests["GET"] <= 4


def test_a_store_that_forgets_versions_is_refused(store, monkeypatch):  # noqa: F811
    storage.write(f"gs://{BUCKET}/a", "x")
    monkeypatch.setattr("fake_gcs._Handler.end_headers", lambda self: super(
        type(self).__mro__[1], self).end_headers())  # fmt: skip
    with pytest.raises(OSError, match="does not tell"):
        storage.read(f"gs://{BUCKET}/a", 9)


def test_the_manifest_keeps_what_two_writers_add(store):  # noqa: F811
    directory = f"gs://{BUCKET}/m"
    results.write_manifest(directory, ["a"])
    threads = [
        threading.Thread(target=results.write_manifest, args=(directory, [f"t{i}", "a"]))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results.read_manifest(directory)) == ["a", *(f"t{i}" for i in range(8))]


# --- leases


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(locks, "_SEEN", {})


def held_after_waiting(directory, name):
    """Tries until a lease is to be had; returns how often it was refused."""
    refused = 0
    while True:
        with locks.hold(directory, name) as held:
            if held:
                return refused
        refused += 1
        threading.Event().wait(0.05)


def test_a_lease_is_refused_while_it_is_renewed(directory, short):
    with locks.hold(directory, "c") as held:
        for _ in range(15):  # about twice as long as a lease lasts by itself
            with locks.hold(directory, "c") as other:
                assert other is None
            threading.Event().wait(0.05)
        held.check()
        with locks.hold(directory, "d") as other:
            assert other
    with locks.hold(directory, "c") as held:
        assert held
    assert [name for name in storage.files(directory) if name.endswith(".lease")] == []


def test_a_lease_that_nobody_renews_is_taken_over(store, short):  # noqa: F811
    directory = f"gs://{BUCKET}/r"
    for rubbish in (b"", b"\xff\x00" * 10, os.urandom(2**16), b"host process 1 abc 1\n"):
        storage.write(f"{directory}/.locks/c.lease", rubbish)
        assert held_after_waiting(directory, "c") >= 2
    with locks.wait(directory, "c"):
        assert locks.storage.read(f"{directory}/.locks/c.lease", 999) is not None


def test_renewals_survive_answers_that_are_lost(store, short, monkeypatch):  # noqa: F811
    """Even where the client gives up although the store has taken the renewal."""
    put = object_store.put
    given_up = iter([False, True, False, True, True])

    def forgetful(path, data, seen):
        version = put(path, data, seen)
        if next(given_up, False):
            raise OSError("no answer")
        return version

    monkeypatch.setattr(object_store, "put", forgetful)
    with locks.hold(f"gs://{BUCKET}/r", "c") as held:
        for _ in range(20):
            threading.Event().wait(0.05)
            with contextlib.suppress(OSError):
                held.check()
        held.check()
    assert next(given_up, None) is None


def test_of_many_threads_exactly_one_gets_a_lease(store):  # noqa: F811
    rounds, number, winners = 25, 8, []
    barrier = threading.Barrier(number)

    def race():
        for round_ in range(rounds):
            barrier.wait()
            with locks.hold(f"gs://{BUCKET}/r", f"c{round_}") as held:
                if held:
                    winners.append(round_)
                barrier.wait()

    threads = [threading.Thread(target=race) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(winners) == list(range(rounds))


RACER = """
import sys, time
from lstm_jax import locks, storage
directory, me, others, rounds = sys.argv[1], sys.argv[2], sys.argv[3].split(","), int(sys.argv[4])
for i in range(rounds):
    while True:  # a dead process's lease: taken over in odd rounds
        with locks.hold(directory, f"c{i}") as held:
            if held:
                storage.write(f"{directory}/won/{i}-{me}", "")
            if held or any(storage.names(f"{directory}/won", f"{i}-{other}") for other in others):
                storage.write(f"{directory}/tried/{i}-{me}", "")
                while not all(storage.read(f"{directory}/tried/{i}-{o}", 9) for o in others):
                    time.sleep(0.01)
                break
        time.sleep(0.01)
"""


def start(code, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, text=True,
        env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_of_two_processes_exactly_one_gets_or_takes_over_a_lease(store):  # noqa: F811
    directory, rounds = f"gs://{BUCKET}/race", 12
    for i in range(1, rounds, 2):
        storage.write(f"{directory}/.locks/c{i}.lease", "a dead process")
    lasting = {"LSTM_JAX_LEASE_SECONDS": "0.5"}
    racers = [start(RACER, directory, me, other, rounds, **lasting) for me, other in ("ab", "ba")]
    for racer in racers:
        racer.communicate(timeout=120)
        assert racer.returncode == 0
    won = sorted(int(name.partition("-")[0]) for name in storage.names(f"{directory}/won", ""))
    assert won == list(range(rounds))


HOLDER = """
import sys
from lstm_jax import locks, results
from lstm_jax.storage import LostError
directory, path, check_first = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
with locks.hold(directory, "c") as held:
    record, version = results.load(path)
    if check_first:
        held.check()
    print("held", flush=True)
    sys.stdin.readline()
    try:
        if not check_first:
            held.check()
        rows = [record.trial, *record.evaluations, *record.ends]
        results.write_rows(path, rows[:1], version)
        print("wrote")
    except LostError:
        print("lost")
"""


@pytest.mark.parametrize("check_first", [False, True])
def test_a_holder_that_was_stopped_for_long_writes_nothing(store, short, check_first):  # noqa: F811
    """Neither where it looks first, nor where it was stopped between looking and writing."""
    directory = epath.Path(f"gs://{BUCKET}/r")
    (record,) = made_rows.sweep({"lstm": {5: [1.0]}})
    path = results.trial_path(directory, record.trial["trial_id"])
    version = results.write_rows(path, [record.trial])
    arguments = (directory, path, check_first)
    holder = start(HOLDER, *arguments, LSTM_JAX_LEASE_SECONDS="1")
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    locks.LEASE_SECONDS = 1.0  # as `short` restores
    held_after_waiting(directory, "c")
    results.write_rows(path, [record.trial, *record.evaluations, *record.ends], version)
    holder.send_signal(signal.SIGCONT)
    out, _ = holder.communicate("go on\n", timeout=60)
    assert out == "lost\n"
    assert results.read(path) == record


# --- a disk


def test_what_is_written_has_the_permissions_that_the_user_wants(tmp_path):
    before = os.umask(0o027)
    try:
        (record,) = made_rows.sweep({"lstm": {5: [1.0]}})
        made_rows.write(tmp_path / "new", [record])
        with locks.hold(tmp_path / "new", "c"):
            found = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    finally:
        os.umask(before)
    assert len(found) == 5
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0, path


def test_nothing_is_written_through_a_link(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    directory = tmp_path / "results"
    directory.mkdir()
    for name in ("horizons.md", f"horizons.md.{os.getpid()}.tmp"):
        (directory / name).symlink_to(secret)
    storage.write(directory / "horizons.md", "new")
    assert (directory / "horizons.md").read_text() == "new"
    assert not (directory / "horizons.md").is_symlink()
    (tmp_path / "elsewhere").mkdir()
    (directory / ".locks").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(InputError, match="a link out of the results directory"),
        locks.hold(directory, "c"),
    ):
        pass
    assert secret.read_text() == "mine"
    assert list((tmp_path / "elsewhere").iterdir()) == []
    link = tmp_path / "link"  # the directory itself may well be one
    (directory / ".locks").unlink()
    link.symlink_to(directory)
    with locks.hold(link, "c") as held:
        assert held
