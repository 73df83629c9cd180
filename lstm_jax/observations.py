"""Rows of the experiments that are no sweep: one JSON file an observation. Needs no JAX.

An observation is something that is measured once: what is asked for is a frozen dataclass of JSON
scalars, and its row holds these, what came out, and provenance. A row that is there is not measured
again, so that whoever stops an experiment goes on where it was.
"""

import dataclasses
import hashlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from etils import epath

from lstm_jax import rows, storage
from lstm_jax.errors import InputError, printable
from lstm_jax.results import ResultsWarning
from lstm_jax.rows import Row

MOST_BYTES = 2**20  # of a row
_MOST_ROWS = 20_000
# Files of a results directory that are JSON and no observations.
_OTHERS = ("manifest.json", "results.parquet.json")
_NUMBER = (int, float)


class Asked(Protocol):
    """What is to be observed: a frozen dataclass of JSON scalars.

    Attributes:
      slug: the readable part of its file's name.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def slug(self) -> str: ...


class Kind(NamedTuple):
    """One experiment's observations.

    Attributes:
      name: `kind` of their rows.
      asked: the dataclass.
      told: by name, the types of the fields that an observation adds: `int`, `float` (any number),
        `bool`, `str`, `list` (of numbers, None or strings) or a tuple of such, with NoneType.
    """

    name: str
    asked: type[Asked]
    told: Mapping[str, Any]


def file_name(asked: Asked) -> str:
    """Of its row: a readable part, and a hash of everything asked."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(asked)).encode()).hexdigest()[:12]
    return f"{asked.slug}-{digest}.json"


def write(directory: epath.PathLike, kind: Kind, asked: Asked, told: Row) -> Row:
    """Writes an observation, and returns its row.

    Args:
      directory: of results.
      kind: whose it is.
      asked: what was.
      told: what came out, and provenance; numbers that JSON cannot hold are written as null.

    Raises:
      OSError: it cannot be written.
    """
    row = {"kind": kind.name, **dataclasses.asdict(asked), **_finite(told)}
    check(row, kind)
    fields = ",\n".join(
        f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in row.items()
    )
    storage.write(epath.Path(directory) / file_name(asked), f"{{\n{fields}\n}}\n")
    return row


def read(directory: epath.PathLike, kind: Kind, asked: Asked) -> Row | None:
    """The row of an observation; None where it was not made yet.

    Raises:
      InputError: its file holds something else, and is left as it is.
      OSError: it cannot be read.
    """
    path = epath.Path(directory) / file_name(asked)
    try:
        content = storage.read(path, MOST_BYTES)
        if content is None:
            return None
        row = rows.decode(content.data)
        check(row, kind)
        if any(row[name] != value for name, value in dataclasses.asdict(asked).items()):
            raise ValueError("of another observation")
    except (ValueError, storage.TooLargeError) as error:
        raise InputError(f"{path}: is no row of this experiment ({error}); move it away") from error
    return row


def read_all(directory: epath.PathLike, kinds: Sequence[Kind]) -> dict[str, list[Row]]:
    """The rows of a directory by kind, in order of their files' names; what is none of them is
    passed over with a `ResultsWarning`.

    Raises:
      InputError: no such directory.
    """
    directory = epath.Path(directory)
    known = {kind.name: kind for kind in kinds}
    found: dict[str, list[Row]] = {kind.name: [] for kind in kinds}
    names = [name for name in storage.names(directory, ".json") if name not in _OTHERS]
    for path, content in storage.read_all([directory / n for n in names[:_MOST_ROWS]], MOST_BYTES):
        try:
            if isinstance(content, OSError):
                raise ValueError(content.strerror or content)
            row = rows.decode(b"" if content is None else content.data)
            kind = known.get(row.get("kind")) if isinstance(row, dict) else None
            if kind is None:
                raise ValueError("not a row of a known kind")
            check(row, kind)
        except (ValueError, TypeError) as error:
            message = f"{path}: passed over: {printable(str(error))}"
            warnings.warn(message, ResultsWarning, stacklevel=2)
            continue
        found[kind.name].append(row)
    return {name: own for name, own in found.items() if own}


def check(row: Any, kind: Kind) -> None:
    """Raises ValueError unless this is a row of a kind."""
    if not isinstance(row, dict) or row.get("kind") != kind.name:
        raise ValueError(f"not of kind {kind.name}")
    asked = {field.name: field.type for field in dataclasses.fields(kind.asked)}
    for name, types in {**asked, **kind.told}.items():
        if name not in row:
            raise ValueError(f"{name} is missing")
        types = types if isinstance(types, tuple) else (types,)
        if not any(_is(row[name], one) for one in types):
            raise ValueError(f"{name} has the wrong type")


def _is(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, _NUMBER) and not isinstance(value, bool)
    if wanted is list:
        scalars = (*_NUMBER, str, type(None))
        return isinstance(value, list) and all(isinstance(item, scalars) for item in value)
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
