"""Rows as one Parquet file."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import made_rows
import pandas
import pytest

from lstm_jax import compact, results
from lstm_jax.errors import MissingExtraError

ROOT = Path(__file__).parent.parent


def directory_of(tmp_path, **settings):
    records = made_rows.sweep({"lstm": {5: [1.0, None], 10: [0.5]}, "rnn": {5: [0.2]}}, **settings)
    records[0].trial["cell_options"] = {"forget_bias": 1.0, "bias": "é"}
    return made_rows.write(tmp_path, records), records


def run(directory, *python):
    return subprocess.run(
        [sys.executable, *python, "-m", "experiments.compact", f"--results_dir={directory}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_every_row_is_in_the_table(tmp_path):
    directory, records = directory_of(tmp_path)
    before = {path: path.read_bytes() for path in directory.iterdir()}
    done = run(directory)
    assert done.returncode == 0, done.stderr
    assert "4 trial, 4 evaluation, 4 end, 0 retention rows" in done.stdout
    table = pandas.read_parquet(directory / compact.TABLE)
    records.sort(key=lambda record: record.trial["trial_id"])
    lines = [row for made in records for row in (made.trial, *made.evaluations, *made.ends)]
    assert list(table.kind) == [row["kind"] for row in lines]
    for (_, found), row in zip(table.iterrows(), lines, strict=True):
        for name, value in found.items():
            expected = row.get(name)
            if isinstance(expected, dict):
                assert json.loads(value) == expected
            elif expected is None:
                assert pandas.isna(value), name
            else:
                assert value == expected, name
    assert before == {path: path.read_bytes() for path in before}


def test_equal_rows_give_equal_bytes_and_the_description_says_what_went_in(tmp_path):
    directory, records = directory_of(tmp_path / "one")
    other, _ = directory_of(tmp_path / "two")
    for place in (directory, other, directory):
        compact.compact(place)
    data = (directory / compact.TABLE).read_bytes()
    assert data == (other / compact.TABLE).read_bytes()
    description = json.loads((directory / compact.DESCRIPTION).read_text())
    assert description["sha256"] == hashlib.sha256(data).hexdigest()
    assert description["trials"] == sorted(record.trial["trial_id"] for record in records)
    assert description["rows"] == {"trial": 4, "evaluation": 4, "end": 4, "retention": 0}
    assert description["schema"] == results.SCHEMA
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+\+00:00", description["made"])


def test_a_raised_budget_keeps_its_order(tmp_path):
    record = made_rows.record(0.5, budget=600)
    later = made_rows.evaluation_row(record.trial, 1200, 0.97)
    more = made_rows.end_row(record.trial, 0.97, 1200)
    path = results.trial_path(tmp_path, record.trial["trial_id"])
    results.write_rows(path, [record.trial, *record.evaluations, *record.ends, later, more])
    compact.compact(tmp_path)
    table = pandas.read_parquet(tmp_path / compact.TABLE)
    assert list(table.kind) == ["trial", "evaluation", "end", "evaluation", "end"]
    assert list(table["update"][1:]) == [600, 600, 1200, 1200]


def test_what_cannot_be_is_one_line(tmp_path, monkeypatch):
    for directory, told in ((tmp_path / "none", "no such directory"), (tmp_path, "holds no")):
        done = run(directory)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: --results_dir: {directory}: {told}")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"lstm_jax\[parquet\]"):
        compact.compact(tmp_path)


def test_every_column_is_documented():
    text = (ROOT / "docs" / "results_format.md").read_text()
    section = text[text.index("## One Parquet file") :]
    for name in ("kind", "results.parquet.json", "read_parquet"):
        assert name in section
    assert set(compact._columns()) == {
        "kind",
        *(name for fields in results.FIELDS.values() for name in fields),
        *(name for fields in results.LATER_FIELDS.values() for name in fields),
    }  # fmt: skip
