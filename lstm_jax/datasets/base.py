"""Where data sets lie, and how they are generated, found and read.

All lie below one directory, in the layout of TensorFlow Datasets (TFDS): `data/` below the working
directory, or where the environment variable LSTM_JAX_DATA_DIR says. The place is no option of a
task, so it stands outside a trial's id. Files are array_record, the one format that TFDS writes
and reads without TensorFlow. Nothing here reaches the network.
"""

import contextlib
import importlib
import io
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import filelock
import numpy as np

from lstm_jax.errors import InputError, MissingExtraError

DIRECTORY_VARIABLE = "LSTM_JAX_DATA_DIR"
_FORMAT = "array_record"


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
      InputError: not on disk, or stored in another format; the message is the command that
        prepares it. At once: TFDS itself retries the network for minutes.
      MissingExtraError: TFDS is not installed.
    """
    tfds = require("tensorflow_datasets", f"data set {name}")
    where = directory()
    folder = os.path.join(where, *name.split("/"))
    names = os.listdir(folder) if os.path.isdir(folder) else []
    versions = [
        entry
        for entry in names
        if tfds.core.Version.is_valid(entry) and _on_disk(os.path.join(folder, entry))
    ]
    command = (
        f'python -c \'import tensorflow_datasets as tfds; tfds.builder("{name}", '
        f'data_dir="{where}", file_format="{_FORMAT}").download_and_prepare()\''
    )
    if not versions:
        raise InputError(f"data set {name}: not in {where!r}; with a network, run once: {command}")
    newest = max(versions, key=tfds.core.Version)
    builder = tfds.builder_from_directory(os.path.join(folder, newest))
    if builder.info.file_format.value != _FORMAT:
        raise InputError(
            f"data set {name}: stored as {builder.info.file_format.value} in {folder!r}, which "
            f"needs TensorFlow; remove it and, with a network, run once: {command}"
        )
    return builder


def read(builder: Any, split: str) -> dict[str, np.ndarray]:
    """All examples of a split, in stored order: one array `[examples, ...]` a feature.

    For sets that fit in memory: they are read once, and examples are drawn on the device.

    Args:
      builder: what `generated` or `prepared` returned.
      split: such as `train` or `train[:90%]`.
    """
    source = builder.as_data_source(split=split)
    examples = source.__getitems__(list(range(len(source))))
    return {
        feature: np.stack([example[feature] for example in examples]) for feature in examples[0]
    }


def _on_disk(version_folder: str) -> bool:
    """TFDS writes a version beside its place and renames it when it is whole."""
    return os.path.exists(os.path.join(version_folder, "dataset_info.json"))
