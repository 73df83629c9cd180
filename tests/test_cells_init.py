"""How the parameters of every cell start, as documented; options that it refuses."""

from functools import cache

import jax
import numpy as np
import pytest
import scipy.stats
from equations import sigmoid

from lstm_jax.cells import CELLS
from lstm_jax.cells.check import variations
from lstm_jax.errors import InputError
from lstm_jax.programs import quick_jit

HIDDEN = 64


@cache
def drawn(name, **options):
    init = quick_jit(CELLS[name](HIDDEN, HIDDEN, **options).init)
    return jax.tree.map(np.asarray, init(jax.random.key(7)))


def follows(draws, distribution):
    """Whether draws follow a distribution, by a Kolmogorov-Smirnov test at a fixed key."""
    return scipy.stats.kstest(np.ravel(draws), distribution.cdf).pvalue > 1e-3


def by_name(params):
    return params if isinstance(params, dict) else params._asdict()


def blocks(kernel):
    return np.split(kernel, kernel.shape[1] // HIDDEN, axis=1)


UNIFORM = scipy.stats.uniform(loc=-(HIDDEN**-0.5), scale=2 * HIDDEN**-0.5)
# The sum of two such draws, as PyTorch's two biases.
TRIANGLE = scipy.stats.triang(0.5, loc=-2 * HIDDEN**-0.5, scale=4 * HIDDEN**-0.5)
ORTHOGONAL = (
    "cifg", "janet", "layer_norm_lstm", "lstm_1997", "mut1", "mut2", "mut3", "peephole_lstm",
    "slstm", "ur_lstm",
)  # fmt: skip
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
        *((name, {}, 1.0) for name in ORTHOGONAL),
    ],
    ids=str,
)
def test_recurrent_blocks_are_orthogonal_with_their_gain(name, options, gain):
    params = by_name(drawn(name, **options))
    if "recurrent_kernel" in params:
        kernel = params["recurrent_kernel"]
    else:
        kernel = np.concatenate([params["gate_kernel"], params["candidate_kernel"]], axis=1)
    parts = blocks(kernel)
    for part in parts:
        np.testing.assert_allclose(part @ part.T, gain**2 * np.eye(HIDDEN), atol=1e-5)
    assert all(not np.allclose(parts[0], other) for other in parts[1:])
    assert follows(params["input_kernel"], INPUT_NORMAL)


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


# Blocks of the biases: f and i are those of forget and input gate, u is of an update gate.
GATES = {
    "cifg": "fgo", "depth_gated_lstm": "ifgo", "gru": "urn", "layer_norm_lstm": "ifgo",
    "lstm": "ifgo", "min_gru": "un", "min_lstm": "fin", "mut1": "urh", "mut2": "urh",
    "mut3": "urh", "peephole_lstm": "ifgo",
}  # fmt: skip


