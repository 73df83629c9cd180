"""Who may write a cohort's files: at most one process at a time.

A lock of the operating system on a file beside the results. It ends with the process that holds it,
however that dies, so nothing is ever left locked.
"""

import contextlib
from collections.abc import Iterator

from etils import epath
from filelock import FileLock, Timeout


@contextlib.contextmanager
def hold(directory: epath.PathLike, name: str) -> Iterator[bool]:
    """Holds the lock `name` of a results directory while the context lasts, if it is free.

    Args:
      directory: of the results.
      name: of the cohort.

    Yields:
      Whether the lock is held.

    Raises:
      OSError: the directory cannot be written.
    """
    lock = _lock(directory, name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def wait(directory: epath.PathLike, name: str) -> FileLock:
    """A context that waits for the lock `name` and holds it; for what takes no time.

    Raises:
      OSError: the directory cannot be written.
    """
    return _lock(directory, name)


def _lock(directory: epath.PathLike, name: str) -> FileLock:
    folder = epath.Path(directory) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")
