"""Downloads data sets, once: `python -m lstm_jax.datasets.prepare mnist`.

They are prepared by TFDS in the one format that needs no TensorFlow to read. Some builders of TFDS
want TensorFlow all the same, to open files and to write images as PNG; `without_tensorflow` lends
them Python's and Pillow's ways.
"""

import argparse
import contextlib
import importlib
import io
import os
import sys
import types
from collections.abc import Iterator
from unittest import mock

import numpy as np

from lstm_jax.datasets.base import new_builder, require, require_prepared
from lstm_jax.errors import InputError, MissingExtraError, first_line

# What of TFDS opens files through TensorFlow.
_OPENERS = (
    "tensorflow_datasets.core.download.extractor",
    "tensorflow_datasets.datasets.tiny_shakespeare.tiny_shakespeare_dataset_builder",
    "tensorflow_datasets.image_classification.cifar",
    "tensorflow_datasets.image_classification.mnist",
)


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Within it TFDS encodes images, reads archives, and opens the files of MNIST, CIFAR and Tiny
    Shakespeare, without TensorFlow.

    Images are PNG as with TensorFlow: the same pixels, not the same bytes.

    Raises:
      MissingExtraError: the extra `data` is not installed.
    """
    require("tensorflow_datasets", "preparing data")
    from tensorflow_datasets.core.features import image_feature

    gfile = types.SimpleNamespace(GFile=open, isdir=os.path.isdir)
    files = types.SimpleNamespace(
        io=types.SimpleNamespace(gfile=gfile), compat=types.SimpleNamespace(as_text=str)
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(image_feature._ImageEncoder, "_encode_image", _png))
        for module in _OPENERS:
            stack.enter_context(mock.patch.object(importlib.import_module(module), "tf", files))
        yield


def _png(encoder, image: np.ndarray) -> bytes:
    """What `tf.io.encode_png` does, for images `[height, width, 1 or 3]` of bytes."""
    if encoder.encoding_format != "png" or image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise InputError(f"images {image.dtype}{list(image.shape)}: must be of bytes, as PNG")
    pillow = require("PIL.Image", "preparing images")
    file = io.BytesIO()
    pillow.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "png")
    return file.getvalue()


def prepare(name: str) -> str:
    """Downloads and prepares a set of TFDS below `directory()` unless it is there.

    Returns:
      The folder in which it lies.

    Raises:
      InputError: TFDS has no such set, or it cannot be downloaded or written.
      MissingExtraError: the extra `data` is not installed.
    """
    with contextlib.suppress(InputError):
        return require_prepared(name)
    builder = new_builder(name)
    try:
        with without_tensorflow():
            builder.download_and_prepare()
    except (InputError, MissingExtraError):
        raise
    except Exception as error:  # of the network, the disk, or a package of that set alone
        raise InputError(f"data set {name}: cannot be prepared: {first_line(error)}") from error
    return require_prepared(name)


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lstm_jax.datasets.prepare", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="+", help="as TFDS knows them: mnist, cifar10")
    for name in parser.parse_args(arguments).names:
        try:
            print(f"{name}: in {prepare(name)}")
        except (InputError, MissingExtraError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
