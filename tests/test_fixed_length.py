"""A fixed length: the lead-in fills it, gap and length are no longer confounded; without it, the
examples are those that were drawn before there was the option."""

import hashlib

import jax
import numpy as np
import pytest
from sampling import assert_uniform

from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.contract import CLAUSES, Case
from lstm_jax.trial import Catalogue, trial_id

COUNT = 4096
# The steps that a length must hold at a gap.
NEEDED = {
    "recall": lambda gap: gap + 1,
    "delayed_match": lambda gap: gap + 1,
    "induction": lambda gap: gap + 2,
    "agreement": lambda gap: 2 * (gap + 8),
    "long_lag": lambda gap: gap + 2 + (gap - 1) // 10,
    "sentences": lambda gap: gap + 5,
    "film": lambda gap: gap + 7,
}
# How many steps stand between the start of what is relevant and the first info.
BEFORE = {"long_lag": 1, "sentences": 1}


# Ends of the ids of trials that were run before there was the option.
IDS = {
    "induction": "ede77ac5b1b1",
    "agreement": "1a7630c3a5b2",
    "long_lag": "1a6f1aa3cf1e",
    "sentences": "8a6c732e2390",
    "two_sequence": "5611d2fdea98",
}


def draw(task, count=COUNT):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.tree.map(
        np.asarray, jax.jit(jax.vmap(task.sample, in_axes=(None, 0)))(task.load(), keys)
    )


@pytest.mark.parametrize("name", NEEDED)
def test_a_fixed_length_is_filled_by_the_lead_in(name):
    needed, largest = NEEDED[name], 40
    length = needed(largest)
    for gap in (9, largest):
        task = TASKS[name](gap, length=length)
        example = draw(task)
        assert task.length == example.inputs.shape[1] == length
        assert task.gap == gap == example.lag[example.lag >= task.counted_from].min()
        first = np.where(example.info_times >= 0, example.info_times, length).min(axis=(1, 2))
        lead_ins = first - BEFORE.get(name, 0)
        longest = length - needed(gap)
        if name == "sentences":
            assert set(lead_ins) == {0, *range(3, longest + 1)}
        elif name == "film":
            counts = np.where((example.lag >= gap)[..., None], example.info_times, length)
            assert set(counts.min(axis=(1, 2))) == set(range(longest + 3))
        elif longest:
            assert_uniform(lead_ins, 0, longest + 1)
    with pytest.raises(InputError, match=rf"length={length}: .* at least {needed(41)}"):
        TASKS[name](41, length=length)


@pytest.mark.parametrize("name", NEEDED)
def test_the_lead_in_it_makes_is_the_lead_in_that_is_asked_for(name):
    if name in ("sentences", "long_lag"):
        longer = {"sentences": 16, "long_lag": 0}[name]
        given = TASKS[name](21)
    else:
        longer = 13
        given = TASKS[name](21, lead_in=longer)
    filled = TASKS[name](21, length=NEEDED[name](21) + longer)
    assert given.fixed_position == filled.fixed_position
    jax.tree.map(np.testing.assert_array_equal, draw(given, 50), draw(filled, 50))


@pytest.mark.parametrize("name", ["induction", "agreement", "long_lag", "sentences", "film"])
def test_the_contract_holds_at_a_fixed_length(name):
    """Recall and delayed match have the same lead-in by their own option."""
    case = Case(9, TASKS[name](9, length=NEEDED[name](9) + 12), ())
    for clause in ("fields", "shapes", "values", "times", "lag", "gap", "position", "oracle"):
        CLAUSES[clause](case)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("induction", {"layout": "mamba"}, "layout=mamba is given its length in place of the gap"),
        ("long_lag", {"layout": "regular"}, "not for layout=regular"),
    ],
)
def test_layouts_without_a_lead_in_have_no_length(name, options, words):
    with pytest.raises(InputError, match=f"length=50: {words}"):
        TASKS[name](20, length=50, **options)


@pytest.mark.parametrize(
    ("name", "gap", "options", "digest"),
    [
        ("induction", 9, {}, "099d9ad4f06a1e57"),
        ("induction", 9, {"lead_in": 3}, "4b7d848395e6dc9e"),
        ("induction", 20, {"layout": "mamba"}, "05e1179f903edb79"),
        ("agreement", 7, {}, "7eeefe6896e86b81"),
        ("agreement", 4, {"subjects": 3, "lead_in": 0}, "bb16256a1e75bb74"),
        ("long_lag", 30, {}, "3d2e9b1d9cb3ab96"),
        ("long_lag", 9, {"layout": "regular"}, "3dcc2105bbeb60bc"),
        ("sentences", 9, {}, "5677610dfbca5763"),
        ("sentences", 12, {"language": "korean"}, "e2fca99b8a84beb2"),
        ("two_sequence", 30, {}, "3dcbd9899b638145"),
        ("two_sequence", 30, {"noise": "everywhere"}, "3dcbd9899b638145"),
        ("latch", 12, {}, "cb30fb58db869a2e"),
    ],
)
def test_without_it_examples_are_those_of_published_rows(name, gap, options, digest):
    """Symbols, classes and times, bit for bit as they were before tasks had the option."""
    found = hashlib.sha256()
    for leaf in draw(TASKS[name](gap, **options), 64):
        if np.issubdtype(leaf.dtype, np.integer):
            found.update(leaf.astype("<i4").tobytes())
    assert found.hexdigest()[:16] == digest


@pytest.mark.parametrize("name", IDS)
def test_without_it_trials_have_the_ids_of_published_rows(name):
    catalogue = Catalogue(CELLS, TASKS)
    (trial,) = make_sweep(
        catalogue,
        task=name,
        cells=["rnn"],
        gaps=[20],
        seeds=[0],
        learning_rates=[1e-3],
        settings=Settings(hidden_size=8, match="hidden"),
    )
    assert trial_id(trial, catalogue).endswith(IDS[name])
