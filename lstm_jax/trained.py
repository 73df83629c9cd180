"""Trained parameters of trials that have ended, from the checkpoints beside their rows."""

from collections.abc import Sequence

import jax
from etils import epath

from lstm_jax.arrays import PyTree
from lstm_jax.checkpoints import Checkpoints
from lstm_jax.errors import InputError
from lstm_jax.sweep import cohorts
from lstm_jax.training import assemble, initial_state
from lstm_jax.trial import Catalogue, Trial, trial_id


def trained_params(
    trials: Sequence[Trial], directory: epath.PathLike, catalogue: Catalogue
) -> dict[Trial, PyTree]:
    """The parameters of the networks that `running.run` has trained, in the order of the trials.

    Args:
      trials: that have ended.
      directory: of their rows and checkpoints.
      catalogue: what the trials' specs are read against.

    Raises:
      InputError: some are not there: not trained, or their checkpoints were deleted or damaged.
    """
    found = {}
    for cohort in cohorts(trials, catalogue):
        assembly = assemble(cohort.trials[0], catalogue)
        shapes = jax.eval_shape(lambda a=assembly: initial_state(a, 0))
        names = {trial_id(trial, catalogue): trial for trial in cohort.trials}
        with Checkpoints(directory, cohort.program_id) as checkpoints:
            for name, state in checkpoints.restore(shapes, list(names)).items():
                found[names[name]] = state.params
    missing = [trial for trial in trials if trial not in found]
    if missing:
        raise InputError(
            f"{directory}: holds no trained parameters of {len(missing)} of {len(trials)} trials, "
            f"first {trial_id(missing[0], catalogue)}"
        )
    return {trial: found[trial] for trial in trials}
