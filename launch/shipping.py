"""The checkout as one file that other machines unpack and run."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from typing import NamedTuple

from lstm_jax.errors import InputError

# Where a user's own files are put; their names stay, for the function in them is named alike.
SHIPPED = "shipped"
_FILES = ("cell_file", "task_file")
_MOST_BYTES = 200 * 2**20


class Parcel(NamedTuple):
    """What is shipped.

    Attributes:
      data: a tar.gz; equal trees give equal bytes.
      sha256: of the data.
      arguments: the experiment's, with the shipped files' paths.
      files: how many are in it.
      left_out: source files of the checkout that git does not track, and so stay here.
    """

    data: bytes
    sha256: str
    arguments: list[str]
    files: int
    left_out: list[str]


def pack(root: str, arguments: Sequence[str]) -> Parcel:
    """Packs what git tracks in a checkout, as it stands on disk, and the user's own files.

    Args:
      root: of the checkout.
      arguments: of the experiment; those of --cell_file and --task_file are shipped.

    Raises:
      InputError: not a git checkout, or a file that cannot be read.
    """
    tracked = _git(root, "ls-files", "-z")
    content = {}
    for name in tracked:
        path = os.path.join(root, name)
        if os.path.isfile(path) and not os.path.islink(path):  # else deleted, not yet committed
            content[name] = _read(path)
    if "launch/each_host.py" not in content:
        raise InputError(f"{root}: git does not track launch/each_host.py; what it tracks is sent")
    own, arguments = _own_files(arguments)
    content |= own
    content |= _own_modules(content)
    if sum(map(len, content.values())) > _MOST_BYTES:
        raise InputError(f"{root}: what git tracks is larger than {_MOST_BYTES // 2**20} MiB")
    data = _tar(content)
    others = _git(root, "ls-files", "-z", "--others", "--exclude-standard")
    left_out = [name for name in others if name.endswith(".py") and name not in content]
    return Parcel(data, hashlib.sha256(data).hexdigest(), arguments, len(content), left_out)


def _own_files(arguments: Sequence[str]) -> tuple[dict[str, bytes], list[str]]:
    """The user's files by shipped path, and the arguments that name them there."""
    content, changed, flag = {}, [], None
    for argument in arguments:
        name, equals, path = argument.lstrip("-").partition("=")
        if flag is not None:  # --cell_file PATH
            name, equals, path, written = flag, "=", argument, ""
        else:
            written = f"--{name}="
        flag = None
        if argument.startswith("-") and name in _FILES and not equals:
            flag = name
        elif equals and name in _FILES and (not written or argument.startswith("-")):
            shipped = f"{SHIPPED}/{name}/{os.path.basename(path)}"
            content[shipped] = _read(path)
            argument = written + shipped
        changed.append(argument)
    return content, changed


def _own_modules(packed: dict[str, bytes]) -> dict[str, bytes]:
    """Other modules that the user's files have imported from the directory of the command, where
    `python -m` finds them there as here."""
    here, found = os.path.realpath(os.getcwd()), {}
    for name, module in list(sys.modules.items()):
        path = os.path.realpath(getattr(module, "__file__", None) or os.sep)
        inner = "__init__" if hasattr(module, "__path__") else ""
        shipped = os.path.join(*name.split("."), inner).rstrip(os.sep) + ".py"
        if path == os.path.join(here, shipped) and shipped not in packed:
            found[shipped] = _read(path)
    return found


def _tar(content: dict[str, bytes]) -> bytes:
    """A tar.gz without times and owners."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(content):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content[name]), 0o644
            archive.addfile(member, io.BytesIO(content[name]))
    return raw.getvalue()


def _git(root: str, *arguments: str) -> list[str]:
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"{root}: not a git checkout; what git tracks is sent") from error
    return [name for name in os.fsdecode(done.stdout).split("\0") if name]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
