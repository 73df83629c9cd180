"""Result rows: what is written, and how it is read back. Needs no JAX.

One JSON-lines file a trial, `<directory>/<trial_id>.jsonl`: a `trial` line, `evaluation` lines, an
`end` line. A trial whose budget was raised after its end goes on below that line and ends again;
the last `end` is the one that counts. `docs/results_format.md` describes every field.

A results file is data from a stranger: nothing in it is trusted before `read` has checked it.
"""

import contextlib
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from etils import epath

from lstm_jax.errors import InputError

SCHEMA = 1
SUFFIX = ".jsonl"
MANIFEST = "manifest.json"
_MAX_FILE_BYTES = 64 * 2**20
_MAX_LINE_CHARACTERS = 2**20
_MAX_NUMBER = 1e16
_TRIAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,199}")

Row = dict[str, Any]

_NUMBER = (int, float)
_OPTIONAL_NUMBER = (int, float, type(None))
_OPTIONAL_WHOLE = (int, type(None))
_OPTIONAL_STRING = (str, type(None))

# The fields of each kind of line and the types that they may have. Others may stand beside them:
# a reader of version 1 leaves them alone.
FIELDS: dict[str, dict[str, Any]] = {
    "trial": {
        "schema": int,
        "trial_id": str,
        "task": str,
        "gap": int,
        "cell": str,
        "layers": int,
        "hidden_size": int,
        "embedding_size": int,
        "optimizer": str,
        "learning_rate": _NUMBER,
        "clip": str,
        "batch_size": int,
        "eval_every": int,
        "seed": int,
        "matmul_precision": str,
        "cell_file_sha256": str,
        "task_file_sha256": str,
        "cell_options": dict,
        "task_options": dict,
        "told_gap": bool,
        "match": str,
        "swept_by": str,
        "minimal_lag": _OPTIONAL_WHOLE,
        "length": int,
        "chance": _NUMBER,
        "blind_loss": _NUMBER,
        "solved_at": _NUMBER,
        "stop_at": _NUMBER,
        "parameters": int,
        "carry_size": int,
        "flops_per_step": _OPTIONAL_NUMBER,
        "provenance": dict,
    },
    "evaluation": {
        "trial_id": str,
        "update": int,
        "sequences": int,
        "evaluated_gap": int,
        "train_loss": _OPTIONAL_NUMBER,
        "monitor_loss": _OPTIONAL_NUMBER,
        "monitor_accuracy": _OPTIONAL_NUMBER,
        "gradient_norm": _OPTIONAL_NUMBER,
        "cohort_seconds": _NUMBER,
        "cohort_size": int,
        "compile_seconds": _NUMBER,
    },
    "end": {
        "trial_id": str,
        "update": int,
        "sequences": int,
        "budget": int,
        "evaluated_gap": int,
        "status": str,
        "stopped_by": str,
        "reason": _OPTIONAL_STRING,
        "accuracy": _OPTIONAL_NUMBER,
        "loss": _OPTIONAL_NUMBER,
        "first_solved_update": _OPTIONAL_WHOLE,
    },
}
_SHARES = ("accuracy", "monitor_accuracy", "chance", "solved_at", "stop_at")
STATUSES = ("solved", "unsolved", "failed")
STOPPED_BY = ("monitor", "budget", "non-finite")


class Record(NamedTuple):
    """One trial as read from its file.

    Attributes:
      trial: the `trial` line.
      evaluations: the `evaluation` lines, in order of update.
      ends: every `end` line, in order; more than one where the budget was raised.
    """

    trial: Row
    evaluations: tuple[Row, ...]
    ends: tuple[Row, ...]

    @property
    def end(self) -> Row | None:
        """The line that ends the trial; None while it is under way."""
        if not self.ends or (
            self.evaluations and self.evaluations[-1]["update"] > self.ends[-1]["update"]
        ):
            return None
        return self.ends[-1]


class CorruptFileError(InputError):
    """A results file whose first line is not a trial: nothing in it can be used."""


class ResultsWarning(UserWarning):
    """Something in a results directory was passed over; the message names it."""


def writable_directory(directory: epath.PathLike) -> epath.Path:
    """Makes a results directory if need be.

    Raises:
      InputError: it is on an object store, which holds no locks, or cannot be made or written.
    """
    path = epath.Path(directory)
    if not os.fspath(directory) or "://" in os.fspath(directory):
        raise InputError(f"{os.fspath(directory)!r}: must be a local directory")
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{os.getpid()}"
        write_text(probe, "")
        probe.unlink()
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror})") from error
    return path


def trial_path(directory: epath.PathLike, trial_id: str) -> epath.Path:
    """Where the rows of a trial are.

    Raises:
      InputError: an id that could not have come from `Trial.id` (path tricks among them).
    """
    if not _TRIAL_ID.fullmatch(trial_id):
        raise InputError(f"trial_id={trial_id!r:.80}: not an id of a trial")
    return epath.Path(directory) / (trial_id + SUFFIX)


def write_rows(path: epath.PathLike, rows: Iterable[Row]) -> None:
    """Writes the file whole, so that a reader sees the old rows or the new ones, never a part.

    Raises:
      OSError: as from the file system (disk full, read-only, gone).
    """
    text = "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
    write_text(path, text)


