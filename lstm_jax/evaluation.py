"""Scores of a cohort on a fixed set of examples, block by block."""

from typing import NamedTuple

import jax
import numpy as np

from lstm_jax import information
from lstm_jax.arrays import PyTree
from lstm_jax.tasks.base import Example
from lstm_jax.training import EVALUATION_BLOCK, Program

# Answers that one call of `evaluate` scores at most: those of language models are 256 numbers each.
_MOST_ANSWERS = 256 * EVALUATION_BLOCK
# Blocks that wait to be scored: XLA:CPU takes 32 programs a device, and two threads (one trains a
# cohort, one compiles and tries the next) that hand it more wait for each other for ever.
_MOST_WAITING = 8
# Steps that it takes at most: a layer's outputs at all of them are in memory at once.
_MOST_STEPS = 2048 * EVALUATION_BLOCK


class Blocks(NamedTuple):
    """A set of examples cut into blocks of one shape.

    Attributes:
      examples: a block each, one batched `Example` of `EVALUATION_BLOCK`, or of fewer where they
        are very long or have very many uses; the last is padded.
      valid: `[block]` each, 0 for padding.
    """

    examples: list[Example]
    valid: list[np.ndarray]


class Accuracy(NamedTuple):
    """Scores by trial, `[trials]`; NaN for trials that were not active.

    Attributes:
      loss: mean over examples.
      accuracy: over counted answers.
      bits: kept, a counted answer (`information.py`); NaN where the loss is no cross entropy.
      bits_asked: likewise.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    bits: np.ndarray
    bits_asked: np.ndarray


def blocks(examples: Example) -> Blocks:
    """Cuts a batch of examples into blocks that one compiled program takes."""
    examples = jax.tree.map(np.asarray, examples)
    size, uses = examples.weights.shape
    length = examples.inputs.shape[1]
    block = max(1, min(EVALUATION_BLOCK, _MOST_ANSWERS // uses, _MOST_STEPS // length))
    padding = -size % block
    valid = np.concatenate([np.ones(size, np.float32), np.zeros(padding, np.float32)])

    def cut(leaf):
        whole = np.split(leaf, range(block, size, block))
        # Padding repeats the first example: its uses have weights, so its loss is a number.
        whole[-1] = np.concatenate([whole[-1], np.repeat(leaf[:1], padding, axis=0)])
        return whole

    cuts = [cut(leaf) for leaf in examples]
    whole = [Example(*leaves) for leaves in zip(*cuts, strict=True)]
    return Blocks(whole, np.split(valid, len(valid) // block))


def score(program: Program, params: PyTree, active: np.ndarray, over: Blocks) -> Accuracy:
    """Loss and accuracy of the active trials over all blocks, summed in double precision.

    Args:
      program: the cohort's functions.
      params: the cohort's parameters.
      active: `[trials]`, whom to score.
      over: the examples.
    """
    flags = program.place(np.asarray(active))
    scores = []
    for examples, valid in zip(over.examples, over.valid, strict=True):
        if len(scores) >= _MOST_WAITING:
            jax.block_until_ready(scores[-_MOST_WAITING])
        scores.append(program.evaluate(params, flags, examples, valid))
    loss, correct, weight, bits = (
        np.sum([leaf.astype(np.float64) for leaf in leaves], axis=0)
        for leaves in zip(*program.fetch(scores), strict=True)
    )
    with np.errstate(invalid="ignore"):
        told = information.read(bits, weight[:, 1])
        return Accuracy(loss / weight[:, 0], correct / weight[:, 1], *told.T)
