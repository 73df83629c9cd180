"""One network trained on a mix of gaps and asked at all of them: from the mix to the horizon."""

import jax
import jax.numpy as jnp
import made_rows
import numpy as np
import pytest

from lstm_jax import results, table
from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError
from lstm_jax.figures import redraw
from lstm_jax.gaps import canonical, parse_gaps
from lstm_jax.horizon import FEWEST_NETWORKS, fit_retention
from lstm_jax.running import plan, run
from lstm_jax.summary import summarise
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS, copy, recall
from lstm_jax.tasks.base import Example, evaluation_set, training_batch
from lstm_jax.tasks.mixture import mixture
from lstm_jax.trial import Catalogue

pytestmark = pytest.mark.xdist_group("retention")  # shares what is compiled or made once

SETTINGS = Settings(hidden_size=8, batch_size=8, eval_every=10)


def test_gaps_are_read_and_written_in_one_way():
    assert parse_gaps("40") == (40,)
    assert parse_gaps("20,5,10") == (5, 10, 20)
    assert parse_gaps("uniform:3-6") == (3, 4, 5, 6)
    assert canonical("20,5") == "5,20"
    assert canonical("uniform:1-40") == "uniform:1-40"


@pytest.mark.parametrize(
    "text",
    ["", "five", "5,", "0", "uniform:", "uniform:6-3", "uniform:1-65", "5,5", "-5", "1.5",
     "uniform:0-3", "9999999", "uniform:1-9999999"],
)  # fmt: skip
def test_what_is_no_list_of_gaps_is_one_line(text):
    with pytest.raises(InputError, match=r"must |twice") as caught:
        parse_gaps(text)
    assert "\n" not in str(caught.value)


def test_a_mixture_of_one_gap_is_that_task():
    task = recall(7)
    assert mixture([task]) is task


@pytest.fixture(scope="module")
def mixed():
    tasks = [recall(gap) for gap in (2, 5, 9)]
    return tasks, mixture(tasks), evaluation_set(mixture(tasks), (), "report")


def test_examples_of_a_mixture_are_those_of_its_gaps(mixed):
    tasks, mixture_of, drawn = mixed
    assert (mixture_of.gap, mixture_of.length) == (2, tasks[-1].length)
    keys = jax.random.split(jax.random.key(3), 40)
    batch = jax.jit(jax.vmap(mixture_of.sample, in_axes=(None, 0)))((), keys)
    seen = set()
    for row, key in enumerate(keys):
        which_key, example_key = jax.random.split(key)
        which = int(jax.random.randint(which_key, (), 0, 3))
        own = jax.tree.map(np.asarray, tasks[which].sample((), example_key))
        found = Example(*(np.asarray(leaf[row]) for leaf in batch))
        np.testing.assert_array_equal(found.inputs[: tasks[which].length], own.inputs)
        assert not found.inputs[tasks[which].length :].any()
        for name in ("targets", "weights", "info_times", "use_times", "lag"):
            np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
        seen.add(which)
    assert seen == {0, 1, 2}
    counts = np.array([(np.asarray(drawn.lag) == gap).sum() for gap in (2, 5, 9)])
    assert counts.sum() == len(drawn.lag)
    expected = len(drawn.lag) / 3
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_uses_that_other_gaps_have_more_of_are_none():
    tasks = [copy(gap, items=3, scored="all") for gap in (5, 8)]
    both = mixture(tasks)
    drawn = evaluation_set(both, (), "monitor")
    short = np.asarray(drawn.use_times[:, -1]) == -1  # every step is a use, and it has fewer
    assert 0 < short.sum() < len(short)
    assert not np.asarray(drawn.weights)[short, tasks[0].length :].any()
    assert (np.asarray(drawn.weights)[short, : tasks[0].length] > 0).all()
    batch = training_batch(both, (), jax.random.key(0), jnp.int32(0), 4)
    assert batch.inputs.shape[1] == both.length


def test_sets_of_their_own_are_mixed_in_turn():
    def own(task):
        return task._replace(
            evaluation_set=lambda data, split: evaluation_set(task, data, split), oracle=None
        )

    tasks = [recall(2), recall(5)]
    mixed_set = mixture([own(task) for task in tasks]).evaluation_set((), "monitor")
    for index in range(2):
        alone = evaluation_set(tasks[index], (), "monitor")
        found = np.asarray(mixed_set.inputs)[index::2, : tasks[index].length]
        np.testing.assert_array_equal(found, np.asarray(alone.inputs)[index::2])


