"""Redraws the tables and the figures of an experiment from its rows.

    python -m experiments.figures --results_dir=results/gap_sweep

Writes them into that directory, of a sweep horizons.md and accuracy_against_gap.png and .svg, and
prints the tables. It trains nothing and needs no JAX; a sweep under way is drawn as far as it is.
"""

from experiments import commands
from lstm_jax.redrawing import redraw

FLAGS = commands.Flags()
_RESULTS_DIR = FLAGS.define(
    "results_dir", "results/gap_sweep", "a directory with the rows of an experiment"
)


def main() -> None:
    """Draws, and says what was written."""
    with commands.naming("results_dir"):
        text, paths = redraw(_RESULTS_DIR.value)
    print(text + "\n" + "\n".join(f"wrote {path}" for path in paths))


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
