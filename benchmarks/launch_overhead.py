"""What launching adds to a trial: 1,000 tiny trials by `launch.locally`, and by their own command.

    python -m benchmarks.launch_overhead --workdir=/tmp/launch_overhead

Both run on one core with the same warm compile cache; the difference over the number of trials is
what starting workers, handing out cohorts and collecting answers costs. Prints Markdown.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

_WORKDIR = flags.DEFINE_string("workdir", "", "Where rows and caches go; emptied first.")
_GAPS = flags.DEFINE_integer("gaps", 20, "Gaps; each has two cells of 25 seeds.")
_ROUNDS = flags.DEFINE_integer("rounds", 2, "Times that each is run, in turn.")


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
    kinds = {
        "its own command": lambda rows: ["-m", *sweep, cache, f"--results_dir={rows}"],
        "launch.locally, 1 worker": lambda rows: [
            "-m", "launch.locally", "--workers=1", cache, f"--results_dir={rows}", "--", *sweep
        ],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(_ROUNDS.value + 1):  # the first fills the cache
        for name, arguments in kinds.items():
            start = time.perf_counter()
            rows = workdir / f"rows-{round_}-{len(name)}"
            subprocess.run(
                [sys.executable, *arguments(rows)], check=True, stdout=subprocess.DEVNULL
            )
            if round_:
                seconds[name].append(time.perf_counter() - start)
    trials = 50 * _GAPS.value
    print(f"{trials} trials in {2 * _GAPS.value} cohorts, one core\n")
    print("| run by | seconds |\n| --- | ---: |")
    for name, values in seconds.items():
        print(f"| {name} | {min(values):.1f} to {max(values):.1f} |")
    own, launched = (min(values) for values in seconds.values())
    added = (launched - own) / trials
    print(f"\nAdded: {1e3 * added:.1f} ms a trial, {added / 2:.1%} of a trial of 2 s.")


if __name__ == "__main__":
    app.run(main)
