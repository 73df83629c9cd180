"""How far gradients reach, against exact answers and plain Jacobians."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import CELLS
from lstm_jax.cells.base import Cell
from lstm_jax.errors import InputError
from lstm_jax.inspection import gate_values
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import unroll_batch
from lstm_jax.why.gradient_reach import (
    OUTPUT,
    Probes,
    carry_reach,
    direct_leaf,
    direct_path,
    input_reach,
    log_bound,
)
from lstm_jax.why.gradient_reach_rows import decay
from lstm_jax.why.jacobian_products import leaf_names, vector, with_vector

INPUTS = jax.random.normal(jax.random.key(5), (12, 3))


class LinearParams(NamedTuple):
    recurrent_kernel: jax.Array


class LinearCarry(NamedTuple):
    hidden: jax.Array


def linear_rnn(kernel):
    """h_t = h_{t-1} U + x_t."""
    kernel = jnp.asarray(kernel)

    def step(weights, carry, projected, dot=jnp.matmul):
        hidden = projected + dot(carry.hidden, weights.recurrent_kernel)
        return LinearCarry(hidden), hidden

    return Cell(
        init=lambda key: LinearParams(kernel),
        initial_carry=lambda weights: LinearCarry(jnp.zeros_like(weights.recurrent_kernel[0])),
        project=lambda weights, inputs, key: inputs,
        step=step,
        output_size=len(kernel),
    )


def reach_of(cell, params, inputs, longest, **options):
    """Log reach at the last step, of the output by the whole carry where no targets are given."""
    last = len(inputs) - 1
    return quick_jit(
        lambda params, inputs: carry_reach(cell, params, inputs, last, longest, **options)
    )(params, inputs)


@pytest.mark.parametrize("scale", [1e-2, 0.7, 1e2])
def test_a_linear_rnn_reaches_as_far_as_the_powers_of_its_kernel(scale):
    """Down to 1e-300 and up to 1e+300, in float32."""
    kernel = scale * np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    kernel[0] *= 0.9
    kernel = kernel.astype(np.float32)
    cell = linear_rnn(kernel)
    inputs = jnp.zeros((160, 4))
    reach = reach_of(cell, cell.init(None), inputs, 150)
    rest, exact = kernel.astype(np.float64) / scale, []
    for lag in range(1, 151):  # the powers of the scale apart, for NumPy's sake
        norm = np.linalg.norm(np.linalg.matrix_power(rest, lag))
        exact.append(math.log(norm) + lag * math.log(scale))
    if scale != 0.7:
        assert abs(exact[-1]) / math.log(10) > 298
    # A rounding of float32 a step, of numbers near 1.
    np.testing.assert_allclose(reach.whole.log[:, 0], exact, rtol=1e-6, atol=1e-4)
    assert not reach.whole.error.any()
    np.testing.assert_array_equal(reach.by_leaf.log[..., 0], reach.whole.log)


def frozen_lstm(bias):
    cell = CELLS["lstm"](3, 4, forget_bias=bias)
    params = cell.init(jax.random.key(0))
    zeros = jnp.zeros_like
    return cell, params._replace(
        input_kernel=zeros(params.input_kernel), recurrent_kernel=zeros(params.recurrent_kernel)
    )


@quick_jit
def frozen_reach(params, inputs):
    cell = CELLS["lstm"](3, 4)  # the bias is in the parameters
    targets = "memory", OUTPUT
    reach = carry_reach(cell, params, inputs, 1000, 1000, targets=targets)
    return reach, direct_path(cell, params, inputs, 1000, 1000)


@pytest.mark.parametrize(("bias", "steps"), [(0.0, 1.0), (1.0, 2.2), (3.0, 14.3), (5.0, 103.0)])
def test_frozen_gates_forget_at_the_rate_of_their_bias(bias, steps):
    """d C_T / d C_{T-k} = sigmoid(b)^k I, halving every ln 2 / -ln sigmoid(b) steps."""
    cell, params = frozen_lstm(bias)
    inputs, longest = jnp.zeros((1001, 3)), 1000
    reach, direct = frozen_reach(params, inputs)
    lags = np.arange(1, longest + 1)
    rate = -math.log1p(math.exp(-bias))
    exact = lags * rate + 0.5 * math.log(4)
    memory = np.asarray(reach.by_leaf.log[:, 0, leaf_names(cell).index("memory")], np.float64)
    np.testing.assert_allclose(memory, exact, rtol=3e-6, atol=1e-5)
    np.testing.assert_array_equal(reach.whole.log[:, 0], reach.by_leaf.log[:, 0, 1])
    assert np.isneginf(reach.by_leaf.log[..., 0]).all()  # nothing looks at h
    np.testing.assert_allclose(direct, exact, rtol=3e-6, atol=1e-5)
    fit = decay(lags.tolist(), memory.tolist())
    assert fit.half_life == pytest.approx(math.log(2) / -rate, rel=1e-5)
    assert fit.half_life == pytest.approx(steps, abs=0.5 if bias == 5 else 0.06)
    # h_T = sigmoid(0) tanh(C_T), and C stays 0 where the candidate is.
    np.testing.assert_allclose(reach.whole.log[:, 1], exact - math.log(2), rtol=3e-6, atol=1e-5)


def jacobians(cell, params, inputs, lag):
    """Those of output and leaves after the last step by the leaves `lag` steps before, plainly."""
    weights = cell.prepare(params)

    def run(carry, inputs):
        output = None
        for x in inputs:
            carry, output = cell.step(weights, carry, cell.project(weights, x, None))
        return carry, output

    start = run(cell.initial_carry(weights), inputs[:-lag])[0]

    def later(numbers):
        after, output = run(with_vector(start, numbers), inputs[-lag:])
        return output, vector(after)

    return jax.jacrev(later)(vector(start))


@pytest.mark.parametrize(
    "name", ["rnn", "gru", "lstm", "clockwork_rnn", "lru", "mlstm", "no_memory"]
)
def test_reach_is_the_norm_of_plain_jacobians(name):
    """Also of carries that are complex, that hold a clock or -inf, and of one without numbers."""
    cell = CELLS[name](3, 4)
    params = cell.init(jax.random.key(1))
    leaves = leaf_names(cell)
    inputs, lag = INPUTS[:6], 3
    reach = reach_of(cell, params, inputs, lag, targets=(OUTPUT, *leaves))
    of_output, of_carry = quick_jit(lambda p, x: jacobians(cell, p, x, lag))(params, inputs)
    whole = [np.linalg.norm(of_output)]
    carry = cell.initial_carry(cell.prepare(params))
    sizes = [
        leaf.size * (2 if jnp.iscomplexobj(leaf) else 1)
        for leaf in jax.tree.leaves(carry)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    ends = np.cumsum([0, *sizes])
    parts = [slice(*both) for both in itertools.pairwise(ends)]
    whole += [np.linalg.norm(of_carry[part]) for part in parts]
    by_leaf = [
        [np.linalg.norm(jacobian[:, part]) for part in parts]
        for jacobian in (of_output, *(of_carry[part] for part in parts))
    ]
    np.testing.assert_allclose(np.exp(reach.whole.log[-1]), whole, rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(np.exp(reach.by_leaf.log[-1]), by_leaf, rtol=2e-4, atol=1e-7)
    assert (name == "no_memory") == np.isneginf(reach.whole.log[-1, 0])


def test_an_elman_network_by_hand_and_its_bound():
    """Products of diag(1 - h^2) U^T in NumPy; each at most sqrt(H) s^k."""
    cell = CELLS["rnn"](3, 6)
    params = cell.init(jax.random.key(2))
    w, u, b = (np.asarray(leaf, np.float64) for leaf in params)
    states, hidden = [], np.zeros(6)
    for x in np.asarray(INPUTS, np.float64):
        hidden = np.tanh(x @ w + hidden @ u + b)
        states.append(hidden)
    product, logs = np.eye(6), []
    for hidden in states[:1:-1]:
        product = product @ (np.diag(1 - hidden**2) @ u.T)
        logs.append(math.log(np.linalg.norm(product)))
    reach = reach_of(cell, params, INPUTS, 10)
    np.testing.assert_allclose(reach.whole.log[:, 0], logs, atol=1e-4)
    lags = range(1, 11)
    bound = log_bound(params, lags)
    largest = math.sqrt(np.linalg.eigvalsh(u @ u.T).max())
    np.testing.assert_allclose(bound, [0.5 * math.log(6) + k * math.log(largest) for k in lags])
    assert (logs < bound).all()
    assert log_bound(CELLS["lstm"](3, 4).init(jax.random.key(0)), lags) is None


def test_probes_are_unbiased_and_say_how_far_off_they_are():
    """Over many draws the mean of squares is the square, and errors are as large as they say."""
    cell = CELLS["lstm"](3, 4)
    params = cell.init(jax.random.key(3))
    exact = reach_of(cell, params, INPUTS, 6, targets=(OUTPUT, "memory"))
    few = jax.vmap(
        lambda key: carry_reach(
            cell, params, INPUTS, 11, 6, targets=(OUTPUT, "memory"), probes=Probes(key, 24)
        )
    )
    drawn = quick_jit(few)(jax.random.split(jax.random.key(4), 400))
    for estimated, true in zip(drawn, exact, strict=True):
        squares = np.exp(2 * (np.asarray(estimated.log, np.float64) - np.asarray(true.log)))
        error = squares.std(axis=0, ddof=1) / math.sqrt(len(squares))
        off = (squares.mean(axis=0) - 1) / error
        assert np.abs(off).max() < 3
        told = np.sqrt(np.square(estimated.error).mean(axis=0))
        spread = estimated.log.std(axis=0)
        np.testing.assert_allclose(told, spread, rtol=0.25)
    # The probes of different targets are different ones.
    same = CELLS["rnn"](3, 4)
    both = reach_of(
        same, same.init(jax.random.key(0)), INPUTS, 2, targets=(OUTPUT, "hidden"),
        probes=Probes(jax.random.key(0), 4),
    )  # fmt: skip
    assert not np.allclose(both.whole.log[:, 0], both.whole.log[:, 1])


@pytest.mark.parametrize("name", ["lstm", "lru"])
def test_input_reach_is_the_gradient_by_the_inputs(name):
    cell = CELLS[name](3, 4)
    params = cell.init(jax.random.key(6))
    cotangent = jax.random.normal(jax.random.key(7), (4,))
    last = 8

    def loss(inputs):
        weights = cell.prepare(params)
        carry = cell.initial_carry(weights)
        for x in inputs[: last + 1]:
            carry, output = cell.step(weights, carry, cell.project(weights, x, None))
        return output @ cotangent

    gradient = np.linalg.norm(quick_jit(jax.grad(loss))(INPUTS), axis=1)
    logs = quick_jit(lambda x: input_reach(cell, params, x, last, last, cotangent))(INPUTS)
    np.testing.assert_allclose(np.exp(logs), gradient[last::-1], rtol=1e-4)
    assert not gradient[last + 1 :].any()


def test_input_reach_goes_on_where_a_gradient_is_zero():
    """|d loss / d x_{T-k}| = |v U^k|, here 1e-2^k."""
    cell = linear_rnn(0.01 * np.eye(2, dtype=np.float32))
    inputs, v = jnp.ones((151, 2)), jnp.asarray([3.0, 4.0])
    logs = quick_jit(lambda x: input_reach(cell, cell.init(None), x, 150, 150, v))(inputs)
    exact = math.log(5) + np.arange(151) * math.log(np.float32(0.01))
    np.testing.assert_allclose(logs, exact, rtol=1e-6, atol=1e-4)


DIRECT = {
    **dict.fromkeys(["lstm", "peephole_lstm", "cifg", "layer_norm_lstm", "janet", "ur_lstm"],
                    "memory"),
    **dict.fromkeys(["gru", "mut1", "mut2", "mut3", "min_gru", "min_lstm", "rg_lru"], "hidden"),
}  # fmt: skip


def test_which_cells_have_a_direct_path():
    """Those that keep a leaf by a gate; not where the memory's unit changes from step to step."""
    inputs = jax.ShapeDtypeStruct((2, 5), jnp.float32)
    for name, constructor in CELLS.items():
        cell = constructor(5, 8)
        params = jax.eval_shape(cell.init, jax.random.key(0))
        assert direct_leaf(cell, params, inputs) == DIRECT.get(name), name


