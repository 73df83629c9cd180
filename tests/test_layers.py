"""Layers: lengths, causality, and what each of them computes."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import gru, lstm, rnn
from lstm_jax.cells.wrappers import zoneout
from lstm_jax.errors import InputError
from lstm_jax.layers import (
    LAYERS,
    attention,
    bidirectional,
    dropout,
    layer,
    layer_norm,
    projection,
    residual,
    stack,
)
from lstm_jax.unroll import Rows, unroll

pytestmark = pytest.mark.xdist_group("layers")  # shares what is compiled or made once

BATCH, TIME, INPUT = 3, 9, 8
LENGTHS = np.array([9, 4, 1])

BUILT = {
    **{name: constructor(INPUT, INPUT) for name, constructor in LAYERS.items()},
    "attention without positions": attention(INPUT, INPUT, positions="none", heads=2),
    "cell": layer(gru(INPUT, 5)),
    "cell in segments": layer(lstm(INPUT, 5), segment=2),
    "bidirectional": bidirectional(lstm(INPUT, 5), gru(INPUT, 4)),
    "residual": residual(layer(rnn(INPUT, INPUT))),
    "residual bidirectional": residual(bidirectional(gru(INPUT, 4), gru(INPUT, 4))),
    "projection": projection(INPUT, 4),
    "layer norm": layer_norm(INPUT),
    "dropout": dropout(INPUT, 0.4),
    "stack": stack(
        [
            layer_norm(INPUT),
            residual(layer(gru(INPUT, INPUT))),
            dropout(INPUT, 0.2),
            bidirectional(rnn(INPUT, 3), rnn(INPUT, 3)),
            projection(6, 2),
        ]
    ),
}
NOISY = {"dropout", "stack"}
each = pytest.mark.parametrize("name", BUILT)


def inputs():
    return np.random.default_rng(0).normal(size=(BATCH, TIME, INPUT)).astype(np.float32)


@cache
def params(name):
    return BUILT[name].init(jax.random.key(1))


@cache
def compiled(name):
    return jax.jit(lambda *given, **options: BUILT[name].apply(*given, **options))


def run(name, x, **options):
    return np.asarray(compiled(name)(params(name), x, **options))


@each
def test_shape_and_evaluation(name):
    outputs = run(name, inputs())
    assert outputs.shape == (BATCH, TIME, BUILT[name].output_size)
    np.testing.assert_array_equal(outputs, run(name, inputs()))


@each
def test_causal_as_it_says(name):
    changed = inputs()
    changed[:, 5:] = changed[:, 5:] ** 2
    same = np.allclose(run(name, inputs())[:, :5], run(name, changed)[:, :5], atol=1e-6)
    assert same == BUILT[name].causal


@each
@pytest.mark.parametrize("filler", [7.0, np.nan, np.inf])
def test_what_stands_in_the_padding_changes_nothing(name, filler):
    padded = inputs()
    for row, length in enumerate(LENGTHS):
        padded[row, length:] = filler
    outputs = run(name, padded, length=LENGTHS)
    np.testing.assert_array_equal(outputs, run(name, inputs(), length=LENGTHS))
    for row, length in enumerate(LENGTHS):
        # A sequence with padding is the shorter sequence.
        alone = run(name, inputs()[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row : row + 1, :length], alone, atol=2e-6)
        assert not outputs[row, length:].any()


@each
def test_no_gradient_from_or_by_the_padding(name):
    padded = inputs()
    for row, length in enumerate(LENGTHS):
        padded[row, length:] = np.nan

    def total(own, x):
        return (BUILT[name].apply(own, x, length=LENGTHS) ** 2).sum()

    own, by_inputs = jax.jit(jax.grad(total, argnums=(0, 1)))(params(name), padded)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(own))
    for row, length in enumerate(LENGTHS):
        assert not np.asarray(by_inputs)[row, length:].any()
        assert np.isfinite(np.asarray(by_inputs)[row]).all()


@each
def test_rows_of_a_table_are_inputs(name):
    table = np.random.default_rng(1).normal(size=(4, INPUT)).astype(np.float32)
    index = np.random.default_rng(2).integers(0, 4, (BATCH, TIME))
    rows = run(name, Rows(jnp.asarray(table), jnp.asarray(index)))
    np.testing.assert_allclose(rows, run(name, table[index]), atol=1e-6)


@each
def test_noise_comes_from_the_key_alone(name):
    def noisy(seed):
        return run(name, inputs(), key=jax.random.split(jax.random.key(seed), BATCH))

    np.testing.assert_array_equal(noisy(0), noisy(0))
    assert (name in NOISY) != np.allclose(noisy(0), noisy(1))


def test_bidirectional_is_two_cells():
    forward, backward = lstm(INPUT, 5), gru(INPUT, 4)
    own = params("bidirectional")
    outputs = run("bidirectional", inputs(), length=LENGTHS)
    for row, length in enumerate(LENGTHS):
        x = inputs()[row, :length]
        ahead = unroll(forward, own["forward"], x).outputs
        behind = unroll(backward, own["backward"], x[::-1]).outputs[::-1]
        expected = np.concatenate([ahead, behind], axis=1)
        np.testing.assert_allclose(outputs[row, :length], expected, atol=1e-6)


def test_attention_is_its_equations():
    own = {name: np.asarray(leaf, np.float64) for name, leaf in params("attention").items()}
    x, heads, size = inputs()[0].astype(np.float64), 4, INPUT // 4
    e = x @ own["input_kernel"] + own["input_bias"]
    for time in range(TIME):
        for feature in range(INPUT):
            angle = time / 10_000 ** (2 * (feature // 2) / INPUT)
            e[time, feature] += np.cos(angle) if feature % 2 else np.sin(angle)
    norm = (e - e.mean(1, keepdims=True)) / np.sqrt(e.var(1, keepdims=True) + 1e-5)
    q, k, v = np.split(norm @ own["mixing_kernel"], 3, axis=1)
    attended = np.zeros_like(e)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(TIME):
            scores = k[: t + 1, part] @ q[t, part] / np.sqrt(size)
            weights = np.exp(scores) / np.exp(scores).sum()
            attended[t, part] = weights @ v[: t + 1, part]
    expected = e + attended @ own["output_kernel"] + own["output_bias"]
    np.testing.assert_allclose(run("attention", inputs())[0], expected, atol=1e-5)


def test_layer_norm_and_projection_are_their_equations():
    x = inputs()
    norm = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(run("layer norm", x), norm, atol=1e-5)
    own = params("projection")
    expected = x @ np.asarray(own["kernel"]) + np.asarray(own["bias"])
    np.testing.assert_allclose(run("projection", x), expected, atol=1e-6)


def test_dropout_has_its_rate_and_keeps_the_mean():
    wide = dropout(2_000, 0.4)
    keys = jax.random.split(jax.random.key(0), 1)
    outputs = np.asarray(wide.apply({}, jnp.ones((1, 20, 2_000)), key=keys))
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.6], rtol=1e-6)
    assert abs((outputs == 0).mean() - 0.4) < 4 * np.sqrt(0.4 * 0.6 / 40_000)


def test_what_cannot_be():
    with pytest.raises(InputError, match="hidden_size=6: must be a multiple of heads=4"):
        attention(3, 6)
    with pytest.raises(InputError, match="positions=learned: allowed are sinusoidal, none"):
        attention(4, 8, positions="learned")
    with pytest.raises(InputError, match="heads=0: must be at least 1"):
        attention(4, 8, heads=0)
    with pytest.raises(InputError, match=r"rate=1.0: must be at least 0 and below 1"):
        dropout(3, 1.0)
    with pytest.raises(InputError, match="layers is empty"):
        stack([])
    odd = residual(layer(rnn(INPUT, 3)))
    with pytest.raises(ValueError, match="residual: inputs are"):
        odd.apply(odd.init(jax.random.key(0)), inputs())


def test_a_wrapped_cell_is_a_layer_too():
    noisy = layer(zoneout(lstm(INPUT, 4), {"memory": 0.5}))
    own = noisy.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), BATCH)
    assert not np.allclose(noisy.apply(own, inputs()), noisy.apply(own, inputs(), key=keys))
