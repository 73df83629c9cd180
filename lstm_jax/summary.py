"""What rows say, gap by gap and as a horizon, for tables and figures alike. Needs no JAX."""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lstm_jax import learning_rates
from lstm_jax.errors import printable
from lstm_jax.horizon import (
    FEWEST_SEEDS,
    Horizon,
    MeanInterval,
    clopper_pearson,
    fit_horizon,
    mean_accuracy_interval,
)
from lstm_jax.learning_rates import SETTINGS, TASK_SETTINGS, Reading
from lstm_jax.results import Record

# What a label adds where specs alone do not tell two experiments apart.
_SHORT = {"task_file_sha256": "file", "cell_file_sha256": "file", "hidden_size": "hidden"}
_LONGEST = 120
# No sweep has as many gaps, or as near to each other; fitting such takes very long, or fails.
MOST_GAPS = 256
_NEAREST_GAPS = 1e-6  # in log gap


class Point(NamedTuple):
    """What the seeds of one experiment did at one gap.

    Attributes:
      gap: the swept number.
      seeds: those that ended, in order.
      missing: those that are under way, in order.
      rates: learning rate at which each seed is read `[seeds]`.
      solved: how many solved the task.
      failed: whether each one failed (a value that is not finite) `[seeds]`.
      share: solved / ended; None if none ended.
      share_interval: Clopper-Pearson; None under `FEWEST_SEEDS` seeds.
      accuracies: on the report set; a failed network counts as the blind guess `[seeds]`.
      mean_accuracy: over seeds; None if none ended.
      mean_interval: percentile bootstrap; None under `FEWEST_SEEDS` seeds.
      chance: accuracy of a blind guess.
      solved_at: accuracy from which on the task counts as solved.
    """

    gap: int
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    rates: tuple[float, ...]
    solved: int
    failed: tuple[bool, ...]
    share: float | None
    share_interval: tuple[float, float] | None
    accuracies: tuple[float, ...]
    mean_accuracy: float | None
    mean_interval: MeanInterval | None
    chance: float
    solved_at: float


