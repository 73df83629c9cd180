"""How JAX is set up before its backend starts."""

import contextlib
import ctypes
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


# Of mallopt(3), in malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory(devices: int = 1) -> bool:
    """Has the allocator keep what is freed, for the next call; returns whether it took the wish.

    The GNU allocator gives large blocks back to the system at once, and each call of a compiled
    program then waits for the system to hand out and clear the same pages again: up to a third of
    the time of a backward pass. The process stays as large as it has ever been. Other systems have
    no such wish, and stay as they are.

    Args:
      devices: how many will work at once. A single one gets one arena, for others cannot hold
        blocks above 64 MB; several would wait for each other there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    largest = 2**31 - 1
    wishes = [
        (_M_MMAP_THRESHOLD, 2**30),
        (_M_TRIM_THRESHOLD, largest),
        (_M_TOP_PAD, 2**26),
    ]
    if devices == 1:
        wishes.append((_M_ARENA_MAX, 1))
    return all([mallopt(*wish) for wish in wishes])


def set_up(compile_cache: str = "") -> None:
    """One CPU device a core, for XLA:CPU runs a scan of small steps on one core however many it is
    given; memory that stays; and a cache of compiled programs. Changes nothing that has started
    already.

    Args:
      compile_cache: directory of the cache; empty for `default_compile_cache()`, `off` for none.
    """
    keep_freed_memory(cores())
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
