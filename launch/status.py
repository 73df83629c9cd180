"""How far a sweep is, from its files alone: whoever runs it, wherever it runs.

    python -m launch.status --results_dir=results/gap_sweep
    python -m launch.status --results_dir=gs://bucket/rows --watch --every=60

Prints how many of the planned trials have ended, what failed and why, the time that is left, and
the horizons so far. Needs no JAX. `--watch` looks again and again until every trial has ended.

A trial has ended if its last row says so. Files do not tell the budget of whoever runs the sweep
now: a trial that ended on a smaller one counts as finished until it goes on. One whose file cannot
be used counts as not started, since it would begin anew; one that runs and has no row yet, too.
Nor do files tell whether anybody runs the sweep. A horizon of `> 80` or `< 5` lies beyond the gaps
at which trials have ended.

The time left is an estimate: seconds of a cohort per trial and step of time so far, times all
updates of the largest budget seen that are left, over the cohorts that are under way at once. A
trial that solves its task early takes less, a larger network more; compiling is not in it; after
an interruption, cohorts that wait count as under way.
"""

import collections
import re
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from experiments import commands
from experiments.commands import TRUE_OR_FALSE, Number
from lstm_jax import learning_rates, results, storage, summary, table
from lstm_jax.errors import InputError, first_line, printable
from lstm_jax.results import Record, ResultsWarning

FLAGS = commands.Flags()
_RESULTS_DIR = FLAGS.define("results_dir", "results/gap_sweep", "where the rows of a sweep go")
_WATCH = FLAGS.define("watch", False, "looks again until every trial has ended", TRUE_OR_FALSE)
_EVERY = FLAGS.define("every", 10, "seconds between looks", Number(1, whole=False, most=24 * 3600))
_MOST_LINES = 5  # of reasons, and of warnings
_GAP = re.compile(r"-gap(\d{1,9})-")


class Status(NamedTuple):
    """What the files of a sweep say.

    Attributes:
      planned: trials in the manifest, or with a file.
      complete: whether the manifest could be read; if not, `planned` is of files alone.
      finished: of these, ended.
      under_way: of these, with a file and no end.
      failures: how many of the finished have failed, by reason.
      budgets: smallest and largest budget of a trial that its budget ended; None if none did.
      seconds_left: as the module says; None where it cannot be told.
      cohorts: that are under way.
      table: of horizons so far; empty if no trial has ended.
      warnings: of files that cannot be read.
    """

    planned: int
    complete: bool
    finished: int
    under_way: int
    failures: dict[str, int]
    budgets: tuple[int, int] | None
    seconds_left: float | None
    cohorts: int
    table: str
    warnings: list[str]

    @property
    def over(self) -> bool:
        """Whether every planned trial has ended; not where the plan is unknown."""
        return self.complete and self.finished == self.planned


