"""Noiseless memorization: a few bits are kept over a long constant stretch."""

import typing
from typing import Literal

from lstm_jax.errors import require_among
from lstm_jax.tasks.base import Task
from lstm_jax.tasks.copying import copy

Bits = Literal["5", "20"]
# Length of the string, number of symbols.
_STRINGS = {"5": (5, 2), "20": (10, 4)}


def memorization(gap: int, *, bits: Bits = "5") -> Task:
    """A string of `bits` bits is given back after constant inputs, at a trigger (Martens &
    Sutskever 2011, "Learning recurrent neural networks with Hessian-free optimization", after
    Hochreiter & Schmidhuber 1997): `copy` of 5 symbols out of 2, or of 10 out of 4::

        step     0  1  2  3  4  5  6 ...          bits=5 at gap 7
        input    1  2  2  1  2  0  M  0  0  0  0  0
        target                        1  2  2  1  2

    An answer is a symbol, which is one bit or two; the paper counts a sequence as wrong if any of
    its bits is.

    Args:
      gap: steps from a symbol to its use, more than the string is long.
      bits: `5` or `20`.

    Raises:
      InputError: another number of bits, or a gap too small.
    """
    require_among("bits", bits, typing.get_args(Bits))
    items, symbols = _STRINGS[bits]
    return copy(gap, symbols=symbols, items=items)._replace(name="memorization")
