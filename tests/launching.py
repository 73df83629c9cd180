"""What the tests of launchers share: a small sweep, commands, rows that may not differ."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from lstm_jax import results

ROOT = Path(__file__).parent.parent
SWEEP = [
    "experiments.gap_sweep", "--task=recall:lead_in=2:symbols=4", "--cells=rnn,gru", "--gaps=2,3",
    "--seeds=2", "--updates=20", "--hidden_size=8", "--batch_size=8", "--eval_every=10",
]  # fmt: skip
# Two cohorts that take a while: nobody solves it.
LONG = [
    *SWEEP, "--updates=4000", "--eval_every=100", "--task=recall:lead_in=2:symbols=32", "--gaps=10"
]  # fmt: skip
ENDLESS = [*LONG, "--updates=1000000"]  # for what is told to stop, and not gone on with
# A cell whose cohorts kill their process when they are compiled; its check does not. With a path
# for MARK it does so once.
DEADLY = """
import os
import pathlib
import threading

from lstm_jax.cells import CELLS


def deadly(input_size, hidden_size):
    rnn = CELLS["rnn"](input_size, hidden_size)

    def init(key):
        mark = MARK
        compiling = threading.current_thread().name.startswith("compile")
        if compiling and not (mark and pathlib.Path(mark).exists()):
            if mark:
                pathlib.Path(mark).touch()
            os._exit(77)
        return rnn.init(key)

    return rnn._replace(init=init)
"""
# Two nodes of one core each. The lines `kill` and `add` end the second and start another; the end
# of input ends both.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

own = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**own, "include_dashboard": False})


def added(number):
    # A folder of its own for what is sent, as on a machine of its own: killed while it unpacks, a
    # node would leave half of it to the others.
    return cluster.add_node(**own, runtime_env_dir_name=f"runtime_resources_{number}")


second, nodes = added(1), 1
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "kill\\n":
        cluster.remove_node(second, allow_graceful=False)
    else:
        nodes += 1
        second = added(nodes)
    print("done", flush=True)
cluster.shutdown()
"""
_FLEETING = ("provenance", "cohort_seconds", "cohort_size", "compile_seconds")


def command(module, *arguments, **options):
    """Starts `python -m MODULE ARGUMENTS`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environment", {})}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def ended(process, status=0):
    """What a command printed; it must end with this status."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == status, out + err
    assert "Traceback" not in err, err
    return out, err


def rows(directory):
    """What may not differ, of all trials in order of id: everything but times and where it ran."""
    return [
        [{k: v for k, v in row.items() if k not in _FLEETING} for row in lines]
        for record in results.read_directory(directory)
        for lines in [[record.trial, *record.evaluations, *record.ends]]
    ]


def undisturbed(sweep, directory):
    """Rows of a sweep by its own command."""
    ended(command(sweep[0], *sweep[1:], f"--results_dir={directory}"))
    return rows(directory)


def wait_until(holds, process, seconds=100):
    """Waits until something holds, while a process runs."""
    until = time.time() + seconds
    while not holds():
        assert time.time() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def unfinished(directory, count=1):
    """Whether so many trials at least have been evaluated and not ended."""

    def holds():
        found = results.read_directory(directory) if list(directory.glob("*.jsonl")) else []
        return sum(bool(record.evaluations) and not record.end for record in found) >= count

    return holds


def here(module, flags):
    """Runs a launcher's command line in this process, for speed; returns its exit status."""
    from experiments import gap_sweep
    from launch import base

    arguments, sys.argv = sys.argv, ["launch", *flags]
    try:
        start = getattr(module, "start", lambda: None)
        base.run(module.launch, module.FLAGS, module.__doc__, start)
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = arguments
        forget(module.FLAGS)
        forget(gap_sweep.FLAGS)


def sweep_here(flags, directory):
    """Runs a command line of `experiments.gap_sweep` in this process and a directory, for speed;
    returns its exit status."""
    from experiments import commands, gap_sweep

    before, arguments = os.getcwd(), sys.argv
    os.chdir(directory)
    sys.argv = ["gap_sweep", *flags]
    try:
        commands.run(gap_sweep.main, gap_sweep.FLAGS, gap_sweep.__doc__)
    except SystemExit as end:
        return end.code
    finally:
        os.chdir(before)
        sys.argv = arguments
        forget(gap_sweep.FLAGS)


def forget(flags):
    """Takes flags back to before any was given, for the next command line in this process."""
    flags.unparse_flags()
    for name in flags.flag_values_dict():
        flags[name].unparse()


def one_line(module, flags, capfd):
    """Runs a launcher's command line that cannot be used; returns status and its error."""
    status = here(module, flags)
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("error: ")
    return status, error


def processes_with(variable):
    """Processes, by id, whose environment has this NAME=VALUE."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (path / "environ").read_bytes().decode(errors="replace").split("\0"):
                found[int(path.name)] = (path / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:  # ended, or another's
            continue
    return found


@contextlib.contextmanager
def ray_cluster(**environment):
    """A Ray cluster of two nodes while the context lasts.

    Yields:
      A function that takes `kill` or `add`, for the second node; and the address.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment},
    )  # fmt: skip

    def order(word):
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        assert any(line == "done\n" for line in process.stdout)

    address = next(line for line in process.stdout if line[0].isdigit()).strip()
    try:
        yield order, address
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
