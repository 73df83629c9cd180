"""Trials, their ids, sweeps and cohorts."""

import dataclasses
import re

import pytest

from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError
from lstm_jax.layers import MODELS
from lstm_jax.results import trial_path
from lstm_jax.spec import UserFile
from lstm_jax.sweep import Settings, cohorts, make_sweep, trial_ids
from lstm_jax.tasks import TASKS
from lstm_jax.training import assemble
from lstm_jax.trial import Catalogue, Trial, program_id, trial_id

CATALOGUE = Catalogue(CELLS, TASKS)
SETTINGS = Settings(hidden_size=8)


def sweep(cells=("rnn", "lstm"), gaps=(3, 1), seeds=(0, 1), rates=(1e-2, 1e-3), **options):
    return make_sweep(
        options.pop("catalogue", CATALOGUE),
        task=options.pop("task", "recall"),
        cells=cells,
        gaps=gaps,
        seeds=seeds,
        learning_rates=rates,
        settings=dataclasses.replace(SETTINGS, **options),
    )


def test_smallest_gap_first_and_every_combination():
    trials = sweep()
    assert [trial.gap for trial in trials] == [1] * 8 + [3] * 8
    assert len(set(trials)) == 16
    assert {(t.learning_rate, t.seed) for t in trials} == {
        (rate, seed) for rate in (1e-2, 1e-3) for seed in (0, 1)
    }


def test_two_constructions_of_a_sweep_have_the_same_ids_and_all_differ():
    ids = trial_ids(sweep(), CATALOGUE)
    assert ids == trial_ids(sweep(), Catalogue(dict(CELLS), dict(TASKS)))
    assert len(set(ids)) == len(ids)
    for name in ids:
        trial_path("anywhere", name)  # a file name without tricks


# These ids are in people's results directories: a change here orphans them. `lstm` and `gru` have
# options that came later; None leaves the ids as they were.
FROZEN_IDS = {
    "rnn": "rnn-h20-lr0.003-seed0-6839f034cbd3",
    "gru": "gru-h10-lr0.003-seed0-868d23d01c34",
    "lstm": "lstm-h8-lr0.003-seed0-26ae2f7125cb",
    "lstm:init=chrono:time_scale=gap":
    "lstm_init=chrono_time_scale=gap-h8-lr0.003-seed0-89d273bf936d",
}  # fmt: skip


@pytest.mark.parametrize("cell", FROZEN_IDS)
def test_ids_stay_what_they_are(cell):
    (trial,) = sweep(cells=[cell], gaps=[5], seeds=[0], rates=[3e-3])
    assert trial_id(trial, CATALOGUE) == f"recall-gap5-{FROZEN_IDS[cell]}"


def test_an_option_that_is_none_is_as_if_it_were_not_there():
    def later(input_size, hidden_size, *, gain=1.0, extra: float | None = None):
        return CELLS["rnn"](input_size, hidden_size)

    def earlier(input_size, hidden_size, *, gain=1.0):
        return CELLS["rnn"](input_size, hidden_size)

    def identity(constructor, cell="mine"):
        known = Catalogue({**CELLS, "mine": constructor}, TASKS)
        return trial_ids(sweep(cells=[cell], catalogue=known), known)

    assert identity(earlier) == identity(later) == identity(later, "mine:extra=none")
    assert identity(earlier) != identity(later, "mine:extra=0")


def test_every_field_changes_the_id_and_only_arrays_keep_the_program():
    (trial,) = sweep(cells=["lstm"], gaps=[5], seeds=[0], rates=[3e-3])
    changes = {
        "task": "recall:symbols=4",
        "gap": 6,
        "cell": "gru",
        "layers": 2,
        "hidden_size": 9,
        "embedding_size": 3,
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "clip": "none",
        "batch_size": 31,
        "eval_every": 10,
        "seed": 1,
        "matmul_precision": "highest",
        "cell_file_sha256": "ab",
        "task_file_sha256": "cd",
        "train_gaps": "5",
        "eval_gaps": "5",
        "unroll": "scan",
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Trial)}
    for name, value in changes.items():
        other = dataclasses.replace(trial, **{name: value})
        assert trial_id(other, CATALOGUE) != trial_id(trial, CATALOGUE), name
        same_program = program_id(other, CATALOGUE) == program_id(trial, CATALOGUE)
        assert same_program == (name in ("seed", "learning_rate")), name


