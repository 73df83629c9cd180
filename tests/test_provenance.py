"""Where rows say that their code is from."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lstm_jax import provenance

ASK = "from lstm_jax.provenance import provenance as p; print(p()['commit'], p()['dirty'])"


def test_a_checkout_says_its_commit(monkeypatch):
    monkeypatch.setenv(provenance.VARIABLE, "0" * 40)  # for code that has no history alone
    (told,) = provenance.environment().values()
    assert told.removesuffix("-dirty") == provenance.provenance()["commit"] != "0" * 40
    assert told.endswith("-dirty") == provenance.provenance()["dirty"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("a" * 40, "a" * 40 + " False"),
        ("b" * 40 + "-dirty", "b" * 40 + " True"),
        ("", "None None"),
        ("$(id)", "None None"),
    ],
)
def test_code_sent_elsewhere_says_what_it_was_told(tmp_path, told, said):
    shutil.copytree(Path(provenance.__file__).parent, tmp_path / "lstm_jax")
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": ".", provenance.VARIABLE: told},
    )  # fmt: skip
    assert done.stdout.strip() == said, done.stderr
