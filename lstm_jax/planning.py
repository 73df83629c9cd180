"""What a sweep will cost, and how to fit it into given minutes."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from lstm_jax.cohort import compile_cohort
from lstm_jax.sweep import Cohort, cohorts
from lstm_jax.training import assemble, flops_per_step
from lstm_jax.trial import Catalogue, Trial

# Rough figures of one current processor core, for an estimate that runs nothing: a cohort's program
# compiles in about COMPILE_SECONDS, and a scan of small steps reaches about FLOPS a second.
COMPILE_SECONDS = 3.5
FLOPS = 20e9
FEWEST_SEEDS_FOR_INTERVALS = 5


class Speed(NamedTuple):
    """How fast this machine is; both by cell.

    Attributes:
      step_seconds: of one device for one step of the recurrence, forward and backward, one batch.
      compile_seconds: for one cohort.
    """

    step_seconds: dict[str, float]
    compile_seconds: dict[str, float]


class Plan(NamedTuple):
    """A sweep's size: what `fit` may reduce."""

    gaps: tuple[int, ...]
    seeds: int
    updates: int


def nominal_speed(trials: Sequence[Trial], catalogue: Catalogue) -> Speed:
    """An estimate from operation counts and rough figures; nothing is run."""
    step, compiling = {}, {}
    for trial in {trial.cell: trial for trial in trials}.values():
        assembly = assemble(trial, catalogue)
        flops = flops_per_step(assembly.cell, assembly.cell_input_size) or 0.0
        step[trial.cell] = 3 * flops * trial.batch_size * trial.layers / FLOPS  # forward, backward
        compiling[trial.cell] = COMPILE_SECONDS
    return Speed(step, compiling)


def probed_speed(trials: Sequence[Trial], catalogue: Catalogue, updates: int = 20) -> Speed:
    """Measures each cell at the sweep's smallest gap for a few updates; nothing is written."""
    step, compiling = {}, {}
    smallest = min(trial.gap for trial in trials)
    for trial in {trial.cell: trial for trial in trials if trial.gap == smallest}.values():
        devices = jax.device_count()
        group = tuple(dataclasses.replace(trial, seed=seed) for seed in range(devices))
        ready = compile_cohort(Cohort("probe", group), catalogue)
        place = ready.program.place
        arguments = [place(ready.seeds), place(ready.learning_rates)]
        start = time.perf_counter()
        until = place(0 * ready.seeds + updates)
        state, _ = ready.program.advance(ready.state, *arguments, until, ready.data)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - start
        step[trial.cell] = seconds / updates / ready.assembly.task.length
        compiling[trial.cell] = ready.seconds
    return Speed(step, compiling)


def cohort_seconds(cohort: Cohort, length: int, updates: int, speed: Speed) -> float:
    """Training time of one cohort if no trial stops early; evaluation adds about a tenth."""
    rounds = -(-len(cohort.trials) // jax.device_count())
    return 1.1 * rounds * updates * length * speed.step_seconds[cohort.trials[0].cell]


def sweep_seconds(
    trials: Sequence[Trial], catalogue: Catalogue, updates: int, speed: Speed
) -> float:
    """Upper estimate of the time of a whole sweep: no trial stops early, nothing is cached."""
    total = 0.0
    for cohort in cohorts(trials, catalogue):
        trial = cohort.trials[0]
        length = assemble(trial, catalogue).task.length
        total += cohort_seconds(cohort, length, updates, speed)
        total += speed.compile_seconds[trial.cell]
    return total


def describe(trials: Sequence[Trial], catalogue: Catalogue, updates: int) -> str:
    """The sweep as a table, a line a cohort, with an estimate of its cost from rough figures."""
    speed = nominal_speed(trials, catalogue)
    tasks = list(dict.fromkeys(trial.task for trial in trials))
    lines = [f"{'gap':>6}  {'length':>6}  {'trials':>6}  {'units':>5}  {'seconds':>7}  cell"]
    for cohort in cohorts(trials, catalogue):
        trial = cohort.trials[0]
        length = assemble(trial, catalogue).task.length
        seconds = cohort_seconds(cohort, length, updates, speed) + COMPILE_SECONDS
        lines.append(
            f"{trial.gap:>6}  {length:>6}  {len(cohort.trials):>6}  {trial.hidden_size:>5}  "
            f"{seconds:>7.1f}  {trial.cell}" + (f"  on {trial.task}" if len(tasks) > 1 else "")
        )
    total = sweep_seconds(trials, catalogue, updates, speed)
    lines.append(
        f"{len(trials)} trials of {' and '.join(tasks)}, at most {updates} updates each: at most "
        f"about {total / 60:.1f} minutes on {jax.device_count()} devices, if each reaches "
        f"{FLOPS / 1e9:.0f} GFLOP/s and a program compiles in {COMPILE_SECONDS:g} s"
    )
    return "\n".join(lines)


def fit(
    plan: Plan, minutes: float, eval_every: int, seconds: Callable[[Plan], float]
) -> tuple[Plan, str]:
    """The least reduced plan that fits, and what it gave up in words.

    Given up in this order: seeds beyond the five that intervals need, every second gap, half of the
    updates, the largest gaps, and seeds down to two.

    Args:
      plan: what was asked for.
      minutes: that may pass.
      eval_every: the updates stay a multiple of it.
      seconds: estimate of a plan.

    Returns:
      The plan (the smallest one if none fits) and a sentence.
    """
    chosen = plan
    for chosen in _reductions(plan, eval_every):
        if seconds(chosen) <= 60 * minutes:
            break
    estimate = f"at most about {seconds(chosen) / 60:.1f} minutes"
    changes = [
        f"{name} {_shown(before)} -> {_shown(after)}"
        for name, before, after in zip(plan._fields, plan, chosen, strict=True)
        if before != after
    ]
    if seconds(chosen) > 60 * minutes:
        changes.append("and even so it may take longer")
    if not changes:
        return chosen, f"--minutes={minutes:g}: nothing given up; {estimate}"
    return chosen, f"--minutes={minutes:g}: gave up {', '.join(changes)}; {estimate}"


def _reductions(plan: Plan, eval_every: int):
    """Ever smaller plans, the whole one first."""
    yield plan
    while plan.seeds > FEWEST_SEEDS_FOR_INTERVALS:
        plan = plan._replace(seeds=plan.seeds - 1)
        yield plan
    if len(plan.gaps) > 3:
        plan = plan._replace(gaps=tuple(sorted({*plan.gaps[::2], plan.gaps[-1]})))
        yield plan
    for share in (0.75, 0.5):
        updates = max(eval_every, round(plan.updates * share / eval_every) * eval_every)
        yield plan._replace(updates=updates)
    plan = plan._replace(updates=updates)
    while len(plan.gaps) > 2:
        plan = plan._replace(gaps=plan.gaps[:-1])
        yield plan
    while plan.seeds > 2:
        plan = plan._replace(seeds=plan.seeds - 1)
        yield plan


def _shown(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
