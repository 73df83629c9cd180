"""One trial's rows while it runs: what was seen, whether it has ended, and why."""

import dataclasses
import math
import warnings
from collections.abc import Sequence

from etils import epath

from lstm_jax import results, storage
from lstm_jax.evaluation import Accuracy
from lstm_jax.provenance import provenance
from lstm_jax.results import Record, Row, finite
from lstm_jax.tasks.base import Task, stop_at
from lstm_jax.training import Assembly, carry_size, flops_per_step
from lstm_jax.trial import Catalogue, Trial


def header(
    trial: Trial, trial_id: str, assembly: Assembly, catalogue: Catalogue, match: str
) -> Row:
    """The `trial` row: the whole trial, what a redraw needs, and where it came from."""
    task, cell_spec = assembly.task, catalogue.cell(trial.cell)
    return {
        "kind": "trial",
        "schema": results.SCHEMA,
        "trial_id": trial_id,
        **dataclasses.asdict(trial),
        "cell_options": cell_spec.resolved,
        "task_options": catalogue.task(trial.task).resolved,
        "told_gap": cell_spec.told_gap,
        "match": match,
        "swept_by": task.swept_by,
        "minimal_lag": task.gap,
        "length": task.length,
        "chance": task.chance,
        "blind_loss": task.blind_loss,
        "solved_at": task.solved_at,
        "stop_at": stop_at(task),
        "parameters": assembly.network.parameters,
        "carry_size": carry_size(assembly.cell),
        "flops_per_step": flops_per_step(assembly.cell, assembly.cell_input_size),
        "provenance": provenance(),
    }