def look(directory: str) -> Status:
    """Reads a results directory, which may be written to at the same time.

    Raises:
      InputError: no such directory, or no manifest in it.
      OSError: it cannot be read.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResultsWarning)
        results.require_directory(directory)
        planned = results.read_manifest(directory)
        if not planned and not told:
            raise InputError(
                f"{directory}: holds no {results.MANIFEST}; allowed is one that a sweep writes to"
            )
        records = results.read_directory(directory)
    ranks = {name: rank for rank, name in enumerate(planned)}
    records.sort(key=lambda record: ranks.get(record.trial["trial_id"], len(ranks)))
    names = {record.trial["trial_id"] for record in records}
    waiting = [name for name in planned if name not in names]
    ended = [record for record in records if record.end]
    under_way = [record for record in records if not record.end]
    cohorts = {(*learning_rates.settings_of(r.trial), r.trial["gap"]) for r in under_way}
    failures = collections.Counter(
        printable(record.end["reason"] or "unknown", 200)
        for record in ended
        if record.end["status"] == "failed"
    )
    budgets = [r.end["budget"] for r in ended if r.end["stopped_by"] == "budget"]
    curves = summary.summarise(records) if ended else []
    return Status(
        planned=len(records) + len(waiting),
        complete=bool(planned),
        finished=len(ended),
        under_way=len(under_way),
        failures=dict(failures.most_common()),
        budgets=(min(budgets), max(budgets)) if budgets else None,
        seconds_left=_seconds_left(records, waiting, max(1, len(cohorts))) if planned else None,
        cohorts=len(cohorts),
        table=table.text(curves) if curves else "",
        warnings=[str(warning.message) for warning in told],
    )


def _seconds_left(records: Sequence[Record], waiting: Sequence[str], at_once: int) -> float | None:
    """The estimate that the module describes; None before the first end, which tells the budget."""
    under_way = [record for record in records if not record.end]
    if not under_way and not waiting:
        return 0.0
    budget = max((record.end["budget"] for record in records if record.end), default=0)
    # Of a trial, seconds are its share of its cohort's; work is updates times steps of a sequence.
    seconds = sum(
        row["cohort_seconds"] / row["cohort_size"] for r in records for row in r.evaluations
    )
    work = sum(r.evaluations[-1]["update"] * r.trial["length"] for r in records if r.evaluations)
    if not budget or not work:
        return None
    left = sum(
        max(0, budget - (record.evaluations[-1]["update"] if record.evaluations else 0))
        * record.trial["length"]
        for record in under_way
    )
    # A sequence is longer than its gap by something that hardly depends on the gap.
    beside = [record.trial["length"] - record.trial["gap"] for record in records]
    mean = sum(record.trial["length"] for record in records) / len(records)
    for name in waiting:
        gap = _GAP.search(name)
        left += budget * (int(gap[1]) + sum(beside) / len(beside) if gap else mean)
    return seconds / work * left / at_once


def text(status: Status) -> str:
    """A status for a person."""
    percent = 100 * status.finished // max(1, status.planned)  # 100 only when all are
    share = f" ({percent}%)" if status.complete else ""
    lines = [
        f"{status.planned} trials: {status.finished} finished{share}, "
        f"{sum(status.failures.values())} of them failed, {status.under_way} under way, "
        f"{status.planned - status.finished - status.under_way} not started"
    ]
    if not status.complete:
        lines.append("the plan cannot be read: these are the trials that have files")
    if not status.over:
        lines.append(f"time left: {_time_left(status)}")
    if status.budgets and status.budgets[0] < status.budgets[1]:
        low, high = status.budgets
        lines.append(f"budgets differ: {low:,} to {high:,} updates; the smaller count as finished")
    lines += _first(
        [f"failed: {count} trials: {reason}" for reason, count in status.failures.items()]
    )
    lines += _first([f"warning: {line}" for line in status.warnings])
    if status.table:
        so_far = "horizons" if status.over else "horizons so far"
        lines += ["", f"{so_far} (> and <: beyond the gaps that have ended)", status.table.rstrip()]
    return "\n".join(lines)


def _time_left(status: Status) -> str:
    if not status.complete:
        return "unknown without the plan"
    if status.seconds_left is None:
        return "unknown before a trial has ended"
    at_once = max(1, status.cohorts)
    cohorts = f"{at_once} cohort{'s' * (at_once != 1)} at once"
    return f"about {_duration(status.seconds_left)} with {cohorts}; less if trials end early"


def _duration(seconds: float) -> str:
    """In the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return lines[:_MOST_LINES] + ([f"and {more} more such lines"] if more > 0 else [])


def main() -> int:
    """Prints the status, once or again and again."""
    directory = _RESULTS_DIR.value
    if FLAGS["every"].present and not _WATCH.value:
        raise InputError("--every: taken only with --watch")
    with commands.naming("results_dir"):
        storage.require_known(directory)
        if not _WATCH.value:
            print(text(look(directory)))
            return 0
        with commands.Interrupt(said="") as stopped:
            status = look(directory)  # what cannot be read at first is an error
            shown = text(status)
            while not stopped():
                if sys.stdout.isatty():
                    print("\x1b[H\x1b[2J", end="")
                now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
                print(f"{printable(directory)} at {now}\n{shown}\n", flush=True)
                until = time.monotonic() + _EVERY.value
                while not stopped() and not status.over and time.monotonic() < until:
                    time.sleep(0.1)
                if stopped() or status.over:
                    break
                try:
                    status = look(directory)
                    shown = text(status)
                except OSError as error:  # out of reach for now, as a disk or a store may be
                    shown = printable(f"cannot be read, will be tried again: {first_line(error)}")
            return stopped.status


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
