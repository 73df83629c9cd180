"""Real data: language modelling, byte by byte."""

import functools
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import Array
from lstm_jax.errors import InputError
from lstm_jax.tasks.base import (
    EVALUATION_SIZES,
    Example,
    Floors,
    Task,
    below,
    classified,
    cross_entropy,
    require_whole,
)

BYTES = 256
MOST_BYTES = 10**8  # of a split that are read, as many as there are in enwik8 and text8
HELD_OUT = 20  # one part in so many of `train` stands in for a split that a set does not have
_NAME = re.compile(r"[A-Za-z_]\w*(/[\w+-][\w.+-]*)?", re.ASCII)
_CHUNK = 2**24  # bytes counted at once
_NEVER = 1e-13  # share given to bytes that never occur, for a finite logarithm


class Text(NamedTuple):
    """A text in three parts, and what follows what in the first of them.

    Attributes:
      train: `[bytes]`, uint8, which training draws segments from.
      monitor: the same, of the validation split.
      report: the same, of the test split.
      after_one: `[256]`, uint8: the byte that most often follows each byte in `train`.
      after_two: `[65536]`, uint8: the same for each two bytes, 256 times the first and the second.
    """

    train: Array
    monitor: Array
    report: Array
    after_one: Array
    after_two: Array


def characters(gap: int, *, dataset: str = "tiny_shakespeare", feature: str = "text") -> Task:
    """Every next byte of a text, given those before it in a segment.

    At length 5::

        step     0  1  2  3  4
        input    F  i  r  s  t
        target   i  r  s  t  _

    Language modelling has no gap: what the next byte depends on is not known, and the argument is
    the length of a segment, at whose first step a network starts anew. Training segments begin at
    random places. Evaluation segments lie evenly over their split and do not overlap: at most 512
    of the validation and 2,048 of the test split, or as many as fit, which then ask once for every
    byte but the first and fewer than `length` others.

    Symbols are bytes, all 256 and no more: then no text has unknown ones, whatever its language and
    encoding, and the size of a network does not hang on the data. `loss / log(2)` of a results row
    is bits per byte, which are characters where the text is ASCII, as Tiny Shakespeare is (TFDS;
    Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks": 1.1 MB, split
    90:5:5 by TFDS).

    `chance` is the share of the commonest byte in the report set and `blind_loss` the entropy of
    its bytes: nothing constant does better, not even knowing that set. `solved_at` is the share
    that a table gets right which was counted in the training split: what follows each two bytes
    most often. It asks for a memory of one byte before the present one, or for something as good,
    so a cell without memory cannot (of a text long enough to count pairs in); how much better a
    network is, accuracy and loss say. All three hang on the data and are known before training.

    Args:
      gap: the length of a segment, in steps, at least 2.
      dataset: a data set of TFDS, or `name/config` where it has configurations. Texts of a split
        are joined by a newline, and at most its first 10**8 bytes read. Where there is no `test`
        or no `validation`, the end of `train` is cut off for it, a twentieth each.
      feature: the name of its feature that is text.

    Raises:
      InputError: a length below 2, or no name of a data set; from `load`, the data set is not on
        disk, or has no such feature or no `train`; from `floors`, too little text for a segment,
        or one of which the table tells no more than the commonest byte.
      MissingExtraError: from `load`, the extra `data` is not installed.
    """
    require_whole("length", gap, 2)
    length = gap
    if not _NAME.fullmatch(dataset):
        raise InputError(f"dataset={dataset!r:.80}: must be a name of TFDS, or name/config")
    steps = jnp.arange(length, dtype=jnp.int32)

    def example(segment):
        segment = segment.astype(jnp.int32)
        return Example(
            inputs=segment[:-1],
            targets=segment[1:],
            weights=jnp.ones(length, jnp.float32),
            info_times=steps[:, None],
            use_times=steps,
            lag=jnp.zeros(length, jnp.int32),
        )

    def sample(data, key):
        # As many starts as there are segments with a byte behind them.
        start = below(jax.random.bits(key, ()), len(data.train) - length)
        return example(jax.lax.dynamic_slice(data.train, (start,), (length + 1,)))

    def evaluation_set(data, split):
        return jax.vmap(example)(segments(getattr(data, split), length, EVALUATION_SIZES[split]))

    def floors(data):
        for part, text in zip(("train", "monitor", "report"), data, strict=False):
            if len(text) <= length:
                raise InputError(
                    f"data set {dataset}: {len(text)} bytes are too few for a segment of {length} "
                    f"and the byte after it ({part})"
                )
        found = _floors(data, segments(data.report, length, EVALUATION_SIZES["report"]))
        if found.solved_at <= found.chance:
            raise InputError(
                f"data set {dataset}: whoever knows two bytes before one is right on "
                f"{found.solved_at:.3f} of them, whoever says the commonest on {found.chance:.3f}: "
                "there is nothing to learn"
            )
        return found

    return Task(
        name="characters",
        gap=None,
        kind="tokens",
        input_size=BYTES,
        output_size=BYTES,
        length=length,
        sample=sample,
        loss=cross_entropy,
        correct=classified,
        load=_loader(dataset, feature),
        evaluation_set=evaluation_set,
        swept_by="length",
        licence=f"that of the data set {dataset} (tiny_shakespeare: in the public domain)",
        data_set=dataset,
        zero_data=lambda: _with_tables(*(np.zeros(length + 1, np.uint8) for _ in range(3))),
        floors=floors,
        blind=np.zeros(BYTES, np.float32),
        chance=math.nan,
        blind_loss=math.nan,
        solved_at=math.nan,
    )


