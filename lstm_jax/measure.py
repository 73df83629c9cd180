"""`measure_horizon`: one call for notebooks and scripts; `experiments/gap_sweep.py` adds flags."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from etils import epath

from lstm_jax import backend, figures, results, storage, table
from lstm_jax.cells.check import check_structure
from lstm_jax.errors import InputError
from lstm_jax.layers import MODELS
from lstm_jax.progress import Bar
from lstm_jax.results import Record, Row
from lstm_jax.running import Outcome, plan, require_data, run
from lstm_jax.spec import from_function
from lstm_jax.summary import Curve, summarise
from lstm_jax.sweep import Settings, make_sweep, trial_ids
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import require_whole
from lstm_jax.trial import Catalogue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAPS = (5, 10, 20, 40, 80, 160)


class Measurement(NamedTuple):
    """What `measure_horizon` returns.

    Attributes:
      records: what was written, a `results.Record` a trial.
      curves: the summary of each cell, with its horizon.
      outcome: how many trials were trained, and how long it took.
    """

    records: list[Record]
    curves: list[Curve]
    outcome: Outcome

    @property
    def rows(self) -> list[Row]:
        """Every row as a flat dict, for `pandas.DataFrame`."""
        return [row for record in self.records for row in record.lines]

    @property
    def table(self) -> str:
        """The horizons as text."""
        return table.text(self.curves)

    @property
    def figure(self) -> "Figure":
        """Accuracy and share solved against gap."""
        return figures.accuracy_figure(self.curves)


def measure_horizon(
    cell: str | Callable | Sequence[str | Callable],
    *,
    task: str = "recall",
    gaps: Sequence[int] = GAPS,
    seeds: int = 6,
    learning_rates: Sequence[float] = (3e-3,),
    train_gaps: str = "",
    updates: int = 600,
    results_dir: epath.PathLike | None = None,
    settings: Settings | None = None,
    catalogue: Catalogue | None = None,
    compile_cache: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> Measurement:
    """Trains cells at every gap from several seeds, and says how far back each remembers.

    In a notebook::

        measured = lstm_jax.measure_horizon(["lstm:init=chrono", my_cell], gaps=(5, 20, 80))
        print(measured.table)
        measured.figure

    Args:
      cell: specs (`"lstm:forget_bias=3"`) or constructors of your own, one or several.
      task: spec of the task.
      gaps: in steps, each at least 1.
      seeds: how many; under 5 no interval is given.
      learning_rates: each runs with every seed; a seed is read at the rate that the others choose.
      train_gaps: gaps that each network is trained on, to be asked at all of `gaps`, as
        `uniform:1-40`; empty for one network a gap, trained there.
      updates: budget of a trial, a multiple of `settings.eval_every`.
      results_dir: where rows are kept; what has ended there is not run again. None keeps nothing.
      settings: what all trials share.
      catalogue: what specs are read against; the built-in cells and tasks if None.
      compile_cache: directory of compiled programs; empty for the default one, `off` for none.
      stop: asked between chunks; True ends the run, with everything saved.

    Raises:
      InputError: a spec, gap, cell or combination that cannot be; the message says what is allowed.
        Data that a person must prepare and has not; the message is the command.
      OSError: rows cannot be written.
    """
    backend.set_up(compile_cache)
    settings = Settings() if settings is None else settings
    require_whole("seeds", seeds, 1)
    require_whole("updates", updates, 1)
    for name, values in (("gaps", gaps), ("learning_rates", learning_rates)):
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise InputError(f"{name}={values!r}: must be a list or a tuple")
    if updates % settings.eval_every:
        raise InputError(f"updates={updates}: must be a multiple of {settings.eval_every}")
    given = [cell] if isinstance(cell, str) or callable(cell) else list(cell)
    own = [from_function(one) for one in given if callable(one)]
    for file in own:
        check_structure(file.constructor)
    if own and catalogue is not None:
        raise InputError("cell: give constructors or a catalogue that has them, not both")
    if catalogue is None:
        catalogue = Catalogue(MODELS, TASKS, own_cells=own)
    trials = make_sweep(
        catalogue,
        task=task,
        cells=[one if isinstance(one, str) else one.__name__ for one in given],
        gaps=gaps,
        seeds=range(seeds),
        learning_rates=learning_rates,
        settings=settings,
        train_gaps=train_gaps,
    )
    require_data(trials, catalogue)
    with contextlib.ExitStack() as stack:
        if results_dir is None:
            results_dir = stack.enter_context(tempfile.TemporaryDirectory())
        directory = storage.usable_directory(results_dir)
        bar = stack.enter_context(Bar())
        plan(trials, directory, catalogue)
        outcome = run(
            trials,
            directory,
            updates=updates,
            catalogue=catalogue,
            match=settings.described_match(),
            bar=bar,
            stop=stop,
        )
        records = results.read_directory(directory, trial_ids(trials, catalogue))
    return Measurement(records, summarise(records), outcome)
