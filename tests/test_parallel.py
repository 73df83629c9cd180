"""Linear cells in parallel over time: equal to the scan, also at length, with resets and masks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import CELLS, lru, lstm, min_gru, mlstm
from lstm_jax.cells.linear import AFFINE, LOG_AFFINE, Affine, LogAffine, log_add
from lstm_jax.errors import InputError
from lstm_jax.parallel import affine_carries, fastest
from lstm_jax.programs import depends, quick_jit
from lstm_jax.unroll import LINEAR_METHODS, Rows, unroll, unroll_batch

BATCH, INPUT, HIDDEN, LONG = 2, 3, 8, 4096
LINEAR = {
    name: constructor(INPUT, HIDDEN)
    for name, constructor in CELLS.items()
    if constructor(INPUT, HIDDEN).linear
} | {
    f"{name}:candidate=log_space": CELLS[name](INPUT, HIDDEN, candidate="log_space")
    for name in ("min_gru", "min_lstm")
}


def test_every_cell_that_the_papers_run_in_parallel_is_here():
    assert {"min_gru", "min_lstm", "lru", "rg_lru", "s5", "mlstm"} <= set(LINEAR)


def grouped(names):
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"linear-{name}")) for name in names]


@cache
def long_sequence(name):
    """Parameters, inputs, resets and a mask of a long batch."""
    keys = jax.random.split(jax.random.key(1), 3)
    params = quick_jit(LINEAR[name].init)(jax.random.key(0))
    inputs = jax.random.normal(keys[0], (BATCH, LONG, INPUT))
    reset = jax.random.bernoulli(keys[1], 5 / LONG, (BATCH, LONG))
    mask = jax.random.bernoulli(keys[2], 0.9, (BATCH, LONG))
    return params, inputs, {"reset": reset, "mask": mask}


@cache
def run(name, method, *, flags, double=False):
    """Outputs over the long batch; in double precision where asked."""
    params, inputs, given = long_sequence(name)
    given = given if flags else {}

    def outputs(params, inputs):
        return unroll_batch(LINEAR[name], params, inputs, method=method, **given).outputs

    if not double:
        return np.asarray(quick_jit(outputs)(params, inputs))
    with jax.enable_x64(True):
        widened = jax.tree.map(lambda leaf: leaf.astype(np.float64), (params, inputs))
        return np.asarray(quick_jit(outputs)(*widened))


def distance(name, outputs, reference):
    """The largest difference, of the largest value. mLSTM divides by what may cancel: single
    outputs of the scan itself are off by more, so one difference in a thousand is left out."""
    differences = np.abs(outputs - reference)
    largest = np.quantile(differences, 0.999) if name == "mlstm" else differences.max()
    return largest / np.abs(reference).max()


@pytest.mark.parametrize("method", LINEAR_METHODS)
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param(name, flags, marks=pytest.mark.xdist_group(f"linear-{name}"))
        for name in LINEAR
        for flags in (False, True)
        # Without flags those alone that are another program then: fixed decays, chunks.
        if flags or name in ("lru", "s5", "mlstm", "min_gru")
    ],
)
def test_thousands_of_steps_equal_the_scan(name, method, flags):
    """To 1e-5 in float32: equal to that in float32, and to what is exact."""
    outputs = run(name, method, flags=flags)
    assert distance(name, outputs, run(name, "scan", flags=flags)) < 1e-5
    assert distance(name, outputs, run(name, "scan", flags=flags, double=True)) < 1e-5


@pytest.mark.parametrize("name", grouped([*LINEAR][:-1]))  # both in log space have one form
def test_pieces_carries_and_gradients_with_everything_at_once(name):
    """Segments that do not divide the length, a carry handed in, all carries asked for."""
    cell = LINEAR[name]
    params, inputs, flags = jax.tree.map(lambda leaf: leaf, long_sequence(name))
    inputs, flags = inputs[:, :23], {"reset": jnp.arange(23)[None] % 9 == 8, **flags}
    flags = {flag: jnp.broadcast_to(value[:, :23], (BATCH, 23)) for flag, value in flags.items()}
    weights = jax.random.normal(jax.random.key(4), (BATCH, 23, cell.output_size))

    def objective(params, inputs, *, method, segment, carries):
        start = unroll_batch(cell, params, inputs[:, ::-1], method="scan").carry
        unrolled = unroll_batch(
            cell, params, inputs, carry=start, method=method, segment=segment,
            return_carries=carries, **flags,
        )  # fmt: skip
        return (unrolled.outputs * weights).sum(), unrolled

    def both(**options):
        def program(params, inputs):
            return jax.value_and_grad(objective, (0, 1), has_aux=True)(params, inputs, **options)

        return quick_jit(program)(params, inputs)

    (_, scanned), by_scan = both(method="scan", segment=None, carries=True)
    cases = [("associative", None, True), ("chunked", 5, not cell.linear.chunk)]
    for method, segment, carries in cases:
        (_, unrolled), gradients = both(method=method, segment=segment, carries=carries)
        reference = scanned if carries else scanned._replace(carries=None)
        for leaf, like in zip(
            jax.tree.leaves((unrolled, gradients)),
            jax.tree.leaves((reference, by_scan)),
            strict=True,
        ):
            scale = max(1.0, float(jnp.abs(jnp.where(jnp.isfinite(like), like, 0)).max()))
            np.testing.assert_allclose(leaf, like, rtol=1e-4, atol=1e-5 * scale)


def test_trials_and_tokens_as_a_cohort_runs_them():
    """Under vmap over parameters, with rows of a table as inputs."""
    cell = lru(INPUT, HIDDEN)
    params = jax.vmap(cell.init)(jax.random.split(jax.random.key(0), 3))
    index = jax.random.randint(jax.random.key(1), (BATCH, 300), 0, INPUT)

    def total(params, method):
        rows = Rows(jnp.eye(INPUT), index)
        return (unroll_batch(cell, params, rows, method=method).outputs ** 2).sum()

    def gradients(method):
        return quick_jit(jax.vmap(jax.grad(lambda params: total(params, method))))(params)

    scanned = gradients("scan")
    for method in LINEAR_METHODS:
        for leaf, like in zip(gradients(method), scanned, strict=True):
            scale = float(jnp.abs(like).max())
            np.testing.assert_allclose(leaf, like, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("associative", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("fixed", [False, True])
def test_affine_carries_and_their_gradient(x64, associative, dtype, fixed):
    """By finite differences; the decay of each step, or one for all."""
    random = np.random.default_rng(0)

    def drawn(*shape):
        values = random.normal(size=shape)
        return values + 1j * random.normal(size=shape) if dtype == np.complex128 else values

    decay = 0.5 * drawn(*(() if fixed else (6, 2)), 4)
    driven, carry, weights = drawn(6, 2, 4), drawn(2, 4), drawn(6, 2, 4)
    expected, held = [], carry
    for time in range(6):
        held = (decay if fixed else decay[time]) * held + driven[time]
        expected.append(held)

    def total(*arguments):
        carries = affine_carries(associative, *arguments)
        return jnp.real(carries * weights).sum(), carries

    arguments = tuple(map(jnp.asarray, (decay, driven, carry)))
    total = quick_jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))
    (_, carries), gradients = total(*arguments)
    np.testing.assert_allclose(carries, expected)
    for at, gradient in enumerate(gradients):
        direction = drawn(*gradient.shape)
        claimed = np.real(gradient * direction).sum()
        moved = [
            total(
                *(leaf + step * direction if at == i else leaf for i, leaf in enumerate(arguments))
            )
            for step in (1e-6, -1e-6)
        ]
        (ahead, _), _ = moved[0]
        (behind, _), _ = moved[1]
        np.testing.assert_allclose((ahead - behind) / 2e-6, claimed, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("algebra", "element"),
    [
        (AFFINE, lambda random: Affine(*random.normal(size=(2, 3)))),
        (LOG_AFFINE, lambda random: LogAffine(*random.normal(size=(2, 3)))),
        (mlstm(2, 4, heads=1).linear.algebra, None),
    ],
    ids=["affine", "log-affine", "stabilized"],
)
def test_algebras(x64, algebra, element):
    """Composition is associative, has an identity, and forgets what stands before a constant."""
    random = np.random.default_rng(0)
    if element is None:
        cell = mlstm(2, 4, heads=1)
        weights = cell.prepare(cell.init(jax.random.key(0)))

        def element(random):
            projected = cell.project(weights, jnp.asarray(random.normal(size=2)), None)
            return cell.linear.element(weights, projected)

    def same(one, other):
        for leaf, like in zip(*map(jax.tree.leaves, map(algebra.value, (one, other))), strict=True):
            np.testing.assert_allclose(leaf, like, atol=1e-12)

    first, second, third = (jax.tree.map(jnp.asarray, element(random)) for _ in range(3))
    combine = algebra.combine
    same(combine(combine(first, second), third), combine(first, combine(second, third)))
    same(combine(first, algebra.identity(first)), first)
    same(combine(algebra.identity(first), first), first)
    start = algebra.constant(algebra.value(second))
    same(start, second)
    same(combine(first, start), second)


def test_log_add_where_both_are_nothing():
    nothing = jnp.float32(-jnp.inf)
    value, gradients = jax.value_and_grad(log_add, (0, 1))(nothing, nothing)
    assert value == -np.inf
    assert np.isfinite(gradients).all()
    np.testing.assert_allclose(log_add(jnp.float32(2), jnp.float32(1)), np.logaddexp(2, 1))
    np.testing.assert_allclose(log_add(nothing, jnp.float32(1)), 1)


def test_log_space_holds_what_is_too_small_for_a_float():
    """Candidates of e^-200: the plain form underflows to zero, log h does not."""
    params = quick_jit(min_gru(1, 2).init)(jax.random.key(0))
    params = params._replace(bias=jnp.array([0.0, 0.0, -200.0, -200.0]))
    inputs = jnp.zeros((9, 1))
    plain = unroll(min_gru(1, 2), params, inputs).carry.hidden
    held = unroll(min_gru(1, 2, candidate="log_space"), params, inputs).carry.log_hidden
    assert not plain.any()
    np.testing.assert_allclose(held, -200 + np.log(1 - 0.5**9), rtol=1e-6)


def test_what_depends_on_the_inputs_is_seen():
    eigenvalues = jnp.ones(3)
    found = depends(lambda x: (eigenvalues * 2, eigenvalues * x), jax.ShapeDtypeStruct((3,), float))
    assert found == (False, True)


def test_what_is_not_linear_says_so():
    cell = lstm(INPUT, HIDDEN)
    params = quick_jit(cell.init)(jax.random.key(0))
    for method in LINEAR_METHODS:
        with pytest.raises(InputError, match=f"method={method}: the cell is not linear"):
            unroll(cell, params, jnp.zeros((4, INPUT)), method=method)


def test_the_fastest_is_chosen_by_cell_and_length():
    assert fastest(None, 10**6) == "deferred"
    assert fastest(LINEAR["lru"].linear, 100) == "deferred"
    assert fastest(LINEAR["lru"].linear, 10**5) == "chunked"
    assert fastest(LINEAR["mlstm"].linear, 100) == "chunked"
