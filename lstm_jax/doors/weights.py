"""Weights of other libraries as parameters of cells: what PyTorch and Keras share."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lstm_jax.arrays import PyTree
from lstm_jax.cells import gru, lstm, rnn
from lstm_jax.cells.base import Cell
from lstm_jax.cells.gru import GRUParams, GRUResetAfterParams
from lstm_jax.cells.lstm import LSTMParams, LSTMProjectionParams
from lstm_jax.cells.rnn import RNNParams
from lstm_jax.errors import InputError
from lstm_jax.layers import Layer, bidirectional, layer, stack


class Imported(NamedTuple):
    """A recurrent network of another library.

    Attributes:
      cells: one for each layer and direction: `cells[layer][0]` reads from the first step on,
        `cells[layer][1]`, of a bidirectional one, from the last step back.
      params: theirs.
    """

    cells: tuple[tuple[Cell, ...], ...]
    params: tuple[tuple[PyTree, ...], ...]


def imported_layer(imported: Imported) -> tuple[Layer, PyTree]:
    """The whole as one layer, and its parameters: `layer.apply(params, inputs)` takes
    `[batch, time, input]` and gives the outputs of the last layer, both directions side by side."""
    layers, params = [], []
    for cells, own in zip(imported.cells, imported.params, strict=True):
        both = len(cells) == 2
        layers.append(bidirectional(*cells) if both else layer(*cells))
        params.append(dict(zip(("forward", "backward"), own, strict=True)) if both else own[0])
    return stack(layers), params


def cell_of(params: PyTree, *, activation: str = "tanh") -> Cell:
    """The cell that takes these parameters."""
    input_size = params.input_kernel.shape[0]
    match params:
        case LSTMParams() | LSTMProjectionParams():
            projection = getattr(params, "projection_kernel", None)
            units = None if projection is None else projection.shape[1]
            return lstm(input_size, len(params.bias) // 4, projection=units)
        case GRUParams():
            return gru(input_size, len(params.bias) // 3)
        case GRUResetAfterParams():
            return gru(input_size, len(params.bias) // 3, reset="after")
        case RNNParams():
            return rnn(input_size, len(params.bias), activation=activation)
    raise InputError(f"{type(params).__name__}: must be parameters of lstm, gru or rnn")


def float32(value: object, name: str) -> np.ndarray:
    """An array of another library, copied; raises InputError where it is not of finite numbers."""
    array = np.array(value)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name}: holds {array.dtype}; must be an array of floats")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds values that are not finite")
    return array.astype(np.float32)


def require_shape(name: str, array: np.ndarray, shape: Sequence[int]) -> None:
    """Raises InputError unless the array has the shape."""
    if array.shape != tuple(shape):
        raise InputError(f"{name}: has shape {list(array.shape)}; must be {list(shape)}")


def require_keys(given: Mapping, wanted: Sequence[str], what: str) -> None:
    """Raises InputError unless exactly these keys are there."""
    if missing := [key for key in wanted if key not in given]:
        raise InputError(f"{missing[0]}: missing from {what}")
    if unknown := sorted(set(given) - set(wanted)):
        raise InputError(f"{unknown[0]}: unknown in {what}; allowed are {', '.join(wanted)}")


def swapped(blocks: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Blocks of equal width along the last axis, in another order."""
    parts = np.split(blocks, len(order), axis=-1)
    return np.concatenate([parts[index] for index in order], axis=-1)


def opposite(blocks: np.ndarray, gates: int) -> np.ndarray:
    """With the first of so many blocks negated: sigmoid(-x) = 1 - sigmoid(x) of the update gate."""
    width = blocks.shape[-1] // gates
    return np.concatenate([-blocks[..., :width], blocks[..., width:]], axis=-1)
