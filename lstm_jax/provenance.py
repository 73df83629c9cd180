"""Where a row came from: code, versions, device, start."""

import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess

import jax

from lstm_jax import backend

# Of code sent to a machine without its history: COMMIT, or COMMIT-dirty.
VARIABLE = "LSTM_JAX_COMMIT"
_PACKAGES = ("lstm_jax", "jax", "jaxlib", "flax", "optax", "numpy")


def provenance() -> dict:
    """What a `trial` row says about its making; JSON values only."""
    return {
        **_fixed(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def _fixed() -> dict:
    commit, dirty = _commit() or _told()
    device = jax.devices()[0]
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in _PACKAGES},
        "cores": backend.cores(),
        "device": f"{jax.device_count()} x {device.device_kind}",
        "platform": platform.platform(terse=True),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, str]:
    """What to put into the environment of a machine that is sent this code without its history."""
    commit, dirty = _commit() or _told()
    return {VARIABLE: f"{commit}-dirty" if dirty else commit} if commit else {}


def _told() -> tuple[str | None, bool | None]:
    """What the environment says of where this code is from; None where it says nothing."""
    found = re.fullmatch(r"([0-9a-f]{40,64})(-dirty)?", os.environ.get(VARIABLE, ""))
    return (found[1], bool(found[2])) if found else (None, None)


def _commit() -> tuple[str, bool] | None:
    """Commit of the checkout that this file is in and whether it was changed; None outside one."""
    here = pathlib.Path(__file__).parent

    def git(*arguments):
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", pathlib.Path(__file__).name)  # ours, not one around us
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return None