class Curve(NamedTuple):
    """One experiment: a task, a cell and all settings but gap, seed and learning rate.

    Attributes:
      task: label of the task: its spec, and what else tells it from others in these rows.
      cell: label of the cell, likewise.
      settings: by name, as in the `trial` row.
      told_gap: an option of the cell was set to the gap.
      swept_by: `gap` or `length`.
      parameters: smallest and largest number of trained scalars over gaps.
      match: how the hidden size was chosen.
      updates: smallest budget of an unsolved trial and largest of any. What solved the task, or
        failed, on a smaller budget had stopped, and a larger one would have changed nothing.
      rates: every learning rate tried, rising.
      points: by gap, rising.
      horizon: None if no trial ended, the gaps are more than `MOST_GAPS` or too near each other, or
        there is no gap: a language model does not find a longer text harder.
      ran: trials with a file, at all rates.
      failed: of these, failed.
      unfinished: of these, not ended.
      edge_gaps: gaps at which some seed was read at the better end of the grid of rates.
      own_choice_gaps: gaps with a single seed, read at its own best rate.
    """

    task: str
    cell: str
    settings: dict[str, str | int]
    told_gap: bool
    swept_by: str
    parameters: tuple[int, int]
    match: str
    updates: tuple[int, int] | None
    rates: tuple[float, ...]
    points: tuple[Point, ...]
    horizon: Horizon | None
    ran: int
    failed: int
    unfinished: int
    edge_gaps: tuple[int, ...]
    own_choice_gaps: tuple[int, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed with a file at some gap, in order."""
        return tuple(
            sorted({seed for point in self.points for seed in point.seeds + point.missing})
        )


def summarise(records: Iterable[Record], order: Sequence[str] | None = None) -> list[Curve]:
    """Summarises rows, one curve an experiment.

    Args:
      records: as read, in any order.
      order: cell specs; curves of these come first, in this order, the others after them in order
        of first appearance.

    Returns:
      The curves, those of one task together.
    """
    records = list(records)
    readings: dict[learning_rates.Settings, list[Reading]] = {}
    for reading in learning_rates.choose_learning_rates(records):
        readings.setdefault(reading.settings, []).append(reading)
    by_settings: dict[learning_rates.Settings, list[Record]] = {key: [] for key in readings}
    for record in records:
        by_settings[learning_rates.settings_of(record.trial)].append(record)

    settings = {key: dict(zip(SETTINGS, key, strict=True)) for key in readings}
    tasks: dict[str, list[learning_rates.Settings]] = {}
    for key, task in zip(
        settings, _labels(list(settings.values()), "task", TASK_SETTINGS), strict=True
    ):
        tasks.setdefault(task, []).append(key)
    curves = []
    for task, keys in tasks.items():
        cells = _labels([settings[key] for key in keys], "cell", SETTINGS[len(TASK_SETTINGS) :])
        ranks = {cell: rank for rank, cell in enumerate(order or ())}
        named = sorted(
            zip(keys, cells, strict=True),
            key=lambda pair: ranks.get(settings[pair[0]]["cell"], len(ranks)),
        )
        curves += [
            _curve(task, cell, settings[key], readings[key], by_settings[key])
            for key, cell in named
        ]
    return curves


def _labels(settings: Sequence[dict], name: str, telling: Sequence[str]) -> list[str]:
    """Each one's spec, with those settings in which experiments of that spec differ."""
    by_spec: dict[str, list[dict]] = {}
    for own in settings:
        by_spec.setdefault(own[name], []).append(own)
    differing = {}
    for spec, alike in by_spec.items():
        values = {setting: {own[setting] for own in alike} for setting in telling}
        differing[spec] = {
            setting: _differing_options(found) if setting.endswith("options") else set()
            for setting, found in values.items()
            if len(found) > 1
        }
    return [
        _shown(
            ", ".join(
                [
                    own[name],
                    *(
                        _telling(setting, own[setting], options)
                        for setting, options in differing[own[name]].items()
                    ),
                ]
            )
        )
        for own in settings
    ]


def _differing_options(texts: Iterable[str]) -> set[str]:
    """Names of the options that are not the same in all of several JSON objects."""
    found: dict[str, list[str]] = {}
    count = 0
    for text in texts:
        count += 1
        for name, value in json.loads(text or "{}").items():
            found.setdefault(name, []).append(json.dumps(value, sort_keys=True))
    return {name for name, values in found.items() if len(values) < count or len(set(values)) > 1}


def _shown(value: str | int) -> str | int:
    """Text of a row as it is safe to print."""
    return printable(value, _LONGEST) if isinstance(value, str) else value


def _telling(setting: str, value: str | int, options: set[str]) -> str:
    """A setting as a label gives it: the start of a hash, of options those that differ."""
    if setting.endswith("sha256"):
        value = value[:8] or "built-in"
    elif setting.endswith("options"):
        own = json.loads(value or "{}")
        told = ", ".join(f"{name}={own[name]}" for name in own if name in options)
        return told or "other options"
    return f"{_SHORT.get(setting, setting)}={value}"


def _curve(
    task: str, cell: str, settings: dict, readings: Sequence[Reading], records: Sequence[Record]
) -> Curve:
    readings = sorted(readings, key=lambda reading: reading.gap)
    trials = {record.trial["gap"]: record.trial for record in records}
    points = tuple(_point(reading, trials[reading.gap]) for reading in readings)
    ended = [point for point in points if point.seeds]
    parameters = [record.trial["parameters"] for record in records]
    trial = records[0].trial
    return Curve(
        task,
        cell,
        {name: _shown(value) for name, value in settings.items()},
        trial["told_gap"],
        _shown(trial["swept_by"]),
        (min(parameters), max(parameters)),
        _shown(trial["match"]),
        _updates(records),
        tuple(sorted({rate for reading in readings for rate in reading.rates})),
        points,
        None if trial["minimal_lag"] is None else _horizon(ended),
        len(records),
        sum(record.end is not None and record.end["status"] == "failed" for record in records),
        sum(record.end is None for record in records),
        tuple(reading.gap for reading in readings if reading.at_edge),
        tuple(reading.gap for reading in readings if reading.own_choice),
    )


def _horizon(ended: Sequence[Point]) -> Horizon | None:
    gaps = [point.gap for point in ended]
    near = any(
        math.log(after / before) < _NEAREST_GAPS for before, after in itertools.pairwise(gaps)
    )
    if not gaps or len(gaps) > MOST_GAPS or near:
        return None
    solved = [point.solved for point in ended]
    return fit_horizon(gaps, solved, [len(point.seeds) for point in ended])


def _point(reading: Reading, trial: dict) -> Point:
    ends = [record.end for record in reading.chosen]
    solved = sum(end["status"] == "solved" for end in ends)
    accuracies = tuple(
        trial["chance"] if end["status"] == "failed" or end["accuracy"] is None else end["accuracy"]
        for end in ends
    )
    enough = len(ends) >= FEWEST_SEEDS
    return Point(
        reading.gap,
        tuple(record.trial["seed"] for record in reading.chosen),
        reading.missing,
        tuple(float(record.trial["learning_rate"]) for record in reading.chosen),
        solved,
        tuple(end["status"] == "failed" for end in ends),
        solved / len(ends) if ends else None,
        clopper_pearson(solved, len(ends)) if enough else None,
        accuracies,
        sum(accuracies) / len(accuracies) if ends else None,
        mean_accuracy_interval(accuracies),
        trial["chance"],
        trial["solved_at"],
    )


def _updates(records: Sequence[Record]) -> tuple[int, int] | None:
    ends = [record.end for record in records if record.end is not None]
    if not ends:
        return None
    most = max(end["budget"] for end in ends)
    unsolved = (end["budget"] for end in ends if end["status"] == "unsolved")
    return min(unsolved, default=most), most
