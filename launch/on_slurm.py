r"""Runs a sweep as an array of Slurm jobs, through submitit.

    python -m launch.on_slurm --results_dir=/shared/rows --partition=gpu --gpus_per_task=1 \
        -- experiments.gap_sweep --seeds=32
    python -m launch.on_slurm --results_dir=/shared/rows --cohorts_per_job=8 --time_minutes=240 \
        --slurm_option=qos=low,constraint=a100 --nowait -- experiments.gap_sweep
    python -m launch.on_slurm --results_dir=results/rows --cluster=local -- experiments.gap_sweep

Each element of the array runs whole cohorts, one after another. Shortly before its time is up, or
when it is preempted, it saves and is queued again, and goes on from there. The launcher waits for
all, gives what was lost to new elements, and cancels what runs at Ctrl-C and SIGTERM; with
`--nowait` it only submits. Rows, and the files of submitit in `.launch/slurm` beside them, must be
in a directory that every machine sees.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import commands
from experiments.commands import TRUE_OR_FALSE, ListOf, Number, Words
from launch import base, cores
from launch.base import GRACE_SECONDS, Campaign, Issued, say
from launch.element import Element
from launch.stop_file import StopFile
from launch.worker import DONE
from lstm_jax import storage
from lstm_jax.errors import InputError, MissingExtraError


class Option(flags.ArgumentParser):
    """KEY=VALUE, an option of sbatch."""

    syntactic_help = "KEY=VALUE, an option of sbatch, as qos=low"

    def parse(self, argument):
        """Key and value; ValueError says what is allowed."""
        if isinstance(argument, tuple):
            return argument
        found = re.fullmatch(r"([a-z][a-z0-9_-]*)=([\x20-\x7e]+)", argument)
        if not found:
            raise ValueError(f"must be {self.syntactic_help}")
        return found[1], found[2]


class Name(flags.ArgumentParser):
    """A name that Slurm knows."""

    syntactic_help = "a name"

    def parse(self, argument):
        """The name; ValueError says what is allowed."""
        if not re.fullmatch(r"[\w.+@:/-]+", argument):
            raise ValueError("must be of letters, digits and _ . + @ : / -")
        return argument


FLAGS = base.common_flags()
_flag = FLAGS.define
_CLUSTER = _flag(
    "cluster",
    "slurm",
    "slurm; local: processes of this machine; debug: this very process",
    Words(("slurm", "local", "debug")),
)
_PER_JOB = _flag(
    "cohorts_per_job", 1, "cohorts that an element of the array runs", Number(1, whole=True)
)
_ARRAY_SIZE = _flag(
    "array_size",
    1000,
    "most elements of the array; where there are more cohorts, each runs more",
    Number(1, whole=True, most=100_000),
)
_AT_ONCE = _flag("at_once", 256, "most elements that run at once", Number(1, whole=True))
_PARTITION = _flag("partition", None, "of Slurm", Name())
_ACCOUNT = _flag("account", None, "of Slurm", Name())
_MINUTES = _flag(
    "time_minutes",
    60,
    "of an element; one that needs more is queued again",
    Number(4, whole=True, most=10**6),
)
_CPUS = _flag("cpus_per_task", 1, "cores of an element", Number(1, whole=True, most=4096))
_GPUS = _flag("gpus_per_task", 0, "GPUs of an element", Number(0, whole=True, most=64))
_MEMORY = _flag("mem_gb", 4, "memory of an element", Number(1, whole=True, most=10**5))
_OPTIONS = _flag(
    "slurm_option", None, "more options of sbatch: qos=low,constraint=a100", ListOf(Option())
)
_WAIT = _flag("wait", True, "waits for the jobs; --nowait submits and ends", TRUE_OR_FALSE)
_LOG_DIR = _flag(
    "log_dir",
    None,
    "where submitit keeps its files, seen by every machine; beside the rows if not given",
)
# Options of sbatch that submitit or this launcher sets, or reads its answer by.
_MANAGED = (
    "account", "array", "chdir", "cpus-per-task", "error", "export", "gpus", "gpus-per-node",
    "gpus-per-task", "job-name", "mem", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output",
    "parsable", "partition", "requeue", "signal", "time", "wait", "wckey", "wrap",
)  # fmt: skip
_TIMEOUTS = 1000  # how often an element may be queued again because its time was up
_ROOT = Path(__file__).parent.parent


def start() -> None:
    """Says early that submitit, or Slurm, is missing."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("launch.on_slurm", "slurm") from error


