"""Readings of rows: learning rates, groups, counts; and the table."""

import math

import made_rows
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax import table
from lstm_jax.learning_rates import choose_learning_rates
from lstm_jax.results import Record
from lstm_jax.summary import summarise

RATES = (0.001, 0.003, 0.01)


def grid(monitors, **settings):
    """Records of seeds by rates from their monitor accuracies; the report set says the same."""
    return [
        made_rows.record(monitor, seed=seed, learning_rate=rate, **settings)
        for seed, by_rate in enumerate(monitors)
        for rate, monitor in zip(RATES, by_rate, strict=False)
    ]


def chosen_rates(records):
    (reading,) = choose_learning_rates(records)
    return [record.trial["learning_rate"] for record in reading.chosen], reading


def test_each_seed_is_read_at_the_rate_that_the_others_choose():
    rates, reading = chosen_rates(grid([(0.2, 0.3, 1.0), (0.2, 0.9, 0.1), (0.2, 0.8, 0.1)]))
    # Seed 0 alone would take 0.01: the others say 0.003. For seeds 1 and 2 the means are
    # (0.2, 0.55, 0.55) and (0.2, 0.6, 0.55): a tie goes to the smaller rate.
    assert rates == [0.003, 0.003, 0.003]
    assert reading.at_edge == 0
    assert not reading.own_choice


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=6), st.randoms())
@settings(max_examples=50, deadline=None)
def test_no_seed_chooses_its_own_rate_and_order_does_not_matter(monitors, random):
    records = grid(monitors)
    rates, _ = chosen_rates(records)
    assert chosen_rates(random.sample(records, len(records)))[0] == rates
    for seed in range(len(monitors)):
        changed = [*monitors[:seed], (1.0, 0.0, 0.5), *monitors[seed + 1 :]]
        assert chosen_rates(grid(changed))[0][seed] == rates[seed]


@pytest.mark.parametrize(
    ("by_rate", "at_edge"),
    [((0.9, 0.5, 0.2), 3), ((0.2, 0.5, 0.9), 3), ((0.2, 0.9, 0.2), 0), ((1.0, 1.0, 1.0), 0),
     ((0.9, 0.5), 3), ((0.9,), 0)],
)  # fmt: skip
def test_a_choice_at_the_edge_is_flagged_unless_level_with_its_neighbour(by_rate, at_edge):
    assert chosen_rates(grid([by_rate] * 3))[1].at_edge == at_edge


def test_a_single_seed_is_read_at_its_own_best_and_flagged():
    rates, reading = chosen_rates(grid([(0.2, 0.9, 0.1)]))
    assert rates == [0.003]
    assert reading.own_choice
    (curve,) = summarise(grid([(0.2, 0.9, 0.1)]))
    assert curve.own_choice_gaps == (5,)
    assert "its own best learning rate at gap 5" in table.text([curve])
    assert not chosen_rates(grid([(0.2,)]))[1].own_choice


def test_a_seed_counts_only_when_it_ended_at_every_rate():
    records = grid([(0.2, 0.9, 0.1)] * 3)
    under_way = made_rows.record(0.9, seed=3, learning_rate=0.001, under_way=True)
    _, reading = chosen_rates([*records, under_way])
    assert [record.trial["seed"] for record in reading.chosen] == [0, 1, 2]
    assert reading.missing == (3,)
    _, reading = chosen_rates(records[1:])
    assert reading.missing == (0,)


def test_a_failed_rate_is_the_last_that_is_chosen():
    failed = [
        made_rows.record(None, monitor=0.99, seed=seed, learning_rate=0.01) for seed in (0, 1)
    ]
    rates, _ = chosen_rates([*grid([(0.1, 0.2), (0.1, 0.2)]), *failed])
    assert rates == [0.003, 0.003]


def test_a_failed_trial_counts_as_not_solved_and_as_a_blind_guess():
    (curve,) = summarise(made_rows.sweep({"lstm": {5: [1.0, None, 0.5, 1.0, 1.0]}}))
    (point,) = curve.points
    assert (point.solved, curve.failed, curve.ran) == (3, 1, 5)
    assert point.failed == (False, True, False, False, False)
    assert point.accuracies == (1.0, made_rows.CHANCE, 0.5, 1.0, 1.0)
    assert point.mean_accuracy == pytest.approx((3.5 + made_rows.CHANCE) / 5)
    assert "5 trials: 1 failed" in table.text([curve])


def test_settings_that_differ_are_never_mixed():
    records = [
        made_rows.record(1.0 if hidden == 64 else 0.2, gap=gap, seed=seed, hidden_size=hidden)
        for hidden in (16, 64)
        for gap in (5, 10)
        for seed in range(5)
    ]
    small, large = summarise(records)
    assert (small.cell, large.cell) == ("lstm, hidden=16", "lstm, hidden=64")
    assert small.horizon.estimate == 0
    assert large.horizon.estimate == math.inf
    other = made_rows.record(1.0, cell_options={"forget_bias": 2.0}, hidden_size=16)
    labels = [curve.cell for curve in summarise([records[0], other])]
    assert labels == ["lstm, other options", "lstm, forget_bias=2.0"]
    own = made_rows.record(1.0, task_file_sha256="ab" * 32)
    tasks = [curve.task for curve in summarise([made_rows.record(1.0), own])]
    assert tasks == ["recall, file=built-in", "recall, file=abababab"]


