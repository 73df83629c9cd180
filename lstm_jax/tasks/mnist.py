"""MNIST as a sequence (sMNIST, psMNIST), asked after a gap."""

import functools
from typing import Literal

import jax.numpy as jnp

from lstm_jax.errors import require_among
from lstm_jax.tasks.base import Task
from lstm_jax.tasks.images import as_sequence, load
from lstm_jax.tasks.labelled import labelled_task, zeros

SHAPE, CLASSES = (28, 28, 1), 10
_load = functools.partial(load, "mnist")


def mnist(
    gap: int,
    *,
    layout: Literal["pixel", "row", "permuted"] = "pixel",
    padding: Literal["noise", "neutral"] = "noise",
) -> Task:
    """A digit of MNIST, pixel by pixel or row by row, gap - 1 steps that say nothing, then: which?

    At gap 3, by pixels::

        step      0   1 ... 782 783 784 785 786
        value     0   0 ...   0   0  .7  .2   0     784 pixels, 2 steps of noise, the question
        flag      0   0 ...   0   0   0   0   1
        target                                4

    sMNIST is gap 1, sMNIST with permuted pixels (psMNIST) gap 1 with `layout=permuted` (Le, Jaitly
    & Hinton 2015, section 4.3), but for the question: papers read the answer at the last pixel,
    this task one step later, where the flag is 1. The data are TFDS's `mnist` (LeCun & Cortes): of
    60,000 training images 512 are held out for the monitor set; the report set is the 10,000 test
    images. Pixels lie between 0 (paper) and 1 (ink). Noise is uniform in [0, 1]: new in every
    training example, fixed in the evaluation sets.

    The lag counts from the last pixel, or row, which is paper: by pixels or rows what tells digits
    apart ends some rows earlier; permuted, it stands everywhere. Chance is 1/10, as papers state
    it; the commonest class, 1, is 0.1135 of the test split.

    `solved_at`, from published test accuracies before any training here: 0.9 by pixels, between
    RNN and LSTM (0.215 and 0.872 with 70,000 parameters in Bai et al. 2018; LSTM 0.985 in van der
    Westhuizen & Lasenby 2018), and by rows, which is shorter and easier; 0.85 permuted, which LSTMs
    reach (0.857 in Bai et al., 0.88 in Arjovsky et al. 2016, 0.91 in van der Westhuizen & Lasenby)
    and plain RNNs do not (0.253, 0.678).

    Args:
      gap: steps from the last pixel or row to the question; 1 is the very next step.
      layout: `pixel`, 784 steps of one pixel; `permuted`, the same in the order of
        `images.permutation`, that of expRNN's and scoRNN's code (papers do not share one); `row`,
        28 steps of 28 pixels.
      padding: `noise`, or `neutral`: paper, 0.

    Raises:
      InputError: a gap below 1, another word; from `load`, data that nobody has prepared.
      MissingExtraError: from `load`, the extra `data` is not installed.
    """
    require_among("padding", padding, ("noise", "neutral"))
    return labelled_task(
        name="mnist",
        gap=gap,
        classes=CLASSES,
        **as_sequence(layout, SHAPE, 1 / 255)._asdict(),
        padding=padding,
        solved_at=0.85 if layout == "permuted" else 0.9,
        load=_load,
        licence="none given; made by LeCun, Cortes & Burges from data of NIST",
        data_set="mnist",
        zero_data=lambda: zeros(SHAPE, jnp.uint8),
    )
