"""TFDS where it wants TensorFlow: for sound, images, archives, and the files of some sets."""

import contextlib
import importlib
import io
import os
import types
from collections.abc import Iterator
from unittest import mock

import numpy as np

from lstm_jax.errors import InputError

# What of TFDS opens files through TensorFlow.
_OPENERS = (
    "core.download.extractor",
    "datasets.tiny_shakespeare.tiny_shakespeare_dataset_builder",
    "image_classification.cifar",
    "image_classification.mnist",
)
_COMPAT = types.SimpleNamespace(as_text=str)


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Within it TFDS makes builders of sets with sound, encodes images, reads archives, and opens
    the files of MNIST, CIFAR and Tiny Shakespeare, in the ways of Python, NumPy and Pillow.

    Images become PNG as with TensorFlow: the same pixels, not the same bytes.
    """
    from tensorflow_datasets.core.features import audio_feature, image_feature

    def lend(module, **attributes):
        stack.enter_context(mock.patch.object(module, "tf", types.SimpleNamespace(**attributes)))

    with contextlib.ExitStack() as stack:
        lend(audio_feature, dtypes=types.SimpleNamespace(as_dtype=np.dtype))
        own = property(lambda feature: feature.np_dtype)
        stack.enter_context(mock.patch.object(audio_feature.Audio, "dtype", own))
        files = types.SimpleNamespace(GFile=open, isdir=os.path.isdir)
        for name in _OPENERS:
            module = importlib.import_module(f"tensorflow_datasets.{name}")
            lend(module, io=types.SimpleNamespace(gfile=files), compat=_COMPAT)
        stack.enter_context(mock.patch.object(image_feature._ImageEncoder, "_encode_image", _png))
        yield


def _png(encoder, image: np.ndarray) -> bytes:
    """What `tf.io.encode_png` does, for images `[height, width, 1 or 3]` of bytes."""
    from PIL import Image

    if encoder.encoding_format != "png" or image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise InputError(f"images {image.dtype}{list(image.shape)}: must be of bytes, as PNG")
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "png")
    return file.getvalue()
