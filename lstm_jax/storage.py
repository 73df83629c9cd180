"""Files of a results directory, on a disk or on an object store (`gs://`). Needs no JAX.

An object store has neither append nor rename nor locks, but each object is put whole, has a version
that every put changes, and can be put on condition that its version is still the one seen. On a
disk a file is replaced whole, and locks (`locks.py`) keep writers apart.
"""

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from etils import epath

from lstm_jax import object_store
from lstm_jax.errors import InputError
from lstm_jax.object_store import LostError as LostError

_AHEAD = 8 * object_store.READERS  # objects read before they are asked for


class Content(NamedTuple):
    """What a file held, and its version on an object store; None on a disk."""

    data: bytes
    version: int | None


class TooLargeError(OSError):
    """A file larger than anything this project writes."""


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is on an object store."""
    return "://" in os.fspath(path)


def read(path: epath.PathLike, most: int) -> Content | None:
    """A file's content, None where there is none.

    Raises:
      TooLargeError: it is larger than `most` bytes; no more than that is read.
      OSError: it cannot be read, as for a directory.
    """
    if is_remote(path):
        found = object_store.download(path, most + 1)
        content = found and Content(*found)
    else:
        content = _read(path, most + 1)
    if content is not None and len(content.data) > most:
        raise TooLargeError(errno.EFBIG, f"larger than {most} bytes", os.fspath(path))
    return content


def read_all(
    paths: Sequence[epath.Path], most: int
) -> Iterator[tuple[epath.Path, Content | OSError | None]]:
    """`read` of many files, in order; where one cannot be read, the error."""

    def one(path):
        try:
            return path, read(path, most)
        except OSError as error:
            return path, error

    if not paths or not is_remote(paths[0]):
        yield from map(one, paths)
        return
    object_store.client()  # what is wrong with it is said once, and it is made once
    with ThreadPoolExecutor(object_store.READERS) as readers:
        for start in range(0, len(paths), _AHEAD):
            yield from readers.map(one, paths[start : start + _AHEAD])


def names(directory: epath.PathLike, suffix: str) -> list[str]:
    """Names of a directory's own files that end in `suffix`, sorted; none if there is none."""
    if is_remote(directory):
        found = object_store.names(directory)
    else:
        try:
            found = os.listdir(directory)
        except FileNotFoundError:
            return []
    return sorted(name for name in found if name.endswith(suffix))


def files(directory: epath.PathLike) -> dict[str, int | None]:
    """Every file below a directory, by its name relative to that, and its size in bytes; None for
    what is neither a file nor a directory.

    Raises:
      OSError: it cannot be listed.
    """
    if is_remote(directory):
        _, key = object_store.split(directory)
        return {
            blob.name.removeprefix(f"{key}/"): blob.size for blob in object_store.below(directory)
        }
    found, folders = {}, [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(os.path.join(directory, folder)))
        except FileNotFoundError:
            continue
        for entry in entries:
            name = os.path.join(folder, entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            else:
                about = entry.stat(follow_symlinks=False)
                found[name] = about.st_size if stat.S_ISREG(about.st_mode) else None
    return found


def write(path: epath.PathLike, data: str | bytes, version: int | None = None) -> int | None:
    """Writes a file whole: temporary file, fsync, replace; or one object, put.

    Args:
      path: of the file.
      data: its content; text as UTF-8.
      version: on an object store, what the object's version must be: 0 for one that is not there,
        None for whatever it is.

    Returns:
      The version it has now; None on a disk.

    Raises:
      LostError: the version is another: somebody else has written.
      OSError: as from the file system (disk full, read-only, gone) or the store.
    """
    data = data.encode() if isinstance(data, str) else data
    if is_remote(path):
        return object_store.put(path, data, version)
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with contextlib.suppress(FileNotFoundError):  # left by a process of the same number
            os.unlink(temporary)
        with open(temporary, "xb") as file:  # never through a link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # those of fsync do not name the file
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    return None


def delete(path: epath.PathLike) -> None:
    """Removes a file if it is there."""
    if is_remote(path):
        object_store.delete(path, None)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def set_aside(path: epath.PathLike) -> epath.Path:
    """Gives a damaged file or directory another name, so that nothing of it is lost; returns it."""
    path, number = epath.Path(path), 0
    taken = object_store.below if is_remote(path) else os.path.lexists
    while taken(aside := path.with_name(f"{path.name}.corrupt-{number}")):
        number += 1
    if is_remote(path):
        object_store.move(path, aside)
    else:
        path.rename(aside)
    return aside


def require_known(directory: epath.PathLike) -> None:
    """Raises InputError unless a path is local or on `gs://`."""
    if not os.fspath(directory) or (is_remote(directory) and not object_store.is_known(directory)):
        raise InputError(
            f"{os.fspath(directory)!r:.200}: must be a local directory or gs://BUCKET/…"
        )


def require_directory_or_none(directory: epath.PathLike) -> None:
    """Raises InputError where a results directory cannot be, as is seen without making it: another
    store than `gs://`, or something that is no directory."""
    require_known(directory)
    if not is_remote(directory):
        path = pathlib.Path(directory)
        there = next((part for part in (path, *path.parents) if part.exists()), None)
        if there is not None and not there.is_dir():
            raise InputError(f"{directory}: cannot be made ({there} is not a directory)")


def usable_directory(directory: epath.PathLike) -> epath.Path:
    """Makes a results directory if need be, and tries to write into it.

    Raises:
      InputError: it cannot be made or written, or is on a store other than `gs://`.
      MissingExtraError: it is on `gs://`, and what reads that is not installed.
    """
    require_known(directory)
    path = epath.Path(directory)
    probe = path / f".writable.{os.getpid()}"
    try:
        if not is_remote(directory):
            path.mkdir(parents=True, exist_ok=True)
        write(probe, "")
        delete(probe)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror})") from error
    return path


def subdirectory(directory: epath.PathLike, *names: str) -> epath.Path:
    """Makes a directory within a results directory; on an object store there is nothing to make.

    Raises:
      InputError: a link leads out of the results directory.
      OSError: it cannot be made.
    """
    path = epath.Path(directory).joinpath(*names)
    if not is_remote(path):
        home = os.path.realpath(directory)
        if os.path.commonpath([home, os.path.realpath(path)]) != home:
            raise InputError(f"{path}: is a link out of the results directory")
        path.mkdir(parents=True, exist_ok=True)
    return path


def _read(path: epath.PathLike, most: int) -> Content | None:
    def unblocked(name, flags):  # a pipe would keep its reader waiting for ever
        return os.open(name, flags | os.O_NONBLOCK)

    try:
        with open(path, "rb", opener=unblocked) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
            return Content(file.read(most), None)
    except FileNotFoundError:
        return None
