"""Handwritten digits, 8 x 8 pixels, as a TFDS data set that needs no network."""

import numpy as np
import tensorflow_datasets as tfds

from lstm_jax.datasets.base import require

tfds.disable_progress_bar()
TRAIN_EXAMPLES, EXAMPLES = 1500, 1797


class HandwrittenDigits(tfds.core.GeneratorBasedBuilder):
    """The 1,797 digits that scikit-learn ships (`sklearn.datasets.load_digits`).

    They are the test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998,
    UCI repository), by 13 writers. There is no standard split of them. Here the first 1,500 are
    `train` and the last 297 `test`, in the stored order and unshuffled: neighbours are by one
    writer, so a shuffled split would ask for digits of writers seen in training.
    """

    name = "handwritten_digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First."}  # noqa: RUF012 (TFDS reads a class attribute)

    def _info(self) -> tfds.core.DatasetInfo:
        # Not dataset_info_from_configs: it wants README and TAGS files beside this one.
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits, 8 x 8 pixels of 0 (paper) to 16 (ink).",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(8, 8), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        digits = require("sklearn.datasets", "task digits").load_digits()
        return {
            "train": self._generate_examples(digits, 0, TRAIN_EXAMPLES),
            "test": self._generate_examples(digits, TRAIN_EXAMPLES, EXAMPLES),
        }

    def _generate_examples(self, digits, begin, end):
        for index in range(begin, end):
            yield (
                index,
                {
                    "image": digits.images[index].astype(np.uint8),
                    "label": int(digits.target[index]),
                },
            )
