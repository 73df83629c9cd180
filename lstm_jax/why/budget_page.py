"""Horizon against updates: the table and the figure. Needs no JAX."""

from collections.abc import Sequence

from etils import epath
from matplotlib.figure import Figure

from lstm_jax import drawing, pages, results, storage, table
from lstm_jax.errors import InputError
from lstm_jax.why.budget import FEWEST_BUDGETS, Growth, growths

PAGE = "budget.md"
STEM = "horizon_against_updates"
_MOST_CURVES = 14  # of a figure


def exponent_text(growth: Growth) -> str:
    """`0.52 [0.41, 0.66]`; `-` where there is none."""
    if growth.exponent is None:
        return "-"
    text = f"{growth.exponent.estimate:.2f}"
    if growth.exponent.interval is None:
        return text
    low, high = growth.exponent.interval
    return f"{text} [{low:.2f}, {high:.2f}]"


def markdown(found: Sequence[Growth]) -> str:
    """Horizons at each budget, a section a task."""
    sections = []
    for task, own in _by_task(found).items():
        budgets = sorted({one.updates for growth in own for one in growth.budgets})
        rows = [
            ("cell", *(f"{updates:,}" for updates in budgets), "exponent"),
            ("---", *("---",) * len(budgets), "---"),
        ]
        for growth in own:
            at = {one.updates: table.horizon_text(one.horizon) for one in growth.budgets}
            cell = table.cell_text(growth.curve).replace("|", "\\|")
            told = [at.get(updates, "") for updates in budgets]
            rows.append((cell, *told, exponent_text(growth)))
        notes = [
            "Horizon: gap (steps) at which half of the networks have solved the task within so "
            "many updates [95 % interval], on the monitor set, at any evaluation up to then.",
            "Exponent: a of horizon ~ updates^a, by least squares on logarithms over the budgets "
            f"whose horizon lies within the gaps, where there are {FEWEST_BUDGETS} [95 % "
            "bootstrap over seeds]. Neighbouring budgets are read from the same networks.",
            f"{table.seeds_text([growth.curve for growth in own]).capitalize()}; "
            f"{table.budget_text([growth.curve for growth in own])}.",
            f"Matched by {table.match_text([growth.curve for growth in own])}.",
        ]
        title = f"## {task}: horizon at each budget of updates"
        sections.append("\n".join([title, "", *pages.table(rows), "", *map("- {}".format, notes)]))
    return "\n\n".join(sections) + "\n"


def figure(found: Sequence[Growth]) -> Figure:
    """Horizon against updates, of one task, on logarithmic axes; a mark at the margin lies beyond
    the gaps of the sweep, and bars are 95 % intervals.

    Raises:
      InputError: nothing to draw, or several tasks.
    """
    if len(_by_task(found)) != 1:
        raise InputError("a figure of horizons against updates needs horizons of one task")
    found = list(found)[:_MOST_CURVES]
    gaps = sorted({gap for growth in found for gap in growth.gaps})
    updates = sorted({one.updates for growth in found for one in growth.budgets})
    low, high = gaps[0] / 1.6, gaps[-1] * 1.6
    below, beyond = gaps[0] / 1.3, gaps[-1] * 1.3  # where what is censored is drawn
    with drawing.style():
        made = Figure(figsize=(8.5, 5.6 + 0.2 * len(found)), layout="constrained")
        axes = made.subplots()
        for index, growth in enumerate(found):
            color = drawing.COLORS[index % len(drawing.COLORS)]
            line = drawing.LINES[index // len(drawing.COLORS) % len(drawing.LINES)]
            look = {"color": color, "marker": drawing.MARKERS[index % len(drawing.MARKERS)]}
            aside = 1.03 ** (index - (len(found) - 1) / 2)  # so that equal ones stay visible
            xs = [one.updates * aside for one in growth.budgets]
            estimates = [one.horizon.estimate for one in growth.budgets]
            axes.plot(
                xs,
                [min(max(value, below), beyond) for value in estimates],
                linestyle="--" if growth.curve.told_gap else line,
                label=f"{table.cell_text(growth.curve)}:  {exponent_text(growth)}".lstrip("_"),
                **look,
            )
            for x, one in zip(xs, growth.budgets, strict=True):
                if one.horizon.interval is not None:
                    ends = (max(one.horizon.interval[0], low), min(one.horizon.interval[1], high))
                    axes.vlines(x, *ends, color=color, alpha=0.5, linewidth=1.4)
        for ends in ((low, gaps[0]), (gaps[-1], high)):
            axes.axhspan(*ends, color="0.94", linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        for axis, ticks in ((axes.xaxis, updates), (axes.yaxis, gaps)):
            axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
            axis.set_ticks([], minor=True)
        axes.set_xlabel("budget (updates)")
        axes.set_ylabel("horizon (steps of gap)")
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        curves = [growth.curve for growth in found]
        told = f"{table.seeds_text(curves)}; {table.budget_text(curves)}"
        grey = "grey: before the first or beyond the last gap; bars: 95 % intervals"
        drawing.write_about(axes, [told, grey], 110)
        made.legend(
            loc="outside lower center", ncols=2, fontsize=9, frameon=False, handlelength=3.5,
            title="cell:  exponent of horizon ~ updates^a [95 % interval]",
        )  # fmt: skip
        made.suptitle(f"{found[0].curve.task}: would more updates have helped?", fontsize=13)
    return made


def redraw(directory: epath.PathLike) -> tuple[str, list[epath.Path]]:
    """Writes `budget.md`, and `horizon_against_updates.png` and `.svg` of the first task.

    Returns:
      The table, and the paths of what was written.

    Raises:
      InputError: no such directory, or no horizons in it.
      OSError: as from the file system.
    """
    directory = epath.Path(directory)
    results.require_directory(directory)
    records = results.read_directory(directory)
    ranks = {name: rank for rank, name in enumerate(results.read_manifest(directory))}
    records.sort(key=lambda record: ranks.get(record.trial["trial_id"], len(ranks)))
    found = growths(records)
    if not found:
        raise InputError(f"{directory}: holds no sweep of gaps whose trials have ended")
    text = markdown(found)
    storage.write(directory / PAGE, text)
    first = next(iter(_by_task(found).values()))
    return text, [directory / PAGE, *drawing.save(figure(first), directory / STEM)]


def _by_task(found: Sequence[Growth]) -> dict[str, list[Growth]]:
    grouped: dict[str, list[Growth]] = {}
    for growth in found:
        grouped.setdefault(growth.curve.task, []).append(growth)
    return grouped