def launch(campaign: Campaign) -> int:
    """Runs, or submits, everything that is left."""
    for name in ("max_hours", "retries"):
        if not _WAIT.value and FLAGS[name].present:
            raise InputError(f"--{name}: needs the launcher to wait; leave it out with --nowait")
    folder = _folder(campaign)
    parameters = _parameters()
    if campaign.dry_run:
        say(f"submitit, cluster={_CLUSTER.value}, files in {folder}")
        say(" ".join(f"{name}={value}" for name, value in parameters.items()))
        told = " ".join(f"{name}={value}" for name, value in _environment().items())
        say(f"environment: {told}")
        for index, group in enumerate(_groups(campaign.left)):
            say(f"element {index}: " + ", ".join(issued.program_id for issued in group))
        return 0
    if _CLUSTER.value == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise InputError("--cluster=slurm: there is no sbatch here; local runs on this machine")
    if _CLUSTER.value == "debug" and not _WAIT.value:
        raise InputError("--nowait: with --cluster=debug this process is the one that runs")
    if _LOG_DIR.value is not None:
        with commands.naming("log_dir"):
            storage.usable_directory(folder)
    with campaign:
        if not campaign.left:
            return campaign.summary()
        executor = _executor(folder, parameters)
        stop = StopFile(folder)
        if not _WAIT.value:
            jobs = _submit(campaign, executor, _groups(campaign.left), stop)
            say("submitted: " + " ".join(job.job_id for job in jobs))
            return 0
        _run(campaign, executor, stop)
    return campaign.summary()


def _folder(campaign: Campaign) -> str:
    """Where submitit keeps its files."""
    if _LOG_DIR.value is not None:
        if not _LOG_DIR.value or storage.is_remote(_LOG_DIR.value):
            raise InputError(f"--log_dir={_LOG_DIR.value}: must be a local directory")
        return os.path.abspath(_LOG_DIR.value)
    if storage.is_remote(campaign.job.results_dir):
        raise InputError(
            "--log_dir: missing; rows are on an object store, and submitit needs a directory that "
            "every machine sees"
        )
    return os.path.abspath(os.path.join(campaign.job.results_dir, ".launch", "slurm"))


def _parameters() -> dict:
    """What submitit is told of each element."""
    shared = {
        "name": "lstm_jax",
        "timeout_min": _MINUTES.value,
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": _CPUS.value,
        "gpus_per_node": _GPUS.value,
        "mem_gb": _MEMORY.value,
    }
    if _CLUSTER.value != "slurm":
        return shared
    if not _GPUS.value:  # sbatch may refuse a count of 0
        del shared["gpus_per_node"]
    more = dict(_OPTIONS.value or [])
    if len(more) < len(_OPTIONS.value or []):
        raise InputError("--slurm_option: one is given twice")
    for name in more:
        if name.replace("_", "-") in _MANAGED:
            raise InputError(
                f"--slurm_option={name}: the launcher's own; it has flags for what varies"
            )
    named = {"slurm_partition": _PARTITION.value, "slurm_account": _ACCOUNT.value}
    return {
        **shared,
        **{name: value for name, value in named.items() if value is not None},
        "slurm_array_parallelism": _AT_ONCE.value,
        "slurm_additional_parameters": {"requeue": True, **more},
    }


