"""Grid LSTM: memory along depth as along time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import (
    orthogonal_blocks,
    require_at_least,
    require_finite,
    scaled_normal,
)


class GridLSTMParams(NamedTuple):
    """Of the two dimensions time and depth; gates side by side, in the order input, forget,
    output, candidate. H is [h of time; h of depth]."""

    input_kernel: jax.Array  # [input, 2 * hidden], to h and m of depth below the lowest layer
    input_bias: jax.Array  # [2 * hidden]
    kernel: jax.Array  # [layers or 1, 2 * hidden, 2 * 4 * hidden], time first
    bias: jax.Array  # [layers or 1, 2 * 4 * hidden]


class GridLSTMCarry(NamedTuple):
    hidden: jax.Array  # [layers, hidden], of the time dimension
    memory: jax.Array  # [layers, hidden]


def grid_lstm(
    input_size: int,
    hidden_size: int,
    *,
    layers: int = 2,
    tied: bool = False,
    forget_bias: float = 1.0,
) -> Cell:
    """Grid LSTM with the two dimensions time and depth (Kalchbrenner, Danihelka & Graves 2015,
    "Grid long short-term memory"), for each layer and each dimension d::

        H = [h_time; h_depth]
        u = sigmoid(H W_u^d + b),  f = sigmoid(H W_f^d + b),  o = sigmoid(H W_o^d + b)
        m_d' = f m_d + u tanh(H W_c^d + b)
        h_d' = tanh(o m_d')

    h_time, m_time come from the step before, h_depth, m_depth from the layer below; below the
    lowest layer both are projections of x_t. The output is h_depth of the last layer. (The form of
    h' is the paper's; much code has o tanh(m').)

    Args:
      input_size: features of one input.
      hidden_size: units of each h and m; also the size of the output.
      layers: at least 1.
      tied: whether all layers share their weights, as in the paper's tied model.
      forget_bias: of both dimensions at the start; other biases zero, W orthogonal by blocks, the
        projections N(0, 1/input).

    Raises:
      InputError: fewer than one layer or more than 64, or a forget bias that is not finite.
    """
    require_at_least("layers", layers, 1, most=64)
    require_finite("forget_bias", forget_bias)
    kernels = 1 if tied else layers

    def init(key):
        input_key, recurrent_key = jax.random.split(key)
        # Columns of each block are orthonormal.
        drawn = [
            orthogonal_blocks(k, hidden_size, 8, rows=2 * hidden_size)
            for k in jax.random.split(recurrent_key, kernels)
        ]
        gates = jnp.zeros((2, 4, hidden_size)).at[:, 1].set(forget_bias).reshape(-1)
        return GridLSTMParams(
            scaled_normal(input_key, input_size, 2 * hidden_size),
            jnp.zeros(2 * hidden_size),
            jnp.stack(drawn),
            jnp.stack([gates] * kernels),
        )

    def initial_carry(weights):
        zeros = jnp.zeros((layers, hidden_size), weights.bias.dtype)
        return GridLSTMCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights.input_kernel + weights.input_bias

    def advance(weights, carry, projected, dot):
        depth_hidden, depth_memory = jnp.split(projected, 2)
        hiddens, memories, gates = [], [], {}
        for layer in range(layers):
            shared = 0 if tied else layer
            joined = jnp.concatenate([carry.hidden[layer], depth_hidden])
            driven = dot(joined, weights.kernel[shared]) + weights.bias[shared]
            of_dimension = {}
            for name, part, memory in zip(
                ("time", "depth"),
                jnp.split(driven, 2),
                (carry.memory[layer], depth_memory),
                strict=True,
            ):
                update, forget, output, candidate = jnp.split(part, 4)
                update, forget, output = map(jax.nn.sigmoid, (update, forget, output))
                after = forget * memory + update * jnp.tanh(candidate)
                of_dimension[name] = jnp.tanh(output * after), after
                gates |= {
                    f"{name}_update_{layer + 1}": update,
                    f"{name}_forget_{layer + 1}": forget,
                    f"{name}_output_{layer + 1}": output,
                }
            hidden, memory = of_dimension["time"]
            depth_hidden, depth_memory = of_dimension["depth"]
            hiddens.append(hidden)
            memories.append(memory)
        return GridLSTMCarry(jnp.stack(hiddens), jnp.stack(memories)), depth_hidden, gates

    step, gates = gated(advance)
    return Cell(init, initial_carry, project, step, hidden_size, gates=gates)
