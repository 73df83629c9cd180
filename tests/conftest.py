"""Strict switches for every test: no silent promotion, two CPU devices, one compile cache."""

import os
import tempfile

# Before JAX is imported: worker processes and subprocesses of the tests inherit these.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault(
    "LSTM_JAX_DATA_DIR", os.path.join(tempfile.gettempdir(), "lstm_jax_test_data")
)
_CACHE = os.path.join(tempfile.gettempdir(), f"lstm_jax_test_cache_{os.getuid()}")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
