"""TFDS where it wants TensorFlow: for files, archives, images and sound."""

import contextlib
import importlib
import io
import os
from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

import numpy as np

from lstm_jax.errors import InputError

# What modules of TFDS take from TensorFlow while they prepare sets that tasks are made of.
_LENT = SimpleNamespace(
    compat=SimpleNamespace(as_text=os.fsdecode),
    dtypes=SimpleNamespace(as_dtype=np.dtype),
    errors=SimpleNamespace(ResourceExhaustedError=OSError, UnimplementedError=NotImplementedError),
    io=SimpleNamespace(
        gfile=SimpleNamespace(
            GFile=open, exists=os.path.exists, isdir=os.path.isdir, remove=os.remove
        ),
    ),
)
_MODULES = (
    "core.download.downloader",
    "core.download.extractor",
    "core.features.audio_feature",
    "core.shuffle",
    "datasets.tiny_shakespeare.tiny_shakespeare_dataset_builder",
    "image_classification.cifar",
    "image_classification.mnist",
)


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Within it TFDS downloads, extracts, shuffles and writes sets of images, sound and text, and
    makes builders of them, in the ways of Python, NumPy and Pillow.

    Images become PNG as with TensorFlow: the same pixels, not the same bytes.
    """
    from tensorflow_datasets.core.features import audio_feature, image_feature

    encoder, own_type = image_feature._ImageEncoder, property(lambda feature: feature.np_dtype)
    with contextlib.ExitStack() as stack:
        for name in _MODULES:
            module = importlib.import_module(f"tensorflow_datasets.{name}")
            stack.enter_context(mock.patch.object(module, "tf", _LENT))
        stack.enter_context(mock.patch.object(encoder, "_encode_image", _png))
        stack.enter_context(mock.patch.object(audio_feature.Audio, "dtype", own_type))
        yield


def _png(encoder, image: np.ndarray) -> bytes:
    """What `tf.io.encode_png` does, for images `[height, width, 1 or 3]` of bytes."""
    from PIL import Image

    if encoder.encoding_format != "png" or image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise InputError(f"images {image.dtype}{list(image.shape)}: must be of bytes, as PNG")
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "png")
    return file.getvalue()
