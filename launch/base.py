"""What all launchers share: one command line, what is left to run, retries, the summary.

    python -m launch.WHERE --results_dir=DIR [launcher's flags] -- experiments.NAME [its flags]

A launcher issues cohorts; what a trial is stays in the experiment, and what has ended is read from
the rows alone. Exit status: 0 nothing failed (stopped by SIGTERM or `--max_hours` included, with
everything saved); 1 something failed; 2 the command line cannot be used; 130 stopped by Ctrl-C.
"""

import collections
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from experiments import commands
from experiments.commands import TRUE_OR_FALSE, Flags, Number
from experiments.work import Work, load
from lstm_jax.errors import InputError, MissingExtraError

GRACE_SECONDS = 60  # for a process to save what it is doing


class Job(NamedTuple):
    """What any machine needs in order to run cohorts of a sweep; JSON values only.

    Attributes:
      experiment: its module.
      arguments: its flags.
      results_dir: where rows go; the same place from every machine.
      compile_cache: as the flag of experiments; empty for each machine's own.
    """

    experiment: str
    arguments: list[str]
    results_dir: str
    compile_cache: str = ""

    def load(self) -> Work:
        """The experiment's work; raises InputError as `experiments.work.load`."""
        return load(self.experiment, self.arguments)


class Issued(NamedTuple):
    """A cohort to run, as a launcher sends it: its program's id, and a person's words for it."""

    program_id: str
    label: str


def common_flags(retries: int = 2) -> Flags:
    """The flags that every launcher has."""
    own = Flags()
    own.define("results_dir", None, "where rows go: a directory that every machine sees, or gs://…")
    own.define(
        "compile_cache", "", "directory of compiled programs; off for none; empty for the default"
    )
    own.define("dry_run", False, "prints what would be issued; issues nothing", TRUE_OR_FALSE)
    own.define(
        "retries",
        retries,
        "how often a cohort is issued again after its machine or process was lost",
        Number(0, whole=True, most=1000),
    )
    own.define(
        "max_hours",
        None,
        "stops, with everything saved, after so many hours",
        Number(0, whole=False, above=True, most=10_000),
    )
    return own


class Campaign:
    """One launch of a sweep: what is left of it, and what came of what was issued.

    Attributes:
      job: what machines are told.
      work: the whole sweep.
      all: the sweep's cohorts, in its order.
      left: those with unfinished trials when it was launched.
      stop: call it to ask whether to stop; a `commands.Interrupt` within `with campaign`.
    """

    def __init__(self, job: Job, work: Work, flags: Flags):
        """Reads what has ended. Nothing is written.

        Raises:
          InputError: rows cannot go there, as far as can be seen without writing.
        """
        from lstm_jax import running, storage
        from lstm_jax.sweep import cohorts

        self.job, self.work = job, work
        self.dry_run = flags["dry_run"].value
        self._retries = flags["retries"].value
        hours = flags["max_hours"].value
        self._until = None if hours is None else time.monotonic() + 3600 * hours
        self.all = [
            Issued(cohort.program_id, running.label(cohort))
            for cohort in cohorts(work.trials, work.catalogue)
        ]
        with commands.naming("results_dir"):
            storage.require_directory_or_none(job.results_dir)
        ended = _ended(job.results_dir, work)
        self.left = [issued for issued in self.all if not ended[issued.program_id]]
        self._waiting = collections.deque(self.left)
        self._attempts: collections.Counter[Issued] = collections.Counter()
        self._running: set[Issued] = set()
        self._changed = threading.Condition()
        self._interrupt = commands.Interrupt()
        self._closed = self._said_late = False
        self.failures: dict[Issued, str] = {}

    def __enter__(self):
        from lstm_jax import running, storage

        with commands.naming("results_dir"):
            directory = storage.usable_directory(self.job.results_dir)
        running.plan(self.work.trials, directory, self.work.catalogue)
        self._interrupt.__enter__()
        return self

    def __exit__(self, *exception):
        self._interrupt.__exit__(*exception)

    def stop(self) -> bool:
        """Whether to stop: told to, or out of hours."""
        late = self._until is not None and time.monotonic() > self._until
        if late and not self._said_late:
            self._said_late = True
            say("the hours of --max_hours are over: saving, and ending")
        return self._closed or late or self._interrupt()

    def close(self) -> None:
        """Issues nothing more."""
        self._closed = True

    def keep(self, left: list[Issued]) -> None:
        """Runs these alone; others run the rest."""
        self.left = left
        self._waiting = collections.deque(self.left)

    def next(self) -> Issued | None:
        """A cohort to run now; waits while what others run may yet come back; None at the end."""
        with self._changed:
            while not self.stop():
                if self._waiting:
                    issued = self._waiting.popleft()
                    self._running.add(issued)
                    return issued
                if not self._running:
                    return None
                self._changed.wait(0.2)
        return None

    def done(self, issued: Issued) -> None:
        """A cohort ran to its end."""
        with self._changed:
            self._running.discard(issued)
            self._changed.notify_all()

    def lost(self, issued: Issued, reason: str) -> None:
        """A cohort's run broke off: it waits to be issued again, or has failed for good."""
        with self._changed:
            self._running.discard(issued)
            self._attempts[issued] += 1
            if self._attempts[issued] <= self._retries:
                self._waiting.append(issued)
                say(f"{issued.label}: {reason}; will be tried again")
            else:
                times = self._attempts[issued]
                self.failures[issued] = f"{reason} ({times} {'time' if times == 1 else 'times'})"
                say(f"{issued.label}: {reason}; given up")
            self._changed.notify_all()

    def summary(self) -> int:
        """Prints what has ended, failed with reasons, and is left, as the rows say; draws table and
        figure; returns the exit status."""
        from lstm_jax import figures, results

        records = results.read_directory(self.job.results_dir, _ids(self.work))
        ends = [record.end for record in records if record.end]
        bad = collections.Counter(end["reason"] for end in ends if end["status"] == "failed")
        left = len(self.work.trials) - sum(_has_ended(end, self.work.updates) for end in ends)
        if ends:
            text, paths = figures.redraw(self.job.results_dir)
            print(f"\n{text}\n" + "\n".join(f"wrote {path}" for path in paths))
        print(
            f"{len(self.work.trials)} trials: {len(self.work.trials) - left} finished, "
            f"{sum(bad.values())} of them failed, {left} left"
        )
        for reason, count in bad.items():
            print(f"failed: {count} trials: {reason}")
        for issued, reason in self.failures.items():
            print(f"failed: {issued.label}: {reason}")
        if left:
            print("run the same command to go on")
        return 1 if self.failures or bad else self._interrupt.status


