"""Accuracy against gap: how far back does each cell remember?

    python -m experiments.gap_sweep
    python -m experiments.gap_sweep --task=adding --cells=lstm,gru --gaps=10,30,100 --seeds=10
    python -m experiments.gap_sweep --train_gaps=uniform:1-40 --eval_gaps=5,20,40,80,160
    python -m experiments.gap_sweep --cell_file=my_cell.py
    python -m experiments.gap_sweep --smoke

Every cell is trained at every gap from several seeds; the table and the figure at the end say at
which gap half of the trained networks still solve the task. With `--train_gaps` one network a seed
is trained and asked at every gap: what it learned there, retained elsewhere. Rows go to
`--results_dir`; what has ended there is not run again, and raising `--updates` continues what the
budget had stopped.
"""

import functools
import itertools
import os

from experiments import asking, commands
from experiments.commands import TRUE_OR_FALSE, Flags, ListOf, Number, Words
from experiments.work import Work
from lstm_jax.errors import InputError
from lstm_jax.gaps import parse_gaps

WHOLE = Number(1, whole=True)
GAP = Number(1, whole=True, most=10**6)
SIZE = Number(1, whole=True, most=2**14)
SEEDS = Number(1, whole=True, most=10**4)
RATE = Number(0, whole=False, above=True)
CELLS = [
    "rnn",
    "rnn:recurrent_init=orthogonal",
    "gru",
    "lstm",
    "lstm:forget_bias=3",
    "lstm:init=chrono",
]
# A sweep for a minute on a laptop: what it takes to see that everything works.
SMOKE = {
    "cells": ["rnn", "lstm:init=chrono"],
    "gaps": [2, 10, 40],
    "seeds": 2,
    "updates": 200,
    "hidden_size": 16,
}
OTHER_SMOKE_GAPS = [20, 80, 160]  # for tasks that cannot have those

FLAGS = Flags()
_flag = FLAGS.define
_TASK = _flag("task", "recall", "task, with options: adding:layout=halves; or several", ListOf())
_LENGTH = _flag(
    "length",
    "tight",
    "tight: sequences are as long as the gap needs; fixed: all as long as the largest gap needs",
    Words(("tight", "fixed")),
)
_CELLS = _flag("cells", ",".join(CELLS), "cells, with options: lstm:forget_bias=4,gru", ListOf())
_GAPS = _flag("gaps", "5,10,20,40,80,160", "gaps in steps", ListOf(GAP))
_TRAIN_GAPS = _flag(
    "train_gaps",
    "",
    "trains each network on these, to be asked at every --eval_gaps: 40, 5,10,20 or uniform:1-40",
)
_EVAL_GAPS = _flag("eval_gaps", None, "with --train_gaps, as --gaps without", ListOf(GAP))
_SEEDS = _flag("seeds", 6, "seeds of each cell at each gap", SEEDS)
_LEARNING_RATES = _flag("learning_rates", "0.003", "each runs with every seed", ListOf(RATE))
_HIDDEN_SIZE = _flag("hidden_size", 32, "units; see --match", SIZE)
_MATCH = _flag(
    "match",
    "parameters",
    "parameters: each cell gets the size nearest in parameters to an LSTM of --hidden_size; "
    "hidden: all get --hidden_size",
    Words(("parameters", "hidden")),
)
_LAYERS = _flag("layers", 1, "layers of the network", Number(1, whole=True, most=100))
_EMBEDDING_SIZE = _flag(
    "embedding_size",
    0,
    "learned embedding of tokens; 0 for one-hot vectors",
    Number(0, whole=True, most=2**14),
)
_UPDATES = _flag("updates", 600, "budget of a trial; a multiple of --eval_every", WHOLE)
_BATCH_SIZE = _flag("batch_size", 32, "sequences an update", SIZE)
_CLIP_NORM = _flag(
    "clip_norm", 1.0, "clips the gradient's global norm; 0 for none", Number(0, whole=False)
)
_CLIP_VALUE = _flag(
    "clip_value", 0.0, "clips the gradient's elements instead; 0 for none", Number(0, whole=False)
)
_OPTIMIZER = _flag("optimizer", "adam", "adam, rmsprop or sgd, with options: sgd:momentum=0.9")
_EVAL_EVERY = _flag("eval_every", 50, "updates between evaluations", WHOLE)
_RESULTS_DIR = _flag("results_dir", "results/gap_sweep", "where rows and figures go")
_SMOKE = _flag("smoke", False, "a laptop-sized sweep, in about a minute", TRUE_OR_FALSE)
_MINUTES = _flag("minutes", None, "fits the sweep to this machine and this time", RATE)
_DRY_RUN = _flag("dry_run", False, "prints the trials and an estimate; runs nothing", TRUE_OR_FALSE)
_CELL_FILE = _flag("cell_file", None, "a Python file with your cell; it is run as code")
_TASK_FILE = _flag("task_file", None, "a Python file with your task; it is run as code")
_MATMUL_PRECISION = _flag(
    "matmul_precision",
    "float32",
    "of matrix products; accelerators would take less by default",
    Words(("float32", "default", "high", "highest", "tensorfloat32", "bfloat16")),
)
_UNROLL = _flag(
    "unroll",
    "auto",
    "how cells run over time; auto is the fastest; the parallel ones are for linear cells",
    Words(("auto", "deferred", "scan", "associative", "chunked", "newton", "on_chip")),
)
_COMPILE_CACHE = _flag(
    "compile_cache", "", "directory of compiled programs; off for none; empty for your cache"
)


