"""The classic tasks: layouts as their sources have them, floors as literature computes them.

Published generators are transcribed into NumPy here, apart from the tasks.
"""

import functools

import jax
import numpy as np
import pytest
from sampling import assert_uniform
from scipy import stats

from lstm_jax.errors import InputError
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import evaluation_set

pytestmark = pytest.mark.xdist_group("classic_tasks")  # shares what is compiled or made once

COUNT = 4096


@functools.cache
def draw(name, gap, options=()):
    keys = jax.random.split(jax.random.key(3), COUNT)
    sample = TASKS[name](gap, **dict(options)).sample
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sample, in_axes=(None, 0)))((), keys))


def drawn(name, gap, **options):
    return draw(name, gap, tuple(options.items()))


# Floors: what who knows nothing scores, as computed in the literature's terms.

COPY_FLOORS = {100: 0.17329, 200: 0.09452, 300: 0.06498, 500: 0.03999, 1000: 0.02039, 2000: 0.01029}


@pytest.mark.parametrize("layout", ["urnn", "exprnn", "tcn"])
@pytest.mark.parametrize("delay", COPY_FLOORS)
def test_floor_of_copy(delay, layout):
    task = TASKS["copy"](delay + 10, layout=layout, scored="all")
    assert task.length == delay + 20
    assert task.blind_loss == pytest.approx(10 * np.log(8) / (delay + 20), rel=1e-9)
    assert task.blind_loss == pytest.approx(COPY_FLOORS[delay], abs=5e-6)
    assert TASKS["copy"](delay + 10).blind_loss == pytest.approx(2.0794, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "options", "loss", "chance"),
    [
        ("adding", {}, 0.166667, 0.0784),
        ("multiplication", {}, 0.048611, 0.2821),
        ("latch", {}, 0.6931, 1 / 2),
        ("two_sequence", {}, 0.6931, 1 / 2),
        ("two_sequence", {"noise": "targets"}, 0.09, 1 / 2),
        ("temporal_order", {}, 1.3863, 1 / 4),
        ("temporal_order", {"items": 3}, 2.0794, 1 / 8),
        ("recall", {"symbols": 2}, 0.6931, 1 / 2),
    ],
)
def test_floors(name, options, loss, chance):
    task = TASKS[name](20, **options)
    assert task.blind_loss == pytest.approx(loss, abs=5e-5)
    assert task.chance == pytest.approx(chance, abs=5e-5)


def test_who_knows_one_of_two_numbers():
    """1/12 in the literature's terms; 0.08 of the examples within 0.04."""
    example = drawn("adding", 20)
    values, _ = example.inputs[..., 0], example.inputs[..., 1]
    known = np.take_along_axis(values, example.info_times[:, 0, :1], axis=1)[:, 0] + 0.5
    errors = known - example.targets[:, 0, 0]
    assert (errors**2).mean() == pytest.approx(
        1 / 12, abs=4 * float((errors**2).std()) / COUNT**0.5
    )
    assert (abs(errors) < 0.04).mean() == pytest.approx(0.08, abs=4 * (0.08 / COUNT) ** 0.5)


# Copy memory.


def published_copy(layout, delay, shown):
    """Inputs and targets of one sequence, as each generator writes them."""
    items = len(shown)
    if layout == "urnn":  # amarshah/complex_RNN, memory_problem.py
        inputs = [*shown, *[0] * (delay - 1), 9, *[0] * items]
        targets = [*[0] * (delay + items), *shown]
    elif layout == "exprnn":  # lezcano/expRNN, 1_copying.py
        inputs = [*shown, *[0] * delay, 9, *[0] * (items - 1)]
        targets = [*[0] * (delay + items), *shown]
    else:  # locuslab/TCN, copy_memory/utils.py
        inputs = [*shown, *[0] * (delay - 1), *[9] * (items + 1)]
        targets = [*[0] * (delay + items), *shown]
    return inputs, targets


@pytest.mark.parametrize("layout", ["urnn", "exprnn", "tcn"])
@pytest.mark.parametrize("delay", [1, 7, 30])
def test_copy_is_that_of_the_published_generators(layout, delay):
    example = drawn("copy", delay + 10, layout=layout, scored="all")
    for inputs, targets in zip(example.inputs[:50], example.targets[:50], strict=True):
        assert published_copy(layout, delay, inputs[:10]) == (list(inputs), list(targets))
    assert_uniform(example.inputs[:, :10], 1, 9)
    recalled = drawn("copy", delay + 10, layout=layout)
    np.testing.assert_array_equal(recalled.inputs, example.inputs)
    np.testing.assert_array_equal(recalled.targets + 1, example.targets[:, -10:])
    assert (recalled.lag == delay + 10).all()


