"""Layers: sequence in, sequence out; a cell unrolled is one."""

from lstm_jax.layers.base import Layer, layer

__all__ = ["Layer", "layer"]
