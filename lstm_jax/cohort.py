"""One cohort from compilation to its last row.

Between two calls of the compiled program the host evaluates, writes rows, checkpoints, and ends
trials that solved their task, ran out of budget or are no longer finite. Rows are written before
the checkpoint: after a kill the chunk in hand is run again, to the same rows.
"""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from lstm_jax import datasets, evaluation
from lstm_jax.arrays import PyTree
from lstm_jax.checkpoints import Checkpoints
from lstm_jax.gaps import parse_gaps
from lstm_jax.history import History, header
from lstm_jax.hosts import Hosts
from lstm_jax.locks import Held
from lstm_jax.sweep import Cohort
from lstm_jax.tasks.base import Task, evaluation_set, with_floors
from lstm_jax.training import (
    Assembly,
    Inner,
    Program,
    Progress,
    State,
    assemble,
    build_task,
    make_program,
    padded_size,
    trained_task,
)
from lstm_jax.trial import Catalogue, trial_id


class Ready(NamedTuple):
    """A cohort whose program is compiled.

    Attributes:
      assembly: what is trained.
      program: its functions.
      state: of every trial at update 0, padded.
      seeds: `[trials]`, padded with copies of the first trial that never run.
      learning_rates: `[trials]`, likewise.
      data: what the task loaded.
      monitor: examples looked at during training.
      report: examples looked at once, at the end.
      retention: likewise, by gap, those of the gaps at which the trained network is asked besides.
      seconds: that compiling took.
    """

    assembly: Assembly
    program: Program
    state: State
    seeds: np.ndarray
    learning_rates: np.ndarray
    data: PyTree
    monitor: evaluation.Blocks
    report: evaluation.Blocks
    retention: dict[int, tuple[Task, evaluation.Blocks]]
    seconds: float


def compile_cohort(
    cohort: Cohort,
    catalogue: Catalogue,
    *,
    devices: list[jax.Device] | None = None,
    inner: Inner | None = None,
) -> Ready:
    """Builds a cohort's program, and compiles it by calling it with nothing to do."""
    start = time.perf_counter()
    trial = cohort.trials[0]
    assembly = assemble(trial, catalogue)
    devices = jax.devices() if devices is None else devices
    size = padded_size(len(cohort.trials), len(devices))
    program = make_program(
        assembly,
        size,
        batch_size=trial.batch_size,
        matmul_precision=trial.matmul_precision,
        devices=devices,
        inner=inner,
    )
    task, data, monitor, report, retention = _examples(
        catalogue, trial.task, trial.gap, trial.train_gaps, trial.eval_gaps
    )
    assembly = assembly._replace(task=task)
    padded = (*cohort.trials, *(cohort.trials[:1] * (size - len(cohort.trials))))
    seeds = np.asarray([trial.seed for trial in padded], np.int32)
    rates = np.asarray([trial.learning_rate for trial in padded], np.float32)
    state = program.init(program.place(seeds))
    place = program.place
    nothing = place(np.zeros(size, np.int32))
    state, _ = program.advance(state, place(seeds), place(rates), nothing, data)
    evaluation.score(program, state.params, np.zeros(size, bool), monitor)
    seconds = time.perf_counter() - start
    return Ready(assembly, program, state, seeds, rates, data, monitor, report, retention, seconds)


# Of tasks whose `load` is one function at every gap, data are read once for all gaps.
@functools.lru_cache(maxsize=1)
def _data(load: Callable[[], PyTree], directory: str) -> PyTree:
    del directory  # in which `load` finds them
    return load()


# Cohorts come sorted by gap, and all cells of a gap are scored on the same examples.
@functools.lru_cache(maxsize=2)
def _examples(
    catalogue: Catalogue, task: str, gap: int, train_gaps: str, eval_gaps: str
) -> tuple[Task, PyTree, evaluation.Blocks, evaluation.Blocks, dict]:
    """A task as its data tell, the data, its monitor and report sets, and by gap of `eval_gaps`
    that task and its report set."""
    trained = trained_task(catalogue, task, gap, train_gaps)
    data = _data(trained.load, datasets.directory())

    def told(task, split):
        task = with_floors(task, data)
        return task, evaluation.blocks(evaluation_set(task, data, split))

    gaps = parse_gaps(eval_gaps) if eval_gaps else ()
    retention = {gap: told(build_task(catalogue, task, gap), "report") for gap in gaps}
    trained, monitor = told(trained, "monitor")
    return trained, data, monitor, told(trained, "report")[1], retention


def read_histories(
    cohort: Cohort, directory: epath.PathLike, catalogue: Catalogue
) -> list[History]:
    """What each trial's file says so far; a corrupt one is set aside and its trial begun anew."""
    return [History.read(directory, trial_id(trial, catalogue), trial) for trial in cohort.trials]


