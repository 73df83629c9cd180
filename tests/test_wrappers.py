"""Zoneout, recurrent dropout, projection and gate values: cells with something added."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import CELLS, gru, lstm, min_gru, rnn, slstm
from lstm_jax.cells.case import Case
from lstm_jax.cells.check import broken_structure, message
from lstm_jax.cells.clauses import CLAUSES
from lstm_jax.cells.wrappers import zoneout
from lstm_jax.errors import InputError
from lstm_jax.inspection import gate_values
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import unroll

pytestmark = pytest.mark.xdist_group("wrappers")  # shares what is compiled or made once

RATES = {"hidden": 0.05, "memory": 0.5}


def zoned_lstm(input_size, hidden_size):
    return zoneout(lstm(input_size, hidden_size), RATES)


def zoned_gru(input_size, hidden_size):
    return zoneout(gru(input_size, hidden_size), {"hidden": 0.3})


WRAPPED = {
    "zoneout of lstm": zoned_lstm,
    "zoneout of gru": zoned_gru,
    "recurrent dropout": partial(lstm, recurrent_dropout=0.3),
    "projection": partial(lstm, projection=3),
    "wide projection, PyTorch's start": partial(lstm, projection=9, init="pytorch"),
}


@cache
def case(name):
    return Case(WRAPPED[name])


@pytest.mark.parametrize("name", WRAPPED)
def test_structure(name):
    assert broken_structure(WRAPPED[name]) == []


@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize("name", WRAPPED)
def test_contract(name, clause):
    assert message(clause, CLAUSES[clause], case(name)) == ""


def test_what_is_drawn_and_what_is_not():
    assert case("zoneout of lstm").uses_key
    assert case("recurrent dropout").uses_key
    assert not case("projection").uses_key


INPUTS = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)


def run(cell, **options):
    params = quick_jit(cell.init)(jax.random.key(0))
    return jax.tree.map(np.asarray, unroll(cell, params, INPUTS, return_carries=True, **options))


def test_zoneout_keeps_entries_at_its_rates():
    unrolled = run(zoned_lstm(3, 50), key=jax.random.key(1))
    for name, rate in RATES.items():
        leaf = getattr(unrolled.carries, name)
        kept = (leaf[1:] == leaf[:-1]).mean()
        assert abs(kept - rate) < 4 * np.sqrt(rate * (1 - rate) / leaf[1:].size)
    # The output is h, as it was zoned out.
    np.testing.assert_array_equal(unrolled.outputs, unrolled.carries.hidden)


def test_zoneout_in_evaluation_is_the_mean():
    cell = lstm(3, 5)
    params = quick_jit(cell.init)(jax.random.key(0))
    carry, expected = cell.initial_carry(params), []
    for x in jnp.asarray(INPUTS[:6]):
        after, _ = cell.step(params, carry, cell.project(params, x, None))
        # Krueger et al. 2017: h_t from the memory before it is zoned out.
        carry = type(carry)(
            0.05 * carry.hidden + 0.95 * after.hidden, 0.5 * carry.memory + 0.5 * after.memory
        )
        expected.append(carry.hidden)
    outputs = unroll(zoned_lstm(3, 5), params, INPUTS[:6]).outputs
    np.testing.assert_allclose(outputs, np.array(expected), atol=1e-6)


def test_zoneout_at_rate_zero_is_the_cell():
    plain, zoned = gru(3, 5), zoneout(gru(3, 5), {"hidden": 0.0})
    np.testing.assert_allclose(run(plain).outputs, run(zoned).outputs, atol=1e-6)
    noisy = run(zoned, key=jax.random.key(1)).outputs
    np.testing.assert_allclose(run(plain).outputs, noisy, atol=1e-6)


def test_zoneout_of_what_is_not_there():
    with pytest.raises(InputError, match="zoneout of leaf=memory: allowed are hidden"):
        zoneout(gru(3, 5), {"memory": 0.5})
    with pytest.raises(InputError, match="zoneout of hidden=1: must be at least 0 and below 1"):
        zoneout(gru(3, 5), {"hidden": 1})


def test_zoneout_of_what_changes_its_unit_or_counts():
    """c of sLSTM is carried times exp(-m), and m moves: an old c is no mean with a new one."""
    with pytest.raises(InputError, match="zoneout of leaf=memory: allowed are hidden"):
        zoneout(slstm(3, 5), {"memory": 0.5})
    with pytest.raises(InputError, match="zoneout of leaf=memory: allowed are"):
        zoneout(CELLS["mlstm"](3, 8), {"memory": 0.5})
    with pytest.raises(InputError, match="zoneout of leaf=log_hidden: allowed are"):
        zoneout(CELLS["min_gru"](3, 5, candidate="log_space"), {"log_hidden": 0.5})
    with pytest.raises(InputError, match="zoneout of leaf=clock: allowed are hidden"):
        zoneout(CELLS["clockwork_rnn"](3, 5), {"clock": 0.5})
    zoneout(slstm(3, 5), {"hidden": 0.5})


def test_recurrent_dropout_drops_what_enters_and_nothing_that_is_held():
    cell = lstm(3, 50, recurrent_dropout=0.3)
    params = quick_jit(cell.init)(jax.random.key(0))
    masks = jax.vmap(lambda x, key: cell.project(params, x, key)[1])(
        jnp.asarray(INPUTS), jax.random.split(jax.random.key(0), len(INPUTS))
    )
    np.testing.assert_allclose(np.unique(masks), [0, 1 / 0.7], rtol=1e-6)
    assert abs(np.mean(np.asarray(masks) == 0) - 0.3) < 4 * np.sqrt(0.21 / masks.size)
    carry = cell.initial_carry(params)._replace(memory=jnp.ones(50))
    preactivations, _ = cell.project(params, jnp.asarray(INPUTS[0]), None)
    after, _ = cell.step(params, carry, (preactivations, jnp.zeros(50)))
    forget = jax.nn.sigmoid(preactivations[50:100])
    np.testing.assert_allclose(after.memory, forget, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"projection": 0}, "projection=0: must be at least 1"),
        ({"recurrent_dropout": 1.0}, "recurrent_dropout=1.0: must be at least 0 and below 1"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(InputError, match=words):
        lstm(3, 5, **options)


# Gate values.


def test_gates_are_those_that_moved_the_memory():
    cell = lstm(3, 5)
    params = quick_jit(cell.init)(jax.random.key(0))
    inputs = INPUTS[:20]
    unrolled = unroll(cell, params, inputs, return_carries=True)
    gates = gate_values(cell, params, inputs)
    assert set(gates) == {"input", "forget", "output"}
    assert all(gate.shape == (20, 5) for gate in gates.values())
    np.testing.assert_allclose(
        unrolled.outputs, gates["output"] * jnp.tanh(unrolled.carries.memory), atol=1e-6
    )
    before = np.concatenate([np.zeros((1, 5)), unrolled.carries.memory[:-1]])
    entered = np.asarray(unrolled.carries.memory) - np.asarray(gates["forget"]) * before
    assert (abs(entered) <= np.asarray(gates["input"]) + 1e-6).all()


def test_gates_of_slstm_are_those_of_its_equations():
    cell = slstm(3, 5)
    params = quick_jit(cell.init)(jax.random.key(2))
    inputs = INPUTS[:9]
    unrolled = unroll(cell, params, inputs, return_carries=True)
    before = np.concatenate([np.zeros((1, 5)), np.asarray(unrolled.carries.hidden)[:-1]])
    params = jax.tree.map(np.asarray, params)
    driven = np.asarray(inputs) @ params.input_kernel + before @ params.recurrent_kernel
    log_input, forget, _, output = np.split(np.asarray(driven + params.bias), 4, axis=1)
    gates = gate_values(cell, params, inputs)
    np.testing.assert_allclose(gates["input"], np.exp(log_input), rtol=1e-4)
    np.testing.assert_allclose(gates["forget"], 1 / (1 + np.exp(-forget)), rtol=1e-4)
    np.testing.assert_allclose(gates["output"], 1 / (1 + np.exp(-output)), rtol=1e-4)


def test_gates_under_resets_and_lengths():
    cell = min_gru(3, 5)
    params = quick_jit(cell.init)(jax.random.key(0))
    gates = gate_values(cell, params, INPUTS[:9], length=6)["update"]
    whole = gate_values(cell, params, INPUTS[:9])["update"]
    np.testing.assert_array_equal(gates[:6], whole[:6])
    assert not gates[6:].any()
    reset = np.arange(9) == 4
    cell = slstm(3, 5)
    params = quick_jit(cell.init)(jax.random.key(1))
    begun_anew = gate_values(cell, params, INPUTS[:9], reset=reset)["input"]
    alone = gate_values(cell, params, INPUTS[4:9])["input"]
    np.testing.assert_allclose(begun_anew[4:], alone, rtol=1e-6)


def test_a_cell_without_gates_says_so():
    with pytest.raises(InputError, match="has no gates to show"):
        gate_values(rnn(3, 5), None, INPUTS)


@pytest.mark.parametrize("name", [name for name in CELLS if CELLS[name](4, 8).linear])
def test_what_is_parallel_has_gates_of_its_inputs_alone(name):
    """And a state that is linear in the state before: a mean of states goes to their mean."""
    cell = CELLS[name](4, 8)
    weights = cell.prepare(quick_jit(cell.init)(jax.random.key(0)))
    random = np.random.default_rng(0)
    projected = cell.project(weights, jnp.asarray(random.normal(size=4), jnp.float32), None)
    start = cell.initial_carry(weights)
    # Not the stabiliser: it is a common factor of the rest.
    fixed = {"stabilizer": jnp.zeros_like(start.stabilizer)} if name == "mlstm" else {}

    def drawn():
        leaves = [
            jnp.asarray(random.normal(size=leaf.shape)).astype(leaf.dtype)
            for leaf in jax.tree.leaves(start)
        ]
        return jax.tree.unflatten(jax.tree.structure(start), leaves)._replace(**fixed)

    one, other = drawn(), drawn()
    mean = jax.tree.map(lambda a, b: (a + b) / 2, one, other)
    after = [cell.step(weights, carry, projected)[0] for carry in (one, other, mean)]
    for a, b, of_mean in zip(*map(jax.tree.leaves, after), strict=True):
        np.testing.assert_allclose(of_mean, (a + b) / 2, atol=1e-5)
