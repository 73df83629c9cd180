"""Where the time of a layer's forward and backward pass goes, part by part, on one core.

    python -m benchmarks.layer_parts --cells=lstm,gru,rnn

Each part is a scan of its own, written out by hand: the recurrent product alone; with the gates;
with what the backward pass needs written down; the backward scan's product alone; the whole
backward scan; the weight gradient. What `unroll` takes stands beside their sum, and beside the
floor: three products at the rate of a 2048 x 2048 one. Prints Markdown.
"""

import os
import statistics
import time

import jax
from absl import app, flags

from benchmarks.by_hand import PARTS, parts
from benchmarks.peers import GATES
from lstm_jax import backend

_CELLS = flags.DEFINE_list("cells", list(GATES), "Cells.")
_SHAPES = flags.DEFINE_list(
    "shapes",
    ["100x32x2x32", "100x32x10x64", "100x64x2x128", "500x20x10x128", "100x128x10x256"],
    "Shapes TxBxIxH: time, batch, input, hidden.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Rounds; medians over them are printed.")


def main(argv: list[str]) -> None:
    del argv
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax.config.update("jax_num_cpu_devices", 1)
    backend.keep_freed_memory()
    print("| cell | T,B,I,H | floor | " + " | ".join(PARTS[1:]), end="")
    print(" | floor over parts | floor over unroll |")
    print("| --- | --- |" + " ---: |" * (len(PARTS) + 2))
    for name in _CELLS.value:
        for text in _SHAPES.value:
            shape = tuple(int(size) for size in text.split("x"))
            steps, batch, inputs, hidden = shape
            calls = parts(name, *shape)
            seconds = {part: [] for part in PARTS}
            for _ in range(_ROUNDS.value):
                for part, call in calls.items():
                    start = time.perf_counter()
                    call()
                    seconds[part].append(time.perf_counter() - start)
            ms = {part: 1e3 * statistics.median(values) for part, values in seconds.items()}
            work = 2 * steps * batch * (inputs + hidden) * GATES[name] * hidden
            floor = 3 * work * ms["2048 product"] / (2 * 2048**3)
            together = ms["forward, saving"] + ms["backward scan"] + ms["weight product"]
            numbers = " | ".join(f"{ms[part]:.2f}" for part in PARTS[1:])
            print(
                f"| {name} | {steps},{batch},{inputs},{hidden} | {floor:.2f} | {numbers} "
                f"| {floor / together:.0%} | {floor / ms['unroll']:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
