"""Where data sets lie, and how they are generated, found and read.

All lie below one directory, in the layout of TensorFlow Datasets (TFDS): `data/` below the working
directory, or where the environment variable LSTM_JAX_DATA_DIR says. The place is no option of a
task, so it stands outside a trial's id. Files are array_record, the one format that TFDS writes
and reads without TensorFlow. Nothing here reaches the network.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import filelock
import numpy as np

from lstm_jax.datasets.tensorflow_free import without_tensorflow
from lstm_jax.errors import InputError, MissingExtraError

DIRECTORY_VARIABLE = "LSTM_JAX_DATA_DIR"
_FORMAT = "array_record"
_TFDS = "tensorflow_datasets"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CHUNK = 1024  # examples decoded at once


def directory() -> str:
    """The directory below which data sets lie."""
    return os.environ.get(DIRECTORY_VARIABLE) or "data"


def require(package: str, what: str) -> ModuleType:
    """Imports a package of the extra `data`.

    Args:
      package: to import.
      what: needs it, for the message.

    Raises:
      MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(what, "data") from error


def generated(builder_class: Callable[..., Any]) -> Any:
    """The builder of a set that we generate ourselves, generated now if it is not on disk.

    Of several processes that ask at once, one generates and the others wait for it. An interrupted
    one leaves nothing that the next would take for the set.

    Args:
      builder_class: a `tfds.core.GeneratorBasedBuilder` that downloads nothing.

    Raises:
      InputError: the directory cannot be written.
    """
    where = directory()
    builder = builder_class(data_dir=where, file_format=_FORMAT)
    if _on_disk(builder.data_dir):
        return builder  # before any lock: the directory may be read-only
    try:
        os.makedirs(where, exist_ok=True)
        with filelock.FileLock(os.path.join(where, f".{builder.name}.lock")):
            builder = builder_class(data_dir=where, file_format=_FORMAT)
            if not _on_disk(builder.data_dir):
                with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces itself
                    builder.download_and_prepare()
    except OSError as error:
        raise InputError(
            f"{where!r}: cannot be written ({error.strerror or error}); "
            f"{DIRECTORY_VARIABLE} names another directory for data sets"
        ) from error
    return builder


def prepared(name: str) -> Any:
    """The builder of a set of TFDS that somebody has prepared, its newest version.

    Args:
      name: as TFDS knows it, `mnist`, or `name/config`.

    Raises:
      InputError, MissingExtraError: as `require_prepared`.
      InputError: stored in another format; the message is the command that prepares it anew.
    """
    folder = require_prepared(name)
    tfds = require(_TFDS, f"data set {name}")
    with without_tensorflow():
        builder = tfds.builder_from_directory(folder)
    if builder.info.file_format.value != _FORMAT:
        raise InputError(
            f"data set {name}: stored as {builder.info.file_format.value} in {folder!r}, which "
            f"needs TensorFlow; remove it and, with a network, run once: {command(name)}"
        )
    return builder


def require_prepared(name: str) -> str:
    """The folder of the newest version of a set of TFDS on disk, found without importing TFDS.

    Args:
      name: as TFDS knows it.

    Raises:
      InputError: not on disk; the message is the command that prepares it. At once: TFDS itself
        retries the network for minutes.
      MissingExtraError: TFDS is not installed.
    """
    if importlib.util.find_spec(_TFDS) is None:
        raise MissingExtraError(f"data set {name}", "data")
    where = directory()
    folder = os.path.join(where, *name.split("/"))
    names = os.listdir(folder) if os.path.isdir(folder) else []
    versions = [
        entry
        for entry in names
        if _VERSION.fullmatch(entry) and _on_disk(os.path.join(folder, entry))
    ]
    if not versions:
        raise InputError(
            f"data set {name}: not in {where!r}; with a network, run once: {command(name)}"
        )
    newest = max(versions, key=lambda version: tuple(map(int, version.split("."))))
    return os.path.join(folder, newest)


def new_builder(name: str) -> Any:
    """A builder of TFDS that writes below `directory()` in the format read here; nothing is written
    yet.

    Raises:
      InputError: TFDS has no such set.
      MissingExtraError: TFDS is not installed.
    """
    tfds = require(_TFDS, f"data set {name}")
    set_name, _, config = name.partition("/")
    try:
        builder_class = tfds.builder_cls(set_name)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(f"data set {name!r:.80}: TFDS has none of this name") from error
    with without_tensorflow():
        return builder_class(data_dir=directory(), config=config or None, file_format=_FORMAT)


def command(name: str) -> str:
    """What a person runs once, where there is a network, to prepare a set of TFDS."""
    return f"python -m lstm_jax.datasets.prepare {name}"


def examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """The examples of a split in stored order, one dictionary of features each.

    Args:
      builder: what `generated` or `prepared` returned.
      split: such as `train` or `train[:90%]`.
    """
    source = builder.as_data_source(split=split)
    for begin in range(0, len(source), _CHUNK):
        yield from source.__getitems__(list(range(begin, min(begin + _CHUNK, len(source)))))


def read(builder: Any, split: str) -> dict[str, np.ndarray]:
    """All examples of a split, in stored order: one array `[examples, ...]` a feature.

    For sets that fit in memory and whose examples are all of one shape: they are read once, and
    drawn from on the device.

    Args:
      builder: what `generated` or `prepared` returned.
      split: such as `train` or `train[:90%]`.
    """
    columns: dict[str, list] = {}
    for example in examples(builder, split):
        for feature, value in example.items():
            columns.setdefault(feature, []).append(value)
    return {feature: np.stack(values) for feature, values in columns.items()}


def _on_disk(version_folder: str) -> bool:
    """TFDS writes a version beside its place and renames it when it is whole."""
    return os.path.exists(os.path.join(version_folder, "dataset_info.json"))