class History:
    """The rows of one trial. `read`, `begin` and `rewind` set where it stands; `evaluated` and
    `end` add to it; `write` puts it on disk, whole."""

    def __init__(self, path: epath.Path, trial_id: str, record: Record | None, version: int | None):
        """Rows as read, or none, and the version of the file."""
        self.trial_id = trial_id
        self.ended_now = False
        self.evaluated_now = False
        self._path = path
        self._version = version
        self._trial = record.trial if record else None
        self._evaluations = list(record.evaluations) if record else []
        self._ends = list(record.ends) if record else []
        self._retention = list(record.retention) if record else []
        self._passed: list[Row] = []
        self._update_on_disk = self.update

    @classmethod
    def read(cls, directory: epath.PathLike, trial_id: str, trial: Trial) -> "History":
        """The history in a directory. A corrupt file, or one whose first line is another trial's,
        is set aside under another name, with a `ResultsWarning`, and its trial begins anew."""
        path = results.trial_path(directory, trial_id)
        try:
            record, version = results.load(path)
            if record is not None:
                for name, value in dataclasses.asdict(trial).items():
                    found = record.trial.get(name, "")  # what came later was empty before
                    if found != value:
                        raise results.CorruptFileError(
                            f"{path}: {name} is {found!r:.40}, the trial's {value!r}"
                        )
        except results.CorruptFileError as error:
            message = f"{error}; set aside as {storage.set_aside(path).name}"
            warnings.warn(message, results.ResultsWarning, stacklevel=2)
            record, version = None, 0
        return cls(path, trial_id, record, version)

    @property
    def new(self) -> bool:
        """Whether the trial has no header yet."""
        return self._trial is None

    @property
    def update(self) -> int:
        """Updates done, as the rows say."""
        return self._evaluations[-1]["update"] if self._evaluations else 0

    @property
    def last_end(self) -> Row | None:
        """The row that ends the trial as it stands; None while it is under way."""
        return None if self._trial is None else self._record().end

    def ended(self, budget: int) -> bool:
        """Whether there is nothing to do within `budget` updates."""
        end = self.last_end
        return end is not None and (end["stopped_by"] != "budget" or end["update"] >= budget)

    def begin(self, row: Row) -> None:
        """Gives a new trial its header."""
        self._trial = row

    def has(self, update: int) -> bool:
        """Whether the rows reach back without a hole from `update` updates."""
        return update == 0 or update in [row["update"] for row in self._evaluations]

    def rewind(self, update: int) -> None:
        """Goes back to the state after `update` updates. Rows beyond are made again, the same, and
        stay on disk until they are."""
        self._evaluations = [row for row in self._evaluations if row["update"] <= update]
        for rows in (self._ends, self._retention):
            self._passed += [row for row in rows if row["update"] > update]
            rows[:] = [row for row in rows if row["update"] <= update]

    def evaluated(
        self,
        update: int,
        *,
        train_loss: float,
        gradient_norm: float,
        monitor_loss: float,
        monitor_accuracy: float,
        **cohort_facts,
    ) -> None:
        """Adds an `evaluation` row."""
        self.evaluated_now = True
        self._evaluations.append(
            {
                "kind": "evaluation",
                **self._where(update),
                "train_loss": finite(train_loss),
                "monitor_loss": finite(monitor_loss),
                "monitor_accuracy": finite(monitor_accuracy),
                "gradient_norm": finite(gradient_norm),
                **cohort_facts,
            }
        )

    def stopping(self, budget: int) -> str | None:
        """Why the trial ends here: one of `results.STOPPED_BY`; None if it goes on."""
        if not self._evaluations:
            return None
        last = self._evaluations[-1]
        if last["train_loss"] is None or last["gradient_norm"] is None:
            return "non-finite"
        scores = [row["monitor_accuracy"] for row in self._evaluations[-2:]]
        if len(scores) == 2 and all(
            score is not None and score >= self._trial["stop_at"] for score in scores
        ):
            return "monitor"
        return "budget" if last["update"] >= budget else None

    def end(
        self, budget: int, report: Accuracy, retention: Sequence[tuple[int, Task, Accuracy]] = ()
    ) -> None:
        """Adds the `end` row, with the trial's scores on the report set, and `retention` rows.

        Args:
          budget: updates that the trial was allowed.
          report: on what it was trained on.
          retention: gap, task and score at each gap at which it is asked besides.
        """
        # An end may be there whose retention rows were torn off.
        for rows in (self._ends, self._retention):
            rows[:] = [row for row in rows if row["update"] < self.update]
        stopped_by = self.stopping(budget)
        solved_at = self._trial["solved_at"]
        failed = stopped_by == "non-finite" or not math.isfinite(report.accuracy)
        solved = not failed and report.accuracy >= solved_at
        first_solved = [
            row["update"]
            for row in self._evaluations
            if row["monitor_accuracy"] is not None and row["monitor_accuracy"] >= solved_at
        ]
        self._ends.append(
            {
                "kind": "end",
                **self._where(self.update),
                "budget": budget,
                "status": "failed" if failed else "solved" if solved else "unsolved",
                "stopped_by": stopped_by,
                "reason": "loss or gradient not finite" if failed else None,
                **_scores(report, failed),
                "first_solved_update": first_solved[0] if first_solved else None,
            }
        )
        for gap, task, score in retention:
            self._retention.append(
                {
                    "kind": "retention",
                    "trial_id": self.trial_id,
                    "update": self.update,
                    "evaluated_gap": gap,
                    "length": task.length,
                    "chance": task.chance,
                    "blind_loss": task.blind_loss,
                    "solved_at": task.solved_at,
                    "solved": bool(not failed and score.accuracy >= task.solved_at),
                    **_scores(score, failed),
                }
            )
        self.ended_now = True

    def write(self) -> None:
        """Writes the file. Does nothing while the rows there reach farther than these.

        Raises:
          LostError: another process has written it.
          OSError: it cannot be written.
        """
        if self.update < self._update_on_disk and not self.ended_now:
            return
        passed = [row for row in self._passed if row["update"] < self.update]
        record = self._record()._replace(
            ends=(*(row for row in passed if row["kind"] == "end"), *self._ends),
            retention=(*(row for row in passed if row["kind"] == "retention"), *self._retention),
        )
        self._version = results.write_rows(self._path, record.lines, self._version)

    def _record(self) -> Record:
        return Record(self._trial, *map(tuple, (self._evaluations, self._ends, self._retention)))

    def _where(self, update: int) -> Row:
        return {
            "trial_id": self.trial_id,
            "update": update,
            "sequences": update * self._trial["batch_size"],
            "evaluated_gap": self._trial["gap"],
        }


def _scores(score: Accuracy, failed: bool) -> Row:
    """Scores as a row has them; none of a network that failed."""
    return {name: None if failed else finite(value) for name, value in score._asdict().items()}
