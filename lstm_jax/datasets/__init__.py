"""Data sets on disk, read through TensorFlow Datasets without TensorFlow.

Importing this package imports no TFDS; `datasets/digits.py` and its like do.
"""

from lstm_jax.datasets.base import directory, generated, prepared, read, require

__all__ = ["directory", "generated", "prepared", "read", "require"]
