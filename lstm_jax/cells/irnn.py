"""IRNN: a ReLU network that starts as the identity."""

import jax

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import require_positive
from lstm_jax.cells.rnn import RNNParams, rnn


def irnn(
    input_size: int, hidden_size: int, *, gain: float = 1.0, input_scale: float = 0.001
) -> Cell:
    """IRNN (Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified
    linear units")::

        h_t = relu(x_t W + h_{t-1} U + b),  U = identity at the start

    Args:
      input_size: features of one input.
      hidden_size: units; also the size of the output, which is h_t.
      gain: U starts as `gain` times the identity (the paper: 0.01 for a task without long gaps).
      input_scale: standard deviation of W at the start (the paper's 0.001). b starts at zero.

    Raises:
      InputError: a gain or scale that is not a finite number above 0.
    """
    require_positive("input_scale", input_scale)
    cell = rnn(input_size, hidden_size, activation="relu", recurrent_init="identity", gain=gain)

    def init(key):
        params = cell.init(key)
        draws = jax.random.normal(key, (input_size, hidden_size))
        return RNNParams(input_scale * draws, params.recurrent_kernel, params.bias)

    return cell._replace(init=init)
