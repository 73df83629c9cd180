"""How JAX is set up before its backend starts."""

import contextlib
import logging
import os

import jax
from etils import epath

from lstm_jax.errors import InputError


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_compile_cache() -> str:
    """Where compiled programs are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "lstm_jax", "compiled")


def set_up(compile_cache: str = "") -> None:
    """One CPU device a core, for XLA:CPU runs a scan of small steps on one core however many it is
    given; and a cache of compiled programs. Changes nothing that has started already.

    Args:
      compile_cache: directory of the cache; empty for `default_compile_cache()`, `off` for none.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # the backend has started: use what there is
            jax.config.update("jax_num_cpu_devices", cores())
    jax.config.update("jax_enable_compilation_cache", compile_cache != "off")
    if compile_cache == "off":
        return
    # Without a word from the caller, a cache that JAX was configured with stays.
    compile_cache = compile_cache or jax.config.jax_compilation_cache_dir or default_compile_cache()
    try:
        epath.Path(compile_cache).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{compile_cache}: cannot be made ({error.strerror}); off is allowed, for no cache"
        ) from error
    jax.config.update("jax_compilation_cache_dir", compile_cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Two processes may write one entry at once; JAX warns, and both go on.
    logging.getLogger("jax._src.compiler").setLevel(logging.ERROR)
