"""Whatever a stranger put into a results directory: rows that hold to their fields, or one line.

The default set draws some directories; `make faults` draws many, and prints how many.
"""

import contextlib
import io
import json
import math
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import made_rows
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstm_jax import compact, figures, results, summary, table
from lstm_jax.checkpoints import Checkpoints
from lstm_jax.errors import InputError
from lstm_jax.history import History
from lstm_jax.results import FIELDS, LATER_FIELDS, CorruptFileError, ResultsWarning
from lstm_jax.trial import Trial

ROOT = Path(__file__).parent.parent
TRIAL = Trial(
    "recall", 5, "lstm", 1, 32, 0, "adam", 0.003, "norm:1", 32, 50, 0, "float32"
)  # as `made_rows` has it
NUMBERS = (
    0, -1, 1, 2**31, 2**63, -(2**63), 10**16, 10**17, 10**400, 1.5, -0.0, 1e-320, 1e16, 1e308,
    math.nan, math.inf, -math.inf, True, False,
)  # fmt: skip
TEXTS = (
    "", "x", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "\x00", "\x1b[31m", "\u202e",
    "\ufeff", "\ud800", "\ufffe", "\U0001f600", "lstm\u200b", "еnd", "ｓolved",
    "$\\frac{1}{0}$", "{}", "[[", "|", "x" * 5000, "<script>", "%s%n", "a\nb", "\u2028",
    "__class__", "_", "NaN", "true", "1",
)  # fmt: skip


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def value(choices):
    """Any value: numbers, texts, things nested, mostly wrong ones."""
    return choices.choice(
        [
            lambda: choices.choice(NUMBERS),
            lambda: choices.choice(TEXTS),
            lambda: None,
            list,
            dict,
            lambda: {choices.choice(TEXTS): choices.choice(NUMBERS)},
            lambda: [choices.choice(NUMBERS)] * choices.choice([1, 3, 20_000]),
            lambda: deep(choices.choice([2, 40, 90, 500])),
            lambda: choices.uniform(-2, 2),
            lambda: choices.randint(-5, 2000),
        ]
    )()


def lines(choices, name=None):
    """A results file that is nearly right."""
    varied = {
        "seed": choices.randrange(4),
        "gap": choices.choice([5, 5, 10, 10**9, 10**9 - 1]),
        "learning_rate": choices.choice([0.003, 0.003, 0.1]),
        "cell": choices.choice(["lstm", "lstm", "rnn", *TEXTS]),
    }
    if choices.random() < 0.3:
        fields = [key for key in FIELDS["trial"] if key not in ("schema", "trial_id")]
        varied[choices.choice(fields)] = value(choices)
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        trial = made_rows.trial_row(**varied)
        trial["trial_id"] = re.sub(r"[^A-Za-z0-9._=+-]", "_", trial["trial_id"])[-150:].lstrip(
            "._=+-"
        )
        rows = [trial]
        for index in range(choices.randrange(4)):
            rows.append(made_rows.evaluation_row(made_rows.trial_row(), 50 * (index + 1), 0.5))
        if choices.random() < 0.7:
            accuracy = choices.choice([1.0, 0.2, None])
            rows.append(made_rows.end_row(made_rows.trial_row(), accuracy, 200))
        if choices.random() < 0.4:
            trial["train_gaps"] = choices.choice(["5,10", "uniform:1-40", *TEXTS])
            trial["eval_gaps"] = choices.choice(["5,10", "5,10,20", *TEXTS])
            for gap in sorted(choices.sample([5, 10, 20, 40], choices.randrange(4))):
                rows.append(made_rows.retention_row(made_rows.trial_row(), gap, 0.95, 200))
        for row in rows[1:]:
            row["trial_id"] = trial["trial_id"]
        for _ in range(choices.choice([0, 0, 0, 1, 2])):
            row = choices.choice(rows)
            row[choices.choice([*row, "more", "kind"])] = value(choices)
        return trial["trial_id"], rows
    return "x", []


def encoded(choices, row):
    """A line, now and then spelled strangely."""
    text = json.dumps(row, ensure_ascii=choices.random() < 0.5)
    data = text.encode(errors="surrogatepass")
    return choices.choices(
        [
            lambda: data,
            lambda: data[: choices.randrange(len(data) + 1)],
            lambda: b"\xef\xbb\xbf" + data,
            lambda: data[:-1] + b', "update": 1e999}',
            lambda: data[:-1] + b", " + data[1:],
            lambda: data.replace(b"a", b"\xff", 1),
            lambda: text.encode("utf-16", errors="replace"),
            lambda: data + b" " * choices.choice([10, 2**17]),
            lambda: b"[" * choices.choice([50, 200_000]),
            lambda: b"9" * choices.choice([5, 5000, 60_000]),
            lambda: os.urandom(50),
            lambda: b"",
        ],
        weights=[30] + [1] * 11,
    )[0]()


