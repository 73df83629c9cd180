"""The horizons of many cells, one below the other. Needs no JAX."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lstm_jax import table
from lstm_jax.drawing import COLORS, style, write_about
from lstm_jax.errors import InputError
from lstm_jax.summary import Curve


def horizons_figure(curves: Sequence[Curve], note: str = "") -> Figure:
    """The horizons of many cells, one below the other, with their intervals.

    A bar is the 95 % interval, an arrow says that it goes on beyond the sweep; a dot is the
    estimate, a thick bar the gaps between which it lies where nothing tells more, and a triangle at
    the margin an estimate beyond the sweep. Hollow marks: cells that were told the gap.

    Args:
      curves: of one task, in the order of the rows.
      note: added to the title, such as what is missing.

    Raises:
      InputError: no curve has a horizon.
    """
    curves = [curve for curve in curves if curve.horizon is not None]
    if not curves:
        raise InputError("a figure of horizons needs ended trials of a task with a gap")
    first = min(curve.horizon.first for curve in curves)
    last = max(curve.horizon.last for curve in curves)
    ends = first / 1.5, last * 1.5
    with style():
        figure = Figure(figsize=(9, 1.9 + 0.24 * len(curves)), layout="constrained")
        axes = figure.subplots()
        for row, curve in enumerate(curves):
            _draw_horizon(axes, row, curve, ends)
        axes.set_xscale("log")
        gaps = sorted({point.gap for curve in curves for point in curve.points})
        axes.set_xticks(gaps, [str(gap) for gap in gaps])
        axes.set_xticks([], minor=True)
        axes.set_xlim(*ends)
        axes.set_ylim(len(curves) - 0.4, -0.6)
        axes.set_yticks(range(len(curves)), [table.cell_text(curve) for curve in curves])
        axes.set_xlabel(f"horizon: {curves[0].swept_by} that half of the seeds solve (steps)")
        axes.axvspan(ends[0], first, color="0.94", linewidth=0)
        axes.axvspan(last, ends[1], color="0.94", linewidth=0)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        about = [
            f"{table.seeds_text(curves)}; {table.budget_text(curves)}; "
            f"matched by {table.match_text(curves)}",
            "bars: 95 % intervals; dot or thick bar: estimate; grey: beyond the gaps of the sweep",
            note,
        ]
        write_about(axes, about, 95)
        figure.suptitle(f"{curves[0].task}: horizons", fontsize=13)
    return figure


def _draw_horizon(axes: Axes, row: int, curve: Curve, ends: tuple[float, float]) -> None:
    horizon = curve.horizon
    told = curve.told_gap
    color = COLORS[1] if told else COLORS[0]
    face = "white" if told else color
    if horizon.interval is not None:
        low, high = horizon.interval
        shown = max(low, ends[0]), min(high, ends[1])
        axes.hlines(row, *shown, color=color, linewidth=1.4, alpha=0.6)
        for beyond, x, marker in ((low == 0, ends[0], "<"), (high == math.inf, ends[1], ">")):
            if beyond:
                axes.plot(x, row, marker, color=color, markersize=5, alpha=0.6, clip_on=False)
    if horizon.bracket and horizon.estimate not in (0, math.inf):
        axes.hlines(row, *horizon.between, color=color, linewidth=6, alpha=0.4)
        return
    x = min(max(horizon.estimate, ends[0]), ends[1])
    marker = {0: "<", math.inf: ">"}.get(horizon.estimate, "o")
    axes.plot(x, row, marker, color=color, markerfacecolor=face, markersize=7, clip_on=False)
