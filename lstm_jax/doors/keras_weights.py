"""Weights of Keras's `SimpleRNN`, `LSTM` and `GRU`, in and out, as lists of arrays; needs no Keras.

Keras's kernels and its gates i, f, c, o are ours. A GRU's z keeps where ours takes the candidate;
with `reset_after` its bias has two rows, one within the reset gate.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lstm_jax.arrays import PyTree
from lstm_jax.cells.gru import GRUParams, GRUResetAfterParams
from lstm_jax.cells.lstm import LSTMParams
from lstm_jax.cells.rnn import RNNParams
from lstm_jax.doors.weights import Imported, cell_of, float32, opposite, require_shape
from lstm_jax.errors import InputError, require_among

Kind = Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def from_keras(
    weights: Sequence[Sequence[np.ndarray]], *, kind: Kind, reset_after: bool = True
) -> Imported:
    """Cells and parameters that compute what the Keras layers do in evaluation.

    Args:
      weights: `layer.get_weights()` of each layer, from first to last; of a `Bidirectional` one
        those of both directions in one list, as it gives them.
      kind: `lstm`, `gru`, or `rnn_tanh`, `rnn_relu` by the activation. Other activations, and a
        recurrent one that is no sigmoid, have no counterpart.
      reset_after: as the GRU has it.

    Raises:
      InputError: another number of arrays, another shape, or what is no finite float.
    """
    require_among("kind", kind, tuple(_GATES))
    if not weights:
        raise InputError("weights: no layers; give get_weights() of at least one")
    params = []
    for index, given in enumerate(weights):
        name = f"weights[{index}]"
        if len(given) not in (2, 3, 4, 6):
            raise InputError(
                f"{name}: holds {len(given)} arrays; must be kernel, recurrent kernel and bias (or "
                "no bias), once or for two directions"
            )
        arrays = [float32(value, f"{name}[{at}]") for at, value in enumerate(given)]
        ways = (
            [arrays]
            if len(arrays) < 4
            else [arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]]
        )
        params.append(tuple(_params_in(way, name, kind, reset_after) for way in ways))
    activation = "relu" if kind == "rnn_relu" else "tanh"
    cells = tuple(tuple(cell_of(one, activation=activation) for one in own) for own in params)
    return Imported(cells, tuple(params))


def to_keras(params: Sequence[Sequence[PyTree]]) -> list[list[np.ndarray]]:
    """Lists for `layer.set_weights(...)`, one a layer.

    Args:
      params: by layer and direction, as `Imported.params`: of `lstm`, `rnn` or `gru` (with
        `reset="after"` for Keras's `reset_after=True`).

    Raises:
      InputError: parameters that Keras has no place for, such as those of a projection.
    """
    return [[array for one in own for array in _params_out(one)] for own in params]


def _params_in(arrays: list[np.ndarray], name: str, kind: Kind, reset_after: bool) -> PyTree:
    gates = _GATES[kind]
    kernel, recurrent = arrays[:2]
    if kernel.ndim != 2 or kernel.shape[1] % gates or not kernel.size:
        shape = list(kernel.shape)
        raise InputError(f"{name}[0]: has shape {shape}; must be [input, {gates} * hidden]")
    width = kernel.shape[1]
    hidden = width // gates
    require_shape(f"{name}[1]", recurrent, (hidden, width))
    after = kind == "gru" and reset_after
    shape = (2, width) if after else (width,)
    bias = arrays[2] if len(arrays) == 3 else np.zeros(shape, np.float32)
    require_shape(f"{name}[2]", bias, shape)
    if kind != "gru":
        return (LSTMParams if kind == "lstm" else RNNParams)(kernel, recurrent, bias)
    kernel, recurrent, bias = (opposite(part, gates) for part in (kernel, recurrent, bias))
    if not after:
        gate_kernel, candidate_kernel = np.split(recurrent, [2 * hidden], axis=1)
        return GRUParams(kernel, gate_kernel, candidate_kernel, bias)
    apart = np.where(np.arange(width) < 2 * hidden, bias[1], 0)
    return GRUResetAfterParams(kernel, recurrent, bias[0] + apart, bias[1, 2 * hidden :])


def _params_out(params: PyTree) -> list[np.ndarray]:
    match params:
        case LSTMParams() | RNNParams():
            return [np.asarray(leaf) for leaf in params]
        case GRUParams():
            recurrent = np.concatenate([params.gate_kernel, params.candidate_kernel], axis=1)
            parts = params.input_kernel, recurrent, params.bias
            return [opposite(np.asarray(part), 3) for part in parts]
        case GRUResetAfterParams():
            bias = np.asarray(params.bias)
            within = np.zeros_like(bias)
            within[len(bias) // 3 * 2 :] = params.candidate_bias
            parts = params.input_kernel, params.recurrent_kernel, np.stack([bias, within])
            return [opposite(np.asarray(part), 3) for part in parts]
    raise InputError(
        f"{type(params).__name__}: Keras has no place for it; allowed are parameters of lstm, rnn "
        "and gru"
    )
