"""Cells: one recurrence a file, and `CELLS`, the only list of them."""

from lstm_jax.cells.base import Cell, CellConstructor
from lstm_jax.cells.gru import gru
from lstm_jax.cells.lstm import lstm
from lstm_jax.cells.rnn import rnn

CELLS: dict[str, CellConstructor] = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
}

__all__ = ["CELLS", "Cell", "gru", "lstm", "rnn"]
