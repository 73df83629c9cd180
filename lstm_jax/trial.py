"""What is run: a trial is one point of a sweep, one seed."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence

from lstm_jax.errors import InputError
from lstm_jax.spec import Spec, UserFile, parse

# Fields that trials have had since later. While they are empty a trial is the one it was, with its
# id, and rows without them say the same.
LATER_FIELDS = ("train_gaps", "eval_gaps", "unroll")
# Fields in which trials of one cohort may differ: they enter the program as arrays.
ARRAY_FIELDS = ("seed", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point of a sweep. The budget (updates) stands outside it: raising it continues a trial.

    Attributes:
      task: canonical spec of the task.
      gap: the swept number, as the task's constructor takes it; with `train_gaps` the largest of
        them.
      cell: canonical spec of the cell.
      layers: layers of that cell.
      hidden_size: units a layer.
      embedding_size: features of a learned embedding of tokens; 0 for one-hot vectors.
      optimizer: spec of the optimizer.
      learning_rate: its step.
      clip: `norm:1`, `value:1` or `none`.
      batch_size: sequences an update.
      eval_every: updates between evaluations.
      seed: of parameters, training data and noise.
      matmul_precision: precision of matrix products, as JAX names it.
      cell_file_sha256: of the user's file that the cell comes from; empty for built-in cells.
      task_file_sha256: the same for the task.
      train_gaps: gaps that are mixed in training, as `gaps.parse_gaps` reads them; empty where the
        network is trained and tested at `gap` alone.
      eval_gaps: with `train_gaps`, the gaps at which the trained network is asked, as a list.
      unroll: method of `unroll_batch`; empty for the fastest. All give the same, to rounding.
    """

    task: str
    gap: int
    cell: str
    layers: int
    hidden_size: int
    embedding_size: int
    optimizer: str
    learning_rate: float
    clip: str
    batch_size: int
    eval_every: int
    seed: int
    matmul_precision: str
    cell_file_sha256: str = ""
    task_file_sha256: str = ""
    train_gaps: str = ""
    eval_gaps: str = ""
    unroll: str = ""


class Catalogue:
    """The cells and tasks that specs are read against: the registries, and a user's own.

    Attributes:
      cells: constructors by name.
      tasks: constructors by name.
    """

    def __init__(
        self,
        cells: Mapping[str, Callable],
        tasks: Mapping[str, Callable],
        own_cells: Sequence[UserFile] = (),
        own_tasks: Sequence[UserFile] = (),
    ):
        """Joins registries and files.

        Raises:
          InputError: a file named as a built-in cell or task.
        """
        self.cells, self._cell_hashes = _joined(cells, own_cells, "cell")
        self.tasks, self._task_hashes = _joined(tasks, own_tasks, "task")

    def cell(self, text: str) -> Spec:
        """A cell's spec; raises InputError where it cannot be read."""
        return parse(text, self.cells, "cell")

    def task(self, text: str) -> Spec:
        """A task's spec; raises InputError where it cannot be read."""
        return parse(text, self.tasks, "task")

    def cell_hash(self, spec: Spec) -> str:
        """SHA-256 of the file that the cell comes from, empty for built-in cells."""
        return self._cell_hashes.get(spec.name, "")

    def task_hash(self, spec: Spec) -> str:
        """SHA-256 of the file that the task comes from, empty for built-in tasks."""
        return self._task_hashes.get(spec.name, "")


def _joined(registry, own, what):
    for file in own:
        if file.name in registry:
            raise InputError(f"{file.name}: a built-in {what} has this name; rename yours")
    constructors = {file.name: file.constructor for file in own}
    return {**registry, **constructors}, {file.name: file.sha256 for file in own}


def trial_id(trial: Trial, catalogue: Catalogue) -> str:
    """A readable part and a hash of every field, with all options resolved."""
    return _identifier(trial, catalogue, f"-lr{trial.learning_rate:g}-seed{trial.seed}")


def program_id(trial: Trial, catalogue: Catalogue) -> str:
    """Names the compiled program: equal for trials that differ in arrays only."""
    shared = {name: 0 for name in ARRAY_FIELDS}
    return _identifier(dataclasses.replace(trial, **shared), catalogue, "")


def _given(spec: Spec) -> dict:
    return {name: value for name, value in spec.resolved.items() if value is not None}


def _identifier(trial: Trial, catalogue: Catalogue, ending: str) -> str:
    # Options are hashed resolved, so that a default spelled out is the same trial, and a default
    # that a later version changes is another one. An option that is None is left out, so that a
    # later version can add one that is not used unless it is given.
    fields = {
        name: value
        for name, value in dataclasses.asdict(trial).items()
        if value or name not in LATER_FIELDS
    }
    fields |= {
        "cell_options": _given(catalogue.cell(trial.cell)),
        "task_options": _given(catalogue.task(trial.task)),
    }
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]
    swept = f"train{trial.train_gaps}" if trial.train_gaps else f"gap{trial.gap}"
    readable = f"{trial.task}-{swept}-{trial.cell}-h{trial.hidden_size}"
    readable = re.sub(r"[^A-Za-z0-9.=+-]", "_", readable)[:120]
    return f"{readable}{ending}-{digest}"
