"""A sweep: an ordered tuple of trials, and its cohorts."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

from lstm_jax.errors import InputError
from lstm_jax.gaps import canonical, parse_gaps
from lstm_jax.keys import MAX_SEED
from lstm_jax.optimizers import UNIT_RATE
from lstm_jax.training import assemble, trained_task
from lstm_jax.trial import Catalogue, Trial, program_id, trial_id

Match = Literal["parameters", "hidden"]
MATCHES = ("parameters", "hidden")
# The cell whose parameters the others are given.
REFERENCE_CELL = "lstm"
PRECISIONS = ("float32", "default", "high", "highest", "tensorfloat32", "bfloat16")
MAX_LEARNING_RATE = 1e9
_MAX_MATCHED_SIZE = 2**14
_MAX_UNIT = 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all trials of a sweep share; defaults are those of `make sweep`.

    Attributes:
      hidden_size: units a layer, of the reference cell or of all (see `match`).
      match: `parameters` gives every cell the hidden size nearest in trained scalars to an LSTM of
        `hidden_size`; `hidden` gives all the same.
      layers: layers of a network.
      embedding_size: features of a learned embedding of tokens; 0 for one-hot vectors.
      optimizer: spec, `adam`, `rmsprop`, `sgd` or `guess`, with options.
      clip: `norm:1`, `value:1` or `none`.
      batch_size: sequences an update.
      eval_every: updates between evaluations.
      matmul_precision: of matrix products, as JAX names it.
      unroll: method of `unroll_batch`; empty for the fastest.
    """

    hidden_size: int = 32
    match: Match = "parameters"
    layers: int = 1
    embedding_size: int = 0
    optimizer: str = "adam"
    clip: str = "norm:1"
    batch_size: int = 32
    eval_every: int = 50
    matmul_precision: str = "float32"
    unroll: str = ""

    def described_match(self) -> str:
        """The matching in words, as rows and tables say it."""
        if self.match == "hidden":
            return f"hidden: {self.hidden_size} units for every cell"
        return f"parameters: of {REFERENCE_CELL} with {self.hidden_size} units"


class Cohort(NamedTuple):
    """Trials that share one compiled program and differ in arrays only."""

    program_id: str
    trials: tuple[Trial, ...]


def make_sweep(
    catalogue: Catalogue,
    *,
    task: str,
    cells: Sequence[str],
    gaps: Sequence[int],
    seeds: Sequence[int],
    learning_rates: Sequence[float],
    settings: Settings | None = None,
    train_gaps: str = "",
) -> tuple[Trial, ...]:
    """Every gap with every cell, rate and seed; the smallest gap first.

    Args:
      catalogue: what specs are read against.
      task: spec of the task.
      cells: specs of the cells.
      gaps: at each of which a network is trained and tested; with `train_gaps`, at which each
        trained network is tested.
      seeds: of each cell at each gap.
      learning_rates: each with every seed.
      settings: what all trials share; the defaults if None.
      train_gaps: what each network is trained on, as `gaps.parse_gaps` reads it; empty for the gap
        at which it is tested.

    Raises:
      InputError: a spec, gap or combination that cannot be, an empty list, or a value given twice.
    """
    settings = Settings() if settings is None else settings
    task_spec = catalogue.task(task)
    cell_specs = [catalogue.cell(text) for text in cells]
    named = {
        "cells": [str(spec) for spec in cell_specs],
        "gaps": list(gaps),
        "seeds": list(seeds),
        "learning_rates": list(learning_rates),
    }
    for name, values in named.items():
        _require_list(name, values)
    for rate in learning_rates:
        if not isinstance(rate, float | int) or not 0 < rate <= MAX_LEARNING_RATE:
            raise InputError(
                f"learning_rates={rate}: must be above 0 and at most {MAX_LEARNING_RATE:g}"
            )
    name, _, _ = settings.optimizer.partition(":")
    if name in UNIT_RATE and list(learning_rates) != [1]:
        raise InputError(f"learning_rates: with optimizer={settings.optimizer} the only one is 1")
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"seeds={seed}: must be whole numbers from 0 to {MAX_SEED}")
    sizes = _hidden_sizes(catalogue, settings)
    trained_at, eval_gaps = sorted(gaps), ""
    if train_gaps:
        train_gaps = canonical(train_gaps)
        trained_at, eval_gaps = [parse_gaps(train_gaps)[-1]], ",".join(map(str, sorted(gaps)))
        parse_gaps(eval_gaps)
    trials = []
    for gap, spec in itertools.product(trained_at, cell_specs):
        base = Trial(
            task=str(task_spec),
            gap=gap,
            cell=str(spec),
            layers=settings.layers,
            hidden_size=settings.hidden_size,
            embedding_size=settings.embedding_size,
            optimizer=settings.optimizer,
            learning_rate=0.0,
            clip=settings.clip,
            batch_size=settings.batch_size,
            eval_every=settings.eval_every,
            seed=0,
            matmul_precision=settings.matmul_precision,
            cell_file_sha256=catalogue.cell_hash(spec),
            task_file_sha256=catalogue.task_hash(task_spec),
            train_gaps=train_gaps,
            eval_gaps=eval_gaps,
            unroll=settings.unroll,
        )
        base = dataclasses.replace(base, hidden_size=sizes(base))
        trials += [
            dataclasses.replace(base, learning_rate=rate, seed=seed)
            for rate, seed in itertools.product(sorted(learning_rates), seeds)
        ]
    return tuple(trials)


