"""Runs a sweep: cohort by cohort, over whatever was done before."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from lstm_jax import locks, results, storage
from lstm_jax.cohort import Ready, compile_cohort, read_histories, train_cohort
from lstm_jax.history import History
from lstm_jax.hosts import Hosts
from lstm_jax.locks import Held
from lstm_jax.progress import Bar
from lstm_jax.storage import LostError
from lstm_jax.sweep import Cohort, cohorts, trial_ids
from lstm_jax.tasks.base import require_data as require_data_of
from lstm_jax.training import Inner, assemble, build_task
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


def plan(trials: Sequence[Trial], directory: epath.PathLike, catalogue: Catalogue) -> None:
    """Makes the directory, and adds the trials to its manifest.

    Raises:
      OSError: it cannot be written.
    """
    directory = epath.Path(directory)
    if not storage.is_remote(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with locks.wait(directory, "manifest"):  # read, added to, and written by each process
        results.write_manifest(directory, trial_ids(trials, catalogue))


def require_data(trials: Sequence[Trial], catalogue: Catalogue) -> None:
    """Whether the data of every trial are on this machine; reads none of them.

    Raises:
      InputError: some are not; the message is the command that prepares them.
      MissingExtraError: the extra `data` is not installed.
    """
    for task in dict.fromkeys(trial.task for trial in trials):
        gap = next(trial.gap for trial in trials if trial.task == task)
        require_data_of(build_task(catalogue, task, gap))


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
    hosts: Hosts | None = None,
) -> Outcome:
    """Runs every trial that has not ended within `updates`, and writes its rows.

    Cohorts that another process is running are left to it and looked at again at the end.

    Args:
      trials: the sweep, in the order in which it is run; `plan` has put them into the manifest.
      directory: of the rows.
      updates: the budget of each trial, a multiple of its `eval_every`.
      catalogue: what the trials' specs are read against.
      match: how hidden sizes were chosen, for the rows.
      bar: where progress is shown.
      stop: asked between chunks; True ends the run with everything saved.
      devices: all if None.
      inner: how trials run inside a device; by backend if None.
      hosts: processes that run every cohort together, with the same arguments; None for this alone.

    Raises:
      InputError, MissingExtraError: as `require_data`, before anything is compiled.
      OSError: rows or checkpoints cannot be written.
    """
    start = time.perf_counter()
    require_data(trials, catalogue)
    hosts = Hosts() if hosts is None else hosts
    runner = _Runner(
        epath.Path(directory), updates, catalogue, match, bar or Bar(show=False), stop, hosts
    )
    with ThreadPoolExecutor(1, thread_name_prefix="compile") as compiler:

        def compiling(cohort: Cohort) -> Future[Ready]:
            ready = compiler.submit(compile_cohort, cohort, catalogue, devices=devices, inner=inner)
            if hosts.count > 1:  # programs must start in the same order everywhere
                ready.result()
            return ready

        runner.run(cohorts(trials, catalogue), compiling)
    return Outcome(**runner.counts, seconds=time.perf_counter() - start)


class _Runner:
    """What is fixed for one call of `run`, and what it has counted."""

    def __init__(self, directory, updates, catalogue, match, bar, stop, hosts):
        self.directory = directory
        self.updates = updates
        self.catalogue = catalogue
        self.match = match
        self.bar = bar
        self.told_to_stop = stop
        self.hosts = hosts
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
                of_one = cost(cohort, self.catalogue)
                self.work_left[cohort.program_id] = of_one * unfinished * self.updates
        elsewhere = []
        ready: Future[Ready] | None = None
        for cohort, following in zip(todo, [*todo, None][1:], strict=True):
            if self.stop():
                self.counts["left"] += self.unfinished(cohort)
                continue
            ready = ready or compiling(cohort)
            done = False
            with self.hold(cohort) as (held, ours):
                if ours:
                    self.show(f"compiling {label(cohort)}")
                    compiled = ready.result()
                    # The next program compiles while this one trains.
                    ready = compiling(following) if following else None
                    done = self.train(cohort, compiled, held)
                else:
                    ready = None
            if not done:
                elsewhere.append(cohort)
        for cohort in elsewhere:
            self.bar.say(f"{label(cohort)}: another process is running it; waiting for that")
            self.wait_for(cohort, compiling)

    def wait_for(self, cohort: Cohort, compiling: Callable[[Cohort], Future[Ready]]) -> None:
        """Waits until no other process runs a cohort; does what is then left of it."""
        while not self.stop():
            with self.hold(cohort) as (held, ours):
                if ours and (
                    not self.unfinished(cohort)
                    or self.train(cohort, compiling(cohort).result(), held)
                ):
                    return
            time.sleep(0.5)
        self.counts["left"] += self.unfinished(cohort)

    def stop(self) -> bool:
        return self.hosts.any(self.told_to_stop())

    @contextlib.contextmanager
    def hold(self, cohort: Cohort) -> Iterator[tuple[Held | None, bool]]:
        """The cohort's lock, None if this is not the process that holds it; whether one does."""
        if not self.hosts.chief:
            yield None, bool(self.hosts.decided(np.asarray(False)))
            return
        with locks.hold(self.directory, cohort.program_id) as held:
            yield held, bool(self.hosts.decided(np.asarray(held is not None)))

    def unfinished(self, cohort: Cohort) -> int:
        count = 0
        if self.hosts.chief:
            histories = read_histories(cohort, self.directory, self.catalogue)
            count = sum(not history.ended(self.updates) for history in histories)
        return int(self.hosts.decided(np.asarray(count)))

    def show(self, doing: str) -> None:
        self.bar.work(self.work_done, self.work_done + sum(self.work_left.values()), doing)

    def train(self, cohort: Cohort, ready: Ready, held: Held | None) -> bool:
        """Trains a cohort; returns whether it stayed ours until it was done."""
        start = time.perf_counter()
        of_one = cost(cohort, self.catalogue)

        def after_chunk(histories: list[History]) -> None:
            # An ended trial's remaining updates are no longer work.
            left = [self.updates - h.update for h in histories if not h.ended(self.updates)]
            before = self.work_left[cohort.program_id]
            self.work_left[cohort.program_id] = of_one * sum(left)
            self.work_done += before - self.work_left[cohort.program_id]
            self.show(label(cohort))

        try:
            histories = train_cohort(
                cohort,
                ready,
                self.directory,
                updates=self.updates,
                catalogue=self.catalogue,
                match=self.match,
                held=held,
                stop=self.told_to_stop,
                after_chunk=after_chunk,
                hosts=self.hosts,
            )
        except LostError as error:
            if self.hosts.count > 1:  # the others wait for a chunk that will not come
                raise
            self.bar.say(f"{label(cohort)}: {error}")
            return False
        self.counts["compile_seconds"] += ready.seconds
        if self.hosts.chief:
            fresh = [history.last_end for history in histories if history.ended_now]
            self.counts["trained"] += len(fresh)
            self.counts["failed"] += sum(end["status"] == "failed" for end in fresh)
            self.counts["left"] += sum(not history.ended(self.updates) for history in histories)
            self.bar.say(_summary(cohort, histories, time.perf_counter() - start))
        return True


def cost(cohort: Cohort, catalogue: Catalogue) -> float:
    """Of one update of one trial, in the bar's unit: parameters times steps."""
    assembly = assemble(cohort.trials[0], catalogue)
    return float(assembly.task.length * assembly.network.parameters)


def label(cohort: Cohort) -> str:
    """A cohort in a few words."""
    trial = cohort.trials[0]
    swept = f"trained on {trial.train_gaps}" if trial.train_gaps else f"gap {trial.gap}"
    return f"{trial.task} {swept} {trial.cell}"


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
    return f"{label(cohort)}: {', '.join(parts)} ({seconds:.1f} s)"