def say(line: str) -> None:
    """A line for a person."""
    print(line, flush=True)


def run(
    launch: Callable[[Campaign], int],
    own: Flags,
    about: str,
    start: Callable[[], None] = lambda: None,
) -> None:
    """Reads the command line, makes the campaign, and calls `launch` for its exit status.

    Args:
      launch: gets the campaign.
      own: the launcher's flags, from `common_flags`.
      about: what `--help` says first.
      start: called before JAX starts.
    """
    before, behind = sys.argv[:], []
    if "--" in sys.argv:
        at = sys.argv.index("--")
        before, behind = sys.argv[:at], sys.argv[at + 1 :]

    def main() -> int:
        from lstm_jax import backend

        if not behind:
            raise InputError("-- experiments.NAME: missing; say behind -- what is to be run")
        if own["results_dir"].value is None:
            raise InputError(
                "--results_dir: missing; a directory that every machine sees, or gs://…"
            )
        with commands.naming("compile_cache"):
            backend.set_up(own["compile_cache"].value)
        start()
        directory, cache = own["results_dir"].value, own["compile_cache"].value
        job = Job(behind[0], behind[1:], directory, cache)
        campaign = Campaign(job, job.load(), own)
        if campaign.dry_run:
            for issued in campaign.left:
                say(f"cohort {issued.program_id}")
        say(
            f"{len(campaign.work.trials)} trials, rows go to {directory}; "
            f"{len(campaign.left)} cohorts to run"
        )
        return launch(campaign)

    sys.argv = before
    commands.run(main, own, about)


def _ids(work: Work) -> list[str]:
    from lstm_jax.sweep import trial_ids

    return trial_ids(work.trials, work.catalogue)


def _has_ended(end: dict, updates: int) -> bool:
    return end["stopped_by"] != "budget" or end["update"] >= updates


def _ended(directory: str, work: Work) -> dict[str, bool]:
    """By program id: whether each of its trials has ended, as far as rows can be read."""
    from lstm_jax import results
    from lstm_jax.sweep import cohorts
    from lstm_jax.trial import trial_id

    try:
        records = results.read_directory(directory, _ids(work))
    except (InputError, MissingExtraError, OSError):  # not made yet, or not to be read here
        records = []
    ended = {
        record.trial["trial_id"]
        for record in records
        if record.end and _has_ended(record.end, work.updates)
    }
    return {
        cohort.program_id: all(trial_id(trial, work.catalogue) in ended for trial in cohort.trials)
        for cohort in cohorts(work.trials, work.catalogue)
    }


def encode(job: Job) -> str:
    """A job as one line of JSON."""
    return json.dumps(job._asdict())


def decode(text: str) -> Job:
    """The job of a line from `encode`."""
    return Job(**json.loads(text))
