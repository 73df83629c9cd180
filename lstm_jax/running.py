"""Runs a sweep: cohort by cohort, over whatever was done before."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from lstm_jax import locks, results
from lstm_jax.cohort import Ready, compile_cohort, read_histories, train_cohort
from lstm_jax.history import History
from lstm_jax.progress import Bar
from lstm_jax.sweep import Cohort, cohorts, trial_ids
from lstm_jax.training import Inner, assemble
from lstm_jax.trial import Catalogue, Trial


class Outcome(NamedTuple):
    """What a call of `run` came to; counts are of trials.

    Attributes:
      trained: ended by this call, failed ones included.
      failed: trained and not finite.
      skipped: had ended before.
      left: not ended, because of `stop`.
      compile_seconds: spent compiling, mostly while other cohorts trained.
      seconds: wall clock of the whole call.
    """

    trained: int
    failed: int
    skipped: int
    left: int
    compile_seconds: float
    seconds: float


def run(
    trials: Sequence[Trial],
    directory: epath.PathLike,
    *,
    updates: int,
    catalogue: Catalogue,
    match: str,
    bar: Bar | None = None,
    stop: Callable[[], bool] = lambda: False,
    devices: list[jax.Device] | None = None,
    inner: Inner | None = None,
) -> Outcome:
    """Runs every trial that has not ended within `updates`, and writes its rows.

    Cohorts that another process is running are left to it and looked at again at the end.

    Args:
      trials: the sweep, in the order in which it is run.
      directory: of the rows; made if missing.
      updates: the budget of each trial, a multiple of its `eval_every`.
      catalogue: what the trials' specs are read against.
      match: how hidden sizes were chosen, for the rows.
      bar: where progress is shown.
      stop: asked between chunks; True ends the run with everything saved.
      devices: all if None.
      inner: how trials run inside a device; by backend if None.

    Raises:
      OSError: rows or checkpoints cannot be written.
    """
    start = time.perf_counter()
    directory = epath.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with locks.wait(directory, "manifest"):  # read, added to, and written by each process
        results.write_manifest(directory, trial_ids(trials, catalogue))
    runner = _Runner(directory, updates, catalogue, match, bar or Bar(show=False), stop)
    options = {"devices": devices, "inner": inner}
    with ThreadPoolExecutor(1, thread_name_prefix="compile") as compiler:
        runner.run(
            cohorts(trials, catalogue),
            lambda cohort: compiler.submit(compile_cohort, cohort, catalogue, **options),
        )
    return Outcome(**runner.counts, seconds=time.perf_counter() - start)


class _Runner:
    """What is fixed for one call of `run`, and what it has counted."""

    def __init__(self, directory, updates, catalogue, match, bar, stop):
        self.directory = directory
        self.updates = updates
        self.catalogue = catalogue
        self.match = match
        self.bar = bar
        self.stop = stop
        self.counts = {"trained": 0, "failed": 0, "skipped": 0, "left": 0, "compile_seconds": 0.0}
        self.work_done = 0.0
        self.work_left: dict[str, float] = {}

    def run(self, planned: list[Cohort], compiling: Callable[[Cohort], Future[Ready]]) -> None:
        todo = []
        for cohort in planned:
            unfinished = self.unfinished(cohort)
            self.counts["skipped"] += len(cohort.trials) - unfinished
            if unfinished:
                todo.append(cohort)
                self.work_left[cohort.program_id] = self.cost(cohort) * unfinished * self.updates
        elsewhere = []
        ready: Future[Ready] | None = None
        for cohort, following in zip(todo, [*todo, None][1:], strict=True):
            if self.stop():
                self.counts["left"] += self.unfinished(cohort)
                continue
            ready = ready or compiling(cohort)
            with locks.hold(self.directory, cohort.program_id) as held:
                if held:
                    self.show(f"compiling {_label(cohort)}")
                    compiled = ready.result()
                    # The next program compiles while this one trains.
                    ready = compiling(following) if following else None
                    self.train(cohort, compiled)
                else:
                    elsewhere.append(cohort)
                    ready = None
        for cohort in elsewhere:
            self.bar.say(f"{_label(cohort)}: another process is running it; waiting for that")
            self.wait_for(cohort, compiling)

    def wait_for(self, cohort: Cohort, compiling: Callable[[Cohort], Future[Ready]]) -> None:
        """Waits until no other process runs a cohort; does what is then left of it."""
        while not self.stop():
            with locks.hold(self.directory, cohort.program_id) as held:
                if held:
                    if self.unfinished(cohort):
                        self.train(cohort, compiling(cohort).result())
                    return
            time.sleep(0.5)
        self.counts["left"] += self.unfinished(cohort)

    def unfinished(self, cohort: Cohort) -> int:
        histories = read_histories(cohort, self.directory, self.catalogue)
        return sum(not history.ended(self.updates) for history in histories)

    def cost(self, cohort: Cohort) -> float:
        """Of one update of one trial, in the bar's unit: parameters times steps."""
        assembly = assemble(cohort.trials[0], self.catalogue)
        return float(assembly.task.length * assembly.network.parameters)

    def show(self, doing: str) -> None:
        self.bar.work(self.work_done, self.work_done + sum(self.work_left.values()), doing)

    def train(self, cohort: Cohort, ready: Ready) -> None:
        start = time.perf_counter()
        cost = self.cost(cohort)

        def after_chunk(histories: list[History]) -> None:
            # An ended trial's remaining updates are no longer work.
            left = [self.updates - h.update for h in histories if not h.ended(self.updates)]
            before = self.work_left[cohort.program_id]
            self.work_left[cohort.program_id] = cost * sum(left)
            self.work_done += before - self.work_left[cohort.program_id]
            self.show(_label(cohort))

        histories = train_cohort(
            cohort,
            ready,
            self.directory,
            updates=self.updates,
            catalogue=self.catalogue,
            match=self.match,
            stop=self.stop,
            after_chunk=after_chunk,
        )
        fresh = [history.last_end for history in histories if history.ended_now]
        self.counts["compile_seconds"] += ready.seconds
        self.counts["trained"] += len(fresh)
        self.counts["failed"] += sum(end["status"] == "failed" for end in fresh)
        self.counts["left"] += sum(not history.ended(self.updates) for history in histories)
        self.bar.say(_summary(cohort, histories, time.perf_counter() - start))


def _label(cohort: Cohort) -> str:
    return f"{cohort.trials[0].task} gap {cohort.trials[0].gap} {cohort.trials[0].cell}"


def _summary(cohort: Cohort, histories: list[History], seconds: float) -> str:
    """One line for a cohort, as a person follows a sweep by."""
    ends = [end for history in histories if (end := history.last_end)]
    solved = sum(end["status"] == "solved" for end in ends)
    failed = sum(end["status"] == "failed" for end in ends)
    accuracies = [end["accuracy"] for end in ends if end["accuracy"] is not None]
    parts = [f"{solved}/{len(histories)} solved"]
    if accuracies:
        parts.append(f"mean accuracy {np.mean(accuracies):.3f}")
    if failed:
        parts.append(f"{failed} failed")
    if len(ends) < len(histories):
        parts.append(f"{len(histories) - len(ends)} not ended")
    return f"{_label(cohort)}: {', '.join(parts)} ({seconds:.1f} s)"
