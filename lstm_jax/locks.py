"""Who may write a cohort's files: at most one process at a time.

On a disk, a lock of the operating system on a file beside the results. It ends with the process
that holds it, however that dies; one that is only stopped keeps it.

On an object store, a lease: an object that is there while its holder renews it. Whoever has seen it
unchanged for `LEASE_SECONDS` by a clock of its own takes it over, on condition that it is unchanged
still. A holder that was stopped for longer finds that out before it writes rows (`Held.check`), and
if it is stopped between looking and writing, the write itself fails (`storage.write`, `version`).
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator

from etils import epath
from filelock import FileLock, Timeout

from lstm_jax import object_store, storage
from lstm_jax.storage import LostError

# Long against a slow answer of the store, short against a trial.
LEASE_SECONDS = float(os.environ.get("LSTM_JAX_LEASE_SECONDS", "60"))
_MOST_BYTES = 4096


class Held:
    """A lock while it is held."""

    def check(self) -> None:
        """Raises LostError if another process may have taken it over."""


@contextlib.contextmanager
def hold(directory: epath.PathLike, name: str) -> Iterator[Held | None]:
    """Holds the lock `name` of a results directory while the context lasts, if it is free.

    Args:
      directory: of the results.
      name: of the cohort.

    Yields:
      The lock, None if it is not free.

    Raises:
      OSError: the directory cannot be written.
    """
    if storage.is_remote(directory):
        with _Lease(epath.Path(directory) / ".locks" / f"{name}.lease").held() as lease:
            yield lease
        return
    lock = _file_lock(directory, name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield None
        return
    try:
        yield Held()
    finally:
        lock.release()


@contextlib.contextmanager
def wait(directory: epath.PathLike, name: str) -> Iterator[None]:
    """Waits for the lock `name` and holds it; for what takes no time.

    Raises:
      OSError: the directory cannot be written.
    """
    if not storage.is_remote(directory):
        with _file_lock(directory, name):
            yield
        return
    while True:
        with hold(directory, name) as held:
            if held:
                yield
                return
        time.sleep(0.2)


def _file_lock(directory: epath.PathLike, name: str) -> FileLock:
    return FileLock(storage.subdirectory(directory, ".locks") / f"{name}.lock")


# By path: the version of another's lease, and when it was first seen here.
_SEEN: dict[str, tuple[int, float]] = {}


class _Lease(Held):
    """An object that its holder keeps renewing."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._owner = f"{socket.gethostname()} process {os.getpid()} {uuid.uuid4().hex}"
        self._renewals = 0
        self._version: int | None = None
        self._renewed_at = 0.0
        self._lost = False
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator["_Lease | None"]:
        """The lease while the context lasts; None if it is not to be had."""
        if not self._acquire():
            yield None
            return
        renewing = threading.Thread(target=self._keep, name="lease", daemon=True)
        renewing.start()
        try:
            yield self
        finally:
            self._ended.set()
            renewing.join()
            if not self._lost:
                with contextlib.suppress(OSError):  # then it runs out
                    object_store.delete(self._path, self._version)

    def check(self) -> None:
        """Raises LostError if another process may have taken it over."""
        if time.monotonic() - self._renewed_at > LEASE_SECONDS / 2:
            self._renew()
        if self._lost:
            raise LostError(f"{self._path}: another process has taken over this cohort")

    def _acquire(self) -> bool:
        there = object_store.version(self._path)  # whatever is in it
        key, now = os.fspath(self._path), time.monotonic()
        if there is not None:
            version, since = _SEEN.get(key, (None, now))
            if version != there:
                _SEEN[key] = there, now
                return False
            if now - since < LEASE_SECONDS:
                return False
        _SEEN.pop(key, None)
        self._version = there or 0
        self._renew()
        return not self._lost

    def _keep(self) -> None:
        while not self._ended.wait(LEASE_SECONDS / 4):
            with contextlib.suppress(OSError):  # the store may answer again before it runs out
                self._renew()

    def _renew(self) -> None:
        with self._one_at_a_time:
            asked_at = time.monotonic()
            self._renewals += 1
            text = f"{self._owner} {self._renewals}\n"
            try:
                try:
                    self._version = storage.write(self._path, text, self._version)
                except LostError:
                    # Perhaps a renewal of ours took effect although the store gave no answer.
                    self._version = self._own_version()
                    self._version = storage.write(self._path, text, self._version)
                self._renewed_at = asked_at
            except LostError:
                self._lost = True

    def _own_version(self) -> int:
        """The version of the lease there is; LostError if it is another's, or none."""
        with contextlib.suppress(storage.TooLargeError):
            there = storage.read(self._path, _MOST_BYTES)
            if there is not None and there.data.startswith(self._owner.encode()):
                return there.version
        raise LostError(f"{self._path}: another process has taken over this cohort")