def test_variable_copy_draws_its_blanks():
    example = drawn("copy", 40, layout="variable", items=5)
    markers = example.inputs == 9
    assert (markers.sum(axis=1) == 1).all()
    assert_uniform(markers.argmax(axis=1) - 5, 1, 30)  # T is 30
    assert (example.use_times[:, 0] == markers.argmax(axis=1) + 1).all()
    assert example.lag.min() == TASKS["copy"](40, layout="variable", items=5).gap == 7


def test_blind_loss_of_variable_copy_is_the_entropy_of_its_clock():
    task = TASKS["copy"](30, layout="variable", items=3, symbols=4, scored="all")
    example = drawn("copy", 30, layout="variable", items=3, symbols=4, scored="all")
    likely = np.exp(task.loss_blind)
    np.testing.assert_allclose(likely.sum(axis=1), 1, atol=1e-5)
    losses = -np.log(np.take_along_axis(likely, example.targets.T, axis=1)).mean(axis=0)
    error = float(losses.std()) / COUNT**0.5
    assert losses.mean() == pytest.approx(task.blind_loss, abs=4 * error)
    frequencies = np.stack([(example.targets == symbol).mean(axis=0) for symbol in range(5)], 1)
    np.testing.assert_allclose(frequencies, likely, atol=0.05)


@pytest.mark.parametrize(("bits", "items", "symbols"), [("5", 5, 2), ("20", 10, 4)])
def test_memorization_keeps_its_bits(bits, items, symbols):
    task = TASKS["memorization"](30, bits=bits)
    assert items * np.log2(symbols) == int(bits)
    assert_uniform(drawn("memorization", 30, bits=bits).targets, 0, symbols)
    assert task.chance == 1 / symbols


# Selective copy.


def test_items_of_selective_copy_stand_anywhere_in_order():
    example = drawn("selective_copy", 12)
    times = example.info_times[..., 0]
    assert (np.diff(times, axis=1) > 0).all()
    assert_uniform(times, 0, 16)
    for inputs, target in zip(example.inputs[:50], example.targets[:50], strict=True):
        shown = inputs[(inputs > 0) & (inputs < 15)]
        assert list(shown - 1) == list(target)
    assert example.lag.min() == 12


def test_selective_copy_of_mamba():
    example = drawn("selective_copy", 40, layout="mamba", items=6)
    assert_uniform(example.info_times, 0, 34)
    assert (example.use_times == np.arange(34, 40)).all()
    assert TASKS["selective_copy"](40, layout="mamba", items=6).gap == 6


# Temporal order.


@pytest.mark.parametrize(
    ("items", "gap", "places"),
    [
        (2, 40, [(10, 20), (50, 60)]),
        (3, 24, [(10, 20), (33, 43), (66, 76)]),
    ],
)
def test_temporal_order_of_1997(items, gap, places):
    """T = 100; their steps count from 1."""
    example = drawn("temporal_order", gap, items=items)
    for index, (begin, end) in enumerate(places):
        assert_uniform(example.info_times[:, 0, index] + 1, begin, end + 1)
    assert_uniform(example.use_times + 1, 100, 111)
    assert (example.inputs[:, 0] == 6).all()
    assert (np.take_along_axis(example.inputs, example.use_times, axis=1) == 7).all()
    assert ((example.inputs < 2).sum(axis=1) == items).all()
    between = example.inputs[(example.inputs >= 2) & (example.inputs < 6)]
    assert_uniform(between, 2, 6)
    assert_uniform(example.targets, 0, 2**items)


@pytest.mark.parametrize(
    ("items", "parts"), [(2, [(0.1, 0.2), (0.5, 0.6)]), (3, [(0.1, 0.2), (0.3, 0.4), (0.6, 0.7)])]
)
def test_temporal_order_of_pascanu(items, parts):
    """pascanur/trainingRNNs: randint(int(begin L), int(end L)), end excluded."""
    example = drawn("temporal_order", 90, items=items, layout="pascanu")
    for index, (begin, end) in enumerate(parts):
        assert_uniform(example.info_times[:, 0, index], int(begin * 90), int(end * 90))
    assert (example.use_times == 89).all()
    assert example.inputs.max() == 5
    binary = sum(
        2 ** (items - 1 - index)
        * np.take_along_axis(example.inputs, example.info_times[:, 0, index : index + 1], axis=1)
        for index in range(items)
    )
    np.testing.assert_array_equal(binary, example.targets)


