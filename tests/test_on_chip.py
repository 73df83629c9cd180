"""One kernel for the steps of any cell, interpreted: equal to the scan in values and gradients.

For TPUs it is compiled by `make tpu-compile`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import on_chip
from lstm_jax.cells import CELLS, gru, lstm, rnn
from lstm_jax.errors import InputError
from lstm_jax.on_chip import scan_on_chip
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import Rows, unroll, unroll_batch

BATCH, TIME, INPUT, HIDDEN = 3, 5, 3, 8
KEYS = jax.random.split(jax.random.key(1), 3)
INPUTS = jax.random.normal(KEYS[0], (BATCH, TIME, INPUT))
FLAGS = {
    "reset": jnp.broadcast_to(jnp.arange(TIME)[None] == 3, (BATCH, TIME)),
    "mask": jax.random.bernoulli(KEYS[1], 0.8, (BATCH, TIME)),
}


def assert_near(tree, other):
    for leaf, like in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(leaf, like, rtol=1e-4, atol=1e-5)


def unrolled(cell, params, inputs, **options):
    """Everything that comes out, and the gradients: by the kernel, and by the scan."""

    def objective(params, inputs, method):
        found = unroll_batch(cell, params, inputs, method=method, **options)
        return (found.outputs**2).sum(), found

    @quick_jit
    def both(params, inputs):
        run = jax.value_and_grad(objective, (0, 1), has_aux=True)
        return [run(params, inputs, method) for method in ("on_chip", "scan")]

    return both(params, inputs)


# The others are run by make test-all.
QUICK = ("rnn", "gru", "lstm", "layer_norm_lstm", "clockwork_rnn", "mlstm", "lru", "no_memory")
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.campaign) for name in CELLS]


@pytest.mark.parametrize("name", EVERY)
def test_every_cell_equals_the_scan_or_says_why_not(name):
    """With resets, a mask, all carries, an odd batch, and a carry handed in."""
    cell = CELLS[name](INPUT, HIDDEN)
    params = quick_jit(cell.init)(jax.random.key(0))
    if name in ("lru", "s5", "no_memory"):  # complex, or without any carry
        with pytest.raises(
            InputError, match=r"method=on_chip: a step reads .* must be real and not"
        ):
            unrolled(cell, params, INPUTS)
        return
    assert_near(*unrolled(cell, params, INPUTS, return_carries=True, **FLAGS))


def test_tokens_and_trials_as_a_cohort_runs_them():
    """Rows of a table as inputs, under vmap over parameters."""
    cell = gru(INPUT, HIDDEN)
    params = jax.vmap(cell.init)(jax.random.split(jax.random.key(0), 2))
    index = jax.random.randint(KEYS[2], (BATCH, TIME), 0, INPUT)

    def total(params, method):
        rows = Rows(jnp.eye(INPUT), index)
        return (unroll_batch(cell, params, rows, method=method).outputs ** 2).sum()

    def gradients(method):
        return quick_jit(jax.vmap(jax.grad(lambda params: total(params, method))))(params)

    assert_near(gradients("on_chip"), gradients("scan"))


def test_segments_and_a_handed_over_carry():
    cell = lstm(INPUT, HIDDEN)
    params = quick_jit(cell.init)(jax.random.key(0))
    carry = unroll_batch(cell, params, INPUTS[:, ::-1], method="scan").carry
    assert_near(*unrolled(cell, params, INPUTS, carry=carry, segment=2))


@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_a_scan(reverse):
    """Of integers, truth values and several axes too, from either end."""

    def body(carry, x):
        total, flag = carry
        total = total + x["value"] * jnp.where(flag, 1, -1)[:, None, None]
        return (total, ~flag & x["on"]), (total.sum((1, 2)), flag)

    carry = jnp.zeros((2, 3, 4)), jnp.array([True, False])
    xs = {
        "value": jnp.arange(5 * 24.0).reshape(5, 2, 3, 4),
        "on": jnp.arange(10).reshape(5, 2) % 3 > 0,
    }
    found = scan_on_chip(body, carry, xs, reverse=reverse)
    like = jax.lax.scan(body, carry, xs, reverse=reverse)
    assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(
        lambda leaf: leaf.dtype, like
    )
    assert_near(found, like)


def test_what_does_not_fit_says_so(monkeypatch):
    monkeypatch.setattr(on_chip, "MOST_BYTES", 1000)
    cell = rnn(INPUT, 64)
    params = quick_jit(cell.init)(jax.random.key(0))
    with pytest.raises(InputError, match=r"a step reads and writes 0 MiB; at most 0 fit"):
        unroll(cell, params, INPUTS[0], method="on_chip")


def test_other_backends_are_told_which_have_a_kernel(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    cell = rnn(INPUT, HIDDEN)
    params = cell.init(jax.random.key(0))
    with pytest.raises(InputError, match="method=on_chip: there is no kernel for gpu; allowed are"):
        unroll(cell, params, INPUTS[0], method="on_chip")
