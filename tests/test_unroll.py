"""A cell over time against a plain loop: resets, masks, lengths, carries, noise, padding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.cells import Cell, lstm
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import Rows, Unrolled, unroll, unroll_batch

# Other methods are for linear cells, or for carries of floats: test_parallel.py, test_newton.py.
OF_ANY_CARRY = ("auto", "deferred", "scan", "loop")
INPUT, HIDDEN, TIME = 3, 4, 7


class ClockCarry(NamedTuple):
    hidden: jax.Array  # [hidden]
    clock: jax.Array  # [], integer
    log_weight: jax.Array  # [hidden], -inf at the start


def clock(input_size, hidden_size):
    """Everything that a carry may hold: floats, an integer clock, -inf; and noise from a key."""

    def init(key):
        return {
            "kernel": jax.random.normal(key, (input_size, hidden_size)),
            "start": jnp.linspace(-1.0, 1.0, hidden_size),
        }

    def initial_carry(weights):
        nothing = jnp.full(hidden_size, -jnp.inf, weights["start"].dtype)
        return ClockCarry(weights["start"], jnp.int32(0), nothing)

    def project(weights, inputs, key):
        noise = jnp.zeros(hidden_size) if key is None else jax.random.normal(key, (hidden_size,))
        return inputs @ weights["kernel"] + noise

    def step(weights, carry, projected, dot=jnp.matmul):
        del weights, dot
        every_other = (carry.clock % 2 == 0).astype(projected.dtype)
        hidden = jnp.tanh(0.9 * carry.hidden + every_other * projected)
        log_weight = jnp.logaddexp(carry.log_weight, projected)
        return ClockCarry(hidden, carry.clock + 1, log_weight), hidden * jax.nn.sigmoid(log_weight)

    return Cell(init, initial_carry, project, step, output_size=hidden_size)


CELLS = {"lstm": lstm(INPUT, HIDDEN), "clock": clock(INPUT, HIDDEN)}
PARAMS = {name: quick_jit(cell.init)(jax.random.key(0)) for name, cell in CELLS.items()}
INPUTS = jax.random.normal(jax.random.key(1), (TIME, INPUT))
KEY = jax.random.key(5)
# One program for all patterns of flags.
SCANNED = {
    name: quick_jit(
        lambda params, inputs, reset, mask, cell=cell: unroll(
            cell, params, inputs, reset=reset, mask=mask, return_carries=True
        )
    )
    for name, cell in CELLS.items()
}


def by_hand(name, inputs, *, reset=None, mask=None, carry=None, key=None, start=0):
    """The definition, step by step, all carries included."""
    cell, params = CELLS[name], PARAMS[name]
    weights = cell.prepare(params)
    initial = cell.initial_carry(weights)
    carry = initial if carry is None else carry
    outputs, carries = [], []
    for time in range(inputs.shape[0]):
        if reset is not None and reset[time]:
            carry = initial
        if mask is None or mask[time]:
            noise = None if key is None else jax.random.fold_in(key, start + time)
            carry, output = cell.step(weights, carry, cell.project(weights, inputs[time], noise))
            outputs.append(output)
        else:
            outputs.append(jnp.zeros(cell.output_size))
        carries.append(carry)
    carries = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
    return Unrolled(jnp.stack(outputs), carry, carries)


def assert_close(tree, other, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), tree, other)


flags = st.lists(st.booleans(), min_size=TIME, max_size=TIME).map(np.array)


@pytest.mark.parametrize("name", CELLS)
@given(reset=flags, mask=flags)
@settings(max_examples=20, deadline=None)
def test_any_pattern_of_resets_and_masks(name, reset, mask):
    unrolled = SCANNED[name](PARAMS[name], INPUTS, reset, mask)
    assert_close(unrolled, by_hand(name, INPUTS, reset=reset, mask=mask))
    assert not np.asarray(unrolled.outputs)[~mask].any()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("method", OF_ANY_CARRY)
def test_every_method_with_everything_at_once(name, method):
    key = jax.random.key(2)
    reset, mask = np.arange(TIME) == 4, np.arange(TIME) != 2
    earlier = unroll(CELLS[name], PARAMS[name], INPUTS[::-1], method=method).carry
    options = {"reset": reset, "mask": mask, "carry": earlier, "key": key, "start": 11}
    unrolled = unroll(
        CELLS[name], PARAMS[name], INPUTS, method=method, return_carries=True, **options
    )
    assert_close(unrolled, by_hand(name, INPUTS, **options))


@pytest.mark.parametrize("name", CELLS)
@given(mask=flags)
@settings(max_examples=10, deadline=None)
def test_masked_steps_might_as_well_not_be_there(name, mask):
    masked = SCANNED[name](PARAMS[name], INPUTS, np.zeros(TIME, bool), mask)
    if mask.any():
        without = by_hand(name, INPUTS[mask])
        assert_close(masked.outputs[mask], without.outputs)
        assert_close(masked.carry, without.carry)


@pytest.mark.parametrize("length", [0, 1, 5, TIME])
def test_length_is_a_mask(length):
    cell, params = CELLS["clock"], PARAMS["clock"]
    by_length = unroll(cell, params, INPUTS, length=length, return_carries=True)
    by_mask = unroll(cell, params, INPUTS, mask=np.arange(TIME) < length, return_carries=True)
    assert_close(by_length, by_mask, atol=0)


@pytest.mark.parametrize("method", OF_ANY_CARRY)
@pytest.mark.parametrize("filler", [np.nan, np.inf, 1e38])
@pytest.mark.parametrize("name", CELLS)
def test_what_stands_in_the_padding_is_irrelevant(name, filler, method):
    cell = CELLS[name]

    @quick_jit
    def value_and_gradient(params, inputs):
        def total(params, inputs):
            outputs = unroll(cell, params, inputs, length=4, method=method).outputs
            return (outputs**2).sum()

        return jax.value_and_grad(total, argnums=(0, 1))(params, inputs)

    clean = value_and_gradient(PARAMS[name], INPUTS.at[4:].set(0))
    assert_close(value_and_gradient(PARAMS[name], INPUTS.at[4:].set(filler)), clean, atol=0)


def test_a_masked_step_with_a_reset_ends_in_the_initial_carry():
    reset = mask = np.arange(TIME) == TIME - 1
    unrolled = SCANNED["clock"](PARAMS["clock"], INPUTS, reset, ~mask)
    cell = CELLS["clock"]
    assert_close(unrolled.carry, cell.initial_carry(cell.prepare(PARAMS["clock"])), atol=0)


def test_the_initial_carry_is_learned():
    def total(params, reset):
        return unroll(CELLS["clock"], params, INPUTS, reset=reset).outputs.sum()

    for reset in (None, jnp.arange(TIME) == 3):
        gradient = jax.grad(total)(PARAMS["clock"], reset)["start"]
        assert jnp.abs(gradient).min() > 0


def test_a_given_carry_takes_the_place_of_the_initial_one_but_not_of_resets():
    cell, params = CELLS["clock"], PARAMS["clock"]
    other = ClockCarry(jnp.ones(HIDDEN), jnp.int32(5), jnp.zeros(HIDDEN))
    started = unroll(cell, params, INPUTS, carry=other)
    assert_close(started, by_hand("clock", INPUTS, carry=other)._replace(carries=None))
    first = jnp.arange(TIME) == 0
    reset = unroll(cell, params, INPUTS, carry=other, reset=first)
    assert_close(reset, unroll(cell, params, INPUTS), atol=0)


def test_noise_hangs_on_absolute_time():
    cell, params, key = CELLS["clock"], PARAMS["clock"], jax.random.key(3)
    whole = unroll(cell, params, INPUTS, key=key)
    first = unroll(cell, params, INPUTS[:3], key=key)
    second = unroll(cell, params, INPUTS[3:], carry=first.carry, key=key, start=3)
    assert_close(jnp.concatenate([first.outputs, second.outputs]), whole.outputs)
    other = unroll(cell, params, INPUTS, key=jax.random.key(4))
    assert not np.allclose(whole.outputs, other.outputs)
    steady = unroll(cell, params, jnp.zeros_like(INPUTS), key=key).outputs
    assert np.unique(np.asarray(steady).round(6), axis=0).shape[0] == TIME


def test_a_batch_is_its_examples():
    cell, params = CELLS["clock"], PARAMS["clock"]
    inputs = jnp.stack([INPUTS, INPUTS[::-1]])
    reset = jnp.stack([jnp.arange(TIME) == 2, jnp.arange(TIME) == 5])
    length, keys = jnp.array([4, 7]), jax.random.split(jax.random.key(5), 2)
    batch = unroll_batch(
        cell, params, inputs, reset=reset, length=length, key=keys, return_carries=True, start=2
    )
    carries = jax.tree.map(lambda leaf: leaf[:, 1], batch.carries)
    for index in range(2):
        single = unroll(
            cell,
            params,
            inputs[index],
            reset=reset[index],
            length=length[index],
            key=keys[index],
            return_carries=True,
            start=2,
        )
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], batch), single)
    from_carries = unroll_batch(cell, params, inputs, carry=carries)
    assert_close(
        jax.tree.map(lambda leaf: leaf[1], from_carries),
        unroll(cell, params, inputs[1], carry=jax.tree.map(lambda leaf: leaf[1], carries)),
    )


def test_carries_only_on_request():
    unrolled = unroll(CELLS["lstm"], PARAMS["lstm"], INPUTS)
    assert unrolled.carries is None
    all_carries = unroll(CELLS["lstm"], PARAMS["lstm"], INPUTS, return_carries=True).carries
    assert_close(jax.tree.map(lambda leaf: leaf[-1], all_carries), unrolled.carry)


def test_prepare_runs_once():
    prepared = []
    cell = CELLS["lstm"]

    def prepare(params):
        prepared.append(None)
        return jax.tree.map(lambda leaf: 2 * leaf, params)

    twice = unroll(cell._replace(prepare=prepare), PARAMS["lstm"], INPUTS)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, PARAMS["lstm"])
    assert_close(twice.outputs, unroll(cell, doubled, INPUTS).outputs)
    assert len(prepared) == 1


def through(cell, method):
    """Value and gradients of a sum over all that `unroll_batch` gives."""

    def total(params, inputs):
        unrolled = unroll_batch(cell, params, inputs, method=method, return_carries=True)
        leaves = jax.tree.leaves(unrolled)
        return sum((leaf**2).sum() for leaf in leaves if leaf.dtype == jnp.float32)

    return quick_jit(jax.value_and_grad(total, allow_int=True))


def odd(input_size, hidden_size):
    """Two products a step, one of them of a kernel made of another; a weight outside of both; and a
    product that no gradient passes."""

    def init(key):
        shape = (hidden_size, hidden_size)
        return {
            "input_kernel": jax.random.normal(key, (input_size, hidden_size)),
            "kernel": jax.random.normal(jax.random.fold_in(key, 1), shape),
            "peephole": jnp.linspace(0.5, 1.0, hidden_size),
        }

    def step(weights, carry, projected, dot=jnp.matmul):
        kernel = weights["kernel"]
        first = jax.nn.relu(projected + dot(carry["hidden"], kernel))
        second = dot(first * weights["peephole"], kernel.T / 2)
        still = dot(jax.lax.stop_gradient(first), kernel[:, :1])
        hidden = jnp.tanh(second) + jax.nn.softplus(still)
        return {"hidden": hidden, "step": carry["step"] + 1}, hidden[:2]

    return Cell(
        init=init,
        initial_carry=lambda weights: {"hidden": weights["peephole"] * 0.1, "step": jnp.int32(0)},
        project=lambda weights, inputs, key: inputs @ weights["input_kernel"],
        step=step,
        output_size=2,
    )


def looped(input_size, hidden_size):
    """A cell that calls `dot` in a loop of its step."""
    cell = odd(input_size, hidden_size)

    def step(weights, carry, projected, dot=jnp.matmul):
        def once(hidden, _):
            return jnp.tanh(projected + dot(hidden, weights["kernel"])), None

        hidden, _ = jax.lax.scan(once, carry["hidden"] * weights["peephole"], length=2)
        return {"hidden": hidden, "step": carry["step"] + 1}, hidden[:2]

    return cell._replace(step=step)


@pytest.mark.parametrize("build", [odd, looped])
def test_the_fast_path_takes_any_cell(build):
    cell = build(INPUT, HIDDEN)
    params = cell.init(jax.random.key(0))
    inputs = jnp.stack([INPUTS, INPUTS[::-1]])
    fast, plain = (through(cell, method)(params, inputs) for method in ("deferred", "scan"))
    assert_close(fast, plain)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("rows", [3, 3 * TIME])
def test_rows_of_a_table_are_inputs(name, rows):
    # A short table is projected once; of a long one rows are picked first.
    cell = CELLS[name]
    table = jax.random.normal(jax.random.key(2), (rows, INPUT))
    index = jax.random.randint(jax.random.key(3), (2, TIME), 0, rows)
    mask = jnp.arange(TIME)[None] < jnp.array([TIME, 4])[:, None]

    def total(table, params, picked, method, key):
        inputs = Rows(table, index)
        inputs = inputs.picked() if picked else inputs
        key = None if key is None else jax.random.split(key, 2)
        return (unroll_batch(cell, params, inputs, mask=mask, method=method, key=key)[0] ** 2).sum()

    derivative = jax.jit(jax.value_and_grad(total, (0, 1)), static_argnums=(2, 3))
    for key in (None, jax.random.key(4)):
        plain = derivative(table, PARAMS[name], True, "scan", key)  # a loop compiles for long
        for method in OF_ANY_CARRY:
            assert_close(derivative(table, PARAMS[name], False, method, key), plain, atol=1e-4)
    np.testing.assert_array_equal(
        unroll(cell, PARAMS[name], Rows(table, index[0])).outputs,
        unroll_batch(cell, PARAMS[name], Rows(table, index[:1])).outputs[0],
    )


@pytest.mark.parametrize("method", OF_ANY_CARRY)
@pytest.mark.parametrize("segment", [1, 3, TIME, 2 * TIME])
def test_segments_change_nothing(segment, method):
    cell, params = CELLS["lstm"], PARAMS["lstm"]
    inputs, reset = (
        jnp.stack([INPUTS, INPUTS[::-1]]),
        jnp.arange(TIME)[None] == jnp.array([[2], [4]]),
    )

    def total(params, inputs, segment):
        unrolled = unroll_batch(
            cell,
            params,
            inputs,
            reset=reset,
            return_carries=True,
            method=method,
            segment=segment,
        )
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(unrolled)), unrolled

    derivative = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True), static_argnums=2)
    assert_close(derivative(params, inputs, segment), derivative(params, inputs, None))


@pytest.mark.parametrize("name", CELLS)
def test_time_may_come_first(name):
    inputs = jnp.stack([INPUTS, INPUTS[::-1], INPUTS / 2])
    reset, key = jnp.arange(TIME)[None] == jnp.array([[2], [4], [0]]), jax.random.split(KEY, 3)
    options = {"key": key, "length": jnp.array([7, 5, 1]), "return_carries": True}
    batch_first = unroll_batch(CELLS[name], PARAMS[name], inputs, reset=reset, **options)
    inputs, reset = jnp.swapaxes(inputs, 0, 1), reset.T
    time_first = unroll_batch(
        CELLS[name], PARAMS[name], inputs, reset=reset, time_major=True, **options
    )
    outputs, carries = jax.tree.map(
        lambda leaf: jnp.swapaxes(leaf, 0, 1), (time_first.outputs, time_first.carries)
    )
    assert_close(batch_first, Unrolled(outputs, time_first.carry, carries), atol=0)


def test_a_second_derivative_needs_the_plain_scan():
    def total(params, method):
        return unroll(CELLS["lstm"], params, INPUTS, method=method).outputs.sum()

    def sharpness(params, method):
        slope = jax.grad(total)(params, method)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(slope))

    with pytest.raises(NotImplementedError, match="method='scan' has it"):
        jax.grad(sharpness)(PARAMS["lstm"], "deferred")
    second = jax.grad(sharpness)(PARAMS["lstm"], "scan")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(second))


def test_the_fast_path_adds_up_no_kernel_in_a_loop():
    cell, params = CELLS["lstm"], PARAMS["lstm"]
    inputs = jnp.stack([INPUTS] * 3)

    def loops(method):
        def total(params):
            return unroll_batch(cell, params, inputs, method=method).outputs.sum()

        traced = jax.make_jaxpr(jax.grad(total))(params).jaxpr
        shape = params.recurrent_kernel.shape
        return [
            carried
            for equation in traced.eqns
            if equation.primitive.name == "scan"
            for carried in equation.outvars[: equation.params["num_carry"]]
            if carried.aval.shape == shape
        ]

    assert loops("scan")
    assert not loops("deferred")


def test_bad_arguments():
    with pytest.raises(ValueError, match="mask or length"):
        unroll(CELLS["lstm"], PARAMS["lstm"], INPUTS, mask=np.ones(TIME, bool), length=2)
    with pytest.raises(ValueError, match="allowed are 'auto', 'deferred', 'scan', 'loop'"):
        unroll(CELLS["lstm"], PARAMS["lstm"], INPUTS, method="magic")
    with pytest.raises(ValueError, match="segment=0"):
        unroll(CELLS["lstm"], PARAMS["lstm"], INPUTS, segment=0)
