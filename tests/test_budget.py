"""Horizons at smaller budgets, from made rows whose answer is known."""

import math
import shutil
from pathlib import Path

import pytest

from lstm_jax import results
from lstm_jax.errors import InputError
from lstm_jax.results import Record
from lstm_jax.why import budget, budget_page
from tests.made_rows import end_row, evaluation_row, trial_row

GAPS = (5, 10, 20, 40, 80, 160)
PUBLISHED = Path(__file__).parents[1] / "docs" / "results" / "gap_sweep"


def solving_after(first, *, most=1600, seeds=6, **settings):
    """Networks that solve a gap at update `first(gap, seed)`, if that is within the budget."""
    records = []
    for gap in GAPS:
        for seed in range(seeds):
            trial = trial_row(gap=gap, seed=seed, **settings)
            update = first(gap, seed)
            solved = update <= most
            rows = [evaluation_row(trial, most, 0.99 if solved else 0.2)]
            end = end_row(trial, 0.99 if solved else 0.2, most)
            end["first_solved_update"] = update if solved else None
            records.append(Record(trial, tuple(rows), (end,)))
    return records


def test_a_gap_that_takes_as_many_updates_as_steps():
    """Solved at update 10 gap: the horizon is proportional to the budget, so the exponent is 1."""
    (growth,) = budget.growths(solving_after(lambda gap, seed: 10 * gap))
    assert [one.updates for one in growth.budgets] == [50, 100, 200, 400, 800, 1600]
    for one in growth.budgets:
        assert one.solved == tuple(6 * (10 * gap <= one.updates) for gap in GAPS)
        assert one.total == (6,) * 6
    # Under complete separation the estimate is the middle of two gaps, a factor of 2 apart.
    assert growth.exponent.estimate == pytest.approx(1, abs=0.02)
    assert growth.exponent.budgets == 5  # at the last all is solved
    low, high = growth.exponent.interval
    assert low == pytest.approx(high)  # all seeds are equal
    assert growth.budgets[-1].horizon.estimate == math.inf


def test_the_interval_of_the_exponent_is_over_seeds():
    slower = [1, 1.3, 1.8, 2.2, 0.8, 1.5]
    (growth,) = budget.growths(solving_after(lambda gap, seed: slower[seed] * gap**1.5))
    low, high = growth.exponent.interval
    assert low < growth.exponent.estimate < high
    assert low < 2 / 3 < high
    again = budget.growths(solving_after(lambda gap, seed: slower[seed] * gap**1.5))[0]
    assert again.exponent == growth.exponent


def test_where_there_is_no_exponent():
    """Nothing solved, or too few seeds for an interval; a failed network never counts."""
    (nothing,) = budget.growths(solving_after(lambda gap, seed: math.inf))
    assert nothing.exponent is None
    assert {one.horizon.estimate for one in nothing.budgets} == {0.0}
    (few,) = budget.growths(solving_after(lambda gap, seed: 10 * gap, seeds=3))
    assert few.exponent.interval is None
    records = solving_after(lambda gap, seed: 50)
    broken = [
        record._replace(ends=({**record.ends[0], "status": "failed", "accuracy": None},))
        for record in records
    ]
    (failed,) = budget.growths(broken)
    assert {one.solved for one in failed.budgets} == {(0,) * 6}


def test_several_rates_are_read_as_horizons_are():
    """Each seed at the rate that the others choose, here the one that solves."""
    slow = solving_after(lambda gap, seed: math.inf, learning_rate=0.1)
    fast = solving_after(lambda gap, seed: 10 * gap, learning_rate=0.01)
    (both,) = budget.growths(slow + fast)
    (alone,) = budget.growths(fast)
    assert both.budgets == alone.budgets


def test_budgets():
    assert budget.budgets_up_to(600, 50) == (50, 150, 300, 600)
    assert budget.budgets_up_to(50, 50) == (50,)
    assert len(budget.budgets_up_to(10**6, 1)) == 8


def test_page_of_published_rows(tmp_path):
    """The published page again, byte for byte; the largest budget gives the horizons of the sweep
    but for those networks which monitor and report set judge differently."""
    rows = tmp_path / "rows"
    shutil.copytree(PUBLISHED, rows)
    text, paths = budget_page.redraw(rows)
    assert [path.name for path in paths] == [
        "budget.md", "horizon_against_updates.png", "horizon_against_updates.svg",
    ]  # fmt: skip
    for path in (paths[0], paths[2]):
        assert path.read_bytes() == (PUBLISHED / path.name).read_bytes(), path.name
    for growth in budget.growths(results.read_directory(rows)):
        at_end = growth.budgets[-1].solved
        differing = sum(
            abs(point.solved - solved)
            for point, solved in zip(growth.curve.points, at_end, strict=True)
        )
        assert differing <= 1, growth.curve.cell
    assert "| rnn | " in text


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        budget_page.redraw(tmp_path / "none")
    with pytest.raises(InputError, match="holds no sweep of gaps"):
        budget_page.redraw(tmp_path)
    with pytest.raises(InputError, match="of one task"):
        budget_page.figure([])