def write_text(path: epath.PathLike, text: str) -> None:
    """Writes a file whole: temporary file, fsync, replace; one object put on an object store."""
    path = epath.Path(path)
    if "://" in os.fspath(path):
        path.write_text(text)
        return
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # those of fsync do not name the file
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def finite(value: float) -> float | None:
    """The value as JSON can hold it: None where it is infinite or not a number."""
    value = float(value)
    return value if math.isfinite(value) else None


def read(path: epath.PathLike) -> Record:
    """Reads one file, as far as it goes.

    A line that is torn or out of form ends the reading with a `ResultsWarning`; what stands above
    it counts.

    Raises:
      CorruptFileError: the first line is not a trial's, or its id is not the file's name.
    """
    path = epath.Path(path)
    if path.is_dir():
        raise CorruptFileError(f"{path}: a directory")
    if path.stat().length > _MAX_FILE_BYTES:
        raise CorruptFileError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    lines = path.read_bytes().decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    trial, evaluations, ends = None, [], []
    for number, line in enumerate(lines, start=1):
        try:
            row = _parse(line)
            if trial is None:
                trial = _checked_trial(row, path)
            elif row["trial_id"] != trial["trial_id"]:
                raise ValueError("belongs to another trial")
            elif row["kind"] == "evaluation":
                if evaluations and row["update"] <= evaluations[-1]["update"]:
                    raise ValueError("updates do not rise")
                evaluations.append(row)
            elif row["kind"] == "end":
                ends.append(row)
            else:
                raise ValueError("a second trial line")
        except ValueError as error:
            if trial is None:
                raise CorruptFileError(f"{path}: line {number}: {error}") from error
            _warn(f"{path}: read up to line {number}: {error}")
            break
    return Record(trial, tuple(evaluations), tuple(ends))


def read_directory(directory: epath.PathLike) -> list[Record]:
    """Every trial in a directory, in order of id. Corrupt files are named in a `ResultsWarning` and
    passed over.

    Raises:
      InputError: no such directory.
    """
    directory = epath.Path(directory)
    if not directory.is_dir():
        raise InputError(f"results_dir={directory}: no such directory")
    records = []
    for path in sorted(directory.iterdir()):
        if path.name.endswith(SUFFIX):
            try:
                records.append(read(path))
            except CorruptFileError as error:
                _warn(str(error))
    return records


def write_manifest(directory: epath.PathLike, trial_ids: Sequence[str]) -> None:
    """Adds planned trials to the directory's manifest, so that a missing one is visible."""
    planned = read_manifest(directory)
    known = set(planned)
    added = [trial_id for trial_id in trial_ids if trial_id not in known]
    if added:
        text = json.dumps({"schema": SCHEMA, "trials": planned + added}, indent=1)
        write_text(epath.Path(directory) / MANIFEST, text + "\n")


def read_manifest(directory: epath.PathLike) -> list[str]:
    """Ids of every trial ever planned in a directory; empty, with a warning, if unreadable."""
    path = epath.Path(directory) / MANIFEST
    if not path.exists():
        return []
    try:
        trials = json.loads(path.read_text())["trials"]
        if not all(isinstance(name, str) and _TRIAL_ID.fullmatch(name) for name in trials):
            raise ValueError("an id that is none")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        _warn(f"{path}: passed over: {error}")
        return []
    return trials


def _parse(line: str) -> Row:
    """One line as a row of a known kind with fields of the right types.

    Raises:
      ValueError: it is not that.
    """
    if len(line) > _MAX_LINE_CHARACTERS:
        raise ValueError(f"longer than {_MAX_LINE_CHARACTERS} characters")
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"torn or not JSON ({error.msg})") from None
    kind = row.get("kind") if isinstance(row, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise ValueError("not a row of a known kind")
    for name, types in FIELDS[row["kind"]].items():
        if name not in row:
            raise ValueError(f"{name} is missing")
        value = row[name]
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            raise ValueError(f"{name} has the wrong type")
        if isinstance(value, int | float) and not abs(value) <= _MAX_NUMBER:
            raise ValueError(f"{name} is out of range")
        if name in _SHARES and value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is out of range")
    if row["kind"] == "end":
        if row["status"] not in STATUSES:
            raise ValueError(f"status {row['status']!r:.40}")
        if row["stopped_by"] not in STOPPED_BY:
            raise ValueError(f"stopped_by {row['stopped_by']!r:.40}")
    return row


def _checked_trial(row: Row, path: epath.Path) -> Row:
    if row["kind"] != "trial":
        raise ValueError("the first line is not a trial's")
    if row["schema"] != SCHEMA:
        raise ValueError(f"schema {row['schema']}: this version reads {SCHEMA}")
    if row["trial_id"] + SUFFIX != path.name or not _TRIAL_ID.fullmatch(row["trial_id"]):
        raise ValueError("the id is not the file's name")
    if row["gap"] < 1 or row["batch_size"] < 1 or row["length"] < 1:
        raise ValueError("gap, batch_size and length must be at least 1")
    return row


def _no_constant(name: str):
    raise ValueError(f"{name} is not JSON")


def _warn(message: str) -> None:
    warnings.warn(message, ResultsWarning, stacklevel=3)
