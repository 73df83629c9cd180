"""Cells: one recurrence a file, and `CELLS`, the only list of them."""

from lstm_jax.cells.base import Cell, CellConstructor
from lstm_jax.cells.gru import gru
from lstm_jax.cells.janet import janet
from lstm_jax.cells.lstm import lstm
from lstm_jax.cells.rnn import rnn
from lstm_jax.cells.ur_lstm import ur_lstm

CELLS: dict[str, CellConstructor] = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    "janet": janet,
    "ur_lstm": ur_lstm,
}

__all__ = ["CELLS", "Cell", "gru", "janet", "lstm", "rnn", "ur_lstm"]
