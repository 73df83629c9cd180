"""A recurrent network whose matrix is orthogonal before, during and after training."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import scaled_normal
from lstm_jax.errors import require_among


class OrthogonalRNNParams(NamedTuple):
    input_kernel: jax.Array  # [input, hidden]
    skew: jax.Array  # [hidden * (hidden - 1) / 2], A above its diagonal, row by row
    bias: jax.Array  # [hidden], of modReLU or of tanh


class OrthogonalRNNWeights(NamedTuple):
    input_kernel: jax.Array  # [input, hidden]
    recurrent_kernel: jax.Array  # [hidden, hidden], orthogonal
    bias: jax.Array  # [hidden]


class OrthogonalRNNCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def orthogonal_rnn(
    input_size: int,
    hidden_size: int,
    *,
    activation: Literal["modrelu", "tanh", "linear"] = "modrelu",
    init: Literal["henaff", "cayley"] = "henaff",
) -> Cell:
    """Orthogonal RNN (expRNN: Lezcano-Casado & Martinez-Rubio 2019, "Cheap orthogonal constraints
    in neural networks")::

        U = exp(A - A^T)                             A strictly upper triangular
        h_t = modrelu(x_t W + h_{t-1} U; b)
        modrelu(z; b) = sign(z) relu(|z| + b)        (Arjovsky, Shah & Bengio 2016)

    U is orthogonal whatever A is, so that no training step leads away from it.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      activation: `modrelu`, or `tanh` or `linear` of x_t W + h_{t-1} U + b.
      init: of A - A^T, a chain of 2 x 2 blocks [[0, s], [-s, 0]]: `henaff`, s ~ U(-pi, pi) (Henaff,
        Szlam & LeCun 2016); `cayley`, s = -sqrt((1 - cos u) / (1 + cos u)), u ~ U(0, pi/2)
        (Helfrich, Willmott & Ye 2018). W ~ N(0, 1/input), b = 0.

    Raises:
      InputError: an option outside what is named above.
    """
    require_among("activation", activation, ("modrelu", "tanh", "linear"))
    require_among("init", init, ("henaff", "cayley"))
    rows, columns = (index.astype(np.int32) for index in np.triu_indices(hidden_size, 1))

    def init_params(key):
        input_key, angle_key = jax.random.split(key)
        if init == "henaff":
            angles = jax.random.uniform(
                angle_key, (hidden_size // 2,), minval=-jnp.pi, maxval=jnp.pi
            )
        else:
            draws = jax.random.uniform(angle_key, (hidden_size // 2,), maxval=jnp.pi / 2)
            angles = -jnp.sqrt((1 - jnp.cos(draws)) / (1 + jnp.cos(draws)))
        first = np.flatnonzero((rows % 2 == 0) & (columns == rows + 1))
        return OrthogonalRNNParams(
            scaled_normal(input_key, input_size, hidden_size),
            jnp.zeros(len(rows)).at[first].set(angles),
            jnp.zeros(hidden_size),
        )

    def prepare(params):
        upper = jnp.zeros((hidden_size, hidden_size), params.skew.dtype)
        upper = upper.at[rows, columns].set(params.skew)
        rotation = jax.scipy.linalg.expm(upper - upper.T)
        return OrthogonalRNNWeights(params.input_kernel, rotation, params.bias)

    def initial_carry(weights):
        return OrthogonalRNNCarry(hidden=jnp.zeros_like(weights.bias))

    def project(weights, inputs, key):
        del key
        projected = inputs @ weights.input_kernel
        return projected if activation == "modrelu" else projected + weights.bias

    def step(weights, carry, projected, dot=jnp.matmul):
        hidden = projected + dot(carry.hidden, weights.recurrent_kernel)
        if activation == "modrelu":
            hidden = jnp.sign(hidden) * jax.nn.relu(jnp.abs(hidden) + weights.bias)
        elif activation == "tanh":
            hidden = jnp.tanh(hidden)
        return OrthogonalRNNCarry(hidden), hidden

    return Cell(init_params, initial_carry, project, step, hidden_size, prepare)
