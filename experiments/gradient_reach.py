"""How far back does a gradient reach, at the start and along training?

    python -m experiments.gradient_reach
    python -m experiments.gradient_reach --cells=lstm,lstm:forget_bias=3 --lags=1,10,100,1000
    python -m experiments.gradient_reach --smoke

What a gradient is multiplied by on its way back from step T to step T - lag is the derivative of
the output at T by the carry at T - lag. Its norm is told for each cell and seed, before training
and after some updates, against the lag; beside it the bound of Pascanu et al. for plain recurrent
networks, the direct path through the gates that keep a memory, and the derivative of the loss by
the inputs up to the gap. The networks are those of `experiments.gap_sweep` with the same flags, but
for that training does not stop when a task is solved.

Writes a row a look, a table and figures into --results_dir. Looks that are there already are not
taken again.
"""

import dataclasses
import math

from experiments import asking, commands, observing
from experiments.commands import TRUE_OR_FALSE, Flags, ListOf, Number, Words
from experiments.gap_sweep import CELLS, GAP, RATE, SEEDS, SIZE

FLAGS = Flags()
_flag = FLAGS.define
_FROM_ZERO = Number(0, whole=True)
_LAGS_GRID = "1,2,3,5,7,10,14,20,28,40,57,80,113,160"
SMOKE = {
    "cells": ["rnn", "lstm:init=chrono"],
    "gap": 10,
    "lags": [1, 2, 5, 10, 20],
    "seeds": 2,
    "updates_at": [0, 20],
    "hidden_size": 8,
    "examples": 4,
}
_CELLS = _flag("cells", ",".join(CELLS), "cells, with options: lstm:forget_bias=4,gru", ListOf())
_TASK = _flag("task", "recall", "task, with options")
_GAP = _flag("gap", 40, "gap of the training, in steps", GAP)
_LAGS = _flag("lags", _LAGS_GRID, "steps back; the gap is added if it is no longer", ListOf(GAP))
_UPDATES = _flag("updates_at", "0,100,300,600", "updates after which to look", ListOf(_FROM_ZERO))
_SEEDS = _flag("seeds", 6, "networks of each cell", SEEDS)
_EXAMPLES = _flag(
    "examples", 16, "sequences a geometric mean is over", Number(1, whole=True, most=512)
)
_PROBES = _flag(
    "probes",
    0,
    "random directions for an estimate; 0: exact for small carries, 32 directions for large ones",
    Number(0, whole=True, most=2**14),
)
_HIDDEN_SIZE = _flag("hidden_size", 32, "units; see --match", SIZE)
_MATCH = _flag(
    "match",
    "parameters",
    "parameters: each cell gets the size nearest in parameters to an LSTM of --hidden_size; "
    "hidden: all get --hidden_size",
    Words(("parameters", "hidden")),
)
_RATE = _flag("learning_rate", 0.003, "of Adam, the gradient's norm clipped to 1", RATE)
_BATCH_SIZE = _flag("batch_size", 32, "sequences an update", SIZE)
_RESULTS = _flag("results_dir", "results/gradient_reach", "where rows and figures go")
_SMOKE = _flag("smoke", False, "a small one, in some seconds", TRUE_OR_FALSE)


def chosen(name: str):
    """A flag's value; with --smoke, the smoke run's, unless the flag was given."""
    flag = FLAGS[name]
    return SMOKE[name] if _SMOKE.value and not flag.present and name in SMOKE else flag.value


def lags() -> list[int]:
    """The lags to look at, rising, with the gap among them where it is no longer."""
    given, gap = chosen("lags"), chosen("gap")
    return sorted({*given, gap} if gap <= max(given) else given)


