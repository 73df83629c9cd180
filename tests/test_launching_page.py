"""docs/launching.md, and the README on launching: what they show is what the commands take."""

import importlib
import os
import re
import shlex
import sys
import types
from pathlib import Path

import made_rows
import pytest
from launching import forget

from launch.tpu_service import ENDPOINT, Resource
from lstm_jax import locks

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "launching.md").read_text()
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
PROSE = BLOCK.sub("", PAGE)
LAUNCHERS = [
    f"launch.{name}" for name in ("locally", "on_ray", "on_slurm", "on_cloud_tpu", "each_host")
]
ALONE = ["launch.status", "experiments.compact", "experiments.figures", "experiments.gap_sweep"]


def shell_lines(text):
    return [
        line.strip()
        for language, _, block in BLOCK.findall(text)
        if language == "bash"
        for line in block.replace("\\\n", " ").splitlines()
    ]


def commands(text, modules):
    words = [shlex.split(line, comments=True) for line in shell_lines(text)]
    return [line for line in words if line[:2] == ["python", "-m"] and line[2].startswith(modules)]


COMMANDS = [
    *commands(PAGE, ("launch.", "experiments.")),
    *commands(README, ("launch.", "experiments.compact")),
]


def flags_of(module):
    return importlib.import_module(module).FLAGS


def parsed(module, arguments):
    """Values of the flags of a module for a command line, whose state stays as it was."""
    flags = flags_of(module)
    try:
        assert flags([module, *arguments])[1:] == []
        return flags.flag_values_dict()
    finally:
        forget(flags)


def test_every_launcher_is_shown_and_listed():
    shown = {words[2] for words in commands(PAGE, ("launch.", "experiments."))}
    assert shown >= {*LAUNCHERS, "launch.status", "experiments.compact"}
    listed = re.findall(r"`python -m (launch\.\w+)` \|$", PROSE, flags=re.MULTILINE)
    assert listed == LAUNCHERS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_flags_that_there_are(words):
    sides = [words[2:]]
    if "--" in words:
        at = words.index("--")
        sides = [words[2:at], words[at + 1 :]]
        assert words[2] in LAUNCHERS
        assert any(word.startswith("--results_dir=") for word in sides[0])
    else:
        assert words[2] in ALONE
    for module, *arguments in sides:
        parsed(module, arguments)


def test_flags_named_in_prose_are_there():
    known = {name for module in (*LAUNCHERS, *ALONE) for name in flags_of(module)}
    known |= {f"no{name}" for name in known}
    theirs = {"head", "address", "user", "name"}  # of ray and Slurm, in whole commands of theirs
    named = set(re.findall(r"`--([a-z_]+)", PROSE))
    assert {"max_hours", "dollars_per_chip_hour", "nospot", "log_dir"} <= named
    assert named <= known
    assert set(re.findall(r"--([a-z_]+)", PROSE)) <= known | theirs


def test_numbers_in_prose_are_those_of_the_code():
    from launch import on_cloud_tpu

    slurm = parsed("launch.on_slurm", [])
    for name in ("cpus_per_task", "gpus_per_task", "mem_gb", "time_minutes"):
        assert f"`--{name}` ({slurm[name]})" in PROSE
    retries = [parsed(module, [])["retries"] for module in LAUNCHERS]
    again = re.search(r"was\s+lost \((\d+); .* asked for again: (\d+)\)", PROSE)
    assert retries == [*[int(again[1])] * 3, int(again[2]), int(again[1])]
    assert f"{on_cloud_tpu._LINGER_SECONDS // 60} minutes later" in PROSE
    assert f"LSTM_JAX_LEASE_SECONDS` ({locks.LEASE_SECONDS:g})" in PROSE
    assert ENDPOINT not in PAGE  # for tests alone


def test_the_command_that_deletes_is_the_launchers():
    resource = Resource(None, "my-project", "us-west4-a", "NAME")
    assert resource.how_to_delete in shell_lines(PAGE)


def anchors(text):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", PROSE)
    assert len(targets) >= 4
    for target in targets:
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            assert not path or (ROOT / "docs" / path).is_file(), target
            assert not anchor or anchor in anchors(PROSE), target
    assert "](docs/launching.md)" in README


def feed(name, module, stub, directory, monkeypatch):
    """Runs a script of the page with a stub for the dashboard's module."""
    scripts = {script: code for language, script, code in BLOCK.findall(PAGE)}
    monkeypatch.setitem(sys.modules, module, stub)
    monkeypatch.setattr(sys, "argv", [name, str(directory)])
    exec(compile(scripts[name], name, "exec"), {})


@pytest.fixture
def rows(tmp_path):
    """A directory with a trial that has ended and one whose training loss could not be held."""
    ended = made_rows.record(0.5, budget=100)
    other = made_rows.record(0.25, budget=50, seed=1, under_way=True)
    other.evaluations[0]["train_loss"] = None
    return made_rows.write(tmp_path / "rows", [ended, other])


TRIALS = [made_rows.trial_row(seed=seed)["trial_id"] for seed in (0, 1)]


def test_rows_feed_tensorboard(rows, monkeypatch):
    given, closed = [], []

    class Writer:
        def __init__(self, folder):
            assert os.path.dirname(folder) == "runs"
            self._folder = os.path.basename(folder)

        def add_scalar(self, name, value, step):
            given.append((self._folder, name, value, step))

        def close(self):
            closed.append(self._folder)

    stub = types.SimpleNamespace(SummaryWriter=Writer)
    feed("feed.py", "tensorboardX", stub, rows, monkeypatch)
    assert sorted(given) == [
        (TRIALS[0], "gradient_norm", 1.0, 100),
        (TRIALS[0], "monitor_accuracy", 0.5, 100),
        (TRIALS[0], "train_loss", 1.0, 100),
        (TRIALS[1], "gradient_norm", 1.0, 50),
        (TRIALS[1], "monitor_accuracy", 0.25, 50),
    ]
    assert sorted(closed) == TRIALS


def test_rows_feed_wandb(rows, monkeypatch):
    given, finished = {}, []

    class Run:
        def __init__(self, name):
            self._name = name

        def log(self, values, *, step):
            given[self._name] = values, step

        def finish(self):
            finished.append(self._name)

    def init(*, project, id, config, resume):
        assert (project, resume) == ("lstm_jax", "allow")
        assert not set(id) & set("/\\#?%:")  # which W&B does not take
        assert config["trial_id"] == id
        return Run(id)

    feed("feed_wandb.py", "wandb", types.SimpleNamespace(init=init), rows, monkeypatch)
    assert given == {
        TRIALS[0]: ({"train_loss": 1.0, "monitor_accuracy": 0.5, "gradient_norm": 1.0}, 100),
        TRIALS[1]: ({"monitor_accuracy": 0.25, "gradient_norm": 1.0}, 50),
    }
    assert sorted(finished) == TRIALS
