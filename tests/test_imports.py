"""Imports run in one direction, and light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
JAX_FREE = (
    "lstm_jax.errors", "lstm_jax.spec", "lstm_jax.rows", "lstm_jax.results", "lstm_jax.storage",
    "lstm_jax.compact", "lstm_jax.horizon", "lstm_jax.learning_rates", "lstm_jax.summary",
    "lstm_jax.table", "lstm_jax.figures", "experiments.compact", "experiments.figures",
    "lstm_jax.datasets.frozen", "launch.status", "lstm_jax.observations", "lstm_jax.redrawing",
    "experiments.budget",
)  # fmt: skip


MODULES = {
    ".".join(path.relative_to(ROOT / "lstm_jax").with_suffix("").parts): path
    for path in (ROOT / "lstm_jax").rglob("*.py")
}


def imported(name):
    """Modules of lstm_jax that a module imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    own = {full.removeprefix("lstm_jax.") for full in found if full.startswith("lstm_jax.")}
    packages = {f"{short}.__init__" for short in own}
    return (own | packages) & set(MODULES) - {name}


GRAPH = {name: imported(name) for name in MODULES}


def reachable(start):
    seen, todo = set(), [start]
    while todo:
        for name in GRAPH[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("arrays", {"cells", "unroll", "layers", "network", "tasks", "training"}),
        ("cells.__init__", {"unroll", "tasks", "network", "training", "trial", "results"}),
        ("unroll", {"layers", "network", "tasks", "training"}),
        ("layers.__init__", {"network", "tasks", "training"}),
        ("network", {"tasks", "training", "trial"}),
        ("tasks.__init__", {"cells", "unroll", "layers", "network", "training", "trial"}),
        ("training", {"sweep", "results", "cohort", "running", "measure"}),
        ("results", {"horizon", "summary", "table", "figures", "training", "trial"}),
        ("horizon", {"table", "figures", "training", "trial", "cells", "tasks"}),
        ("figures", {"training", "trial", "cells", "tasks", "measure", "running"}),
    ],
)
def test_imports_run_one_way(module, forbidden):
    assert not {name.partition(".")[0] for name in reachable(module)} & forbidden


@pytest.mark.parametrize("module", MODULES)
def test_no_circle(module):
    assert module not in reachable(module)


def test_the_library_never_imports_experiments_and_reads_no_flags():
    for path in (ROOT / "lstm_jax").rglob("*.py"):
        text = path.read_text()
        assert "import experiments" not in text, path
        assert "from experiments" not in text, path
        assert "absl import flags" not in text, path


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_import_is_light():
    heavy = (
        "google",
        "pyarrow",
        "ray",
        "submitit",
        "jax",
        "flax",
        "numpy",
        "matplotlib",
        "scipy",
        "orbax",
        "tensorflow_datasets",
    )
    done = run(f"import sys, lstm_jax; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_cells_and_tasks_need_no_data_packages():
    heavy = ("tensorflow_datasets", "sklearn", "matplotlib", "orbax", "tensorflow")
    code = "import sys, lstm_jax.cells, lstm_jax.tasks, lstm_jax.training"
    done = run(f"{code}; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_rows_are_read_without_jax():
    block = "import sys; sys.modules.update(dict.fromkeys(['jax', 'flax', 'tensorflow_datasets']))"
    imports = "; ".join(f"import {module}" for module in JAX_FREE)
    done = run(f"{block}; {imports}")
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    import lstm_jax

    for name in lstm_jax.__all__:
        assert getattr(lstm_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lstm_jax.nonsense


def test_files_are_short_and_have_telling_names():
    for path in (
        path
        for name in ("lstm_jax", "experiments", "launch")
        for path in (ROOT / name).rglob("*.py")
    ):
        assert "util" not in path.stem, path
        assert len(path.read_text().splitlines()) <= 350, path
