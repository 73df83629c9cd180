"""Weights of `torch.nn.RNN`, `LSTM` and `GRU`, in and out, as plain arrays; needs no PyTorch.

PyTorch's kernels are ours transposed. Its two biases enter as a sum, but for the candidate of a
GRU, whose recurrent one stands within the reset gate. Its gates are i, f, g, o as ours, and r, z, n
of a GRU, whose z keeps where ours takes the candidate.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from lstm_jax.arrays import PyTree
from lstm_jax.cells.gru import GRUResetAfterParams
from lstm_jax.cells.lstm import LSTMParams, LSTMProjectionParams
from lstm_jax.cells.rnn import RNNParams
from lstm_jax.doors.weights import (
    Imported,
    cell_of,
    float32,
    opposite,
    require_keys,
    require_shape,
    swapped,
)
from lstm_jax.errors import InputError, require_among

Kind = Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_UPDATE_FIRST = (1, 0, 2)  # r, z, n and z, r, n


def from_pytorch(state: Mapping[str, np.ndarray], *, kind: Kind) -> Imported:
    """Cells and parameters that compute what the PyTorch module does in evaluation.

    Args:
      state: `{name: array.numpy() for name, array in module.state_dict().items()}`: any number of
        layers, both directions, projections of an LSTM, biases or none.
      kind: `lstm`, `gru`, or `rnn_tanh`, `rnn_relu` by the module's nonlinearity.

    Raises:
      InputError: a key that is missing or unknown, an array of another shape, or one that does not
        hold finite floats.
    """
    require_among("kind", kind, tuple(_GATES))
    layers = 1 + max((_layer_of(key) for key in state), default=-1)
    if not layers:
        raise InputError("weight_ih_l0: missing from the state_dict")
    directions = ("", "_reverse") if "weight_ih_l0_reverse" in state else ("",)
    names = ["weight_ih", "weight_hh"]
    names += ["bias_ih", "bias_hh"] if "bias_ih_l0" in state else []
    names += ["weight_hr"] if "weight_hr_l0" in state and kind == "lstm" else []
    wanted = [
        f"{name}_l{index}{way}" for index in range(layers) for way in directions for name in names
    ]
    require_keys(state, wanted, "the state_dict")
    arrays = {key: float32(value, key) for key, value in state.items()}
    params = tuple(
        tuple(_params_in(arrays, f"_l{index}{way}", kind) for way in directions)
        for index in range(layers)
    )
    activation = "relu" if kind == "rnn_relu" else "tanh"
    cells = tuple(tuple(cell_of(one, activation=activation) for one in own) for own in params)
    return Imported(cells, params)


def to_pytorch(params: Sequence[Sequence[PyTree]]) -> dict[str, np.ndarray]:
    """A state_dict of plain arrays: `module.load_state_dict({name: torch.from_numpy(array) ...})`.

    Args:
      params: by layer and direction, as `Imported.params`: of `lstm`, `rnn`, or `gru` with
        `reset="after"`.

    Returns:
      The arrays by PyTorch's names. The bias is `bias_ih`, and `bias_hh` zero, but for a GRU's
      candidate, which has two.

    Raises:
      InputError: parameters that PyTorch has no place for, such as those of a GRU that resets
        before the product.
    """
    state = {}
    for index, own in enumerate(params):
        for one, way in zip(own, ("", "_reverse"), strict=False):
            state |= {f"{name}_l{index}{way}": array for name, array in _params_out(one).items()}
    return state


def _layer_of(key: str) -> int:
    number = key.removesuffix("_reverse").rpartition("_l")[2]
    return int(number) if number.isdecimal() and len(number) < 5 else -1


def _params_in(arrays: Mapping[str, np.ndarray], ending: str, kind: Kind) -> PyTree:
    gates = _GATES[kind]
    weight_ih, weight_hh = arrays[f"weight_ih{ending}"], arrays[f"weight_hh{ending}"]
    if weight_ih.ndim != 2 or weight_ih.shape[0] % gates or not weight_ih.size:
        shape = list(weight_ih.shape)
        raise InputError(f"weight_ih{ending}: has shape {shape}; must be [{gates} * hidden, input]")
    width = weight_ih.shape[0]
    hidden = width // gates
    zeros = np.zeros(width, np.float32)
    bias_ih, bias_hh = (arrays.get(f"{name}{ending}", zeros) for name in ("bias_ih", "bias_hh"))
    projection = arrays.get(f"weight_hr{ending}")
    output = hidden
    if projection is not None:
        output = projection.shape[0]
        require_shape(f"weight_hr{ending}", projection, (output, hidden))
    require_shape(f"weight_hh{ending}", weight_hh, (width, output))
    require_shape(f"bias_ih{ending}", bias_ih, (width,))
    require_shape(f"bias_hh{ending}", bias_hh, (width,))
    if kind == "gru":
        input_kernel, recurrent_kernel, bias_ih, bias_hh = (
            opposite(swapped(part, _UPDATE_FIRST), gates)
            for part in (weight_ih.T, weight_hh.T, bias_ih, bias_hh)
        )
        apart = np.where(np.arange(width) < 2 * hidden, bias_hh, 0)
        return GRUResetAfterParams(
            input_kernel, recurrent_kernel, bias_ih + apart, bias_hh[2 * hidden :]
        )
    shared = weight_ih.T.copy(), weight_hh.T.copy(), bias_ih + bias_hh
    if kind != "lstm":
        return RNNParams(*shared)
    return (
        LSTMParams(*shared) if projection is None else LSTMProjectionParams(*shared, projection.T)
    )


def _params_out(params: PyTree) -> dict[str, np.ndarray]:
    if not isinstance(params, (LSTMParams, LSTMProjectionParams, RNNParams, GRUResetAfterParams)):
        raise InputError(
            f"{type(params).__name__}: PyTorch has no place for it; allowed are parameters of "
            "lstm, rnn and gru:reset=after"
        )
    parts = params._replace(**{name: np.asarray(leaf) for name, leaf in params._asdict().items()})
    kernels, bias = (parts.input_kernel, parts.recurrent_kernel), parts.bias
    bias_hh = np.zeros_like(bias)
    if isinstance(parts, GRUResetAfterParams):
        bias_hh[len(bias) // 3 * 2 :] = parts.candidate_bias
        *kernels, bias = (
            swapped(opposite(part, 3), _UPDATE_FIRST) for part in (*kernels, bias)
        )  # the gates' part of bias_hh is zero, whatever its order
    weight_ih, weight_hh = (np.ascontiguousarray(kernel.T) for kernel in kernels)
    state = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias, "bias_hh": bias_hh}
    if isinstance(parts, LSTMProjectionParams):
        state["weight_hr"] = np.ascontiguousarray(parts.projection_kernel.T)
    return state
