"""Tasks: one a file, and `TASKS`, the only list of them."""

from lstm_jax.tasks.adding import adding
from lstm_jax.tasks.base import Example, Task, TaskConstructor
from lstm_jax.tasks.digits import digits
from lstm_jax.tasks.recall import recall

TASKS: dict[str, TaskConstructor] = {
    "adding": adding,
    "digits": digits,
    "recall": recall,
}

__all__ = ["TASKS", "Example", "Task", "adding", "digits", "recall"]
