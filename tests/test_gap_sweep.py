"""The command: bad lines, dry runs, fitting into minutes, a smoke sweep from end to end."""

import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from launching import sweep_here

from experiments import commands
from lstm_jax import planning
from lstm_jax.planning import Plan
from lstm_jax.tasks import new

ROOT = Path(__file__).parent.parent
CELL = """
import jax.numpy as jnp
from lstm_jax.cells import rnn

def my_cell(input_size, hidden_size, *, gain: float = 1.0):
    return rnn(input_size, hidden_size, recurrent_init="orthogonal", gain=0.9 * gain)
"""


def command(*flags, module="experiments.gap_sweep", cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("JAX_NUMPY_DTYPE_PROMOTION", None)  # as a user has it
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        capture_output=True, text=True, cwd=cwd, env=environment,
    )  # fmt: skip


FILES = {
    "my_cell.py": CELL,
    "no_function.py": "x = 1\n",
    "raises.py": "1 / 0\n",
    "not_python.py": "def (:\n",
    "lstm.py": CELL.replace("my_cell", "lstm"),
    "wide.py": CELL.replace("my_cell", "wide").replace("return rnn(", "return rnn(1 + "),
    "drifting.py": CELL.replace("my_cell", "drifting")
    + """
    # the carry comes out in another dtype than it went in
"""
    + """
def drifting(input_size, hidden_size):
    cell = rnn(input_size, hidden_size)
    def step(weights, carry, projected, dot=jnp.matmul):
        carry, output = cell.step(weights, carry, projected, dot)
        return carry._replace(hidden=carry.hidden.astype(jnp.bfloat16)), output
    return cell._replace(step=step)
""",
}

FILES["dying.py"] = "import jax\n" + FILES["drifting.py"].replace("drifting", "dying").replace(
    "carry._replace(hidden=carry.hidden.astype(jnp.bfloat16))",
    "jax.tree.map(jax.lax.stop_gradient, carry)",
)
FILES["lucky.py"] = new.STARTER.template.replace("NAME", "lucky").replace(
    "chance=1 / 2", "chance=1 / 5"
)

