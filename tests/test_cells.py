"""Every registered cell: the contract, its equations, and how its parameters start."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from lstm_jax.cells import CELLS
from lstm_jax.cells.case import Case, quick_jit
from lstm_jax.cells.check import broken_structure, label, message, variations
from lstm_jax.cells.clauses import CLAUSES
from lstm_jax.errors import InputError
from lstm_jax.unroll import unroll

VARIATIONS = {
    label(name, options): partial(constructor, **options)
    for name, constructor in CELLS.items()
    for options in variations(constructor)
}


@cache
def case(name: str) -> Case:
    return Case(CELLS.get(name) or VARIATIONS[name])


@pytest.mark.parametrize("name", [*CELLS, *VARIATIONS])
def test_structure(name):
    assert broken_structure(CELLS.get(name) or VARIATIONS[name]) == []


@pytest.mark.parametrize("clause", CLAUSES)
@pytest.mark.parametrize("name", CELLS)
def test_contract(name, clause):
    assert message(clause, CLAUSES[clause], case(name)) == ""


@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("clause", ["init", "gradient"])
def test_contract_of_variations(name, clause):
    assert message(clause, CLAUSES[clause], case(name)) == ""


# Equations, transcribed from the papers into NumPy, one gate at a time.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_reference(params, inputs, hidden_size, *, activation="tanh"):
    activate = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}[activation]
    hidden, outputs = np.zeros(hidden_size), []
    for x in inputs:
        hidden = activate(x @ params.input_kernel + hidden @ params.recurrent_kernel + params.bias)
        outputs.append(hidden)
    return np.array(outputs)


def lstm_reference(params, inputs, hidden_size):
    w_i, w_f, w_g, w_o = np.split(params.input_kernel, 4, axis=1)
    u_i, u_f, u_g, u_o = np.split(params.recurrent_kernel, 4, axis=1)
    b_i, b_f, b_g, b_o = np.split(params.bias, 4)
    hidden, memory, outputs = np.zeros(hidden_size), np.zeros(hidden_size), []
    for x in inputs:
        i = sigmoid(x @ w_i + hidden @ u_i + b_i)
        f = sigmoid(x @ w_f + hidden @ u_f + b_f)
        g = np.tanh(x @ w_g + hidden @ u_g + b_g)
        o = sigmoid(x @ w_o + hidden @ u_o + b_o)
        memory = f * memory + i * g
        hidden = o * np.tanh(memory)
        outputs.append(hidden)
    return np.array(outputs)


def gru_reference(params, inputs, hidden_size, *, reset="before"):
    w_z, w_r, w_n = np.split(params.input_kernel, 3, axis=1)
    b_z, b_r, b_n = np.split(params.bias, 3)
    if reset == "before":
        u_z, u_r = np.split(params.gate_kernel, 2, axis=1)
        u_n = params.candidate_kernel
    else:
        u_z, u_r, u_n = np.split(params.recurrent_kernel, 3, axis=1)
    hidden, outputs = np.zeros(hidden_size), []
    for x in inputs:
        z = sigmoid(x @ w_z + hidden @ u_z + b_z)
        r = sigmoid(x @ w_r + hidden @ u_r + b_r)
        if reset == "before":
            n = np.tanh(x @ w_n + (r * hidden) @ u_n + b_n)
        else:
            n = np.tanh(x @ w_n + r * (hidden @ u_n + params.candidate_bias) + b_n)
        hidden = (1 - z) * hidden + z * n
        outputs.append(hidden)
    return np.array(outputs)


def janet_reference(params, inputs, hidden_size, *, beta=1.0):
    w_f, w_g = np.split(params.input_kernel, 2, axis=1)
    u_f, u_g = np.split(params.recurrent_kernel, 2, axis=1)
    b_f, b_g = np.split(params.bias, 2)
    memory, outputs = np.zeros(hidden_size), []
    for x in inputs:
        s = x @ w_f + memory @ u_f + b_f
        g = np.tanh(x @ w_g + memory @ u_g + b_g)
        memory = sigmoid(s) * memory + (1 - sigmoid(s - beta)) * g
        outputs.append(memory)
    return np.array(outputs)


def ur_lstm_reference(params, inputs, hidden_size):
    w_f, w_r, w_g, w_o = np.split(params.input_kernel, 4, axis=1)
    u_f, u_r, u_g, u_o = np.split(params.recurrent_kernel, 4, axis=1)
    b_f, b_r, b_g, b_o = np.split(params.bias, 4)
    hidden, memory, outputs = np.zeros(hidden_size), np.zeros(hidden_size), []
    for x in inputs:
        f = sigmoid(x @ w_f + hidden @ u_f + b_f)
        r = sigmoid(x @ w_r + hidden @ u_r + b_r)
        e = r * (1 - (1 - f) ** 2) + (1 - r) * f**2
        memory = e * memory + (1 - e) * np.tanh(x @ w_g + hidden @ u_g + b_g)
        hidden = sigmoid(x @ w_o + hidden @ u_o + b_o) * np.tanh(memory)
        outputs.append(hidden)
    return np.array(outputs)


REFERENCES = {
    "rnn": rnn_reference,
    "lstm": lstm_reference,
    "gru": gru_reference,
    "janet": janet_reference,
    "ur_lstm": ur_lstm_reference,
}


def test_every_cell_has_its_equations_here():
    assert set(REFERENCES) == set(CELLS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rnn", {}),
        ("rnn", {"activation": "relu"}),
        ("lstm", {}),
        ("gru", {}),
        ("gru", {"reset": "after"}),
        ("janet", {}),
        ("janet", {"beta": 0.3}),
        ("ur_lstm", {}),
    ],
    ids=str,
)
def test_equations(name, options, x64):
    random = np.random.default_rng(1)
    cell = CELLS[name](3, 5, **options)
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), shapes)
    inputs = random.normal(size=(7, 3))
    expected = REFERENCES[name](params, inputs, 5, **options)
    outputs = unroll(cell, jax.tree.map(jnp.asarray, params), jnp.asarray(inputs)).outputs
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-12)


# How parameters start, as documented.

HIDDEN = 64


@cache
def drawn(name, **options):
    init = quick_jit(CELLS[name](HIDDEN, HIDDEN, **options).init)
    return jax.tree.map(np.asarray, init(jax.random.key(7)))


def follows(draws, distribution):
    """Whether draws follow a distribution, by a Kolmogorov-Smirnov test at a fixed key."""
    return scipy.stats.kstest(np.ravel(draws), distribution.cdf).pvalue > 1e-3


def blocks(kernel):
    return np.split(kernel, kernel.shape[1] // HIDDEN, axis=1)


UNIFORM = scipy.stats.uniform(loc=-(HIDDEN**-0.5), scale=2 * HIDDEN**-0.5)
# The sum of two such draws, as PyTorch's two biases.
TRIANGLE = scipy.stats.triang(0.5, loc=-2 * HIDDEN**-0.5, scale=4 * HIDDEN**-0.5)
INPUT_NORMAL = scipy.stats.norm(scale=HIDDEN**-0.5)


@pytest.mark.parametrize(
    ("name", "options", "gain"),
    [
        ("rnn", {"recurrent_init": "orthogonal"}, 1.0),
        ("rnn", {"recurrent_init": "orthogonal", "gain": 1.3}, 1.3),
        ("lstm", {}, 1.0),
        ("lstm", {"init": "chrono"}, 1.0),
        ("gru", {}, 1.0),
        ("gru", {"reset": "after"}, 1.0),
        ("janet", {}, 1.0),
        ("ur_lstm", {}, 1.0),
    ],
    ids=str,
)
def test_recurrent_blocks_are_orthogonal_with_their_gain(name, options, gain):
    params = drawn(name, **options)
    if name == "gru" and options.get("reset") != "after":
        kernel = np.concatenate([params.gate_kernel, params.candidate_kernel], axis=1)
    else:
        kernel = params.recurrent_kernel
    parts = blocks(kernel)
    for part in parts:
        np.testing.assert_allclose(part @ part.T, gain**2 * np.eye(HIDDEN), atol=1e-5)
    assert all(not np.allclose(parts[0], other) for other in parts[1:])
    assert follows(params.input_kernel, INPUT_NORMAL)


def test_identity_init():
    params = drawn("rnn", recurrent_init="identity", gain=0.5)
    np.testing.assert_array_equal(params.recurrent_kernel, 0.5 * np.eye(HIDDEN))
    np.testing.assert_array_equal(params.bias, 0)
    assert follows(params.input_kernel, INPUT_NORMAL)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rnn", {}),
        ("lstm", {"init": "pytorch"}),
        ("gru", {"init": "pytorch"}),
        ("gru", {"init": "pytorch", "reset": "after"}),
    ],
    ids=str,
)
def test_pytorch_init(name, options):
    params = drawn(name, **options)._asdict()
    bias = params.pop("bias")
    if options.get("reset") == "after":
        # The candidate's two biases stand apart, so each is uniform.
        gates, candidate = bias[: 2 * HIDDEN], bias[2 * HIDDEN :]
        assert follows(candidate, UNIFORM)
        assert abs(candidate).max() <= HIDDEN**-0.5
        bias = gates
    assert follows(bias, TRIANGLE)
    assert not follows(np.tile(bias, 8), UNIFORM)
    for kernel in params.values():
        assert abs(kernel).max() <= HIDDEN**-0.5
        assert follows(kernel, UNIFORM)


@pytest.mark.parametrize(
    ("options", "forget_bias"),
    [({}, 1.0), ({"forget_bias": 3.0}, 3.0), ({"forget_bias": -2.0}, -2.0)],
)
def test_forget_bias(options, forget_bias):
    input_gate, forget_gate, candidate, output_gate = np.split(drawn("lstm", **options).bias, 4)
    np.testing.assert_array_equal(forget_gate, forget_bias)
    np.testing.assert_array_equal([input_gate, candidate, output_gate], 0)


def test_forget_bias_shifts_the_draws_of_pytorch():
    default, shifted = drawn("lstm", init="pytorch"), drawn("lstm", init="pytorch", forget_bias=2.0)
    np.testing.assert_allclose(
        np.split(shifted.bias - default.bias, 4), [[0], [2], [0], [0]] * np.ones(HIDDEN), atol=1e-6
    )


@pytest.mark.parametrize(("options", "time_scale"), [({}, 200), ({"time_scale": 50.0}, 50)])
def test_chrono_init(options, time_scale):
    init = quick_jit(CELLS["lstm"](2, 256, init="chrono", **options).init)
    input_gate, forget_gate, candidate, output_gate = np.split(init(jax.random.key(3)).bias, 4)
    # Tallec & Ollivier 2018: b_f ~ log U(1, T - 1), b_i = -b_f.
    assert follows(np.exp(forget_gate), scipy.stats.uniform(loc=1, scale=time_scale - 2))
    np.testing.assert_array_equal(input_gate, -forget_gate)
    np.testing.assert_array_equal([candidate, output_gate], 0)


def test_chrono_of_a_very_short_time_scale_is_zero():
    np.testing.assert_array_equal(drawn("lstm", init="chrono", time_scale=1.0).bias, 0)


def test_biases_of_janet():
    forget, candidate = np.split(drawn("janet", init="orthogonal").bias, 2)
    np.testing.assert_array_equal(forget, 1)
    np.testing.assert_array_equal(candidate, 0)
    init = quick_jit(CELLS["janet"](2, 256, time_scale=50.0).init)
    forget, candidate = np.split(init(jax.random.key(3)).bias, 2)
    assert follows(np.exp(forget), scipy.stats.uniform(loc=1, scale=48))
    np.testing.assert_array_equal(candidate, 0)


def test_the_forget_gate_of_ur_lstm_starts_uniform():
    init = quick_jit(CELLS["ur_lstm"](2, 256).init)
    forget, refine, *others = np.split(init(jax.random.key(3)).bias, 4)
    assert follows(sigmoid(forget), scipy.stats.uniform(loc=1 / 256, scale=1 - 2 / 256))
    np.testing.assert_array_equal(refine, -forget)
    np.testing.assert_array_equal(others, 0)
    alone = quick_jit(CELLS["ur_lstm"](2, 1).init)(jax.random.key(3))
    assert alone.bias[0] == 0


@pytest.mark.parametrize("options", [{}, {"reset": "after"}], ids=str)
def test_gru_biases_start_at_zero(options):
    params = drawn("gru", **options)
    np.testing.assert_array_equal(params.bias, 0)
    np.testing.assert_array_equal(getattr(params, "candidate_bias", 0), 0)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("rnn", {"activation": "gelu"}, "activation=gelu: allowed are tanh, relu"),
        ("rnn", {"recurrent_init": "zeros"}, "recurrent_init=zeros: allowed are uniform"),
        ("rnn", {"recurrent_init": "orthogonal", "gain": 0.0}, "gain=0.0: must be a finite number"),
        ("rnn", {"gain": 2.0}, "gain .*=2.0: allowed are 1.0"),
        ("lstm", {"init": "zeros"}, "init=zeros: allowed are orthogonal, pytorch, chrono"),
        ("lstm", {"init": "chrono", "forget_bias": 1.0}, "forget_bias=1.0: init=chrono sets it"),
        ("lstm", {"time_scale": 10.0}, "time_scale=10.0: taken only with init=chrono"),
        ("lstm", {"init": "chrono", "time_scale": -1.0}, "time_scale=-1.0: must be a finite"),
        ("lstm", {"init": "chrono", "time_scale": float("inf")}, "time_scale=inf: must be"),
        ("gru", {"reset": "never"}, "reset=never: allowed are before, after"),
        ("janet", {"init": "pytorch"}, "init=pytorch: allowed are chrono, orthogonal"),
        ("janet", {"forget_bias": 1.0}, "forget_bias=1.0: init=chrono sets it"),
        ("janet", {"init": "orthogonal", "time_scale": 9.0}, "taken only with init=chrono"),
        ("janet", {"beta": float("inf")}, "beta=inf: must be a finite number"),
        ("gru", {"init": "zeros"}, "init=zeros: allowed are orthogonal, pytorch"),
    ],
)
def test_options_outside_what_is_named(name, options, words):
    with pytest.raises(InputError, match=words) as raised:
        CELLS[name](3, 5, **options)
    assert "\n" not in str(raised.value)