@pytest.mark.parametrize("gap", [3, 4, 5, 7, 11, 16])
@pytest.mark.parametrize("items", [2, 3])
def test_temporal_order_at_small_gaps(gap, items):
    example = drawn("temporal_order", gap, items=items)
    assert example.lag.min() == gap
    assert (np.diff(example.info_times[:, 0], axis=1) > 0).all()
    assert (example.info_times > 0).all()


# Two sequences, long lags.


def test_two_sequence_of_1997():
    example = drawn("two_sequence", 97)
    assert_uniform(example.use_times + 1, 100, 111)
    signs = np.where(example.targets == 1, 1, -1)
    np.testing.assert_array_equal(example.inputs[:, :3, 0], np.repeat(signs, 3, axis=1))
    noise = example.inputs[:, 3:100, 0]
    assert noise.var() == pytest.approx(0.2, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.005)
    asked = np.take_along_axis(example.inputs[..., 1], example.use_times, axis=1)
    assert (asked == 1).all()
    assert (example.inputs[..., 1].sum(axis=1) == 1).all()


@pytest.mark.parametrize(("onset", "wrong"), [(1, 0.01267), (3, 5.4e-5)])
def test_ceiling_of_noisy_two_sequence(onset, wrong):
    task = TASKS["two_sequence"](20, onset=onset, noise="everywhere")
    assert 1 - task.ceiling == pytest.approx(wrong, rel=0.01)
    values = drawn("two_sequence", 20, onset=onset, noise="everywhere").inputs[:, :onset, 0]
    assert abs(values).var() > 0
    assert (values - np.sign(values)).mean() == pytest.approx(0, abs=0.03)


def test_noisy_targets_of_1997():
    """Class 1 starts with 1 and is to give 0.2; noise of variance 0.1 on targets, none on the first
    values; evaluation sets have the expectations alone."""
    task = TASKS["two_sequence"](97, noise="targets")
    example = drawn("two_sequence", 97, noise="targets")
    first = example.inputs[:, :3, 0]
    assert set(np.unique(first)) == {-1, 1}
    assert (first == first[:, :1]).all()
    expected = np.where(first[:, 0] == 1, 0.2, 0.8)
    noise = example.targets[:, 0, 0] - expected
    assert noise.var() == pytest.approx(0.1, rel=4 * (2 / COUNT) ** 0.5)
    assert stats.kstest(noise / 0.1**0.5, "norm").pvalue > 1e-3
    # Nothing that is seen tells the noise.
    last = np.take_along_axis(example.inputs[..., 0], example.use_times - 1, axis=1)[:, 0]
    assert abs(np.corrcoef(noise, last)[0, 1]) < 4 / COUNT**0.5
    assert abs(np.corrcoef(noise, expected)[0, 1]) < 4 / COUNT**0.5
    report = evaluation_set(task, (), "report")
    np.testing.assert_allclose(
        report.targets[:, 0, 0], np.where(report.inputs[:, 0, 0] == 1, 0.2, 0.8), rtol=1e-6
    )
    for answer, right in [(0.12, True), (0.29, True), (0.31, False), (0.09, False), (0.8, False)]:
        assert bool(task.correct(np.float32([answer]), np.float32([0.2]))) == right


def test_losses_of_noisy_targets_in_training():
    """0.19 for who answers 0.5 always; 0.1 for who gives the expectation, who cannot do better."""
    task = TASKS["two_sequence"](20, noise="targets")
    example = drawn("two_sequence", 20, noise="targets")
    expected = np.asarray(jax.vmap(task.oracle)(example.inputs))
    for answers, loss in [(np.full_like(expected, 0.5), 0.19), (expected, 0.1)]:
        losses = np.square(answers - example.targets)
        assert losses.mean() == pytest.approx(loss, abs=4 * float(losses.std()) / COUNT**0.5)


def test_latch_is_as_long_as_its_gap():
    example = drawn("latch", 30, onset=2)
    assert example.inputs.shape == (COUNT, 32, 2)
    assert (example.use_times == 31).all()
    assert (example.lag == 30).all()