def test_a_default_spelled_out_is_the_same_trial_and_a_changed_default_is_another():
    (plain,) = sweep(cells=["gru"], gaps=[5], seeds=[0], rates=[3e-3])
    (spelled,) = sweep(cells=["gru:reset=before"], gaps=[5], seeds=[0], rates=[3e-3])
    assert plain == spelled

    def gru(input_size, hidden_size, *, reset: str = "after"):
        return CELLS["gru"](input_size, hidden_size, reset=reset)

    changed = Catalogue({**CELLS, "gru": gru}, TASKS)
    assert trial_id(plain, changed) != trial_id(plain, CATALOGUE)


def test_a_changed_file_is_a_new_id_for_its_own_trials_alone():
    def catalogue(sha256):
        return Catalogue(CELLS, TASKS, own_cells=[UserFile("mine", CELLS["rnn"], sha256)])

    before, after = (
        trial_ids(sweep(cells=["mine", "lstm"], catalogue=known), known)
        for known in (catalogue("a" * 64), catalogue("b" * 64))
    )
    for old, new in zip(before, after, strict=True):
        assert (old == new) == ("-lstm-" in old)


def test_cohorts_keep_order_and_group_what_differs_in_arrays_only():
    groups = cohorts(sweep(), CATALOGUE)
    assert [(g.trials[0].gap, g.trials[0].cell, len(g.trials)) for g in groups] == [
        (1, "rnn", 4),
        (1, "lstm", 4),
        (3, "rnn", 4),
        (3, "lstm", 4),
    ]


# Those that split their hidden size evenly among heads.
UNITS = {"attention": 4, "mlstm": 4}


@pytest.mark.parametrize("cell", MODELS)
@pytest.mark.parametrize("layers", [1, 2])
def test_matched_sizes_are_the_nearest_in_parameters(cell, layers):
    known = Catalogue(MODELS, TASKS)

    def count(size, name):
        (trial,) = sweep(
            cells=[name], gaps=[5], seeds=[0], rates=[1e-3], catalogue=known,
            match="hidden", hidden_size=size, layers=layers,
        )  # fmt: skip
        return assemble(trial, known).network.parameters

    target, unit = count(8, "lstm"), UNITS.get(cell, 1)
    (trial,) = sweep(
        cells=[cell], gaps=[5], seeds=[0], rates=[1e-3], catalogue=known, layers=layers
    )
    near = [trial.hidden_size + unit * apart for apart in range(-2, 3)]
    nearest = min(
        (size for size in near if size > 0), key=lambda size: abs(count(size, cell) - target)
    )
    assert trial.hidden_size == nearest
    if 8 % unit == 0:
        same = sweep(cells=[cell], catalogue=known, match="hidden")
        assert same[0].hidden_size == 8


def test_the_reference_keeps_its_size():
    assert sweep(cells=["lstm:init=chrono"])[0].hidden_size == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cells": []}, "cells is empty"),
        ({"gaps": []}, "gaps is empty"),
        ({"seeds": []}, "seeds is empty"),
        ({"rates": []}, "learning_rates is empty"),
        ({"cells": ["rnn", "rnn:activation=tanh"]}, "cells: rnn is given twice"),
        ({"gaps": [5, 5]}, "gaps: 5 is given twice"),
        ({"gaps": [0]}, "gap=0"),
        ({"seeds": [2**31 - 1]}, "seeds=2147483647"),
        ({"seeds": [-1]}, "seeds=-1"),
        ({"cells": ["lst"]}, "cell 'lst' is not known"),
        ({"task": "recal"}, "task 'recal' is not known"),
        ({"optimizer": "adem"}, "optimizer 'adem' is not known"),
        ({"clip": "norm:-1"}, "clip 'norm:-1'"),
        ({"optimizer": "guess"}, "learning_rates: with optimizer=guess the only one is 1"),
        ({"optimizer": "guess:scale=-1", "rates": [1]}, "scale=-1"),
        ({"cells": ["mlstm:heads=0"]}, "heads=0"),
        ({"cells": ["mlstm:heads=3"], "match": "hidden"}, "hidden_size=8"),
    ],
)
def test_bad_sweeps_are_named(options, words):
    with pytest.raises(InputError, match=re.escape(words)) as error:
        sweep(**options)
    assert "\n" not in str(error.value)


def test_a_cell_that_does_not_grow_cannot_be_matched():
    def fixed(input_size, hidden_size):
        return CELLS["rnn"](input_size, 3)

    known = Catalogue(CELLS, TASKS, own_cells=[UserFile("fixed", fixed, "")])
    with pytest.raises(InputError, match="match=hidden"):
        sweep(cells=["fixed"], catalogue=known)


def test_a_file_may_not_take_a_built_in_name():
    with pytest.raises(InputError, match="rename"):
        Catalogue(CELLS, TASKS, own_cells=[UserFile("lstm", CELLS["rnn"], "")])
