"""Text in data sets of TFDS, as bytes."""

from collections.abc import Iterator
from typing import Any

from lstm_jax.datasets.base import examples, require
from lstm_jax.errors import InputError


def rows(builder: Any, split: str, text: str, *others: str) -> Iterator[tuple]:
    """Of each example of a split, in stored order: its text as bytes, and some other features.

    Read bit by bit as they are asked for, so that who stops early reads no more.

    Args:
      builder: what `prepared` returned.
      split: such as `train`.
      text: name of a feature that is text.
      others: names of more features.

    Raises:
      InputError: no such split or feature, or one that is no text.
    """
    tfds = require("tensorflow_datasets", f"data set {builder.name}")
    where = f"data set {builder.info.full_name}"
    _require_among(where, "split", split, builder.info.splits)
    features = builder.info.features
    for name in (text, *others):
        _require_among(where, "feature", name, features)
    if not isinstance(features[text], tfds.features.Text):
        raise InputError(f"{where}: feature {text!r} is no text but {features[text]!r:.80}")
    for example in examples(builder, split):
        yield tuple(example[name] for name in (text, *others))


def _require_among(where, what, name, found):
    if name not in found:
        raise InputError(f"{where}: has no {what} {name!r}: allowed are {', '.join(sorted(found))}")
