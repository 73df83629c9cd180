"""Logarithms of gradients against the lag, a panel a cell. No JAX."""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lstm_jax import drawing
from lstm_jax.horizon import FEWEST_SEEDS, mean_interval
from lstm_jax.labels import shown
from lstm_jax.why.gradient_reach_rows import Point

_COLUMNS = 3
_MOST_TICKS = 9  # of a panel's lags
_FLOOR = -12  # powers of ten: what falls below leaves the panel
# From blue before training to orange at its end.
_BY_UPDATE = tuple(drawing.COLORS[index] for index in (0, 6, 5, 1))
_FAINT = 0.3
_ASIDE = "0.25"  # the colour of what is drawn beside the curves
_BOUND, _DIRECT = ":", "-."


class Drawn(NamedTuple):
    """What a figure shows.

    Attributes:
      field: of the rows.
      title: of the figure.
      label: of the vertical axes.
      stem: of the files.
      note: what the curves are, for the small print.
      bound: whether the bound on a plain recurrent network is drawn, as it is before training.
      direct: whether the direct path after each update is drawn, too.
    """

    field: str
    title: str
    label: str
    stem: str
    note: str
    bound: bool = False
    direct: bool = False


REACH = Drawn(
    "log_reach",
    "How far back a gradient reaches",
    "log10 ‖∂h(T) / ∂carry(T - lag)‖",
    "reach_against_lag",
    "Frobenius norm of the derivative of the output at T by the whole carry at T - lag",
    bound=True,
)
MEMORY = Drawn(
    "log_memory",
    "The memory by itself: the direct path beside all ways together",
    "log10 ‖∂C(T) / ∂C(T - lag)‖",
    "memory_against_lag",
    "Frobenius norm of the derivative of the memory C (of a cell without, h) at T by that at T - "
    "lag; the direct path is the product of the gates that keep it",
    direct=True,
)
INPUTS = Drawn(
    "log_input_reach",
    "How much the loss hangs on an input, up to the gap",
    "log10 ‖∂loss(T) / ∂x(T - lag)‖",
    "input_reach_against_lag",
    "norm of the derivative of the loss at T by the input at T - lag, on sequences at the gap of "
    "the training, where the relevant input stands at the gap",
)


