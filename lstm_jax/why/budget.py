"""Horizon against updates, read from logged evaluations: was it trained long enough? Needs no JAX.

At a budget of `u` updates a network counts as one that solves the task if it did so, on the monitor
set, at some evaluation up to `u`. So one sweep tells the horizons of all smaller budgets. (At the
sweep's own budget horizons are read on the report set, and may differ a little.)
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lstm_jax.horizon import FEWEST_SEEDS, Horizon, fit_horizon
from lstm_jax.labels import shown
from lstm_jax.learning_rates import SETTINGS, Reading, choose_learning_rates
from lstm_jax.results import Record
from lstm_jax.summary import Curve, summarise

FEWEST_BUDGETS = 3  # that a line through horizons rests on
_RESAMPLES = 400
_FALLING = 2  # each budget is this part of the next larger one
_MOST_BUDGETS = 8


class AtBudget(NamedTuple):
    """One cell at one budget.

    Attributes:
      updates: the budget.
      solved: networks that solved the task by then, by gap.
      total: networks, by gap.
      horizon: of these.
    """

    updates: int
    solved: tuple[int, ...]
    total: tuple[int, ...]
    horizon: Horizon


class Exponent(NamedTuple):
    """a of horizon ~ updates^a.

    Attributes:
      estimate: least squares on logarithms, over the budgets at which the horizon is within the
        gaps of the sweep.
      interval: 95 % percentile bootstrap over seeds; None under `FEWEST_SEEDS` seeds, or where more
        than one resample in twenty has no estimate.
      budgets: how many it rests on.
    """

    estimate: float
    interval: tuple[float, float] | None
    budgets: int


class Growth(NamedTuple):
    """How the horizon of one cell grows with the budget.

    Attributes:
      curve: the summary at the sweep's own budget.
      gaps: rising.
      budgets: rising, the last the sweep's own.
      exponent: None where fewer than `FEWEST_BUDGETS` budgets have a horizon within the gaps.
    """

    curve: Curve
    gaps: tuple[int, ...]
    budgets: tuple[AtBudget, ...]
    exponent: Exponent | None


def budgets_up_to(most: int, eval_every: int) -> tuple[int, ...]:
    """Halvings of `most` down to one evaluation, cut to multiples of `eval_every`, rising."""
    found, updates = [], float(most)
    while (updates >= eval_every or not found) and len(found) < _MOST_BUDGETS:
        found.append(max(int(updates // eval_every), 1) * eval_every)
        updates /= _FALLING
    return tuple(sorted(set(found)))


def solved_at_update(record: Record) -> float:
    """The first update at which a network solved its task on the monitor set; infinity if never,
    or if its training failed."""
    if record.end is None or record.end["status"] == "failed":
        return math.inf
    first = record.end["first_solved_update"]
    return math.inf if first is None else first


def growths(records: Iterable[Record], order: Sequence[str] | None = None) -> list[Growth]:
    """How horizons grow with the budget, by curve, in the order of `summary.summarise`.

    Networks that are trained on several gaps, or asked for no gap, are passed over.
    """
    records = list(records)
    readings: dict[tuple, list[Reading]] = {}
    for reading in choose_learning_rates(records):
        settings = {name: shown(v) for name, v in zip(SETTINGS, reading.settings, strict=True)}
        readings.setdefault(tuple(settings.items()), []).append(reading)
    found = []
    for curve in summarise(records, order):
        if curve.horizon is not None and not curve.train_gaps and curve.updates:
            own = [one for one in readings[tuple(curve.settings.items())] if one.chosen]
            found.append(_growth(curve, sorted(own, key=lambda reading: reading.gap)))
    return found


def _growth(curve: Curve, readings: Sequence[Reading]) -> Growth:
    trial = readings[0].chosen[0].trial
    gaps = tuple(reading.gap for reading in readings)
    updates = budgets_up_to(curve.updates[1], trial["eval_every"])
    firsts = [  # by gap, by seed
        {record.trial["seed"]: solved_at_update(record) for record in reading.chosen}
        for reading in readings
    ]
    fit = functools.cache(functools.partial(_fit, gaps))
    total = tuple(len(own) for own in firsts)

    def at(budget: int) -> AtBudget:
        solved = tuple(sum(first <= budget for first in own.values()) for own in firsts)
        return AtBudget(budget, solved, total, fit(solved, total))

    budgets = tuple(at(budget) for budget in updates)
    return Growth(curve, gaps, budgets, _exponent(budgets, firsts, fit))


def _fit(gaps, solved, total) -> Horizon:
    return fit_horizon(gaps, solved, total)


def _exponent(budgets: Sequence[AtBudget], firsts: Sequence[dict], fit) -> Exponent | None:
    slope, used = _slope([(one.updates, one.horizon.estimate) for one in budgets])
    if slope is None:
        return None
    seeds = sorted(set.intersection(*(set(own) for own in firsts)))
    if len(seeds) < FEWEST_SEEDS:
        return Exponent(slope, None, used)
    random, slopes = np.random.default_rng(0), []
    values = np.array([[own[seed] for own in firsts] for seed in seeds])
    for _ in range(_RESAMPLES):
        drawn = values[random.integers(len(seeds), size=len(seeds))]
        total = (len(seeds),) * len(firsts)
        points = [
            (one.updates, fit(tuple(map(int, (drawn <= one.updates).sum(0))), total).estimate)
            for one in budgets
        ]
        slopes.append(_slope(points)[0])
    found = [one for one in slopes if one is not None]
    if len(found) < 0.95 * _RESAMPLES:
        return Exponent(slope, None, used)
    low, high = np.percentile(found, [2.5, 97.5])
    return Exponent(slope, (float(low), float(high)), used)


def _slope(points: Sequence[tuple[int, float]]) -> tuple[float | None, int]:
    """Slope of log horizon on log updates where the horizon is not censored, and how many."""
    inside = [(u, horizon) for u, horizon in points if 0 < horizon < math.inf]
    if len(inside) < FEWEST_BUDGETS:
        return None, len(inside)
    x, y = np.log(np.array(inside, np.float64).T)
    return float(np.polyfit(x, y, 1)[0]), len(inside)
