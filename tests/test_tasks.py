"""The contract of tasks, over every registered one, and what tasks share."""

import functools
import subprocess
import sys

import jax
import made_sets
import numpy as np
import pytest

from lstm_jax import results
from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError
from lstm_jax.running import plan, run
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS, recall
from lstm_jax.tasks.base import EVALUATION_SIZES, evaluation_set, require_whole, stop_at
from lstm_jax.tasks.check import Subject, check_structure, variations
from lstm_jax.tasks.contract import CLAUSES
from lstm_jax.tasks.mixture import mixture
from lstm_jax.trial import Catalogue

subject = functools.cache(lambda name: Subject(TASKS[name]))
# A task's tests share its subject, so one process of a test run has them all.
NAMES = [pytest.param(name, marks=pytest.mark.xdist_group(f"task-{name}")) for name in TASKS]


@pytest.fixture(autouse=True, scope="module")
def data_directory(tmp_path_factory):
    """One directory for all worker processes of a test run; the first generates, and makes up what
    a person would have to download."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTM_JAX_DATA_DIR", str(made_sets.shared(tmp_path_factory)))
        yield


@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize("name", NAMES)
def test_clause(name, clause):
    assert not list(subject(name).broken(clause))


@pytest.mark.parametrize("name", NAMES)
def test_name_is_that_of_the_registry(name):
    assert TASKS[name].__name__ == name
    assert all(case.task.name == name for case in subject(name).cases.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_an_option_is_a_case(name):
    assert len(subject(name).cases) == 1 + len(variations(TASKS[name]))


@pytest.mark.parametrize("name", NAMES)
def test_structure(name):
    check_structure(TASKS[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gap", [0, -3, 2.5, True, "5", None])
def test_bad_gap_is_one_line(name, gap):
    with pytest.raises(InputError, match="must be a whole number, at least") as caught:
        TASKS[name](gap)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_of_it_trains_and_ends(name, tmp_path):
    """A few updates of a small network, from the first key to the last row."""
    catalogue = Catalogue(CELLS, TASKS)
    argument = next(iter(subject(name).cases.values())).argument
    trials = make_sweep(
        catalogue,
        task=name,
        cells=["rnn"],
        gaps=[argument],
        seeds=[0, 1],
        learning_rates=[1e-3],
        settings=Settings(hidden_size=4, match="hidden", batch_size=4, eval_every=2),
    )
    plan(trials, tmp_path, catalogue)
    devices = jax.devices()[:1]
    outcome = run(trials, tmp_path, updates=4, catalogue=catalogue, match="hidden", devices=devices)
    assert (outcome.trained, outcome.failed) == (2, 0)
    for record in results.read_directory(tmp_path):
        assert record.end["status"] in ("solved", "unsolved")
        assert 0 <= record.end["accuracy"] <= 1
        assert np.isfinite(record.end["loss"])


@pytest.mark.parametrize("name", NAMES)
def test_its_gaps_can_be_mixed(name):
    """But for language models, which have none."""
    small, large, *_ = subject(name).cases.values()
    if small.task.gap is None:
        with pytest.raises(InputError, match="no gaps to mix"):
            mixture([small.task, large.task])
        return
    mixed = mixture([small.task, large.task])
    batch = jax.vmap(mixed.sample, in_axes=(None, 0))
    shapes = jax.eval_shape(batch, small.data, jax.random.split(jax.random.key(0), 3))
    assert shapes.inputs.shape[:2] == (3, large.task.length)
    assert (mixed.gap, mixed.chance) == (small.task.gap, pytest.approx(small.task.chance))


def test_importing_tasks_imports_no_data_packages():
    script = (
        "import sys, lstm_jax.tasks; "
        "assert not {'tensorflow_datasets', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_evaluation_sets_are_fixed_and_apart():
    sets = {split: evaluation_set(recall(7), (), split) for split in EVALUATION_SIZES}
    again = evaluation_set(recall(7), (), "report")
    jax.tree.map(np.testing.assert_array_equal, sets["report"], again)
    assert {split: len(example.inputs) for split, example in sets.items()} == EVALUATION_SIZES
    monitor, report = (
        {row.tobytes() for row in np.asarray(sets[split].inputs)} for split in ("monitor", "report")
    )
    assert not monitor & report


@pytest.mark.parametrize("split", EVALUATION_SIZES)
@pytest.mark.parametrize("label", ["recall at 10", "two_sequence:noise=targets at 10"])
def test_the_kit_looks_at_the_evaluation_sets_that_training_uses(label, split):
    case = subject(label.partition(":")[0].split()[0]).cases[label]
    jax.tree.map(  # the kit compiles for speed of compiling: last bits of floats may differ
        lambda own, other: np.testing.assert_allclose(own, other, rtol=0, atol=1e-6),
        case.evaluation_sets[split],
        evaluation_set(case.task, (), split),
    )


def test_stop_is_halfway_from_solved_to_one():
    assert stop_at(recall(3)) == pytest.approx(0.95)


def test_require_whole_takes_numpy_integers():
    require_whole("gap", np.int64(3), 1)
