"""How experiments that are no sweep run: one observation after another, none made twice."""

from collections.abc import Callable, Sequence

from etils import epath

from experiments import commands


def observe(
    asked: Sequence,
    kind,
    directory: epath.PathLike,
    told: Callable,
    said: Callable[[dict], str],
) -> tuple[list[dict], int | None]:
    """Makes every observation that is not there yet, and writes its row.

    Args:
      asked: what is to be observed, in order, as `observations.Asked`.
      kind: of the rows.
      directory: of results, usable.
      told: what one comes to, fields by name; provenance is added.
      said: a row in a line, for a person.

    Returns:
      The rows of `asked`, and None; or those there are and an exit status, after Ctrl-C or SIGTERM.

    Raises:
      InputError: a file in the way that is no row of this experiment.
      OSError: rows cannot be written.
    """
    from lstm_jax import observations
    from lstm_jax.progress import Bar
    from lstm_jax.provenance import provenance

    rows = []
    print(f"{len(asked)} observations; rows go to {directory}", flush=True)
    with commands.Interrupt("stopping after this observation") as stop, Bar() as bar:
        for index, one in enumerate(asked):
            bar.work(index, len(asked), one.slug)
            row = observations.read(directory, kind, one)
            if row is None:
                row = observations.write(directory, kind, one, {**told(one), **provenance()})
                bar.say(f"{one.slug}: {said(row)}")
            rows.append(row)
            if stop():
                return rows, stop.status
    return rows, None


def finish(directory: epath.PathLike, ended: int | None) -> int:
    """Draws what is there, says what was written, and gives the exit status."""
    from lstm_jax.redrawing import redraw

    if ended is not None:
        return ended
    text, paths = redraw(directory)
    print(f"\n{text}\n" + "\n".join(f"wrote {path}" for path in paths))
    return 0
