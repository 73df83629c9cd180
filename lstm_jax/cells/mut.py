"""MUT1, MUT2 and MUT3: what a search over ten thousand architectures found."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import gate_biases, orthogonal_blocks, scaled_normal
from lstm_jax.errors import require_among

Init = Literal["orthogonal", "chrono"]


class MUTParams(NamedTuple):
    """Side by side, in the order z, r, candidate. `gate_kernel` is of r alone in MUT1, else of z
    and r. The columns of `input_kernel` that belong to P x are those that stand for x itself."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    gate_kernel: jax.Array  # [hidden, hidden] or [hidden, 2 * hidden]
    candidate_kernel: jax.Array  # [hidden, hidden]
    bias: jax.Array  # [3 * hidden]


class MUTCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def mut1(
    input_size: int, hidden_size: int, *, init: Init = "orthogonal", time_scale: float | None = None
) -> Cell:
    """MUT1 (Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network
    architectures")::

        z_t = sigmoid(x_t W_z + b_z)
        r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        h_t = tanh((r_t h_{t-1}) U_h + tanh(x_t P) + b_h) z_t + h_{t-1} (1 - z_t)

    Args:
      input_size: features of one input; P projects them, as in the paper where sizes differ.
      hidden_size: units; also the size of the output, which is h_t.
      init: W, P ~ N(0, 1/input), every U_* orthogonal, biases zero; `chrono`, b_z ~ -log U(1, T-1)
        for T = `time_scale`.
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    return _mut(1, input_size, hidden_size, init, time_scale)


def mut2(
    input_size: int, hidden_size: int, *, init: Init = "orthogonal", time_scale: float | None = None
) -> Cell:
    """MUT2 (Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network
    architectures")::

        z_t = sigmoid(x_t W_z + h_{t-1} U_z + b_z)
        r_t = sigmoid(x_t P + h_{t-1} U_r + b_r)
        h_t = tanh((r_t h_{t-1}) U_h + x_t W_h + b_h) z_t + h_{t-1} (1 - z_t)

    Args:
      input_size: features of one input; P projects them, as in the paper where sizes differ.
      hidden_size: units; also the size of the output, which is h_t.
      init: W, P ~ N(0, 1/input), every U_* orthogonal, biases zero; `chrono`, b_z ~ -log U(1, T-1)
        for T = `time_scale`.
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    return _mut(2, input_size, hidden_size, init, time_scale)


def mut3(
    input_size: int, hidden_size: int, *, init: Init = "orthogonal", time_scale: float | None = None
) -> Cell:
    """MUT3 (Jozefowicz, Zaremba & Sutskever 2015, "An empirical exploration of recurrent network
    architectures")::

        z_t = sigmoid(x_t W_z + tanh(h_{t-1}) U_z + b_z)
        r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        h_t = tanh((r_t h_{t-1}) U_h + x_t W_h + b_h) z_t + h_{t-1} (1 - z_t)

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      init: W ~ N(0, 1/input), every U_* orthogonal, biases zero; `chrono`, b_z ~ -log U(1, T-1)
        for T = `time_scale`.
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    return _mut(3, input_size, hidden_size, init, time_scale)


def _mut(number: int, input_size: int, hidden_size: int, init: str, time_scale: float | None):
    require_among("init", init, ("orthogonal", "chrono"))
    biases = gate_biases(init, None, time_scale)

    def init_params(key):
        input_key, recurrent_key, bias_key = jax.random.split(key, 3)
        # 1 - z is what forgets.
        _, update_bias = biases(bias_key, hidden_size)
        recurrent_kernel = orthogonal_blocks(recurrent_key, hidden_size, 2 if number == 1 else 3)
        gate_kernel, candidate_kernel = jnp.split(
            recurrent_kernel, [recurrent_kernel.shape[1] - hidden_size], axis=1
        )
        return MUTParams(
            scaled_normal(input_key, input_size, 3 * hidden_size),
            gate_kernel,
            candidate_kernel,
            jnp.concatenate([update_bias, jnp.zeros(2 * hidden_size)]),
        )

    def initial_carry(weights):
        return MUTCarry(hidden=jnp.zeros_like(weights.bias[:hidden_size]))

    def project(weights, inputs, key):
        del key
        seen = inputs @ weights.input_kernel
        if number == 1:
            seen = seen.at[2 * hidden_size :].set(jnp.tanh(seen[2 * hidden_size :]))
        return seen + weights.bias

    def advance(weights, carry, projected, dot):
        hidden = carry.hidden
        update, reset, candidate = jnp.split(projected, 3)
        if number == 1:
            reset = reset + dot(hidden, weights.gate_kernel)
        elif number == 2:
            recurrent = jnp.split(dot(hidden, weights.gate_kernel), 2)
            update, reset = update + recurrent[0], reset + recurrent[1]
        else:
            kernels = jnp.split(weights.gate_kernel, 2, axis=1)
            update = update + dot(jnp.tanh(hidden), kernels[0])
            reset = reset + dot(hidden, kernels[1])
        update, reset = jax.nn.sigmoid(update), jax.nn.sigmoid(reset)
        candidate = jnp.tanh(candidate + dot(reset * hidden, weights.candidate_kernel))
        hidden = update * candidate + (1 - update) * hidden
        return MUTCarry(hidden), hidden, {"update": update, "reset": reset}

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