def fill(directory, choices):
    """Makes a hostile directory."""
    directory.mkdir()
    for _ in range(choices.randrange(1, 7)):
        name, rows = lines(choices)
        if choices.random() < 0.1:
            name = choices.choice(
                ["..", "-rf", "x" * 200, "a b", "\udcff", "é", "a\nb", str(name)[::-1]]
            )
        path = directory / f"{name}.jsonl"
        data = choices.choice([b"\n"] * 9 + [b"\r\n"]).join(encoded(choices, row) for row in rows)
        with contextlib.suppress(OSError, ValueError):
            path.write_bytes(data + choices.choice([b"\n", b""]))
    for kind in range(8):
        if choices.random() < 0.08:
            strange(directory, kind, choices)
    manifest = directory / results.MANIFEST
    if not os.path.lexists(manifest) and choices.random() < 0.7:
        trials = choices.choice(
            [["a", "b"], [f"t{i}" for i in range(50)], value(choices), [value(choices)]]
        )
        content = json.dumps(choices.choice([{"trials": trials}, trials, {"trials": "ab"}]))
        manifest.write_bytes(
            choices.choice([content.encode(errors="replace")] * 5 + [b"", b"\xff", b"[" * 10**5])
        )


def strange(directory, kind, choices):
    """Something that is not a file."""
    path = directory / choices.choice(["p.jsonl", "q.jsonl", results.MANIFEST, "s.jsonl"])
    if os.path.lexists(path):  # maybe a pipe, which would keep whoever writes to it waiting
        return
    with contextlib.suppress(OSError):
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.mkdir()
        elif kind in (2, 3, 4, 5):
            targets = [
                "/dev/zero",
                "/etc/passwd",
                str(path),
                "nowhere",
                ".",
                "/dev/tty",
            ]
            path.symlink_to(choices.choice(targets))
        elif kind == 6:
            with path.open("wb") as file:
                file.truncate(2**40)
        else:
            (directory / "horizons.md").symlink_to(directory.parent / "outside")


def hold_to_their_fields(records):
    for record in records:
        for row in record.lines:
            for name, types in FIELDS[row["kind"]].items():
                assert isinstance(row[name], types), name
            for name, types in LATER_FIELDS[row["kind"]].items():
                assert name not in row or isinstance(row[name], types), name
            for name in row:
                if isinstance(row[name], float):
                    assert math.isfinite(row[name])
            assert row["trial_id"] == record.trial["trial_id"]
            json.dumps(row, allow_nan=False, ensure_ascii=False).encode()
        updates = [row["update"] for row in record.evaluations]
        assert updates == sorted(set(updates))
        assert min(updates, default=1) > 0


def one_line(warning):
    return str(warning.message).isprintable() and len(str(warning.message)) <= 1000


def contents(directory):
    return {
        path: path.read_bytes() if path.is_file() and path.stat().st_size < 2**20 else None
        for path in directory.iterdir()
        if not path.is_symlink()
    }


