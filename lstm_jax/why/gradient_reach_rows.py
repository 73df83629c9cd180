"""How far back gradients reach: the rows of `experiments/gradient_reach.py`, and reading them. No
JAX."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lstm_jax.observations import Kind
from lstm_jax.rows import Row

FIT_FROM = 10  # the first lag of the fit: before, the way through the output alone still counts
_FEWEST_LAGS = 3  # of a fit
_LARGEST = 1e9  # of a number in a list that is read
# A setting is what networks share that are shown together.
_APART = ("cell", "hidden_size", "update", "seed")


@dataclasses.dataclass(frozen=True)
class Look:
    """One look at one network.

    Attributes:
      task: canonical spec.
      gap: that the network is trained at.
      cell: canonical spec.
      hidden_size: units.
      update: updates done; 0 is before training.
      seed: of parameters and training data, and of the probes.
      lags: at which to look, as a list; the carry at the largest is never the initial one.
      examples: over which geometric means are taken.
      probes: directions asked for, as `trial_reach.looks` takes them.
      warm_up: steps before the carry at the largest lag, at least.
      embedding_size, optimizer, learning_rate, clip, batch_size, matmul_precision: as of a trial.
    """

    task: str
    gap: int
    cell: str
    hidden_size: int
    update: int
    seed: int
    lags: str
    examples: int
    probes: int
    warm_up: int
    embedding_size: int
    optimizer: str
    learning_rate: float
    clip: str
    batch_size: int
    matmul_precision: str

    @property
    def slug(self) -> str:
        """The readable part of its file's name."""
        cell = re.sub(r"[^A-Za-z0-9.=+-]", "_", self.cell)[:60]
        return f"{cell}-gap{self.gap}-update{self.update}-seed{self.seed}"


# Reaches are natural logarithms, None where a derivative is exactly zero; lists go with `at_lags`,
# and are empty where a cell has nothing of the sort.
KIND = Kind(
    "gradient_reach",
    Look,
    {
        "trial_id": str,  # of the same training in a sweep
        "told_gap": bool,
        "match": str,  # how hidden sizes were chosen
        "parameters": int,
        "sequences_gap": int,  # of the sequences that the carry is looked at on
        "probes_used": int,  # 0: exact
        "finite": bool,  # whether every parameter and reach was, but for zeros
        "loss": (float, type(None)),
        "accuracy": (float, type(None)),  # at the gap, on the monitor set
        "at_lags": list,
        "log_reach": list,  # d h_T / d carry_{T-k}
        "log_reach_error": list,  # standard errors from the probes
        "leaves": list,  # names
        "log_reach_by_leaf": list,  # one leaf's lags after another's
        "log_memory": list,  # d C_T / d C_{T-k}
        "log_direct": list,  # the way through the gate alone
        "log_bound": list,  # of Pascanu et al.
        "log_input_reach": list,  # d loss / d x_{T-k}; None beyond the gap
        "decay_rate": (float, type(None)),  # slope of log_reach, a step
        "half_life": (float, type(None)),  # steps; None also where the reach does not fall
        "fit_first": int,  # lags of the fit
        "fit_last": int,
    },
)


class Decay(NamedTuple):
    """A line through the logarithm of the reach against the lag.

    Attributes:
      rate: its slope a step, negative where the reach falls; None where the reach is zero or no
        number at a lag of the fit.
      half_life: steps in which the reach halves; infinite where it does not fall, None without a
        rate.
      first: the first lag of the fit.
      last: its last.
    """

    rate: float | None
    half_life: float | None
    first: int
    last: int


def half_life(rate: float) -> float:
    """Steps in which what changes as exp(rate * steps) halves; infinite where it does not fall."""
    return math.log(2) / -rate if rate < 0 else math.inf


