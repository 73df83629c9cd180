"""Runs a sweep on this machine: one worker process a core, or a GPU.

    python -m launch.locally --results_dir=results/gap_sweep -- experiments.gap_sweep --seeds=10
    python -m launch.locally --results_dir=DIR --workers=4 --dry_run -- experiments.gap_sweep

Each worker takes cohorts, one at a time, on cores or a GPU of its own. A worker that dies is
replaced and its cohort tried again; what it wrote stays. Ctrl-C and SIGTERM save everything. What
workers print goes to `.launch/` in the results directory.
"""

import contextlib
import glob
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

from experiments.commands import Number
from launch import base, cores
from launch.base import GRACE_SECONDS, Campaign, encode, say
from launch.worker import DONE
from lstm_jax import storage

FLAGS = base.common_flags()
_WORKERS = FLAGS.define(
    "workers",
    0,
    "worker processes; 0 for one a GPU if there are any that JAX can use, else one a core",
    Number(0, whole=True, most=4096),
)


class Place(NamedTuple):
    """What one worker may use."""

    cores: frozenset[int]
    gpu: str | None


def places(workers: int) -> list[Place]:
    """Shares this machine among workers."""
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    gpus = visible_gpus()
    workers = workers or len(gpus) or len(here)
    return [
        Place(
            frozenset(here[i % len(here) :: workers] or here),
            gpus[i % len(gpus)] if gpus else None,
        )
        for i in range(workers)
    ]


def visible_gpus() -> list[str]:
    """GPUs that JAX could use here, as CUDA names them, without starting it."""
    if not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]


class Worker:
    """A worker process, and the line to it."""

    def __init__(self, campaign: Campaign, place: Place, log):
        from lstm_jax import backend

        environment = dict(os.environ)
        if place.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = place.gpu
        # XLA:CPU compiles for so many threads as there are devices, and rounds accordingly: as many
        # as the experiment's own command would make here, so that rows do not tell who ran them.
        environment |= cores.environment(backend.cores())
        self._log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the launcher alone
        )
        if hasattr(os, "sched_setaffinity") and place.gpu is None:
            with contextlib.suppress(OSError):  # gone already
                os.sched_setaffinity(self.process.pid, place.cores)
        self._tell(encode(campaign.job))

    def ask(self, program_id: str) -> str:
        """Has a cohort run, and waits; returns `DONE`, or what went wrong."""
        self._tell(program_id)
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)["answer"]
        status = self.process.wait()
        if status < 0:
            return f"its worker was killed by {signal.Signals(-status).name}"
        return f"its worker ended with status {status}"

    def end(self, grace: float) -> None:
        """Has it save what it is doing and end; kills it where it has not after `grace` seconds."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it died; the answer will say so
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()


def serve(campaign: Campaign, place: Place, log, workers: dict[int, Worker], index: int) -> None:
    """Issues cohorts to one worker, and replaces it whenever it dies."""
    while (issued := campaign.next()) is not None:
        if index not in workers or workers[index].process.poll() is not None:
            workers[index] = Worker(campaign, place, log)
        answer = workers[index].ask(issued.program_id)
        if answer == DONE:
            campaign.done(issued)
            say(f"{issued.label}: done")
        elif campaign.stop():
            campaign.done(issued)
        else:
            campaign.lost(issued, answer)


def launch(campaign: Campaign) -> int:
    """Runs everything that is left."""
    from lstm_jax import running

    shares = places(_WORKERS.value)[: max(1, len(campaign.left))]
    if campaign.dry_run:
        for place in shares:
            where = f"GPU {place.gpu}" if place.gpu is not None else f"cores {sorted(place.cores)}"
            say(f"worker on {where}: {sys.executable} -m launch.worker")
        return 0
    running.require_data(campaign.work.trials, campaign.work.catalogue)  # workers are here too
    workers: dict[int, Worker] = {}
    with campaign, contextlib.ExitStack() as logs:
        threads = [
            threading.Thread(
                target=serve,
                args=(campaign, place, logs.enter_context(_log(campaign, i)), workers, i),
                daemon=True,
            )
            for i, place in enumerate(shares)
        ]
        grace = GRACE_SECONDS
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) and not campaign.stop():
                time.sleep(0.05)
        except KeyboardInterrupt:
            grace = 0
            raise
        finally:
            campaign.close()
            while True:
                for worker in list(workers.values()):
                    worker.end(grace)
                if not any(thread.is_alive() for thread in threads):
                    break
                time.sleep(0.05)
    return campaign.summary()


def _log(campaign: Campaign, index: int):
    """Where a worker's words go: beside the rows, or away where those are on an object store."""
    if storage.is_remote(campaign.job.results_dir):
        return tempfile.TemporaryFile("w")
    folder = os.path.join(campaign.job.results_dir, ".launch")
    os.makedirs(folder, exist_ok=True)
    return open(os.path.join(folder, f"worker-{index}.log"), "a", encoding="utf-8")


if __name__ == "__main__":
    base.run(launch, FLAGS, __doc__)
