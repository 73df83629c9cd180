"""Sequences of a task that are long enough to look far back in."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.arrays import Array, PyTree
from lstm_jax.errors import InputError
from lstm_jax.tasks.base import Task, counted, evaluation_set, loaded
from lstm_jax.training import build_task
from lstm_jax.trial import Catalogue, Trial

# Steps before the carry at the largest lag, so that it is not the initial one.
WARM_UP = 32
_TRIED = 64  # gaps from the smallest that would be long enough, where a task cannot have that


class Sequences(NamedTuple):
    """Examples of a task, each with the step at which it is asked.

    Attributes:
      inputs: as the network takes them, batched.
      last: T, the step of the last use that counts, `[batch]`.
      use: which of the uses that is, `[batch]`.
      targets: of all uses, `[batch, uses, ...]`.
    """

    inputs: Array
    last: Array
    use: Array
    targets: Array


def sequences(task: Task, data: PyTree, examples: int) -> Sequences:
    """The first `examples` of the task's monitor set."""
    drawn = evaluation_set(task, data, "monitor")
    drawn = jax.tree.map(lambda leaf: leaf[:examples], drawn)
    counts = jax.vmap(partial(counted, task))(drawn)
    times = jnp.where(counts > 0, drawn.use_times, -1)
    use = jnp.argmax(times, axis=1)
    last = jnp.take_along_axis(times, use[:, None], axis=1)[:, 0]
    return Sequences(drawn.inputs, last, use, drawn.targets)


def long_sequences(
    trial: Trial, catalogue: Catalogue, longest: int, examples: int
) -> tuple[int, Sequences]:
    """Sequences with at least `longest` + `WARM_UP` steps before the one at which they are asked,
    and the gap of the task that has them: the smallest that will do, or else the trial's own.

    Raises:
      InputError: the task has none.
    """
    steps = longest + WARM_UP
    for gap in (*range(steps, steps + _TRIED), trial.gap):
        try:
            task = build_task(catalogue, trial.task, gap)
        except InputError:
            continue
        if task.length > steps:
            found = sequences(*loaded(task), examples)
            if int(found.last.min()) >= steps:
                return gap, found
    raise InputError(
        f"lag {longest}: no sequences of {trial.task} have that many steps, and {WARM_UP} before"
    )
