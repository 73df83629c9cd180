"""Embedded Reber grammar: the symbol behind the first one comes again at the end."""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.tasks.base import Example, Task, classification, require_whole

_SYMBOLS = "BTPSXVE"
_SHORTEST = 5  # BTXSE and BPVVE
# Of each state of Reber's grammar (1967) after its B: two symbols, and the states they lead to.
_ARROWS = (
    (("T", 1), ("P", 2)),
    (("S", 1), ("X", 3)),
    (("T", 2), ("V", 4)),
    (("X", 2), ("S", 5)),
    (("P", 3), ("V", 5)),
    (("E", 6), ("E", 6)),
    (("E", 6), ("E", 6)),  # the end
)


def reber(gap: int, *, spread: int = 0) -> Task:
    """A string of Reber's grammar between two T or two P: which will it be at the end?

    At gap 5::

        step     0  1  2  3  4  5  6
        input    B  T  B  P  V  V  E
        target                     T

    The embedded Reber grammar (Fahlman 1991; Hochreiter & Schmidhuber 1997, experiment 1). Papers
    ask for every next symbol; only this one, after the inner E, needs memory, and it alone is
    asked. Inner strings are random walks through the grammar, both arrows of a state as likely,
    given that their length is what it is to be.

    Args:
      gap: length of the shortest inner string, which is the lag; at least 5.
      spread: inner strings have up to so many symbols more, with the odds that the grammar gives to
        their lengths. `reber:spread=50` at gap 5 is the classical task, but for strings longer than
        55, of which there are two in a million.

    Raises:
      InputError: a gap below 5, or a negative spread.
    """
    require_whole("gap", gap, _SHORTEST)
    require_whole("spread", spread, 0)
    longest = gap + spread
    targets = np.array([[state for _, state in arrows] for arrows in _ARROWS], np.int32)
    symbols = np.array(
        [[_SYMBOLS.index(symbol) for symbol, _ in arrows] for arrows in _ARROWS], np.int32
    )
    first_arrow, lengths = _odds(longest, targets)
    of_length = lengths[gap - 1 : longest]
    log_lengths = jnp.asarray(np.log(np.maximum(of_length / of_length.sum(), 1e-30)), jnp.float32)
    first_arrow = jnp.asarray(first_arrow, jnp.float32)
    begin = _SYMBOLS.index("B")
    outer = np.array([_SYMBOLS.index("T"), _SYMBOLS.index("P")], np.int32)

    def sample(data, key):
        del data
        length_key, walk_key = jax.random.split(key)
        inner = gap + jax.random.categorical(length_key, log_lengths).astype(jnp.int32)
        uniform = jax.random.uniform(walk_key, (longest,))
        choice = (uniform[0] < 0.5).astype(jnp.int32)

        def arrow(carry, draw):
            state, left = carry  # symbols still to come
            taken = (draw >= first_arrow[jnp.maximum(left, 0), state]).astype(jnp.int32)
            after = jnp.asarray(targets)[state, taken], left - 1
            return after, jnp.asarray(symbols)[state, taken]

        start = jnp.int32(0), inner - 1
        _, walked = jax.lax.scan(arrow, start, uniform[1:])
        head = jnp.stack([jnp.int32(begin), jnp.asarray(outer)[choice], jnp.int32(begin)])
        use = inner + 1
        return Example(
            inputs=jnp.concatenate([head, walked]),
            targets=choice[None],
            weights=jnp.ones(1),
            info_times=jnp.ones((1, 1), jnp.int32),
            use_times=use[None],
            lag=(use - 1)[None],
        )

    def oracle(inputs):
        return (inputs[1] == outer[1]).astype(jnp.int32)[None]

    return classification(
        classes=2,
        name="reber",
        gap=gap,
        kind="tokens",
        input_size=len(_SYMBOLS),
        length=longest + 2,
        sample=sample,
        oracle=oracle,
        fixed_position=True,
    )


def _odds(longest: int, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Odds of walks that end after a given number of symbols.

    Returns:
      `[left, state]`, with how many symbols still to come, how likely the first arrow is;
      `[length - 1]`, how likely inner strings of each length are, in proportion.
    """
    states = len(targets)
    ending = np.zeros(states)
    ending[-1] = 1.0  # with nothing left, only the end is right
    first, lengths, scale = [np.full(states, 0.5)], [0.0], 1.0
    for _ in range(longest - 1):
        # Of a walk that has one symbol more to go; the end itself goes nowhere.
        by_arrow = 0.5 * ending[targets]
        by_arrow[-1] = 0
        total = by_arrow.sum(axis=1)
        first.append(np.where(total > 0, by_arrow[:, 0] / np.maximum(total, 1e-300), 0.5))
        lengths.append(scale * total[0])
        largest = total.max()
        ending, scale = total / largest, scale * largest
    return np.array(first), np.array(lengths)
