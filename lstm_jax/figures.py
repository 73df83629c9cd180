"""Accuracy and share solved against gap, as PNG and SVG. Needs no JAX.

The same rows give the same bytes, with the same matplotlib.
"""

import re
import warnings
from collections.abc import Sequence

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lstm_jax import bits_figure, results, storage, table
from lstm_jax.drawing import COLORS, LINES, MARKERS, save, style, write_about
from lstm_jax.errors import InputError
from lstm_jax.horizon import FEWEST_SEEDS
from lstm_jax.horizons_figure import horizons_figure
from lstm_jax.results import Record
from lstm_jax.summary import Curve, Point, summarise

HORIZONS, ACCURACIES = "horizons.md", "accuracy.md"
STEM = "accuracy_against_gap"
HORIZONS_STEM = "horizons"
BITS_STEM = "horizon_against_bits"
_DODGE = 0.42  # over how much of the smallest spacing, or of the axis, points at one gap are spread
_DODGE_OF_AXIS = 0.08
_MOST_CURVES = 40  # of a task
# Curves that a figure shows; where there are more, several figures share them, and horizons are
# also drawn one below the other.
_READABLE = 12
_MOST_FIGURES = 20  # of a directory: one a task


def accuracy_figure(curves: Sequence[Curve], note: str = "") -> Figure:
    """Accuracy on the report set and share of seeds that solved the task, against gap.

    Above: every seed faint (a cross where its training failed), the mean and its interval, chance
    and the accuracy from which on the task counts as solved; a hollow mean says that all seeds are
    equal, so that the interval has no width. Below: the share with its Clopper-Pearson interval.
    Points at one gap are spread sideways a little. Dashed cells were told the gap.

    Args:
      curves: of one task.
      note: added to the title, such as what is missing.

    Raises:
      InputError: no trial has ended, or the curves are of several tasks.
    """
    gaps = sorted({point.gap for curve in curves for point in curve.points if point.seeds})
    if not gaps or len({curve.task for curve in curves}) > 1:
        raise InputError("a figure needs trials of one task that have ended")
    with style():
        figure = Figure(figsize=(8.5, 7.4 + 0.2 * len(curves)), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        handles = []
        for index, curve in enumerate(curves):
            look = {
                "color": COLORS[index % len(COLORS)],
                "marker": MARKERS[index % len(MARKERS)],
                "linestyle": "--" if curve.told_gap else LINES[index // len(COLORS) % 3],
            }
            points = [point for point in curve.points if point.seeds]
            at = _dodged(gaps, points, index, len(curves))
            _draw_accuracies(above, at, points, look)
            _draw_shares(below, at, points, look)
            label = f"{table.cell_text(curve)}:  {table.horizon_text(curve.horizon)}"
            handles.append(Line2D([], [], label=label.lstrip("_"), **look))
        _lay_out_axes(above, below, gaps, curves[0].swept_by)
        _draw_levels(above, curves)
        _draw_training(above, below, curves[0])
        below.axhline(0.5, color="0.4", linewidth=0.8, linestyle=":")
        _label(below, 0.5, "half")
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2 if max(len(handle.get_label()) for handle in handles) < 50 else 1,
            fontsize=9,
            frameon=False,
            handlelength=3.5,
            title=f"cell:  horizon in steps of {curves[0].swept_by} [95 % interval]",
        )
        _write_title(figure, curves, note)
    return figure


def redraw(
    directory: epath.PathLike,
    records: Sequence[Record] | None = None,
    order: Sequence[str] | None = None,
) -> tuple[str, list[epath.Path]]:
    """Draws the table and one figure a task from rows, as far as there are any.

    Writes `horizons.md`, `accuracy.md` and `accuracy_against_gap.png` and `.svg` into the
    directory; where it holds several tasks, `accuracy_against_gap_<task>` for each. More than a
    dozen curves are shared out to several figures, `_1`, `_2` ..., and a figure of all horizons,
    `horizons.png` and `.svg`, stands beside them. Where tasks of one name ask for different
    amounts of bits, `horizon_against_bits` draws the horizons against these.

    Args:
      directory: of results.
      records: what to draw, if not all that is in the directory. What is missing is told against
        the directory's manifest only where this is None.
      order: cell specs in the order in which they are to appear; default, the manifest's.

    Returns:
      The table as plain text, and the paths of what was written.

    Raises:
      InputError: no such directory, or no readable results in it.
      OSError: as from the file system.
    """
    directory = epath.Path(directory)
    planned: list[str] = []
    results.require_directory(directory)
    if records is None:
        records = results.read_directory(directory)
        planned = results.read_manifest(directory)
    if not records:
        raise InputError(f"{directory}: holds no results; allowed is one that a sweep wrote")
    ranks = {trial_id: rank for rank, trial_id in enumerate(planned)}
    curves = summarise(
        sorted(records, key=lambda record: ranks.get(record.trial["trial_id"], len(ranks))), order
    )
    note = _missing(planned, records)
    ending = f"\n{note}\n" if note else ""
    paths = [directory / HORIZONS, directory / ACCURACIES]
    for path, own in zip(paths, (table.markdown(curves), table.accuracies(curves)), strict=True):
        storage.write(path, own + ending)
    tasks = table.by_task(curves)
    for task, own in list(tasks.items())[:_MOST_FIGURES]:
        if any(point.seeds for curve in own[:_MOST_CURVES] for point in curve.points):
            ending_of_task = _ending(task, len(tasks) > 1)
            told = [note, _not_drawn(len(own) - _MOST_CURVES, "experiments")]
            said = " ".join(filter(None, told))
            pages = _pages(own[:_MOST_CURVES])
            for number, page in enumerate(pages, start=1):
                of_page = "" if len(pages) == 1 else f"_{number}"
                figure = accuracy_figure(page, said)
                paths += save(figure, directory / f"{STEM}{ending_of_task}{of_page}")
            if len(pages) > 1:
                figure = horizons_figure(own[:_MOST_CURVES], said)
                paths += save(figure, directory / f"{HORIZONS_STEM}{ending_of_task}")
    for name, own in list(bits_figure.by_name(curves).items())[:_MOST_FIGURES]:
        stem = directory / f"{BITS_STEM}{_ending(name, len(tasks) > len(table.by_task(own)))}"
        paths += save(bits_figure.bits_figure(name, own[:_MOST_CURVES], note), stem)
    if told := _not_drawn(len(tasks) - _MOST_FIGURES, "tasks"):
        warnings.warn(f"{directory}: {told}", results.ResultsWarning, stacklevel=2)
    return table.text(curves) + ending, paths


def _ending(task: str, several: bool) -> str:
    """What a file's name tells of its task, where there are several."""
    return f"_{re.sub('[^A-Za-z0-9]+', '_', task)}" if several else ""


def _pages(curves: Sequence[Curve]) -> list[Sequence[Curve]]:
    """Curves by figure, about as many in each; those with nothing to draw go with their page."""
    count = -(-len(curves) // _READABLE)
    each = -(-len(curves) // count)
    pages = [curves[i : i + each] for i in range(0, len(curves), each)]
    return [page for page in pages if any(point.seeds for curve in page for point in curve.points)]


def _not_drawn(count: int, what: str) -> str:
    return f"{count} more {what} are not drawn." if count > 0 else ""


def _missing(planned: Sequence[str], records: Sequence[Record]) -> str:
    ended = {record.trial["trial_id"] for record in records if record.end is not None}
    missing = [trial_id for trial_id in planned if trial_id not in ended]
    if not missing:
        return ""
    return f"Partial: {len(missing)} of {len(planned)} planned trials have not ended."


def _dodged(gaps: Sequence[int], points: Sequence[Point], index: int, number: int) -> np.ndarray:
    """Where a curve's points stand, so that equal values of several curves stay visible."""
    x = np.log(gaps)
    width = min(_DODGE * np.diff(x).min(), _DODGE_OF_AXIS * np.ptp(x)) if len(x) > 1 else 0.1
    aside = width * (index - (number - 1) / 2) / max(number - 1, 5)
    return np.array([point.gap * np.exp(aside) for point in points])


def _draw_accuracies(axes: Axes, at: np.ndarray, points: Sequence[Point], look: dict) -> None:
    color, marker = look["color"], look["marker"]
    means = [point.mean_accuracy for point in points]
    axes.plot(at, means, color=color, linestyle=look["linestyle"], zorder=3)
    for x, point in zip(at, points, strict=True):
        for broke, look_of in ((False, {"marker": marker, "mew": 0}), (True, {"marker": "x"})):
            pairs = zip(point.accuracies, point.failed, strict=True)
            seeds = [accuracy for accuracy, failed in pairs if failed == broke]
            faint = {"color": color, "linestyle": "", "markersize": 4.5, "alpha": 0.3}
            axes.plot([x] * len(seeds), seeds, **faint, **look_of, zorder=2)
        interval = point.mean_interval
        face = "white" if interval is not None and interval.degenerate else color
        axes.plot(
            x, point.mean_accuracy, color=color, marker=marker, markerfacecolor=face, zorder=4
        )
        if interval is not None:
            axes.vlines(x, interval.low, interval.high, color=color, alpha=0.5, linewidth=1.4)


def _draw_shares(axes: Axes, at: np.ndarray, points: Sequence[Point], look: dict) -> None:
    axes.plot(at, [point.share for point in points], **look, zorder=3)
    for x, point in zip(at, points, strict=True):
        if point.share_interval is not None:
            axes.vlines(x, *point.share_interval, color=look["color"], alpha=0.5, linewidth=1.4)


def _draw_levels(axes: Axes, curves: Sequence[Curve]) -> None:
    """Chance and the accuracy that counts as solved, which may differ from gap to gap."""
    points = {point.gap: point for curve in curves for point in curve.points}
    ordered = [points[gap] for gap in sorted(points)]
    gaps = [axes.get_xlim()[0], *sorted(points), axes.get_xlim()[1]]
    for name, word in (("solved_at", "solved"), ("chance", "chance")):
        levels = [getattr(point, name) for point in ordered]
        levels = [levels[0], *levels, levels[-1]]
        axes.plot(gaps, levels, color="0.4", linewidth=0.8, linestyle=":", zorder=1)
        _label(axes, levels[-1], f"{word}\n{levels[-1]:.3g}")


def _draw_training(above: Axes, below: Axes, curve: Curve) -> None:
    """The gaps that networks were trained on, where they are asked at others too."""
    if not curve.trained:
        return
    low, high = curve.trained[0] / 1.04, curve.trained[-1] * 1.04
    for axes in (above, below):
        ends = axes.get_xlim()
        axes.axvspan(max(low, ends[0]), min(high, ends[1]), color="0.94", linewidth=0, zorder=0)


def _label(axes: Axes, height: float, text: str) -> None:
    """Names a level line, to the right of the panel."""
    place = axes.get_yaxis_transform()
    axes.text(1.01, height, text, transform=place, va="center", fontsize=9, color="0.25")


def _lay_out_axes(above: Axes, below: Axes, gaps: Sequence[int], swept_by: str) -> None:
    below.set_xscale("log")
    shown: list[int] = []
    apart = (np.log(gaps[-1]) - np.log(gaps[0])) / 14  # labels nearer than this would touch
    for gap in gaps:
        if not shown or np.log(gap) - np.log(shown[-1]) >= apart:
            shown.append(gap)
    below.set_xticks(shown, [str(gap) for gap in shown])
    below.set_xticks([], minor=True)
    margin = (gaps[-1] / gaps[0]) ** 0.06 if len(gaps) > 1 else 1.6
    below.set_xlim(gaps[0] / margin, gaps[-1] * margin)
    below.set_xlabel(f"{swept_by} (steps)")
    above.set_ylabel("accuracy on the report set")
    below.set_ylabel("share of seeds that solved it")
    for axes in (above, below):
        axes.set_ylim(-0.04, 1.04)
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)


def _write_title(figure: Figure, curves: Sequence[Curve], note: str) -> None:
    trained = table.training_text(curves)
    about = [
        f"{table.seeds_text(curves)}; {table.budget_text(curves)}; "
        f"matched by {table.match_text(curves)}",
        "points of one gap side by side; small: seeds (x: failed); bars: 95 % intervals, from "
        f"{FEWEST_SEEDS} seeds on; hollow: all seeds equal",
        f"{trained}; grey: what it was trained on" if trained else "",
        note,
    ]
    axes = figure.axes[0]
    write_about(axes, about, 125)
    title = figure.suptitle(
        f"{curves[0].task}: accuracy against {curves[0].swept_by}", fontsize=13, ha="left"
    )
    figure.draw_without_rendering()  # settles where the panels are
    title.set_x(axes.get_position().x0)
