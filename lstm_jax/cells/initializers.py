"""How kernels and biases start, for all cells.

Kernels are `[rows, columns]` and multiply from the right (`inputs @ kernel`); gated cells keep the
kernels of all gates side by side, `[rows, gates * hidden]`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lstm_jax.arrays import Kernel, Key, Vector
from lstm_jax.errors import InputError

LARGEST = 3e38  # of float32, about
DEFAULT_TIME_SCALE = 200.0  # steps; one scale for every gap


def scaled_normal(key: Key, rows: int, columns: int) -> Kernel:
    """N(0, 1/rows): keeps the variance of unit-variance inputs."""
    return jax.random.normal(key, (rows, columns)) * rows**-0.5


def orthogonal_blocks(
    key: Key, size: int, blocks: int, gain: float = 1.0, *, rows: int | None = None
) -> Kernel:
    """`blocks` independent orthogonal matrices times `gain`, side by side: `[size, blocks*size]`
    (Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning"). With fewer `rows`
    these are orthonormal."""
    draw = jax.nn.initializers.orthogonal(scale=gain)
    shape = (size if rows is None else rows, size)
    kernels = [draw(block_key, shape) for block_key in jax.random.split(key, blocks)]
    return jnp.concatenate(kernels, axis=1)


def pytorch_uniform(key: Key, shape: tuple[int, ...], hidden_size: int) -> jax.Array:
    """U(-1/sqrt(hidden), 1/sqrt(hidden)), as every parameter of `torch.nn.RNN`, `LSTM`, `GRU`."""
    bound = hidden_size**-0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def pytorch_bias(key: Key, width: int, hidden_size: int) -> Vector:
    """The sum of PyTorch's two biases, which enter its cells only as their sum."""
    return pytorch_uniform(key, (2, width), hidden_size).sum(axis=0)


def chrono_forget_bias(key: Key, hidden_size: int, time_scale: float) -> Vector:
    """log U(1, T-1) for T = `time_scale` steps (Tallec & Ollivier 2018, section 3): a forget gate
    of bias b keeps its memory for about exp(b) steps. Below T = 2 every bias is zero."""
    draws = jax.random.uniform(key, (hidden_size,), minval=1.0, maxval=max(time_scale - 1.0, 1.0))
    return jnp.log(draws)


def uniform_gate_bias(key: Key, hidden_size: int) -> Vector:
    """log(u / (1 - u)) for u ~ U(1/d, 1 - 1/d) and d = `hidden_size`, so that the gate starts
    uniform (Gu et al. 2020). A single unit starts at 0."""
    edge = 1 / max(hidden_size, 2)
    draws = jax.random.uniform(key, (hidden_size,), minval=edge, maxval=1 - edge)
    return jnp.log(draws) - jnp.log1p(-draws)


def gate_biases(
    init: str, forget_bias: float | None, time_scale: float | None, default: float = 1.0
) -> Callable[[Key, int], tuple[Vector, Vector]]:
    """How forget and input gates start: `(key, hidden_size) -> (b_f, b_i)`.

    Args:
      init: with `chrono`, b_f ~ log U(1, T-1) and b_i = -b_f for T = `time_scale`, by default 200
        (Tallec & Ollivier 2018); otherwise b_f = `forget_bias` and b_i = 0.
      forget_bias: an option of the cell; None for `default`.
      time_scale: an option of the cell.
      default: b_f where neither is given.

    Raises:
      InputError: an option that `init` does not take, or one that is not finite.
    """
    if init == "chrono":
        if forget_bias is not None:
            raise InputError(f"forget_bias={forget_bias}: init=chrono sets it; leave it out")
        scale = DEFAULT_TIME_SCALE if time_scale is None else time_scale
        require_positive("time_scale", scale)
    elif time_scale is not None:
        raise InputError(f"time_scale={time_scale}: taken only with init=chrono")
    bias = default if forget_bias is None else forget_bias
    require_finite("forget_bias", bias)

    def draw(key, hidden_size):
        if init == "chrono":
            forget = chrono_forget_bias(key, hidden_size, scale)
            return forget, -forget
        return jnp.full(hidden_size, float(bias)), jnp.zeros(hidden_size)

    return draw


def require_positive(name: str, value: float) -> None:
    """Raises InputError, in one line, where `value` is not a finite number above zero."""
    if not 0 < value <= LARGEST:
        raise InputError(f"{name}={value}: must be a finite number above 0")


def require_at_least(name: str, value: int, least: int, most: int = 10_000) -> None:
    """Raises InputError, in one line, where `value` is below `least`, or above `most`, more than
    can be built."""
    if value < least:
        raise InputError(f"{name}={value}: must be at least {least}")
    if value > most:
        raise InputError(f"{name}={value}: must be at most {most:,}")


def require_rate(name: str, value: float) -> None:
    """Raises InputError, in one line, where `value` is not a probability below 1."""
    if not 0 <= value < 1:
        raise InputError(f"{name}={value}: must be at least 0 and below 1")


def require_finite(name: str, value: float) -> None:
    """Raises InputError, in one line, where `value` is not a finite number."""
    if not -LARGEST <= value <= LARGEST:
        raise InputError(f"{name}={value}: must be a finite number")
