"""Cells: one recurrence a file, and `CELLS`, the only list of them."""

from lstm_jax.cells.base import Cell, CellConstructor
from lstm_jax.cells.cifg import cifg
from lstm_jax.cells.clockwork_rnn import clockwork_rnn
from lstm_jax.cells.depth_gated_lstm import depth_gated_lstm
from lstm_jax.cells.grid_lstm import grid_lstm
from lstm_jax.cells.gru import gru
from lstm_jax.cells.indrnn import indrnn
from lstm_jax.cells.irnn import irnn
from lstm_jax.cells.janet import janet
from lstm_jax.cells.layer_norm_lstm import layer_norm_lstm
from lstm_jax.cells.lru import lru
from lstm_jax.cells.lstm import lstm
from lstm_jax.cells.lstm_1997 import lstm_1997
from lstm_jax.cells.min_gru import min_gru
from lstm_jax.cells.min_lstm import min_lstm
from lstm_jax.cells.mlstm import mlstm
from lstm_jax.cells.mut import mut1, mut2, mut3
from lstm_jax.cells.no_memory import no_memory
from lstm_jax.cells.orthogonal_rnn import orthogonal_rnn
from lstm_jax.cells.peephole_lstm import peephole_lstm
from lstm_jax.cells.rg_lru import rg_lru
from lstm_jax.cells.rnn import rnn
from lstm_jax.cells.s5 import s5
from lstm_jax.cells.slstm import slstm
from lstm_jax.cells.ur_lstm import ur_lstm

# In the order of docs/cells.md: the essay's, the studies it cites, those built to remember, linear
# ones, and what has no memory.
CELLS: dict[str, CellConstructor] = {
    "rnn": rnn,
    "lstm": lstm,
    "peephole_lstm": peephole_lstm,
    "cifg": cifg,
    "gru": gru,
    "depth_gated_lstm": depth_gated_lstm,
    "clockwork_rnn": clockwork_rnn,
    "grid_lstm": grid_lstm,
    "lstm_1997": lstm_1997,
    "layer_norm_lstm": layer_norm_lstm,
    "mut1": mut1,
    "mut2": mut2,
    "mut3": mut3,
    "irnn": irnn,
    "orthogonal_rnn": orthogonal_rnn,
    "indrnn": indrnn,
    "janet": janet,
    "ur_lstm": ur_lstm,
    "slstm": slstm,
    "mlstm": mlstm,
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "lru": lru,
    "rg_lru": rg_lru,
    "s5": s5,
    "no_memory": no_memory,
}

__all__ = ["CELLS", "Cell", *CELLS]
