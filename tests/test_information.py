"""Bits: against closed forms, and against the estimate that many classes deceive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import information
from lstm_jax.tasks import adding, recall
from lstm_jax.tasks.base import counted, evaluation_set

EXAMPLES = 2048


def told(task, predictions, targets):
    """Bits kept and asked, of `[examples, output]` predictions, as a sweep reads them."""
    sums = jax.vmap(lambda p, t: information.bits(task, p[None], t[None], jnp.ones(1)))(
        jnp.asarray(predictions, jnp.float32), jnp.asarray(targets)
    )
    sums = np.asarray(sums, np.float64)
    halves = np.stack([sums[::2].sum(axis=0), sums[1::2].sum(axis=0)])[None]
    ((kept, asked),) = information.read(halves, np.array([len(targets)]))
    return kept, asked


def plug_in(predictions, targets, classes):
    """Mutual information of answer and target in a table of counts, in bits."""
    joint = np.zeros((classes, classes))
    np.add.at(joint, (targets, predictions.argmax(axis=1)), 1 / len(targets))
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    inside = joint > 0
    return (joint[inside] * np.log2(joint[inside] / outer[inside])).sum()


@pytest.mark.parametrize("classes", [2, 8, 64])
def test_who_guesses_keeps_nothing_where_a_table_of_counts_finds_bits(classes):
    random = np.random.default_rng(0)
    found, counted_bits = [], []
    for _ in range(20):
        targets = random.integers(classes, size=EXAMPLES)
        guesses = random.normal(size=(EXAMPLES, classes))
        found.append(told(recall(5, symbols=classes), guesses, targets)[0])
        counted_bits.append(plug_in(guesses, targets, classes))
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) <= 4 * error + 1e-9
    assert np.mean(found) > -0.01
    if classes == 64:
        assert np.mean(counted_bits) > 1


@pytest.mark.parametrize("firmness", [0.25, 1, 4])
@pytest.mark.parametrize("right", [0.2, 0.6, 0.95])
def test_a_noisy_channel_keeps_its_capacity_however_firmly_it_speaks(right, firmness):
    """The symbol is right with some probability, else any other: bits in closed form."""
    classes, random = 8, np.random.default_rng(1)
    targets = random.integers(classes, size=40 * EXAMPLES)
    wrong = (targets + random.integers(1, classes, size=len(targets))) % classes
    answers = np.where(random.random(len(targets)) < right, targets, wrong)
    calibrated = np.where(
        np.arange(classes) == answers[:, None], np.log(right), np.log((1 - right) / (classes - 1))
    )
    kept, asked = told(recall(5), firmness * calibrated, targets)
    noise = -right * np.log2(right) - (1 - right) * np.log2((1 - right) / (classes - 1))
    assert asked == pytest.approx(3, abs=1e-5)
    assert kept == pytest.approx(3 - noise, abs=0.02)
    if firmness == 4 and right == 0.2:  # what it says itself would be worse than nothing
        own = information.FACTORS.tolist().index(1)
        sums = jax.vmap(
            lambda p, t: information.bits(recall(5), p[None], t[None], jnp.ones(1))
        )(jnp.asarray(firmness * calibrated, jnp.float32), jnp.asarray(targets))  # fmt: skip
        assert np.asarray(sums)[:, own].mean() < kept


def test_half_of_a_memory_is_counted_though_hardly_an_answer_is_right():
    """Who knows one bit of three is right on a quarter of the answers."""
    random = np.random.default_rng(2)
    targets = random.integers(8, size=EXAMPLES)
    same_half = np.arange(8) // 4 == (targets // 4)[:, None]
    kept, _ = told(recall(5), np.where(same_half, 0.0, -20.0), targets)
    assert kept == pytest.approx(1, abs=0.01)


def test_all_and_nothing_and_what_cannot_be_told():
    targets = np.arange(EXAMPLES) % 8
    sure = np.where(np.arange(8) == targets[:, None], 30.0, 0.0)
    assert told(recall(5), sure, targets)[0] == pytest.approx(3, abs=1e-4)
    assert told(recall(5), -sure, targets)[0] == 0  # surely wrong: better not to listen
    broken = told(recall(5), np.full((EXAMPLES, 8), np.nan), targets)
    assert np.isnan(broken).any()
    number = information.bits(adding(10), jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones(1))
    assert np.isnan(np.asarray(number)).all()


def test_answers_that_do_not_count_ask_for_nothing():
    task = recall(5)
    example = evaluation_set(task, (), "monitor")
    one = jax.tree.map(lambda leaf: leaf[0], example)
    weights = counted(task, one._replace(lag=jnp.full_like(one.lag, -1)))
    sums = information.bits(task, jnp.zeros((1, 8)), one.targets, weights)
    assert not np.asarray(sums).any()
