"""Stateful training: a long sequence in segments, the carry handed over from one to the next.

Gradients stop where a segment begins, the carry does not: truncated backpropagation through time
(Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent
network trajectories", with h' = h: each step is used once). What a network learns is what pays
within a segment; what it carries may come from anywhere before.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lstm_jax.arrays import Array, Bool, Float, Int, PyTree
from lstm_jax.errors import InputError
from lstm_jax.network import FunctionalNetwork


class Segments(NamedTuple):
    """Streams cut into segments, in the order in which they are trained on.

    Attributes:
      inputs: `[segments, batch, time]`.
      targets: likewise: the symbols that come next.
      reset: likewise, True where a stream begins anew before the step; None if it never does.
    """

    inputs: Int[Array, "segments batch time"]
    targets: Int[Array, "segments batch time"]
    reset: Bool[Array, "segments batch time"] | None = None


class State(NamedTuple):
    """Everything that is handed on from segment to segment."""

    params: PyTree
    optimizer: PyTree
    carries: PyTree
    update: Int[Array, ""]


class Trainer(NamedTuple):
    """Stateful training as pure functions.

    Attributes:
      init: key, batch size -> State.
      advance: state, Segments -> State, mean loss of each segment `[segments]` in nats a symbol:
        one update a segment, all inside one loop on the device.
    """

    init: Callable[[Array, int], State]
    advance: Callable[[State, Segments], tuple[State, Float[Array, " segments"]]]


def cut(
    symbols: Int[Array, " symbols"],
    *,
    batch: int,
    segment: int,
    begins: Bool[Array, " symbols"] | None = None,
) -> Segments:
    """A text as so many streams side by side, each a stretch of it, in segments.

    What does not fill a segment of every stream is left out at the end of each.

    Args:
      symbols: the text.
      batch: streams.
      segment: steps of a segment, through which gradients go.
      begins: True at the first symbol of a document: nothing is carried into it.

    Raises:
      InputError: a batch or a segment below 1, or a text too short for one segment.
    """
    for name, value in (("batch", batch), ("segment", segment)):
        if value < 1:
            raise InputError(f"{name}={value}: must be at least 1")
    symbols = np.asarray(symbols)
    segments = (len(symbols) // batch - 1) // segment
    if segments < 1:
        raise InputError(
            f"segment={segment}: {len(symbols)} symbols are too few for {batch} streams; they need "
            f"{batch * (segment + 1)}"
        )

    def arranged(values, offset):
        streams = values[: len(values) // batch * batch].reshape(batch, -1)
        kept = streams[:, offset : offset + segments * segment]
        return jnp.asarray(kept.reshape(batch, segments, segment).swapaxes(0, 1))

    reset = None if begins is None else arranged(np.asarray(begins, bool), 0)
    return Segments(
        arranged(symbols.astype(np.int32), 0), arranged(symbols.astype(np.int32), 1), reset
    )


def trainer(
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformation,
    *,
    learning_rate: float,
    hand_over: bool = True,
) -> Trainer:
    """Training of a network that predicts the next symbol.

    Args:
      network: of recurrent layers.
      optimizer: its updates are scaled by the learning rate, as those of `optimizers.direction`.
      learning_rate: of every update.
      hand_over: whether a segment goes on from the carry of the one before it; if not, each begins
        anew, as windows of a text do.
    """

    def loss(params, carries, segment):
        predictions, carries = network.resume(params, segment.inputs, carries, reset=segment.reset)
        return symbol_loss(predictions, segment.targets), carries

    def update(state, segment):
        batch = segment.inputs.shape[0]
        carries = state.carries if hand_over else network.start(state.params, batch)
        # The truncation: how the carry came about is not differentiated.
        carries = lax.stop_gradient(carries)
        (value, carries), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params, carries, segment
        )
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes floats and integer counts
            steps, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
        params = jax.tree.map(lambda leaf, step: leaf - learning_rate * step, state.params, steps)
        return State(params, optimizer_state, carries, state.update + 1), value

    def init(key, batch):
        params = network.init(key)
        carries = network.start(params, batch)
        return State(params, optimizer.init(params), carries, jnp.int32(0))

    return Trainer(init, lambda state, segments: lax.scan(update, state, segments))


def symbol_loss(predictions: Array, targets: Array) -> Array:
    """Mean cross entropy, in nats a symbol."""
    return optax.softmax_cross_entropy_with_integer_labels(predictions, targets).mean()


def bits_per_symbol(
    network: FunctionalNetwork,
    params: PyTree,
    symbols: Int[Array, " symbols"],
    *,
    segment: int = 1024,
    begins: Bool[Array, " symbols"] | None = None,
) -> float:
    """Cross entropy of a whole text but its first symbol, read from beginning to end in one go.

    Args:
      network: what reads.
      params: its parameters.
      symbols: the text.
      segment: steps that are worked out at once; the carry is handed over, so that the result does
        not depend on it, to rounding.
      begins: True at the first symbol of a document.

    Raises:
      InputError: fewer than two symbols, or a segment below 1.
    """
    whole = len(symbols) - 1
    segments = cut(symbols, batch=1, segment=min(segment, max(whole, 1)), begins=begins)

    def read(carries, segment):
        predictions, carries = network.resume(params, segment.inputs, carries, reset=segment.reset)
        return carries, symbol_loss(predictions, segment.targets)

    carries, losses = jax.jit(lambda carries, segments: lax.scan(read, carries, segments))(
        network.start(params, 1), segments
    )
    steps = segments.inputs.shape[-1]
    done = len(losses) * steps
    total = float(np.asarray(losses, np.float64).sum()) * steps
    if done < whole:
        rest = cut(
            symbols[done:],
            batch=1,
            segment=whole - done,
            begins=None if begins is None else begins[done:],
        )
        _, loss = jax.jit(read)(carries, jax.tree.map(lambda leaf: leaf[0], rest))
        total += float(loss) * (whole - done)
    return total / whole / np.log(2)
