"""Input, layers and readout around pure parts: sizes, places of parameters, one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.arrays import count
from lstm_jax.cells import Cell, gru, lstm
from lstm_jax.layers import layer
from lstm_jax.network import Network, first_layer_input_size, functional
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import unroll

SYMBOLS, EMBEDDING, HIDDEN, CLASSES, TIME = 6, 4, 5, 3, 8
TOKENS = jnp.array([0, 3, 1, 5, 2, 2, 4, 0])
USES = jnp.array([7, 2])
# Two layers with parameters of unlike kinds: a NamedTuple of other fields each.
CELLS = [lstm(EMBEDDING, HIDDEN, init="pytorch"), gru(HIDDEN, 2, init="pytorch")]
LAYERS = [layer(cell) for cell in CELLS]
OPTIONS = {"kind": "tokens", "input_size": SYMBOLS, "output_size": CLASSES}
EMBEDDED = functional(LAYERS, embedding_size=EMBEDDING, **OPTIONS)


def alone(network):
    """The network applied to one example."""

    def apply(params, inputs, use_times, key=None):
        key = None if key is None else key[None]
        return network.apply(params, inputs[None], use_times[None], key)[0]

    return apply


INIT, APPLY = quick_jit(EMBEDDED.init), quick_jit(alone(EMBEDDED))
ONE_HOT = functional([layer(gru(SYMBOLS, HIDDEN, init="pytorch"))], **OPTIONS)


def close(value, other):
    np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-5)


def numbered(params):
    """Parameters each of which has values of its own, so that no two can be confused."""
    leaves, structure = jax.tree.flatten(params)
    return structure.unflatten(
        jnp.sin(jnp.arange(leaf.size, dtype=jnp.float32) + 10.0 * index).reshape(leaf.shape)
        for index, leaf in enumerate(leaves)
    )


def by_hand(params, tokens, use_times):
    outputs = params["embedding"][tokens]
    for index, cell in enumerate(CELLS):
        outputs = unroll(cell, params["layer_params"][index], outputs).outputs
    return outputs[use_times] @ params["readout_kernel"] + params["readout_bias"][None]


def test_parameters_land_where_they_belong():
    params = numbered(INIT(jax.random.key(0)))
    assert set(params) == {"embedding", "layer_params", "readout_kernel", "readout_bias"}
    assert params["embedding"].shape == (SYMBOLS, EMBEDDING)
    assert type(params["layer_params"][0]).__name__ == "LSTMParams"
    assert type(params["layer_params"][1]).__name__ == "GRUParams"
    close(APPLY(params, TOKENS, USES), by_hand(params, TOKENS, USES))


def test_gradients_land_where_they_belong():
    params = numbered(INIT(jax.random.key(0)))
    gradients = quick_jit(jax.grad(lambda p: (alone(EMBEDDED)(p, TOKENS, USES) ** 2).sum()))(params)
    expected = quick_jit(jax.grad(lambda p: (by_hand(p, TOKENS, USES) ** 2).sum()))(params)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)
    jax.tree.map(close, gradients, expected)


def test_eleven_layers_keep_their_order():
    # As text, layer 10 would come before layer 2.
    def shift(by):
        def step(weights, carry, projected, dot=jnp.matmul):
            del dot
            return carry, projected * weights["by"]

        return Cell(
            init=lambda key: {"by": jnp.asarray([by], jnp.float32)},
            initial_carry=lambda weights: {"none": jnp.zeros(1)},
            project=lambda weights, inputs, key: inputs + weights["by"],
            step=step,
            output_size=1,
        )

    layers = [layer(shift(by)) for by in range(1, 12)]
    network = functional(layers, kind="dense", input_size=1, output_size=1)
    params = network.init(jax.random.key(0))
    given = alone(network)(params, jnp.ones((2, 1)), jnp.array([1]))
    expected = 1.0
    for by in range(1, 12):
        expected = (expected + by) * by
    close(given / params["readout_kernel"], [[expected]])


def test_count_of_parameters_is_exact():
    lstm_size = 4 * HIDDEN * (EMBEDDING + HIDDEN + 1)
    gru_size = 3 * 2 * (HIDDEN + 2 + 1)
    expected = SYMBOLS * EMBEDDING + lstm_size + gru_size + 2 * CLASSES + CLASSES
    assert EMBEDDED.parameters == expected == count(INIT(jax.random.key(0)))


def test_without_embedding_tokens_are_one_hot():
    params = ONE_HOT.init(jax.random.key(1))
    assert set(params) == {"layer_params", "readout_kernel", "readout_bias"}
    dense = functional(
        [layer(gru(SYMBOLS, HIDDEN, init="pytorch"))],
        kind="dense",
        input_size=SYMBOLS,
        output_size=CLASSES,
    )
    hot = jax.nn.one_hot(TOKENS, SYMBOLS)
    close(alone(ONE_HOT)(params, TOKENS, USES), alone(dense)(params, hot, USES))


def test_first_layer_input_size():
    assert first_layer_input_size("tokens", SYMBOLS) == SYMBOLS
    assert first_layer_input_size("tokens", SYMBOLS, EMBEDDING) == EMBEDDING
    assert first_layer_input_size("dense", SYMBOLS, EMBEDDING) == SYMBOLS


def test_use_times_choose_steps():
    params = INIT(jax.random.key(0))
    everywhere = APPLY(params, TOKENS, jnp.arange(TIME))
    close(APPLY(params, TOKENS, USES), everywhere[USES])
    # An unused slot of a task is -1; it reads some step, and no error: its weight is zero.
    assert APPLY(params, TOKENS, jnp.array([-1])).shape == (1, CLASSES)


def test_vmapped_init_equals_single_inits():
    keys = jax.random.split(jax.random.key(4), 3)
    together = quick_jit(jax.vmap(EMBEDDED.init))(keys)
    for index, key in enumerate(keys):
        jax.tree.map(close, jax.tree.map(lambda leaf, i=index: leaf[i], together), INIT(key))


def test_apply_takes_a_batch_and_maps_over_trials():
    keys = jax.random.split(jax.random.key(4), 2)
    params = quick_jit(jax.vmap(EMBEDDED.init))(keys)
    tokens = jnp.stack([TOKENS, TOKENS[::-1], TOKENS])
    uses = jnp.stack([USES] * 3)
    over_trials = jax.vmap(EMBEDDED.apply, in_axes=(0, None, None))
    given = quick_jit(over_trials)(params, tokens, uses)
    assert given.shape == (2, 3, 2, CLASSES)
    close(given[1, 1], APPLY(jax.tree.map(lambda leaf: leaf[1], params), tokens[1], USES))


def test_compiled_once():
    traces = []

    @quick_jit
    def predict(params, tokens):
        traces.append(None)
        return alone(EMBEDDED)(params, tokens, USES)

    for seed in range(3):
        predict(EMBEDDED.init(jax.random.key(seed)), TOKENS + seed)
    assert len(traces) == 1


def test_fresh_parameters_are_not_weakly_typed():
    # jnp.full makes weakly typed arrays, an update strong ones: a program would be compiled twice.
    def weak(key):
        return {"scale": jnp.full(1, 2.0), "number": 3.0}

    cell = Cell(
        init=weak,
        initial_carry=lambda weights: {"sum": jnp.zeros(1)},
        project=lambda weights, inputs, key: inputs * weights["scale"] * weights["number"],
        step=lambda weights, carry, projected, dot=jnp.matmul: (carry, projected),
        output_size=1,
    )
    network = functional([layer(cell)], kind="dense", input_size=1, output_size=1)
    fresh = jax.eval_shape(network.init, jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(fresh))
    assert jax.tree.leaves(network.init(jax.random.key(0)))[0].dtype == jnp.float32


def test_without_a_key_nothing_is_drawn():
    def noisy(input_size, hidden_size):
        cell = gru(input_size, hidden_size, init="pytorch")

        def project(weights, inputs, key):
            projected = cell.project(weights, inputs, None)
            return projected if key is None else projected * jax.random.uniform(key)

        return cell._replace(project=project)

    # Two layers: each must draw noise of its own.
    layers = [layer(noisy(SYMBOLS, HIDDEN)), layer(noisy(HIDDEN, HIDDEN))]
    network = functional(layers, **OPTIONS)
    params = network.init(jax.random.key(0))

    @quick_jit
    def predict(key):
        return alone(network)(params, TOKENS, USES, key)

    plain = predict(None)
    np.testing.assert_array_equal(plain, predict(None))
    one, again, other = (predict(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, plain)


def test_layers_get_keys_of_their_own():
    seen = []

    def spy(input_size):
        one = layer(gru(input_size, HIDDEN, init="pytorch"))

        def apply(params, inputs, *, key=None):
            seen.append(key)
            return one.apply(params, inputs, key=key)

        return one._replace(apply=apply)

    network = functional([spy(SYMBOLS), spy(HIDDEN)], **OPTIONS)
    params = network.init(jax.random.key(0))
    alone(network)(params, TOKENS, USES, jax.random.key(3))
    first, second = (np.asarray(jax.random.key_data(key)) for key in seen)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("embedding_size", [0, EMBEDDING])
def test_the_module_can_be_used_by_itself(embedding_size):
    first = layer(lstm(first_layer_input_size("tokens", SYMBOLS, embedding_size), HIDDEN))
    network = Network([first], embedding_size=embedding_size, rngs=nnx.Rngs(0), **OPTIONS)
    assert network(TOKENS[None], USES[None]).shape == (1, 2, CLASSES)
