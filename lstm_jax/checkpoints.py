"""States of a cohort's trials on disk, by Orbax; the only module that knows Orbax.

One checkpoint a program, `<directory>/checkpoints/<program_id>/`, holds the state of every trial of
that program that was ever run, stacked, and their ids. It is saved in the background after
evaluations, after the rows; what is there at the end are the trained parameters.

A checkpoint is data from a stranger: shapes, dtypes and sizes are looked at before anything is read
of them, and a hash of the states tells what was altered, or put together from two saves.
"""

import errno
import hashlib
import json
import os
import warnings
from logging import getLogger
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath

from lstm_jax import object_store, storage
from lstm_jax.arrays import PyTree
from lstm_jax.errors import MissingExtraError, first_line
from lstm_jax.results import ResultsWarning

# What Orbax raises on opening a damaged checkpoint; other OSErrors are of the disk.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    OverflowError,
    IsADirectoryError,
    NotADirectoryError,
)
_TRIALS = "trials"  # names of a checkpoint's two parts
_STATE = "state"
_MOST_FILES = 100_000
_MOST_JSON_BYTES = 16 * 2**20
# States of zeros compress well, but a third of them at least is parameters.
_MOST_BYTES_A_BYTE = 200
_MOST_BYTES_ANYWAY = 16 * 2**20


class Saved(NamedTuple):
    """Trials and their states, leaves `[len(trial_ids), ...]`."""

    trial_ids: list[str]
    states: PyTree


class Checkpoints:
    """The checkpoint of one program. Use as a context manager: leaving waits for the last save."""

    def __init__(self, directory: epath.PathLike, program_id: str):
        """Opens or makes `<directory>/checkpoints/<program_id>`.

        Raises:
          InputError: a link there leads out of the directory.
          OSError: it cannot be made.
        """
        self._path = storage.subdirectory(directory, "checkpoints", program_id)
        if not storage.is_remote(directory):
            self._path = self._path.absolute()
        self._manager = None
        self._others: Saved | None = None
        self._put_off: Saved | None = None

    def __enter__(self):
        if storage.is_remote(self._path):
            _remember_no_listings()
        try:
            _check_files(storage.files(self._path))  # a pipe in it would keep Orbax waiting
            self._manager = _manager(self._path)  # reads descriptions
        except _DAMAGE as error:
            self._set_aside(error)
        except (OSError, MissingExtraError):
            raise
        except Exception as error:
            if not storage.is_remote(self._path):
                raise
            # gcsfs has errors of its own, and those of aiohttp.
            raise OSError(f"{self._path}: cannot be opened: {first_line(error)[:200]}") from error
        return self

    def __exit__(self, kind, error, traceback):
        try:
            self._manager.close()
        except Exception as late:
            if error is None:  # else what went wrong first is told
                raise self._unwritable(late) from late

    def restore(self, one_state: PyTree, trial_ids: list[str]) -> dict[str, PyTree]:
        """States by trial id, of those of `trial_ids` that were saved.

        Other trials of the program stay in the checkpoint. A checkpoint that cannot be read is set
        aside under another name with a `ResultsWarning`; training then starts over, to the same
        end.

        Args:
          one_state: shapes and dtypes of one trial's state.
          trial_ids: whose states are wanted.
        """
        latest = self._manager.latest_step()
        if latest is None:
            return {}
        try:
            saved = self._read(latest, one_state)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file.
            self._set_aside(error)
            return {}
        wanted = {
            name: jax.tree.map(lambda leaf, row=row: leaf[row], saved.states)
            for row, name in enumerate(saved.trial_ids)
            if name in trial_ids
        }
        kept = [row for row, name in enumerate(saved.trial_ids) if name not in trial_ids]
        if kept:
            self._others = Saved(
                [saved.trial_ids[row] for row in kept],
                jax.tree.map(lambda leaf: leaf[np.asarray(kept)], saved.states),
            )
        return wanted

    def save(self, trial_ids: list[str], states: PyTree) -> None:
        """Starts saving the states of `trial_ids`, and waits for the save before.

        On an object store, where a save may take longer than the training in between, it does not
        wait: these states are saved by `wait`, unless newer ones come first.

        Args:
          trial_ids: in the order of the states' rows.
          states: host arrays `[len(trial_ids), ...]`.

        Raises:
          OSError: this save or the one before could not be written.
        """
        if self._others is not None:
            trial_ids = trial_ids + self._others.trial_ids
            states = jax.tree.map(
                lambda own, other: np.concatenate([own, other]), states, self._others.states
            )
        self._put_off = Saved(trial_ids, states)
        if not (storage.is_remote(self._path) and self._manager.is_saving_in_progress()):
            self._save()

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          OSError: it could not be written.
        """
        self._save()
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritable(error) from error

    def _save(self) -> None:
        """Starts saving what is not yet being saved."""
        import orbax.checkpoint as ocp

        if self._put_off is None:
            return
        (trial_ids, states), self._put_off = self._put_off, None
        try:
            self._manager.wait_until_finished()
            latest = self._manager.latest_step()
            self._manager.save(
                0 if latest is None else latest + 1,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(states),
                    trials=ocp.args.JsonSave(
                        {"ids": trial_ids, "sha256": _digest(trial_ids, states)}
                    ),
                ),
            )
        except Exception as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> OSError:
        """Orbax and TensorStore put the system's words at the end of long messages."""
        full = os.strerror(errno.ENOSPC)
        reason = full if full in str(error) else first_line(error)[:200]
        return OSError(f"{self._path}: cannot be written: {reason}")

    def _read(self, step: int, one_state: PyTree) -> Saved:
        import orbax.checkpoint as ocp

        part = self._path / str(step) / _TRIALS / "metadata"
        content = storage.read(part, _MOST_JSON_BYTES)
        about = json.loads(b"" if content is None else content.data)
        trial_ids = about["ids"]
        if not isinstance(trial_ids, list) or not all(type(name) is str for name in trial_ids):
            raise ValueError("trials without names")
        expected = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((len(trial_ids), *leaf.shape), leaf.dtype), one_state
        )
        self._check_claims(step, expected)
        like = jax.tree.map(  # no memory behind it
            lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), expected
        )
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
        )
        states = jax.tree.map(np.asarray, restored[_STATE])
        if _digest(trial_ids, states) != about["sha256"]:
            raise ValueError("altered since it was saved")
        return Saved(trial_ids, states)

    def _check_claims(self, step: int, expected: PyTree) -> None:
        """Raises ValueError unless what is saved says that it is what is expected, and has as many
        bytes as that takes."""
        import orbax.checkpoint as ocp

        _check_readable(self._path / str(step) / _STATE)
        claimed = ocp.StandardCheckpointHandler().metadata(self._path / str(step) / _STATE).tree
        claims = [_claim(leaf) for leaf in jax.tree.leaves(claimed, is_leaf=_is_claim)]
        leaves = jax.tree.leaves(expected)
        if sorted(claims) != sorted((leaf.shape, np.dtype(leaf.dtype).name) for leaf in leaves):
            raise ValueError("other shapes or dtypes than this program's")
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
        there = sum(storage.files(self._path / str(step)).values())
        if size > _MOST_BYTES_ANYWAY + _MOST_BYTES_A_BYTE * there:
            raise ValueError(f"claims {size} bytes, and holds {there}")

    def _set_aside(self, error: Exception) -> None:
        if self._manager is not None:
            self._manager.close()
        aside = storage.set_aside(self._path)
        warnings.warn(
            f"{self._path}: unreadable checkpoint, set aside as {aside.name}: "
            + first_line(error)[:200],
            ResultsWarning,
            stacklevel=3,
        )
        self._manager = _manager(self._path)


