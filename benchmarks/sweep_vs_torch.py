"""The default gap sweep against the same work in PyTorch, whole wall-clock.

    pip install -e .[bench]
    python -m benchmarks.sweep_vs_torch --workdir=/tmp/sweep_vs_torch

Runs, each in a process of its own and one after another:

1. `python -m experiments.gap_sweep` with an empty compile cache, and once more with that cache;
2. the same trials as a competent PyTorch user would write them: `nn.RNN`, `nn.GRU`, `nn.LSTM`
   (fused CPU kernels), batches drawn in one vectorised call, Adam, clipping, the same evaluations.
   Every trial does exactly the updates and evaluations that ours did, read from our rows, so that
   luck in stopping early favours nobody. In two arrangements of the cores: one process that uses
   all threads, and one single-threaded process a core; the faster counts.

With `--cohorts` it also times one cohort of 1, 8, 32 seeds without evaluations, ours compiled
beforehand. Prints Markdown.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

_WORKDIR = flags.DEFINE_string("workdir", "", "Where rows and caches go; emptied first.")
_SWEEP_FLAGS = flags.DEFINE_list("sweep_flags", [], "Flags handed on to the gap sweep.")
_COHORTS = flags.DEFINE_list("cohorts", ["1", "8", "32"], "Sizes of single cohorts to time.")
_COHORT_GAP = flags.DEFINE_integer("cohort_gap", 40, "Gap of the single cohorts.")

SYMBOLS = DISTRACTORS = 8
LEAD_IN = 16
MONITOR, REPORT, BATCH, RATE, CLIP = 512, 2048, 32, 3e-3, 1.0


def torch_trial(work: dict) -> None:
    """One trial of `recall` in PyTorch: `work` says cell, hidden, gap, seed, updates,
    evaluations."""
    import torch
    from torch import nn

    torch.manual_seed(work["seed"])
    inputs, hidden, gap = 2 * SYMBOLS + 1, work["hidden"], work["gap"]
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[work["cell"].partition(":")[0]]
    layer, readout = kind(inputs, hidden), nn.Linear(hidden, SYMBOLS)
    if "orthogonal" in work["cell"]:
        nn.init.orthogonal_(layer.weight_hh_l0)
    if work["cell"].startswith("lstm"):
        with torch.no_grad():
            layer.bias_hh_l0[hidden : 2 * hidden] += 1.0
    parameters = [*layer.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, RATE)
    length = LEAD_IN + gap + 1
    hot = torch.eye(inputs)

    def draw(size):
        tokens = torch.randint(SYMBOLS, SYMBOLS + DISTRACTORS, (length, size))
        cue, start = torch.randint(SYMBOLS, (size,)), torch.randint(LEAD_IN + 1, (size,))
        column = torch.arange(size)
        tokens[start, column] = cue
        tokens[start + gap, column] = 2 * SYMBOLS
        return hot[tokens], cue, start + gap, column

    def predict(inputs, use, column):
        outputs, _ = layer(inputs)
        return readout(outputs[use, column])

    monitor, report = draw(MONITOR), draw(REPORT)

    def score(examples):
        inputs, cue, use, column = examples
        with torch.no_grad():
            return (predict(inputs, use, column).argmax(1) == cue).float().mean().item()

    every = max(1, work["updates"] // max(1, work["evaluations"]))
    for update in range(1, work["updates"] + 1):
        inputs, cue, use, column = draw(BATCH)
        loss = nn.functional.cross_entropy(predict(inputs, use, column), cue)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        if work["evaluations"] and update % every == 0:
            score(monitor)
    if work["evaluations"]:
        score(report)


def torch_process(works: list[dict], threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    for work in works:
        torch_trial(work)


def torch_seconds(works: list[dict], processes: int, threads: int) -> float:
    """Seconds that processes of so many threads take for all of the work, start included."""

    def cost(work):
        return (work["gap"] + LEAD_IN + 1) * work["updates"]

    # The longest first, each to whoever has least, so that no process idles at the end.
    shares = [[] for _ in range(processes)]
    for work in sorted(works, key=cost, reverse=True):
        min(shares, key=lambda share: sum(map(cost, share))).append(work)
    context = multiprocessing.get_context("spawn")
    start = time.perf_counter()
    running = [context.Process(target=torch_process, args=(share, threads)) for share in shares]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise SystemExit("a PyTorch process failed")
    return time.perf_counter() - start


def our_seconds(workdir: Path, results: str) -> float:
    """Seconds of the whole sweep command, from its start to its figure."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(workdir / "cache")}
    command = [sys.executable, "-m", "experiments.gap_sweep", f"--results_dir={workdir / results}"]
    start = time.perf_counter()
    subprocess.run([*command, *_SWEEP_FLAGS.value], check=True, env=environment)
    return time.perf_counter() - start


