"""Real data: was a film review favourable, asked after a gap?"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import keys
from lstm_jax.arrays import Array
from lstm_jax.errors import InputError, require_among
from lstm_jax.tasks.base import (
    EVALUATION_SIZES,
    Example,
    Task,
    below,
    classification,
    require_whole,
)

DATASET = "imdb_reviews/plain_text"
BYTES = 256
NEUTRAL, QUESTION = BYTES, BYTES + 1  # symbols behind those of the bytes
CLASSES = 2
_MOST_HELD_OUT = 1 / 4  # of the training split
Rows = list[tuple[bytes, int]]  # reviews and their labels


class Reviews(NamedTuple):
    """Reviews one after another.

    Attributes:
      text: `[bytes]`, uint8.
      starts: `[reviews]`, where each begins.
      lengths: `[reviews]`, in bytes.
      labels: `[reviews]`, 1 for a favourable one.
    """

    text: Array
    starts: Array
    lengths: Array
    labels: Array


class Imdb(NamedTuple):
    """The labelled reviews that are used, each in one part only.

    Attributes:
      train: the training split but for `monitor`, and for reviews that stand in an evaluation set
        as well, which training draws from.
      monitor: the training split's first 256 reviews of each class.
      report: the test split's first 1,024 reviews of each class.
    """

    train: Reviews
    monitor: Reviews
    report: Reviews


def imdb(gap: int, *, length: int = 1000, padding: Literal["noise", "neutral"] = "noise") -> Task:
    """A film review, byte by byte, gap - 1 steps of padding, then: was it favourable?

    At gap 3, a review of 6 bytes and `length` 8::

        step     0  1  2  3  4  5  6  7  8  9  10
        input    G  r  e  a  t  .  p  p  ?  _  _      p padding, ? the question, _ neutral
        target                           1

    The reviews are those of Maas et al. 2011 ("Learning word vectors for sentiment analysis", data
    set `imdb_reviews` of TFDS), half of them favourable. A sequence has `length` + gap steps; what
    is left behind the question of a short review is neutral.

    The byte-level text classification of Long Range Arena (Tay et al. 2021, section 2.2) is the
    model: bytes as symbols, the first `length` bytes of a longer review. There are differences. Its
    shorter reviews are filled up with a neutral symbol and read from a class symbol or a mean over
    all steps, so that the lag is another in each; here it is the gap. Its paper has 4,000 bytes and
    its configuration 1,000, the default here: about half of the reviews are shorter. It looks at
    the test split during training and scores all 25,000 reviews of it; here training looks at
    reviews held out from the training split, and the report set are 2,048 reviews of the test
    split, as many of each class: the first ones stored, and TFDS stores them in the order of a
    hash. 2,048 answers have a standard error of 1.1 %.

    `solved_at` is the level of the Transformers that Long Range Arena's paper reports on this task
    (table 1: 65.9 % for the best of them, with 4,000 bytes); state space models reach 86 to 90 %.

    Args:
      gap: steps from the review's last byte to the question; 1 is the very next step.
      length: bytes of a review that are read, its first ones; the others are cut off.
      padding: `noise`, bytes of which all 256 are as likely, new in every training example and
        fixed in the evaluation sets; or `neutral`, always the same symbol, which no review has.

    Raises:
      InputError: a gap or length below 1, or another padding; from `load`, the data set is not on
        disk, or has a class without reviews or a review without text.
      MissingExtraError: from `load`, the extra `data` is not installed.
    """
    require_whole("gap", gap, 1)
    require_whole("length", length, 1)
    require_among("padding", padding, ("noise", "neutral"))
    steps = np.arange(length + gap, dtype=np.int32)

    def example(xp, reviews, index, noise):
        """Reviews and their questions, for indices of any axes, in NumPy or in JAX; of the bytes
        `noise` `[..., gap]` the last is not read."""
        size = xp.minimum(reviews.lengths[index], length)[..., None]
        places = xp.minimum(reviews.starts[index][..., None] + steps, len(reviews.text) - 1)
        question = size - 1 + gap
        inputs = xp.where(steps == question, np.int32(QUESTION), np.int32(NEUTRAL))
        if padding == "noise":
            padded = xp.take_along_axis(noise, xp.clip(steps - size, 0, gap - 1), axis=-1)
            inputs = xp.where(steps < question, padded, inputs)
        return Example(
            inputs=xp.where(steps < size, reviews.text[places].astype(np.int32), inputs),
            targets=reviews.labels[index][..., None],
            weights=xp.ones((*index.shape, 1), np.float32),
            info_times=xp.where(steps < size, steps, -1)[..., None, :length],
            use_times=question,
            lag=xp.full((*index.shape, 1), gap, np.int32),
        )

    def sample(data, key):
        # One draw for the review and the noise: each call of the generator adds to compilation.
        bits = jax.random.bits(key, (gap,))
        index = below(bits[-1], len(data.train.labels))
        return example(jnp, data.train, index, below(bits, BYTES))

    def evaluation_set(data, split):
        # In NumPy: there is nothing to compile for a set that is built once.
        reviews = Reviews(*map(np.asarray, getattr(data, split)))
        # Always as many, so that the generator is compiled once for both sets.
        shape = (EVALUATION_SIZES["report"], gap)
        noise = jax.random.bits(keys.evaluation(split), shape, np.uint8)
        count = len(reviews.labels)
        noise = np.asarray(noise)[:count].astype(np.int32)
        return example(np, reviews, np.arange(count), noise)

    return classification(
        classes=CLASSES,
        name="imdb",
        gap=gap,
        kind="tokens",
        input_size=QUESTION + 1,
        length=length + gap,
        sample=sample,
        solved_at=0.65,
        load=load,
        evaluation_set=evaluation_set,
        licence="none given; the reviews are their writers' (Maas et al. 2011)",
        data_set=DATASET,
        zero_data=lambda: Imdb(*(_placed([(bytes(1), 0), (bytes(length), 0)]),) * 3),
    )


def load() -> Imdb:
    """The reviews on the device, each read once."""
    from lstm_jax import datasets

    builder = datasets.prepared(DATASET)
    report = _balanced(_read(builder, "test"), EVALUATION_SIZES["report"], 1)
    # Some reviews were posted twice, also across the splits.
    train = _without(_read(builder, "train"), report)
    monitor = _balanced(train, EVALUATION_SIZES["monitor"], _MOST_HELD_OUT)
    return Imdb(*map(_placed, (_without(train, monitor), monitor, report)))


def _read(builder, split: str) -> Rows:
    from lstm_jax.datasets import text

    rows = [(review, int(label)) for review, label in text.rows(builder, split, "text", "label")]
    for row, (review, _) in enumerate(rows):
        if not review:
            raise InputError(f"data set {DATASET}: example {row} of {split} is empty")
    for label in range(CLASSES):
        if label not in (own for _, own in rows):
            raise InputError(f"data set {DATASET}: {split} has no example of class {label}")
    return rows


def _without(rows: Rows, others: Rows) -> Rows:
    """Those whose text is not among the others'."""
    texts = {review for review, _ in others}
    return [row for row in rows if row[0] not in texts]


def _balanced(rows: Rows, most: int, share: float) -> Rows:
    """The first rows of each class, as many of each: at most `most` together, and `share` of the
    rarer class. In stored order."""
    labels = np.asarray([label for _, label in rows])
    fewest = np.bincount(labels, minlength=CLASSES).min()
    each = max(1, min(most // CLASSES, int(fewest * share)))
    chosen = [np.flatnonzero(labels == label)[:each] for label in range(CLASSES)]
    return [rows[index] for index in np.sort(np.concatenate(chosen))]


def _placed(rows: Rows) -> Reviews:
    lengths = np.asarray([len(review) for review, _ in rows], np.int32)
    return Reviews(
        text=jnp.asarray(np.frombuffer(b"".join(review for review, _ in rows), np.uint8)),
        starts=jnp.asarray(np.cumsum(lengths, dtype=np.int32) - lengths),
        lengths=jnp.asarray(lengths),
        labels=jnp.asarray([label for _, label in rows], jnp.int32),
    )
