"""What submitit runs for `launch.on_slurm`: cohorts, in a process that may be told to save."""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence

from launch.base import GRACE_SECONDS, Job
from launch.worker import DONE, run_cohort
from lstm_jax.errors import first_line


class Element:
    """One element of an array of jobs: runs cohorts, one after another.

    They run in a thread, so that the main thread is free for the signal by which Slurm announces
    that it will end the job: submitit then calls `checkpoint`, which has the cohort in hand saved.
    SIGTERM alone changes nothing, for Slurm then ends and requeues the job by itself, or has
    cancelled it; each chunk is saved as it ends.
    """

    def __init__(self, job: Job, told: Callable[[], bool]):
        """What every element of an array shares: the job, and what says whether to stop."""
        self._job, self._told = job, told
        self._stopped: threading.Event | None = None  # once it runs
        self._running: concurrent.futures.Future | None = None

    def __call__(self, program_ids: Sequence[str]) -> dict[str, str]:
        """Runs cohorts; returns of each `DONE`, or what went wrong."""
        self._stopped = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            self._running = thread.submit(self._run, program_ids)
            try:
                while not self._running.done():  # signals are taken between looks, whoever got them
                    concurrent.futures.wait([self._running], 0.2)
                return self._running.result()
            finally:
                self._stopped.set()

    def checkpoint(self, program_ids: Sequence[str]):
        """Saves, and says what is to be run when this is queued again: the same."""
        from submitit.helpers import DelayedSubmission

        if self._running is not None:
            self._stopped.set()
            concurrent.futures.wait([self._running], GRACE_SECONDS)
        return DelayedSubmission(Element(self._job, self._told), program_ids)

    def _run(self, program_ids: Sequence[str]) -> dict[str, str]:
        answers = {}
        for program_id in program_ids:
            if self._stop():
                break
            try:
                outcome = run_cohort(self._job, program_id, stop=self._stop)
                answers[program_id] = "stopped" if outcome.left else DONE
            except Exception as error:
                answers[program_id] = first_line(error)
        return answers

    def _stop(self) -> bool:
        return self._stopped.is_set() or self._told()
