"""Rows on disk: round trips, torn and hostile files, the documented format."""

import json
import os
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_rows import end_row, evaluation_row, trial_row

from lstm_jax import results
from lstm_jax.errors import InputError
from lstm_jax.results import CorruptFileError, ResultsWarning
from lstm_jax.rows import parse


def rows(updates=(50, 100), **settings):
    trial = trial_row(**settings)
    evaluations = [evaluation_row(trial, update, 0.5) for update in updates]
    return [trial, *evaluations, end_row(trial, 0.5, updates[-1])]


def written(directory, lines):
    path = results.trial_path(directory, lines[0]["trial_id"])
    results.write_rows(path, lines)
    return Path(path)


def test_what_is_written_is_read(tmp_path):
    lines = rows()
    record = results.read(written(tmp_path, lines))
    assert [record.trial, *record.evaluations, *record.ends] == lines
    assert record.end == lines[-1]
    assert results.read_directory(tmp_path) == [record]
    assert [path.name for path in tmp_path.iterdir()] == [lines[0]["trial_id"] + ".jsonl"]


@pytest.mark.parametrize("largest", [1.2e16, 3.4028234e38])
def test_a_network_that_exploded_and_came_back_is_read(tmp_path, largest):
    """Whatever float32 holds may be a loss or a gradient."""
    lines = rows()
    lines[1] |= {"train_loss": largest, "monitor_loss": largest, "gradient_norm": largest}
    record = results.read(written(tmp_path, lines))
    assert [record.trial, *record.evaluations, *record.ends] == lines


def test_a_raised_budget_ends_again_and_the_last_end_counts(tmp_path):
    lines = rows()
    more = rows(updates=(150, 200))
    record = results.read(written(tmp_path, lines + more[1:]))
    assert len(record.ends) == 2
    assert record.end == more[-1]
    under_way = results.read(written(tmp_path, lines + more[1:-1]))
    assert under_way.end is None


@given(cut=st.floats(0, 1))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_torn_file_is_read_as_far_as_it_goes(tmp_path, cut):
    lines = rows(updates=(50, 100, 150))
    path = written(tmp_path, lines)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    complete = whole[: int(cut * len(whole))].count(b"\n")
    kept = path.read_bytes().rstrip(b"\n")
    complete += bool(kept) and kept in [b"\n".join(whole.split(b"\n")[: complete + 1])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultsWarning)
        if complete == 0:
            with pytest.raises(CorruptFileError):
                results.read(path)
        else:
            record = results.read(path)
            assert [record.trial, *record.evaluations, *record.ends] == lines[:complete]


def test_a_torn_line_is_warned_of(tmp_path):
    path = written(tmp_path, rows())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(ResultsWarning, match=r"line 4: torn"):
        assert results.read(path).end is None


HOSTILE = {
    "not json": "hello",
    "empty object": "{}",
    "a list": "[]",
    "kind is a list": '{"kind": []}',
    "kind is an object": '{"kind": {}}',
    "accuracy beyond 1": json.dumps(end_row(trial_row(), 1.5, 50)),
    "nested": "[" * 100_000,
    "unknown kind": '{"kind": "evil"}',
    "nan": '{"kind": "end", "accuracy": NaN}',
    "huge number": json.dumps(evaluation_row(trial_row(), 50, 0.5) | {"update": 10**400}),
    "float update": json.dumps(evaluation_row(trial_row(), 50, 0.5) | {"update": 1.5}),
    "bool update": json.dumps(evaluation_row(trial_row(), 50, 0.5) | {"update": True}),
    "text loss": json.dumps(evaluation_row(trial_row(), 50, 0.5) | {"train_loss": "1"}),
    "other trial": json.dumps(evaluation_row(trial_row(seed=9), 50, 0.5)),
    "a second trial": json.dumps(trial_row()),
    "status": json.dumps(end_row(trial_row(), 0.5, 50) | {"status": "excellent"}),
    "long": '{"kind": "' + "x" * 2**21 + '"}',
    "bytes": "\x00\x01\ud7ff",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_ends_the_reading(tmp_path, name):
    trial = trial_row()
    path = written(tmp_path, [trial, evaluation_row(trial, 50, 0.5)])
    with path.open("a") as file:
        file.write(HOSTILE[name] + "\n" + json.dumps(end_row(trial, 1.0, 100)) + "\n")
    with pytest.warns(ResultsWarning, match="read up to line 3"):
        record = results.read(path)
    assert len(record.evaluations) == 1
    assert record.end is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": "1"},
        {"trial_id": "other"},
        {"gap": 0},
        {"gap": -5},
        {"gap": 1e99},
        {"gap": None},
        {"length": 0},
        {"cell": 5},
        {"cell_options": []},
        {"kind": "end"},
    ],
)
def test_a_hostile_first_line_is_a_corrupt_file(tmp_path, change):
    lines = rows()
    path = written(tmp_path, lines)
    path.write_text(json.dumps(lines[0] | change) + "\n")
    with pytest.raises(CorruptFileError, match=re.escape(str(path))):
        results.read(path)
    with pytest.warns(ResultsWarning):
        assert results.read_directory(tmp_path) == []


