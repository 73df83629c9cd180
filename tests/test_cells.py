"""Every registered cell: the contract, its equations, and how its parameters start."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from equations import EQUATIONS, sigmoid

from lstm_jax.cells import CELLS
from lstm_jax.cells.case import Case, quick_jit
from lstm_jax.cells.check import broken_structure, label, message, variations
from lstm_jax.cells.clauses import CLAUSES
from lstm_jax.cells.sketch import Sketch
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


# Values and gradients against the equations, transcribed into NumPy.


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, (_, given) in EQUATIONS.items() for options in given],
    ids=lambda part: part if isinstance(part, str) else label("", part),
)
def test_equations(name, options, x64):
    random = np.random.default_rng(1)
    sketch = Sketch(partial(CELLS[name], **options))
    cell, size = sketch.cell, sketch.hidden_size
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), sketch.params)
    inputs = random.normal(size=(7, sketch.input_size))
    cotangents = random.normal(size=(7, cell.output_size))
    direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), params)

    def transcribed(step):
        moved = jax.tree.map(lambda leaf, by: leaf + step * by, params, direction)
        return EQUATIONS[name][0](moved, inputs, size, **options)

    def objective(params):
        outputs = unroll(cell, params, jnp.asarray(inputs)).outputs
        return (outputs * cotangents).sum(), outputs

    run = quick_jit(jax.value_and_grad(objective, has_aux=True))
    (_, outputs), gradient = run(jax.tree.map(jnp.asarray, params))
    np.testing.assert_allclose(outputs, transcribed(0), rtol=0, atol=1e-11)
    step = 1e-6
    differences = (transcribed(step) - transcribed(-step)) / (2 * step)
    slope = sum(
        (leaf * by).sum()
        for leaf, by in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(slope, (differences * cotangents).sum(), rtol=1e-6, atol=1e-6)


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
