"""What a second core is worth: updates a second of cohorts, side by side.

    python -m benchmarks.devices --rounds=9

Three ways to train the same cohort, timed in turn in every round: one process with one core; one
process with a device a core, as experiments run; and a process a core with a share of the trials
each, all at once. The last shares nothing but the machine: what it gains is what the machine
has to give, and the second way can hardly gain more. Prints Markdown, with quartiles in brackets.
"""

import multiprocessing
import os
import time

import numpy as np
from absl import app, flags

_CELLS = flags.DEFINE_list("cells", ["rnn", "lstm", "gru"], "Cells.")
_GAPS = flags.DEFINE_list("gaps", ["20", "160"], "Gaps.")
_SEEDS = flags.DEFINE_list("seeds", ["2", "8", "32"], "Trials of a cohort.")
_HIDDEN = flags.DEFINE_integer("hidden_size", 32, "As the flag of experiments.gap_sweep.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds; medians over them are printed.")
_SECONDS = flags.DEFINE_float("seconds", 0.5, "That one call takes, about.")


def worker(pipe, sweep: list[str], cores: list[int]) -> None:
    """Answers (cell, gap, trials) once compiled, and a number of updates once they are done."""
    os.sched_setaffinity(0, cores)
    from experiments import work
    from lstm_jax import backend
    from lstm_jax import sweep as sweeps
    from lstm_jax.cohort import compile_cohort

    backend.set_up("off")
    import jax

    loaded = work.load(sweep[0], sweep[1:])
    cohorts = {
        (cohort.trials[0].cell, cohort.trials[0].gap): cohort
        for cohort in sweeps.cohorts(loaded.trials, loaded.catalogue)
    }
    while (request := pipe.recv()) is not None:
        if isinstance(request, tuple):
            cell, gap, trials = request
            cohort = cohorts[cell, gap]
            ready = compile_cohort(cohort._replace(trials=cohort.trials[:trials]), loaded.catalogue)
            place = ready.program.place
            rates, seeds, state = place(ready.learning_rates), place(ready.seeds), ready.state
            done = 0
        else:
            done += request
            until = place(np.full(len(ready.seeds), done, np.int32))
            state, _ = ready.program.advance(state, seeds, rates, until, ready.data)
            jax.block_until_ready(state)
        pipe.send(None)


class Way:
    """Processes that train one cohort together."""

    def __init__(self, sweep: list[str], cores: list[list[int]]):
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        for own in cores:
            pipe, other = context.Pipe()
            context.Process(target=worker, args=(other, sweep, own), daemon=True).start()
            self.pipes.append(pipe)

    def ask(self, request) -> float:
        """Seconds until all have answered."""
        start = time.perf_counter()
        for pipe in self.pipes:
            pipe.send(request)
        for pipe in self.pipes:
            pipe.recv()
        return time.perf_counter() - start


def main(argv: list[str]) -> None:
    del argv
    cores = sorted(os.sched_getaffinity(0))
    most = max(int(seeds) for seeds in _SEEDS.value)
    sweep = [
        "experiments.gap_sweep", f"--cells={','.join(_CELLS.value)}", f"--seeds={most}",
        f"--gaps={','.join(_GAPS.value)}", f"--hidden_size={_HIDDEN.value}",
    ]  # fmt: skip
    one, devices, processes = (
        Way(sweep, [cores[:1]]),
        Way(sweep, [cores]),
        Way(sweep, [[core] for core in cores]),
    )
    print("| cell | gap | seeds | one core, trials' updates a second ", end="")
    print(f"| {len(cores)} devices over it | {len(cores)} processes over it |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for cell in _CELLS.value:
        for gap in map(int, _GAPS.value):
            for trials in map(int, _SEEDS.value):
                ways = ((one, trials), (devices, trials), (processes, trials // len(cores)))
                for way, own in ways:
                    way.ask((cell, gap, own))
                    way.ask(2)
                updates = max(2, int(_SECONDS.value * 5 / one.ask(5)))
                seconds = np.array(
                    [[way.ask(updates) for way, _ in ways] for _ in range(_ROUNDS.value)]
                )
                rate = trials * updates / np.median(seconds[:, 0])
                gains = np.quantile(seconds[:, :1] / seconds[:, 1:], (0.25, 0.5, 0.75), axis=0)
                text = (f"{middle:.2f} [{low:.2f}, {high:.2f}]" for low, middle, high in gains.T)
                print(
                    f"| {cell} | {gap} | {trials} | {rate:,.0f} | {' | '.join(text)} |", flush=True
                )
    for way in (one, devices, processes):
        for pipe in way.pipes:
            pipe.send(None)


if __name__ == "__main__":
    app.run(main)