def chosen(name: str):
    """A flag's value; with --smoke, the smoke sweep's, unless the flag was given."""
    flag = FLAGS[name]
    return SMOKE[name] if _SMOKE.value and not flag.present and name in SMOKE else flag.value


def catalogue():
    """The built-in cells and tasks and those of the user's files, which are checked first."""
    from lstm_jax import layers, tasks
    from lstm_jax.cells.check import check as check_cell
    from lstm_jax.spec import load_file
    from lstm_jax.tasks.check import check as check_task
    from lstm_jax.trial import Catalogue

    own_cells, own_tasks = [], []
    if _CELL_FILE.value is not None:
        with commands.naming("cell_file"):
            own_cells = [load_file(_CELL_FILE.value, "cell")]
            check_cell(own_cells[0].constructor)
            Catalogue(layers.MODELS, {}, own_cells)
    if _TASK_FILE.value is not None:
        with commands.naming("task_file"):
            own_tasks = [load_file(_TASK_FILE.value, "task")]
            check_task(own_tasks[0].constructor)
            Catalogue({}, tasks.TASKS, (), own_tasks)
    return Catalogue(layers.MODELS, tasks.TASKS, own_cells, own_tasks)


def specs(known) -> tuple[list[str], list[str]]:
    """Tasks and cells as asked for, a user's own first unless they are named among the others."""
    tasks, cells = _TASK.value, list(chosen("cells"))
    names = [text.partition(":")[0] for text in cells]
    if _CELL_FILE.value is not None:
        own = os.path.splitext(os.path.basename(_CELL_FILE.value))[0]
        cells = cells if own in names else [own, *cells]
    if _TASK_FILE.value is not None and not FLAGS["task"].present:
        tasks = [os.path.splitext(os.path.basename(_TASK_FILE.value))[0]]
    with commands.naming("task"):
        for task in tasks:
            known.task(task)
    with commands.naming("cells"):
        for text in cells:
            known.cell(text)
    return tasks, cells


def asked_gaps(known, tasks) -> tuple[int, ...]:
    """The gaps at which networks are asked: what each is trained on, unless --train_gaps says."""
    if _EVAL_GAPS.value is not None and not _TRAIN_GAPS.value:
        raise InputError("--eval_gaps: needs --train_gaps; without, give --gaps")
    if FLAGS["gaps"].present and _TRAIN_GAPS.value:
        raise InputError("--gaps: with --train_gaps, networks are asked at --eval_gaps")
    gaps = _EVAL_GAPS.value or chosen("gaps")
    if gaps is SMOKE["gaps"]:
        gaps = asking.possible_gaps(known, tasks, gaps, OTHER_SMOKE_GAPS)
    return tuple(sorted(gaps))


def trained_gaps() -> tuple[int, ...]:
    """The gaps that a network's training mixes; none where it is trained at the one asked."""
    with commands.naming("train_gaps"):
        return parse_gaps(_TRAIN_GAPS.value) if _TRAIN_GAPS.value else ()


def settings():
    """What all trials share."""
    from lstm_jax.optimizers import direction
    from lstm_jax.sweep import Settings

    if _CLIP_VALUE.value and FLAGS["clip_norm"].present:
        raise InputError("--clip_value: give it or --clip_norm, not both")
    with commands.naming("optimizer"):
        direction(_OPTIMIZER.value, "none")
    clip = f"norm:{_CLIP_NORM.value:g}" if _CLIP_NORM.value else "none"
    return Settings(
        hidden_size=chosen("hidden_size"),
        match=_MATCH.value,
        layers=_LAYERS.value,
        embedding_size=_EMBEDDING_SIZE.value,
        optimizer=_OPTIMIZER.value,
        clip=f"value:{_CLIP_VALUE.value:g}" if _CLIP_VALUE.value else clip,
        batch_size=_BATCH_SIZE.value,
        eval_every=_EVAL_EVERY.value,
        matmul_precision=_MATMUL_PRECISION.value,
        unroll="" if _UNROLL.value == "auto" else _UNROLL.value,
    )


