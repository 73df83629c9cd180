"""The gated recurrent unit, in the essay's sign."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import (
    gate_biases,
    orthogonal_blocks,
    pytorch_bias,
    pytorch_uniform,
    scaled_normal,
)
from lstm_jax.errors import require_among


class GRUParams(NamedTuple):
    """Gates side by side, in the order update, reset, candidate."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    gate_kernel: jax.Array  # [hidden, 2 * hidden], update and reset
    candidate_kernel: jax.Array  # [hidden, hidden]
    bias: jax.Array  # [3 * hidden]


class GRUResetAfterParams(NamedTuple):
    """As GRUParams; the candidate's recurrent bias stands inside the reset."""

    input_kernel: jax.Array  # [input, 3 * hidden]
    recurrent_kernel: jax.Array  # [hidden, 3 * hidden]
    bias: jax.Array  # [3 * hidden]
    candidate_bias: jax.Array  # [hidden]


class GRUCarry(NamedTuple):
    hidden: jax.Array  # [hidden]


def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset: Literal["before", "after"] = "before",
    init: Literal["orthogonal", "pytorch", "chrono"] = "orthogonal",
    time_scale: float | None = None,
) -> Cell:
    """GRU (Cho et al. 2014), with z in the essay's sense: z = 1 takes the candidate::

        z_t = sigmoid(x_t W_z + h_{t-1} U_z + b_z)
        r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)
        n_t = tanh(x_t W_n + (r_t h_{t-1}) U_n + b_n)                reset=before
        n_t = tanh(x_t W_n + r_t (h_{t-1} U_n + b_{hn}) + b_n)       reset=after
        h_t = (1 - z_t) h_{t-1} + z_t n_t

    Cho et al., PyTorch and Flax write the opposite sign (z = 1 keeps); negating the weights of z
    takes one to the other. `after` is the form of cuDNN, PyTorch and Flax.

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      reset: whether the reset gate acts before the recurrent product or after it.
      init: `orthogonal`, W ~ N(0, 1/input), every U_* orthogonal, biases zero; `pytorch`, all
        parameters U(±1/sqrt(hidden)) as in `torch.nn.GRU`, biases of gates the sum of its two;
        `chrono`, as `orthogonal` with b_z ~ -log U(1, T-1) for T = `time_scale` (Tallec & Ollivier
        2018).
      time_scale: T of `chrono`, in steps; default 200, one scale for every gap.

    Raises:
      InputError: an option outside what is named above, or one that `init` does not take.
    """
    require_among("reset", reset, ("before", "after"))
    require_among("init", init, ("orthogonal", "pytorch", "chrono"))
    biases = gate_biases(init, None, time_scale, default=0.0)

    def init_params(key):
        input_key, recurrent_key, bias_key, *candidate_keys = jax.random.split(key, 5)
        if init != "pytorch":
            input_kernel = scaled_normal(input_key, input_size, 3 * hidden_size)
            recurrent_kernel = orthogonal_blocks(recurrent_key, hidden_size, 3)
            # 1 - z is what forgets.
            _, update_bias = biases(bias_key, hidden_size)
            bias = jnp.zeros(3 * hidden_size).at[:hidden_size].set(update_bias)
            candidate_bias = jnp.zeros(hidden_size)
        else:
            input_kernel = pytorch_uniform(input_key, (input_size, 3 * hidden_size), hidden_size)
            recurrent_kernel = pytorch_uniform(
                recurrent_key, (hidden_size, 3 * hidden_size), hidden_size
            )
            bias = pytorch_bias(bias_key, 3 * hidden_size, hidden_size)
            candidate_bias = pytorch_uniform(candidate_keys[0], (hidden_size,), hidden_size)
            if reset == "after":
                # The candidate's two biases do not enter as a sum here, so each is drawn alone.
                alone = pytorch_uniform(candidate_keys[1], (hidden_size,), hidden_size)
                bias = bias.at[2 * hidden_size :].set(alone)
        if reset == "after":
            return GRUResetAfterParams(input_kernel, recurrent_kernel, bias, candidate_bias)
        gate_kernel, candidate_kernel = jnp.split(recurrent_kernel, [2 * hidden_size], axis=1)
        return GRUParams(input_kernel, gate_kernel, candidate_kernel, bias)

    def initial_carry(weights):
        return GRUCarry(hidden=jnp.zeros_like(weights.bias[:hidden_size]))

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.bias

    def advance(weights, carry, projected, dot):
        update, reset_gate, candidate = jnp.split(projected, 3)
        hidden = carry.hidden
        if reset == "before":
            recurrent = jnp.split(dot(hidden, weights.gate_kernel), 2)
        else:
            recurrent = jnp.split(dot(hidden, weights.recurrent_kernel), 3)
        update = jax.nn.sigmoid(update + recurrent[0])
        reset_gate = jax.nn.sigmoid(reset_gate + recurrent[1])
        if reset == "before":
            candidate = candidate + dot(reset_gate * hidden, weights.candidate_kernel)
        else:
            candidate = candidate + reset_gate * (recurrent[2] + weights.candidate_bias)
        hidden = (1 - update) * hidden + update * jnp.tanh(candidate)
        return GRUCarry(hidden), hidden, {"update": update, "reset": reset_gate}

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
