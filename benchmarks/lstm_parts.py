"""Where the time of an LSTM's forward and backward pass goes, part by part, on one core.

    python -m benchmarks.lstm_parts

Each part is a scan of its own, written out by hand: the recurrent product alone; with the gates;
with what the backward pass needs written down; the backward scan's product alone; the whole
backward scan; the weight gradient. What `unroll` takes stands beside their sum, and beside the
floor: three products at the rate of a 2048 x 2048 one. Prints Markdown.
"""

import os
import statistics
import time

import jax
import jax.numpy as jnp
from absl import app, flags
from jax import lax

from lstm_jax import backend
from lstm_jax.cells import lstm
from lstm_jax.unroll import unroll_batch

_SHAPES = flags.DEFINE_list(
    "shapes",
    ["100x32x2x32", "100x32x10x64", "100x64x2x128", "500x20x10x128", "100x128x10x256"],
    "Shapes TxBxIxH: time, batch, input, hidden.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Rounds; medians over them are printed.")

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


def parts(steps: int, batch: int, inputs: int, hidden: int) -> dict:
    """Functions of no argument, by part."""
    keys = jax.random.split(jax.random.key(0), 4)
    cell = lstm(inputs, hidden)
    params = cell.init(keys[0])
    kernel = params.recurrent_kernel
    xs = jax.random.normal(keys[1], (steps, batch, inputs))
    cotangents = jax.random.normal(keys[2], (steps, batch, hidden))
    zeros = jnp.zeros((batch, hidden))

    def product(kernel):
        def step(carry, _):
            return (carry @ kernel)[:, :hidden] * 1e-3, None

        return lax.scan(step, zeros + 1, length=steps)[0]

    def transposed(kernel):
        def step(carry, _):
            return jnp.tile(carry @ kernel.T, (1, 4)) * 1e-3, None

        return lax.scan(step, jnp.ones((batch, 4 * hidden)), length=steps)[0]

    def gates(carry, x):
        before, memory = carry
        sums = x @ params.input_kernel + params.bias[None] + before @ kernel
        i, f, g, o = jnp.split(sums, 4, axis=1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        after = f * memory + i * g
        squashed = jnp.tanh(after)
        return (o * squashed, after), (i, f, g, o, squashed, memory, before)

    def forward(xs):
        def step(carry, x):
            carry, _ = gates(carry, x)
            return carry, carry[0]

        return lax.scan(step, (zeros, zeros), xs)[1]

    def saving(xs):
        return lax.scan(gates, (zeros, zeros), xs)[1]

    def backward(saved, cotangents):
        def step(carry, at_step):
            by_hidden, by_memory = carry
            (i, f, g, o, squashed, memory, _), cotangent = at_step
            by_hidden = by_hidden + cotangent
            by_o = by_hidden * squashed * o * (1 - o)
            by_memory = by_memory + by_hidden * o * (1 - squashed * squashed)
            by_i, by_f = by_memory * g * i * (1 - i), by_memory * memory * f * (1 - f)
            by_g = by_memory * i * (1 - g * g)
            by_sums = jnp.concatenate([by_i, by_f, by_g, by_o], axis=1)
            return (by_sums @ kernel.T, by_memory * f), by_sums

        return lax.scan(step, (zeros, zeros), (saved, cotangents), reverse=True)[1]

    def weights(before, by_sums):
        rows = steps * batch
        return before.reshape(rows, hidden).T @ by_sums.reshape(rows, 4 * hidden)

    def whole(params, xs):
        return jnp.vdot(unroll_batch(cell, params, xs, time_major=True).outputs, cotangents)

    saved = jax.jit(saving)(xs)
    by_sums = jax.jit(backward)(saved, cotangents)
    square = jnp.ones((2048, 2048))
    calls = (
        (lambda a: a @ a, square),
        (product, kernel),
        (forward, xs),
        (saving, xs),
        (transposed, kernel),
        (backward, saved, cotangents),
        (weights, saved[-1], by_sums),
        (jax.grad(whole), params, xs),
    )

    def prepared(function, *arguments):
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(*arguments))
        return lambda: jax.block_until_ready(compiled(*arguments))

    return {name: prepared(*call) for name, call in zip(PARTS, calls, strict=True)}


def main(argv: list[str]) -> None:
    del argv
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax.config.update("jax_num_cpu_devices", 1)
    backend.keep_freed_memory()
    print("| T,B,I,H | floor | " + " | ".join(PARTS[1:]), end="")
    print(" | floor over parts | floor over unroll |")
    print("| --- |" + " ---: |" * (len(PARTS) + 2))
    for text in _SHAPES.value:
        shape = tuple(int(size) for size in text.split("x"))
        steps, batch, inputs, hidden = shape
        calls = parts(*shape)
        seconds = {name: [] for name in PARTS}
        for _ in range(_ROUNDS.value):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
        ms = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
        work = 2 * steps * batch * (inputs + hidden) * 4 * hidden
        floor = 3 * work * ms["2048 product"] / (2 * 2048**3)
        together = ms["forward, saving"] + ms["backward scan"] + ms["weight product"]
        numbers = " | ".join(f"{ms[name]:.2f}" for name in PARTS[1:])
        print(
            f"| {steps},{batch},{inputs},{hidden} | {floor:.2f} | {numbers} "
            f"| {floor / together:.0%} | {floor / ms['unroll']:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
