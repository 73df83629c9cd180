"""What rows say, gap by gap and as a horizon, for tables and figures alike. Needs no JAX."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lstm_jax import learning_rates
from lstm_jax.errors import InputError
from lstm_jax.gaps import parse_gaps
from lstm_jax.horizon import (
    FEWEST_SEEDS,
    Horizon,
    MeanInterval,
    clopper_pearson,
    fit_horizon,
    fit_retention,
    mean_interval,
)
from lstm_jax.labels import labels, shown
from lstm_jax.learning_rates import SETTINGS, TASK_SETTINGS, Reading
from lstm_jax.results import Record, Row

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
      bits: kept an answer, mean over seeds, a failed network counting 0; None where none are told.
      bits_interval: percentile bootstrap.
      bits_asked: an answer.
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
    bits: float | None
    bits_interval: MeanInterval | None
    bits_asked: float | None
    chance: float
    solved_at: float

    @property
    def above_chance(self) -> float | None:
        """Mean accuracy as a part of the way from chance to 1; None if no trial ended."""
        if self.mean_accuracy is None or self.chance == 1:
            return None
        return (self.mean_accuracy - self.chance) / (1 - self.chance)


class Curve(NamedTuple):
    """One experiment: a task, a cell and all settings but gap, seed and learning rate.

    Attributes:
      task: label of the task: its spec, and what else tells it from others in these rows.
      cell: label of the cell, likewise.
      settings: by name, as in the `trial` row.
      told_gap: an option of the cell was set to the gap.
      swept_by: `gap` or `length`.
      train_gaps: what each network was trained on, to be asked at every gap; empty where it was
        trained at the gap at which it is asked.
      trained: the same as gaps, rising.
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
    train_gaps: str
    trained: tuple[int, ...]
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
        settings, labels(list(settings.values()), "task", TASK_SETTINGS), strict=True
    ):
        tasks.setdefault(task, []).append(key)
    curves = []
    for task, keys in tasks.items():
        cells = labels([settings[key] for key in keys], "cell", SETTINGS[len(TASK_SETTINGS) :])
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


def _curve(
    task: str, cell: str, settings: dict, readings: Sequence[Reading], records: Sequence[Record]
) -> Curve:
    readings = sorted(readings, key=lambda reading: reading.gap)
    trials = {record.trial["gap"]: record.trial for record in records}
    trial = records[0].trial
    train_gaps = trial.get("train_gaps", "")
    if train_gaps:
        points, horizon = _retention(readings[-1], trials[readings[-1].gap])
    else:
        points = tuple(
            _point(reading, reading.gap, [one.end for one in reading.chosen], trials[reading.gap])
            for reading in readings
        )
        horizon = _horizon([point for point in points if point.seeds])
    parameters = [record.trial["parameters"] for record in records]
    return Curve(
        task,
        cell,
        {name: shown(value) for name, value in settings.items()},
        trial["told_gap"],
        shown(trial["swept_by"]),
        shown(train_gaps),
        _listed(train_gaps),
        (min(parameters), max(parameters)),
        shown(trial["match"]),
        _updates(records),
        tuple(sorted({rate for reading in readings for rate in reading.rates})),
        points,
        None if trial["minimal_lag"] is None else horizon,
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


def _retention(reading: Reading, trial: Row) -> tuple[tuple[Point, ...], Horizon | None]:
    """What networks that were each trained once did at every gap at which they were asked."""
    trained, gaps = (_listed(trial.get(name, "")) for name in ("train_gaps", "eval_gaps"))
    by_gap = [{row["evaluated_gap"]: row for row in one.retained} for one in reading.chosen]
    whole = [set(gaps) <= set(rows) for rows in by_gap]  # in a stranger's rows some may not be
    reading = reading._replace(chosen=tuple(itertools.compress(reading.chosen, whole)))
    by_gap = list(itertools.compress(by_gap, whole))
    if not by_gap or not gaps or not trained:
        return (_point(reading._replace(chosen=()), reading.gap, [], trial),), None
    points = tuple(
        _point(reading, gap, [rows[gap] for rows in by_gap], by_gap[0][gap]) for gap in gaps
    )
    solved = [[rows[gap]["solved"] for gap in gaps] for rows in by_gap]
    return points, fit_retention(gaps, solved, trained[0])


def _listed(text: str) -> tuple[int, ...]:
    """The gaps that a row lists; none if it is a stranger's and lists none."""
    try:
        return parse_gaps(text)
    except InputError:
        return ()


def _point(reading: Reading, gap: int, ends: Sequence[Row], told: Row) -> Point:
    """The seeds of a reading at a gap, from the rows `ends`; `told` has chance and threshold."""
    failed = tuple(record.end["status"] == "failed" for record in reading.chosen)
    solved = sum(end.get("solved", end.get("status") == "solved") for end in ends)
    accuracies = tuple(
        told["chance"] if broke or end["accuracy"] is None else end["accuracy"]
        for broke, end in zip(failed, ends, strict=True)
    )
    kept = [0.0 if broke else end.get("bits") for broke, end in zip(failed, ends, strict=True)]
    asked = [end["bits_asked"] for end in ends if end.get("bits_asked") is not None]
    if not asked or None in kept:
        kept = []
    enough = len(ends) >= FEWEST_SEEDS
    return Point(
        gap,
        tuple(record.trial["seed"] for record in reading.chosen),
        reading.missing,
        tuple(float(record.trial["learning_rate"]) for record in reading.chosen),
        solved,
        failed,
        solved / len(ends) if ends else None,
        clopper_pearson(solved, len(ends)) if enough else None,
        accuracies,
        sum(accuracies) / len(accuracies) if ends else None,
        mean_interval(accuracies),
        math.fsum(kept) / len(kept) if kept else None,
        mean_interval(kept),
        math.fsum(asked) / len(asked) if kept else None,
        told["chance"],
        told["solved_at"],
    )


def _updates(records: Sequence[Record]) -> tuple[int, int] | None:
    ends = [record.end for record in records if record.end is not None]
    if not ends:
        return None
    most = max(end["budget"] for end in ends)
    unsolved = (end["budget"] for end in ends if end["status"] == "unsolved")
    return min(unsolved, default=most), most