def cohorts(trials: Sequence[Trial], catalogue: Catalogue) -> list[Cohort]:
    """Trials grouped by program, in the order in which the programs first come."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(program_id(trial, catalogue), []).append(trial)
    return [Cohort(name, tuple(group)) for name, group in groups.items()]


def trial_ids(trials: Sequence[Trial], catalogue: Catalogue) -> list[str]:
    """Ids in the order of the trials."""
    return [trial_id(trial, catalogue) for trial in trials]


def _hidden_sizes(catalogue: Catalogue, settings: Settings):
    """A function from a trial with the reference's hidden size to its own; each cell is built once,
    so that options which its constructor refuses are found here."""

    @cache
    def parameters(trial: Trial) -> int:
        return assemble(trial, catalogue).network.parameters

    def same(trial: Trial) -> int:
        parameters(trial)
        return trial.hidden_size

    def matched(trial: Trial) -> int:
        reference = dataclasses.replace(trial, cell=REFERENCE_CELL, cell_file_sha256="")
        target = parameters(reference)

        def at(size: int) -> int:
            return parameters(dataclasses.replace(trial, hidden_size=size))

        unit = _smallest_size(at)
        if trial.hidden_size % unit == 0 and at(trial.hidden_size) == target:
            return trial.hidden_size
        # The count rises with the size: bisect for the last size at or below the target.
        low, high = 1, 2
        while at(unit * high) <= target:
            low, high = high, 2 * high
            if unit * high > _MAX_MATCHED_SIZE:
                raise InputError(
                    f"match=parameters: {trial.cell} does not grow with hidden_size; allowed for "
                    "such a cell is match=hidden"
                )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if at(unit * middle) <= target else (low, middle)
        return min((unit * low, unit * high), key=lambda size: abs(at(size) - target))

    sizes: dict[tuple, int] = {}

    def by_shape(trial: Trial) -> int:
        # A gap changes the length of a task, hardly ever its widths: match once for each.
        task = trained_task(catalogue, trial.task, trial.gap, trial.train_gaps)
        shape = (trial.cell, task.kind, task.input_size, task.output_size)
        if shape not in sizes:
            sizes[shape] = same(trial) if settings.match == "hidden" else matched(trial)
        return sizes[shape]

    return by_shape


def _smallest_size(at: Callable[[int], int]) -> int:
    """The smallest hidden size that a cell takes, of which it takes all multiples: one with heads
    or blocks refuses others."""
    for size in range(1, _MAX_UNIT + 1):
        try:
            at(size)
        except InputError as error:
            refused = error
        else:
            return size
    raise refused


def _require_list(name: str, values: list) -> None:
    if not values:
        raise InputError(f"{name} is empty: give at least one")
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{name}: {value} is given twice")
