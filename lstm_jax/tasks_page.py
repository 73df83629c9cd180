"""Writes docs/tasks.md from the registry: `python -m lstm_jax.tasks_page > docs/tasks.md`.

What is on the page is read off the code, and lags off examples that are drawn.
"""

import math
import sys
from collections.abc import Callable

import jax
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.pages import section, table
from lstm_jax.tasks import TASKS, Example, Task
from lstm_jax.tasks.base import counted

# The first that a task takes is shown; the larger ones are for those that have no small gap.
GAPS = (20, 40, 100)
_DRAWN = 1024

_HEAD = f"""# Tasks

Every task that a sweep can name, with its layout; this page is made by `make docs` from the code.
Numbers are those of each task with its default options at the gap shown, lags and spans the least
and the largest among {_DRAWN:,} examples.

- *gap*: what a sweep varies: the smallest lag in steps, or the length where that is said.
- *lag*: of an answer, the steps since the last input that it depends on.
- *span*: the steps since the first one.
- *chance*: accuracy of the best guess of who sees nothing; *blind loss*: the lowest loss without
  seeing anything, in nats or squared units.
- *solved at*: accuracy on the report set from which on a trial counts as solved: 0.9 for all, so
  that horizons compare, but for tasks that give another with its reason.
- *ceiling*: accuracy of the best that can be; below 1 where noise may mislead it.
- *data*: what hangs on the data set, and is in every results row.
"""


def lags(task: Task) -> tuple[str, str]:
    """Lags and spans over drawn examples, as `20` or `20-45`; of data that a person must prepare
    over zeros instead, so that the page can be made without them. Language modelling has neither.
    """
    if task.gap is None:
        return "-", "-"
    sample = jax.jit(jax.vmap(task.sample, in_axes=(None, 0)))
    data = task.load() if task.zero_data is None else task.zero_data()
    example = sample(data, jax.random.split(jax.random.key(0), _DRAWN))
    asked = np.asarray(counted(task, example)) > 0
    example = Example(*map(np.asarray, example))
    steps = example.info_times
    first = np.where(steps >= 0, steps, task.length).min(axis=-1)
    return _range(example.lag[asked]), _range((example.use_times - first)[asked])


def _range(values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low}-{high}"


def _number(value: float, form: str) -> str:
    return "*data*" if math.isnan(value) else format(value, form)


def _shown(constructor: Callable[..., Task]) -> Task:
    for gap in GAPS:
        try:
            return constructor(gap)
        except InputError as error:
            refused = error
    raise refused


def markdown() -> str:
    """The page."""
    rows = [
        ("task", "gap", "length", "lag", "span", "chance", "blind loss", "solved at", "ceiling"),
        ("---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:"),
    ]
    shown = {name: _shown(constructor) for name, constructor in TASKS.items()}
    for name, task in shown.items():
        swept = task.gap if task.swept_by == "gap" else f"length {task.length}"
        rows.append(
            (
                f"[`{name}`](#{name})",
                swept,
                task.length,
                *lags(task),
                _number(task.chance, ".3g"),
                _number(task.blind_loss, ".4g"),
                _number(task.solved_at, "g"),
                f"{task.ceiling:g}",
            )
        )
    lines = [_HEAD, *table(rows), ""]
    for name, task in shown.items():
        what = "symbols" if task.kind == "tokens" else "features a step"
        fact = f"Inputs: {task.input_size} {what}. Outputs: {task.output_size}."
        lines += section(name, TASKS[name], fact)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
