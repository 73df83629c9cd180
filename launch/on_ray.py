r"""Runs a sweep on Ray: each cohort is a task, on a cluster that is there, or one on this machine.

    python -m launch.on_ray --results_dir=results/gap_sweep -- experiments.gap_sweep --seeds=10
    python -m launch.on_ray --address=10.0.0.7:6379 --results_dir=gs://… --gpus_per_cohort=1 \
        -- experiments.gap_sweep --seeds=32

Ray places the tasks, and runs them again elsewhere where a worker or a machine dies. On a cluster
that is there (`ray start`; the launcher runs on one of its machines) the code of this checkout is
sent along; the packages that it needs must be installed, and files named behind `--` must be in the
checkout or seen by every machine. Ctrl-C and SIGTERM save everything.
"""

import contextlib
import logging
import os
import re
import signal
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from experiments.commands import ListOf, Number
from launch import base, cores
from launch.base import GRACE_SECONDS, Campaign, Issued, Job, say
from launch.locally import visible_gpus
from launch.stop_file import StopFile
from lstm_jax import storage
from lstm_jax.errors import InputError, MissingExtraError, first_line


class Resource(flags.ArgumentParser):
    """NAME:AMOUNT, of a resource that machines were started with."""

    syntactic_help = "NAME:AMOUNT, as tpu_host:1"

    def parse(self, argument):
        """Name and amount; ValueError says what is allowed."""
        if isinstance(argument, tuple):
            return argument
        found = re.fullmatch(r"([A-Za-z][\w.:-]*):(\d{1,6}(?:\.\d{1,4})?)", argument)
        if not found or not float(found[2]):
            raise ValueError(f"must be {self.syntactic_help}, with an amount above 0")
        if found[1].lower() in ("cpu", "gpu", "memory", "object_store_memory"):
            raise ValueError("is no resource of its own; see --cpus_per_cohort, --gpus_per_cohort")
        return found[1], float(found[2])


FLAGS = base.common_flags()
_ADDRESS = FLAGS.define(
    "address",
    None,
    "HOST:PORT of a cluster that is there, or auto for the one of this machine; none for a fresh "
    "one on this machine, which ends with the launcher",
)
_CPUS = FLAGS.define(
    "cpus_per_cohort", 1, "cores for each cohort", Number(1, whole=True, most=4096)
)
_GPUS = FLAGS.define(
    "gpus_per_cohort",
    0,
    "GPUs for each cohort; 0.5 lets two share one",
    Number(0, whole=False, most=64),
)
_RESOURCES = FLAGS.define(
    "resources",
    None,
    "what else each cohort needs of its machine, as tpu_host:1",
    ListOf(Resource()),
)
_ANSWER_SECONDS = 10
_ROOT = Path(__file__).parent.parent
# Of the checkout, what machines need not be sent.
_NOT_SENT = ["/.git", "/.venv", "/results", "/data", "/docs", "/tests", "/benchmarks"]


def start() -> None:
    """Says early that Ray is missing."""
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("launch.on_ray", "ray") from error


def run_task(job: Job, program_id: str, directory: str, stop: StopFile) -> bool:
    """What Ray runs, in one of its processes; returns whether every trial has ended.

    Args:
      job: what is run.
      program_id: of the cohort.
      directory: where the launcher was started, for the paths of a user's files.
      stop: asked between chunks.

    Raises:
      InputError, OSError: as `launch.worker.run_cohort`.
    """
    from launch import worker

    if stop():  # many may wait in line
        return False
    with contextlib.suppress(OSError):  # another machine; there it is the checkout
        os.chdir(directory)
    return not worker.run_cohort(job, program_id, stop=stop).left


def launch(campaign: Campaign) -> int:
    """Runs everything that is left."""
    resources = dict(_RESOURCES.value or [])
    if len(resources) < len(_RESOURCES.value or []):
        raise InputError("--resources: one is given twice")
    options = {
        "num_cpus": _CPUS.value,
        "num_gpus": _GPUS.value,
        "resources": resources,
        "max_retries": FLAGS["retries"].value,
        "retry_exceptions": True,
        # A process keeps the accelerator that it has started on.
        "max_calls": 1 if _GPUS.value or resources else 0,
    }
    host_and_port = _checked(resources)
    if campaign.dry_run:
        say(f"Ray: {_ADDRESS.value or 'a fresh cluster on this machine'}; each cohort a task with")
        say(" ".join(f"{name}={value}" for name, value in options.items()))
        return 0
    if host_and_port is not None:
        _reach(*host_and_port)
    with campaign:
        if campaign.left:
            with _ray():
                _run(campaign, options)
    return campaign.summary()