def test_what_has_other_inputs_cannot_be_mixed():
    with pytest.raises(InputError, match="recall: has other inputs or outputs"):
        mixture([recall(2), recall(3, symbols=9)])


# The horizon of networks that are asked everywhere.


def reaches(*passed, gaps=(5, 10, 20, 40)):
    return [[index < count for index in range(len(gaps))] for count in passed]


@pytest.mark.parametrize(
    ("passed", "text", "reliable"),
    [
        ((2, 2, 2, 2, 2, 2), "10-20", 10),
        ((1, 2, 2, 2, 3, 4), "10-20 [5, > 40]", 5),
        ((4, 4, 4, 4, 4, 4), "> 40", 40),
        ((0, 0, 0, 0, 0, 0), "< 5", None),
        ((0, 0, 0, 3, 3, 3), "20-40 [< 5, 40]", None),
        ((1, 1, 1, 3, 3, 4), "20-40 [5, > 40]", 5),
        ((2, 2, 2, 4, 4, 4), "> 40 [10, > 40]", 10),
        ((0, 0, 0, 0, 3, 3), "< 5 [< 5, 40]", None),
        ((2, 2, 3), "10-20", 10),
    ],
)
def test_the_median_reach(passed, text, reliable):
    horizon = fit_retention((5, 10, 20, 40), reaches(*passed), 1)
    shown = table.horizon_text(horizon)
    assert shown == text or shown.startswith(text + " [")
    assert horizon.reliable == reliable
    assert (horizon.interval is None) == (len(passed) < FEWEST_NETWORKS)


def test_a_gap_that_is_failed_ends_the_reach_and_gaps_before_the_training_do_not_count():
    runs = [[False, True, True, False, True]] * 6
    gaps = (5, 10, 20, 40, 80)
    assert fit_retention(gaps, runs, 1).estimate == 0
    assert fit_retention(gaps, runs, 10).bracket == (20, 40)
    assert fit_retention(gaps, runs, 500).estimate == 0  # none so large: all count


@pytest.mark.parametrize("networks", [6, 12])
def test_the_interval_covers_the_median_as_often_as_it_says(networks):
    """Exactly, by order statistics, where reaches are spread evenly: median 30 of 0 to 60."""
    random = np.random.default_rng(0)
    gaps = tuple(range(1, 61))
    rounds, covered = 1000, 0
    for reach in random.uniform(0, 60, size=(rounds, networks)):
        runs = [[gap <= own for gap in gaps] for own in reach]
        low, high = fit_retention(gaps, runs, 1).interval
        covered += low <= 30 <= high
    assert covered / rounds > 0.95 - 3 * np.sqrt(0.05 * 0.95 / rounds)


# Trained and asked.


def retention_sweep(train_gaps, gaps=(2, 3, 5), seeds=2, cells=("rnn",)):
    return make_sweep(
        Catalogue(CELLS, TASKS),
        task="recall:lead_in=2:symbols=4",
        cells=cells,
        gaps=gaps,
        seeds=range(seeds),
        learning_rates=[1e-2],
        settings=SETTINGS,
        train_gaps=train_gaps,
    )


