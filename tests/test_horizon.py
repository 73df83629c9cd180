"""Intervals, and the horizon against hand-computed cases, brute force and simulation."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from lstm_jax.errors import InputError
from lstm_jax.horizon import clopper_pearson, fit_horizon, mean_interval

OCTAVES = [5, 10, 20, 40, 80, 160]
HALF_OCTAVES = [5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226]


@pytest.mark.parametrize("trials", [1, 5, 6, 30])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_clopper_pearson_is_the_exact_binomial_interval(trials, confidence):
    for successes in range(trials + 1):
        exact = stats.binomtest(successes, trials).proportion_ci(confidence, "exact")
        found = clopper_pearson(successes, trials, confidence)
        np.testing.assert_allclose(found, (exact.low, exact.high), atol=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_shares_are_refused(successes, trials):
    with pytest.raises(InputError, match="no interval"):
        clopper_pearson(successes, trials)


def test_mean_interval_needs_five_values_and_says_when_it_is_degenerate():
    assert mean_interval([0.1, 0.2, 0.3, 0.4]) is None
    assert mean_interval([1.0] * 6) == (1.0, 1.0, True)
    low, high, degenerate = mean_interval([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    # Resampled means are Binomial(6, 1/2) / 6: its 2.5 % and 97.5 % points are 1/6 and 5/6.
    assert (low, high) == pytest.approx((1 / 6, 5 / 6))
    assert not degenerate


@given(st.lists(st.floats(0, 1), min_size=5, max_size=12), st.randoms())
@settings(max_examples=25, deadline=None)
def test_mean_interval_does_not_depend_on_the_order_of_seeds(values, random):
    shuffled = random.sample(values, len(values))
    interval = mean_interval(values)
    assert mean_interval(shuffled) == interval
    assert min(values) - 1e-12 <= interval.low <= interval.high <= max(values) + 1e-12


@pytest.mark.parametrize(
    ("solved", "estimate", "bracket", "interval", "reliable"),
    [
        ([6, 6, 6, 0, 0, 0], math.sqrt(800), (20, 40), (20, 40), 20),  # complete separation
        ([6, 0, 0, 0, 0, 0], math.sqrt(50), (5, 10), (5, 10), 5),
        ([6, 6, 3, 0, 0, 0], 20, None, None, 10),  # half at one gap: that gap
        ([6, 6, 6, 6, 6, 3], 160, None, (None, math.inf), 80),
        ([6, 6, 6, 6, 6, 6], math.inf, None, (160, math.inf), 160),  # censored
        ([6, 6, 6, 6, 6, 4], math.inf, None, (None, math.inf), 80),
        ([0, 0, 0, 0, 0, 0], 0, None, (0, 5), None),
        ([2, 0, 0, 0, 0, 0], 0, None, (0, None), None),
        ([3, 3, 3, 3, 3, 3], math.sqrt(800), (5, 160), (0, math.inf), None),  # says nothing
        ([0, 0, 0, 6, 6, 6], math.sqrt(800), (5, 160), (0, math.inf), None),  # rises: likewise
        ([6, 2, 6, 6, 6, 6], math.inf, None, (160, math.inf), 5),
    ],
)
def test_hand_computed_horizons(solved, estimate, bracket, interval, reliable):
    horizon = fit_horizon(OCTAVES, solved, [6] * 6)
    assert horizon.estimate == pytest.approx(estimate)
    assert horizon.bracket == bracket
    assert horizon.reliable == reliable
    for found, expected in zip(horizon.interval, interval or (), strict=False):
        assert expected is None or found == expected


def test_symmetric_counts_give_the_geometric_middle():
    horizon = fit_horizon(OCTAVES, [6, 5, 4, 2, 1, 0], [6] * 6)
    assert horizon.estimate == pytest.approx(math.sqrt(800), rel=2e-3)
    assert math.prod(horizon.interval) == pytest.approx(800, rel=1e-2)
    assert horizon.slope == pytest.approx(1.98, rel=0.01)
    assert not horizon.poor_fit


@pytest.mark.parametrize(
    ("gap", "solved", "estimate"), [(7, 3, 7), (7, 5, math.inf), (7, 1, 0), (7, 6, math.inf)]
)
def test_one_gap_still_has_an_answer(gap, solved, estimate):
    assert fit_horizon([gap], [solved], [6]).estimate == estimate


def test_no_interval_under_five_seeds_anywhere():
    assert fit_horizon([5, 10, 20], [6, 4, 0], [6, 4, 6]).interval is None
    assert fit_horizon([5, 10, 20], [6, 5, 0], [6, 5, 6]).interval is not None


@pytest.mark.parametrize(
    ("gaps", "solved", "total"),
    [([], [], []), ([5], [1, 2], [3]), ([5, 5], [1, 1], [2, 2]), ([10, 5], [1, 1], [2, 2]),
     ([0], [1], [2]), ([5], [3], [2]), ([5], [-1], [2]), ([5], [0], [0])],
)  # fmt: skip
def test_impossible_counts_are_refused(gaps, solved, total):
    with pytest.raises(InputError):
        fit_horizon(gaps, solved, total)


def brute_force_loss(gaps, solved, total, log_horizon):
    """Least negative log likelihood at a fixed horizon, by another optimiser."""
    distance = log_horizon - np.log(gaps)
    failed = np.asarray(total) - solved

    def loss(log_slope):
        logit = np.exp(log_slope) * distance
        return -(solved * special.log_expit(logit) + failed * special.log_expit(-logit)).sum()

    return optimize.minimize_scalar(loss, bounds=(-12, 8), method="bounded").fun


@pytest.mark.parametrize(
    "solved", [[6, 5, 4, 2, 1, 0], [6, 6, 5, 3, 0, 1], [6, 6, 1, 6, 2, 0], [6, 4, 4, 3, 1, 2]]
)
def test_estimate_and_interval_agree_with_brute_force(solved):
    total = [6] * 6
    horizon = fit_horizon(OCTAVES, solved, total)
    best = brute_force_loss(OCTAVES, np.array(solved), total, math.log(horizon.estimate))
    for log_horizon in np.linspace(math.log(5), math.log(160), 60):
        assert brute_force_loss(OCTAVES, np.array(solved), total, log_horizon) > best - 1e-4
    cut = stats.chi2.ppf(0.95, 1) * (1 + 1 / 6)
    for end in horizon.interval:
        loss = brute_force_loss(OCTAVES, np.array(solved), total, math.log(end))
        assert 2 * (loss - best) == pytest.approx(cut, abs=0.02)


counts = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=8,
)


@given(counts)
@settings(max_examples=60, deadline=None)
def test_every_count_has_an_ordered_answer_inside_the_grid_or_censored(pairs):
    solved, total = (list(column) for column in zip(*pairs, strict=True))
    gaps = [3 * 2**power for power in range(len(pairs))]
    horizon = fit_horizon(gaps, solved, total)
    assert horizon.estimate in (0, math.inf) or gaps[0] <= horizon.estimate <= gaps[-1]
    assert 0 < horizon.p_value <= 1
    if horizon.interval:
        low, high = horizon.interval
        assert low == 0 or gaps[0] <= low <= gaps[-1]
        assert high == math.inf or gaps[0] <= high <= gaps[-1]
        tolerance = 1 + 1e-5
        assert low <= horizon.estimate * tolerance
        assert horizon.estimate <= high * tolerance
    # Stretching the grid stretches the answer; counting failures backwards mirrors it.
    stretched = fit_horizon([7 * gap for gap in gaps], solved, total)
    assert stretched.estimate == pytest.approx(7 * horizon.estimate, rel=1e-3)
    assert stretched.bracket == (horizon.bracket and tuple(7 * gap for gap in horizon.bracket))
    mirrored = fit_horizon(gaps, [n - k for k, n in pairs][::-1], total[::-1])
    if horizon.estimate in (0, math.inf):
        assert mirrored.estimate == (0 if horizon.estimate else math.inf)
    else:
        product = mirrored.estimate * horizon.estimate
        assert product == pytest.approx(gaps[0] * gaps[-1], rel=2e-2)


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 4))
@settings(deadline=None)
def test_a_step_lies_at_its_gap_or_in_its_bracket(total, partial, position):
    partial = min(partial, total)
    solved = [total] * position + [partial] + [0] * (5 - position)
    horizon = fit_horizon(OCTAVES, solved, [total] * 6)
    if 2 * partial == total:
        assert horizon.bracket is None
        assert horizon.estimate == pytest.approx(OCTAVES[position], rel=0.1)
    else:
        # One gap of another share at the edge of a step says no more than its neighbours do.
        first = position - (2 * partial < total)
        assert horizon.bracket == (OCTAVES[first], OCTAVES[first + 1])
    assert not horizon.poor_fit


def simulate(gaps, seeds, slope, draws, log_horizon=None, key=0):
    """Coverage of the 95 % interval, estimates over truths, and share of fits flagged as poor.

    The true horizon is drawn anew each time, log-uniformly between the third and third last gaps,
    so that it is not always on the grid.
    """
    random = np.random.default_rng(key)
    x = np.log(gaps)
    covered, ratios, poor = 0, [], 0
    for _ in range(draws):
        truth = random.uniform(x[2], x[-3]) if log_horizon is None else log_horizon
        solved = random.binomial(seeds, special.expit(slope * (truth - x))).tolist()
        horizon = fit_horizon(gaps, solved, [seeds] * len(gaps))
        covered += horizon.interval[0] <= math.exp(truth) <= horizon.interval[1]
        ratios.append(horizon.estimate / math.exp(truth))
        poor += horizon.poor_fit
    return covered / draws, np.array(ratios), poor / draws


@pytest.mark.parametrize("seeds", [6, 10, 30])
def test_coverage_on_a_fine_grid(seeds):
    coverage, ratios, poor = simulate(HALF_OCTAVES, seeds, slope=3, draws=300)
    assert coverage >= 0.93
    assert abs(math.log(np.median(ratios))) < 0.05
    assert poor <= 0.08


@pytest.mark.campaign
@pytest.mark.parametrize("seeds", [5, 6, 10, 30])
@pytest.mark.parametrize("slope", [1.5, 3, 6, 12])
@pytest.mark.parametrize("gaps", [HALF_OCTAVES, OCTAVES], ids=["half_octaves", "octaves"])
def test_coverage_for_many_slopes(gaps, seeds, slope):
    coverage, _, poor = simulate(gaps, seeds, slope, draws=1000, key=5)
    assert coverage >= 0.93
    assert poor <= 0.07


def test_median_estimate_hardly_depends_on_the_grid():
    medians = []
    for number in (6, 12, 40):
        gaps = np.unique(np.geomspace(5, 160, number).round().astype(int)).tolist()
        _, ratios, _ = simulate(gaps, 10, slope=3, draws=80, log_horizon=math.log(33))
        medians.append(np.median(ratios))
    assert max(medians) / min(medians) < 1.1


def test_counts_that_do_not_fall_are_flagged():
    assert fit_horizon(OCTAVES, [6, 0, 6, 0, 6, 0], [6] * 6).poor_fit
    assert fit_horizon(OCTAVES, [0, 0, 0, 6, 6, 6], [6] * 6).poor_fit


def test_a_fit_is_quick():
    fit_horizon(HALF_OCTAVES, [6] * 6 + [3] + [0] * 5, [6] * 12)
    start = time.perf_counter()
    for _ in range(20):
        fit_horizon(HALF_OCTAVES, [6, 6, 6, 5, 5, 4, 3, 2, 0, 1, 0, 0], [6] * 12)
    assert (time.perf_counter() - start) / 20 < 0.05  # a few milliseconds, on a busy machine