def segments(text: Array, length: int, most: int) -> Array:
    """Segments of `length` bytes and the byte after each: `[segments, length + 1]`, evenly over the
    text. None shares a byte with another but the last one, which the next begins with.

    Args:
      text: `[bytes]`, more than `length`.
      length: of a segment.
      most: segments; fewer where fewer fit.
    """
    count = min(most, (len(text) - 1) // length)
    starts = np.arange(count) * ((len(text) - 1) // count)
    return text[starts[:, None] + np.arange(length + 1)]


@functools.cache
def _loader(dataset: str, feature: str) -> Callable[[], Text]:
    """`load`, one function at every length, so that a sweep reads the text once."""
    return functools.partial(_read, dataset, feature)


def _read(dataset: str, feature: str) -> Text:
    """The text on the device."""
    from lstm_jax import datasets
    from lstm_jax.datasets import text

    builder = datasets.prepared(dataset)

    def joined(split):
        pieces, size = [], 0
        for (piece,) in text.rows(builder, split, feature):
            pieces.append(piece)
            size += len(piece) + 1
            if size > MOST_BYTES:
                break
        return np.frombuffer(b"\n".join(pieces)[:MOST_BYTES], np.uint8)

    train = joined("train")
    parts = []
    held_out = len(train) // HELD_OUT
    for split in ("test", "validation"):
        if split in builder.info.splits:
            parts.append(joined(split))
        else:
            train, cut = np.split(train, [len(train) - held_out])
            parts.append(cut)
    report, monitor = parts
    return _with_tables(train, monitor, report)


def _with_tables(train: np.ndarray, monitor: np.ndarray, report: np.ndarray) -> Text:
    after_one, after_two = _followers(train)
    return Text(*map(jnp.asarray, (train, monitor, report, after_one, after_two)))


def _followers(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`after_one` and `after_two`: of contexts that do not occur, what follows their end, or the
    commonest byte."""
    best = np.bincount(train, minlength=BYTES).argmax(keepdims=True)
    tables = []
    for order in (1, 2):
        counts = np.zeros(BYTES ** (order + 1), np.int64)
        for begin in range(0, len(train) - order, _CHUNK):
            chunk = train[begin : begin + _CHUNK + order].astype(np.int64)
            runs = np.lib.stride_tricks.sliding_window_view(chunk, order + 1)
            counts += np.bincount(runs @ BYTES ** np.arange(order, -1, -1), minlength=len(counts))
        counts = counts.reshape(-1, BYTES)
        shorter = np.resize(best, len(counts))  # the context without its first byte
        best = np.where(counts.any(axis=1), counts.argmax(axis=1), shorter)
        tables.append(best.astype(np.uint8))
    return tables[0], tables[1]


def _floors(data: Text, report: Array) -> Floors:
    """What constants and the table score on the report set's segments."""
    report = np.asarray(report)
    share = np.bincount(report[:, 1:].ravel(), minlength=BYTES) / report[:, 1:].size
    blind = np.log(np.maximum(share, _NEVER))
    pairs = BYTES * report[:, :-2].astype(np.int32) + report[:, 1:-1]
    told = np.asarray(data.after_one)[report[:, :1]], np.asarray(data.after_two)[pairs]
    right = np.concatenate(told, axis=1) == report[:, 1:]
    return Floors(
        blind=blind.astype(np.float32),
        chance=float(share.max()),
        blind_loss=float(-(share * blind).sum()),
        solved_at=float(right.mean()),
    )