# The command line, and what its one line must name.
BAD = [
    (["--task=recal"], ["--task", "recal", "recall"]),
    (["--task=recall:symbols=one"], ["--task", "symbols=one", "whole number"]),
    (["--task=recall:symbols=1"], ["--task", "symbols=1", "at least 2"]),
    (["--task=recall:length=5", "--gaps=5"], ["--task", "length=5", "at least 6"]),
    (["--task=copy,recall", "--gaps=5"], ["--gaps", "copy: gap=5", "at least 11"]),
    (["--length=fixed", "--task=long_lag:layout=regular"], ["--length=fixed", "layout=regular"]),
    (["--train_gaps=uniform:40-1"], ["--train_gaps", "must rise"]),
    (["--length=long"], ["--length", "tight, fixed"]),
    (["--length=fixed", "--task=parity", "--gaps=9"], ["--length=fixed", "parity", "no option"]),
    (["--length=fixed", "--task=recall:length=200"], ["--length=fixed", "length=200", "its own"]),
    (["--task=recall:colour=red"], ["--task", "colour", "symbols"]),
    (["--task=adding", "--gaps=2"], ["--gaps", "2"]),
    (["--task=characters:dataset=../x"], ["dataset='../x'", "name/config"]),
    (["--task=characters:dataset=wiki40b/en"], ["prepare wiki40b/en"]),
    (["--cells=lst"], ["--cells", "lst", "lstm"]),
    (["--cells=lstm:bias=1"], ["--cells", "bias=1", "forget_bias"]),
    (["--cells=lstm:forget_bias=big"], ["--cells", "forget_bias=big", "number"]),
    (["--cells=lstm:init=chrono:forget_bias=1"], ["--cells", "forget_bias=1", "chrono"]),
    (["--cells=lstm:init=magic"], ["--cells", "magic", "chrono"]),
    (["--cells="], ["--cells", "at least one"]),
    (["--cells=lstm,,gru"], ["--cells", "empty"]),
    (["--cells=lstm,lstm"], ["--cells", "lstm", "twice"]),
    (["--gaps=0"], ["--gaps", "0", "at least 1"]),
    (["--gaps=-5"], ["--gaps", "-5", "at least 1"]),
    (["--gaps=ten"], ["--gaps", "ten", "whole number"]),
    (["--gaps=1.5"], ["--gaps", "1.5", "whole number"]),
    (["--gaps="], ["--gaps", "at least one"]),
    (["--gaps=5,10,5"], ["--gaps", "5", "twice"]),
    (["--train_gaps=many"], ["--train_gaps", "many", "uniform:1-40"]),
    (["--train_gaps=uniform:1-400"], ["--train_gaps", "1 to 64 gaps"]),
    (["--train_gaps=3,3"], ["--train_gaps", "3,3", "twice"]),
    (["--train_gaps=5", "--gaps=5"], ["--gaps", "--eval_gaps"]),
    (["--train_gaps=5", "--eval_gaps=none"], ["--eval_gaps", "none", "whole number"]),
    (["--eval_gaps=5"], ["--eval_gaps", "needs --train_gaps"]),
    (["--task=adding", "--train_gaps=1,20"], ["--train_gaps", "gap=1", "at least 3"]),
    (["--task=adding", "--train_gaps=20", "--eval_gaps=1"], ["--eval_gaps", "gap=1"]),
    (["--task=recall,recal"], ["--task", "recal"]),
    (["--seeds=0"], ["--seeds", "0", "at least 1"]),
    (["--seeds=many"], ["--seeds", "many", "whole number"]),
    (["--learning_rates=0"], ["--learning_rates", "0", "above 0"]),
    (["--learning_rates=nan"], ["--learning_rates", "nan", "above 0"]),
    (["--learning_rates=1e-3,1e-3"], ["--learning_rates", "1e-3", "twice"]),
    (["--hidden_size=99999999999"], ["--hidden_size", "99999999999", "at most 16,384"]),
    (["--seeds=3000000000"], ["--seeds", "3000000000", "at most 10,000"]),
    (["--gaps=99999999999999999999"], ["--gaps", "99999999999999999999", "at most"]),
    (["--learning_rates=1e400"], ["--learning_rates", "1e400", "at most"]),
    (["--results_dir="], ["--results_dir", "must be a local directory or gs://"]),
    (["--cells=lstm::"], ["--cells", "lstm::", "forget_bias"]),
    (["--cell_file="], ["--cell_file", "my_cell.py"]),
    (["--hidden_size=0"], ["--hidden_size", "0", "at least 1"]),
    (["--match=both"], ["--match", "both", "parameters, hidden"]),
    (["--layers=0"], ["--layers", "0", "at least 1"]),
    (["--updates=75", "--eval_every=50"], ["--updates", "75", "50"]),
    (["--batch_size=-1"], ["--batch_size", "-1", "at least 1"]),
    (["--optimizer=adem"], ["--optimizer", "adem", "adam"]),
    (["--optimizer=sgd:momentum=lots"], ["--optimizer", "momentum=lots", "number"]),
    (["--optimizer=sgd:momentum=gap"], ["--optimizer", "momentum=gap", "allowed are a number"]),
    (["--optimizer=sgd:momentum=-5"], ["--optimizer", "momentum=-5", "below 1"]),
    (["--optimizer=adam:b1=2"], ["--optimizer", "b1=2", "below 1"]),
    (["--compile_cache=/proc/x"], ["--compile_cache", "/proc/x", "off"]),
    (["--cell_file=dying.py"], ["--cell_file", "gradient"]),
    (["--task_file=lucky.py"], ["--task_file", "blind", "chance"]),
    (["--clip_norm=-1"], ["--clip_norm", "-1", "at least 0"]),
    (["--clip_norm=1", "--clip_value=1"], ["--clip_value", "--clip_norm"]),
    (["--matmul_precision=exact"], ["--matmul_precision", "exact", "float32"]),
    (["--unroll=fast"], ["--unroll", "fast", "chunked"]),
    (["--unroll=chunked", "--cells=min_gru,lstm"], ["--unroll", "lstm", "chunked", "not linear"]),
    (["--unroll=newton", "--cells=lru"], ["--unroll", "newton", "complex64", "must be real"]),
    (["--unroll=scan", "--cells=attention"], ["--unroll", "a layer is run in its own way"]),
    (["--minutes=0"], ["--minutes", "0", "above 0"]),
    (["--results_dir=/proc/none"], ["--results_dir", "/proc/none", "cannot be written"]),
    (["--results_dir=s3://bucket/x"], ["--results_dir", "s3://bucket/x", "local"]),
    (["--cell_file=absent.py"], ["--cell_file", "absent.py", "No such file"]),
    (["--cell_file=my-cell.py"], ["--cell_file", "my-cell.py", "named"]),
    (["--cell_file=no_function.py"], ["--cell_file", "no_function", "function"]),
    (["--cell_file=raises.py"], ["--cell_file", "raises.py", "ZeroDivisionError"]),
    (["--cell_file=not_python.py"], ["--cell_file", "not_python.py", "SyntaxError"]),
    (["--cell_file=lstm.py"], ["--cell_file", "lstm", "built-in"]),
    (["--cell_file=drifting.py"], ["--cell_file", "hidden", "bfloat16"]),
    (["--task_file=absent.py"], ["--task_file", "absent.py", "No such file"]),
    (["--task_file=my_cell.py"], ["--task_file"]),
    (["--smoke=perhaps"], ["--smoke", "perhaps", "true or false"]),
    (["--no_such_flag=1"], ["--no_such_flag"]),
    (["recall"], ["recall", "--flag=value"]),
]


