"""How many cores a process uses that was given a share of its machine by name only.

An engine may promise a process so many cores without binding it to any; JAX would then make a
device of every core of the machine, in each process.
"""

import os

_FLAG = "--xla_force_host_platform_device_count"


def environment(cores: int) -> dict[str, str]:
    """Variables that have a process of JAX make one CPU device for each of `cores` cores.

    For a process whose JAX has not started yet. A count that the caller's `XLA_FLAGS` name stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags:
        flags = f"{flags} {_FLAG}={cores}".strip()
    return {"XLA_FLAGS": flags}
