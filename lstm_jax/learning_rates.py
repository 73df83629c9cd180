"""Which learning rate a seed is read at. Needs no JAX.

Where a sweep ran several rates, taking each seed's best would flatter whatever ran most of them.
Here a seed is read at the rate that the *other* seeds' monitor scores choose, gap by gap: its own
scores have no part in the choice, and the report set has none in any.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lstm_jax.results import Record, Row

# What tells two experiments apart, beside gap, seed and learning rate.
TASK_SETTINGS = (
    "task",
    "task_options",
    "task_file_sha256",
    "swept_by",
    "train_gaps",
    "eval_gaps",
)
CELL_SETTINGS = ("cell", "cell_options", "cell_file_sha256", "layers", "hidden_size")
OTHER_SETTINGS = (
    "embedding_size",
    "optimizer",
    "clip",
    "batch_size",
    "eval_every",
    "matmul_precision",
    "unroll",
)
SETTINGS = TASK_SETTINGS + CELL_SETTINGS + OTHER_SETTINGS

Settings = tuple[str | int, ...]


class Reading(NamedTuple):
    """The trials of one experiment at one gap, one a seed.

    Attributes:
      settings: values of `SETTINGS`.
      gap: the swept number.
      rates: every rate tried here, rising.
      chosen: the records read, in order of seed, one for each seed that ended at every rate.
      missing: seeds of which some rate has not ended, or is not there; in order.
      at_edge: of the chosen rates, how many lie at an end of `rates` and beat the rate next to it:
        a better one may lie outside. 0 for a single rate.
      own_choice: only one seed ended, so it was read at its own best rate: optimistic.
    """

    settings: Settings
    gap: int
    rates: tuple[float, ...]
    chosen: tuple[Record, ...]
    missing: tuple[int, ...]
    at_edge: int
    own_choice: bool


def settings_of(trial: Row) -> Settings:
    """The values of `SETTINGS`: trials that differ in one belong to different experiments.

    The options of a cell that is told the gap follow the gap, so there its spec speaks for them.
    """
    values = []
    for name in SETTINGS:
        value = trial.get(name, "")  # rows from before a setting was there
        if isinstance(value, dict):
            told = name == "cell_options" and trial["told_gap"]
            # One that is None is as good as not there, as in a trial's id.
            given = {option: own for option, own in value.items() if own is not None}
            value = "" if told else json.dumps(given, sort_keys=True)
        values.append(value)
    return tuple(values)


def choose_learning_rates(records: Iterable[Record]) -> list[Reading]:
    """Reads every experiment and gap at the rates that the other seeds choose.

    A rate's score for a seed is the mean over the other seeds of the monitor accuracy at the last
    evaluation, a failed trial counting 0; ties go to the smaller rate.

    Returns:
      One reading for each experiment and gap, in order of first appearance.
    """
    grouped: dict[tuple[Settings, int], dict[int, dict[float, Record]]] = {}
    for record in records:
        trial = record.trial
        seeds = grouped.setdefault((settings_of(trial), trial["gap"]), {})
        seeds.setdefault(trial["seed"], {})[float(trial["learning_rate"])] = record
    return [_read(settings, gap, seeds) for (settings, gap), seeds in grouped.items()]


def _read(settings: Settings, gap: int, seeds: Mapping[int, Mapping[float, Record]]) -> Reading:
    rates = tuple(sorted({rate for by_rate in seeds.values() for rate in by_rate}))
    complete = {
        seed: [by_rate[rate] for rate in rates]
        for seed, by_rate in sorted(seeds.items())
        if all(rate in by_rate and by_rate[rate].end is not None for rate in rates)
    }
    scores = {seed: [_score(record) for record in tried] for seed, tried in complete.items()}
    chosen, at_edge = [], 0
    for seed, tried in complete.items():
        if len(rates) == 1:  # nothing to choose
            chosen.append(tried[0])
            continue
        others = [scores[other] for other in scores if other != seed] or [scores[seed]]
        means = [math.fsum(column) / len(others) for column in zip(*others, strict=True)]
        best = means.index(max(means))
        chosen.append(tried[best])
        at_edge += _at_edge(means, best)
    return Reading(
        settings,
        gap,
        rates,
        tuple(chosen),
        tuple(sorted(set(seeds) - set(complete))),
        at_edge,
        len(rates) > 1 and len(complete) == 1,
    )


def _score(record: Record) -> float:
    if record.end["status"] == "failed" or not record.evaluations:
        return 0.0
    return record.evaluations[-1]["monitor_accuracy"] or 0.0


def _at_edge(means: list[float], best: int) -> bool:
    """Whether the best is an end of the grid and not merely level with its neighbour."""
    if len(means) == 1 or 0 < best < len(means) - 1:
        return False
    neighbour = 1 if best == 0 else best - 1
    return means[best] > means[neighbour]