@pytest.mark.parametrize(("flags", "words"), BAD, ids=[" ".join(flags) for flags, _ in BAD])
def test_a_bad_command_line_is_one_line_and_writes_nothing(tmp_path, flags, words, capfd):
    """In this process, for speed; `test_bad_lines_as_a_user_types_them` starts the command."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.iterdir())
    status = sweep_here(flags, tmp_path)
    error = capfd.readouterr().err
    assert status == 2, error
    assert error.count("\n") == 1, error
    assert error.startswith("error: ")
    for word in words:
        assert word in error
    assert sorted(tmp_path.iterdir()) == before


def test_bad_lines_as_a_user_types_them(tmp_path):
    for flags in (["--gaps=0"], ["--cells=lst"]):
        done = command(*flags, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert not list(tmp_path.iterdir())


def test_every_task_has_gaps_for_a_smoke_sweep():
    """That it trains is held with its contract, in `test_tasks`."""
    from experiments import asking, gap_sweep
    from lstm_jax.tasks import TASKS
    from lstm_jax.trial import Catalogue

    known = Catalogue({}, TASKS)

    def smoke_gaps(tasks):
        wanted, others = gap_sweep.SMOKE["gaps"], gap_sweep.OTHER_SMOKE_GAPS
        return asking.possible_gaps(known, tasks, wanted, others)

    for name, constructor in TASKS.items():
        gaps = smoke_gaps([name])
        assert len(gaps) == 3
        for gap in gaps:
            constructor(gap)
    assert smoke_gaps(["recall"]) == [2, 10, 40]
    assert smoke_gaps(["recall", "copy"]) == [40, 20, 80]


def test_a_smoke_sweep_takes_a_task_without_small_gaps(tmp_path, capfd):
    assert sweep_here(["--smoke", "--dry_run", "--task=copy", "--cells=rnn"], tmp_path) == 0
    assert re.findall(r"^ +(\d+) .* rnn$", capfd.readouterr().out, re.MULTILINE) == [
        "20", "40", "80",
    ]  # fmt: skip


def test_help_names_every_flag():
    done = command("--help")
    assert done.returncode == 0
    for flag in ("task", "cells", "gaps", "seeds", "cell_file", "minutes", "dry_run"):
        assert f"--{flag}" in done.stdout or f"--[no]{flag}" in done.stdout


def test_a_dry_run_prints_the_sweep_and_runs_nothing(tmp_path):
    done = command("--dry_run", "--seeds=3", "--gaps=5,50", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "36 trials" in done.stdout
    assert len(re.findall(r"lstm:init=chrono$", done.stdout, re.MULTILINE)) == 2
    assert "minutes" in done.stdout
    assert not list(tmp_path.iterdir())


SMALL = (
    "--gaps=2,3", "--seeds=2", "--updates=20", "--eval_every=10", "--hidden_size=8",
    "--batch_size=8", "--results_dir=rows", "--task=recall:lead_in=2",
)  # fmt: skip


def test_a_users_cell_beside_the_baselines_and_a_changed_constant(tmp_path):
    (tmp_path / "my_cell.py").write_text(CELL)
    first = command(*SMALL, "--cells=rnn", "--cell_file=my_cell.py", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "8 trials trained (0 failed), 0 had ended before" in first.stdout
    assert "my_cell" in (tmp_path / "rows" / "horizons.md").read_text()
    for name in ("accuracy_against_gap.png", "accuracy_against_gap.svg"):
        assert (tmp_path / "rows" / name).stat().st_size > 10_000
    again = command(*SMALL, "--cells=rnn", "--cell_file=my_cell.py", cwd=tmp_path)
    assert "0 trials trained (0 failed), 8 had ended before" in again.stdout
    (tmp_path / "my_cell.py").write_text(CELL.replace("0.9", "0.8"))
    changed = command(*SMALL, "--cells=rnn", "--cell_file=my_cell.py", cwd=tmp_path)
    assert "4 trials trained (0 failed), 4 had ended before" in changed.stdout
    redrawn = command("--results_dir=rows", module="experiments.figures", cwd=tmp_path)
    assert redrawn.returncode == 0, redrawn.stderr
    assert "my_cell" in redrawn.stdout


def test_ctrl_c_ends_within_a_chunk_and_says_how_to_go_on(tmp_path):
    flags = [*SMALL, "--cells=rnn", "--updates=200000", "--eval_every=1000", "--gaps=200"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.gap_sweep", *flags],
        cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.time() + 100
    while time.time() < until and not list((tmp_path / "rows").glob("*.jsonl")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "run the same command to go on" in out
    assert "Traceback" not in err


SECONDS = {"base": 10.0}


def seconds(plan):
    return SECONDS["base"] + sum(plan.gaps) * plan.seeds * plan.updates * 1e-4


@pytest.mark.parametrize("minutes", [100, 5, 3, 2, 1, 0.5])
def test_a_plan_fits_its_minutes_and_says_what_it_gave_up(minutes):
    plan = Plan((5, 10, 20, 40, 80, 160), 8, 600)
    fitted, said = planning.fit(plan, minutes, 50, seconds)
    assert seconds(fitted) <= 60 * minutes
    assert fitted.updates % 50 == 0
    assert set(fitted.gaps) <= set(plan.gaps)
    for name, before, after in zip(plan._fields, plan, fitted, strict=True):
        assert (before != after) == (f"{name} " in said)
    assert ("nothing given up" in said) == (plan == fitted)
    larger, _ = planning.fit(plan, 2 * minutes, 50, seconds)
    assert seconds(larger) >= seconds(fitted)


def test_a_plan_that_cannot_fit_says_so():
    fitted, said = planning.fit(Plan((5, 10), 2, 100), 0.01, 50, seconds)
    assert "may take longer" in said
    assert fitted.seeds == 2


def test_seeds_for_intervals_are_given_up_last():
    fitted, _ = planning.fit(Plan((5, 10, 20, 40, 80, 160), 8, 600), 1.5, 50, seconds)
    assert fitted.seeds == planning.FEWEST_SEEDS_FOR_INTERVALS


def test_minutes_measures_the_machine(tmp_path):
    done = command(*SMALL, "--cells=rnn", "--minutes=5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--minutes=5: nothing given up" in done.stdout


def test_writes_that_nobody_waits_for_are_not_told(capsys):
    closed = types.SimpleNamespace(exc_value=RuntimeError("Event loop is closed"))
    commands.show_unraisable(closed)
    assert capsys.readouterr().err == ""

    class Broken:
        def __del__(self):
            raise ValueError("told")

    before, sys.unraisablehook = sys.unraisablehook, commands.show_unraisable
    try:
        Broken()
    finally:
        sys.unraisablehook = before
    assert "ValueError: told" in capsys.readouterr().err
