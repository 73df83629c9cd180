"""Rows made up for tests: valid in form, without any training."""

import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping

from lstm_jax import results
from lstm_jax.results import Record, Row

CHANCE = 0.125
SOLVED_AT = 0.9
EVAL_EVERY = 50


def trial_row(**settings) -> Row:
    """A `trial` line; its id is made from the settings, as a real one is."""
    row = {
        "kind": "trial",
        "schema": 1,
        "task": "recall",
        "gap": 5,
        "cell": "lstm",
        "layers": 1,
        "hidden_size": 32,
        "embedding_size": 0,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "clip": "norm:1",
        "batch_size": 32,
        "eval_every": EVAL_EVERY,
        "seed": 0,
        "matmul_precision": "float32",
        "cell_file_sha256": "",
        "task_file_sha256": "",
        "cell_options": {},
        "task_options": {},
        "told_gap": False,
        "match": "parameters: of lstm with 32 units",
        "swept_by": "gap",
        "blind_loss": math.log(8),
        "chance": CHANCE,
        "solved_at": SOLVED_AT,
        "stop_at": 0.95,
        "parameters": 7000,
        "carry_size": 64,
        "flops_per_step": 12000,
        "provenance": {"commit": "0" * 40, "dirty": False, "versions": {}, "device": "cpu"},
        **settings,
    }
    row.setdefault("minimal_lag", row["gap"])
    row.setdefault("length", row["gap"] + 17)
    identity = json.dumps({name: row[name] for name in sorted(row)}, sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    cell = row["cell"].replace(":", "_")
    row["trial_id"] = f"{row['task'].split(':')[0]}-{row['gap']}-{cell}-{row['seed']}-{digest}"
    return row


def evaluation_row(trial: Row, update: int, monitor_accuracy: float | None) -> Row:
    return {
        "kind": "evaluation",
        "trial_id": trial["trial_id"],
        "update": update,
        "sequences": update * trial["batch_size"],
        "evaluated_gap": trial["gap"],
        "train_loss": 1.0,
        "monitor_loss": 1.0,
        "monitor_accuracy": monitor_accuracy,
        "gradient_norm": 1.0,
        "cohort_seconds": 0.5,
        "cohort_size": 6,
        "compile_seconds": 1.5,
    }


def end_row(trial: Row, accuracy: float | None, budget: int, update: int | None = None) -> Row:
    """An `end` line; an accuracy of None is a failure."""
    update = budget if update is None else update
    solved = accuracy is not None and accuracy >= trial["solved_at"]
    return {
        "kind": "end",
        "trial_id": trial["trial_id"],
        "update": update,
        "sequences": update * trial["batch_size"],
        "budget": budget,
        "evaluated_gap": trial["gap"],
        "status": "failed" if accuracy is None else "solved" if solved else "unsolved",
        "stopped_by": "non-finite" if accuracy is None else "budget",
        "reason": "loss is not finite" if accuracy is None else None,
        "accuracy": accuracy,
        "loss": None if accuracy is None else 1.0,
        "first_solved_update": update if solved else None,
    }


def retention_row(trial: Row, gap: int, accuracy: float, update: int) -> Row:
    """A `retention` line, of answers that ask for three bits."""
    return {
        "kind": "retention",
        "trial_id": trial["trial_id"],
        "update": update,
        "evaluated_gap": gap,
        "length": gap + 17,
        "chance": CHANCE,
        "blind_loss": math.log(8),
        "solved_at": SOLVED_AT,
        "solved": accuracy >= SOLVED_AT,
        "accuracy": accuracy,
        "loss": 1.0,
        "bits": 3 * accuracy,
        "bits_asked": 3.0,
    }


def record(
    accuracy: float | None,
    *,
    monitor: float | None = None,
    budget: int = 600,
    under_way: bool = False,
    **settings,
) -> Record:
    """One trial of one evaluation, at the end of its budget.

    Args:
      accuracy: on the report set; None is a failure.
      monitor: accuracy on the monitor set; default, `accuracy`.
      budget: updates.
      under_way: leaves the end away.
      settings: of the `trial` line.
    """
    trial = trial_row(**settings)
    seen = accuracy if monitor is None else monitor
    evaluations = (evaluation_row(trial, budget, seen),)
    return Record(trial, evaluations, () if under_way else (end_row(trial, accuracy, budget),))


def sweep(
    accuracies: Mapping[str, Mapping[int, Iterable[float | None]]], **settings
) -> list[Record]:
    """One trial for each cell, gap and seed, smallest gap first, as a sweep orders them."""
    gaps = sorted({gap for by_gap in accuracies.values() for gap in by_gap})
    return [
        record(accuracy, cell=cell, gap=gap, seed=seed, **settings)
        for gap in gaps
        for cell, by_gap in accuracies.items()
        for seed, accuracy in enumerate(by_gap.get(gap, ()))
    ]


def write(
    directory: pathlib.Path, records: Iterable[Record], planned: Iterable[str] = ()
) -> pathlib.Path:
    """Writes a results directory: the records, and a manifest that also names those `planned`."""
    directory.mkdir(parents=True, exist_ok=True)
    records = list(records)
    for made in records:
        path = results.trial_path(directory, made.trial["trial_id"])
        results.write_rows(path, made.lines)
    ids = [made.trial["trial_id"] for made in records]
    results.write_manifest(directory, [*ids, *planned])
    return directory
