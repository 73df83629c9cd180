"""README and notebook: what they show is what the code does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from launching import forget

from experiments import commands, gap_sweep
from lstm_jax import cells_page, figures, pages, results, table, tasks_page
from lstm_jax.cells import new as new_cell
from lstm_jax.spec import load_file
from lstm_jax.summary import summarise
from lstm_jax.tasks import new as new_task

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SWEEPS = [
    line.split("#")[0].strip()
    for language, _, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if line.startswith("python -m experiments.gap_sweep")
]
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/manifest.json"))


def run(*command, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def write_files(folder):
    """The files that README shows; returns their names."""
    shown = {name: text for language, name, text in BLOCKS if language == "python" and name}
    for name, text in shown.items():
        (folder / name).write_text(text)
    return list(shown)


def test_the_examples_are_what_new_writes(tmp_path):
    write_files(tmp_path)
    for module, name in ((new_cell, "my_cell.py"), (new_task, "my_task.py")):
        shown = (tmp_path / name).read_text()
        (tmp_path / name).unlink()
        module.STARTER.write(str(tmp_path / name))
        assert shown == (tmp_path / name).read_text()


def test_files_of_the_readme_run(tmp_path):
    for name in write_files(tmp_path):
        done = run(sys.executable, name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("print(" in (tmp_path / name).read_text()) == bool(done.stdout)


def test_a_cell_made_of_another_can_be_swept(tmp_path):
    write_files(tmp_path)
    flags = ["--cells=lstm,zoned_lstm:rate=0.2", "--cell_file=zoned_lstm.py"]
    assert all(flag in " ".join(README.split()) for flag in flags)
    command = [sys.executable, "-m", "experiments.gap_sweep", "--smoke", *flags]
    done = run(*command, "--updates=50", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "zoned_lstm:rate=0.2" in done.stdout


def test_there_are_sweeps_to_try():
    assert len(SWEEPS) >= 8


@pytest.mark.parametrize("line", SWEEPS)
def test_every_sweep_is_a_good_command_line(tmp_path, line, monkeypatch, capsys):
    """As written, but for --dry_run, and in this process, for speed; `test_gap_sweep` and `make
    sweep` run some in earnest."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    python, _, module, *flags = line.split()
    assert (python, module) == ("python", "experiments.gap_sweep")
    words = [word for word in flags if not word.startswith("--minutes")]
    monkeypatch.setattr(sys, "argv", ["gap_sweep", *words, "--dry_run"])
    monkeypatch.setattr("warnings.showwarning", None)  # which the command sets
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    try:
        with pytest.raises(SystemExit) as ended:
            commands.run(gap_sweep.main, gap_sweep.FLAGS, gap_sweep.__doc__)
    finally:
        forget(gap_sweep.FLAGS)
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    assert "trials of" in printed.out


def test_the_smoke_sweep_runs_as_written(tmp_path):
    done = run(sys.executable, "-m", "experiments.gap_sweep", "--smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 trials trained (0 failed)" in done.stdout
    assert "horizon" in done.stdout
    assert done.stderr == ""  # no bar and no noise where there is no terminal


def test_make_targets_are_those_of_the_readme():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_tree_names_every_file_once():
    tree = next(text for language, _, text in BLOCKS if not language)
    named = re.findall(r"^ *([\w./-]+)", tree, flags=re.MULTILINE)
    files = [
        path.relative_to(ROOT)
        for folder in ("lstm_jax", "experiments", "launch", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    ]
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("cells.md", "tasks.md"))
    files = [path for path in files if f"[`{path}`]" not in pages]
    for path in files:
        assert [name for name in named if name == path.name], path
    assert tree.count("\n") >= len(files)


@pytest.mark.parametrize("published", PUBLISHED, ids=[path.name for path in PUBLISHED])
def test_the_published_rows_give_the_published_table(published):
    planned = results.read_manifest(published)
    records = results.read_directory(published)
    assert sorted(record.trial["trial_id"] for record in records) == sorted(planned)
    records.sort(key=lambda record: planned.index(record.trial["trial_id"]))
    shown = table.markdown(summarise(records))
    assert shown.strip() == (published / figures.HORIZONS).read_text().strip()
    linked = f"docs/results/{published.name}/{figures.HORIZONS})" in README
    for line in shown.splitlines():
        if line.startswith("|"):
            assert line in README or linked


def test_the_page_of_cells_is_that_of_the_code():
    """If not: make docs."""
    page = (ROOT / "docs" / "cells.md").read_text()
    assert page == cells_page.markdown(ROOT / cells_page.ROWS)


def test_a_new_cell_needs_no_more_than_new_writes(tmp_path):
    """Its section of the page, too."""
    new_cell.STARTER.write(str(tmp_path / "my_cell.py"))
    own = load_file(str(tmp_path / "my_cell.py"), "cell")
    text = "\n".join(pages.section(own.name, own.constructor))
    assert "h_t = h_{t-1} + sigmoid(a)" in text
    assert "| `leak` | `-2.0` |" in text
    assert "Args" not in text


def test_the_page_of_tasks_is_that_of_the_code():
    """If not: make docs."""
    assert (ROOT / "docs" / "tasks.md").read_text() == tasks_page.markdown()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_notebook_runs(tmp_path):
    code = (
        "import nbclient, nbformat, sys; book = nbformat.read(sys.argv[1], 4);"
        "nbclient.NotebookClient(book, timeout=600, kernel_name='python3').execute();"
        "nbformat.write(book, sys.argv[2])"
    )
    notebook = ROOT / "docs" / "my_cell_in_ten_minutes.ipynb"
    done = run(sys.executable, "-c", code, notebook, tmp_path / "run.ipynb", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "run.ipynb").read_text()
    assert "every clause holds" in text
    outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "leaky" in text
