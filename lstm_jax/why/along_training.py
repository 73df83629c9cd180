"""The weights of a sweep's networks along their training, in memory."""

from collections.abc import Sequence

import jax
import numpy as np

from lstm_jax.arrays import PyTree
from lstm_jax.tasks.base import loaded
from lstm_jax.training import State, assemble, make_program, padded_size
from lstm_jax.trial import Catalogue, Trial


class Training:
    """Trials that share one program, trained side by side, as far as is asked.

    Each is trained as a sweep trains it, but does not stop when it has solved its task.

    Attributes:
      trials: the seeds and learning rates of one kind.
    """

    def __init__(self, trials: Sequence[Trial], catalogue: Catalogue):
        """Builds the program; nothing is compiled before the first call.

        Args:
          trials: of one cohort.
          catalogue: what their specs are read against.
        """
        self.trials = tuple(trials)
        assembly = assemble(trials[0], catalogue)
        size = padded_size(len(trials), jax.device_count())
        padded = (*self.trials, *(self.trials[:1] * (size - len(trials))))
        self._program = make_program(
            assembly,
            size,
            batch_size=trials[0].batch_size,
            matmul_precision=trials[0].matmul_precision,
        )
        _, self._data = loaded(assembly.task)
        self._seeds = np.asarray([trial.seed for trial in padded], np.int32)
        self._rates = np.asarray([trial.learning_rate for trial in padded], np.float32)
        self._state: State | None = None
        self._update, self._params = 0, None

    def params(self, trial: Trial, update: int) -> PyTree:
        """A trial's parameters after so many updates, as host arrays. Asked in rising order, all
        trials are trained once; asked for what is past, they begin anew."""
        if self._params is None or self._update != update:
            place = self._program.place
            if self._state is None or self._update > update:
                self._state = self._program.init(place(self._seeds))
            self._state, _ = self._program.advance(
                self._state,
                place(self._seeds),
                place(self._rates),
                place(np.full(len(self._seeds), update, np.int32)),
                self._data,
            )
            self._update, self._params = update, self._program.fetch(self._state.params)
        row = self.trials.index(trial)
        return jax.tree.map(lambda leaf: leaf[row], self._params)
