"""A cohort's program: determinism over cohorts and devices, freezing, vmap, real learning."""

import functools
from functools import partial

import jax
import numpy as np
import optax
import pytest
import scipy

from lstm_jax import evaluation
from lstm_jax.cells import CELLS
from lstm_jax.errors import InputError
from lstm_jax.optimizers import direction
from lstm_jax.sweep import Settings, make_sweep
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import EVALUATION_SIZES, evaluation_set
from lstm_jax.training import EVALUATION_BLOCK, assemble, make_program, padded_size
from lstm_jax.trial import Catalogue

pytestmark = pytest.mark.xdist_group("training")  # shares what is compiled or made once

CATALOGUE = Catalogue(CELLS, TASKS)
(TRIAL,) = make_sweep(
    CATALOGUE,
    task="recall:lead_in=3",
    cells=["lstm"],
    gaps=[4],
    seeds=[0],
    learning_rates=[1e-2],
    settings=Settings(hidden_size=16, batch_size=16),
)
ASSEMBLY = assemble(TRIAL, CATALOGUE)


@functools.cache  # programs are compiled once for all tests
def program_of(size, devices, inner):
    return make_program(
        ASSEMBLY,
        size,
        batch_size=TRIAL.batch_size,
        matmul_precision="float32",
        devices=jax.devices()[:devices],
        inner=inner,
    )


def trained(seeds, rates=None, *, until=40, devices=1, inner="map"):
    """Program, state and progress of trials after `until` updates (a number, or one a trial)."""
    program = program_of(padded_size(len(seeds), devices), devices, inner)
    size = padded_size(len(seeds), devices)

    def padded(values, dtype):
        return program.place(np.resize(np.asarray(values, dtype), size))

    seeds, rates = padded(seeds, np.int32), padded(rates or [1e-2], np.float32)
    return program, *program.advance(program.init(seeds), seeds, rates, padded(until, np.int32), ())


def row(tree, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def assert_equal(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


@pytest.mark.parametrize(("cohort", "devices"), [(3, 1), (5, 2), (3, 8), (17, 8)])
def test_a_trial_is_bit_for_bit_the_same_alone_and_in_any_cohort(cohort, devices):
    seeds = list(range(cohort))
    rates = [1e-2 / (1 + seed) for seed in seeds]
    together = trained(seeds, rates, devices=devices)[1:]
    last = cohort - 1
    alone = trained([last], [rates[last]])[1:]
    assert_equal(row(alone, 0), row(together, last))


def test_in_pieces_as_in_one():
    program, state, _ = trained([0, 1, 2], until=15)
    seeds = program.place(np.arange(3, dtype=np.int32))
    rates = program.place(np.full(3, 1e-2, np.float32))
    until = program.place(np.full(3, 40, np.int32))
    pieces, _ = program.advance(state, seeds, rates, until, ())
    assert_equal(trained([0, 1, 2])[1], pieces)


def test_an_ended_trial_is_frozen_and_stops_no_other():
    _, state, progress = trained([0, 1, 2], until=[40, 0, 10])
    assert_equal(row(state, 0), row(trained([0])[1], 0))
    assert_equal(row(state, 1), row(trained([1], until=0)[1], 0))
    assert_equal(row(state, 2), row(trained([2], until=10)[1], 0))
    assert np.isnan(progress.train_loss[1])
    assert np.isfinite(np.asarray(progress.train_loss)[[0, 2]]).all()


def test_a_trial_that_is_no_longer_finite_stops_no_other():
    _, state, progress = trained([0, 1, 2], [1e38, 1e-2, 1e-2])
    assert not np.isfinite(progress.train_loss[0])
    assert_equal(row(state, 1), row(trained([1])[1], 0))


def test_vmap_equals_map_to_tolerance_over_the_first_updates():
    mapped, side_by_side = (
        trained([0, 1, 2], until=5, inner=inner)[1] for inner in ("map", "vmap")
    )
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
        mapped.params,
        side_by_side.params,
    )


def test_seeds_and_rates_matter():
    _, state, _ = trained([0, 1, 0], [1e-2, 1e-2, 1e-3])
    kernels = np.asarray(state.params["readout_kernel"])
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


@pytest.mark.parametrize("inner", ["map", "vmap"])
def test_it_learns_the_task(inner):
    program, state, progress = trained([0, 1, 2], until=200, inner=inner)
    over = evaluation.blocks(evaluation_set(ASSEMBLY.task, (), "report"))
    scores = evaluation.score(program, state.params, np.ones(3, bool), over)
    assert (scores.accuracy > ASSEMBLY.task.solved_at).all()
    assert (scores.loss < 0.5 * ASSEMBLY.task.blind_loss).all()
    assert (np.asarray(progress.gradient_norm) > 0).all()


@pytest.mark.parametrize(
    ("spec", "peer"),
    [
        ("adam", optax.adam(0.1)),
        ("adam:b1=0.5:b2=0.9", optax.adam(0.1, b1=0.5, b2=0.9)),
        ("rmsprop", optax.rmsprop(0.1)),
        ("sgd", optax.sgd(0.1)),
        ("sgd:momentum=0.9", optax.sgd(0.1, momentum=0.9)),
    ],
)
@pytest.mark.parametrize(
    ("clip", "clipping"),
    [
        ("norm:0.5", optax.clip_by_global_norm(0.5)),
        ("value:0.01", optax.clip(0.01)),
        ("none", optax.identity()),
    ],
)
def test_optimizers_are_those_of_optax(spec, peer, clip, clipping):
    ours, theirs = direction(spec, clip), optax.chain(clipping, peer)
    gradients = [{"a": np.float32([3.0, -4.0])}, {"a": np.float32([0.1, 0.2])}]
    ours_state, theirs_state = ours.init(gradients[0]), theirs.init(gradients[0])
    with jax.numpy_dtype_promotion("standard"):
        for gradient in gradients:
            step, ours_state = ours.update(gradient, ours_state)
            expected, theirs_state = theirs.update(gradient, theirs_state)
            np.testing.assert_allclose(-0.1 * np.asarray(step["a"]), expected["a"], rtol=1e-6)


def test_guesses_are_kept_where_they_are_better():
    params = {"a": np.full(400, 5.0, np.float32), "b": np.full((4, 100), 5.0, np.float32)}

    def mean_square(params):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(params)) / 800

    guess = direction("guess:scale=2", "norm:1")
    state = guess.init(params)
    values = []
    for update in range(5):
        value = mean_square(params)
        step, state = guess.update(
            None, state, params,
            value=value, value_fn=mean_square, key=jax.random.key(update),
        )  # fmt: skip
        proposed = jax.tree.map(lambda leaf, by: leaf - by, params, step)
        if values:  # kept, or another draw that is better
            assert value <= values[-1]
        values.append(value)
        params = proposed
    assert values[0] == 25
    assert values[-1] == pytest.approx(4 / 3, rel=0.2)  # of U(-2, 2)
    drawn = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    assert scipy.stats.kstest(drawn, scipy.stats.uniform(-2, 4).cdf).pvalue > 1e-3


