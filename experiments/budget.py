"""Would it have remembered farther, had it been trained longer?

    python -m experiments.budget --results_dir=results/gap_sweep

Reads the evaluations that a sweep has logged, and writes the horizon at each smaller budget, with
the exponent of its growth, into budget.md and horizon_against_updates.png and .svg. It trains
nothing and needs no JAX. For larger budgets raise `--updates` of the sweep, which goes on where it
was.
"""

from experiments import commands
from lstm_jax.why.budget_page import redraw

FLAGS = commands.Flags()
_RESULTS_DIR = FLAGS.define(
    "results_dir", "results/gap_sweep", "a directory with the rows of a sweep"
)


def main() -> None:
    """Draws, and says what was written."""
    with commands.naming("results_dir"):
        text, paths = redraw(_RESULTS_DIR.value)
    print(text + "\n" + "\n".join(f"wrote {path}" for path in paths))


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
