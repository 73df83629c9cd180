r"""Runs a sweep over all processes of `jax.distributed`: what each host of a TPU slice starts.

    python -m launch.each_host --results_dir=gs://… -- experiments.gap_sweep --seeds=32
    python -m launch.each_host --results_dir=DIR --coordinator=localhost:1234 --processes=2 \
        --process=0 -- experiments.gap_sweep            # and once more with --process=1

Every process runs this same command. Each takes whole cohorts, every so-manieth, on its own
devices, and alone writes their files. With `--together` each cohort runs over the devices of all;
the first process then decides what is evaluated, saved and stopped, and alone writes.

SIGTERM to any process stops all: each saves, and ends with status 0. Started again, they go on.
"""

import os
import re
import secrets
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from experiments.commands import TRUE_OR_FALSE, Number
from launch import base
from launch.base import Campaign, say
from launch.stop_file import StopFile
from launch.worker import run_cohort
from lstm_jax.errors import InputError, first_line

if TYPE_CHECKING:
    from lstm_jax.hosts import Hosts

FLAGS = base.common_flags()
_COORDINATOR = FLAGS.define(
    "coordinator", None, "HOST:PORT of the first process; found by itself on Cloud TPU"
)
_PROCESSES = FLAGS.define(
    "processes", None, "how many there are; found by itself on Cloud TPU", Number(1, whole=True)
)
_PROCESS = FLAGS.define(
    "process",
    None,
    "which of them this is, from 0 on; found by itself on Cloud TPU",
    Number(0, whole=True),
)
_TOGETHER = FLAGS.define(
    "together", False, "runs each cohort over the devices of all processes", TRUE_OR_FALSE
)
_WAIT = FLAGS.define(
    "wait_seconds",
    300,
    "for all processes to have started",
    Number(1, whole=True, most=24 * 3600),
)


def start() -> None:
    """Meets the other processes; before the backend of JAX starts."""
    given = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if any(value is None for value in given) and any(value is not None for value in given):
        raise InputError("--coordinator, --processes, --process: give all three, or none")
    if given[0] is not None:
        found = re.fullmatch(r"([\w.-]+):(\d{1,5})", given[0])
        if not found or not 0 < int(found[2]) < 2**16:
            raise InputError(f"--coordinator={given[0]}: must be HOST:PORT")
        if given[2] >= given[1]:
            raise InputError(
                f"--process={given[2]}: must be below --processes={given[1]}; the first is 0"
            )
    if not FLAGS["dry_run"].value:
        _meet(*given)


def _meet(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Raises OSError, or ends this process with status 1: where one does not come, JAX would abort
    it with a page of its own stack."""
    import jax

    def give_up():
        print(
            f"error: --coordinator={coordinator}: not all processes met within {_WAIT.value} s "
            "(--wait_seconds)",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(_WAIT.value, give_up)
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=2 * _WAIT.value + 60
        )
    except (RuntimeError, ValueError) as error:
        if coordinator is None and isinstance(error, ValueError):  # JAX sees no cluster
            raise InputError(
                "--coordinator, --processes, --process: missing; only on Cloud TPU, Slurm and Open "
                "MPI they are found by themselves"
            ) from error
        raise OSError(f"--coordinator={coordinator}: {first_line(error)[:200]}") from error
    finally:
        timer.cancel()


def launch(campaign: Campaign) -> int:
    """This process's part of everything that is left."""
    if campaign.dry_run:
        say(f"every process runs this command; --together={_TOGETHER.value}")
        return 0
    import jax
    import numpy as np

    from lstm_jax.hosts import all_hosts

    hosts = all_hosts()
    # Others may be writing already: what is left is what the first process saw.
    mask = np.asarray([cohort in campaign.left for cohort in campaign.all])
    mask = hosts.decided(mask)
    left = [cohort for cohort, wanted in zip(campaign.all, mask, strict=True) if wanted]
    run = int(hosts.decided(np.asarray(secrets.randbits(31), np.int32)))
    if not _TOGETHER.value:
        left = left[jax.process_index() :: jax.process_count()]
    campaign.keep(left)
    with campaign:
        if _TOGETHER.value:
            _together(campaign, hosts)
        else:
            _apart(campaign, _stop_all(campaign, run))
    failed = hosts.any(bool(campaign.failures))
    return max(int(failed), campaign.summary() if hosts.chief else 0)


def _together(campaign: Campaign, hosts: "Hosts") -> None:
    """Every cohort with all processes; an error in one ends all, for others wait for it there.

    Raises:
      OSError: names the cohort.
    """
    for issued in campaign.left:
        if hosts.any(campaign.stop()):
            break
        try:
            run_cohort(campaign.job, issued.program_id, stop=campaign.stop, hosts=hosts)
        except Exception as error:
            raise OSError(f"{issued.label}: {first_line(error)}; --together ends here") from error


def _apart(campaign: Campaign, stop: Callable[[], bool]) -> None:
    """This process's cohorts, on its own devices."""
    import jax

    while not stop() and (issued := campaign.next()) is not None:
        try:
            outcome = run_cohort(
                campaign.job, issued.program_id, stop=stop, devices=jax.local_devices()
            )
        except Exception as error:
            campaign.lost(issued, first_line(error))
        else:
            campaign.done(issued)
            if not outcome.left:
                say(f"{issued.label}: done")
    stop()  # tells the others, if this process alone knows


def _stop_all(campaign: Campaign, run: int) -> Callable[[], bool]:
    """Asks whether any process was told to stop, by a file beside the rows."""
    file = StopFile(os.path.join(campaign.job.results_dir, ".launch"), str(run))

    def stop() -> bool:
        if file():
            return True
        if campaign.stop():
            file.ask()
        return campaign.stop()

    return stop


if __name__ == "__main__":
    base.run(launch, FLAGS, __doc__, start)