class Experiment:
    """Everything that is looked at, checked; networks are trained when their turn comes."""

    def __init__(self):
        """Reads the flags, and builds what they ask for; nothing is trained or written."""
        from lstm_jax.layers import MODELS
        from lstm_jax.sweep import Settings, make_sweep
        from lstm_jax.tasks import TASKS
        from lstm_jax.training import build_task
        from lstm_jax.trial import Catalogue
        from lstm_jax.why.trial_reach import looks, recurrent

        self.catalogue = Catalogue(MODELS, TASKS)
        gap, task = chosen("gap"), _TASK.value
        shared = Settings(
            hidden_size=chosen("hidden_size"), match=_MATCH.value, batch_size=_BATCH_SIZE.value
        )
        self.match = shared.described_match()
        with commands.naming("task"):
            self.catalogue.task(task)
        with asking.blaming(task, "gap", False):
            build_task(self.catalogue, task, gap)
        with commands.naming("cells"):
            trials = make_sweep(
                self.catalogue,
                task=task,
                cells=chosen("cells"),
                gaps=[gap],
                seeds=range(chosen("seeds")),
                learning_rates=[_RATE.value],
                settings=shared,
            )
            self.trials = {}
            for trial in trials:
                self.trials.setdefault(trial.cell, []).append(trial)
            for own in self.trials.values():
                recurrent(own[0], self.catalogue)
        with commands.naming("lags"):
            self.looks = {
                cell: looks(
                    own[0],
                    self.catalogue,
                    lags(),
                    examples=chosen("examples"),
                    probes=_PROBES.value,
                )
                for cell, own in self.trials.items()
            }
        self._training = None

    def asked(self) -> list:
        """What is looked at, in order: an update's networks one after another."""
        from lstm_jax.why.gradient_reach_rows import Look
        from lstm_jax.why.sequences import WARM_UP

        own = {field.name for field in dataclasses.fields(Look)}
        return [
            Look(
                update=update,
                lags=",".join(map(str, lags())),
                examples=chosen("examples"),
                probes=_PROBES.value,
                warm_up=WARM_UP,
                **{k: v for k, v in dataclasses.asdict(trial).items() if k in own},
            )
            for trials in self.trials.values()
            for update in sorted(chosen("updates_at"))
            for trial in trials
        ]

    def told(self, look) -> dict:
        """Looks at a network, trained as far as asked."""
        import numpy as np

        from lstm_jax.trial import trial_id
        from lstm_jax.why.along_training import Training
        from lstm_jax.why.gradient_reach_rows import decay

        trials, found = self.trials[look.cell], self.looks[look.cell]
        (trial,) = (trial for trial in trials if trial.seed == look.seed)
        params = found.init(look.seed)
        if look.update:
            if self._training is None or trial not in self._training.trials:
                self._training = Training(trials, self.catalogue)
            params = self._training.params(trial, look.update)
        carry, inputs = found.carry(params, look.seed), found.inputs(params)
        at = [int(lag) for lag in look.lags.split(",")]

        def listed(values):
            return [] if values is None else np.asarray(values, np.float64).ravel().tolist()

        far = {lag: float(value) for lag, value in enumerate(inputs.log_reach)}
        logs = {
            "log_reach": listed(carry.whole.log),
            "log_reach_by_leaf": listed(carry.by_leaf.log.T),
            "log_memory": listed(carry.memory and carry.memory.log),
            "log_direct": listed(carry.direct),
            "log_bound": listed(found.bound(params)),
            "log_input_reach": [far.get(lag, -math.inf) for lag in at],
        }
        fit = decay(at, logs["log_reach"])
        return {
            "trial_id": trial_id(trial, self.catalogue),
            "told_gap": self.catalogue.cell(trial.cell).told_gap,
            "match": self.match,
            "parameters": found.parameters,
            "sequences_gap": found.sequences_gap,
            "probes_used": found.probes,
            # A derivative that is exactly zero is a number: its logarithm is minus infinity.
            "finite": all(value < math.inf for own in logs.values() for value in own),
            "loss": float(inputs.loss),
            "accuracy": float(inputs.accuracy),
            "at_lags": at,
            "log_reach_error": listed(carry.whole.error),
            "leaves": list(found.leaves),
            **logs,
            "decay_rate": fit.rate,
            "half_life": fit.half_life,
            "fit_first": fit.first,
            "fit_last": fit.last,
        }


def main() -> int:
    """Checks everything, trains and looks where that is not done yet, draws."""
    asking.require_data([_TASK.value], chosen("gap"))
    from lstm_jax import backend, storage
    from lstm_jax.why.gradient_reach_rows import KIND

    backend.set_up()
    experiment = Experiment()
    with commands.naming("results_dir"):
        directory = storage.usable_directory(_RESULTS.value)

    def said(row):
        steps = row["half_life"]
        return "reach does not halve" if steps is None else f"reach halves every {steps:.1f} steps"

    _, ended = observing.observe(experiment.asked(), KIND, directory, experiment.told, said)
    return observing.finish(directory, ended)


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
