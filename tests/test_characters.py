"""The experiment on character language models, in small."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import characters
from lstm_jax import characters_figure
from lstm_jax.errors import InputError
from lstm_jax.redrawing import redraw


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on a text of two letters in turn; gives the rows' files."""
    text = tmp_path / "text"
    text.write_bytes(b"ab" * 400)

    def call(**options):
        characters.FLAGS.unparse_flags()
        given = {"text": text, "results_dir": tmp_path / "rows", "batch_size": 4} | options
        characters.FLAGS(["characters", "--smoke", *(f"--{k}={v}" for k, v in given.items())])
        status = characters.main()
        return status, sorted((tmp_path / "rows").glob("*.json"))

    yield call
    characters.FLAGS.unparse_flags()


def test_smoke(run, capsys):
    """Rows, a table and a figure; a second run trains nothing again, and foreign files stay."""
    status, paths = run()
    assert not status
    rows = [json.loads(path.read_text()) for path in paths]
    assert len(rows) == 8
    assert {(row["segment"], row["hand_over"]) for row in rows} == {
        (segment, hand_over) for segment in (4, 16) for hand_over in (True, False)
    }
    for row in rows:
        assert 0 < row["test_bits"] < 1.2  # two letters: at most 1 bit, but for what is not learned
        assert row["text_bytes"] == 800
        assert row["updates"] == (720 // 4 - 1) // row["segment"]
    said = capsys.readouterr().out
    assert "| 4 |" in said
    assert (paths[0].parent / "bits_against_segment.png").stat().st_size > 10_000
    before = [path.stat().st_mtime_ns for path in paths]
    _, again = run()
    assert [path.stat().st_mtime_ns for path in again] == before
    paths[0].write_text("[]")
    with pytest.raises(InputError, match=r"is no row of this experiment .*; move it away"):
        run()
    assert paths[0].read_text() == "[]"


def test_what_cannot_be_is_named(run, tmp_path):
    with pytest.raises(InputError, match=r"--text=.*nothing: no such file"):
        run(text=tmp_path / "nothing")
    with pytest.raises(InputError, match="--cell=attention: carries nothing"):
        run(cell="attention")
    with pytest.raises(InputError, match="--text: holds 800 bytes; must be 5000 at least"):
        run(batch_size=500)
    assert not (tmp_path / "rows").exists()


def test_the_published_rows_give_the_published_table(tmp_path):
    """Through `experiments.figures`, and byte for byte."""
    published = Path(__file__).parents[1] / "docs" / "results" / "characters"
    shutil.copytree(published, tmp_path / "copy")
    text, paths = redraw(tmp_path / "copy")
    assert len(list(published.glob("*.json"))) == 30
    assert text == (published / "bits.md").read_text()
    for path in paths:
        if path.suffix != ".png":
            assert path.read_bytes() == (published / path.name).read_bytes(), path.name


def test_gains_are_by_seed():
    """Networks of one seed are compared with each other, so what seeds share falls out."""
    shared = {
        "cell": "lstm", "hidden_size": 1, "epochs": 1, "batch_size": 1, "learning_rate": 1.0,
        "text_bytes": 1, "symbols": 2, "text_sha256": "0" * 64, "test_characters": 1, "updates": 7,
    }  # fmt: skip
    rows = [
        {**shared, "segment": 4, "hand_over": hand_over, "seed": seed, "test_bits": seed + worse}
        for hand_over, worse in ((True, 0.0), (False, 0.25))
        for seed in range(6)
    ]
    (line,) = [line for line in characters_figure.table(rows).splitlines() if "| 4 |" in line]
    assert line.split("|")[2].strip() == "7"
    assert "0.250 [0.250, 0.250]" in line
    assert "2.500 [" in line
    assert np.isfinite(characters_figure.figure(rows).get_size_inches()).all()
