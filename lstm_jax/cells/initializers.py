"""How kernels and biases start, for all cells.

Kernels are `[rows, columns]` and multiply from the right (`inputs @ kernel`); gated cells keep the
kernels of all gates side by side, `[rows, gates * hidden]`.
"""

import jax
import jax.numpy as jnp

from lstm_jax.arrays import Kernel, Key, Vector
from lstm_jax.errors import InputError


def scaled_normal(key: Key, rows: int, columns: int) -> Kernel:
    """N(0, 1/rows): keeps the variance of unit-variance inputs."""
    return jax.random.normal(key, (rows, columns)) * rows**-0.5


def orthogonal_blocks(key: Key, size: int, blocks: int, gain: float = 1.0) -> Kernel:
    """`blocks` independent orthogonal matrices times `gain`, side by side: `[size, blocks*size]`
    (Saxe et al. 2014, "Exact solutions to the nonlinear dynamics of learning")."""
    draw = jax.nn.initializers.orthogonal(scale=gain)
    kernels = [draw(block_key, (size, size)) for block_key in jax.random.split(key, blocks)]
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
    uniform (Gu et al. 2020, section 3.2). A single unit starts at 0."""
    edge = 1 / max(hidden_size, 2)
    draws = jax.random.uniform(key, (hidden_size,), minval=edge, maxval=1 - edge)
    return jnp.log(draws) - jnp.log1p(-draws)


def require(name: str, value: object, allowed: tuple) -> None:
    """Raises InputError, in one line, where `value` is not among `allowed`."""
    if value not in allowed:
        raise InputError(f"{name}={value}: allowed are {', '.join(map(str, allowed))}")


def require_positive(name: str, value: float) -> None:
    """Raises InputError, in one line, where `value` is not a finite number above zero."""
    if not 0 < value < float("inf"):
        raise InputError(f"{name}={value}: must be a finite number above 0")


def require_finite(name: str, value: float) -> None:
    """Raises InputError, in one line, where `value` is not a finite number."""
    if not -float("inf") < value < float("inf"):
        raise InputError(f"{name}={value}: must be a finite number")