def read_everything(directory, draw):
    """Every reader once; figures only on demand: they take longest. Warnings of ours are let
    through, others are errors."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("error")
        warnings.simplefilter("always", ResultsWarning)
        records = results.read_directory(directory)
        hold_to_their_fields(records)
        planned = results.read_manifest(directory)
        assert all(isinstance(name, str) for name in planned)
        curves = summary.summarise(records)
        for text in (table.text(curves), table.markdown(curves)) if curves else ():
            assert all(char.isprintable() or char == "\n" for char in text)
        before = contents(directory)
        if records:
            text, paths = figures.redraw(directory) if draw else (table.text(curves), [])
            print(text, paths, file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
            compact.compact(directory)
        else:
            with pytest.raises(InputError, match="holds no results"):
                figures.redraw(directory)
        for path, data in before.items():
            if path.name.endswith(".jsonl") and data is not None:
                assert path.read_bytes() == data
        for record in records[:2]:
            history = History.read(directory, record.trial["trial_id"], TRIAL)
            assert history.update >= 0
            history.ended(600)
    assert all(one_line(warning) for warning in told)
    return len(records)


def check(seed, draw=True):
    """One directory; returns how many records were in it."""
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "results"
        fill(directory, random.Random(seed))
        count = read_everything(directory, draw)
        assert os.listdir(root) == ["results"], "written outside"
    return count


@given(seed=st.integers(0, 10**9))
@settings(max_examples=12, deadline=None)
def test_whatever_is_in_the_directory(seed):
    check(seed)


@given(seed=st.integers(0, 10**9))
@example(seed=24197502)  # a time of 10**400
@example(seed=103971)  # a trial's id of which a bit has flipped
@settings(max_examples=12, deadline=None)
def test_whatever_is_in_the_checkpoint(seed):
    check_checkpoint(seed)


@pytest.mark.faults
def test_many_directories_and_checkpoints():
    number = int(os.environ.get("LSTM_JAX_HOSTILE", "1000"))
    counts = [check(seed, seed % 5 == 0) for seed in range(number)]
    restored = sum(check_checkpoint(seed) for seed in range(number // 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\n{number} hostile directories, {sum(counts)} trials read; {number // 2} hostile "
        f"checkpoints, {restored} unharmed; peak {peak:.2f} GiB"
    )
    assert sum(count > 0 for count in counts) > number / 4
    assert 0 < restored < number / 4
    assert peak < 2


# --- checkpoints

ONE = {"weights": np.zeros(3, np.float32), "update": np.zeros((), np.int32)}
STATES = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "update": np.arange(2, dtype="i"),
}
SAVED = {}


def saved(directory):
    """A checkpoint as we write it; saved once."""
    if not SAVED:
        with tempfile.TemporaryDirectory() as root, Checkpoints(root, "program") as checkpoints:
            checkpoints.save(["a", "b"], STATES)
            checkpoints.wait()
            folder = Path(root) / "checkpoints"
            files = [path for path in folder.rglob("*") if path.is_file()]
            SAVED.update({path.relative_to(folder): path.read_bytes() for path in sorted(files)})
    for name, data in SAVED.items():
        (directory / "checkpoints" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "checkpoints" / name).write_bytes(data)
    return directory / "checkpoints" / "program" / "0"


def restored(directory):
    with Checkpoints(directory, "program") as checkpoints:
        return checkpoints.restore(ONE, ["a", "b"])


def is_what_was_saved(found):
    return set(found) == {"a", "b"} and all(
        np.array_equal(found[name][leaf], STATES[leaf][row])
        for row, name in enumerate("ab")
        for leaf in STATES
    )


def harm(step, choices):
    """Damages or swaps one file of a checkpoint, or puts something strange beside it."""
    files = [path for path in step.rglob("*") if path.is_file() and not path.is_symlink()]
    path = choices.choice(sorted(path for path in files if path.stat().st_size < 2**20))
    data = bytearray(path.read_bytes())
    kind = choices.randrange(9)
    if kind < 3 and data:
        data[choices.randrange(len(data))] ^= 1 << choices.randrange(8)
    elif kind == 3:
        data = data[: choices.randrange(len(data) + 1)]
    elif kind == 4:
        data = bytearray(json.dumps(value(choices)).encode(errors="replace"))
    elif kind == 5:
        numbers = list(re.finditer(rb"\d+", data))
        if numbers:
            at = choices.choice(numbers)
            data[at.start() : at.end()] = str(choices.choice((0, 7, 10**12, 10**400))).encode()
    path.unlink()
    if kind == 6:
        os.mkfifo(path)
    elif kind == 7:
        path.symlink_to(choices.choice(["/dev/zero", "/etc/passwd", str(path)]))
    elif kind == 8:
        with path.open("wb") as file:
            file.truncate(2**40)
    else:
        path.write_bytes(data)


def check_checkpoint(seed):
    """One checkpoint; returns whether it could still be read, and then it says what it said."""
    choices = random.Random(seed)
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("error")
        warnings.simplefilter("always", ResultsWarning)
        directory = Path(root) / "results"
        step = saved(directory)
        for _ in range(choices.choice([1, 1, 2, 4])):
            harm(step, choices)
        found = restored(directory)
        assert found == {} or is_what_was_saved(found)
        assert bool(found) != bool(told)
        assert all(one_line(warning) for warning in told)
        assert os.listdir(root) == ["results"]
    return bool(found)


def claim(step, name, **changes):
    """Rewrites what an array of a checkpoint says of itself."""
    import tensorstore

    store = tensorstore.KvStore.open(
        {"driver": "ocdbt", "base": {"driver": "file", "path": f"{step}/state/"}}
    ).result()
    (key,) = [key for key in store.list().result() if key == f"{name}/.zarray".encode()]
    about = json.loads(store.read(key).result().value) | changes
    store.write(key, json.dumps(about)).result()


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2, 10**12]},
        {"shape": [10**12, 3]},
        {"shape": [2, 3], "chunks": [2**20, 2**20]},
        {"shape": [2, 4]},
        {"shape": [3, 3]},
        {"dtype": "<f8"},
        {"dtype": "|S1000000000"},
    ],
)
def test_what_a_checkpoint_claims_is_not_believed(tmp_path, changes):
    claim(saved(tmp_path), "weights", **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(ResultsWarning, match="unreadable checkpoint, set aside"):
        assert restored(tmp_path) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10
    assert restored(tmp_path) == {}


def test_a_claim_that_agrees_with_itself_must_have_the_bytes(tmp_path):
    """Ids of very many trials, and arrays that say as much and hold nothing."""
    count = 400_000
    step = saved(tmp_path)
    wide = {"weights": np.zeros(10**5, np.float32), "update": ONE["update"]}
    claim(step, "weights", shape=[count, 10**5], chunks=[1, 10**5])
    claim(step, "update", shape=[count])
    about = {"ids": [str(i) for i in range(count)], "sha256": "0" * 64}
    (step / "trials" / "metadata").write_text(json.dumps(about))
    with (
        Checkpoints(tmp_path, "program") as checkpoints,
        pytest.warns(ResultsWarning, match=r"claims 160001600000 bytes, and holds \d+"),
    ):
        assert checkpoints.restore(wide, ["1"]) == {}


def test_other_trees_and_names_are_refused(tmp_path):
    for number, about in enumerate(
        ([], {"ids": "ab"}, {"ids": [1, 2], "sha256": ""}, {"ids": ["a"]}, {"ids": ["a", "b"]}, 7,
         {"ids": ["a", "b"], "sha256": "0" * 64})
    ):  # fmt: skip
        step = saved(tmp_path / str(number))
        (step / "trials" / "metadata").write_text(json.dumps(about))
        with pytest.warns(ResultsWarning, match="unreadable checkpoint, set aside"):
            assert restored(tmp_path / str(number)) == {}
    step = saved(tmp_path / "other")
    with (
        Checkpoints(tmp_path / "other", "program") as checkpoints,
        pytest.warns(ResultsWarning, match="other shapes or dtypes than this program's"),
    ):
        assert checkpoints.restore({"weights": ONE["weights"]}, ["a"]) == {}


# --- the command, and what is large


def test_the_command_says_it_in_lines(tmp_path):
    (tmp_path / "results").mkdir()
    made_rows.write(tmp_path / "results", made_rows.sweep({"lstm": {5: [1.0], 10: [0.2]}}))
    os.mkfifo(tmp_path / "results" / "pipe.jsonl")
    (tmp_path / "results" / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "results" / "a\x1b[31m\nb\udcff.jsonl").write_text("x")
    (tmp_path / "results" / "manifest.json").unlink()
    os.mkfifo(tmp_path / "results" / "manifest.json")
    done = subprocess.run(
        [sys.executable, "-m", "experiments.figures", f"--results_dir={tmp_path / 'results'}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("warning: ") and line.isprintable() for line in lines)
    assert os.listdir(tmp_path) == ["results"]


def test_a_thousand_directories_in_place_of_files_leave_no_descriptor_open(tmp_path):
    for number in range(1000):
        (tmp_path / f"{number}.jsonl").mkdir()
    with pytest.warns(ResultsWarning, match="a directory"):
        assert results.read_directory(tmp_path) == []
    # Those of these directories: connections of other tests may be closed meanwhile.
    descriptors = Path("/proc/self/fd").iterdir()
    assert not [to for to in map(_target, descriptors) if to.startswith(str(tmp_path))]


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:  # that of the listing itself
        return ""


@pytest.mark.parametrize("name", ["cell", "task", "gap", "seed"])
def test_very_many_of_one_kind_are_cut_short_and_said(tmp_path, name):
    number = 700
    records = [
        made_rows.record(0.5, **{name: f"x{i}" if name in ("cell", "task") else i + 1})
        for i in range(number)
    ]
    curves = summary.summarise(records)
    told = table.text(curves)
    if name == "cell":
        assert f"{number - table.MOST_CURVES} more experiments are not listed" in told
    if name == "gap":
        assert f"{number - summary.MOST_GAPS} larger gaps are not listed" in told
        assert curves[0].horizon is None
    if name == "task":
        with pytest.warns(ResultsWarning, match="680 more tasks are not drawn"):
            _, paths = figures.redraw(tmp_path, records)
    else:
        _, paths = figures.redraw(tmp_path, records)
    assert sum(path.stat().length for path in paths) < 20 * 2**20


def test_gaps_that_are_nearly_one_have_no_horizon():
    records = made_rows.sweep({"lstm": {10**9 - 1: [1.0] * 5, 10**9: [0.2] * 5}})
    (curve,) = summary.summarise(records)
    assert curve.horizon is None
    assert table.text([curve])


def test_a_corrupt_file_is_told_apart_from_one_out_of_reach(tmp_path):
    path = tmp_path / "x.jsonl"
    path.symlink_to(path)
    with pytest.raises(CorruptFileError, match="symbolic links"):
        results.read(path)