def test_long_lag_2c_of_1997():
    example = drawn("long_lag", 51)  # q is 50
    between = example.use_times[:, 0] - 2
    assert_uniform(between, 50, 56)
    assert (example.inputs[:, 0] == 52).all()
    assert (np.take_along_axis(example.inputs, example.use_times, axis=1) == 53).all()
    assert_uniform(example.inputs[:, 2:52], 2, 52)
    np.testing.assert_array_equal(example.inputs[:, 1], example.targets[:, 0])


def test_long_lag_2a_has_two_sequences():
    example = drawn("long_lag", 9, layout="regular")
    found = np.unique(example.inputs, axis=0)
    np.testing.assert_array_equal(found, [[0, *range(2, 11)], [1, *range(2, 11)]])
    assert (example.use_times == 9).all()


# Reber's grammar.

ARROWS = {
    "1": "T2 P3", "2": "S2 X4", "3": "T3 V5", "4": "X3 S6", "5": "P4 V6", "6": "E.",
}  # fmt: skip


def is_reber(word):
    """Whether a string is of Reber's grammar, by its arrows alone."""
    if word[0] != "B":
        return False
    states = {"1"}
    for symbol in word[1:]:
        states = {
            arrow[1] for state in states if state != "." for arrow in ARROWS[state].split()
            if arrow[0] == symbol
        }  # fmt: skip
    return "." in states


@pytest.mark.parametrize(("gap", "spread"), [(5, 0), (6, 0), (12, 0), (5, 20)])
def test_inner_strings_are_of_the_grammar(gap, spread):
    example = drawn("reber", gap, spread=spread)
    lengths = example.lag[:, 0]
    for inputs, length in zip(example.inputs[:300], lengths, strict=False):
        word = "".join("BTPSXVE"[symbol] for symbol in inputs)
        assert is_reber(word[2 : 2 + length]), word
        assert word[0] == "B"
        assert word[1] in "TP"
    assert lengths.min() == gap
    assert not is_reber("BTXSEE")


def walk(random):
    """One string of the grammar, arrow by arrow."""
    state, word = "1", "B"
    while state != ".":
        arrows = ARROWS[state].split()
        symbol, state = arrows[random.integers(len(arrows))]
        word += symbol
    return word


def test_free_strings_are_as_likely_as_a_walk_makes_them():
    random = np.random.default_rng(0)
    words = [walk(random) for _ in range(COUNT)]
    walked = np.array([len(word) for word in words])
    lengths = drawn("reber", 5, spread=60).lag[:, 0]
    table = [np.bincount(np.minimum(values, 16), minlength=17)[5:] for values in (walked, lengths)]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    # Of one length too: which arrows are taken.
    example = drawn("reber", 7)
    ours = ["".join("BTPSXVE"[symbol] for symbol in row[2:9]) for row in example.inputs]
    many = [word for word in (walk(random) for _ in range(8 * COUNT)) if len(word) == 7]
    kinds = sorted(set(many))
    assert set(ours) == set(kinds)
    table = [[group.count(kind) for kind in kinds] for group in (ours, many)]
    assert stats.chi2_contingency(table).pvalue > 1e-3


# Associative recall.


def test_mqar_asks_every_key_once():
    example = drawn("mqar", 10)
    assert (example.use_times == np.arange(17, 21)).all()
    for inputs, target in zip(example.inputs[:100], example.targets[:100], strict=True):
        pairs = dict(zip(inputs[0:8:2], inputs[1:8:2] - 8, strict=True))
        assert len(pairs) == 4
        assert [pairs[key] for key in inputs[17:21]] == list(target)
    assert example.lag.min() == 10
    order = example.info_times[..., 0] // 2
    assert stats.chisquare(np.unique(order, axis=0, return_counts=True)[1]).pvalue > 1e-3


def zoology_times(random, length, pairs):
    """HazyResearch/zoology, multiquery_ar: step of each key's query, in the order of the pairs."""
    space = (length - 2 * pairs) // 2
    likely = 0.01 * np.arange(1, space + 1) ** (0.01 - 1.0)
    gaps = random.choice(space, size=pairs, replace=False, p=likely / likely.sum())
    return 2 * pairs + 2 * gaps


