"""Recurrences that are linear in the carry, as what can be composed.

One step of such a cell is a map of its carry that its inputs alone decide, an *element*; two of
them, one after another, are an element again. So a sequence can be cut anywhere, its pieces worked
out at the same time, and put together (Blelloch 1990, "Prefix sums and their applications"; Martin
& Cundy 2018, "Parallelizing linear recurrent neural nets over sequence length").
`lstm_jax/parallel.py` does so; an `Algebra` says how elements compose.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lstm_jax.arrays import PyTree


class Algebra(NamedTuple):
    """How the steps of a linear recurrence compose. An element stands for a map of the carry.

    Attributes:
      combine: earlier, later -> element, the one map after the other; associative, leaf by leaf
        over leading axes.
      constant: carry -> element, the map that forgets all and gives this carry.
      value: element -> carry, what a map gives that forgets all.
      identity: element -> element like it, the map that changes nothing.
    """

    combine: Callable[[PyTree, PyTree], PyTree]
    constant: Callable[[PyTree], PyTree]
    value: Callable[[PyTree], PyTree]
    identity: Callable[[PyTree], PyTree]


class ChunkFn(Protocol):
    """Several steps of one example at once, by whatever is cheaper than elements.

    Takes weights, carry, projected with leaves `[time, ...]`, and flags `[time]` or None as
    `unroll` has them (of the initial carry nothing is given: it must be the one that forgets);
    gives the last carry and outputs `[time, output]`, which at masked steps may be any finite
    numbers.
    """

    def __call__(
        self,
        weights: PyTree,
        carry: PyTree,
        projected: PyTree,
        reset: jax.Array | None,
        mask: jax.Array | None,
    ) -> tuple[PyTree, jax.Array]: ...


class LinearForm(NamedTuple):
    """A step in two: how it moves the carry, and what it tells of the carry then reached.

    Attributes:
      element: weights, projected -> element.
      readout: weights, carry after the step, projected, dot -> output `[output_size]`.
      algebra: how elements compose.
      chunk: many steps at once, where the cell knows better than by elements.
    """

    element: Callable[[PyTree, PyTree], PyTree]
    readout: Callable[..., jax.Array]
    algebra: Algebra
    chunk: ChunkFn | None = None

    def step(
        self, weights: PyTree, carry: PyTree, projected: PyTree, dot: Callable = jnp.matmul
    ) -> tuple[PyTree, jax.Array]:
        """The step of a cell that this is the form of."""
        algebra = self.algebra
        before, now = algebra.constant(carry), self.element(weights, projected)
        after = algebra.value(algebra.combine(before, now))
        return after, self.readout(weights, after, projected, dot)


class Affine(NamedTuple):
    """carry -> decay * carry + driven, leaf by leaf, real or complex.

    Attributes:
      decay: like the carry.
      driven: like the carry.
    """

    decay: PyTree
    driven: PyTree


def _affine_combine(earlier: Affine, later: Affine) -> Affine:
    return Affine(
        jax.tree.map(lambda a, b: b * a, earlier.decay, later.decay),
        jax.tree.map(lambda x, a, y: a * x + y, earlier.driven, later.decay, later.driven),
    )


AFFINE = Algebra(
    combine=_affine_combine,
    constant=lambda carry: Affine(jax.tree.map(jnp.zeros_like, carry), carry),
    value=lambda element: element.driven,
    identity=lambda element: Affine(
        jax.tree.map(jnp.ones_like, element.decay), jax.tree.map(jnp.zeros_like, element.driven)
    ),
)


class LogAffine(NamedTuple):
    """log carry -> log(decay * carry + driven), all above 0, by their logarithms.

    Attributes:
      log_decay: like the carry.
      log_driven: like the carry; -inf for nothing.
    """

    log_decay: PyTree
    log_driven: PyTree


def log_add(a: jax.Array, b: jax.Array) -> jax.Array:
    """log(exp a + exp b), with a gradient that is finite also where both are -inf, as those of
    `jnp.logaddexp` are not."""
    larger = jnp.maximum(a, b)
    # Nothing depends on what is taken out and put back, so neither does the gradient.
    offset = jax.lax.stop_gradient(jnp.where(jnp.isfinite(larger), larger, 0))
    total = jnp.exp(a - offset) + jnp.exp(b - offset)
    positive = total > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, total, 1)) + offset, -jnp.inf)


def _log_combine(earlier: LogAffine, later: LogAffine) -> LogAffine:
    return LogAffine(
        jax.tree.map(jnp.add, earlier.log_decay, later.log_decay),
        jax.tree.map(
            lambda x, a, y: log_add(a + x, y),
            earlier.log_driven,
            later.log_decay,
            later.log_driven,
        ),
    )


def _nothing(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, -jnp.inf), tree)


LOG_AFFINE = Algebra(
    combine=_log_combine,
    constant=lambda carry: LogAffine(_nothing(carry), carry),
    value=lambda element: element.log_driven,
    identity=lambda element: LogAffine(
        jax.tree.map(jnp.zeros_like, element.log_decay), _nothing(element.log_driven)
    ),
)


def read_hidden(weights: PyTree, carry: PyTree, projected: PyTree, dot: Callable) -> jax.Array:
    """The readout of a cell whose output is its carry's `hidden`."""
    del weights, projected, dot
    return carry.hidden
