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

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "launching.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: \S+)?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line)
    for text in (PAGE, (ROOT / "README.md").read_text())
    for language, block in BLOCK.findall(text)
    if language == "bash"
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith(("python -m launch.", "python -m experiments.compact"))
]


def test_there_are_commands():
    shown = {words[2] for words in COMMANDS}
    assert shown >= {f"launch.{name}" for name in ("locally", "on_ray", "on_slurm", "on_cloud_tpu")}
    assert shown >= {"launch.each_host", "launch.status", "experiments.compact"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_flags_that_there_are(words):
    sides = [words[2:]]
    if "--" in words:
        at = words.index("--")
        sides = [words[2:at], words[at + 1 :]]
    elif words[2] not in ("launch.status", "experiments.compact"):
        pytest.fail("says nothing behind --")
    for module, *arguments in sides:
        flags = importlib.import_module(module).FLAGS
        try:
            assert flags([module, *arguments])[1:] == []
        finally:
            flags.unparse_flags()
            for name in flags.flag_values_dict():
                flags[name].unparse()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if not target.startswith("http"):
            assert (ROOT / "docs" / target).exists(), target


def test_rows_feed_a_dashboard(tmp_path, monkeypatch):
    """With a writer that writes down what it is given."""
    given = []

    class Writer:
        def __init__(self, folder):
            self._folder = os.path.basename(folder)

        def add_scalar(self, name, value, step):
            given.append((self._folder, name, value, step))

        def close(self):
            given.append(None)

    made_rows.write(tmp_path, [made_rows.record(0.5, budget=100)])
    (code,) = [block for language, block in BLOCK.findall(PAGE) if language == "python"]
    stub = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "tensorboardX", stub)
    monkeypatch.setattr(sys, "argv", ["feed.py", str(tmp_path)])
    exec(compile(code, "feed.py", "exec"), {})
    trial = made_rows.trial_row()["trial_id"]
    assert (trial, "monitor_accuracy", 0.5, 100) in given
    assert given[-1] is None
    assert len(given) == 4
