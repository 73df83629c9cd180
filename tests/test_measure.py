"""`measure_horizon`: what a notebook may give it."""

import re

import pytest

import lstm_jax
from lstm_jax.cells import CELLS, rnn
from lstm_jax.errors import InputError
from lstm_jax.sweep import Settings
from lstm_jax.tasks import TASKS
from lstm_jax.trial import Catalogue

SMALL = {
    "task": "recall:lead_in=2",
    "gaps": (2, 3),
    "seeds": 2,
    "updates": 20,
    "settings": Settings(hidden_size=8, batch_size=8, eval_every=10),
}


def mine(input_size: int, hidden_size: int, *, gain: float = 1.0):
    return rnn(input_size, hidden_size, recurrent_init="orthogonal", gain=gain)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": 2.5}, "seeds=2.5"),
        ({"seeds": 0}, "seeds=0"),
        ({"gaps": 5}, "gaps=5: must be a list"),
        ({"gaps": (0,)}, "gap=0"),
        ({"learning_rates": 0.003}, "learning_rates=0.003: must be a list"),
        ({"learning_rates": (-1.0,)}, "learning_rates=-1.0"),
        ({"learning_rates": (float("nan"),)}, "learning_rates=nan"),
        ({"updates": "a"}, "updates=a"),
        ({"updates": 25}, "updates=25: must be a multiple of 10"),
        ({"results_dir": "s3://bucket"}, "local directory"),
        ({"catalogue": Catalogue(CELLS, TASKS)}, "not both"),
    ],
)
def test_what_it_cannot_use_is_named(change, words):
    with pytest.raises(InputError, match=re.escape(words)):
        lstm_jax.measure_horizon(mine, **(SMALL | change))


def test_rows_table_and_figure(tmp_path):
    measured = lstm_jax.measure_horizon(["rnn", mine], results_dir=tmp_path, **SMALL)
    assert measured.outcome.trained == 8
    assert {row["kind"] for row in measured.rows} == {"trial", "evaluation", "end"}
    assert "mine" in measured.table
    assert len(measured.figure.axes) == 2
    again = lstm_jax.measure_horizon(["rnn", mine], results_dir=tmp_path, **SMALL)
    assert (again.outcome.trained, again.outcome.skipped) == (0, 8)
    assert again.records == measured.records
