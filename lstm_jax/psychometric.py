"""Likelihood of a falling logistic curve: the share of solved trials against log gap.

    logit p(x) = slope (crossing - x),   x = log gap,   0 <= slope <= infinity.

The likelihood is profiled over the crossing on a fine grid that reaches far outside the data, so no
search can fail: not under complete separation, where the best slope is infinite, nor where the
counts do not fall at all, where it is zero. NumPy and SciPy only.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

_INSIDE = 16  # crossings tried between two neighbouring gaps
_EDGE = 1e-6  # how near a gap its two sides are tried, in units of the smallest spacing
_BISECTIONS = 26
_DRAWS = 199
_NEWTON_STEPS = 8


class Profile(NamedTuple):
    """The best fit at each crossing that was tried.

    Attributes:
      crossings: log gaps, rising `[tried]`.
      deviance: twice the log likelihood lost against the best of all `[tried]`.
      slopes: best slope at each crossing `[tried]`.
      edge: distance at which the two sides of every gap were tried.
    """

    crossings: np.ndarray
    deviance: np.ndarray
    slopes: np.ndarray
    edge: float

    @property
    def best(self) -> int:
        """Index of a crossing of least deviance."""
        return int(np.argmin(self.deviance))

    def ends(self, cut: float) -> tuple[float, float]:
        """First and last crossing of deviance at most `cut`, interpolated between those tried."""
        inside = np.flatnonzero(self.deviance <= cut)
        ends = []
        for index, outer in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
            end = self.crossings[index]
            if 0 <= outer < len(self.crossings):
                rise = self.deviance[outer] - self.deviance[index]
                part = (cut - self.deviance[index]) / rise
                end = end + part * (self.crossings[outer] - end)
            ends.append(float(end))
        return ends[0], ends[1]


def spacing(x: np.ndarray) -> float:
    """The smallest distance between neighbouring log gaps; 1 for a single one."""
    return float(np.diff(x).min()) if len(x) > 1 else 1.0


def profile(x: np.ndarray, solved: np.ndarray, total: np.ndarray) -> Profile:
    """Profiles the likelihood over the crossing.

    Args:
      x: log gaps, rising `[gaps]`.
      solved: trials that solved the task `[gaps]`.
      total: trials `[gaps]`.
    """
    crossings, edge = _tried(x)
    likelihood, _ = _best_slopes(x, solved, total, crossings)
    best = np.clip(likelihood.argmax(), 1, len(crossings) - 2)
    nearer = np.linspace(crossings[best - 1], crossings[best + 1], 2 * _INSIDE)
    crossings = np.sort(np.append(crossings, nearer))
    likelihood, slopes = _best_slopes(x, solved, total, crossings)
    return Profile(crossings, 2 * (likelihood.max() - likelihood), slopes, edge)


def p_value(x: np.ndarray, solved: np.ndarray, total: np.ndarray, logit: np.ndarray) -> float:
    """How often counts drawn from the fitted curve, refitted, lie as far from their own fit.

    The statistic is the deviance from the saturated model. Its chi-squared limit is poor where most
    shares are near 0 or 1, hence the parametric bootstrap, from a fixed seed.

    Args:
      x, solved, total: as of `profile`.
      logit: of the fitted curve `[gaps]`.
    """
    observed = _saturated(solved, total) - _log_likelihood(solved, total, logit)
    if observed < 1e-3:
        return 1.0
    share = special.expit(logit)
    draws = np.random.default_rng(0).binomial(total.astype(int), share, (_DRAWS, x.size))
    drawn = _saturated(draws, total) - _refitted(x, draws, total, logit)
    return (1 + int((drawn >= observed).sum())) / (1 + _DRAWS)


def _tried(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Every gap and both its sides (a step at a gap may have any share there, which only its sides
    reach), points between gaps, and points far outside."""
    span = float(x[-1] - x[0]) or 1.0
    edge = _EDGE * spacing(x)
    between = np.linspace(x[:-1], x[1:], _INSIDE + 2)[1:-1].ravel()
    outside = span * np.geomspace(1e-2, 1e3, 16)
    tried = [x, x - edge, x + edge, between, x[0] - outside, x[-1] + outside]
    return np.sort(np.concatenate(tried)), edge


def _best_slopes(
    x: np.ndarray, solved: np.ndarray, total: np.ndarray, crossings: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best log likelihood, and the slope that gives it, for each crossing.

    At a fixed crossing the log likelihood is concave in the slope: its derivative is bisected on a
    log scale, for all crossings at once. The steepest slope is a step even at the edge of a gap.
    """
    distance = crossings[:, None] - x
    low = np.full(crossings.shape, np.log(1e-6 / (x[-1] - x[0] or 1.0)))
    high = np.full(crossings.shape, np.log(1e8 / spacing(x)))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        share = special.expit(np.exp(middle)[:, None] * distance)
        rising = ((solved - total * share) * distance).sum(axis=-1) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    slopes = np.exp((low + high) / 2)
    return _log_likelihood(solved, total, slopes[:, None] * distance), slopes


def _log_likelihood(solved: np.ndarray, total: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Binomial log likelihood, without its constant, summed over the last axis."""
    failed = total - solved
    return -(solved * np.logaddexp(0, -logit) + failed * np.logaddexp(0, logit)).sum(axis=-1)


def _saturated(solved: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Log likelihood where every gap has its own share."""
    share = solved / total
    return (special.xlogy(solved, share) + special.xlogy(total - solved, 1 - share)).sum(axis=-1)


def _refitted(
    x: np.ndarray, solved: np.ndarray, total: np.ndarray, logit: np.ndarray
) -> np.ndarray:
    """Best log likelihood over falling curves of each row of counts `[draws, gaps]`.

    Newton's method from the observed fit. The best of its steps and of the constant share counts,
    so a step too far costs nothing.
    """
    constant = solved.sum(axis=-1, keepdims=True) / total.sum()
    best = special.xlogy(solved, constant) + special.xlogy(total - solved, 1 - constant)
    best = best.sum(axis=-1)
    centred = x - x.mean()
    logit = np.broadcast_to(logit, solved.shape)
    for _ in range(_NEWTON_STEPS):
        falling = logit[:, 0] >= logit[:, -1]
        best = np.where(falling, np.maximum(best, _log_likelihood(solved, total, logit)), best)
        share = special.expit(logit)
        residual, weight = solved - total * share, total * share * (1 - share) + 1e-6
        level, tilt = residual.sum(axis=-1), (residual * centred).sum(axis=-1)
        s0, s1, s2 = (np.sum(weight * centred**power, axis=-1) for power in (0, 1, 2))
        determinant = s0 * s2 - s1**2 + 1e-12
        step = (s2 * level - s1 * tilt) / determinant
        turn = (s0 * tilt - s1 * level) / determinant
        logit = np.clip(logit + step[:, None] + turn[:, None] * centred, -30, 30)
    return best