def _checked(resources: dict[str, float]) -> tuple[str, int] | None:
    """Host and port of the address, if it has any.

    Raises:
      InputError: the cluster cannot be what the flags say, as far as can be seen from here.
    """
    from lstm_jax import backend

    address = _ADDRESS.value
    if address is None:
        if resources:
            raise InputError("--resources: a fresh cluster has none; give --address")
        for flag, there in (
            ("cpus_per_cohort", backend.cores()),
            ("gpus_per_cohort", len(visible_gpus())),
        ):
            if FLAGS[flag].value > there:
                raise InputError(f"--{flag}={FLAGS[flag].value}: this machine has {there}")
    if address is None or address == "auto":
        return None
    found = re.fullmatch(r"([\w.-]+):(\d{1,5})", address)
    if not found or not 0 < int(found[2]) < 2**16:
        raise InputError(f"--address={address}: must be HOST:PORT or auto")
    return found[1], int(found[2])


def _reach(host: str, port: int) -> None:
    """Raises OSError if no Ray can be there; Ray itself would try for minutes."""
    import grpc

    try:
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise OSError(f"--address={_ADDRESS.value}: {error.strerror or error}") from error
    if os.environ.get("RAY_USE_TLS", "0") != "0":  # with certificates that only Ray knows
        return
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise OSError(f"--address={_ADDRESS.value}: what answers there is not Ray") from error


@contextlib.contextmanager
def _ray() -> Iterator[None]:
    """Ray while the context lasts."""
    import ray

    from lstm_jax import backend, provenance

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is run here is nobody's business
    variables = cores.environment(_CPUS.value)
    if _GPUS.value % 1:
        variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if _ADDRESS.value is None:
        path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        options = {
            "address": "local",
            "num_cpus": backend.cores(),
            "object_store_memory": 100 * 2**20,  # rows do not pass through Ray
            "include_dashboard": False,
            "runtime_env": {"env_vars": variables | {"PYTHONPATH": os.pathsep.join(path)}},
        }
    else:
        options = {
            "address": _ADDRESS.value,
            "runtime_env": {
                "env_vars": variables | provenance.environment(),
                "working_dir": str(_ROOT),
                "excludes": _NOT_SENT,
            },
        }
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            with warnings.catch_warnings():
                # JAX warns of forks; those of Ray start other programs at once.
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
                ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
        except Exception as error:  # of many kinds
            raise OSError(f"--address={_ADDRESS.value}: {first_line(error)[:300]}") from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray takes it
        yield
    finally:
        ray.shutdown()


def _run(campaign: Campaign, options: dict) -> None:
    """Hands every cohort to Ray, and takes what comes back until all have or a stop is asked."""
    import ray

    _say_if_no_room(options)
    job = campaign.job
    if not storage.is_remote(job.results_dir):
        job = job._replace(results_dir=os.path.abspath(job.results_dir))
    # Not ray.cancel: a task that ends by itself just then crashes the launcher (Ray 2.60).
    stop = StopFile(os.path.join(job.results_dir, ".launch"))
    task = ray.remote(**options)(run_task)
    waiting = {
        task.options(name=issued.label).remote(job, issued.program_id, os.getcwd(), stop): issued
        for issued in campaign.left
    }
    while waiting and not campaign.stop():
        for reference in ray.wait(list(waiting), timeout=0.2)[0]:
            _take(campaign, reference, waiting.pop(reference))
    if waiting:
        stop.ask()
        ray.wait(list(waiting), num_returns=len(waiting), timeout=GRACE_SECONDS)


def _say_if_no_room(options: dict) -> None:
    """Warns where no machine has what a cohort needs: Ray waits for one that may yet come."""
    import ray

    needs = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options["resources"]}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(has.get(n, 0) >= needs[n] for n in needs) for has in machines):
        say(f"no machine has {needs} now; Ray waits for one that has")


def _take(campaign: Campaign, reference, issued: Issued) -> None:
    """Books what came of a task."""
    import ray

    try:
        reason = "" if ray.get(reference) else "stopped, but not by this launcher"
    except Exception as error:  # what the task raised, or why Ray gave it up
        reason = first_line(getattr(error, "cause", None) or error)
    if not reason:
        say(f"{issued.label}: done")
        return
    campaign.failures[issued] = f"{reason} (retries: {FLAGS['retries'].value})"
    say(f"{issued.label}: {reason}; given up")


if __name__ == "__main__":
    base.run(launch, FLAGS, __doc__, start)
