"""Result rows: what is written, and how it is read back. Needs no JAX.

One JSON-lines file a trial, `<directory>/<trial_id>.jsonl`: a `trial` line, `evaluation` lines, an
`end` line, and below it, for a network that is asked at other gaps than it was trained on, one
`retention` line a gap. A trial whose budget was raised after its end goes on below these and ends
again; the last `end` is the one that counts. `docs/results_format.md` describes every field.

A results file is data from a stranger: nothing in it is trusted before `read` has checked it.
"""

import contextlib
import errno
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from etils import epath

from lstm_jax import storage
from lstm_jax.errors import InputError, printable
from lstm_jax.rows import FIELDS as FIELDS
from lstm_jax.rows import LATER_FIELDS as LATER_FIELDS
from lstm_jax.rows import STATUSES as STATUSES
from lstm_jax.rows import STOPPED_BY as STOPPED_BY
from lstm_jax.rows import Row, encode, has_checksum, parse

SCHEMA = 1
SUFFIX = ".jsonl"
MANIFEST = "manifest.json"
_MAX_FILE_BYTES = 16 * 2**20
_ORDER = ("evaluation", "end", "retention")  # of lines of one update, below the trial's
_TRIAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,199}")


class Record(NamedTuple):
    """One trial as read from its file.

    Attributes:
      trial: the `trial` line.
      evaluations: the `evaluation` lines, in order of update.
      ends: every `end` line, in order; more than one where the budget was raised.
      retention: every `retention` line, in order.
    """

    trial: Row
    evaluations: tuple[Row, ...]
    ends: tuple[Row, ...]
    retention: tuple[Row, ...] = ()

    @property
    def end(self) -> Row | None:
        """The line that ends the trial; None while it is under way."""
        if not self.ends or (
            self.evaluations and self.evaluations[-1]["update"] > self.ends[-1]["update"]
        ):
            return None
        asked = self.trial.get("eval_gaps")
        if asked and len(self._retained(self.ends[-1])) < len(asked.split(",")):
            return None  # torn behind the end
        return self.ends[-1]

    @property
    def retained(self) -> tuple[Row, ...]:
        """The `retention` lines that belong to `end`, by rising gap."""
        return () if self.end is None else self._retained(self.end)

    @property
    def lines(self) -> list[Row]:
        """All lines, in the order of the file: an end below the evaluation of its update, and what
        was retained below the end."""
        below = sorted(
            [*self.evaluations, *self.ends, *self.retention],
            key=lambda row: (row["update"], _ORDER.index(row["kind"])),
        )
        return [self.trial, *below]

    def _retained(self, end: Row) -> tuple[Row, ...]:
        return tuple(row for row in self.retention if row["update"] == end["update"])


class CorruptFileError(InputError):
    """A results file whose first line is not a trial: nothing in it can be used."""


class ResultsWarning(UserWarning):
    """Something in a results directory was passed over; the message names it."""


def trial_path(directory: epath.PathLike, trial_id: str) -> epath.Path:
    """Where the rows of a trial are.

    Raises:
      InputError: an id that could not have come from `Trial.id` (path tricks among them).
    """
    if not _TRIAL_ID.fullmatch(trial_id):
        raise InputError(f"trial_id={trial_id!r:.80}: not an id of a trial")
    return epath.Path(directory) / (trial_id + SUFFIX)


def write_rows(path: epath.PathLike, rows: Iterable[Row], version: int | None = None) -> int | None:
    """Writes the file whole, so that a reader sees the old rows or the new ones, never a part.

    Args:
      path: from `trial_path`.
      rows: all of the file's.
      version: what an object's version must be, as `storage.write` takes and returns it.

    Raises:
      LostError: another process has written the file.
      OSError: as from the file system or the store (disk full, read-only, gone).
    """
    text = "".join(encode(row) + "\n" for row in rows)
    return storage.write(path, text, version)


def finite(value: float) -> float | None:
    """The value as JSON can hold it: None where it is infinite or not a number."""
    value = float(value)
    return value if math.isfinite(value) else None


