"""How long 10,000 trials take to list and load, on a disk and on an object store 50 ms away.

    python -m benchmarks.results_scale --workdir=/tmp/results_scale

The store is the one of the tests, a process of its own; rows are made up. Prints Markdown.
"""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from absl import app, flags

from lstm_jax import results, storage

_WORKDIR = flags.DEFINE_string("workdir", "", "Where rows go.")
_TRIALS = flags.DEFINE_integer("trials", 10_000, "Trials.")
_EVALUATIONS = flags.DEFINE_integer("evaluations", 12, "Evaluations of each.")
_LATENCY = flags.DEFINE_float("latency", 0.05, "Seconds before each answer of the store.")
TESTS = Path(__file__).parent.parent / "tests"
BUCKET = "gs://bucket/results"


def files(count: int, evaluations: int) -> dict[str, bytes]:
    """Results files by name."""
    sys.path.insert(0, str(TESTS))
    import json

    import made_rows

    made = {}
    for number in range(count):
        trial = made_rows.trial_row(seed=number % 100, gap=1 + number // 100)
        rows = [
            trial,
            *(made_rows.evaluation_row(trial, 50 * i, 0.5) for i in range(1, evaluations + 1)),
            made_rows.end_row(trial, 0.5, 50 * evaluations),
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        made[trial["trial_id"] + results.SUFFIX] = text.encode()
    return made


def timed(directory: str, count: int) -> tuple[float, float]:
    """Seconds to list, and to list and load."""
    start = time.perf_counter()
    assert len(storage.names(directory, results.SUFFIX)) == count
    listed = time.perf_counter() - start
    start = time.perf_counter()
    records = results.read_directory(directory)
    assert len(records) == count
    assert all(record.end for record in records)
    return listed, time.perf_counter() - start


def main(argv: list[str]) -> None:
    del argv
    if not _WORKDIR.value:
        raise app.UsageError("--workdir=: give a directory")
    local = Path(_WORKDIR.value) / "rows"
    local.mkdir(parents=True, exist_ok=True)
    made = files(_TRIALS.value, _EVALUATIONS.value)
    for name, data in made.items():
        (local / name).write_bytes(data)
    lines = [("disk", *timed(str(local), len(made)), "")]
    store = subprocess.Popen(
        [sys.executable, TESTS / "fake_gcs.py", "--port=0", f"--filled_from={local}",
         f"--latency={_LATENCY.value}"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )  # fmt: skip
    try:
        for line in iter(store.stdout.readline, "\n"):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            os.environ[name] = value
        seconds = timed(BUCKET, len(made))
        address = os.environ["STORAGE_EMULATOR_HOST"]
        with urllib.request.urlopen(f"{address}/requests") as answer:
            requests = int(re.sub(rb"\D", b"", answer.read()))
        place = f"store, {1e3 * _LATENCY.value:.0f} ms"
        lines.append((place, *seconds, f"{requests:,}"))
    finally:
        store.kill()
        store.wait()
    size = sum(map(len, made.values()))
    print(f"{len(made):,} trials of {_EVALUATIONS.value} evaluations, {size / 2**20:.0f} MiB\n")
    print("| where | list (s) | list and load (s) | requests |\n| --- | ---: | ---: | ---: |")
    for place, listed, loaded, requests in lines:
        print(f"| {place} | {listed:.2f} | {loaded:.2f} | {requests} |")


if __name__ == "__main__":
    app.run(main)
