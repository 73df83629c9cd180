"""Lists of gaps as text: `40`, `5,10,20`, or `uniform:1-40` for every gap from 1 to 40."""

import re

from lstm_jax.errors import InputError

MOST = 64  # gaps of a mixture: each is a branch of the compiled program
LARGEST = 10**6
_UNIFORM = re.compile(r"uniform:([0-9]{1,7})-([0-9]{1,7})")
_LIST = re.compile(r"[0-9]{1,7}(,[0-9]{1,7})*")


def parse_gaps(text: str) -> tuple[int, ...]:
    """The gaps that a text names, rising.

    Raises:
      InputError: it is no such text, names a gap twice, or names none or too many.
    """
    if match := _UNIFORM.fullmatch(text):
        first, last = map(int, match.groups())
        if last < first:
            raise InputError(f"{text:.60}: must rise, as uniform:1-40")
        gaps = range(first, last + 1)
    elif _LIST.fullmatch(text):
        gaps = sorted(map(int, text.split(",")))
    else:
        raise InputError(f"{text!r:.60}: must be a gap, a list as 5,10,20, or as uniform:1-40")
    if not gaps or len(gaps) > MOST or gaps[0] < 1 or gaps[-1] > LARGEST:
        raise InputError(f"{text:.60}: must name 1 to {MOST} gaps, each from 1 to {LARGEST:,}")
    if len(set(gaps)) < len(gaps):
        raise InputError(f"{text:.60}: names a gap twice")
    return tuple(gaps)


def canonical(text: str) -> str:
    """The same gaps, written in one way: a list that rises, or `uniform:` as it is."""
    gaps = parse_gaps(text)
    return text if text.startswith("uniform") else ",".join(map(str, gaps))
