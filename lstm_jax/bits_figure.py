"""Horizon against the bits that an answer asks for. Needs no JAX."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lstm_jax import table
from lstm_jax.drawing import COLORS, LINES, MARKERS, style, write_about
from lstm_jax.errors import InputError
from lstm_jax.summary import Curve

_MARKERS = [marker for marker in MARKERS if marker not in "^v"]  # these point beyond the gaps


def by_name(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves whose answers are known to ask for bits, by the name of their task, without options;
    those names alone of which there are several amounts."""
    grouped: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.horizon is not None and asked(curve) is not None and not curve.train_gaps:
            grouped.setdefault(curve.task.partition(":")[0].partition(",")[0], []).append(curve)
    return {
        name: own
        for name, own in grouped.items()
        if len({round(asked(curve), 2) for curve in own}) > 1
    }


def asked(curve: Curve) -> float | None:
    """The bits that an answer of a curve's task asks for, on average over its gaps."""
    told = [point.bits_asked for point in curve.points if point.bits_asked is not None]
    return sum(told) / len(told) if told else None


def bits_figure(name: str, curves: Sequence[Curve], note: str = "") -> Figure:
    """How far back each cell remembers, against how much it has to.

    A dot is the estimate, a thin bar the 95 % interval, a thick one the gaps between which the
    estimate lies where nothing tells more. A triangle at the margin: beyond the gaps of the sweep.

    Args:
      name: of the task.
      curves: of that task with several amounts of bits, from `by_name`.
      note: added to the title, such as what is missing.

    Raises:
      InputError: no curves.
    """
    if not curves:
        raise InputError("a figure of horizons against bits needs horizons of several tasks")
    cells: dict[str, list[Curve]] = {}
    for curve in curves:
        cells.setdefault(table.cell_text(curve), []).append(curve)
    first = min(curve.horizon.first for curve in curves)
    last = max(curve.horizon.last for curve in curves)
    ends = first / 1.5, last * 1.5
    with style():
        figure = Figure(figsize=(8.5, 5.6 + 0.2 * len(cells)), layout="constrained")
        axes = figure.subplots()
        handles = []
        for index, (cell, own) in enumerate(cells.items()):
            look = {
                "color": COLORS[index % len(COLORS)],
                "marker": _MARKERS[index % len(_MARKERS)],
                "linestyle": "--" if own[0].told_gap else LINES[index // len(COLORS) % 3],
            }
            aside = 0.07 * (index - (len(cells) - 1) / 2)  # so that equal horizons stay visible
            _draw(axes, sorted(own, key=asked), aside, look, ends)
            handles.append(Line2D([], [], label=cell.lstrip("_"), **look))
        axes.set_yscale("log")
        gaps = sorted({point.gap for curve in curves for point in curve.points})
        axes.set_yticks(gaps, [str(gap) for gap in gaps])
        axes.set_yticks([], minor=True)
        axes.set_ylim(*ends)
        for low, high in ((ends[0], first), (last, ends[1])):
            axes.axhspan(low, high, color="0.94", linewidth=0)
        bits = sorted({round(asked(curve), 1) for curve in curves})
        axes.set_xticks(bits, [f"{value:g}" for value in bits])
        axes.set_xlabel("bits that an answer asks for")
        swept = curves[0].swept_by
        axes.set_ylabel(f"horizon: {swept} that half of the seeds solve (steps)")
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=2, fontsize=9, frameon=False,
            handlelength=3.5,
        )  # fmt: skip
        about = [
            f"{table.seeds_text(curves)}; {table.budget_text(curves)}; "
            f"matched by {table.match_text(curves)}",
            "bars: 95 % intervals; thick: estimate lies within; grey, triangles: beyond the gaps",
            note,
        ]
        write_about(axes, about, 115)
        figure.suptitle(f"{name}: horizon against bits", fontsize=13)
    return figure


def _draw(
    axes: Axes, curves: Sequence[Curve], aside: float, look: dict, ends: tuple[float, float]
) -> None:
    xs = [asked(curve) + aside for curve in curves]
    heights = [min(max(curve.horizon.estimate, ends[0]), ends[1]) for curve in curves]
    color = look["color"]
    axes.plot(xs, heights, color=color, linestyle=look["linestyle"], linewidth=1, alpha=0.6)
    for x, height, curve in zip(xs, heights, curves, strict=True):
        horizon = curve.horizon
        if horizon.interval is not None:
            low, high = horizon.interval
            shown = max(low, ends[0]), min(high, ends[1])
            axes.vlines(x, *shown, color=color, linewidth=1.2, alpha=0.5)
        if horizon.bracket and 0 < horizon.estimate < math.inf:
            axes.vlines(x, *horizon.between, color=color, linewidth=5, alpha=0.3)
        marker = {0: "v", math.inf: "^"}.get(horizon.estimate, look["marker"])
        axes.plot(x, height, marker, color=color, markersize=6, clip_on=False)
