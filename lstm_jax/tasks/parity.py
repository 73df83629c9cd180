"""Parity: was the number of ones odd?"""

import jax
import jax.numpy as jnp

from lstm_jax.tasks.base import Example, Task, below, classification, require_whole


def parity(gap: int) -> Task:
    """Whether an odd number of the bits so far are 1, asked at the last of them::

        step     0  1  2  3  4
        input    1  0  0  1  1
        target               1

    Every bit changes the answer, so there is no lag to speak of: the argument is the length, and
    the whole sequence is the span (Bengio, Simard & Frasconi 1994; Hochreiter & Schmidhuber 1996).
    A cell that cannot change its state by what it holds, such as a linear one, cannot solve it at
    all lengths.

    Args:
      gap: the length, in steps.

    Raises:
      InputError: a length below 2.
    """
    require_whole("length", gap, 2)

    def sample(data, key):
        del data
        bits = below(jax.random.bits(key, (gap,)), 2)
        return Example(
            inputs=bits,
            targets=(jnp.sum(bits) % 2)[None],
            weights=jnp.ones(1),
            info_times=jnp.arange(gap, dtype=jnp.int32)[None],
            use_times=jnp.full(1, gap - 1, jnp.int32),
            lag=jnp.zeros(1, jnp.int32),
        )

    return classification(
        classes=2,
        name="parity",
        gap=0,
        kind="tokens",
        input_size=2,
        length=gap,
        sample=sample,
        oracle=lambda inputs: (jnp.sum(inputs) % 2)[None],
        swept_by="length",
        fixed_position=True,
    )