def work_of(results: Path) -> list[dict]:
    """What each trial of ours did, for PyTorch to do the same."""
    works = []
    for path in sorted(results.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        trial = rows[0]
        evaluations = [row for row in rows if row["kind"] == "evaluation" and row["update"]]
        works.append(
            {
                "cell": trial["cell"],
                "hidden": trial["hidden_size"],
                "gap": trial["gap"],
                "seed": trial["seed"],
                "updates": max(row["update"] for row in evaluations),
                "evaluations": len(evaluations),
            }
        )
    return works


def cohort_rows() -> list[str]:
    """Trials a second of single cohorts, by size."""
    import jax
    import numpy as np

    from lstm_jax import backend
    from lstm_jax.cells import CELLS
    from lstm_jax.cohort import compile_cohort
    from lstm_jax.sweep import cohorts, make_sweep
    from lstm_jax.tasks import TASKS
    from lstm_jax.trial import Catalogue

    backend.set_up("off")
    catalogue, gap, updates = Catalogue(CELLS, TASKS), _COHORT_GAP.value, 200
    rows = []
    for size in map(int, _COHORTS.value):
        trials = make_sweep(
            catalogue,
            task="recall",
            cells=["lstm"],
            gaps=[gap],
            seeds=range(size),
            learning_rates=[RATE],
        )
        (cohort,) = cohorts(trials, catalogue)
        ready = compile_cohort(cohort, catalogue)
        place = ready.program.place
        until = np.full(len(ready.seeds), updates, np.int32)
        until[size:] = 0  # padding
        start = time.perf_counter()
        state, _ = ready.program.advance(
            ready.state, place(ready.seeds), place(ready.learning_rates), place(until), ready.data
        )
        jax.block_until_ready(state)
        ours = time.perf_counter() - start
        work = {"cell": "lstm", "hidden": 32, "gap": gap, "updates": updates, "evaluations": 0}
        works = [{**work, "seed": seed} for seed in range(size)]
        cores = backend.cores()
        imports = torch_seconds([], cores, 1)
        theirs = min(
            torch_seconds(works, 1, cores) - torch_seconds([], 1, cores),
            torch_seconds(works, min(cores, size), 1) - imports,
        )
        rows.append(
            f"| {size} | {size * updates / ours:,.0f} | {size * updates / theirs:,.0f} "
            f"| {theirs / ours:.2f} |"
        )
    return rows


def main(argv: list[str]) -> None:
    del argv
    from lstm_jax.backend import cores

    if not _WORKDIR.value:
        raise app.UsageError("--workdir=: give a directory that may be emptied")
    workdir = Path(_WORKDIR.value)
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    seconds = {}

    def timed(name, function, *arguments):
        seconds[name] = function(*arguments)
        print(f"{name}: {seconds[name]:.0f} s", flush=True)

    timed("lstm_jax, empty compile cache", our_seconds, workdir, "cold")
    timed("lstm_jax, warm compile cache", our_seconds, workdir, "warm")
    works = work_of(workdir / "cold")
    timed(f"PyTorch, {cores()} single-threaded processes", torch_seconds, works, cores(), 1)
    timed(f"PyTorch, one process, {cores()} threads", torch_seconds, works, 1, cores())
    best = min(value for name, value in seconds.items() if name.startswith("PyTorch"))
    updates = sum(work["updates"] for work in works)
    print(f"\n{len(works)} trials, {updates:,} updates, {cores()} cores\n")
    print("| whole sweep | seconds | PyTorch's best over it |\n| --- | ---: | ---: |")
    for name, value in seconds.items():
        print(f"| {name} | {value:.0f} | {best / value:.2f} |", flush=True)
    if _COHORTS.value:
        print(f"\nOne cohort of LSTMs at gap {_COHORT_GAP.value}, updates of a trial a second:\n")
        print("| seeds | lstm_jax | PyTorch's best | ratio |\n| ---: | ---: | ---: | ---: |")
        print("\n".join(cohort_rows()), flush=True)


if __name__ == "__main__":
    app.run(main)