def curves_figure(points: Sequence[Point], drawn: Drawn, about: Sequence[str]) -> Figure:
    """A panel a cell, a curve an update: the mean over seeds of the common logarithm, with its 95 %
    interval as a band, or every seed faint where there are too few for one.

    A vertical line stands at the gap of the training. Cells that were told the gap are dashed.

    Args:
      points: of one setting, at least one.
      drawn: which of their fields.
      about: small print for the top.
    """
    cells = list(dict.fromkeys((point.cell, point.hidden_size) for point in points))
    updates = sorted({point.update for point in points})
    columns = 2 if len(cells) == 4 else min(_COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    with drawing.style():
        made = Figure(figsize=(max(3.4 * columns, 6), 2 + 2.7 * rows), layout="constrained")
        grid = list(made.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        lowest, highest = 0.0, -math.inf
        for place, (axes, cell) in enumerate(zip(grid, cells, strict=False)):
            own = [point for point in points if (point.cell, point.hidden_size) == cell]
            ends = _draw_panel(axes, own, updates, drawn)
            lowest, highest = min(lowest, ends[0]), max(highest, ends[1])
            told = ", told the gap" if own[0].rows[0]["told_gap"] else ""
            axes.set_title(f"{shown(cell[0])}{told}\n{cell[1]} units", fontsize=9)
            if place % columns == 0:
                axes.set_ylabel(drawn.label)
            if place + columns >= len(cells):  # nothing below
                axes.set_xlabel("lag (steps)")
                axes.tick_params(labelbottom=True)
        for axes in grid[len(cells) :]:
            axes.set_visible(False)
        _lay_out(grid[0], points, drawn, (max(lowest, _FLOOR), highest))
        made.legend(
            handles=_handles(points, updates, drawn),
            loc="outside lower center",
            ncols=2,
            fontsize=9,
            frameon=False,
            handlelength=3.5,
            title=_small_print([*about, _note(points, drawn)], 40 * max(columns, 2)),
            title_fontsize=8,
            alignment="left",
        )
        made.suptitle(drawn.title, fontsize=13)
    return made


def _note(points: Sequence[Point], drawn: Drawn) -> str:
    row = points[0].rows[0]
    most = max(len(point.rows) for point in points)
    spread = "bands: 95 % intervals over seeds" if most >= FEWEST_SEEDS else "faint: the seeds"
    return (
        f"{drawn.note}; geometric mean over {row['examples']} sequences and over the seeds; "
        f"{spread}; what is below 1e{_FLOOR} is not shown"
    )


def _small_print(paragraphs: Sequence[str], width: int) -> str:
    return "\n".join(line for text in paragraphs for line in textwrap.wrap(text, width))


def _look(update: int, updates: Sequence[int]) -> dict:
    """Colour and marker of an update: the ends of training are the ends of the colours."""
    at = updates.index(update)
    last = len(_BY_UPDATE) - 1
    share = at / (len(updates) - 1) if len(updates) > 1 else 0
    color = _BY_UPDATE[round(share * last)]
    return {"color": color, "marker": drawing.MARKERS[at % len(drawing.MARKERS)]}


def _common(logs: np.ndarray) -> np.ndarray:
    """Common logarithms from natural ones; nothing where a norm is zero."""
    return np.where(np.isfinite(logs), logs, np.nan) / np.log(10)


def _draw_panel(
    axes: Axes, points: Sequence[Point], updates: Sequence[int], drawn: Drawn
) -> tuple[float, float]:
    """Draws one cell's curves; returns the lowest and the highest of their values."""
    values = []
    for point in points:
        look = _look(point.update, updates)
        dashed = "--" if point.rows[0]["told_gap"] else "-"
        curves = _common(point.logs(drawn.field))
        values += [curves.ravel(), _draw_curves(axes, point.lags, curves, dashed, look)]
        if drawn.direct:
            direct = _common(point.logs("log_direct")).mean(axis=0)
            axes.plot(point.lags, direct, _DIRECT, color=look["color"], linewidth=1.4)
    first = points[0]
    bound = _common(first.logs("log_bound"))
    if drawn.bound and first.update == 0 and bound.size:
        axes.plot(first.lags, bound.mean(axis=0), _BOUND, color=_ASIDE, linewidth=1.4)
        values.append(bound.mean(axis=0)[:1])  # it may rise far above the rest
    axes.axvline(first.gap, color="0.6", linewidth=0.8, zorder=0)
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    return (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)


def _draw_curves(
    axes: Axes, lags: Sequence[int], curves: np.ndarray, dashed: str, look: dict
) -> np.ndarray:
    """The mean of `[seeds, lags]` and its interval, or the seeds; returns the mean."""
    mean = curves.mean(axis=0)
    axes.plot(lags, mean, linestyle=dashed, markersize=4, linewidth=1.5, zorder=3, **look)
    intervals = [mean_interval(at) if np.isfinite(at).all() else None for at in curves.T]
    if any(found is not None for found in intervals):
        ends = [(np.nan,) * 2 if found is None else found[:2] for found in intervals]
        axes.fill_between(lags, *zip(*ends, strict=True), color=look["color"], alpha=_FAINT, lw=0)
    else:
        for seed in curves:
            axes.plot(lags, seed, color=look["color"], alpha=_FAINT, linewidth=0.8)
    return mean


def _lay_out(axes: Axes, points: Sequence[Point], drawn: Drawn, ends: tuple[float, float]) -> None:
    """The axes that all panels share."""
    reached = np.isfinite(np.concatenate([point.logs(drawn.field) for point in points])).any(axis=0)
    last = max(np.asarray(points[0].lags)[reached], default=1)
    axes.set_xscale("log")
    ticks = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if tick <= last]
    if len(ticks) > _MOST_TICKS:
        ticks = [tick for tick in ticks if str(tick).startswith("1")]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    margin = 0.05 * max(ends[1] - ends[0], 1)
    axes.set_ylim(ends[0] - margin, max(ends) + margin)


def _handles(points: Sequence[Point], updates: Sequence[int], drawn: Drawn) -> list[Line2D]:
    handles = [
        Line2D([], [], label=f"{update} updates" if update else "before training", **look)
        for update, look in ((update, _look(update, updates)) for update in updates)
    ]
    beside = []
    if drawn.bound and any(p.update == 0 and p.logs("log_bound").size for p in points):
        beside.append((_BOUND, "bound of Pascanu et al. 2013, before training"))
    if drawn.direct:
        beside.append((_DIRECT, "direct path alone, in the same colours"))
    beside += [("-", f"gap of the training, {points[0].gap}")]
    return handles + [
        Line2D(
            [],
            [],
            label=label,
            linestyle=line,
            color="0.6" if line == "-" else _ASIDE,
            linewidth=0.8 if line == "-" else 1.4,
        )
        for line, label in beside
    ]
