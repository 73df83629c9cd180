"""Data sets on disk, read through TensorFlow Datasets without TensorFlow.

Importing this package imports no TFDS; `datasets/digits.py` and its like do.
"""

from lstm_jax.datasets.base import (
    directory,
    examples,
    generated,
    prepared,
    read,
    require,
    require_prepared,
)

__all__ = [
    "directory",
    "examples",
    "generated",
    "prepared",
    "read",
    "require",
    "require_prepared",
]