def go(directory, trials, updates=30):
    known = Catalogue(CELLS, TASKS)
    plan(trials, directory, known)
    return run(
        trials, directory, updates=updates, catalogue=known, match="hidden",
        devices=jax.devices()[:1],
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("retention")
    go(directory, retention_sweep("2,5"))
    return directory


def test_one_network_a_seed_is_asked_at_every_gap(trained):
    records = results.read_directory(trained)
    assert len(records) == 2
    for record in records:
        assert (record.trial["train_gaps"], record.trial["eval_gaps"]) == ("2,5", "2,3,5")
        assert (record.trial["gap"], record.trial["minimal_lag"]) == (5, 2)
        assert [row["evaluated_gap"] for row in record.retained] == [2, 3, 5]
        for row in record.retained:
            assert row["update"] == record.end["update"]
            assert row["solved"] == (row["accuracy"] >= row["solved_at"])
            assert row["bits_asked"] == pytest.approx(2)


def test_trained_at_one_gap_it_is_the_network_that_is_trained_there(tmp_path):
    go(tmp_path / "mixed", retention_sweep("3"))
    alone = make_sweep(
        Catalogue(CELLS, TASKS), task="recall:lead_in=2:symbols=4", cells=["rnn"],
        gaps=[3], seeds=range(2), learning_rates=[1e-2], settings=SETTINGS,
    )  # fmt: skip
    go(tmp_path / "alone", alone)
    mixed_records, alone_records = map(
        results.read_directory, (tmp_path / "mixed", tmp_path / "alone")
    )
    for one, other in zip(mixed_records, alone_records, strict=True):
        assert one.end["loss"] == other.end["loss"]
        assert [row["loss"] for row in one.retained][1] == other.end["loss"]
        assert one.trial["trial_id"] != other.trial["trial_id"]


def test_what_was_torn_off_behind_the_end_is_asked_again(trained, tmp_path):
    go(tmp_path, retention_sweep("2,5"))
    path = sorted(tmp_path.glob("*.jsonl"))[0]
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:-2]) + lines[-2][:40])
    with pytest.warns(results.ResultsWarning, match="read up to line"):
        torn = results.read(path)
    assert torn.end is None
    assert len(torn.ends) == 1
    with pytest.warns(results.ResultsWarning, match="read up to line"):
        outcome = go(tmp_path, retention_sweep("2,5"))
    assert (outcome.trained, outcome.skipped) == (1, 1)
    assert [row["kind"] for row in results.read(path).lines[-4:]] == ["end"] + ["retention"] * 3
    assert path.read_text() == whole


def test_a_raised_budget_goes_on_and_asks_again(trained, tmp_path):
    trials = retention_sweep("2,5")
    go(tmp_path / "twice", trials, updates=10)
    go(tmp_path / "twice", trials, updates=30)
    once, twice = map(results.read_directory, (trained, tmp_path / "twice"))
    for one, other in zip(once, twice, strict=True):
        assert one.retained == other.retained
        assert len(other.ends) == 2
        assert len(other.retention) == 6


def test_table_and_figure_tell_what_was_trained_and_the_reach(tmp_path):
    made = []
    for seed in range(6):
        record = made_rows.record(1.0, gap=10, seed=seed, train_gaps="uniform:1-10",
                                  eval_gaps="5,10,20,40")  # fmt: skip
        kept = [
            made_rows.retention_row(record.trial, gap, accuracy, record.ends[-1]["update"])
            for gap, accuracy in ((5, 1.0), (10, 0.98), (20, 0.95 if seed else 0.5), (40, 0.2))
        ]
        made.append(record._replace(retention=tuple(kept)))
    made_rows.write(tmp_path, made)
    assert [one.retained for one in results.read_directory(tmp_path)]
    (curve,) = summarise(results.read_directory(tmp_path))
    assert [point.solved for point in curve.points] == [6, 6, 5, 0]
    assert curve.points[1].mean_accuracy == pytest.approx(0.98)
    assert curve.points[1].above_chance == pytest.approx((0.98 - 0.125) / 0.875)
    assert curve.points[0].bits == pytest.approx(3)
    assert table.horizon_text(curve.horizon) == "20-40 [10, 40]"
    text, paths = redraw(tmp_path)
    assert "trained on gap uniform 1-10, asked at each gap. Horizon: from the largest gap" in text
    assert "accuracy_against_gap.png" in {path.name for path in paths}
    assert "| 20 | 6 | 0.875 [" in (tmp_path / "accuracy.md").read_text()


def test_a_sweep_under_way_has_its_table(tmp_path):
    record = made_rows.record(0.5, under_way=True, gap=10, train_gaps="5,10", eval_gaps="5,10,20")
    made_rows.write(tmp_path, [record])
    text, _ = redraw(tmp_path)
    assert "Partial: 1 of 1 planned trials" in text


@pytest.mark.parametrize("eval_gaps", ["", "7,x", "5,10,20,99"])
@pytest.mark.parametrize("train_gaps", ["nonsense", "5,10"])
def test_rows_of_a_stranger_do_no_harm(tmp_path, eval_gaps, train_gaps):
    record = made_rows.record(1.0, gap=10, train_gaps=train_gaps, eval_gaps=eval_gaps)
    made_rows.write(tmp_path, [record])
    text, _ = redraw(tmp_path)
    assert "recall" in text
