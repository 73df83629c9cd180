"""One line of a results file: its fields, and how it is read from a stranger. Needs no JAX."""

import functools
import json
import math
import re
import zlib
from typing import Any

# Both bound how much memory a line takes for its length.
_MAX_LINE_BYTES = 2**16
_MAX_CONTAINERS = 100
_MAX_NUMBER = 1e16
_MAX_MEASURED = 3.5e38  # what float32 can hold: a network may explode and come back
_MAX_GAP = 1e9

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
    "retention": {
        "trial_id": str,
        "update": int,
        "evaluated_gap": int,
        "length": int,
        "chance": _NUMBER,
        "blind_loss": _NUMBER,
        "solved_at": _NUMBER,
        "solved": bool,
        "accuracy": _OPTIONAL_NUMBER,
        "loss": _OPTIONAL_NUMBER,
        "bits": _OPTIONAL_NUMBER,
        "bits_asked": _OPTIONAL_NUMBER,
    },
}
# Fields that rows have had since later; where they are, they have these types.
LATER_FIELDS: dict[str, dict[str, Any]] = {
    "trial": {"train_gaps": str, "eval_gaps": str, "unroll": str},
    "evaluation": {},
    "end": {"bits": _OPTIONAL_NUMBER, "bits_asked": _OPTIONAL_NUMBER},
    "retention": {},
}
_SHARES = ("accuracy", "monitor_accuracy", "chance", "solved_at", "stop_at")
# What counts begin at, where that is not 0; and what may be below 0.
_AT_LEAST_ONE = (
    "gap",
    "layers",
    "hidden_size",
    "batch_size",
    "eval_every",
    "length",
    "update",
    "sequences",
    "budget",
    "evaluated_gap",
    "cohort_size",
)
_ANY_SIGN = ("blind_loss", "train_loss", "monitor_loss", "loss", "bits")
_MEASURED = (*_ANY_SIGN, "gradient_norm", "bits_asked")
# The last field of a line: CRC-32 of the line as it would be without it.
_CHECKSUM = "crc32"
_AT_THE_END = re.compile(rb', "crc32": "([0-9a-f]{8})"}\Z')
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
STATUSES = ("solved", "unsolved", "failed")
STOPPED_BY = ("monitor", "budget", "non-finite")


def encode(row: Row) -> str:
    """A row as a line, with a checksum by which a flipped bit is noticed."""
    text = json.dumps(row, allow_nan=False, ensure_ascii=False)
    return f'{text[:-1]}, "{_CHECKSUM}": "{zlib.crc32(text.encode()):08x}"}}'


def has_checksum(line: bytes) -> bool:
    """Whether a line has one, right or wrong."""
    return _AT_THE_END.search(line) is not None


def decode(text: bytes) -> Any:
    """JSON of a stranger, of a length that the caller has looked at: numbers finite, no name given
    twice, few lists and objects.

    Raises:
      ValueError: it is not that.
    """
    if text.count(b"[") + text.count(b"{") > _MAX_CONTAINERS:
        raise ValueError("nested too deeply")
    try:
        value = _DECODER.decode(text.decode())
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair cannot be written
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"torn or not JSON ({error.msg})") from None
    return value


def parse(line: bytes) -> Row:
    """One line as a row of a known kind with fields of the right types, without its checksum.

    Raises:
      ValueError: it is not that, or not what was written.
    """
    checksum = _AT_THE_END.search(line)
    if checksum is not None:
        line = line[: checksum.start()] + b"}"
        if zlib.crc32(line) != int(checksum[1], 16):
            raise ValueError("altered since it was written")
    if len(line) > _MAX_LINE_BYTES:
        raise ValueError(f"longer than {_MAX_LINE_BYTES} bytes")
    row = decode(line)
    if isinstance(row, dict) and _CHECKSUM in row:
        raise ValueError("a checksum that is none")
    kind = row.get("kind") if isinstance(row, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        raise ValueError("not a row of a known kind")
    for name in FIELDS[kind]:
        if name not in row:
            raise ValueError(f"{name} is missing")
    for name, types in {**FIELDS[kind], **LATER_FIELDS[kind]}.items():
        if name not in row:
            continue
        value = row[name]
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            raise ValueError(f"{name} has the wrong type")
        if isinstance(value, int | float) and not _least(name) <= value <= _most(name):
            raise ValueError(f"{name} is out of range")
    if kind == "end":
        if row["status"] not in STATUSES:
            raise ValueError(f"status {row['status']!r:.40}")
        if row["stopped_by"] not in STOPPED_BY:
            raise ValueError(f"stopped_by {row['stopped_by']!r:.40}")
    return row


@functools.cache
def _least(name: str) -> float:
    return -_MAX_MEASURED if name in _ANY_SIGN else int(name in _AT_LEAST_ONE)


@functools.cache
def _most(name: str) -> float:
    if name in _SHARES:
        return 1
    if name in _MEASURED:
        return _MAX_MEASURED
    return _MAX_GAP if name == "gap" else _MAX_NUMBER


def _no_constant(name: str):
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number out of range")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):  # two readers might take different ones
        raise ValueError("a name given twice")
    return row


_DECODER = json.JSONDecoder(
    parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=_unique
)
