"""How far back gradients reach: table and figures of `experiments/gradient_reach.py`. No JAX."""

import math
from collections.abc import Sequence

from etils import epath
from matplotlib.figure import Figure

from lstm_jax import drawing, pages, storage
from lstm_jax.horizon import FEWEST_SEEDS, MeanInterval, mean_interval
from lstm_jax.labels import shown
from lstm_jax.rows import Row
from lstm_jax.why.gradient_reach_figure import INPUTS, MEMORY, REACH, curves_figure
from lstm_jax.why.gradient_reach_rows import FIT_FROM, KIND, Point, half_life, settings, sound

__all__ = ["KIND", "about", "figure", "mean_half_life", "redraw", "table"]


def about(points: Sequence[Point]) -> str:
    """What was done, in a line."""
    row = points[0].rows[0]
    seeds = sorted({len(point.rows) for point in points})
    return (
        f"{shown(row['task'])}, trained at gap {row['gap']} without stopping when solved; "
        f"{'/'.join(map(str, seeds))} seeds; matched by {shown(row['match'])}; "
        f"{shown(row['optimizer'])}, learning rate {row['learning_rate']:g}, batches of "
        f"{row['batch_size']}, clip {shown(row['clip'])}"
    )


def _measured(points: Sequence[Point]) -> str:
    """What the table's numbers are."""
    row = points[0].rows[0]
    probes = max(own["probes_used"] for point in points for own in point.rows)
    how = f"estimated with {probes} probes where a carry is large" if probes else "exact"
    error = max(
        (
            value or 0.0
            for point in points
            for own in point.rows
            for value in own["log_reach_error"]
        ),
        default=0.0,
    )
    how += f", standard error at most {error / math.log(10):.2f} in log10" if error else ""
    return (
        f"Reach: Frobenius norm of d h_T / d carry at T - lag ({how}), geometric mean over "
        f"{row['examples']} sequences of the task at gap {row['sequences_gap']}, the carry at the "
        f"largest lag at least {row['warm_up']} steps from the start. Half-life: least squares on "
        f"its logarithm over the lags from {row['fit_first']} to {row['fit_last']}, that of the "
        "mean rate of the seeds; `never` where the reach does not fall. Direct path: the product "
        "of the gates that keep the memory, beside the whole d C_T / d C at T - lag: at 0 it is as "
        "large, at -2 a hundredth."
    )


def _mean(values: Sequence[float]) -> str:
    return f"{math.fsum(values) / len(values):.2f}" if _finite(values) else "zero or no number"


def _finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _log10(logs: Sequence[float], interval: bool = False) -> str:
    """The mean of common logarithms from natural ones, with its interval if wanted."""
    if not logs:
        return "-"
    values = [log / math.log(10) for log in logs]
    found = mean_interval(values) if interval and _finite(values) else None
    return _mean(values) + ("" if found is None else f" [{found.low:.2f}, {found.high:.2f}]")


def mean_half_life(point: Point) -> tuple[float, MeanInterval | None] | None:
    """The half-life of the mean decay rate, and the ends of that rate's 95 % interval as
    half-lives; None where a seed has no rate."""
    rates = point.rates()
    if len(rates) < len(point.rows):
        return None
    found = mean_interval(rates)
    if found is not None:
        found = found._replace(low=half_life(found.low), high=half_life(found.high))
    return half_life(math.fsum(rates) / len(rates)), found


def _half_life(point: Point) -> str:
    found = mean_half_life(point)
    if found is None:
        return "-"
    value, interval = found

    def text(steps):
        return "never" if steps == math.inf else f"{steps:.1f}"

    return text(value) + (
        "" if interval is None else f" [{text(interval.low)}, {text(interval.high)}]"
    )


def _setting_table(points: Sequence[Point]) -> list[str]:
    gap, lags = points[0].gap, points[0].lags
    columns = [lag for lag in sorted({1, FIT_FROM, gap, lags[-1]}) if lag in lags]
    lines = [
        (
            "cell",
            "units",
            "update",
            f"accuracy at gap {gap}",
            "half-life, steps",
            *(f"log10 reach at lag {lag}" for lag in columns),
            f"log10 reach({gap}) / reach(1)",
            f"log10 direct path / whole memory at lag {gap}",
        ),
        ("---", *("---:",) * (6 + len(columns))),
    ]
    for point in points:
        accuracy = [row["accuracy"] for row in point.rows if row["accuracy"] is not None]
        told = ", told the gap" if point.rows[0]["told_gap"] else ""
        lines.append(
            (
                f"{shown(point.cell)}{told}",
                point.hidden_size,
                point.update,
                _mean(accuracy) if accuracy else "-",
                _half_life(point),
                *(_log10(point.at("log_reach", lag)) for lag in columns),
                _log10(point.change(gap), interval=True),
                _log10(point.direct_share(gap)),
            )
        )
    return pages.table(lines)


def table(rows: Sequence[Row]) -> str:
    """Half-lives and reaches, as Markdown: a table a setting."""
    lines = ["## How far back gradients reach", ""]
    for points in settings(rows):
        means = (
            "Means over seeds [95 % interval over seeds]; under "
            f"{FEWEST_SEEDS} seeds there is no interval."
        )
        head = about(points)
        lines += [*_setting_table(points), ""]
        lines += [f"{head[0].upper()}{head[1:]}. {means}", "", _measured(points), ""]
    unsound = sum(not sound(row) for row in rows)
    if unsound:
        lines += [f"{unsound} rows are left out: their lists do not fit together.", ""]
    return "\n".join(lines)


def figure(rows: Sequence[Row]) -> Figure:
    """Reach against lag, a panel a cell, of the first setting of the rows."""
    points = settings(rows)[0]
    return curves_figure(points, REACH, [about(points)])


def redraw(rows: Sequence[Row], directory: epath.PathLike) -> tuple[str, list[epath.Path]]:
    """The table as text, and the paths of what was written: `gradient_reach.md` and, for each
    setting, `reach_against_lag.png` and `.svg`, `memory_against_lag` where a cell has a direct
    path, and `input_reach_against_lag`; numbered where there are several settings."""
    directory, text = epath.Path(directory), table(rows)
    paths = [directory / "gradient_reach.md"]
    storage.write(paths[0], text)
    groups = settings(rows)
    for number, points in enumerate(groups, 1):
        ending = f"_{number}" if len(groups) > 1 else ""
        for drawn in (REACH, MEMORY, INPUTS):
            own = [point for point in points if point.logs(drawn.field).size]
            if own:
                made = curves_figure(own, drawn, [about(own)])
                paths += drawing.save(made, directory / f"{drawn.stem}{ending}")
    return text, paths
