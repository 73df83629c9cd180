"""Writes a small task to start from: `python -m lstm_jax.tasks.new my_task.py`.

The file passes `python -m lstm_jax.tasks.check my_task.py` as it stands.
"""

import keyword
import os
import sys

from lstm_jax.errors import InputError
from lstm_jax.tasks import TASKS

TEMPLATE = '''"""The task {name}. What it must satisfy: python -m lstm_jax.tasks.check {name}.py"""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.tasks.base import Example, Task, classified, cross_entropy, require_whole


def {name}(gap: int, *, lead_in: int = 8) -> Task:
    """Was the pulse up or down? At gap 3, after a lead-in of 1 step::

        step       0    1    2    3    4
        value     .2   -1  -.4   .3   .1     noise in [-0.5, 0.5] and a pulse of 1 or -1
        question   0    0    0    0    1
        target                         0     down; 1 is up

    Args:
      gap: steps from the pulse to the question.
      lead_in: longest lead-in, in steps.
    """
    require_whole("gap", gap, 1)
    require_whole("lead_in", lead_in, 0)
    length = lead_in + gap + 1

    def sample(data, key):
        noise_key, lead_key, pulse_key = jax.random.split(key, 3)
        values = jax.random.uniform(noise_key, (length,), jnp.float32, -0.5, 0.5)
        # The pulse stands at a random step, so that the clock does not tell where it is.
        pulse_time = jax.random.randint(lead_key, (), 0, lead_in + 1)
        up = jax.random.bernoulli(pulse_key)
        values = values.at[pulse_time].set(jnp.where(up, 1, -1))
        question = jnp.zeros(length, jnp.float32).at[pulse_time + gap].set(1)
        return Example(
            inputs=jnp.stack([values, question], axis=1),
            targets=up.astype(jnp.int32)[None],
            weights=jnp.ones(1, jnp.float32),  # one use
            info_times=pulse_time[None, None],  # the answer depends on this input alone
            use_times=pulse_time[None] + gap,
            lag=jnp.full(1, gap),
        )

    def oracle(inputs):
        return (jnp.max(inputs[:, 0]) == 1).astype(jnp.int32)[None]

    return Task(
        name="{name}",
        gap=gap,
        kind="dense",
        input_size=2,
        output_size=2,
        length=length,
        sample=sample,
        loss=cross_entropy,
        correct=classified,
        blind=np.zeros(2, np.float32),  # knows nothing: both answers as likely
        chance=1 / 2,
        blind_loss=float(np.log(2)),
        solved_at=0.95,
        oracle=oracle,
        fixed_position=lead_in == 0,
    )
'''


def write(path: str) -> str:
    """Writes the file and returns the task's name, which is the file's.

    Raises:
      InputError: not a possible name, the file exists, or it cannot be written.
    """
    name, extension = os.path.splitext(os.path.basename(path))
    if extension != ".py" or not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{path!r}: a task file is named <function>.py, such as my_task.py")
    if name in TASKS:
        raise InputError(f"{path!r}: a built-in task has this name; name the file otherwise")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(TEMPLATE.replace("{name}", name))
    except FileExistsError:
        raise InputError(f"{path!r}: exists already, and is left as it is") from None
    except OSError as error:
        raise InputError(f"{path!r}: cannot be written ({error.strerror})") from None
    return name


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m lstm_jax.tasks.new my_task.py", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        name = write(arguments[0])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {arguments[0]}. Next: python -m lstm_jax.tasks.check {arguments[0]}")
    print(f"then: python -m experiments.gap_sweep --task_file={arguments[0]} --task={name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
