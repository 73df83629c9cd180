"""The adding problem: layouts as their sources say, and its closed forms."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import assert_uniform
from scipy import stats

from lstm_jax.errors import InputError
from lstm_jax.tasks import adding
from lstm_jax.tasks.check import check_structure

COUNT = 4096


@functools.cache
def draw(gap, layout="lag"):
    keys = jax.random.split(jax.random.key(11), COUNT)
    sample = jax.jit(jax.vmap(adding(gap, layout=layout).sample, in_axes=(None, 0)))
    return jax.tree.map(np.asarray, sample((), keys))


def test_lag_places_markers_and_ends_as_in_1997():
    gap = 20
    first, second = draw(gap).info_times[:, 0].T
    assert_uniform(first, 1, 10)
    for step in range(1, 10):
        others = second[first == step]
        assert step not in others
        # Ranks among the steps that are still unmarked.
        assert_uniform(others - (others > step), 1, gap - 1)
    assert_uniform(draw(gap).use_times[:, 0] + 1, 2 * gap, 2 * gap + gap // 5 + 1)


def test_lag_keeps_the_first_marker_below_small_gaps():
    assert_uniform(draw(5).info_times[:, 0, 0], 1, 5)


def test_lag_ends_are_marked_and_what_follows_is_zero():
    example = draw(20)
    markers = example.inputs[..., 1]
    steps = np.arange(44)
    last = example.use_times
    assert (markers[:, 0] == -1).all()
    assert (np.take_along_axis(markers, last, axis=1) == -1).all()
    assert ((markers == 1).sum(axis=1) == 2).all()
    assert ((markers == -1).sum(axis=1) == 2).all()
    assert (example.inputs[steps > last] == 0).all()
    assert (example.inputs[..., 0][steps <= last] > 0).mean() > 0.999


def test_lag_is_at_least_the_gap_and_reaches_it():
    for gap in (3, 5, 20):
        assert draw(gap).lag.min() == gap


def test_halves_has_one_marker_in_each_half():
    example = draw(21, "halves")
    assert_uniform(example.info_times[:, 0, 0], 0, 10)
    assert_uniform(example.info_times[:, 0, 1], 10, 21)
    assert (example.use_times == 20).all()


def test_anywhere_has_two_distinct_markers():
    example = draw(12, "anywhere")
    first, second = example.info_times[:, 0].T
    assert (first != second).all()
    assert_uniform(first, 0, 12)
    assert_uniform(second, 0, 12)
    cells = np.bincount(first * 12 + second, minlength=144).reshape(12, 12)
    assert stats.chisquare(cells[~np.eye(12, dtype=bool)]).pvalue > 1e-3


@pytest.mark.parametrize("layout", ["halves", "anywhere"])
def test_layouts_swept_by_length(layout):
    task = adding(30, layout=layout)
    assert (task.swept_by, task.length, task.gap) == ("length", 30, 0)
    assert draw(30, layout).lag.min() == 0
    assert set(np.unique(draw(30, layout).inputs[..., 1])) == {0, 1}


@pytest.mark.parametrize("layout", ["lag", "halves", "anywhere"])
def test_target_is_the_sum_of_the_marked_values(layout):
    example = draw(20, layout)
    marked = example.inputs[..., 1] == 1
    expected = (example.inputs[..., 0] * marked).sum(axis=1)
    np.testing.assert_allclose(example.targets[:, 0, 0], expected, rtol=1e-6)
    assert stats.kstest(example.inputs[..., 0][marked], "uniform").pvalue > 1e-3


def test_closed_forms_by_monte_carlo():
    count = 1_000_000
    task = adding(10)
    error = np.random.default_rng(0).random((count, 2)).sum(axis=1) - 1
    standard_error = np.sqrt(task.chance * (1 - task.chance) / count)
    assert abs((np.abs(error) < 0.04).mean() - task.chance) < 3 * standard_error
    assert abs((error**2).mean() - task.blind_loss) < 3 * (error**2).std() / np.sqrt(count)


def test_correct_within_four_hundredths():
    task = adding(10)
    target = np.float32([1.2])
    assert task.correct(target + np.float32(0.039), target)
    assert not task.correct(target - np.float32(0.041), target)


@settings(max_examples=8, deadline=None)
@given(gap=st.integers(3, 400), layout=st.sampled_from(["lag", "halves", "anywhere"]))
def test_any_gap(gap, layout):
    check_structure(lambda _: adding(gap, layout=layout)._replace(swept_by="gap", gap=None))


@pytest.mark.parametrize(
    ("gap", "layout", "message"),
    [
        (2, "lag", "gap=2: must be a whole number, at least 3"),
        (1, "halves", "layout=halves: length=1: must be a whole number, at least 2"),
        (1, "anywhere", "layout=anywhere: length=1: must be a whole number, at least 2"),
        (10, "middle", "layout=middle: allowed are lag, halves, anywhere"),
    ],
)
def test_impossible_is_one_line(gap, layout, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        adding(gap, layout=layout)