def test_a_cell_that_was_told_the_gap_is_one_curve_and_says_so():
    spec = "lstm:init=chrono:time_scale=gap"
    records = [
        made_rows.record(1.0, cell=spec, gap=gap, told_gap=True, cell_options={"time_scale": gap})
        for gap in (5, 10)
    ]
    (curve,) = summarise(records)
    assert table.cell_text(curve) == f"{spec} (told the gap)"
    assert len(curve.points) == 2


def test_curves_come_in_the_order_asked_for_then_as_first_seen():
    records = made_rows.sweep({cell: {5: [1.0]} for cell in ("rnn", "gru", "lstm", "cru")})
    assert [curve.cell for curve in summarise(records)] == ["rnn", "gru", "lstm", "cru"]
    ordered = summarise(records, order=["lstm", "rnn"])
    assert [curve.cell for curve in ordered] == ["lstm", "rnn", "gru", "cru"]


def test_budgets_are_mixed_only_where_unsolved_trials_were_given_less():
    def updates(*ends):
        made = [
            made_rows.record(accuracy, budget=budget, seed=seed)
            for seed, (accuracy, budget) in enumerate(ends)
        ]
        return summarise(made)[0].updates

    assert updates((1.0, 600), (0.2, 600)) == (600, 600)
    assert updates((1.0, 600), (0.2, 1200)) == (1200, 1200)
    assert updates((1.0, 1200), (0.2, 600)) == (600, 1200)
    mixed = summarise([made_rows.record(0.2, budget=b, seed=s) for s, b in enumerate((1, 2))])
    assert "1 to 2 updates (mixed)" in table.text(mixed)


def test_a_language_model_has_no_horizon():
    records = [
        made_rows.record(0.6, gap=length, seed=seed, minimal_lag=None, swept_by="length",
                         solved_at=0.5 + length / 1000)
        for length in (8, 16, 32) for seed in range(5)
    ]  # fmt: skip
    (curve,) = summarise(records)
    assert curve.horizon is None
    assert [point.solved for point in curve.points] == [5, 5, 5]
    assert "Solved: accuracy at least 0.508 to 0.532 on" in table.text([curve])


def test_the_last_end_counts():
    first = made_rows.record(0.5, budget=600)
    raised = Record(
        first.trial,
        (*first.evaluations, made_rows.evaluation_row(first.trial, 1200, 0.97)),
        (*first.ends, made_rows.end_row(first.trial, 0.97, 1200)),
    )
    assert summarise([raised])[0].points[0].solved == 1
    (curve,) = summarise([Record(raised.trial, raised.evaluations, first.ends)])
    assert (curve.unfinished, curve.horizon, curve.points[0].share) == (1, None, None)


@given(st.randoms())
@settings(max_examples=10, deadline=None)
def test_the_order_of_records_changes_nothing(random):
    records = made_rows.sweep(
        {"rnn": {5: [1.0] * 5, 20: [0.2] * 5}, "lstm": {5: [1.0] * 5, 20: [1.0, 0.3] * 2 + [0.1]}}
    )
    shuffled = random.sample(records, len(records))
    assert summarise(shuffled, order=["rnn", "lstm"]) == summarise(records)


def test_wide_tables_are_broken_and_markdown_is_not():
    gaps = [round(5 * 2 ** (step / 4)) for step in range(24)]
    curves = summarise(made_rows.sweep({"rnn:a=1": {gap: [1.0] * 6 for gap in gaps}}))
    assert max(map(len, table.text(curves).splitlines())) <= 115
    assert table.text(curves).count("rnn:a=1") == 3
    assert table.markdown(curves).count("rnn:a=1") == 1


@pytest.mark.parametrize(
    ("solved", "expected"),
    [((6, 6, 0), "10-20 [10, 20]"), ((6, 6, 6), "> 20"), ((0, 0, 0), "< 5"),
     ((6, 3, 0), "10 [7.4, 13]"), ((6, 6, 4), "> 20 [17, > 20]")],
)  # fmt: skip
def test_horizons_in_few_characters(solved, expected):
    by_gap = {gap: [1.0] * n + [0.2] * (6 - n) for gap, n in zip((5, 10, 20), solved, strict=True)}
    (curve,) = summarise(made_rows.sweep({"lstm": by_gap}))
    assert table.horizon_text(curve.horizon) == expected


def test_hostile_words_are_printed_harmlessly():
    bad = "\x1b[31m" + "x" * 500
    text = table.text(summarise([made_rows.record(1.0, cell="lstm", optimizer=bad, match=bad)]))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 400


def test_curves_that_had_a_choice_of_rates_say_so_where_others_had_none():
    tuned = grid([(0.2, 0.9, 0.1)] * 5, cell="lstm")
    alone = [made_rows.record(0.5, cell="rnn", seed=seed) for seed in range(5)]
    text = table.text(summarise(tuned + alone))
    assert "tried at the learning rates 0.001, 0.003, 0.01, each seed read at the one" in text
    (line,) = [line for line in text.splitlines() if line.startswith("lstm ")]
    (other,) = [line for line in text.splitlines() if line.startswith("rnn ")]
    assert "(1)" in line
    assert "(" not in other
    assert "tried at" not in table.text(summarise(tuned))