def load(path: epath.PathLike) -> tuple[Record | None, int | None]:
    """A trial's rows, None if it has no file; and the file's version, for `write_rows`.

    Raises:
      CorruptFileError: as from `read`.
    """
    path = epath.Path(path)
    try:
        content = storage.read(path, _MAX_FILE_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    if content is None:
        return None, 0
    return _parsed(path, content.data), content.version


def read(path: epath.PathLike) -> Record:
    """Reads one file, as far as it goes.

    A line that is torn or out of form ends the reading with a `ResultsWarning`; what stands above
    it counts.

    Raises:
      CorruptFileError: it is not a readable file, its first line is not a trial's, or its id is not
        the file's name.
      FileNotFoundError: no such file.
    """
    record, _ = load(path)
    if record is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    return record


def read_directory(
    directory: epath.PathLike, trial_ids: Sequence[str] | None = None
) -> list[Record]:
    """Every trial in a directory, in order of id, or those of `trial_ids` that are there. Corrupt
    files are named in a `ResultsWarning` and passed over.

    Raises:
      InputError: no such directory.
    """
    require_directory(directory)
    if trial_ids is None:
        found = storage.names(directory, SUFFIX)
        paths = [epath.Path(directory) / name for name in found]
    else:
        paths = [trial_path(directory, trial_id) for trial_id in trial_ids]
    records = []
    for path, content in storage.read_all(paths, _MAX_FILE_BYTES):
        try:
            if isinstance(content, OSError):
                raise _unreadable(path, content)
            if content is not None:  # else it went while we read
                records.append(_parsed(path, content.data))
        except CorruptFileError as error:
            _warn(str(error))
    return records


def require_directory(directory: epath.PathLike) -> None:
    """Raises InputError unless a results directory is there. On an object store there are no
    directories, only names that begin alike."""
    storage.require_known(directory)
    if not storage.is_remote(directory) and not os.path.isdir(directory):
        raise InputError(f"{directory}: no such directory; allowed is one that a sweep wrote")


def _unreadable(path: epath.Path, error: OSError) -> Exception:
    """What a file is that cannot be read: damaged, or out of reach for now."""
    damaged = (errno.EISDIR, errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.ENXIO)
    if error.errno in damaged:
        return CorruptFileError(printable(f"{path}: {error.strerror}"))
    return error


def _parsed(path: epath.Path, data: bytes) -> Record:
    lines = data.removesuffix(b"\n").split(b"\n")
    trial = None
    below: dict[str, list[Row]] = {kind: [] for kind in _ORDER}
    checked = has_checksum(lines[0])  # all lines are, or none
    for number, line in enumerate(lines, start=1):
        if has_checksum(line) and not checked:
            raise CorruptFileError(f"{path}: line 1: altered since it was written")
        try:
            row = parse(line)
            if checked and not has_checksum(line):
                raise ValueError("without a checksum")
            if trial is None:
                trial = _checked_trial(row, path)
            elif row["trial_id"] != trial["trial_id"]:
                raise ValueError("belongs to another trial")
            elif row["kind"] == "trial":
                raise ValueError("a second trial line")
            else:
                rows = below[row["kind"]]
                if rows and _place(row) <= _place(rows[-1]):
                    raise ValueError("updates do not rise")
                rows.append(row)
        except ValueError as error:
            if trial is None:
                raise CorruptFileError(printable(f"{path}: line {number}: {error}")) from error
            _warn(f"{path}: read up to line {number}: {error}")
            break
    return Record(trial, *(tuple(below[kind]) for kind in _ORDER))


def _place(row: Row) -> tuple[int, int]:
    """Where a line stands among those of its kind."""
    return row["update"], row["evaluated_gap"] if row["kind"] == "retention" else 0


def write_manifest(directory: epath.PathLike, trial_ids: Sequence[str]) -> None:
    """Adds planned trials to the directory's manifest, so that a missing one is visible. On a disk
    it is for the caller to keep other writers out."""
    path = epath.Path(directory) / MANIFEST
    while True:
        planned, version = _read_manifest(path)
        known = set(planned)
        added = [trial_id for trial_id in trial_ids if trial_id not in known]
        if not added:
            return
        text = json.dumps({"schema": SCHEMA, "trials": planned + added}, indent=1)
        with contextlib.suppress(storage.LostError):  # another process has added some: again
            storage.write(path, text + "\n", version)
            return


def read_manifest(directory: epath.PathLike) -> list[str]:
    """Ids of every trial ever planned in a directory; empty, with a warning, if unreadable."""
    planned, _ = _read_manifest(epath.Path(directory) / MANIFEST)
    return planned


def _read_manifest(path: epath.Path) -> tuple[list[str], int | None]:
    """The ids, and the version of the manifest, for `storage.write`."""
    version = None
    try:
        content = storage.read(path, _MAX_FILE_BYTES)
        if content is None:
            return [], 0
        version = content.version
        trials = json.loads(content.data.decode())["trials"]
        if not isinstance(trials, list):
            raise ValueError("trials are no list")
        if not all(isinstance(name, str) and _TRIAL_ID.fullmatch(name) for name in trials):
            raise ValueError("an id that is none")
    except OSError as error:
        damage = _unreadable(path, error)
        if damage is error:
            raise
        _warn(f"{damage}: passed over")
        return [], None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        _warn(f"{path}: passed over: {error}")
        return [], version
    return list(dict.fromkeys(trials)), version


def _checked_trial(row: Row, path: epath.Path) -> Row:
    if row["kind"] != "trial":
        raise ValueError("the first line is not a trial's")
    if row["schema"] != SCHEMA:
        raise ValueError(f"schema {row['schema']}: this version reads {SCHEMA}")
    if row["trial_id"] + SUFFIX != path.name or not _TRIAL_ID.fullmatch(row["trial_id"]):
        raise ValueError("the id is not the file's name")
    return row


def _warn(message: str) -> None:
    warnings.warn(printable(message), ResultsWarning, stacklevel=3)
