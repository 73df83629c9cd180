"""The table of horizons, for a terminal and as Markdown. Needs no JAX."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lstm_jax.horizon import FEWEST_NETWORKS, FEWEST_SEEDS, Horizon, MeanInterval
from lstm_jax.summary import MOST_GAPS, Curve, Point

WIDTH = 110  # characters; a table that needs more is broken into several
MOST_CURVES = 500  # experiments in a table
_MOST_LINES = 5000  # cells and gaps in a table


class _Column(NamedTuple):
    head: str
    cells: list[str]
    left: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.head, *self.cells)))


def text(curves: Sequence[Curve]) -> str:
    """The tables of all tasks as aligned plain text, with budget and notes."""
    return "\n".join(_section(own, _aligned, "{}", "{}") for own in by_task(curves).values())


def markdown(curves: Sequence[Curve]) -> str:
    """The same as Markdown."""
    return "\n".join(_section(own, _piped, "## {}", "- {}") for own in by_task(curves).values())


def accuracies(curves: Sequence[Curve]) -> str:
    """Accuracy at each gap, raw, above chance and in bits, as Markdown."""
    return "\n".join(_accuracies(own) for own in by_task(curves).values())


def by_task(curves: Iterable[Curve]) -> dict[str, list[Curve]]:
    """Curves by the label of their task, in order of first appearance."""
    grouped: dict[str, list[Curve]] = {}
    for curve in curves:
        grouped.setdefault(curve.task, []).append(curve)
    return grouped


def horizon_text(horizon: Horizon | None) -> str:
    """A horizon in a few characters: `57 [42, 80]`, `20-40 [18, 44]`, `> 160`; `-` if unknown."""
    if horizon is None:
        return "-"
    below, beyond = f"< {horizon.first}", f"> {horizon.last}"
    if horizon.estimate == math.inf:
        estimate = beyond
    elif horizon.estimate == 0:
        estimate = below
    elif horizon.bracket:
        estimate = "{}-{}".format(*horizon.bracket)
    else:
        estimate = _number(horizon.estimate)
    if horizon.interval is None:
        return estimate
    low, high = horizon.interval
    if low == horizon.last or high == horizon.first:  # says no more than the estimate
        return estimate
    low = _number(low) if low else below
    high = _number(high) if high < math.inf else beyond
    return f"{estimate} [{low}, {high}]"


def cell_text(curve: Curve) -> str:
    """The label of a cell; it says so if the cell was told the gap."""
    return f"{curve.cell} (told the gap)" if curve.told_gap else curve.cell


def budget_text(curves: Sequence[Curve]) -> str:
    """What the trials were given: updates, batch, optimizer, learning rates, clipping."""
    updates = [curve.updates for curve in curves if curve.updates]
    low, high = min((low for low, _ in updates), default=0), max((u for _, u in updates), default=0)
    spent = f"{high:,} updates" if low == high else f"{low:,} to {high:,} updates (mixed)"
    rates = _either(f"{rate:g}" for rate in sorted({r for curve in curves for r in curve.rates}))
    return (
        f"{spent} of {_settings(curves, 'batch_size')} sequences, "
        f"{_settings(curves, 'optimizer')}, learning rate {rates}, clip {_settings(curves, 'clip')}"
    )


def match_text(curves: Sequence[Curve]) -> str:
    """How hidden sizes were chosen."""
    return _either(dict.fromkeys(curve.match for curve in curves))


def training_text(curves: Sequence[Curve]) -> str:
    """What networks were trained on that are asked elsewhere too; empty where they are not."""
    trained = _either(dict.fromkeys(curve.train_gaps for curve in curves))
    if trained in ("", "-"):
        return ""
    swept = curves[0].swept_by
    trained = trained.replace("uniform:", "uniform ")
    return f"one network a seed, trained on {swept} {trained}, asked at each {swept}"


def seeds_text(curves: Sequence[Curve]) -> str:
    """How many seeds the points rest on: `6 seeds`, or `2 to 6 seeds`."""
    counts = [len(point.seeds) for curve in curves for point in curve.points]
    low, high = min(counts), max(counts)
    return f"{high} seed{'s' * (high != 1)}" if low == high else f"{low} to {high} seeds"


def _section(
    curves: Sequence[Curve], draw: Callable[[Sequence[_Column]], list[str]], title: str, item: str
) -> str:
    """Everything about one task."""
    passed_over = len(curves) - MOST_CURVES
    curves = curves[:MOST_CURVES]
    swept = curves[0].swept_by
    notes: dict[str, int] = {}
    own_notes = [_notes(curve) + _rate_notes(curve, curves) for curve in curves]
    horizons = [
        _noted(horizon_text(curve.horizon), own, notes)
        for curve, own in zip(curves, own_notes, strict=True)
    ]
    reliable = [str((curve.horizon and curve.horizon.reliable) or "-") for curve in curves]
    cells = _Column("cell", [cell_text(curve) for curve in curves], left=True)
    sizes = [
        _Column("hidden", [str(curve.settings["hidden_size"]) for curve in curves]),
        _Column("parameters", [_range(*curve.parameters) for curve in curves]),
    ]
    gaps = sorted({point.gap for curve in curves for point in curve.points})
    shares = [{point.gap: _solved(point) for point in curve.points} for curve in curves]
    solved = [_Column(str(gap), [own.get(gap, "") for own in shares]) for gap in gaps[:MOST_GAPS]]
    answers = [_Column("horizon", horizons, left=True), _Column("reliable", reliable)]
    blocks = [[cells, *sizes, *solved, *answers]]
    if draw is _aligned and len(draw(blocks[0])[0]) > WIDTH:
        blocks = [[cells, *sizes, *answers], [cells]]
        for column in solved:
            if len(blocks[-1]) > 1 and len(draw([*blocks[-1], column])[0]) > WIDTH:
                blocks.append([cells])
            blocks[-1].append(column)
    lines = [title.format(f"{curves[0].task}: seeds that solved it at each {swept} (steps)")]
    for block in blocks:
        lines += ["", *draw(block)]
    below = _about(curves) + [f"({number}) {note}" for note, number in notes.items()]
    if passed_over > 0:
        below.append(f"{passed_over} more experiments are not listed.")
    if len(gaps) > MOST_GAPS:
        below.append(f"{len(gaps) - MOST_GAPS} larger {swept}s are not listed.")
    return "\n".join([*lines, "", *map(item.format, below)]) + "\n"


def _accuracies(curves: Sequence[Curve]) -> str:
    """The accuracies of one task."""
    swept = curves[0].swept_by
    listed = [(curve, point) for curve in curves[:MOST_CURVES] for point in curve.points]
    rows = [
        (
            cell_text(curve),
            str(point.gap),
            str(len(point.seeds)),
            _with_interval(point.mean_accuracy, point.mean_interval),
            _with_interval(point.above_chance, None),
            _with_interval(point.bits, point.bits_interval),
            "-" if point.bits_asked is None else f"{point.bits_asked:.2f}",
        )
        for curve, point in listed[:_MOST_LINES]
    ]
    heads = ("cell", swept, "seeds", "accuracy", "above chance", "bits kept", "bits asked")
    columns = [
        _Column(head, list(cells), left=head == "cell")
        for head, cells in zip(heads, zip(*rows, strict=True), strict=True)
    ]
    notes = [
        "Accuracy: on the report set, mean over seeds [95 % percentile bootstrap over seeds].",
        "Above chance: (accuracy - chance) / (1 - chance).",
        "Bits kept: what the prediction says of an answer, on the report set: a lower bound on "
        "their mutual information, so a little below 0 where there is none; `-` where rows do not "
        "tell, or answers are no classes. Bits asked: what there is to be said.",
        f"Budget: {budget_text(curves)}. Matched by {match_text(curves)}.",
    ]
    if len(listed) > len(rows):
        notes.append(f"{len(listed) - len(rows)} more lines are not listed.")
    title = f"## {curves[0].task}: accuracy at each {swept} (steps)"
    return "\n".join([title, "", *_piped(columns), "", *map("- {}".format, notes)]) + "\n"


def _with_interval(value: float | None, interval: MeanInterval | None) -> str:
    if value is None:
        return "-"
    ends = f" [{_fixed(interval.low)}, {_fixed(interval.high)}]" if interval else ""
    return _fixed(value) + ends


def _fixed(value: float) -> str:
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def _about(curves: Sequence[Curve]) -> list[str]:
    """What every horizon is printed with."""
    swept = curves[0].swept_by
    points = [point for curve in curves for point in curve.points]
    solved_at = _levels([point.solved_at for point in points], "g")
    chance = _levels([point.chance for point in points], ".3g")
    horizon = f"Horizon: {swept} at which half of the seeds solve it [95 % interval]."
    if curves[0].train_gaps:
        horizon = (
            f"{training_text(curves).capitalize()}. Horizon: from the largest {swept} up to which "
            f"half of the networks solve every one, beginning with those trained on, to the next "
            "[95 % interval, by order statistics]."
        )
    return [
        f"Solved: accuracy at least {solved_at} on the report set; a blind guess scores {chance}.",
        f"{horizon} Reliable: largest {swept} up to which all do.",
        f"Budget: {budget_text(curves)}.",
        f"Matched by {match_text(curves)}.",
        f"{seeds_text(curves).capitalize()}; {sum(curve.ran for curve in curves)} trials: "
        f"{sum(curve.failed for curve in curves)} failed, "
        f"{sum(curve.unfinished for curve in curves)} not finished.",
    ]


def _notes(curve: Curve) -> list[str]:
    """What a reader must know before believing this horizon."""
    notes = []
    if curve.horizon is not None and curve.horizon.poor_fit:
        p = f"p = {curve.horizon.p_value:.3f}"
        notes.append(f"poor fit ({p}): the share solved does not fall as a logistic curve")
    if curve.horizon is not None and curve.horizon.interval is None:
        fewest = FEWEST_NETWORKS if curve.train_gaps else FEWEST_SEEDS
        notes.append(f"fewer than {fewest} seeds: no interval")
    if curve.edge_gaps:
        gaps = ", ".join(map(str, curve.edge_gaps))
        notes.append(f"learning rate read at the edge of its grid at {curve.swept_by} {gaps}")
    if curve.own_choice_gaps:
        gaps = ", ".join(map(str, curve.own_choice_gaps))
        notes.append(f"one seed, read at its own best learning rate at {curve.swept_by} {gaps}")
    return notes


def _rate_notes(curve: Curve, curves: Sequence[Curve]) -> list[str]:
    """Says which curves had the choice of a learning rate, where not all had the same."""
    if len(curve.rates) == 1 or len({other.rates for other in curves}) == 1:
        return []
    rates = ", ".join(f"{rate:g}" for rate in curve.rates)
    return [
        f"tried at the learning rates {rates}, each seed read at the one that the others choose"
    ]


def _noted(cell: str, own: Sequence[str], notes: dict[str, int]) -> str:
    """The cell with the numbers of its notes, which are added to `notes` if new."""
    numbers = [str(notes.setdefault(note, len(notes) + 1)) for note in own]
    return f"{cell} ({', '.join(numbers)})" if numbers else cell


def _solved(point: Point) -> str:
    return f"{point.solved}/{len(point.seeds)}" if point.seeds else "-"


def _aligned(columns: Sequence[_Column]) -> list[str]:
    rows = zip(*([column.head, *column.cells] for column in columns), strict=True)
    return [
        "  ".join(
            cell.ljust(column.width) if column.left else cell.rjust(column.width)
            for cell, column in zip(row, columns, strict=True)
        ).rstrip()
        for row in rows
    ]


def _piped(columns: Sequence[_Column]) -> list[str]:
    def row(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = row("---" if column.left else "---:" for column in columns)
    body = zip(*(column.cells for column in columns), strict=True)
    return [row(column.head for column in columns), rule, *map(row, body)]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _settings(curves: Sequence[Curve], name: str) -> str:
    return _either(dict.fromkeys(str(curve.settings[name]) for curve in curves))


def _levels(values: Iterable[float], form: str) -> str:
    """Levels that may differ from gap to gap: both of two, the least and largest of more."""
    shown = list(dict.fromkeys(format(value, form) for value in sorted(values)))
    return _either(shown) if len(shown) < 3 else f"{shown[0]} to {shown[-1]}"


def _either(values: Iterable[str]) -> str:
    return " or ".join(values) or "-"
