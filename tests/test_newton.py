"""Nonlinear cells by Newton's method: equal to the scan, counted, and clear where they fail."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import CELLS, lru, rnn
from lstm_jax.errors import InputError
from lstm_jax.newton import Convergence, Newton, NotConvergedError, require_converged
from lstm_jax.programs import quick_jit
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.training import assemble, make_program
from lstm_jax.trial import Catalogue
from lstm_jax.unroll import unroll, unroll_batch

BATCH, STEPS, HIDDEN = 2, 1024, 8
NAMES = ("rnn", "gru", "lstm")
GROUPED = [pytest.param(name, marks=pytest.mark.xdist_group(f"newton-{name}")) for name in NAMES]


@cache
def assembly(name):
    """A cell in a network for `recall` at a small gap."""
    catalogue = Catalogue(CELLS, TASKS)
    settings = Settings(hidden_size=HIDDEN, batch_size=16, match="hidden")
    (trial,) = make_sweep(
        catalogue,
        task="recall:lead_in=3:symbols=3",
        cells=[name],
        gaps=[4],
        seeds=[0],
        learning_rates=[1e-2],
        settings=settings,
    )
    return assemble(trial, catalogue)


@cache
def params_of(name, updates):
    """The cell's parameters after training."""
    program = make_program(
        assembly(name),
        1,
        batch_size=16,
        matmul_precision="float32",
        devices=jax.devices()[:1],
        inner="map",
    )
    seeds, rates = np.zeros(1, np.int32), np.full(1, 1e-2, np.float32)
    state, progress = program.advance(
        program.init(seeds), seeds, rates, np.full(1, updates, np.int32), ()
    )
    (params,) = state.params["layer_params"].values()
    loss = float(progress.train_loss[0]) if updates else np.inf
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), params), loss


@cache
def program(name, method, newton=None):
    """Outputs, last carry, convergence and gradients, with resets, a mask and all carries."""
    cell = assembly(name).cell
    keys = jax.random.split(jax.random.key(1), 3)
    reset = jax.random.bernoulli(keys[0], 5 / STEPS, (BATCH, STEPS))
    mask = jax.random.bernoulli(keys[1], 0.95, (BATCH, STEPS))
    weights = jax.random.normal(keys[2], (BATCH, STEPS, HIDDEN))

    def objective(params, inputs, carry):
        unrolled = unroll_batch(
            cell, params, inputs, carry=carry, reset=reset, mask=mask, method=method,
            newton=newton, return_carries=True,
        )  # fmt: skip
        return (unrolled.outputs * weights).sum(), unrolled

    return quick_jit(jax.value_and_grad(objective, (0, 1, 2), has_aux=True))


def run(name, method, newton=None, *, updates=0):
    """Its result on a long batch, from a carry that the cell has reached."""
    made = assembly(name)
    params, _ = params_of(name, updates)
    inputs = jax.random.normal(jax.random.key(0), (BATCH, STEPS, made.cell_input_size))
    carry = unroll_batch(made.cell, params, inputs[:, :20]).carry
    (_, unrolled), gradients = program(name, method, newton)(params, inputs, carry)
    return unrolled, gradients


def assert_near(tree, other, tolerance):
    for leaf, like in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert np.abs(leaf - like).max() < tolerance * np.abs(like).max()


@pytest.mark.parametrize("updates", [0, 200], ids=["at-the-start", "trained"])
@pytest.mark.parametrize("name", GROUPED)
def test_a_thousand_steps_equal_the_scan(name, updates):
    if updates:
        assert params_of(name, updates)[1] < 0.8 * np.log(3)  # it has learned something
    scanned, by_scan = run(name, "scan", updates=updates)
    for jacobian, most in (("full", 30), ("diagonal", 100)):
        found, gradients = run(name, "newton", Newton(jacobian), updates=updates)
        require_converged(found.convergence)
        assert found.convergence.iterations.max() <= most
        assert_near(found._replace(convergence=None), scanned, 1e-5)
        assert_near(gradients, by_scan, 1e-4)


def simple(gain, *, steps=200, **options):
    """A random network with recurrent weights so much larger than those of a rotation."""
    cell = rnn(3, 16, recurrent_init="orthogonal")
    params = quick_jit(cell.init)(jax.random.key(0))
    params = params._replace(recurrent_kernel=gain * params.recurrent_kernel)
    inputs = jax.random.normal(jax.random.key(1), (steps, 3))

    @quick_jit
    def both(params, inputs):
        newton = unroll(cell, params, inputs, method="newton", newton=Newton(**options))
        return newton, unroll(cell, params, inputs, method="scan")

    return both(params, inputs)


def test_chaos_is_told_and_gives_no_numbers():
    """Where trajectories part ways, few iterations do not suffice: NaN, not something near it."""
    found, _ = simple(4.0, max_iterations=15)
    assert not found.convergence.converged
    assert found.convergence.iterations == 15
    assert np.isnan(found.outputs).all()
    assert np.isnan(found.carry.hidden).all()
    with pytest.raises(NotConvergedError, match="1 of 1 sequences did not converge within 15 iter"):
        require_converged(found.convergence)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_what_claims_to_have_converged_is_the_scan(name):
    """Also where iterates pass through huge numbers that the cell would keep."""
    cell = CELLS[name](3, 16)
    params = quick_jit(cell.init)(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (500, 3))

    @quick_jit
    def both(params):
        newton = Newton(max_iterations=20)
        return [unroll(cell, params, inputs, method=m, newton=newton) for m in ("newton", "scan")]

    claims = 0
    for gain in (1.0, 5.0, 20.0):
        found, scanned = both(jax.tree.map(lambda leaf, gain=gain: gain * leaf, params))
        if found.convergence.converged:
            claims += 1
            np.testing.assert_allclose(found.outputs, scanned.outputs, rtol=1e-4, atol=1e-4)
        else:
            assert np.isnan(found.outputs).all()
    assert claims


