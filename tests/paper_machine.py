"""A machine of a TPU slice made of paper: the start-up script with programs of our own on its PATH,
and a checkout to send to it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from launch import on_cloud_tpu

ROOT = Path(__file__).parent.parent
CURL = """#!/usr/bin/env bash
case "${@: -1}" in
  */lstm-jax) cat "$FAKES/job" ;;
  */agent-worker-number) echo 0 ;;
  *) exit 22 ;;
esac
"""
GCLOUD = """#!/usr/bin/env bash
printf '%s\\0' "$@" >> "$FAKES/gcloud.log"; echo >> "$FAKES/gcloud.log"
if [ "$1" = storage ]; then mkdir -p "$(dirname "${@: -1}")"; cp "${@: -2:1}" "${@: -1}"; fi
"""
# Stands for the machine's Python and for the one of the environment, which uv "makes".
PYTHON = """#!/usr/bin/env bash
real={real}
case "$*" in
  -c*) exec "$real" "$@" ;;
  "-m pip install"*) exit 0 ;;
  "-m uv venv"*) mkdir -p venv/bin; cp "$0" venv/bin/python ;;
  "-m uv pip install"*) exit 0 ;;
  *launch.each_host*) {each_host} ;;
  *) exit 99 ;;
esac
"""


class Machine:
    """Runs the start-up script, as often as asked; `close` ends whatever still runs.

    Attributes:
      folder: of the programs and of what they write down.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._running = []
        (folder / "bin").mkdir(parents=True)

    def __call__(self, job: dict, each_host: str) -> subprocess.Popen:
        """Starts with a job, and with shell text for what runs in place of launch.each_host."""
        python = PYTHON.format(real=sys.executable, each_host=each_host)
        for name, text in (("curl", CURL), ("gcloud", GCLOUD), ("python3", python)):
            path = self.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        (self.folder / "job").write_text(json.dumps(job))
        environment = {
            **os.environ, "FAKES": str(self.folder), "LSTM_JAX_HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        command = ["bash", on_cloud_tpu.TEMPLATE]
        self._running.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return self._running[-1]

    def close(self) -> None:
        """Ends them all, with what they have started."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def make_checkout(root: Path) -> Path:
    """A checkout whose index holds the sources as they are here; returns it."""
    for name in ("lstm_jax", "experiments", "launch"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "requirements.lock", "README.md"):
        shutil.copy(ROOT / name, root)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)
    return root
