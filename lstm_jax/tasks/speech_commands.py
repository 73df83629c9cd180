"""Raw audio: which word was said in a second of 16,000 samples, asked after a gap."""

import functools
from typing import Literal

import jax.numpy as jnp
import numpy as np

from lstm_jax import datasets
from lstm_jax.errors import InputError, require_among
from lstm_jax.tasks.base import Task, require_whole
from lstm_jax.tasks.labelled import Labelled, Parts, labelled_task, zeros

RATE = 16_000  # samples a second, and a clip lasts a second at most
# Labels of TFDS in their order: ten words, then what is no word and what is another word.
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
LABELS = (*WORDS, "_silence_", "_unknown_")
MONITOR_A_CLASS = 100
_SCALE = 1 / 2**15  # of 16-bit samples
_LOUDNESS = (-0.1, 0.1)


def speech_commands(gap: int, *, words: Literal["ten", "all"] = "ten", rate: int = RATE) -> Task:
    """A second of speech, sample by sample, gap - 1 steps of noise, then: which word was it?

    At gap 3::

        step      0    1 ... 15998 15999 16000 16001 16002
        sound  .001 .002 ... -.003  .001   .07  -.02     0     samples, 2 of noise, the question
        flag      0    0 ...     0     0     0     0     1
        target                                           9

    The data are TFDS's `speech_commands` 0.0.3 (Warden 2018, version 0.02 of the data), which has
    12 labels: the words down, go, left, no, off, on, right, stop, up, yes; `_silence_`, seconds of
    background noise; and `_unknown_`, all 25 other words together. The 35 words of the papers'
    SC35 cannot be told apart in it. Nor is `words=ten` exactly the SC10 of the papers (Romero et
    al. 2022, Gu et al. 2022): those are the same ten words, but split 70/15/15 at random over clips
    of a full second only, whereas here speakers of training, validation and test are apart, as the
    authors of the data have it. Published numbers compare only roughly.

    Monitored are the first 100 clips of each label in the validation split (fewer where there are
    fewer); the report set is the test split, where labels are nearly as common as each other (396
    to 425 of 4,890 clips each). In training most clips are `_unknown_`, so a label is drawn first
    and then one of its clips. Clips shorter than a second have silence put before them, so that
    sound ends at the last sample. Sound lies between -1 and 1; noise is uniform in [-0.1, 0.1],
    new in every training example, fixed in the evaluation sets.

    `solved_at` is 0.7, from published test accuracies on raw sound of the ten words before any
    training here: 0.116 for expRNN and 0.165 for NRDE, hardly above chance, 0.717 for CKConv, 0.983
    for S4 (Gu et al. 2022): what the weakest reaches that learns it at all.

    Args:
      gap: steps from the last sample to the question; 1 is the very next step.
      words: `ten`, the ten words alone; `all`, all 12 labels, in 2.7 GB of the device's memory.
      rate: samples a second; it divides 16,000. At 8000 every second sample is left out,
        unfiltered, as in S4's test at half the rate.

    Raises:
      InputError: a gap below 1, another word or rate; from `load`, data that nobody has prepared.
      MissingExtraError: from `load`, the extra `data` is not installed.
    """
    require_among("words", words, ("ten", "all"))
    require_whole("rate", rate, 1)
    if RATE % rate:
        raise InputError(f"rate={rate}: must divide {RATE}, such as 8000")
    classes = len(WORDS if words == "ten" else LABELS)

    def encode(sound):
        return (sound.astype(np.float32) * np.float32(_SCALE))[..., None]

    return labelled_task(
        name="speech_commands",
        gap=gap,
        classes=classes,
        steps=rate,
        features=1,
        encode=encode,
        padding="noise",
        loudness=_LOUDNESS,
        balanced=True,
        solved_at=0.7,
        load=_loader(classes, rate),
        licence="CC-BY-4.0 (Warden 2018)",
        data_set="speech_commands",
        zero_data=lambda: zeros((rate,), jnp.int16),
    )


@functools.cache  # one function for all gaps, so that the data are read once for all
def _loader(classes: int, rate: int):
    return functools.partial(load, classes, rate)


def load(classes: int, rate: int) -> Parts:
    """The prepared set on the device, `[clips, rate]` of 16 bits, training clips sorted by label.

    Args:
      classes: clips of labels below this are kept.
      rate: samples a second, a divisor of 16,000.

    Raises:
      InputError, MissingExtraError: as `datasets.prepared`.
    """
    builder = datasets.prepared("speech_commands")
    return Parts(
        train=_part(builder, "train", classes, rate),
        monitor=_part(builder, "validation", classes, rate, MONITOR_A_CLASS),
        report=_part(builder, "test", classes, rate),
    )


def _part(builder, split: str, classes: int, rate: int, most: int | None = None) -> Labelled:
    """A split sorted by label, the first `most` clips of each."""
    clips: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for example in datasets.examples(builder, split):
        label = int(example["label"])
        if label < classes and (most is None or len(clips[label]) < most):
            sound = example["audio"][-RATE:]
            clip = np.zeros(RATE, np.int16)
            clip[RATE - len(sound) :] = sound
            clips[label].append(clip[:: RATE // rate].copy())  # no view, which would keep it all
    labels = np.repeat(np.arange(classes, dtype=np.int32), [len(same) for same in clips])
    sounds = np.stack([clip for same in clips for clip in same])
    return Labelled(jnp.asarray(sounds), jnp.asarray(labels))