@pytest.mark.parametrize("name", ["lstm", "janet", "gru", "ur_lstm", "rg_lru"])
def test_the_direct_path_is_the_whole_where_nothing_looks_at_the_past(name):
    """Without recurrent kernels; inputs may still move the gates."""
    cell = CELLS[name](3, 4)
    params = cell.init(jax.random.key(8))
    kernels = [field for field in params._fields if field in
               ("recurrent_kernel", "gate_kernel", "candidate_kernel")]  # fmt: skip
    params = params._replace(**{k: jnp.zeros_like(getattr(params, k)) for k in kernels})
    leaf = direct_leaf(cell, params, INPUTS)
    reach = reach_of(cell, params, INPUTS, 8, targets=(leaf,))
    whole = reach.by_leaf.log[:, 0, leaf_names(cell).index(leaf)]
    direct = quick_jit(lambda x: direct_path(cell, params, x, 11, 8))(INPUTS)
    np.testing.assert_allclose(direct, whole, atol=2e-5)
    assert np.ptp(np.concatenate(list(gate_values(cell, params, INPUTS).values()))) > 0.01


@pytest.mark.parametrize("pole", [0.5, 0.9])
def test_zucchet_and_orvieto_by_monte_carlo(pole):
    """h = l h + x with white x: E h^2 = 1 / (1 - l^2), E (dh/dl)^2 = (1 + l^2) / (1 - l^2)^3."""
    cell = linear_rnn(np.zeros((1, 1), np.float32))
    inputs = jax.random.normal(jax.random.key(9), (8000, 150, 1))

    def last(pole):
        params = LinearParams(pole.reshape(1, 1))
        return unroll_batch(cell, params, inputs, method="scan").outputs[:, -1, 0]

    both = quick_jit(lambda pole: jax.jvp(last, (pole,), (jnp.ones(()),)))(jnp.float32(pole))
    exact = 1 / (1 - pole**2), (1 + pole**2) / (1 - pole**2) ** 3
    for values, variance in zip(both, exact, strict=True):
        squares = np.square(np.asarray(values, np.float64))
        error = squares.std(ddof=1) / math.sqrt(len(squares))
        assert abs(squares.mean() - variance) < 3 * error
        assert error < 0.1 * variance


def test_what_cannot_be_is_named():
    cell = CELLS["gru"](3, 4)
    params = cell.init(jax.random.key(0))
    with pytest.raises(InputError, match="targets=memory: allowed for this cell are output, hidd"):
        carry_reach(cell, params, INPUTS, 11, 2, targets=("memory",))
    with pytest.raises(InputError, match="probes=1: must be at least 2"):
        carry_reach(cell, params, INPUTS, 11, 2, probes=Probes(jax.random.key(0), 1))