def train_cohort(
    cohort: Cohort,
    ready: Ready,
    directory: epath.PathLike,
    *,
    updates: int,
    catalogue: Catalogue,
    match: str,
    held: Held,
    stop: Callable[[], bool],
    after_chunk: Callable[[list[History]], None],
    hosts: Hosts,
) -> list[History]:
    """Trains every unfinished trial of a cohort.

    Args:
      cohort: what is trained.
      ready: from `compile_cohort`.
      directory: of the rows.
      updates: the budget of each trial.
      catalogue: what the trials' specs are read against.
      match: how hidden sizes were chosen, for the rows.
      held: the cohort's lock.
      stop: asked between chunks; True ends the training with everything saved.
      after_chunk: told of the histories after each chunk.
      hosts: that train it together.

    Returns:
      The histories, ended but where `stop` came first; none where another host has them.

    Raises:
      LostError: another process has taken over the cohort; nothing more was written.
      OSError: rows or checkpoints cannot be written.
    """
    if not hosts.chief:
        _follow(ready, hosts, stop)
        return []
    histories = read_histories(cohort, directory, catalogue)  # another process may have written
    names = [history.trial_id for history in histories]

    def write(history):
        held.check()
        history.write()

    with Checkpoints(directory, cohort.program_id) as checkpoints:
        state = _resume(ready, histories, checkpoints, updates, hosts)
        for trial, history in zip(cohort.trials, histories, strict=True):
            if history.new:
                history.begin(header(trial, history.trial_id, ready.assembly, catalogue, match))
        # A file torn in its last line has lost just its end.
        _end(ready, histories, state, updates, hosts)
        for history in histories:
            if history.ended_now or not history.ended(updates):
                write(history)
        while _go_on(hosts, stop, any(not history.ended(updates) for history in histories)):
            state = _chunk(ready, histories, state, updates, cohort.trials[0].eval_every, hosts)
            for history in histories:
                if history.evaluated_now:
                    write(history)
            held.check()
            states = jax.tree.map(lambda leaf: leaf[: len(names)], ready.program.fetch(state))
            checkpoints.save(names, states)
            after_chunk(histories)
        checkpoints.wait()
    return histories


def _follow(ready: Ready, hosts: Hosts, stop: Callable[[], bool]) -> None:
    """`train_cohort` as a process does it that decides nothing."""
    size = len(ready.seeds)
    nobody, start = np.zeros(size, bool), np.zeros(size, np.int32)
    state = ready.program.place(hosts.decided(ready.program.fetch(ready.state)))
    _score_ending(ready, state, nobody, hosts)
    while _go_on(hosts, stop, True):
        state, *_ = _advance(ready, state, nobody, start, hosts)
        _score_ending(ready, state, nobody, hosts)
        ready.program.fetch(state)


def _go_on(hosts: Hosts, stop: Callable[[], bool], work_left: bool) -> bool:
    """Whether there is another chunk: the chief knows of work, and nobody was told to stop."""
    return bool(hosts.decided(np.asarray(work_left))) and not hosts.any(stop())


def _resume(
    ready: Ready, histories: list[History], checkpoints: Checkpoints, updates: int, hosts: Hosts
) -> State:
    """The states to go on from: saved ones where the rows agree with them, else the beginning."""
    state = ready.program.fetch(ready.state)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    saved = checkpoints.restore(one, [history.trial_id for history in histories])
    for row, history in enumerate(histories):
        own = saved.get(history.trial_id)
        usable = own is not None and history.has(int(own.update))
        if usable:
            for leaf, value in zip(jax.tree.leaves(state), jax.tree.leaves(own), strict=True):
                leaf[row] = value
        if not history.ended(updates):
            history.rewind(int(own.update) if usable else 0)
    return ready.program.place(hosts.decided(state))


def _chunk(
    ready: Ready,
    histories: list[History],
    state: State,
    updates: int,
    eval_every: int,
    hosts: Hosts,
) -> State:
    """Updates up to the next evaluation of each unfinished trial, and its rows."""
    start = time.perf_counter()
    running = np.zeros(len(ready.seeds), bool)
    until = np.zeros(len(ready.seeds), np.int32)
    for row, history in enumerate(histories):
        history.evaluated_now = False
        if not history.ended(updates):
            running[row], until[row] = True, history.update + eval_every
    state, progress, monitor = _advance(ready, state, running, until, hosts)
    facts = {
        "cohort_seconds": round(time.perf_counter() - start, 4),
        "cohort_size": int(running.sum()),
        "compile_seconds": round(ready.seconds, 3),
    }
    for row in np.flatnonzero(running):
        histories[row].evaluated(
            int(until[row]),
            train_loss=progress.train_loss[row],
            gradient_norm=progress.gradient_norm[row],
            monitor_loss=monitor.loss[row],
            monitor_accuracy=monitor.accuracy[row],
            **facts,
        )
    _end(ready, histories, state, updates, hosts)
    return state


def _advance(
    ready: Ready, state: State, running: np.ndarray, until: np.ndarray, hosts: Hosts
) -> tuple[State, Progress, evaluation.Accuracy]:
    """One call of the program for the trials that the chief names, and their monitor scores."""
    program, place = ready.program, ready.program.place
    running, until = hosts.decided((running, until))
    state, progress = program.advance(
        state, place(ready.seeds), place(ready.learning_rates), place(until), ready.data
    )
    monitor = evaluation.score(program, state.params, running, ready.monitor)
    return state, program.fetch(progress), monitor


def _end(ready: Ready, histories: list[History], state: State, updates: int, hosts: Hosts) -> None:
    """Ends every trial that has reason to end and has not."""
    ending = np.zeros(len(ready.seeds), bool)
    for row, history in enumerate(histories):
        ending[row] = not history.ended(updates) and history.stopping(updates) is not None
    report, retention = _score_ending(ready, state, ending, hosts)

    def of(row, scores):
        return evaluation.Accuracy(*(score[row] for score in scores))

    for row in np.flatnonzero(ending):
        asked = [(gap, task, of(row, scores)) for gap, task, scores in retention]
        histories[row].end(updates, of(row, report), asked)


def _score_ending(
    ready: Ready, state: State, ending: np.ndarray, hosts: Hosts
) -> tuple[evaluation.Accuracy | None, list[tuple[int, Task, evaluation.Accuracy]]]:
    """Scores of trials that the chief ends, and by gap what they retain; the only look at the
    report sets."""
    ending = hosts.decided(ending)
    if not ending.any():
        return None, []
    retention = [
        (gap, task, evaluation.score(ready.program, state.params, ending, blocks))
        for gap, (task, blocks) in ready.retention.items()
    ]
    return evaluation.score(ready.program, state.params, ending, ready.report), retention