def test_mqar_places_its_queries_as_zoology_does():
    example = drawn("mqar", 64, layout="zoology", symbols=16)
    random = np.random.default_rng(1)
    theirs = np.array([zoology_times(random, 64, 4) for _ in range(COUNT)])
    pair_of = example.info_times[..., 0] // 2
    ours = np.take_along_axis(example.use_times, np.argsort(pair_of, axis=1), axis=1)
    assert ours[:, 0].mean() < ours[:, 3].mean() - 1  # earlier keys are asked for sooner
    for pair in range(4):
        table = [np.bincount(times[:, pair] // 2, minlength=32) for times in (theirs, ours)]
        table = np.array(table)[:, np.sum(table, axis=0) > 20]
        assert stats.chi2_contingency(table).pvalue > 1e-3
    queried = np.take_along_axis(example.inputs, example.use_times, axis=1)
    keys = np.take_along_axis(example.inputs, example.info_times[..., 0], axis=1)
    np.testing.assert_array_equal(queried, keys)
    # Our own: keys do not come twice but where they are asked for.
    assert ((example.inputs < 16).sum(axis=1) == 8).all()


def test_induction_asks_what_followed():
    example = drawn("induction", 9)
    special = example.inputs == 15
    assert (special.sum(axis=1) == 2).all()
    times = special.argmax(axis=1)
    assert_uniform(times, 0, 17)
    said = np.take_along_axis(example.inputs, times[:, None] + 1, axis=1)
    np.testing.assert_array_equal(said, example.targets)
    anywhere = drawn("induction", 64, layout="mamba")
    assert_uniform(anywhere.info_times[:, 0, 0], 0, 62)
    assert (anywhere.use_times == 63).all()


def test_half_of_the_tests_match():
    example = drawn("delayed_match", 6)
    shown = np.take_along_axis(example.inputs, example.info_times[:, 0], axis=1)
    tested = np.take_along_axis(example.inputs, example.use_times, axis=1) - 8
    np.testing.assert_array_equal(shown == tested, example.targets == 1)
    assert_uniform(example.targets, 0, 2)
    other = ((tested - shown) % 8)[example.targets == 0]
    assert_uniform(other, 1, 8)


def test_agreement_is_with_the_latest_subject():
    example = drawn("agreement", 7, subjects=3)
    subjects, pronoun = example.inputs < 16, 40
    for row in range(200):
        inputs, form, found = example.inputs[row], None, []
        for symbol in inputs:
            if symbol < 16:
                form = symbol % 4
            elif symbol == pronoun:
                found.append(form)
            elif symbol == pronoun + 1:
                found.append(4 + form // 2)
        assert found == list(example.targets[row])
    assert (subjects.sum(axis=1) == 3).all()
    assert (example.lag[:, ::2] == 7).all()
    assert_uniform(example.lag[:, 1::2], 8, 12)
    assert_uniform(example.targets[:, ::2], 0, 4)
    # A subject says nothing of the next one.
    table = np.histogram2d(example.targets[:, 0], example.targets[:, 2], bins=4)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "gap", "options", "words"),
    [
        ("copy", 10, {}, "gap=10: must be a whole number, at least 11"),
        ("copy", 20, {"layout": "lstm"}, "layout=lstm: allowed are urnn, exprnn, tcn, variable"),
        ("copy", 20, {"scored": "some"}, "scored=some: allowed are recall, all"),
        ("copy", 21, {"layout": "variable"}, "layout=variable: length=21"),
        ("copy", 20, {"symbols": 1}, "symbols=1"),
        ("memorization", 20, {"bits": "7"}, "bits=7: allowed are 5, 20"),
        ("selective_copy", 3, {}, "gap=3: must be a whole number, at least 4"),
        ("temporal_order", 20, {"items": 4}, "items=4: allowed are 2, 3"),
        ("temporal_order", 19, {"layout": "pascanu"}, "layout=pascanu: length=19"),
        ("two_sequence", 5, {"noise": "none"}, "noise=none: allowed are distractors, everywhere, "),
        ("two_sequence", 5, {"onset": 0}, "onset=0"),
        ("latch", 5, {"onset": 0}, "onset=0"),
        ("long_lag", 5, {"layout": "2b"}, "layout=2b: allowed are regular, random"),
        ("reber", 4, {}, "gap=4: must be a whole number, at least 5"),
        ("mqar", 5, {"pairs": 9}, "symbols=8: must be a whole number, at least 9"),
        ("mqar", 15, {"layout": "zoology"}, "layout=zoology: length=15"),
        ("induction", 3, {"layout": "mamba"}, "layout=mamba: length=3"),
        ("delayed_match", 5, {"lead_in": -1}, "lead_in=-1"),
        ("parity", 1, {}, "length=1"),
        ("agreement", 5, {"subjects": 0}, "subjects=0"),
    ],
)
def test_options_outside_what_is_named(name, gap, options, words):
    with pytest.raises(InputError) as caught:
        TASKS[name](gap, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
