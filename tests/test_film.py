"""Film: a label for every frame, read off by a plain loop; what counts, and what a label needs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampling import assert_uniform

from lstm_jax.errors import BrokenClauseError, InputError
from lstm_jax.tasks import film
from lstm_jax.tasks.base import counted
from lstm_jax.tasks.contract import CLAUSES, Case

pytestmark = pytest.mark.xdist_group("film")  # shares what is compiled or made once

COUNT = 3000
CASES = [(5, {}), (20, {"events": 8}), (9, {"people": 3}), (6, {"people": 1, "length": 40})]
EVENTS = 4  # by default
cases = pytest.mark.parametrize(("gap", "options"), CASES)


@functools.cache
def _drawn(gap, options):
    keys = jax.random.split(jax.random.key(4), COUNT)
    sample = jax.vmap(film(gap, **dict(options)).sample, in_axes=(None, 0))
    return jax.tree.map(np.asarray, jax.jit(sample)((), keys))


def drawn(gap, options):
    return _drawn(gap, tuple(options.items()))


def watch(frames, events):
    """Label and lag of every frame, of one who keeps the scene's event and the people's plans."""
    scene, plans, seen = None, {}, []
    for step, frame in enumerate(frames):
        event = [int(place) for place in np.flatnonzero(frame[:events] > 0.5)]
        person = [int(place) for place in np.flatnonzero(frame[events:] > 0.5)]
        assert len(event) < 2
        assert len(person) < 2
        if event and person:
            assert person[0] not in plans
            plans[person[0]] = (event[0], step)
        elif event:
            scene = (event[0], step)
        kept = plans[person[0]] if person else scene
        seen.append((kept[0], -1 if event else step - kept[1]))
    return np.array(seen).T


@cases
def test_every_frame_is_labelled_as_one_who_watches_does(gap, options):
    example, events = drawn(gap, options), options.get("events", EVENTS)
    for index in range(200):
        targets, lag = watch(example.inputs[index], events)
        np.testing.assert_array_equal(targets, example.targets[index])
        np.testing.assert_array_equal(lag, example.lag[index])
    steps = np.arange(example.inputs.shape[1])
    assert (example.use_times == steps).all()
    assert (abs(example.inputs - np.round(example.inputs)) <= 0.25).all()


def test_the_film_of_the_docstring():
    drawing = [line.split()[2:] for line in film.__doc__.splitlines() if " seen  " in line]
    target = next(line.split()[1:] for line in film.__doc__.splitlines() if "target  " in line)
    symbols = [["A", "B", "C", "D"], ["1"]]
    frames = np.concatenate(
        [np.array(row)[:, None] == own for row, own in zip(drawing, symbols, strict=True)], axis=1
    )
    task = film(5, people=1, lead_in=0)
    assert frames.shape == (task.length, task.input_size)
    answers = task.oracle(jnp.asarray(frames, jnp.float32))
    assert [symbols[0][answer] for answer in answers] == target


@cases
def test_long_lags_count_and_short_ones_do_not(gap, options):
    task, example, people = film(gap, **options), drawn(gap, options), options.get("people", 2)
    counts = np.asarray(counted(task, example)) > 0
    np.testing.assert_array_equal(counts, example.lag >= gap)
    assert (counts.sum(axis=1) == people).all()
    assert set(example.lag[counts]) == set(range(gap, gap + 4 * people - 1))
    short = example.lag[~counts & (example.lag >= 0)]
    assert short.min() == 1
    assert short.max() == 2 + people < gap
    # What counts is half of the loss, however long the film.
    np.testing.assert_allclose(example.weights.mean(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose((example.weights * counts).mean(axis=1), 0.5, rtol=1e-5)


@cases
def test_labels_are_drawn_evenly_in_each_kind_of_frame(gap, options):
    example, events = drawn(gap, options), options.get("events", EVENTS)
    kinds = [example.lag == -1, (example.lag >= 0) & (example.lag < gap), example.lag >= gap]
    for kind in kinds:
        # One frame an example: labels of one scene hang together.
        first = kind.argmax(axis=1)
        picked = np.take_along_axis(example.targets, first[:, None], axis=1)[kind.any(axis=1)]
        assert_uniform(picked, 0, events)
    assert film(gap, **options).chance == 1 / events
    assert film(gap, **options).blind_loss == pytest.approx(np.log(events))


def test_a_label_needs_its_own_frame_and_one_past_frame_alone():
    """All other frames go black. The contract cannot see this: every frame is a question there."""
    task = film(9)
    example = jax.tree.map(lambda leaf: leaf[:500], drawn(9, {}))
    oracle = jax.jit(jax.vmap(task.oracle))
    for use in range(task.length):
        kept = np.zeros(example.inputs.shape[:2], bool)
        kept[:, use] = True
        rows, info = np.arange(500), example.info_times[:, use, 0]
        kept[rows[info >= 0], info[info >= 0]] = True
        answers = np.asarray(oracle(example.inputs * kept[..., None]))
        np.testing.assert_array_equal(answers[:, use], example.targets[:, use])
        # Another event in that one frame is another label.
        turned = example.inputs.copy()
        needed = np.where(info >= 0, info, use)
        turned[rows, needed, :EVENTS] = np.roll(turned[rows, needed, :EVENTS], 1, axis=-1)
        changed = np.asarray(oracle(turned))[:, use]
        np.testing.assert_array_equal(changed, (example.targets[:, use] + 1) % EVENTS)


def test_people_plan_and_return_in_any_order():
    example = drawn(9, {})
    long = np.where(example.lag >= 9, example.info_times[..., 0], -1)
    plans = np.array([row[row >= 0] for row in long])
    share = (plans[:, 0] < plans[:, 1]).mean()
    assert share == pytest.approx(1 / 2, abs=4 * 0.5 / COUNT**0.5)


@pytest.mark.parametrize(("gap", "options"), [(5, {}), (4, {"people": 1, "lead_in": 0})])
def test_the_contract_holds_at_the_smallest_gap(gap, options):
    case = Case(gap, film(gap, **options), ())
    for clause in ("fields", "times", "lag", "gap", "position", "blind", "oracle", "splice"):
        CLAUSES[clause](case)


def told(example, distance):
    """Where the label is the first event, the feature of that is a little brighter, at a distance
    from the frame."""
    hint = (example.targets == 0).astype(jnp.float32)
    hint = jnp.where(example.lag >= 9, 0.2 * hint, 0)
    return example._replace(inputs=example.inputs.at[:, 0].add(jnp.roll(hint, distance)))


@pytest.mark.parametrize(
    ("distance", "where"),
    [(0, "at the use itself"), (-2, "2 steps before the use"), (1, "-1 steps before the use")],
)
def test_a_film_that_gives_labels_away_is_caught(distance, where):
    task = film(9, lead_in=2)
    leaking = task._replace(sample=lambda data, key: told(task.sample(data, key), distance))
    with pytest.raises(BrokenClauseError, match=f"feature 0 {where}"):
        CLAUSES["leak"](Case(9, leaking, ()))


@pytest.mark.parametrize(
    ("gap", "options", "words"),
    [
        (4, {}, "gap=4: must be a whole number, at least 5"),
        (6, {"people": 4}, "gap=6: must be a whole number, at least 7"),
        (9, {"people": 0}, "people=0"),
        (9, {"events": 1}, "events=1"),
        (9, {"lead_in": -1}, "lead_in=-1"),
        (9, {"length": 15}, "length=15: must be a whole number, at least 16"),
    ],
)
def test_what_cannot_be_is_named(gap, options, words):
    with pytest.raises(InputError, match=words):
        film(gap, **options)