def test_as_many_iterations_as_steps_suffice_even_in_chaos():
    """After k iterations the first k steps are exact, however products of Jacobians overflow."""
    for options in ({}, {"jacobian": "diagonal"}, {"damping": 1.0}):
        found, scanned = simple(4.0, steps=60, max_iterations=60, **options)
        assert found.convergence.converged, options
        np.testing.assert_allclose(found.outputs[:5], scanned.outputs[:5], atol=1e-5)
    assert found.convergence.iterations > 30  # by the fixed-point iteration, it took most of them


def test_the_scan_in_its_stead_by_choice():
    """Its values, and still it says that it did not converge."""
    found, scanned = simple(0.9, max_iterations=2, on_failure="scan")
    assert not found.convergence.converged
    np.testing.assert_allclose(found.outputs, scanned.outputs, atol=1e-5)
    np.testing.assert_allclose(found.carry.hidden, scanned.carry.hidden, atol=1e-5)


def test_damping_leaves_the_root_where_it_is():
    plain, scanned = simple(0.8)
    damped, _ = simple(0.8, damping=0.3)
    assert plain.convergence.iterations < damped.convergence.iterations
    np.testing.assert_allclose(damped.outputs, scanned.outputs, atol=1e-5)


def test_examples_of_a_batch_stop_by_themselves():
    """One that starts at its root has nothing to do, whatever its neighbour needs."""
    cell = rnn(3, 16)
    params = quick_jit(cell.init)(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (2, 50, 3)) * jnp.array([0.0, 3.0])[:, None, None]
    run = quick_jit(lambda params, inputs: unroll_batch(cell, params, inputs, method="newton"))
    convergence = run(params, inputs).convergence
    assert convergence.converged.all()
    assert convergence.iterations[0] < convergence.iterations[1]


# The others are run by make test-all.
QUICK = (*NAMES, "no_memory", "slstm", "lru", "clockwork_rnn")
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.campaign) for name in CELLS]


@pytest.mark.parametrize("name", EVERY)
def test_every_cell_equals_the_scan_or_says_why_not(name):
    cell = CELLS[name](3, 8)
    params = quick_jit(cell.init)(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (2, 6, 3))
    leaves = jax.tree.leaves(jax.eval_shape(lambda p: cell.initial_carry(cell.prepare(p)), params))
    if {leaf.dtype for leaf in leaves} != {np.dtype(np.float32)}:
        with pytest.raises(InputError, match=r"method=newton: the carry is (complex|.*int)"):
            unroll_batch(cell, params, inputs, method="newton")
        return

    @quick_jit
    def both(params, inputs):
        return [
            unroll_batch(cell, params, inputs, method=method, newton=Newton("diagonal"))
            for method in ("newton", "scan")
        ]

    found, scanned = both(params, inputs)
    require_converged(found.convergence)
    np.testing.assert_allclose(found.outputs, scanned.outputs, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_what_stands_in_for_a_failure():
    """That of the scan, and by every argument finite."""
    cell = rnn(3, 8)
    params = quick_jit(cell.init)(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (30, 3))

    def total(params, method):
        newton = Newton(max_iterations=1, on_failure="scan")
        return (unroll(cell, params, inputs, method=method, newton=newton).outputs ** 2).sum()

    gradients = [
        quick_jit(jax.grad(total), static_argnums=1)(params, m) for m in ("newton", "scan")
    ]
    for leaf, like in zip(*gradients, strict=True):
        np.testing.assert_allclose(leaf, like, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"jacobian": "half"}, "newton.jacobian=half"),
        ({"on_failure": "guess"}, "newton.on_failure=guess"),
        ({"damping": 1.5}, "newton.damping=1.5: must be from 0 to 1"),
        ({"max_iterations": 0}, "newton.max_iterations=0: must be at least 1"),
        ({"tolerance": 0.0}, "newton.tolerance=0.0: must be above 0"),
    ],
)
def test_bad_options_are_named(options, line):
    cell = rnn(3, 4)
    params = quick_jit(cell.init)(jax.random.key(0))
    with pytest.raises(InputError, match=line):
        unroll(cell, params, jnp.zeros((5, 3)), method="newton", newton=Newton(**options))


def test_neither_segments_nor_complex_carries():
    cell = rnn(3, 4)
    params = quick_jit(cell.init)(jax.random.key(0))
    with pytest.raises(InputError, match="segment=2: method=newton takes a sequence whole"):
        unroll(cell, params, jnp.zeros((5, 3)), method="newton", segment=2)
    cell = lru(3, 4)
    params = quick_jit(cell.init)(jax.random.key(0))
    with pytest.raises(InputError, match="the carry is complex64: must be real"):
        unroll(cell, params, jnp.zeros((5, 3)), method="newton")


def test_what_converged_passes():
    require_converged(Convergence(jnp.array([3, 4]), jnp.zeros(2), jnp.array([True, True])))
