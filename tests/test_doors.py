"""Doors in and out: what goes through comes back, and every example of docs/doors.md runs."""

import os
import re
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from lstm_jax.cells import gru, lstm, orthogonal_rnn, slstm
from lstm_jax.cells.check import broken
from lstm_jax.cells.wrappers import zoneout
from lstm_jax.doors import from_flax, from_function, to_flax
from lstm_jax.errors import InputError
from lstm_jax.programs import quick_jit
from lstm_jax.spec import load_file
from lstm_jax.unroll import unroll_batch

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```python(?: (\S+))?\n(.*?)^```$",
    (ROOT / "docs" / "doors.md").read_text(),
    flags=re.MULTILINE | re.DOTALL,
)
FILES = {name: text for name, text in BLOCKS if name}
INPUTS = jax.random.normal(jax.random.key(1), (2, 5, 3))


@pytest.mark.parametrize("index", [i for i, (name, _) in enumerate(BLOCKS) if not name])
def test_examples_of_the_page(index, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(BLOCKS[index][1], "doors.md", "exec"), {})


@cache
def from_the_page(name, directory):
    path = Path(directory) / name
    path.write_text(FILES[name])
    return load_file(str(path), "cell").constructor


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return os.fspath(tmp_path_factory.mktemp("cells"))


@pytest.mark.parametrize("name", FILES)
def test_a_cell_of_another_library_keeps_the_whole_contract(name, directory):
    assert broken(from_the_page(name, directory)) == []


def through_its_own(name, params, inputs):
    """What the other library makes of the same parameters, step by step."""
    import equinox as eqx
    import haiku as hk

    hidden = 4
    zeros = jnp.zeros(hidden)
    if name == "equinox_lstm.py":
        cell = eqx.nn.LSTMCell(3, hidden, key=jax.random.key(0))
        own = [params["weight_ih"], params["weight_hh"], params["bias"]]
        cell = eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias), cell, own)
        carry, one = (zeros, zeros), lambda carry, x: ((c := cell(x, carry)), c[0])
    elif name == "haiku_gru.py":
        net = hk.without_apply_rng(hk.transform(lambda x, s: hk.GRU(hidden)(x, s)))
        own = {"gru": {key.removeprefix("gru_"): leaf for key, leaf in params.items()}}
        carry, one = zeros, lambda carry, x: net.apply(own, x, carry)[::-1]
    elif name == "flax_linen_gru.py":
        cell = linen.GRUCell(hidden)
        drawn = cell.init(jax.random.key(0), zeros, inputs[0])
        own = jax.tree.unflatten(jax.tree.structure(drawn), params.values())
        carry, one = zeros, partial(cell.apply, own)
    else:
        cell = nnx.LSTMCell(3, hidden, rngs=nnx.Rngs(0))
        state = nnx.state(cell, nnx.Param)
        nnx.update(cell, jax.tree.unflatten(jax.tree.structure(state), params.values()))
        carry, one = (zeros, zeros), cell
    outputs = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for x in inputs:
            carry, output = one(carry, x)
            outputs.append(output)
    return jnp.stack(outputs)


@pytest.mark.parametrize("name", FILES)
def test_it_computes_what_the_other_library_does(name, directory):
    cell = from_the_page(name, directory)(3, 4)
    params = quick_jit(cell.init)(jax.random.key(0))
    outputs = unroll_batch(cell, params, INPUTS[:1]).outputs[0]
    np.testing.assert_allclose(outputs, through_its_own(name, params, INPUTS[0]), atol=1e-6)


def params_of(cell, leaves):
    """Parameters of ours of a dict by name."""
    drawn = jax.eval_shape(cell.init, jax.random.key(0))
    return type(drawn)(**leaves)


