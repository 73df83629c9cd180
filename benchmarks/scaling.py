"""Cost and memory of an LSTM layer, forward + backward, against what they grow with.

    pip install -e .[bench]
    python -m benchmarks.scaling --out=docs/performance

Time against sequence length (whole, and in segments of sqrt(time) steps), hidden size, batch,
seeds of a cohort and devices; peak memory against length. Each point is a process of its own, so
that its peak memory is its own. Writes `scaling.csv` and `scaling.png`.
"""

import csv
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

_OUT = flags.DEFINE_string("out", "docs/performance", "Folder of the table and the figure.")
_LONGEST = flags.DEFINE_integer("longest", 100_000, "Longest sequence.")
_ONE = flags.DEFINE_string("one", "", "Used by the script itself: one point as JSON.")

BASE = {"steps": 100, "batch": 8, "hidden": 64, "segment": 0, "trials": 1, "devices": 1}
INPUT = 2


def points(longest: int) -> list[dict]:
    """What is measured; `axis` says for which panel."""
    lengths = [steps for steps in (16, 100, 1_000, 10_000, 30_000, 100_000) if steps <= longest]
    found = [{**BASE, "axis": "steps", "steps": steps} for steps in lengths]
    found += [
        {**BASE, "axis": "segments", "steps": steps, "segment": math.isqrt(steps)}
        for steps in lengths
    ]
    found += [{**BASE, "axis": "hidden", "hidden": size} for size in (16, 32, 64, 128, 256, 512)]
    found += [{**BASE, "axis": "batch", "batch": size} for size in (1, 8, 32, 128, 512)]
    for devices in sorted({1, len(os.sched_getaffinity(0))}):
        found += [
            {**BASE, "axis": f"{devices} devices", "trials": trials, "devices": devices}
            for trials in (2, 4, 8, 32)
        ]
    return found


def one(point: dict) -> dict:
    """Measures a point in this process: median seconds of a call, peak memory in MiB."""
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.sharding import AxisType, PartitionSpec

    from lstm_jax import backend
    from lstm_jax.cells import lstm
    from lstm_jax.unroll import unroll_batch

    devices = point["devices"]
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:devices]))
    jax.config.update("jax_num_cpu_devices", devices)
    backend.keep_freed_memory(devices)
    cell = lstm(INPUT, point["hidden"])
    shape = point["batch"], point["steps"], INPUT
    inputs = jax.random.normal(jax.random.key(0), shape)

    def loss(params, inputs):
        outputs = unroll_batch(cell, params, inputs, segment=point["segment"] or None).outputs
        return jnp.mean(outputs[:, -1] ** 2)

    def trial(seed):
        return jax.grad(loss)(cell.init(jax.random.key(seed)), inputs)

    mesh = jax.make_mesh((devices,), ("trial",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("trial")
    mapped = jax.shard_map(
        lambda seeds: lax.map(trial, seeds),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    run = jax.jit(mapped)
    seeds = jnp.arange(point["trials"])
    jax.block_until_ready(run(seeds))
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < 1 and len(seconds) < 50):
        start = time.perf_counter()
        jax.block_until_ready(run(seeds))
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**point, "milliseconds": 1e3 * statistics.median(seconds), "peak_mib": peak}


def draw(rows: list[dict], path: Path) -> None:
    """One panel an axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(12, 7), constrained_layout=True)
    of = {axis: [row for row in rows if row["axis"] == axis] for axis in {r["axis"] for r in rows}}

    def line(panel, axis, x, y, label, **style):
        panel.plot([row[x] for row in of[axis]], [row[y] for row in of[axis]], label=label, **style)

    whole = {"color": "#0072B2", "marker": "o"}
    cut = {"color": "#D55E00", "marker": "s", "linestyle": "--"}
    line(panels[0, 0], "steps", "steps", "milliseconds", "whole", **whole)
    line(panels[0, 0], "segments", "steps", "milliseconds", "segments of √T", **cut)
    line(panels[0, 1], "steps", "steps", "peak_mib", "whole", **whole)
    line(panels[0, 1], "segments", "steps", "peak_mib", "segments of √T", **cut)
    panels[0, 1].axhline(2048, color="0.4", linewidth=1)
    panels[0, 1].text(5_000, 2150, "2 GiB", color="0.3")
    line(panels[0, 2], "hidden", "hidden", "milliseconds", None, **whole)
    line(panels[1, 0], "batch", "batch", "milliseconds", None, **whole)
    styles = [whole, cut]
    devices = [axis for axis in of if axis.endswith("devices")]
    for axis, style in zip(sorted(devices), styles, strict=False):
        for row in of[axis]:
            row["per_second"] = 1e3 * row["trials"] / row["milliseconds"]
        line(
            panels[1, 1],
            axis,
            "trials",
            "per_second",
            axis.replace("1 devices", "1 device"),
            **style,
        )
    base = f"LSTM, T={BASE['steps']}, B={BASE['batch']}, H={BASE['hidden']} unless varied"
    panels[1, 2].axis("off")
    panels[1, 2].text(
        0, 0.5, f"{base};\nforward + backward, float32,\none core but in the last panel"
    )
    labels = [
        ("sequence length T (steps)", "time (ms)"),
        ("sequence length T (steps)", "peak memory of the process (MiB)"),
        ("hidden size H", "time (ms)"),
        ("batch B", "time (ms)"),
        ("seeds in a cohort", "trials a second"),
    ]
    titles = ["Length", "Memory", "Hidden size", "Batch", "Seeds and devices"]
    for panel, (x, y), title in zip(panels.flat, labels, titles, strict=False):
        panel.set(xlabel=x, ylabel=y, title=title, xscale="log", yscale="log")
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[1]:
            panel.legend()
    panels[1, 1].set(yscale="linear", ylim=0)
    for panel, axis, key in ((panels[0, 2], "hidden", "hidden"), (panels[1, 0], "batch", "batch")):
        panel.set_xticks([row[key] for row in of[axis]], [str(row[key]) for row in of[axis]])
        panel.minorticks_off()
    trials = sorted({row["trials"] for row in rows if row["axis"].endswith("devices")})
    panels[1, 1].set_xticks(trials, [str(size) for size in trials])
    panels[1, 1].minorticks_off()
    sizes = [256, 512, 1024, 2048, 4096]
    panels[0, 1].set_yticks(sizes, [f"{size:,}" for size in sizes])
    panels[0, 1].minorticks_off()
    figure.savefig(path, dpi=120)


def main(argv: list[str]) -> None:
    del argv
    if _ONE.value:
        print(json.dumps(one(json.loads(_ONE.value))))
        return
    rows = []
    for point in points(_LONGEST.value):
        command = [sys.executable, "-m", "benchmarks.scaling", f"--one={json.dumps(point)}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "scaling.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, out / "scaling.png")


if __name__ == "__main__":
    app.run(main)
