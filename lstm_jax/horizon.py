"""From counts of solved trials to a horizon with its uncertainty. Needs no JAX.

At each gap some of the trained networks solve the task. The horizon is the gap at which half of
them do, under the psychometric function: logistic in log gap, with a slope that never rises
(`psychometric.py`).

The interval is that of the profile likelihood of log horizon (Venzon and Moolgavkar 1988), which
exists under complete separation too. With few seeds the likelihood ratio is larger than its
limiting chi-squared distribution: simulated at the true horizon on half-octave grids it averaged
1.14 at 5 seeds, 1.10 at 6, 1.08 at 10, 1.01 at 30. The cut-off is therefore scaled by 1 + 1/seeds
(the idea is Bartlett's, 1937; the factor is ours). Trials count as independent.

Simulated coverage of the 95 % interval at 5, 6, 10 and 30 seeds, over true horizons all along the
grid: 0.945 to 0.975 on half octaves, 0.94 to 0.996 on octaves. At single true horizons between the
gaps of an octave grid it comes down to 0.91.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from lstm_jax import psychometric
from lstm_jax.errors import InputError

FEWEST_SEEDS = 5  # with fewer, an interval says next to nothing: none is given
FEWEST_NETWORKS = 6  # with fewer, no two order statistics have 95 % between them
POOR_FIT = 0.05
_FLAT = 2e-6  # crossings whose deviance is smaller fit equally well
_STEP = 20  # logits between neighbouring gaps from which on a slope is that of a step
_RESAMPLES = 2000


class Horizon(NamedTuple):
    """Where the share of solved networks crosses one half, in the unit of the swept gaps.

    Attributes:
      estimate: of maximum likelihood; the geometric middle of `bracket` where there is one;
        infinity if beyond the last gap, 0.0 if before the first.
      bracket: the gaps between which every crossing fits the counts equally well (under complete
        separation two neighbours); None where the estimate is a point, or censored.
      interval: low and high; low is 0.0 where crossings before the first gap are not excluded, high
        infinity where those beyond the last are not: nothing else is claimed outside the grid. None
        under `FEWEST_SEEDS` seeds.
      slope: at the estimate, in logits per unit of log gap; infinite for a step.
      reliable: the largest gap that every seed solved, as it did every smaller one; None if there
        is none.
      p_value: of the fit against the counts, by parametric bootstrap.
      first: smallest gap of the grid.
      last: largest gap of the grid.
    """

    estimate: float
    bracket: tuple[int, int] | None
    interval: tuple[float, float] | None
    slope: float
    reliable: int | None
    p_value: float
    first: int
    last: int

    @property
    def between(self) -> tuple[float, float] | None:
        """The part of the bracket that the interval does not exclude; None for a point."""
        if self.bracket is None or self.interval is None:
            return self.bracket
        (low, high), (least, most) = self.bracket, self.interval
        return max(low, least), min(high, most)

    @property
    def poor_fit(self) -> bool:
        """Whether a falling logistic curve is hard to believe; the horizon then means little."""
        return self.p_value < POOR_FIT


class MeanInterval(NamedTuple):
    """A percentile interval of a mean.

    Attributes:
      low: its low end.
      high: its high end.
      degenerate: all values are equal, so it has no width and says nothing about other seeds.
    """

    low: float
    high: float
    degenerate: bool


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934): it covers at least as promised.

    Raises:
      InputError: not 0 <= successes <= trials, no trials, or a confidence outside (0, 1).
    """
    if not (0 <= successes <= trials and trials > 0 and 0 < confidence < 1):
        raise InputError(f"no interval of {successes} out of {trials} at confidence {confidence}")
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return float(low), float(high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval | None:
    """Percentile bootstrap of the mean (Efron 1979), from 2,000 resamples drawn with a fixed seed.

    It is too short at few seeds, and blind to what the seeds at hand do not show; horizons do not
    read it. The values are sorted first, so that their order changes nothing.

    Returns:
      None under `FEWEST_SEEDS` values.
    """
    values = np.sort(np.asarray(values, np.float64))
    if values.size < FEWEST_SEEDS:
        return None
    random = np.random.default_rng(0)
    means = np.concatenate(
        [  # a few at a time, which takes less memory and draws the same
            values[random.integers(values.size, size=(_RESAMPLES // 20, values.size))].mean(axis=1)
            for _ in range(20)
        ]
    )
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return MeanInterval(float(low), float(high), bool(values[0] == values[-1]))


def fit_horizon(
    gaps: Sequence[int], solved: Sequence[int], total: Sequence[int], confidence: float = 0.95
) -> Horizon:
    """Fits a falling logistic curve to the share solved against log gap.

    Coverage is held by simulation at 6, 10 and 30 seeds (`tests/test_horizon.py`). Where the curve
    falls within one step of the grid the answer is a bracket, and no finer than the grid.

    Args:
      gaps: the grid, rising.
      solved: trials that solved the task, at each gap.
      total: trials that ended, at each gap; at least 1.
      confidence: of the interval.

    Raises:
      InputError: lengths differ, no gaps, gaps that do not rise from 1 up, impossible counts.
    """
    _check(gaps, solved, total)
    x = np.log(np.asarray(gaps, np.float64))
    successes, trials = np.asarray(solved, np.float64), np.asarray(total, np.float64)
    fit = psychometric.profile(x, successes, trials)
    estimate, bracket = _estimate(x, gaps, fit)
    slope, crossing = float(fit.slopes[fit.best]), fit.crossings[fit.best]
    if slope * psychometric.spacing(x) >= _STEP and bracket is None:
        estimate, bracket = _step(estimate, gaps, successes / trials)
    interval = None
    if min(total) >= FEWEST_SEEDS:
        cut = special.chdtri(1, 1 - confidence) * (1 + 1 / min(total))
        low, high = fit.ends(cut)
        interval = (
            0.0 if low < x[0] - fit.edge / 2 else _gap(min(low, x[-1]), x, gaps, fit.edge),
            math.inf if high > x[-1] + fit.edge / 2 else _gap(max(high, x[0]), x, gaps, fit.edge),
        )
        if bracket:  # a middle for want of a better; it belongs into the interval
            estimate = min(max(estimate, interval[0]), interval[1])
    return Horizon(
        estimate,
        bracket,
        interval,
        slope if slope * psychometric.spacing(x) < _STEP else math.inf,
        _reliable(gaps, solved, total),
        psychometric.p_value(x, successes, trials, slope * (crossing - x)),
        gaps[0],
        gaps[-1],
    )


def fit_retention(
    gaps: Sequence[int], solved: Sequence[Sequence[bool]], begin: int, confidence: float = 0.95
) -> Horizon:
    """The horizon of networks that were each asked at every gap: up to where half of them reach.

    A network reaches the largest gap up to which it solves every one, from the first that is not
    before `begin`. The horizon lies between the largest gap that half of the networks reach and the
    next. What it does at one gap and at the next is one network's doing, so the trials
    are no sample of a logistic curve. Reaches of different networks are independent: the interval
    is that of order statistics, which needs no shape (Thompson 1936), from 6 networks on at 95 %. A
    reach lies between two gaps of the grid, and the interval takes the side that makes it wider.

    Args:
      gaps: the grid, rising.
      solved: of each network, at each gap; at least one network.
      begin: the smallest gap of the training, from which on gaps count; all do if none is so large.
      confidence: of the interval.

    Raises:
      InputError: lengths differ, no gaps or networks, gaps that do not rise from 1 up.
    """
    for own in solved or [()]:
        _check(gaps, own, [1] * len(gaps))
    kept = [index for index, gap in enumerate(gaps) if gap >= begin] or range(len(gaps))
    grid = [gaps[index] for index in kept]
    runs = [[own[index] for index in kept] for own in solved]
    reaches = sorted(run.index(False) if False in run else len(run) for run in runs)  # gaps passed
    count = len(reaches)

    def side(passed):  # between which gaps a reach lies
        return grid[passed - 1] if passed else 0.0, grid[passed] if passed < len(grid) else math.inf

    low, high = side(reaches[count // 2])  # as many reach this, or more, as do not
    bracket = (low, high) if low > 0 and high < math.inf else None
    estimate = math.sqrt(low * high) if bracket else (math.inf if low else 0.0)
    # How many networks at either end may lie beyond the interval.
    shares = special.bdtr(np.arange(count + 1), count, 0.5)
    beyond = int((shares < (1 - confidence) / 2).sum())
    interval = None
    if beyond > 0:
        interval = side(reaches[beyond - 1])[0], side(reaches[count - beyond])[1]
    everyone = side(reaches[0])[0]
    return Horizon(
        estimate, bracket, interval, math.nan, int(everyone) or None, 1.0, grid[0], grid[-1]
    )


def _check(gaps: Sequence[int], solved: Sequence[int], total: Sequence[int]) -> None:
    if not len(gaps) == len(solved) == len(total) or not len(gaps):
        raise InputError(f"{len(gaps)} gaps, {len(solved)} and {len(total)} counts: none to fit")
    if gaps[0] < 1 or any(after <= before for before, after in itertools.pairwise(gaps)):
        raise InputError(f"gaps {list(gaps)}: they must rise, from 1 up")
    if any(not 0 <= k <= n or n < 1 for k, n in zip(solved, total, strict=True)):
        raise InputError(f"{list(solved)} solved of {list(total)}: impossible counts")


def _estimate(
    x: np.ndarray, gaps: Sequence[int], fit: psychometric.Profile
) -> tuple[float, tuple[int, int] | None]:
    """Estimate and bracket, from the crossings that fit best, equally well."""
    flat = fit.crossings[fit.deviance < _FLAT]
    low, high = flat[0], flat[-1]
    if low > x[-1] + fit.edge / 2:
        return math.inf, None
    if high < x[0] - fit.edge / 2:
        return 0.0, None
    near = 2 * fit.edge
    low, high = max(low, x[0]), min(high, x[-1])
    below = np.searchsorted(x, low + near) - 1  # the last gap that is not beyond `low`
    above = np.searchsorted(x, high - near)  # the first that is not before `high`
    if below < above and low - x[below] < near and x[above] - high < near:
        return math.exp((x[below] + x[above]) / 2), (gaps[below], gaps[above])
    return _gap((low + high) / 2, x, gaps, fit.edge), None


def _step(
    estimate: float, gaps: Sequence[int], share: np.ndarray
) -> tuple[float, tuple[int, int] | None]:
    """Where a step fits best, with one gap of another share at its edge, the likelihood sticks to
    that gap: the counts say no more than between which gaps one half is crossed."""
    below = np.flatnonzero(share > 0.5)
    if not 0 < estimate < math.inf or (share == 0.5).any() or not below.size:
        return estimate, None
    bracket = gaps[below[-1]], gaps[below[-1] + 1]
    return math.sqrt(bracket[0] * bracket[1]), bracket


def _gap(log_gap: float, x: np.ndarray, gaps: Sequence[int], edge: float) -> float:
    """The exponential; exactly a gap of the grid where the sides of one are meant."""
    nearest = int(np.abs(x - log_gap).argmin())
    return float(gaps[nearest]) if abs(x[nearest] - log_gap) < 5 * edge else math.exp(log_gap)


def _reliable(gaps: Sequence[int], solved: Sequence[int], total: Sequence[int]) -> int | None:
    reliable = None
    for gap, successes, trials in zip(gaps, solved, total, strict=True):
        if successes < trials:
            break
        reliable = gap
    return reliable