@pytest.mark.parametrize(
    "cell", [lstm(3, 4), gru(3, 4), slstm(3, 4), orthogonal_rnn(3, 4)],
    ids=["lstm", "gru", "slstm", "orthogonal_rnn"],
)  # fmt: skip
@pytest.mark.parametrize("api", ["nnx", "linen"])
def test_round_trip_through_flax(cell, api):
    """Ours, as Flax's, and as ours again: the same outputs and gradients as unrolled directly."""
    if api == "nnx":
        build = partial(to_flax, cell)
        again = from_flax(lambda rngs: build(rngs=rngs), input_size=3)
        named = again.init(jax.random.key(0))
    else:
        again = from_flax(to_flax(cell, api="linen"), input_size=3)
        named = again.init(jax.random.key(0))

    def total(cell, params):
        return (unroll_batch(cell, params, INPUTS).outputs ** 2).sum()

    own = params_of(cell, {key.removeprefix("params_cell_"): leaf for key, leaf in named.items()})
    value, gradient = quick_jit(jax.value_and_grad(partial(total, again)))(named)
    like, by_ours = quick_jit(jax.value_and_grad(partial(total, cell)))(own)
    np.testing.assert_allclose(value, like, rtol=1e-5)
    for leaf, name in zip(jax.tree.leaves(gradient), sorted(own._fields), strict=True):
        np.testing.assert_allclose(leaf, getattr(by_ours, name), rtol=1e-4, atol=1e-6)


def test_flax_rnn_has_its_options():
    """Lengths, reversal, carries in and out, and a batch with more axes or none."""
    cell = lstm(3, 4)
    layer = nnx.RNN(to_flax(cell, rngs=nnx.Rngs(0)))
    leaves = nnx.to_pure_dict(nnx.state(layer, nnx.Param))["cell"]
    params = params_of(cell, leaves)
    length = jnp.array([3, 5])
    carry, _ = layer(INPUTS, seq_lengths=length, return_carry=True)
    ours = unroll_batch(cell, params, INPUTS, length=length)
    np.testing.assert_allclose(carry.hidden, ours.carry.hidden, atol=1e-6)
    np.testing.assert_allclose(carry.memory, ours.carry.memory, atol=1e-6)
    turned = layer(INPUTS, reverse=True, keep_order=True)
    behind = unroll_batch(cell, params, INPUTS[:, ::-1]).outputs[:, ::-1]
    np.testing.assert_allclose(turned, behind, atol=1e-6)
    first, _ = layer(INPUTS[:, :2], return_carry=True)
    second = layer(INPUTS[:, 2:], initial_carry=first)
    whole = unroll_batch(cell, params, INPUTS).outputs
    np.testing.assert_allclose(second, whole[:, 2:], atol=1e-6)
    np.testing.assert_allclose(layer(INPUTS[None])[0], whole, atol=1e-6)
    np.testing.assert_allclose(layer(INPUTS[0]), whole[0], atol=1e-6)


def test_what_is_no_cell_says_so():
    def init(key):
        return {"kernel": jax.random.normal(key, (3, 4))}

    def grows(params, carry, x):
        return jnp.concatenate([carry, carry]), x @ params["kernel"]

    def matrix(params, carry, x):
        return carry, params["kernel"]

    with pytest.raises(InputError, match=r"the carry out of step is \(8,\): must be as .* \(4,\)"):
        from_function(grows, init, jnp.zeros(4), input_size=3)
    with pytest.raises(InputError, match=r"the output of step is .*: must be \[output\], floats"):
        from_function(matrix, init, jnp.zeros(4), input_size=3)
    with pytest.raises(InputError, match="api=torch: allowed are nnx, linen"):
        to_flax(lstm(3, 4), api="torch")


def test_what_is_not_trained_stays():
    """Functions and integers among the params, as Equinox modules hold them."""

    def init(key):
        return {"act": jnp.tanh, "every": 2, "kernel": jax.random.normal(key, (4, 4))}

    def step(params, carry, x):
        after = params["act"](params["every"] * x + carry @ params["kernel"])
        return after, after

    cell = from_function(step, init, lambda params: params["kernel"][0], input_size=4)
    params = cell.init(jax.random.key(0))
    assert set(params) == {"kernel"}
    outputs = unroll_batch(cell, params, jnp.ones((1, 1, 4))).outputs[0, 0]
    expected = np.tanh(2 + params["kernel"][0] @ params["kernel"])
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_foreign_cells_are_wrapped_as_ours_are(directory):
    """Zoneout names a leaf of the carry."""
    cell = zoneout(from_the_page("equinox_lstm.py", directory)(3, 4), {"carry_0": 0.5})
    params = quick_jit(cell.init)(jax.random.key(0))
    outputs = unroll_batch(cell, params, INPUTS, key=jax.random.split(jax.random.key(1), 2)).outputs
    assert np.isfinite(outputs).all()
