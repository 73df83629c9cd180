"""A process that runs the cohorts it is given, one after another.

`python -m launch.worker` is started by `launch.locally`: it reads a job and then ids of programs
from standard input, a line each, and answers each in a line of JSON on standard output. At the end
of its input, or at SIGTERM, it saves what it is doing and ends.
"""

import functools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from experiments import commands
from experiments.work import Work
from launch.base import Job, decode
from lstm_jax.errors import InputError, first_line

if TYPE_CHECKING:
    import jax

    from lstm_jax.hosts import Hosts
    from lstm_jax.running import Outcome
    from lstm_jax.sweep import Cohort

# Of a cohort that ran to its end; the rows say what came of it.
DONE = "done"


def run_cohort(
    job: Job,
    program_id: str,
    *,
    stop: Callable[[], bool] = lambda: False,
    devices: "Sequence[jax.Device] | None" = None,
    hosts: "Hosts | None" = None,
) -> "Outcome":
    """Runs one cohort of a job in this process, over whatever was done before.

    Raises:
      InputError: the job has no such cohort, as where another version of the code made the id.
      OSError: rows or checkpoints cannot be written.
    """
    from lstm_jax import backend, running

    backend.set_up(job.compile_cache)
    work, cohorts = planned(job._replace(arguments=tuple(job.arguments)))
    if program_id not in cohorts:
        raise InputError(f"{program_id}: not a cohort of {job.experiment}: is this the same code?")
    return running.run(
        cohorts[program_id].trials,
        job.results_dir,
        updates=work.updates,
        catalogue=work.catalogue,
        match=work.match,
        stop=stop,
        devices=devices,
        hosts=hosts,
    )


@functools.lru_cache(maxsize=1)
def planned(job: Job) -> "tuple[Work, dict[str, Cohort]]":
    """A job's work and its cohorts by id; read once a process."""
    from lstm_jax.sweep import cohorts

    work = job.load()
    return work, {cohort.program_id: cohort for cohort in cohorts(work.trials, work.catalogue)}


def main() -> None:
    """Serves standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    sys.unraisablehook = commands.show_unraisable
    os.dup2(2, 1)  # whatever else is printed is for the log
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's, which sends SIGTERM
    requests: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def listen():
        for line in sys.stdin:
            requests.put(line.strip())
        stopped.set()  # the launcher is gone
        requests.put(None)

    threading.Thread(target=listen, daemon=True).start()
    job = decode(requests.get())
    own = _own_devices(job)
    while not stopped.is_set():
        try:
            program_id = requests.get(timeout=0.2)
        except queue.Empty:
            continue
        if program_id is None:
            break
        try:
            outcome = run_cohort(job, program_id, stop=stopped.is_set, devices=own)
            answer = DONE if not outcome.left else "stopped"
        except Exception as error:
            answer = first_line(error)
        answers.write(json.dumps({"program_id": program_id, "answer": answer}) + "\n")


def _own_devices(job: Job) -> "Sequence[jax.Device] | None":
    """A CPU device for each core that the launcher left to this process; all on a GPU."""
    from lstm_jax import backend

    backend.set_up(job.compile_cache)
    import jax

    return jax.devices()[: backend.cores()] if jax.default_backend() == "cpu" else None


if __name__ == "__main__":
    main()
