"""What launching adds to a trial: 1,000 tiny trials by launchers, and by their own command.

    python -m benchmarks.launch_overhead --workdir=/tmp/launch_overhead

All run on one core with the same warm compile cache; the difference over the number of trials is
what starting workers, handing out cohorts and collecting answers costs. Jobs of `launch.on_slurm`
run here, by submitit's local executor. Needs the extras `ray` and `slurm`. Prints Markdown.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

_WORKDIR = flags.DEFINE_string("workdir", "", "Where rows and caches go; emptied first.")
_GAPS = flags.DEFINE_integer("gaps", 20, "Gaps; each has two cells of 25 seeds.")
_PER_JOB = flags.DEFINE_integer("per_job", 10, "Cohorts of a job of launch.on_slurm.")
_ROUNDS = flags.DEFINE_integer("rounds", 2, "Times that each is run, in turn.")

OWN = "its own command"


def main(argv: list[str]) -> None:
    del argv
    if not _WORKDIR.value:
        raise app.UsageError("--workdir=: give a directory that may be emptied")
    workdir = Path(_WORKDIR.value)
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    gaps = ",".join(str(gap) for gap in range(2, 2 + _GAPS.value))
    cache = f"--compile_cache={workdir / 'cache'}"
    sweep = [
        "experiments.gap_sweep", f"--gaps={gaps}", "--cells=rnn,gru", "--seeds=25", "--updates=10",
        "--eval_every=10", "--hidden_size=4", "--batch_size=4",
    ]  # fmt: skip
    launchers = {
        "launch.locally": ["launch.locally", "--workers=1"],
        "launch.on_ray, a fresh cluster": ["launch.on_ray"],
        f"launch.on_slurm, {_PER_JOB.value} cohorts a job": [
            "launch.on_slurm", "--cluster=local", f"--cohorts_per_job={_PER_JOB.value}"
        ],
    }  # fmt: skip

    def command(name, rows):
        own = [cache, f"--results_dir={rows}"]
        return [*launchers[name], *own, "--", *sweep] if name in launchers else [*sweep, *own]

    names = [OWN, *launchers]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(_ROUNDS.value + 1):
        for number, name in enumerate(names if round_ else [OWN]):  # the first fills the cache
            rows = workdir / f"rows-{round_}-{number}"
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", *command(name, rows)], check=True, stdout=subprocess.DEVNULL
            )
            if round_:
                seconds[name].append(time.perf_counter() - start)
    trials = 50 * _GAPS.value
    print(f"{trials} trials in {2 * _GAPS.value} cohorts, one core, {_ROUNDS.value} rounds\n")
    print("| run by | seconds | added to a trial, ms | of a trial of 2 s |")
    print("| --- | ---: | ---: | ---: |")
    for name, values in seconds.items():
        added = [(one - own) / trials for one, own in zip(values, seconds[OWN], strict=True)]
        middle = statistics.median(added)
        print(
            f"| {name} | {min(values):.1f} to {max(values):.1f} | {1e3 * middle:.1f} "
            f"| {middle / 2:.1%} |"
        )


if __name__ == "__main__":
    app.run(main)
