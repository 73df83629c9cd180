"""Rows of what is measured once, and the parameters that sweeps have trained."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from lstm_jax import observations, running
from lstm_jax.errors import InputError
from lstm_jax.layers import MODELS
from lstm_jax.observations import Kind, file_name, read, read_all, write
from lstm_jax.results import ResultsWarning
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.trained import trained_params
from lstm_jax.training import assemble, initial_state
from lstm_jax.trial import Catalogue


@dataclasses.dataclass(frozen=True)
class Asked:
    cell: str
    seed: int

    @property
    def slug(self):
        return f"{self.cell}-seed{self.seed}"


KIND = Kind("fall", Asked, {"height": float, "curve": list, "why": (str, type(None))})
TOLD = {"height": 2.5, "curve": [1.0, float("inf"), None], "why": None}


def test_what_was_written_is_read(tmp_path):
    asked = Asked("lstm", 3)
    assert read(tmp_path, KIND, asked) is None
    row = write(tmp_path, KIND, asked, {**TOLD, "provenance": {"commit": "x"}})
    assert row["curve"] == [1.0, None, None]
    assert read(tmp_path, KIND, asked) == row
    assert read(tmp_path, KIND, Asked("lstm", 4)) is None
    assert (tmp_path / file_name(asked)).read_text().count("\n") == 9
    write(tmp_path, KIND, Asked("gru", 0), TOLD)
    assert [own["cell"] for own in read_all(tmp_path, [KIND])["fall"]] == ["gru", "lstm"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "rise"}, "not of kind fall"),
        ({"height": "2"}, "height has the wrong type"),
        ({"height": True}, "height has the wrong type"),
        ({"curve": [[1]]}, "curve has the wrong type"),
        ({"seed": 7}, "of another observation"),
        ("x", "not JSON"),
        ("[]", "not of kind"),
        ('{"kind": "fall", "kind": "fall"}', "given twice"),
        ("[" * 200, "nested too deeply"),
        (" " * observations.MOST_BYTES + "{}", "larger than"),
    ],
)
def test_what_is_no_row_is_named_and_stays(tmp_path, change, said):
    asked = Asked("lstm", 3)
    row = write(tmp_path, KIND, asked, TOLD)
    path = tmp_path / file_name(asked)
    path.write_text(change if isinstance(change, str) else json.dumps(row | change))
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"{path.name}: is no row of this experiment .*{said}"):
        read(tmp_path, KIND, asked)
    if "another" not in said:
        with pytest.warns(ResultsWarning, match="passed over"):
            assert read_all(tmp_path, [KIND]) == {}
    assert path.read_bytes() == before


def test_trained_parameters_are_those_that_were_scored(tmp_path):
    """A trial's parameters after its last update; of trials that were not run, none."""
    catalogue = Catalogue(MODELS, TASKS)
    settings = Settings(hidden_size=4, eval_every=2, batch_size=2)
    trials = make_sweep(
        catalogue, task="recall", cells=["rnn"], gaps=(2,), seeds=range(3), learning_rates=(0.01,),
        settings=settings,
    )  # fmt: skip
    running.plan(trials[:2], tmp_path, catalogue)
    running.run(trials[:2], tmp_path, updates=4, catalogue=catalogue, match="m")
    found = trained_params(trials[1::-1], tmp_path, catalogue)
    assert list(found) == [trials[1], trials[0]]
    assembly = assemble(trials[0], catalogue)
    for trial, params in found.items():
        start = initial_state(assembly, trial.seed).params
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), params, start)
        assert all(0 < by < 0.05 for by in jax.tree.leaves(moved)), moved  # 4 updates of 0.01
    with pytest.raises(InputError, match=r"no trained parameters of 1 of 3 trials, first .*seed2"):
        trained_params(trials, tmp_path, catalogue)
