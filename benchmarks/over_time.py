"""Ways to run a cell over time, against the scan: linear cells in parallel, others by Newton.

    python -m benchmarks.over_time --table=linear
    python -m benchmarks.over_time --table=newton

One device, all cores. Each row is one process's rounds in turn over everything compared; medians
are printed, as Markdown. `linear`: forward and backward over random inputs, and how far the outputs
are from the scan's, of the largest. `newton`: iterations until it converged, at initialisation and
after training on `recall` at gap 10, and what that takes; `>` where it did not converge within 200.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from lstm_jax import backend
from lstm_jax.cells import CELLS
from lstm_jax.newton import Newton
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.training import assemble, make_program
from lstm_jax.trial import Catalogue
from lstm_jax.unroll import unroll_batch

_TABLE = flags.DEFINE_enum("table", "linear", ["linear", "newton"], "Which.")
_SHAPES = flags.DEFINE_list(
    "sizes", ["1024x32x64", "4096x32x64", "100000x8x64", "100000x1x32"], "TxBxH, of linear cells."
)
_CELLS = flags.DEFINE_list("names", None, "Cells; all linear ones, or rnn, gru and lstm.")
_STEPS = flags.DEFINE_list("lengths", ["128", "512", "1024", "4096"], "T, of Newton's method.")
_UPDATES = flags.DEFINE_integer(
    "training_updates", 600, "Of training, before the second row of a cell."
)
_ROUNDS = flags.DEFINE_integer("repeats", 5, "Medians over so many.")
_HIDDEN, _RATE, _MOST = 16, 1e-2, 200


def medians(calls: dict, rounds: int) -> dict:
    """Seconds of each call, compiled before."""
    seconds = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def forward_and_backward(cell, method: str, params, inputs, **options):
    """A call that waits for loss and gradients; and one that gives the whole result."""

    def loss(params, inputs):
        unrolled = unroll_batch(cell, params, inputs, method=method, time_major=True, **options)
        return (unrolled.outputs**2).mean(), unrolled

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    alone = jax.jit(jax.grad(lambda params, inputs: loss(params, inputs)[0]))
    return (
        lambda: jax.block_until_ready(alone(params, inputs)),
        lambda: run(params, inputs)[0][1],
    )


def linear(names: list[str], shapes: list[tuple[int, int, int]], rounds: int) -> None:
    """Prints the table of linear cells."""
    columns = ["deferred", "scan", "associative", "chunked"]
    print("| cell | T,B,H |", " | ".join(f"{name}, ms" for name in columns), end="")
    print(" | scan over chunked | deferred over chunked | chunked differs by |")
    print("| --- | --- |" + " ---: |" * (len(columns) + 3))
    for name in names:
        for steps, batch, hidden in shapes:
            cell = CELLS[name](8, hidden)
            params = cell.init(jax.random.key(0))
            inputs = jax.random.normal(jax.random.key(1), (steps, batch, 8))
            calls, outputs = {}, {}
            for method in columns:
                # Memories of all steps, and those of the levels of a parallel scan: gigabytes.
                most = {"associative": 50_000, "chunked": np.inf}.get(method, 200_000)
                if name == "mlstm" and steps * batch > most:
                    continue
                calls[method], whole = forward_and_backward(cell, method, params, inputs)
                if method in ("deferred", "chunked"):
                    outputs[method] = np.asarray(whole().outputs)
            seconds = medians(calls, rounds)
            told = [f"{1e3 * seconds[m]:.1f}" if m in seconds else "-" for m in columns]
            ratios = [
                f"{seconds[m] / seconds['chunked']:.2f}" if m in seconds else "-"
                for m in ("scan", "deferred")
            ]
            differs = "-"
            if "deferred" in outputs:
                largest = np.abs(outputs["deferred"]).max()
                differs = f"{np.abs(outputs['chunked'] - outputs['deferred']).max() / largest:.0e}"
            cells = " | ".join([*told, *ratios, differs])
            print(f"| {name} | {steps},{batch},{hidden} | {cells} |", flush=True)


def trained(name: str, updates: int):
    """A cell, the features that it takes, and its parameters before and after training."""
    catalogue = Catalogue(CELLS, TASKS)
    (trial,) = make_sweep(
        catalogue,
        task="recall",
        cells=[name],
        gaps=[10],
        seeds=[0],
        learning_rates=[_RATE],
        settings=Settings(hidden_size=_HIDDEN, match="hidden"),
    )
    made = assemble(trial, catalogue)
    program = make_program(
        made, 1, batch_size=32, matmul_precision="float32", devices=jax.devices()[:1]
    )
    seeds, rates = np.zeros(1, np.int32), np.full(1, _RATE, np.float32)
    found = {}
    for words, until in (("at the start", 0), (f"after {updates} updates", updates)):
        state, _ = program.advance(
            program.init(seeds), seeds, rates, np.full(1, until, np.int32), ()
        )
        (params,) = state.params["layer_params"].values()
        found[words] = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), params)
    return made.cell, made.cell_input_size, found


def newton(names: list[str], lengths: list[int], updates: int, rounds: int) -> None:
    """Prints the table of Newton's method, one sequence at a time."""
    print(f"| cell, {_HIDDEN} units | | T | iterations, full | diagonal | ", end="")
    print("scan, ms | full, ms | diagonal, ms |")
    print("| --- | --- |" + " ---: |" * 6)
    for name in names:
        cell, size, by_words = trained(name, updates)
        for words, params in by_words.items():
            for steps in lengths:
                tokens = jax.random.randint(jax.random.key(1), (steps, 1), 0, size)
                inputs = jax.nn.one_hot(tokens, size)
                calls, iterations = {}, []
                calls["scan"], _ = forward_and_backward(cell, "scan", params, inputs)
                for jacobian in ("full", "diagonal"):
                    calls[jacobian], whole = forward_and_backward(
                        cell,
                        "newton",
                        params,
                        inputs,
                        newton=Newton(jacobian, max_iterations=_MOST),
                    )
                    told = whole().convergence
                    sign = "" if bool(told.converged[0]) else "> "
                    iterations.append(f"{sign}{int(told.iterations[0])}")
                ms = [f"{1e3 * s:.1f}" for s in medians(calls, rounds).values()]
                cells = " | ".join([*iterations, *ms])
                print(f"| {name} | {words} | {steps} | {cells} |", flush=True)


def main(argv: list[str]) -> None:
    del argv
    jax.config.update("jax_num_cpu_devices", 1)
    backend.keep_freed_memory()
    if _TABLE.value == "linear":
        names = _CELLS.value or [name for name in CELLS if CELLS[name](8, 8).linear]
        shapes = [tuple(int(size) for size in text.split("x")) for text in _SHAPES.value]
        linear(names, shapes, _ROUNDS.value)
    else:
        names = _CELLS.value or ["rnn", "gru", "lstm"]
        newton(names, [int(steps) for steps in _STEPS.value], _UPDATES.value, _ROUNDS.value)


if __name__ == "__main__":
    app.run(main)
