"""Stateful training: segments that hand the carry over equal one long sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import CELLS, lstm, min_gru, slstm
from lstm_jax.errors import InputError
from lstm_jax.layers import attention, bidirectional, layer
from lstm_jax.network import functional
from lstm_jax.optimizers import direction
from lstm_jax.programs import quick_jit
from lstm_jax.stateful import Segments, bits_per_symbol, cut, symbol_loss, trainer

SYMBOLS, HIDDEN, BATCH = 4, 5, 2
TEXT = np.random.default_rng(0).integers(SYMBOLS, size=61)


def network_of(*cells):
    return functional(
        [layer(cell) for cell in cells], kind="tokens", input_size=SYMBOLS, output_size=SYMBOLS
    )


NETWORK = network_of(lstm(SYMBOLS, HIDDEN), min_gru(HIDDEN, HIDDEN))
PARAMS = quick_jit(NETWORK.init)(jax.random.key(0))


def in_segments(network, params, inputs, lengths, **options):
    """Predictions of segments of these lengths, one after another, and the last carries."""
    carries, predictions, at = network.start(params, len(inputs)), [], 0
    for length in lengths:
        own = {name: flags[:, at : at + length] for name, flags in options.items()}
        found, carries = network.resume(params, inputs[:, at : at + length], carries, **own)
        predictions.append(found)
        at += length
    return jnp.concatenate(predictions, axis=1), carries


@pytest.mark.parametrize("name", ["lstm", "mlstm", "lru", "clockwork_rnn"])
def test_segments_equal_one_long_sequence(name):
    network = network_of(CELLS[name](SYMBOLS, 8))
    params = quick_jit(network.init)(jax.random.key(0))
    inputs = jnp.asarray(TEXT[:24].reshape(BATCH, 12))
    times = jnp.broadcast_to(jnp.arange(12), (BATCH, 12))

    @quick_jit
    def both(params):
        whole = network.apply(params, inputs, times)
        return whole, in_segments(network, params, inputs, (5, 7))[0]

    whole, found = both(params)
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_resets_begin_anew():
    inputs = jnp.asarray(TEXT[:24].reshape(BATCH, 12))
    reset = jnp.zeros((BATCH, 12), bool).at[:, 5].set(True)
    found, _ = quick_jit(lambda params: in_segments(NETWORK, params, inputs, (4, 8), reset=reset))(
        PARAMS
    )
    anew, _ = quick_jit(lambda params: in_segments(NETWORK, params, inputs[:, 5:], (7,)))(PARAMS)
    np.testing.assert_allclose(found[:, 5:], anew, atol=1e-6)


def test_a_text_is_cut_into_streams_and_segments():
    """Every step of a stream once, in order, its target the symbol that comes next."""
    segments = cut(np.arange(24), batch=2, segment=3, begins=np.arange(24) % 5 == 0)
    assert segments.inputs.shape == (3, 2, 3)
    streams = np.asarray(segments.inputs).swapaxes(0, 1).reshape(2, 9)
    np.testing.assert_array_equal(streams, [np.arange(9), 12 + np.arange(9)])
    np.testing.assert_array_equal(segments.targets, segments.inputs + 1)
    np.testing.assert_array_equal(segments.reset, segments.inputs % 5 == 0)


def trained(segments, *, hand_over=True, rate=1e-2, state=None):
    made = trainer(NETWORK, direction("adam", "norm:1"), learning_rate=rate, hand_over=hand_over)
    state = made.init(jax.random.key(0), segments.inputs.shape[1]) if state is None else state
    return quick_jit(made.advance)(state, segments)


def test_an_update_is_that_of_its_segment_with_the_carry_as_a_constant():
    """The truncation, against a gradient by hand; and one segment is full backpropagation."""
    segments = cut(TEXT, batch=BATCH, segment=10)
    made = trainer(NETWORK, direction("sgd", "none"), learning_rate=0.5)
    state = made.init(jax.random.key(0), BATCH)
    params, carries = state.params, state.carries
    state, losses = quick_jit(made.advance)(state, segments)

    @jax.jit
    def by_hand(params, carries, inputs, targets):
        def loss(params):
            predictions, after = NETWORK.resume(params, inputs, carries)
            return symbol_loss(predictions, targets), after

        (value, after), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, after, jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)

    for index, (inputs, targets) in enumerate(zip(segments.inputs, segments.targets, strict=True)):
        value, carries, params = by_hand(params, carries, inputs, targets)
        np.testing.assert_allclose(losses[index], value, rtol=1e-5)
    for leaf, like in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(leaf, like, atol=1e-6)
    assert state.update == len(segments.inputs)


def test_in_pieces_as_in_one():
    segments = cut(TEXT, batch=BATCH, segment=5)
    whole, losses = trained(segments)
    first, early = trained(jax.tree.map(lambda leaf: leaf[:2], segments))
    second, late = trained(jax.tree.map(lambda leaf: leaf[2:], segments), state=first)
    np.testing.assert_allclose(np.concatenate([early, late]), losses, rtol=1e-5)
    for leaf, like in zip(jax.tree.leaves(second), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(leaf, like, atol=1e-5)


def test_what_is_carried_over_can_be_learned_beyond_the_segment():
    """Symbols that repeat after four, in segments of two: a network that begins each anew sees one
    symbol before, which tells nothing; one that is handed the carry needs no gradient beyond."""
    random = np.random.default_rng(0)
    stream = np.empty((16, 161), int)
    stream[:, :2] = random.integers(2, size=(16, 2))
    for time in range(2, 161):  # the last two together tell the next: 00 -> 1, 01 -> 1, 10 -> 0 ...
        stream[:, time] = 1 - stream[:, time - 2]
    text = np.concatenate(list(stream))
    segments = cut(text, batch=16, segment=1)
    losses = {}
    for hand_over in (True, False):
        state, _ = trained(segments, hand_over=hand_over, rate=3e-2)
        for _ in range(2):
            state, last = trained(segments, hand_over=hand_over, rate=3e-2, state=state)
        losses[hand_over] = float(last[-40:].mean())
    assert losses[False] > 0.6  # log 2 = 0.69: nothing to go by
    assert losses[True] < 0.3


@pytest.mark.parametrize("segment", [7, 60, 1000])
def test_bits_do_not_depend_on_the_cut(segment):
    begins = np.arange(len(TEXT)) % 25 == 0
    whole = bits_per_symbol(NETWORK, PARAMS, TEXT, begins=begins)
    np.testing.assert_allclose(
        bits_per_symbol(NETWORK, PARAMS, TEXT, segment=segment, begins=begins), whole, rtol=1e-6
    )
    predictions, _ = NETWORK.resume(
        PARAMS, jnp.asarray(TEXT[None, :-1]), NETWORK.start(PARAMS, 1), reset=begins[None, :-1]
    )
    loss = symbol_loss(predictions[0], jnp.asarray(TEXT[1:]))
    np.testing.assert_allclose(whole, loss / np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"batch": 0, "segment": 5}, "batch=0: must be at least 1"),
        ({"batch": 2, "segment": 0}, "segment=0: must be at least 1"),
        (
            {"batch": 2, "segment": 40},
            "segment=40: 61 symbols are too few for 2 streams; they need",
        ),
    ],
)
def test_texts_that_cannot_be_cut_are_named(options, line):
    with pytest.raises(InputError, match=line):
        cut(TEXT, **options)


def test_layers_that_carry_nothing_say_so():
    both = bidirectional(lstm(SYMBOLS, 4), slstm(SYMBOLS, 4))
    for other in (both, attention(SYMBOLS, 8)):
        network = functional([other], kind="tokens", input_size=SYMBOLS, output_size=SYMBOLS)
        with pytest.raises(InputError, match="layer 1 carries nothing from segment to segment"):
            network.start(network.init(jax.random.key(0)), 2)


def test_noise_follows_the_absolute_time():
    """Dropout in segments is that of the whole."""
    cell = lstm(SYMBOLS, 8, recurrent_dropout=0.5)
    network = network_of(cell)
    params = quick_jit(network.init)(jax.random.key(0))
    inputs = jnp.asarray(TEXT[:24].reshape(BATCH, 12))
    keys = jax.random.split(jax.random.key(1), BATCH)

    @quick_jit
    def both(params):
        start = network.start(params, BATCH)
        whole, _ = network.resume(params, inputs, start, key=keys)
        _, carries = network.resume(params, inputs[:, :5], start, key=keys)
        return whole, network.resume(params, inputs[:, 5:], carries, key=keys, start=5)[0]

    whole, second = both(params)
    np.testing.assert_allclose(second, whole[:, 5:], atol=1e-6)


def test_no_resets_are_no_flags():
    assert cut(TEXT, batch=2, segment=5).reset is None
    assert Segments._fields == ("inputs", "targets", "reset")