def gates(params, name):
    """Biases by letter; of the lowest layer where there are several."""
    bias = np.atleast_2d(by_name(params)["bias"])[0]
    return dict(zip(GATES[name], np.split(bias, bias.size // 256), strict=False))


@cache
def wide(name, **options):
    return quick_jit(CELLS[name](2, 256, **options).init)(jax.random.key(3))


@pytest.mark.parametrize("name", GATES)
def test_chrono_of_every_gated_cell(name):
    own = gates(wide(name, init="chrono", time_scale=50.0), name)
    # u writes where f would forget: its bias is the opposite.
    forget = -own.pop("u") if "u" in own else own.pop("f")
    assert follows(np.exp(forget), scipy.stats.uniform(loc=1, scale=48))
    if "i" in own:
        np.testing.assert_array_equal(own.pop("i"), -forget)
    np.testing.assert_array_equal(list(own.values()), 0)


def test_every_cell_with_chrono_is_tested():
    with_chrono = {
        name for name, constructor in CELLS.items() if {"init": "chrono"} in variations(constructor)
    }
    # Those whose blocks are named elsewhere in this file.
    assert with_chrono - {"janet"} <= set(GATES)


@pytest.mark.parametrize(
    ("name", "options", "forget_bias"),
    [(name, {}, 1.0) for name in GATES if "f" in GATES[name] and name != "min_lstm"]
    + [(name, {"forget_bias": 2.5}, 2.5) for name in GATES if "f" in GATES[name]]
    + [("min_lstm", {}, 0.0)],
    ids=str,
)
def test_forget_biases_of_every_cell_that_has_one(name, options, forget_bias):
    own = gates(wide(name, **options), name)
    np.testing.assert_array_equal(own.pop("f"), forget_bias)
    np.testing.assert_array_equal(list(own.values()), 0)


def test_coupled_gates_of_the_peephole_lstm_start_opposite():
    own = np.split(drawn("peephole_lstm", variant="CIFG", forget_bias=2.0)["bias"], 3)
    np.testing.assert_array_equal(own[0], -2)
    np.testing.assert_array_equal(own[1:], 0)


def test_the_1997_lstm_starts_with_its_output_shut():
    own = np.split(drawn("lstm_1997").bias, 3)
    np.testing.assert_array_equal(own[2], -2)
    np.testing.assert_array_equal(own[:2], 0)


def test_forget_gates_of_the_xlstm_cells_start_open():
    own = np.split(drawn("slstm").bias, 4)
    np.testing.assert_array_equal(own.pop(1), 3)
    np.testing.assert_array_equal(own, 0)
    params = drawn("mlstm")
    np.testing.assert_allclose(params.gate_bias, [0, 0, 0, 0, 3, 4, 5, 6])
    assert not params.gate_kernel.any()
    assert not params.bias.any()
    assert follows(params.input_kernel, INPUT_NORMAL)


@pytest.mark.parametrize("name", ["peephole_lstm", "depth_gated_lstm"])
def test_peepholes_start_small(name):
    assert follows(by_name(drawn(name))["peepholes"], scipy.stats.norm(scale=0.1))


def test_full_peepholes_start_orthogonal():
    params = drawn("peephole_lstm", peepholes="full")
    for part in [*blocks(params["memory_kernel"]), params["output_memory_kernel"]]:
        np.testing.assert_allclose(part @ part.T, np.eye(HIDDEN), atol=1e-5)


@pytest.mark.parametrize("name", ["depth_gated_lstm", "grid_lstm"])
def test_each_layer_starts_with_orthonormal_blocks_of_its_own(name):
    params = by_name(drawn(name))
    kernels = params["kernel"] if name == "grid_lstm" else params["recurrent_kernel"]
    parts = [part for kernel in kernels for part in blocks(kernel)]
    for part in parts:
        np.testing.assert_allclose(part.T @ part, np.eye(HIDDEN), atol=1e-5)
    for index, part in enumerate(parts):
        assert all(not np.allclose(part, other) for other in parts[:index])


def test_forget_biases_of_the_grid_lstm():
    biases = drawn("grid_lstm", forget_bias=2.0).bias.reshape(2, 2, 4, HIDDEN)
    np.testing.assert_array_equal(biases[:, :, 1], 2)
    np.testing.assert_array_equal(np.delete(biases, 1, axis=2), 0)


def test_irnn_starts_as_the_identity():
    params = drawn("irnn", gain=0.5)
    np.testing.assert_array_equal(params.recurrent_kernel, 0.5 * np.eye(HIDDEN))
    assert follows(params.input_kernel, scipy.stats.norm(scale=0.001))
    assert not params.bias.any()


@pytest.mark.parametrize("init", ["henaff", "cayley"])
def test_rotations_of_the_orthogonal_rnn(init):
    constructor = CELLS["orthogonal_rnn"]
    cell = constructor(HIDDEN, HIDDEN, init=init)
    kernel = np.asarray(cell.prepare(drawn("orthogonal_rnn", init=init)).recurrent_kernel)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(HIDDEN), atol=1e-5)
    pairs = kernel.reshape(HIDDEN // 2, 2, HIDDEN // 2, 2)
    block = pairs[np.arange(HIDDEN // 2), :, np.arange(HIDDEN // 2)]
    angles = np.arctan2(block[:, 0, 1], block[:, 0, 0])
    np.testing.assert_allclose(block[:, 0, 0] ** 2 + block[:, 0, 1] ** 2, 1, atol=1e-5)
    if init == "henaff":
        assert follows(angles, scipy.stats.uniform(loc=-np.pi, scale=2 * np.pi))
    else:  # s = -tan(u / 2), u ~ U(0, pi/2)
        assert follows(2 * np.arctan(-angles), scipy.stats.uniform(scale=np.pi / 2))


def test_recurrent_weights_of_indrnn_start_uniform_below_their_bound():
    cell = CELLS["indrnn"](2, 256, time_scale=10.0)
    held = np.asarray(cell.prepare(wide("indrnn", time_scale=10.0)).recurrent)
    assert follows(held, scipy.stats.uniform())
    assert (held <= 2 ** (1 / 10)).all()
    far = wide("indrnn")._replace(recurrent=np.full(256, 1e3, np.float32))
    assert CELLS["indrnn"](2, 256).prepare(far).recurrent.max() <= 2 ** (1 / 200) * (1 + 1e-6)


def test_modules_of_the_clockwork_rnn_see_slower_ones_alone():
    cell = CELLS["clockwork_rnn"](2, 24, modules=3)
    kernel = np.asarray(cell.prepare(cell.init(jax.random.key(0))).recurrent_kernel)
    exists = np.kron(np.tril(np.ones((3, 3))), np.ones((8, 8)))
    np.testing.assert_array_equal(kernel != 0, exists != 0)


@pytest.mark.parametrize(
    ("name", "options", "low", "high"),
    [
        ("lru", {}, 0, 1),
        ("lru", {"min_radius": 0.9, "max_radius": 0.999}, 0.9, 0.999),
        ("rg_lru", {}, 0.9, 0.999),
    ],
)
def test_radii_start_uniform_in_the_ring(name, options, low, high):
    params = wide(name, **options)
    if name == "lru":
        radius = np.exp(-np.exp(np.asarray(params.decay, float)))
        np.testing.assert_allclose(np.exp(params.input_scale), np.sqrt(1 - radius**2), rtol=2e-3)
        assert follows(np.exp(params.phase), scipy.stats.uniform(scale=2 * np.pi))
    else:
        radius = np.exp(-8 * np.log1p(np.exp(np.asarray(params.decay, float))))
    assert follows(radius**2, scipy.stats.uniform(loc=low**2, scale=high**2 - low**2))


def test_spectrum_of_s5():
    params = wide("s5")
    np.testing.assert_allclose(-np.exp(params.decay), -0.5, rtol=1e-6)
    np.testing.assert_allclose(params.frequency, np.pi * np.arange(256), rtol=1e-6)
    assert follows(params.log_step, scipy.stats.uniform(np.log(0.001), np.log(100)))


def test_kernels_of_the_linear_cells_keep_the_variance():
    for name in ("lru", "s5"):
        params = drawn(name)
        assert follows(params.input_kernel, scipy.stats.norm(scale=(2 * HIDDEN) ** -0.5))
        assert follows(params.skip_kernel, INPUT_NORMAL)
    scale = HIDDEN**-0.5
    assert follows(drawn("lru").output_kernel, scipy.stats.norm(scale=scale))
    assert follows(drawn("s5").output_kernel, scipy.stats.norm(scale=scale * 0.5**0.5))
    assert follows(drawn("no_memory", width=4).kernels, scipy.stats.norm(scale=scale / 2))


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
        ("gru", {"time_scale": 9.0}, "time_scale=9.0: taken only with init=chrono"),
        ("cifg", {"init": "pytorch"}, "init=pytorch: allowed are orthogonal, chrono"),
        ("peephole_lstm", {"peepholes": "none"}, "peepholes=none: allowed are diagonal, full"),
        ("peephole_lstm", {"variant": "NXG"}, "variant=NXG: allowed are V, NIG"),
        ("peephole_lstm", {"variant": "NFG", "forget_bias": 1.0}, "forget_bias=1.0: variant=NFG"),
        ("peephole_lstm", {"variant": "NFG", "init": "chrono"}, "init=chrono: variant=NFG has no"),
        ("depth_gated_lstm", {"layers": 1}, "layers=1: must be at least 2"),
        ("grid_lstm", {"layers": 0}, "layers=0: must be at least 1"),
        ("grid_lstm", {"layers": 10**9}, "layers=1000000000: must be at most 64"),
        ("no_memory", {"width": 10**12}, "must be at most 10,000"),
        ("peephole_lstm", {"variant": "NP", "peepholes": "full"}, "peepholes=full: variant=NP has"),
        ("indrnn", {"time_scale": 1e-9}, "magnitude=2.0, time_scale=1e-09: their root must be"),
        ("indrnn", {"time_scale": 1.0, "magnitude": 1e300}, "magnitude=1e.300: must be a finite"),
        ("lstm", {"forget_bias": 1e39}, "forget_bias=1e.39: must be a finite number"),
        ("s5", {"max_step": 1e38}, "must be 0 < min <= max <= 1000"),
        ("clockwork_rnn", {"modules": 0}, "modules=0: must be from 1 to 30"),
        ("clockwork_rnn", {"modules": 31}, "modules=31: must be from 1 to 30"),
        ("orthogonal_rnn", {"activation": "relu"}, "activation=relu: allowed are modrelu"),
        ("indrnn", {"magnitude": 0.0}, "magnitude=0.0: must be a finite number above 0"),
        ("irnn", {"gain": 0.0}, "gain=0.0: must be a finite number above 0"),
        ("lru", {"min_radius": 0.9, "max_radius": 0.5}, "must be 0 <= min < max <= 1"),
        ("lru", {"max_phase": 0.0}, "max_phase=0.0: must be a finite number above 0"),
        ("rg_lru", {"max_radius": 1.0}, "must be 0 < min < max < 1"),
        ("s5", {"min_step": 0.0}, "must be 0 < min <= max"),
        ("mlstm", {"heads": 2}, "hidden_size=5: must be a multiple of heads=2"),
        ("no_memory", {"width": 0}, "width=0: must be at least 1"),
        ("lstm", {"recurrent_dropout": 1.0}, "recurrent_dropout=1.0: must be at least 0 and"),
        ("lstm", {"projection": 0}, "projection=0: must be at least 1"),
    ],
)
def test_options_outside_what_is_named(name, options, words):
    with pytest.raises(InputError, match=words) as raised:
        CELLS[name](3, 5, **options)
    assert "\n" not in str(raised.value)
