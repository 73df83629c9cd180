"""How far back can a recurrent cell remember, and why no farther?

`lstm_jax.measure_horizon` answers for one cell; `experiments/` asks larger questions. Importing
this package is light: JAX is imported with the first name that needs it.
"""

import importlib

__version__ = "0.1.0"

# Public names and where they live; imported when first asked for.
_HOMES = {
    "CELLS": "lstm_jax.cells",
    "Cell": "lstm_jax.cells",
    "Layer": "lstm_jax.layers",
    "TASKS": "lstm_jax.tasks",
    "Task": "lstm_jax.tasks",
    "layer": "lstm_jax.layers",
    "measure_horizon": "lstm_jax.measure",
    "unroll": "lstm_jax.unroll",
    "unroll_batch": "lstm_jax.unroll",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return __all__
