"""What stateful training is worth: the table and figure of `experiments/characters.py`. No JAX."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from lstm_jax import drawing, pages
from lstm_jax.horizon import FEWEST_SEEDS, mean_interval

_KINDS = {True: "carry handed over", False: "begun anew each segment"}


class Point(NamedTuple):
    """Networks of one kind.

    Attributes:
      segment: steps.
      hand_over: whether the carry is.
      bits: of each network on the test text, by seed.
    """

    segment: int
    hand_over: bool
    bits: dict[int, float]


def points(rows: Sequence[dict]) -> list[Point]:
    """Rows by kind, in the order of the segments."""
    found: dict[tuple[int, bool], dict[int, float]] = {}
    for row in rows:
        found.setdefault((row["segment"], row["hand_over"]), {})[row["seed"]] = row["test_bits"]
    return [Point(*kind, bits) for kind, bits in sorted(found.items())]


def with_interval(values: Sequence[float]) -> str:
    """A mean, and its 95 % interval where there are networks enough for one."""
    interval = mean_interval(values)
    mean = f"{sum(values) / len(values):.3f}"
    return mean if interval is None else f"{mean} [{interval.low:.3f}, {interval.high:.3f}]"


def about(rows: Sequence[dict]) -> str:
    """What was done, in a line."""
    row = rows[0]
    seeds = len({row["seed"] for row in rows})
    return (
        f"{row['cell']}, {row['hidden_size']} units; {seeds} seeds; {row['epochs']} times through "
        f"the text, {row['batch_size']} streams, Adam, learning rate {row['learning_rate']:g}; "
        f"text of {row['text_bytes']:,} bytes and {row['symbols']} symbols, sha256 "
        f"{row['text_sha256'][:12]}; tested on its last {row['test_characters']:,} characters"
    )


def table(rows: Sequence[dict]) -> str:
    """Bits a character against the length of a segment, as Markdown."""
    by_kind = {(point.segment, point.hand_over): point.bits for point in points(rows)}
    updates = {row["segment"]: row["updates"] for row in rows}
    lines = [
        ("segment, steps", "updates", "carry handed over", "begun anew", "gain of handing over"),
        ("---:",) * 5,
    ]
    for segment in sorted(updates):
        own = [by_kind.get((segment, hand_over), {}) for hand_over in (True, False)]
        both = sorted(set(own[0]) & set(own[1]))
        gain = [own[1][seed] - own[0][seed] for seed in both]
        told = [with_interval(list(bits.values())) if bits else "-" for bits in own]
        lines.append((segment, updates[segment], *told, with_interval(gain) if gain else "-"))
    heading = "## Bits a character on the test text, the carry handed over in all of them there"
    few = f" Under {FEWEST_SEEDS} seeds there is no interval."
    note = f"{about(rows)}. Mean [95 % interval]; gains by seed.{few}"
    return "\n".join([heading, "", *pages.table(lines), "", note, ""])


def figure(rows: Sequence[dict]) -> Figure:
    """The same, drawn: a small dot a network, a line through the means, bars of 95 %."""
    with drawing.style():
        made = Figure(figsize=(7, 5), layout="constrained")
        axes = made.subplots()
        for index, (hand_over, label) in enumerate(_KINDS.items()):
            own = [point for point in points(rows) if point.hand_over == hand_over]
            look = {"color": drawing.COLORS[index], "marker": drawing.MARKERS[index]}
            # A little aside of each other, so that equal ones stay visible.
            xs = [point.segment * 1.04 ** (2 * index - 1) for point in own]
            values = [list(point.bits.values()) for point in own]
            means = [sum(bits) / len(bits) for bits in values]
            axes.plot(xs, means, label=label, linestyle="-" if hand_over else "-.", **look)
            for x, bits in zip(xs, values, strict=True):
                axes.plot([x] * len(bits), bits, ".", color=look["color"], alpha=0.4, markersize=4)
                interval = mean_interval(bits)
                if interval is not None:
                    axes.vlines(x, interval.low, interval.high, color=look["color"], linewidth=1.2)
        axes.set_xscale("log")
        segments = sorted({row["segment"] for row in rows})
        axes.set_xticks(segments, [str(segment) for segment in segments])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("segment that gradients go through (steps)")
        axes.set_ylabel("bits a character on the test text")
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(frameon=False)
        drawing.write_about(axes, [about(rows)], 100)
        made.suptitle("What a carry brings from beyond the gradients", fontsize=13)
    return made
