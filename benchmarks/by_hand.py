"""The passes of a layer written out by hand, part by part, for `layer_parts.py` to time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.peers import GATES
from lstm_jax import cells
from lstm_jax.unroll import unroll_batch

PARTS = (
    "2048 product",
    "forward product",
    "forward",
    "forward, saving",
    "backward product",
    "backward scan",
    "weight product",
    "unroll",
)


class Hand(NamedTuple):
    """A cell's arithmetic between its products, and its derivative, by hand.

    Attributes:
      states: arrays of a carry, the output first.
      forward: carry, what the input gives, what the output before gives -> carry, what is saved.
      backward: gradient by the carry, saved -> gradient by what the input gives, by what the output
        before gives, and by the carry but for that product.
    """

    states: int
    forward: Callable
    backward: Callable


def _lstm_forward(carry, by_input, by_output):
    before, memory = carry
    i, f, g, o = jnp.split(by_input + by_output, 4, axis=1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    after = f * memory + i * g
    squashed = jnp.tanh(after)
    return (o * squashed, after), (i, f, g, o, squashed, memory, before)


def _lstm_backward(gradient, saved):
    by_hidden, by_memory = gradient
    i, f, g, o, squashed, memory, _ = saved
    by_o = by_hidden * squashed * o * (1 - o)
    by_memory = by_memory + by_hidden * o * (1 - squashed * squashed)
    by_i, by_f = by_memory * g * i * (1 - i), by_memory * memory * f * (1 - f)
    by_g = by_memory * i * (1 - g * g)
    sums = jnp.concatenate([by_i, by_f, by_g, by_o], axis=1)
    return sums, sums, (jnp.zeros_like(by_hidden), by_memory * f)


def _gru_forward(carry, by_input, by_output):
    (before,) = carry
    inputs, outputs = jnp.split(by_input, 3, axis=1), jnp.split(by_output, 3, axis=1)
    z, r = (jax.nn.sigmoid(inputs[i] + outputs[i]) for i in range(2))
    n = jnp.tanh(inputs[2] + r * outputs[2])
    return (before + z * (n - before),), (z, r, n, outputs[2], before)


def _gru_backward(gradient, saved):
    (by_hidden,) = gradient
    z, r, n, candidate, before = saved
    by_z = by_hidden * (n - before) * z * (1 - z)
    by_n = by_hidden * z * (1 - n * n)
    by_r = by_n * candidate * r * (1 - r)
    by_input = jnp.concatenate([by_z, by_r, by_n], axis=1)
    return by_input, jnp.concatenate([by_z, by_r, by_n * r], axis=1), (by_hidden * (1 - z),)


def _rnn_forward(carry, by_input, by_output):
    after = jnp.tanh(by_input + by_output)
    return (after,), (after, carry[0])


def _rnn_backward(gradient, saved):
    sums = gradient[0] * (1 - saved[0] * saved[0])
    return sums, sums, (jnp.zeros_like(sums),)


HANDS = {
    "lstm": Hand(2, _lstm_forward, _lstm_backward),
    "gru": Hand(1, _gru_forward, _gru_backward),
    "rnn": Hand(1, _rnn_forward, _rnn_backward),
}


def parts(name: str, steps: int, batch: int, inputs: int, hidden: int) -> dict:
    """Functions of no argument, by part."""
    keys = jax.random.split(jax.random.key(0), 3)
    options = {"reset": "after"} if name == "gru" else {}
    cell, hand = cells.CELLS[name](inputs, hidden, **options), HANDS[name]
    params = cell.init(keys[0])
    kernel, width = params.recurrent_kernel, GATES[name] * hidden
    xs = jax.random.normal(keys[1], (steps, batch, inputs))
    cotangents = jax.random.normal(keys[2], (steps, batch, hidden))
    zeros = jnp.zeros((batch, hidden))
    start = (zeros,) * hand.states

    def product(kernel):
        def step(carry, _):
            return (carry @ kernel)[:, :hidden] * 1e-3, None

        return lax.scan(step, zeros + 1, length=steps)[0]

    def transposed(kernel):
        def step(carry, _):
            return jnp.tile(carry @ kernel.T, (1, GATES[name])) * 1e-3, None

        return lax.scan(step, jnp.ones((batch, width)), length=steps)[0]

    def gates(carry, x):
        return hand.forward(carry, x @ params.input_kernel + params.bias[None], carry[0] @ kernel)

    def forward(xs):
        def step(carry, x):
            carry, _ = gates(carry, x)
            return carry, carry[0]

        return lax.scan(step, start, xs)[1]

    def saving(xs):
        return lax.scan(gates, start, xs)[1]

    def backward(saved, cotangents):
        def step(gradient, at_step):
            saved, cotangent = at_step
            gradient = (gradient[0] + cotangent, *gradient[1:])
            by_input, by_output, (rest, *others) = hand.backward(gradient, saved)
            same = by_input is by_output  # the GRU's are two
            return (rest + by_output @ kernel.T, *others), (by_output, None if same else by_input)

        return lax.scan(step, start, (saved, cotangents), reverse=True)[1]

    def weights(before, by_output):
        rows = steps * batch
        return before.reshape(rows, hidden).T @ by_output.reshape(rows, width)

    def whole(params, xs):
        return jnp.vdot(unroll_batch(cell, params, xs, time_major=True).outputs, cotangents)

    saved = jax.jit(saving)(xs)
    by_output, _ = jax.jit(backward)(saved, cotangents)
    square = jnp.ones((2048, 2048))
    calls = (
        (lambda a: a @ a, square),
        (product, kernel),
        (forward, xs),
        (saving, xs),
        (transposed, kernel),
        (backward, saved, cotangents),
        (weights, saved[-1], by_output),
        (jax.grad(whole), params, xs),
    )

    def prepared(function, *arguments):
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(*arguments))
        return lambda: jax.block_until_ready(compiled(*arguments))

    return {part: prepared(*call) for part, call in zip(PARTS, calls, strict=True)}
