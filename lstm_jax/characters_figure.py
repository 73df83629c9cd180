"""What stateful training is worth: the table and figure of `experiments/characters.py`. No JAX."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from etils import epath
from matplotlib.figure import Figure

from lstm_jax import drawing, pages, storage
from lstm_jax.horizon import FEWEST_SEEDS, mean_interval
from lstm_jax.observations import Kind

_HANDED = {True: "carry handed over", False: "begun anew each segment"}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to be trained.

    Attributes:
      cell: canonical spec.
      segment: steps.
      hand_over: whether the carry is.
      seed: of parameters.
      epochs, batch_size, hidden_size, learning_rate: as the flags.
      text_sha256: of the text.
      text_bytes: its length.
    """

    cell: str
    segment: int
    hand_over: bool
    seed: int
    epochs: int
    batch_size: int
    hidden_size: int
    learning_rate: float
    text_sha256: str
    text_bytes: int

    @property
    def slug(self) -> str:
        """The readable part of its file's name."""
        carried = "handed" if self.hand_over else "anew"
        return f"{self.cell.partition(':')[0]}-{self.segment}-{carried}-seed{self.seed}"


KIND = Kind(
    "characters",
    Network,
    {
        "updates": int,
        "parameters": int,
        "train_bits": float,
        "test_bits": float,
        "test_characters": int,
        "symbols": int,
    },
)


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
    return [Point(*kind, dict(sorted(bits.items()))) for kind, bits in sorted(found.items())]


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
        for index, (hand_over, label) in enumerate(_HANDED.items()):
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


def redraw(rows: Sequence[dict], directory: epath.PathLike) -> tuple[str, list[epath.Path]]:
    """The table as text, and the paths of what was written: `bits.md` and
    `bits_against_segment.png` and `.svg`."""
    directory, text = epath.Path(directory), table(rows)
    storage.write(directory / "bits.md", text)
    stem = directory / "bits_against_segment"
    return text, [directory / "bits.md", *drawing.save(figure(rows), stem)]
