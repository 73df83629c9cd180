"""All rows of a results directory as one Parquet file, for whoever wants a table. Needs no JAX.

The rows stay where they are, and stay what counts: the file is made from them, and can be made
again.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from etils import epath

from lstm_jax import results, storage
from lstm_jax.errors import InputError, MissingExtraError
from lstm_jax.results import FIELDS, LATER_FIELDS, Record

TABLE = "results.parquet"
DESCRIPTION = TABLE + ".json"
# What a line of a trial is told by; the columns that every kind of line has.
_FIRST = ("trial_id", "kind")
_ROWS_A_GROUP = 2**17


def compact(directory: epath.PathLike) -> tuple[dict, list[epath.Path]]:
    """Writes `results.parquet`, and `results.parquet.json`, which describes it.

    Equal rows give equal bytes, with the same pyarrow. Trials come in order of id, the lines of
    each in order of update; each field of each kind of line is a column, empty where a line has no
    such field; options and provenance are JSON texts. Fields that this version does not know are
    left out.

    Returns:
      The description, and the paths of what was written.

    Raises:
      InputError: no such directory, or no readable results in it.
      MissingExtraError: pyarrow is not installed.
      OSError: it cannot be written.
    """
    _pyarrow()
    records = results.read_directory(directory)
    if not records:
        raise InputError(f"{directory}: holds no results; allowed is one that a sweep wrote")
    data = _parquet(records)
    lines = [row["kind"] for record in records for row in record.lines]
    description = {
        "schema": results.SCHEMA,
        "rows": {kind: lines.count(kind) for kind in FIELDS},
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "trials": [record.trial["trial_id"] for record in records],
    }
    path = epath.Path(directory) / TABLE
    storage.write(path, data)
    storage.write(epath.Path(directory) / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    return description, [path, epath.Path(directory) / DESCRIPTION]


def _columns() -> dict[str, object]:
    """The type of each field, by name: integer, number, true/false, or text."""
    columns: dict[str, object] = dict.fromkeys(_FIRST, str)
    for kind_of_line, fields in FIELDS.items():
        for name, types in (fields | LATER_FIELDS[kind_of_line]).items():
            kinds = set(types if isinstance(types, tuple) else (types,)) - {type(None)}
            kind = float if float in kinds else kinds.pop()
            assert columns.setdefault(name, kind) == kind, name
    return columns


def _parquet(records: Sequence[Record]) -> bytes:
    pyarrow, parquet = _pyarrow()
    types = {
        str: pyarrow.string(),
        dict: pyarrow.string(),
        bool: pyarrow.bool_(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
    }
    lines = [row for record in records for row in record.lines]
    arrays = {
        name: pyarrow.array((_cell(row.get(name), kind) for row in lines), types[kind])
        for name, kind in _columns().items()
    }
    buffer = io.BytesIO()
    parquet.write_table(
        pyarrow.table(arrays), buffer, compression="zstd", row_group_size=_ROWS_A_GROUP
    )
    return buffer.getvalue()


def _cell(value: object, kind: object) -> object:
    if kind is dict and value is not None:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return float(value) if kind is float and value is not None else value


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("a Parquet file", "parquet") from error
    return pyarrow, pyarrow.parquet