def _check_files(found: dict[str, int | None]) -> None:
    """Raises ValueError if there are more files, or larger descriptions, than we ever write, or
    something that is no file."""
    if len(found) > _MOST_FILES:
        raise ValueError(f"more than {_MOST_FILES} files")
    for name, size in found.items():
        if size is None:
            raise ValueError(f"{name}: not a file")
        if "/d/" not in name and size > _MOST_JSON_BYTES:
            raise ValueError(f"{name}: larger than {_MOST_JSON_BYTES} bytes")


def _check_readable(path: epath.Path) -> None:
    """Raises ValueError if a piece of a saved state cannot be read: said at once, where Orbax's own
    reading would leave others of its pieces to fail in the background, with noise."""
    import tensorstore

    if not (path / "manifest.ocdbt").exists():
        return
    if storage.is_remote(path):
        bucket, key = object_store.split(path)
        base = {"driver": "gcs", "bucket": bucket, "path": f"{key}/"}
    else:
        base = {"driver": "file", "path": f"{path}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    for key in store.list().result():
        store.read(key).result()


def _digest(trial_ids: list[str], states: PyTree) -> str:
    """SHA-256 of the ids, by which states are handed to trials, and of all leaves, in order."""
    digest = hashlib.sha256(json.dumps(trial_ids).encode())
    for leaf in jax.tree.leaves(states):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _is_claim(node) -> bool:
    return hasattr(node, "shape") and hasattr(node, "dtype")


def _claim(leaf) -> tuple[tuple[int, ...], str]:
    """Shape and dtype that a saved leaf says it has; ValueError where it is no such leaf, or its
    pieces are larger than itself."""
    if not _is_claim(leaf) or leaf.dtype is None:
        raise ValueError("something in it is not an array")
    pieces = getattr(getattr(leaf, "storage", None), "chunk_shape", None) or leaf.shape
    if any(piece > max(1, size) for piece, size in zip(pieces, leaf.shape, strict=True)):
        raise ValueError("pieces larger than their array")
    return tuple(leaf.shape), np.dtype(leaf.dtype).name


def _remember_no_listings() -> None:
    """Orbax reads object stores through gcsfs, which would not see what others have written since.

    Raises:
      MissingExtraError: gcsfs is not installed.
    """
    try:
        import fsspec.config
        import gcsfs  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("gs:// paths", "gcs") from error
    for name in ("gs", "gcs"):
        fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)


def _manager(path: epath.Path):
    import orbax.checkpoint as ocp

    # Orbax logs every save, and a failure several times with its stack; failures are raised too,
    # and become one line.
    logging.set_verbosity(logging.FATAL)
    for name in ("fsspec", "asyncio"):
        getLogger(name).setLevel("CRITICAL")
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, cleanup_tmp_directories=True, enable_async_checkpointing=True
    )
    if jax.process_count() > 1:  # this process alone writes here: Orbax is not to wait for others
        me = jax.process_index()
        path.mkdir(parents=True, exist_ok=True)
        options.create = False
        options.multiprocessing_options = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
    return ocp.CheckpointManager(path, options=options)
