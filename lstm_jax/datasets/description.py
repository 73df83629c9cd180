"""What is told of exported and frozen sets beside their arrays."""

import jax.numpy as jnp
import numpy as np

import lstm_jax
from lstm_jax.tasks.base import Example, Task, counted, stop_at


def of_task(task: Task, spec: str, options: dict, argument: int, targets: jnp.dtype) -> dict:
    """What holds for every example of a task at one gap.

    Args:
      task: the task.
      spec: as it was asked for.
      options: all of them, resolved.
      argument: of its constructor.
      targets: dtype of an example's targets.
    """
    return {
        "task": spec,
        "options": options,
        "swept_by": task.swept_by,
        "gap": argument,
        "kind": task.kind,
        "input_size": task.input_size,
        "output_size": task.output_size,
        "length": task.length,
        "chance": task.chance,
        "blind_loss": task.blind_loss,
        "solved_at": task.solved_at,
        "stop_at": stop_at(task),
        "ceiling": task.ceiling,
        "counted_from": task.counted_from,
        "tolerance": None if jnp.issubdtype(targets, jnp.integer) else _tolerance(task),
        "licence": task.licence,
        "made_by": f"lstm_jax {lstm_jax.__version__}",
    }


def of_examples(task: Task, example: Example) -> dict:
    """What a batch of examples is: their number, shapes and dtypes, and the lags of answers."""
    lags = np.asarray(example.lag)[np.asarray(counted(task, example)) > 0]
    return {
        "examples": len(example.inputs),
        "arrays": {
            name: {"shape": list(np.shape(leaf)), "dtype": str(np.asarray(leaf).dtype)}
            for name, leaf in example._asdict().items()
        },
        "lags": [int(lags.min()), int(lags.max())] if lags.size else None,
    }


def _tolerance(task: Task) -> float:
    """By how much an answer may be wrong and count as right."""
    target = jnp.zeros(task.output_size)
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        right = bool(task.correct(target + jnp.float32(middle), target))
        low, high = (middle, high) if right else (low, middle)
    return float(f"{high:.4g}")
