"""Weights of PyTorch and Keras: outputs as those libraries gave them, and back again."""

from pathlib import Path

import numpy as np
import pytest

from lstm_jax.cells import gru, min_gru
from lstm_jax.doors import from_keras, from_pytorch, imported_layer, to_keras, to_pytorch
from lstm_jax.errors import InputError

VECTORS = Path(__file__).with_name("vectors")
PYTORCH = dict(np.load(VECTORS / "pytorch.npz", allow_pickle=False))
KERAS = dict(np.load(VECTORS / "keras.npz", allow_pickle=False))


def kind_of(name):
    return name.removesuffix("_projection").removesuffix("_after").removesuffix("_before")


def state_of(name):
    start = f"{name}/state/"
    return {key.removeprefix(start): PYTORCH[key] for key in PYTORCH if key.startswith(start)}


def lists_of(name):
    start = f"{name}/weights/"
    lists = {}
    for key in KERAS:
        if key.startswith(start):
            lists.setdefault(key.removeprefix(start).partition("/")[0], []).append(KERAS[key])
    return list(lists.values())


def assert_same_outputs(imported, saved, name):
    layer, params = imported_layer(imported)
    outputs = layer.apply(params, saved[f"{name}/inputs"])
    np.testing.assert_allclose(outputs, saved[f"{name}/outputs"], atol=1e-6)


@pytest.mark.parametrize("name", sorted({key.partition("/")[0] for key in PYTORCH}))
def test_pytorch(name):
    state = state_of(name)
    imported = from_pytorch(state, kind=kind_of(name))
    assert_same_outputs(imported, PYTORCH, name)
    back = to_pytorch(imported.params)
    # Biases are there even if they were not, and their sum stays.
    assert set(state) <= set(back)
    for key, array in back.items():
        if not key.startswith("bias"):
            np.testing.assert_array_equal(array, state[key])
        elif key in state:
            other = key.replace("ih", "*").replace("hh", "ih").replace("*", "hh")
            total = state[key] + state[other]
            np.testing.assert_allclose(array + back[other], total, atol=1e-6)
    assert_same_outputs(from_pytorch(back, kind=kind_of(name)), PYTORCH, name)


@pytest.mark.parametrize("name", sorted({key.partition("/")[0] for key in KERAS}))
def test_keras(name):
    lists, after = lists_of(name), not name.endswith("before")
    imported = from_keras(lists, kind=kind_of(name), reset_after=after)
    assert_same_outputs(imported, KERAS, name)
    back = to_keras(imported.params)
    for given, own in zip(lists, back, strict=True):
        if len(given) == len(own):
            assert [array.shape for array in given] == [array.shape for array in own]
            np.testing.assert_array_equal(given[0], own[0])
            np.testing.assert_array_equal(given[1], own[1])
            np.testing.assert_allclose(given[2].reshape(-1, 1).sum(), own[2].sum(), rtol=1e-5)
    assert_same_outputs(from_keras(back, kind=kind_of(name), reset_after=after), KERAS, name)


def test_gru_of_both_libraries_is_reset_after():
    imported = from_pytorch(state_of("gru"), kind="gru")
    assert imported.params[0][0].candidate_bias.shape == (4,)
    assert len(imported.cells) == 2
    assert len(imported.cells[0]) == 2


def changed(**changes):
    state = state_of("lstm") | changes
    return {key: array for key, array in state.items() if array is not None}


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({}, "weight_ih_l0: missing from the state_dict"),
        (changed(bias_hh_l1=None), "bias_hh_l1: missing from the state_dict"),
        (changed(bias_hh_l2=np.zeros(16)), "weight_ih_l2: missing from the state_dict"),
        (changed(extra=np.zeros(3)), "extra: unknown in the state_dict; allowed are weight_ih_l0"),
        (
            changed(weight_hh_l0=np.zeros((16, 5))),
            r"weight_hh_l0: has shape \[16, 5\]; must be \[16, 4\]",
        ),
        (
            changed(weight_ih_l0=np.zeros((15, 3))),
            r"weight_ih_l0: has shape \[15, 3\]; must be \[4 \* hidden, input\]",
        ),
        (changed(bias_ih_l0=np.full(16, np.nan)), "bias_ih_l0: holds values that are not finite"),
        (changed(bias_ih_l0=np.zeros(16, int)), "bias_ih_l0: holds int64; must be an array of"),
    ],
)
def test_bad_states_are_named(state, line):
    with pytest.raises(InputError, match=line):
        from_pytorch(state, kind="lstm")


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ([], "weights: no layers"),
        ([[np.zeros((3, 16))]], r"weights\[0\]: holds 1 arrays"),
        ([[np.zeros((3, 15)), np.zeros((4, 16))]], r"weights\[0\]\[0\]: has shape \[3, 15\]"),
        (
            [[np.zeros((3, 16)), np.zeros((5, 16))]],
            r"weights\[0\]\[1\]: has shape \[5, 16\]; must be \[4, 16\]",
        ),
        (
            [[np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(4)]],
            r"weights\[0\]\[2\]: has shape \[4\]; must be \[16\]",
        ),
    ],
)
def test_bad_lists_are_named(weights, line):
    with pytest.raises(InputError, match=line):
        from_keras(weights, kind="lstm")


def test_what_has_no_place_says_so():
    import jax

    before = gru(3, 4).init(jax.random.key(0))
    with pytest.raises(InputError, match="GRUParams: PyTorch has no place for it"):
        to_pytorch([[before]])
    other = min_gru(3, 4).init(jax.random.key(0))
    with pytest.raises(InputError, match="MinGRUParams: Keras has no place for it"):
        to_keras([[other]])
    with pytest.raises(InputError, match="kind=transformer: allowed are lstm, gru"):
        from_pytorch(state_of("lstm"), kind="transformer")