def trials(known, shared, tasks, cells, plan):
    """The sweep of a plan; of several tasks the smallest gaps first."""
    from lstm_jax.sweep import make_sweep
    from lstm_jax.training import build_task, trained_task

    for task in tasks:
        for gap in plan.gaps:
            with asking.blaming(task, "eval_gaps" if _TRAIN_GAPS.value else "gaps", len(tasks) > 1):
                build_task(known, task, gap)
        with asking.blaming(task, "train_gaps", len(tasks) > 1):
            trained_task(known, task, plan.gaps[-1], _TRAIN_GAPS.value)
    with commands.naming("cells"):
        sweeps = [
            make_sweep(
                known,
                task=task,
                cells=cells,
                gaps=plan.gaps,
                seeds=range(plan.seeds),
                learning_rates=_LEARNING_RATES.value,
                settings=shared,
                train_gaps=_TRAIN_GAPS.value,
            )
            for task in tasks
        ]
    return tuple(sorted(itertools.chain(*sweeps), key=lambda trial: trial.gap))


def fitted(plan, sweep_of, known):
    """The plan that fits into `--minutes`, after a probe of this machine."""
    from lstm_jax import planning, running

    running.require_data(sweep_of(plan), known)
    print("measuring the speed of this machine ...", flush=True)
    speed = planning.probed_speed(sweep_of(plan), known)
    plan, said = planning.fit(
        plan,
        _MINUTES.value,
        _EVAL_EVERY.value,
        lambda smaller: planning.sweep_seconds(sweep_of(smaller), known, smaller.updates, speed),
    )
    print(said, flush=True)
    return plan


def work() -> Work:
    """Checks every flag, and says what is to be run; nothing is compiled or written."""
    from lstm_jax import planning

    updates = chosen("updates")
    if updates % _EVAL_EVERY.value:
        raise InputError(
            f"--updates={updates}: must be a multiple of --eval_every={_EVAL_EVERY.value}"
        )
    known, shared = catalogue(), settings()
    tasks, cells = specs(known)
    asking.require_unrolled(known, cells, shared.unroll)
    plan = planning.Plan(asked_gaps(known, tasks), chosen("seeds"), updates)
    largest = max(plan.gaps + trained_gaps())
    if _LENGTH.value == "fixed":
        tasks = [asking.fixed_in_length(known, task, largest) for task in tasks]
    sweep_of = functools.cache(lambda plan: trials(known, shared, tasks, cells, plan))
    sweep_of(plan)  # whatever is wrong with it is said before anything runs
    if _MINUTES.value is not None:
        plan = fitted(plan, sweep_of, known)
    return Work(sweep_of(plan), known, plan.updates, shared.described_match())


def main() -> int:
    """Checks everything, runs the sweep, draws what is there."""
    if not _DRY_RUN.value:
        asking.require_data(_TASK.value, max(chosen("gaps")))
    from lstm_jax import backend, figures, planning, running, storage
    from lstm_jax.progress import Bar

    with commands.naming("compile_cache"):
        backend.set_up(_COMPILE_CACHE.value)
    asked = work()
    if _DRY_RUN.value:
        print(planning.describe(asked.trials, asked.catalogue, asked.updates))
        return 0
    running.require_data(asked.trials, asked.catalogue)
    with commands.naming("results_dir"):
        directory = storage.usable_directory(_RESULTS_DIR.value)
    print(
        f"{len(asked.trials)} trials of at most {asked.updates} updates; rows go to {directory}",
        flush=True,
    )
    running.plan(asked.trials, directory, asked.catalogue)
    with commands.Interrupt() as stop, Bar() as bar:
        outcome = running.run(directory=directory, bar=bar, stop=stop, **asked._asdict())
    if outcome.trained + outcome.skipped:
        text, paths = figures.redraw(directory)
        print(f"\n{text}\n" + "\n".join(f"wrote {path}" for path in paths))
    print(
        f"{outcome.trained} trials trained ({outcome.failed} failed), {outcome.skipped} had ended "
        f"before; {outcome.seconds:.0f} s, of them {outcome.compile_seconds:.0f} s of compiling, "
        "mostly beside training"
    )
    if outcome.left:
        print(f"{outcome.left} trials are not ended: run the same command to go on")
    return stop.status


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
