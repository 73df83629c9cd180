"""Writes a small task to start from: `python -m lstm_jax.tasks.new my_task.py`.

The file passes `python -m lstm_jax.tasks.check my_task.py` as it stands. Exit status 0 where it was
written, 2 where it was not; a file that exists is left alone.
"""

import sys

from lstm_jax.starter import Starter
from lstm_jax.tasks import TASKS

TEMPLATE = '''"""The task NAME. What it must satisfy: python -m lstm_jax.tasks.check NAME.py"""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.tasks.base import Example, Task, classified, cross_entropy, require_whole


def NAME(gap: int, *, lead_in: int = 8) -> Task:
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
        name="NAME",
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

STARTER = Starter("task", TEMPLATE, TASKS)

if __name__ == "__main__":
    sys.exit(STARTER.main(sys.argv[1:]))