def decay(lags: Sequence[int], log_reach: Sequence[float | None]) -> Decay:
    """Fits a line by least squares over the lags from `FIT_FROM` on, or over all of them where
    there are fewer than three such. Each lag of the grid counts the same."""
    start = next((at for at, lag in enumerate(lags) if lag >= FIT_FROM), len(lags))
    start = start if len(lags) - start >= _FEWEST_LAGS else 0
    x, y = list(lags[start:]), list(log_reach[start:])
    if len(x) < 2 or any(value is None or not math.isfinite(value) for value in y):
        return Decay(None, None, x[0], x[-1])
    x_mean, y_mean = math.fsum(x) / len(x), math.fsum(y) / len(y)
    squares = math.fsum((a - x_mean) ** 2 for a in x)
    products = math.fsum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    rate = products / squares
    return Decay(rate, half_life(rate), x[0], x[-1])


class Point(NamedTuple):
    """Networks of one cell after the same updates.

    Attributes:
      cell: spec.
      hidden_size: units.
      update: updates done.
      rows: by seed.
    """

    cell: str
    hidden_size: int
    update: int
    rows: tuple[Row, ...]

    @property
    def gap(self) -> int:
        """That they are trained at."""
        return self.rows[0]["gap"]

    @property
    def lags(self) -> list[int]:
        """At which they were looked at."""
        return self.rows[0]["at_lags"]

    def logs(self, field: str) -> np.ndarray:
        """`[seeds, lags]` natural logarithms of a field, -inf where it is zero; `[0, lags]` where
        the cell has nothing of the sort."""
        own = [row[field] for row in self.rows if row[field]]
        values = [[-math.inf if value is None else value for value in one] for one in own]
        return np.asarray(values, np.float64).reshape(-1, len(self.lags))

    def at(self, field: str, lag: int) -> list[float]:
        """By seed, the natural logarithms at a lag; none where there is no such lag or field."""
        return self.logs(field)[:, self.lags.index(lag)].tolist() if lag in self.lags else []

    def change(self, lag: int) -> list[float]:
        """By seed, the natural logarithm of reach(lag) / reach(1)."""
        return _differences(self.at("log_reach", lag), self.at("log_reach", 1))

    def direct_share(self, lag: int) -> list[float]:
        """By seed, the natural logarithm of the direct path's norm over that of d C_T / d C_{T-k},
        all ways together."""
        return _differences(self.at("log_direct", lag), self.at("log_memory", lag))

    def rates(self) -> list[float]:
        """Decay rates a step, of the seeds that have one."""
        return [row["decay_rate"] for row in self.rows if row["decay_rate"] is not None]


def _differences(these: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each pair; none where one side has no such lag."""
    return [a - b for a, b in zip(these, others, strict=True)] if these and others else []


def sound(row: Row) -> bool:
    """Whether a row's lists fit together, and its numbers are such as can be drawn."""
    lags, lists = row["at_lags"], [row[name] for name in KIND.told if name.startswith("log_")]
    numbers = [value for value in row.values() if isinstance(value, int | float)]
    numbers += [value for own in (lags, *lists) for value in own if value is not None]
    if any(isinstance(value, str) or not abs(value) < _LARGEST for value in numbers):
        return False
    if not lags or not all(isinstance(lag, int) for lag in lags) or lags[0] < 1:
        return False
    whole, by_leaf = row["log_reach"], row["log_reach_by_leaf"]
    return (
        all(after > before for before, after in itertools.pairwise(lags))
        and len(whole) == len(lags)
        and len(by_leaf) == len(row["leaves"]) * len(lags)
        and all(len(own) in (0, len(lags)) for own in lists if own is not by_leaf)
    )


def settings(rows: Sequence[Row]) -> list[list[Point]]:
    """Points of each setting, by cell in the order of first rows' names, then by update; rows that
    are not `sound` are left out."""
    names = [field.name for field in dataclasses.fields(Look) if field.name not in _APART]
    found: dict[tuple, dict[tuple, dict[int, Row]]] = {}
    for row in filter(sound, rows):
        setting = tuple(row[name] for name in names)
        kind = row["cell"], row["hidden_size"], row["update"]
        found.setdefault(setting, {}).setdefault(kind, {})[row["seed"]] = row
    return [
        [
            Point(*kind, tuple(row for _, row in sorted(own.items())))
            for kind, own in sorted(by_kind.items())
        ]
        for _, by_kind in sorted(found.items())
    ]
