"""Puts all rows of a results directory into one Parquet file.

    python -m experiments.compact --results_dir=results/gap_sweep

Writes results.parquet, which pandas and DuckDB read in one line, and results.parquet.json, which
says what went in. The rows stay where they are. It needs the extra `parquet`, and no JAX.
"""

from experiments import commands
from lstm_jax.compact import compact

FLAGS = commands.Flags()
_RESULTS_DIR = FLAGS.define(
    "results_dir", "results/gap_sweep", "a directory with the rows of a sweep"
)


def main() -> None:
    """Writes both files, and says what went in."""
    with commands.naming("results_dir"):
        description, paths = compact(_RESULTS_DIR.value)
    counts = ", ".join(f"{count} {kind}" for kind, count in description["rows"].items())
    print(f"{counts} rows, {description['bytes']:,} bytes")
    print("\n".join(f"wrote {path}" for path in paths))


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
