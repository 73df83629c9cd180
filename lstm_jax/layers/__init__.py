"""Layers: sequence in, sequence out; a cell unrolled is one.

`LAYERS` are those that a trial may name where others name a cell: the same network, the same sweep.
"""

from collections.abc import Callable

from lstm_jax.cells import CELLS
from lstm_jax.layers.attention import attention
from lstm_jax.layers.base import Layer, layer
from lstm_jax.layers.bidirectional import bidirectional
from lstm_jax.layers.combine import dropout, layer_norm, projection, residual, stack

LAYERS: dict[str, Callable[..., Layer]] = {"attention": attention}

# What the `cell` of a trial may name.
MODELS: dict[str, Callable] = {**CELLS, **LAYERS}

__all__ = [
    "LAYERS",
    "MODELS",
    "Layer",
    "attention",
    "bidirectional",
    "dropout",
    "layer",
    "layer_norm",
    "projection",
    "residual",
    "stack",
]
