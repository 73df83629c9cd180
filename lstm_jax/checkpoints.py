"""States of a cohort's trials on disk, by Orbax; the only module that knows Orbax.

One checkpoint a program, `<directory>/checkpoints/<program_id>/`, holds the state of every trial of
that program that was ever run, stacked, and their ids. It is saved in the background after each
evaluation, after the rows; what is there at the end are the trained parameters.
"""

import errno
import os
import warnings
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from etils import epath

from lstm_jax.arrays import PyTree
from lstm_jax.errors import first_line
from lstm_jax.results import ResultsWarning


class Saved(NamedTuple):
    """Trials and their states, leaves `[len(trial_ids), ...]`."""

    trial_ids: list[str]
    states: PyTree


class Checkpoints:
    """The checkpoint of one program. Use as a context manager: leaving waits for the last save."""

    def __init__(self, directory: epath.PathLike, program_id: str):
        """Opens or makes `<directory>/checkpoints/<program_id>`."""
        self._path = epath.Path(directory).absolute() / "checkpoints" / program_id
        self._manager = None
        self._others: Saved | None = None

    def __enter__(self):
        self._manager = _manager(self._path)
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

        Args:
          trial_ids: in the order of the states' rows.
          states: host arrays `[len(trial_ids), ...]`.

        Raises:
          OSError: this save or the one before could not be written.
        """
        import orbax.checkpoint as ocp

        if self._others is not None:
            trial_ids = trial_ids + self._others.trial_ids
            states = jax.tree.map(
                lambda own, other: np.concatenate([own, other]), states, self._others.states
            )
        try:
            self._manager.wait_until_finished()
            latest = self._manager.latest_step()
            self._manager.save(
                0 if latest is None else latest + 1,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(states), trials=ocp.args.JsonSave(trial_ids)
                ),
            )
        except Exception as error:
            raise self._unwritable(error) from error

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          OSError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> OSError:
        """Orbax and TensorStore put the system's words at the end of long messages."""
        full = os.strerror(errno.ENOSPC)
        reason = full if full in str(error) else first_line(error)[:200]
        return OSError(f"{self._path}: cannot be written: {reason}")

    def _read(self, step: int, one_state: PyTree) -> Saved:
        import orbax.checkpoint as ocp

        names = self._manager.restore(step, args=ocp.args.Composite(trials=ocp.args.JsonRestore()))
        trial_ids = list(names["trials"])
        like = jax.tree.map(
            lambda leaf: np.zeros((len(trial_ids), *leaf.shape), leaf.dtype), one_state
        )
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
        )
        return Saved(trial_ids, jax.tree.map(np.asarray, restored["state"]))

    def _set_aside(self, error: Exception) -> None:
        self._manager.close()
        number = 0
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        self._path.rename(aside)
        warnings.warn(
            f"{self._path}: unreadable checkpoint, set aside as {aside.name}: "
            + first_line(error)[:200],
            ResultsWarning,
            stacklevel=3,
        )
        self._manager = _manager(self._path)


def _manager(path: epath.Path):
    import orbax.checkpoint as ocp

    # Orbax logs every save, and a failure several times with its stack; failures are raised too,
    # and become one line.
    logging.set_verbosity(logging.FATAL)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, cleanup_tmp_directories=True, enable_async_checkpointing=True
    )
    return ocp.CheckpointManager(path, options=options)
