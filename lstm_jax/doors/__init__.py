"""Doors in and out: cells as those of Flax, cells of others as ours, weights of PyTorch and Keras.

Nothing in the library imports these. `docs/doors.md` shows each in use.
"""

from lstm_jax.doors.from_flax import from_flax
from lstm_jax.doors.from_function import from_function
from lstm_jax.doors.keras_weights import from_keras, to_keras
from lstm_jax.doors.pytorch_weights import from_pytorch, to_pytorch
from lstm_jax.doors.to_flax import to_flax
from lstm_jax.doors.weights import Imported, imported_layer

__all__ = [
    "Imported",
    "from_flax",
    "from_function",
    "from_keras",
    "from_pytorch",
    "imported_layer",
    "to_flax",
    "to_keras",
    "to_pytorch",
]
