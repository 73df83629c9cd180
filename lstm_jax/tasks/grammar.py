"""A small grammar: well-formed sentences of words, filling an exact number of steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import Array

# Words that an example is never short of: below these no sentence fits.
SHORTEST = 3


class Grammar(NamedTuple):
    """Sentence forms over a vocabulary.

    Attributes:
      words: the vocabulary; a symbol is an index into it.
      forms: `[form, position, 2]`, the first symbol of a position's word class and how many there
        are; 0 of them behind the end of a form.
      lengths: `[form]`, words of a form.
    """

    words: tuple[str, ...]
    forms: np.ndarray
    lengths: np.ndarray


def make(classes: dict[str, tuple[str, ...]], forms: tuple[str, ...]) -> Grammar:
    """A grammar from word classes and forms such as `NAME VISITED PLACE .`.

    Args:
      classes: words by the name of their class, which is in capitals; all words differ.
      forms: names of classes and words, with spaces between. Any number of words from `SHORTEST`
        on can be filled with them: there are forms of 3, 4 and 5 words.
    """
    words = [word for own in classes.values() for word in own]
    starts = dict(zip(classes, np.cumsum([0, *map(len, classes.values())]), strict=False))
    alone = {word for form in forms for word in form.split() if word not in classes}
    words += sorted(alone - set(words))
    split = [form.split() for form in forms]
    table = np.zeros((len(forms), max(map(len, split)), 2), np.int32)
    for row, form in enumerate(split):
        for position, word in enumerate(form):
            if word in classes:
                table[row, position] = starts[word], len(classes[word])
            else:
                table[row, position] = words.index(word), 1
    lengths = np.array([len(form) for form in split], np.int32)
    assert {3, 4, 5} <= set(lengths.tolist())
    assert len(set(words)) == len(words)
    return Grammar(tuple(words), table, lengths)


def fill(grammar: Grammar, count: Array, steps: int, bits: Array) -> Array:
    """Random sentences of `count` words together, from step 0 on; what stands behind is undefined.

    Args:
      grammar: whose forms are drawn, each that fits being as likely.
      count: how many words: 0, or `SHORTEST` and more.
      steps: the longest that `count` may be.
      bits: `[fill_bits(steps)]`, random uint32.

    Returns:
      symbols `[steps]`.
    """
    lengths = jnp.asarray(grammar.lengths)
    sentences = _sentences(steps)
    # fits[left]: forms after which a sentence, or nothing, is left to fill.
    rest = np.arange(steps + 1)[:, None] - grammar.lengths[None]
    fits = jnp.asarray((rest == 0) | (rest >= SHORTEST))

    def draw(left, bit):
        ok = fits[jnp.clip(left, 0, steps)]
        number = ok.sum().astype(jnp.uint32)
        wanted = (bit % jnp.maximum(number, jnp.uint32(1))).astype(jnp.int32)
        form = jnp.argmax((jnp.cumsum(ok) - 1 == wanted) & ok)
        return left - jnp.where(left > 0, lengths[form], 0), form

    _, forms = jax.lax.scan(draw, count.astype(jnp.int32), bits[:sentences])
    ends = jnp.cumsum(lengths[forms])
    at = jnp.arange(steps, dtype=jnp.int32)
    sentence = jnp.minimum(jnp.searchsorted(ends, at, side="right"), sentences - 1)
    start = ends[sentence] - lengths[forms[sentence]]
    first, size = jnp.moveaxis(jnp.asarray(grammar.forms)[forms[sentence], at - start], 1, 0)
    drawn = bits[sentences : sentences + steps] % jnp.maximum(size, 1).astype(jnp.uint32)
    return first + drawn.astype(jnp.int32)


def fill_bits(steps: int) -> int:
    """How many random numbers `fill` takes."""
    return _sentences(steps) + steps


def _sentences(steps: int) -> int:
    return max(1, -(-steps // SHORTEST))