def test_weight_guessing_trains_as_any_other_optimizer():
    (trial,) = make_sweep(
        CATALOGUE,
        task="recall:lead_in=1:symbols=2",
        cells=["no_memory:width=2"],
        gaps=[1],
        seeds=[0],
        learning_rates=[1],
        settings=Settings(hidden_size=2, match="hidden", batch_size=64, optimizer="guess:scale=5"),
    )
    assembly = assemble(trial, CATALOGUE)
    program = make_program(
        assembly, 4, batch_size=64, matmul_precision="float32", devices=jax.devices()[:2]
    )

    def after(updates):
        seeds, rates = np.arange(4, dtype=np.int32), np.ones(4, np.float32)
        placed = program.place((seeds, rates, np.full(4, updates, np.int32)))
        state, _ = program.advance(program.init(placed[0]), *placed, ())
        over = evaluation.blocks(evaluation_set(assembly.task, (), "report"))
        return evaluation.score(program, state.params, np.ones(4, bool), over)

    assert (after(300).loss < after(0).loss).all()
    assert after(300).accuracy.mean() > 0.7  # chance is a half


@pytest.mark.parametrize(
    "clip", ["norm", "norm:0", "norm:x", "norm:inf", "value:nan", "clip:1", ""]
)
def test_bad_clips_are_named(clip):
    with pytest.raises(InputError, match="allowed are norm"):
        direction("adam", clip)


def test_few_blocks_wait_to_be_scored():
    """XLA:CPU takes 32 programs a device; two threads that hand it more wait for ever."""
    waiting, most = [], 0

    class Pending:
        def block_until_ready(self):
            waiting.remove(self)

    def evaluate(*_):
        nonlocal most
        waiting.append(Pending())
        most = max(most, len(waiting))
        return waiting[-1]

    one = [np.ones(1), np.ones(1), np.ones((1, 2)), np.ones((1, 2, 2))]
    program = program_of(1, 1, "map")._replace(
        evaluate=evaluate, fetch=lambda scores: [one] * len(scores)
    )
    over = evaluation.blocks(evaluation_set(ASSEMBLY.task, (), "monitor"))
    many = evaluation.Blocks(over.examples[:1] * 60, over.valid[:1] * 60)
    evaluation.score(program, None, np.ones(1, bool), many)
    assert 1 < most <= 10


def test_scores_skip_who_is_not_active_and_do_not_count_padding():
    program, state, _ = trained([0, 1, 2], until=0)
    examples = evaluation_set(ASSEMBLY.task, (), "monitor")
    assert len(examples.weights) == EVALUATION_SIZES["monitor"]
    few = jax.tree.map(lambda leaf: np.asarray(leaf[: EVALUATION_BLOCK // 2 + 3]), examples)
    over = evaluation.blocks(few)
    scores = evaluation.score(program, state.params, np.array([True, False, True]), over)
    assert np.isnan(scores.accuracy[1])
    predictions = jax.jit(ASSEMBLY.network.apply)(row(state.params, 0), few.inputs, few.use_times)
    predictions = np.asarray(predictions)[:, 0]
    targets = few.targets[:, 0]
    correct = predictions.argmax(axis=-1) == targets
    assert scores.accuracy[0] == pytest.approx(correct.mean(), abs=1e-9)
    losses = -scipy.special.log_softmax(predictions, axis=-1)[np.arange(len(targets)), targets]
    assert scores.loss[0] == pytest.approx(losses.mean(), rel=1e-5)
