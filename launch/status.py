"""How far a sweep is, from its files alone: whoever runs it, wherever it runs.

    python -m launch.status --results_dir=results/gap_sweep
    python -m launch.status --results_dir=gs://bucket/rows --watch --every=60

Prints how many of the planned trials have ended, what failed and why, the time that is left, and
the horizons so far. Needs no JAX. `--watch` looks again and again until every trial has ended.

The time left is a bound on the rest of the work as it went so far: seconds of a cohort per trial
and step of time, times all updates of the budget that are left, over the cohorts that are under way
at once. A trial that solves its task early takes less; compiling is not in it; after an
interruption, cohorts that wait count as under way.
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
from lstm_jax.errors import InputError, printable
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
      finished: of these, ended.
      under_way: of these, with a file and no end.
      failures: how many of the finished have failed, by reason.
      budgets: smallest and largest budget of a trial that its budget ended; None if none did.
      seconds_left: at most, as the module says; None where it cannot be told.
      cohorts: that are under way.
      table: of horizons so far; empty if no trial has ended.
      warnings: of files that cannot be read.
    """

    planned: int
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
        """Whether every planned trial has ended."""
        return self.finished == self.planned


def look(directory: str) -> Status:
    """Reads a results directory, which may be written to at the same time.

    Raises:
      InputError: no such directory, or nothing of a sweep in it.
      OSError: it cannot be read.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResultsWarning)
        results.require_directory(directory)
        planned = results.read_manifest(directory)
        records = results.read_directory(directory)
    if not planned and not records and not told:
        raise InputError(f"{directory}: holds no results; allowed is one that a sweep writes to")
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
        finished=len(ended),
        under_way=len(under_way),
        failures=dict(failures.most_common()),
        budgets=(min(budgets), max(budgets)) if budgets else None,
        seconds_left=_seconds_left(records, waiting, max(1, len(cohorts))),
        cohorts=len(cohorts),
        table=table.text(curves) if curves else "",
        warnings=[str(warning.message) for warning in told],
    )


def _seconds_left(records: Sequence[Record], waiting: Sequence[str], at_once: int) -> float | None:
    """The bound that the module describes; None before the first end, which tells the budget."""
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
    share = status.finished / status.planned if status.planned else 0
    lines = [
        f"{status.planned} trials: {status.finished} finished ({share:.0%}), "
        f"{status.under_way} under way, "
        f"{status.planned - status.finished - status.under_way} not started"
    ]
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
        lines += ["", *([] if status.over else ["so far:"]), status.table.rstrip()]
    return "\n".join(lines)


def _time_left(status: Status) -> str:
    if status.seconds_left is None:
        return "not known before a trial has ended"
    if not status.cohorts:
        return f"at most {_duration(status.seconds_left)} of one process; no cohort is under way"
    cohorts = f"{status.cohorts} cohort{'s' * (status.cohorts != 1)}"
    return f"at most {_duration(status.seconds_left)}, with {cohorts} at once as now"


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
    with commands.naming("results_dir"):
        storage.require_known(directory)
        status = look(directory)
    if not _WATCH.value:
        print(text(status))
        return 0
    with commands.Interrupt(said="") as stopped:
        while True:
            if sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")
            now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
            print(f"{printable(directory)} at {now}\n{text(status)}\n", flush=True)
            until = time.monotonic() + _EVERY.value
            while not stopped() and not status.over and time.monotonic() < until:
                time.sleep(0.1)
            if stopped() or status.over:
                return stopped.status
            with commands.naming("results_dir"):
                status = look(directory)


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
