"""Our cells and Flax's with the same weights: the same outputs and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import gru, lstm, rnn
from lstm_jax.cells.gru import GRUResetAfterParams
from lstm_jax.cells.lstm import LSTMParams
from lstm_jax.cells.rnn import RNNParams
from lstm_jax.unroll import unroll_batch

INPUT, HIDDEN, BATCH, TIME = 4, 6, 3, 11


def rnn_params(flax):
    return RNNParams(flax["i"]["kernel"], flax["h"]["kernel"], flax["i"]["bias"])


def lstm_params(flax):
    gates = "ifgo"
    return LSTMParams(
        jnp.concatenate([flax[f"i{gate}"]["kernel"] for gate in gates], axis=1),
        jnp.concatenate([flax[f"h{gate}"]["kernel"] for gate in gates], axis=1),
        jnp.concatenate([flax[f"h{gate}"]["bias"] for gate in gates]),
    )


def gru_params(flax):
    # Flax's z keeps where ours takes the candidate: the opposite sign.
    signs = {"z": -1.0, "r": 1.0, "n": 1.0}

    def side_by_side(side, leaf):
        parts = [sign * flax[f"{side}{gate}"][leaf] for gate, sign in signs.items()]
        return jnp.concatenate(parts, axis=-1)

    return GRUResetAfterParams(
        side_by_side("i", "kernel"),
        side_by_side("h", "kernel"),
        side_by_side("i", "bias"),
        flax["hn"]["bias"],
    )


@pytest.mark.parametrize(
    ("flax_cell", "cell", "converted"),
    [
        (nn.SimpleCell, rnn(INPUT, HIDDEN), rnn_params),
        (nn.OptimizedLSTMCell, lstm(INPUT, HIDDEN), lstm_params),
        (nn.GRUCell, gru(INPUT, HIDDEN, reset="after"), gru_params),
    ],
    ids=["rnn", "lstm", "gru"],
)
def test_same_weights_same_outputs_and_gradients(flax_cell, cell, converted):
    inputs_key, outputs_key, *keys = jax.random.split(jax.random.key(0), 40)
    inputs = jax.random.normal(inputs_key, (BATCH, TIME, INPUT))
    cotangents = jax.random.normal(outputs_key, (BATCH, TIME, HIDDEN))
    reference = nn.RNN(flax_cell(HIDDEN))
    # Random everywhere: Flax's biases start at zero and would hide a bias in the wrong place.
    shapes = jax.eval_shape(reference.init, jax.random.key(0), inputs)["params"]["cell"]
    leaves, structure = jax.tree.flatten(shapes)
    params = structure.unflatten(
        0.5 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys[: len(leaves)], leaves, strict=True)
    )

    def of_flax(params, inputs):
        return reference.apply({"params": {"cell": params}}, inputs)

    def of_ours(params, inputs):
        return unroll_batch(cell, converted(params), inputs).outputs

    def compared(outputs):
        def objective(params, inputs):
            given = outputs(params, inputs)
            return (given * cotangents).sum(), given

        return jax.jit(jax.grad(objective, argnums=(0, 1), has_aux=True))(params, inputs)

    jax.tree.map(
        lambda ours, flax: np.testing.assert_allclose(ours, flax, rtol=1e-5, atol=1e-5),
        compared(of_ours),
        compared(of_flax),
    )