def _groups(cohorts: Sequence[Issued]) -> list[list[Issued]]:
    """The cohorts of each element: neighbours share examples and are alike in length."""
    each = max(_PER_JOB.value, -(-len(cohorts) // _most()))
    return [list(cohorts[i : i + each]) for i in range(0, len(cohorts), each)]


def _most() -> int:
    """Elements of an array."""
    from lstm_jax import backend

    if _CLUSTER.value == "local":  # which starts them all at once
        return min(_ARRAY_SIZE.value, max(1, backend.cores() // _CPUS.value))
    return _ARRAY_SIZE.value


def _environment() -> dict[str, str]:
    """What is set for jobs, which begin where the launcher was started, with its environment."""
    path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {} if _CLUSTER.value == "debug" else cores.environment(_CPUS.value)
    return {"PYTHONPATH": os.pathsep.join(path), **own}


def _executor(folder: str, parameters: dict):
    import submitit

    os.environ.update(_environment())
    timeouts = {f"{name}_max_num_timeout": _TIMEOUTS for name in ("slurm", "local")}
    try:
        executor = submitit.AutoExecutor(folder, cluster=_CLUSTER.value, **timeouts)
        executor.update_parameters(**parameters)
    except OSError as error:
        raise InputError(f"--log_dir={folder}: cannot be written ({error.strerror})") from error
    return executor


def _submit(
    campaign: Campaign, executor, groups: Sequence[Sequence[Issued]], stop: StopFile
) -> list:
    """Submits one array; returns its jobs. `stop` is what its elements ask."""
    job = campaign.job
    if not storage.is_remote(job.results_dir):
        job = job._replace(results_dir=os.path.abspath(job.results_dir))
    here = _CLUSTER.value == "debug"
    element = Element(job, campaign.stop if here else stop)
    names = [[issued.program_id for issued in group] for group in groups]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what the error says too
            return executor.map_array(element, names)
    except (RuntimeError, subprocess.SubprocessError) as error:  # what sbatch says
        said = " ".join(str(error).split())[:500]
        raise OSError(f"--cluster={_CLUSTER.value}: {said}") from error


def _run(campaign: Campaign, executor, stop: StopFile) -> None:
    """Submits everything, and once more what was lost; until nothing is or a stop is asked."""
    count, again = len(campaign.left), False
    while count and not campaign.stop():
        batch = [campaign.next() for _ in range(min(count, _most()) if again else count)]
        batch = [issued for issued in batch if issued is not None]  # stopped on the way
        # A cohort that kills its process may take its neighbours along but once.
        groups = [[issued] for issued in batch] if again else _groups(batch)
        answers = _answers(campaign, executor, groups, stop)
        count, again = count - len(batch), True
        for issued in batch:
            answer = answers.get(issued.program_id, "not begun")
            if answer == DONE or campaign.stop():
                campaign.done(issued)
            else:
                campaign.lost(issued, answer)
                count += issued not in campaign.failures


def _answers(
    campaign: Campaign, executor, groups: Sequence[Sequence[Issued]], stop: StopFile
) -> dict[str, str]:
    """Submits an array and waits for it, or until a stop; returns what came of each cohort."""
    answers: dict[str, str] = {}
    waiting = dict(zip(_submit(campaign, executor, groups, stop), groups, strict=True))
    try:
        while waiting and not campaign.stop():
            for job in [job for job in waiting if not campaign.stop() and job.done()]:
                group = waiting.pop(job)
                answers |= _answers_of(job, group)
                for issued in group:
                    if answers.get(issued.program_id) == DONE:
                        say(f"{issued.label}: done")
            time.sleep(0.2)
        if _CLUSTER.value != "debug":  # which runs nothing by itself
            _end(list(waiting), stop)
    except BaseException:
        for job in waiting:
            job.cancel(check=False)
        raise
    return answers


def _answers_of(job, group: Sequence[Issued]) -> dict[str, str]:
    """What a job that ended answers, or that it does not."""
    # submitit would wait for a slow file system.
    if _CLUSTER.value != "local" or job.paths.result_pickle.exists():
        try:
            return job.result()
        except RuntimeError:  # of submitit; its text is the job's whole log
            pass
    reason = f"its job {job.job_id} broke off; see {job.paths.stderr}"
    return {issued.program_id: reason for issued in group}


def _end(jobs: list, stop: StopFile) -> None:
    """Has jobs save and end, and cancels those that have not after a while, or not begun."""
    if not jobs:
        return
    stop.ask()
    if _CLUSTER.value == "slurm":
        arrays = sorted({job.job_id.partition("_")[0] for job in jobs})
        subprocess.call(["scancel", "--state=PENDING", *arrays])
    until = time.monotonic() + GRACE_SECONDS
    while jobs and time.monotonic() < until:
        time.sleep(0.5)
        jobs[0].done(force_check=True)  # asks Slurm about all of them
        jobs = [job for job in jobs if not job.done()]
    for job in jobs:
        job.cancel(check=False)


if __name__ == "__main__":
    base.run(launch, FLAGS, __doc__, start)