def test_a_file_that_claims_too_much_is_not_read(tmp_path):
    path = written(tmp_path, rows())
    with path.open("ab") as file:
        file.truncate(2**40)  # sparse: a terabyte that is not there
    with pytest.raises(CorruptFileError, match="larger than"):
        results.read(path)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "", ".", "..", "a\n", "x" * 300, "-a"]
)
def test_ids_cannot_leave_the_directory(name):
    with pytest.raises(InputError, match="not an id"):
        results.trial_path("d", name)


def test_a_directory_in_place_of_a_file_is_passed_over(tmp_path):
    record = results.read(written(tmp_path, rows()))
    (tmp_path / "d.jsonl").mkdir()
    with pytest.warns(ResultsWarning, match="a directory"):
        assert results.read_directory(tmp_path) == [record]


def test_a_line_separator_inside_a_word_tears_nothing(tmp_path):
    lines = rows(match="one\u2028two\x85three")
    assert results.read(written(tmp_path, lines)).trial == lines[0]


def test_a_failed_write_leaves_the_old_rows_and_no_rubbish(tmp_path, monkeypatch):
    lines = rows()
    path = written(tmp_path, lines)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device.*{path.name}"):
        results.write_rows(path, lines[:1])
    assert [parse(line) for line in path.read_bytes().splitlines()] == lines
    assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_bit_is_noticed(tmp_path):
    """Wherever it is: what is read then are lines as they were written, or nothing."""
    lines = rows()
    path = written(tmp_path, lines)
    data = path.read_bytes()
    for bit in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            try:
                record = results.read(path)
            except results.CorruptFileError:
                continue
        found = [record.trial, *record.evaluations, *record.ends]
        assert all(row in lines for row in found), bit
        assert len(found) < len(lines), bit


def test_files_without_checksums_are_read(tmp_path):
    lines = rows()
    path = written(tmp_path, lines)
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    record = results.read(path)
    assert [record.trial, *record.evaluations, *record.ends] == lines


def test_the_manifest_grows_and_survives_rubbish(tmp_path):
    results.write_manifest(tmp_path, ["a", "b"])
    results.write_manifest(tmp_path, ["b", "c"])
    assert results.read_manifest(tmp_path) == ["a", "b", "c"]
    for rubbish in ("", "[]", '{"trials": [1]}', '{"trials": ["../x"]}', "[" * 10**5):
        (tmp_path / results.MANIFEST).write_text(rubbish)
        with pytest.warns(ResultsWarning):
            assert results.read_manifest(tmp_path) == []


def test_the_documented_fields_are_the_fields():
    text = (Path(__file__).parent.parent / "docs" / "results_format.md").read_text()
    sections = re.split(r"^## `(\w+)`$", text, flags=re.MULTILINE)
    documented = {
        kind: re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
        for kind, table in zip(sections[1::2], sections[2::2], strict=True)
    }
    assert {kind: set(names) for kind, names in documented.items()} == {
        kind: {*fields, *results.LATER_FIELDS[kind]} for kind, fields in results.FIELDS.items()
    }


def test_rows_are_read_by_pandas_in_one_line(tmp_path):
    import pandas

    path = written(tmp_path, rows())
    table = pandas.read_json(path, lines=True)
    assert list(table.kind) == ["trial", "evaluation", "evaluation", "end"]
