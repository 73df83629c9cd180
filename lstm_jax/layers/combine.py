"""Layers made of layers, and those that act on each step alone."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lstm_jax.cells.initializers import require_rate, scaled_normal
from lstm_jax.cells.noise import dropout_mask
from lstm_jax.errors import InputError
from lstm_jax.layers.base import Layer, array, counted

_EPSILON = 1e-5  # beside the variance


def stack(layers: Sequence[Layer]) -> Layer:
    """One layer after another, as one.

    Raises:
      InputError: no layers.
    """
    if not layers:
        raise InputError("layers is empty: give at least one")

    def init(key):
        keys = jax.random.split(key, len(layers))
        return [layer.init(one) for layer, one in zip(layers, keys, strict=True)]

    def apply(params, inputs, *, key=None, length=None):
        fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        for index, (layer, own) in enumerate(zip(layers, params, strict=True)):
            layer_key = None if key is None else fold_in(key, index)
            inputs = layer.apply(own, inputs, key=layer_key, length=length)
        return inputs

    causal = all(layer.causal for layer in layers)
    return Layer(init, apply, layers[-1].output_size, causal)


def residual(layer: Layer) -> Layer:
    """inputs + layer(inputs) (He et al. 2016, "Deep residual learning for image recognition"). The
    layer gives as many features as it takes; another number raises ValueError when it is applied.
    """

    def apply(params, inputs, *, key=None, length=None):
        outputs = layer.apply(params, inputs, key=key, length=length)
        inputs = counted(array(inputs), length)
        if inputs.shape != outputs.shape:
            raise ValueError(f"residual: inputs are {inputs.shape}, outputs {outputs.shape}")
        return inputs + outputs

    return layer._replace(apply=apply)


def projection(input_size: int, output_size: int) -> Layer:
    """x_t W + b at each step, W ~ N(0, 1/input), b = 0."""

    def init(key):
        return {
            "kernel": scaled_normal(key, input_size, output_size),
            "bias": jnp.zeros(output_size),
        }

    def apply(params, inputs, *, key=None, length=None):
        del key
        outputs = counted(array(inputs), length) @ params["kernel"] + params["bias"][None, None]
        return counted(outputs, length)

    return Layer(init, apply, output_size, causal=True)


def layer_norm(input_size: int) -> Layer:
    """(x_t - mean) / sqrt(variance + 1e-5) a + b over the features of each step (Ba, Kiros & Hinton
    2016, "Layer normalization"); a starts at 1, b at 0."""

    def init(key):
        del key
        return {"gain": jnp.ones(input_size), "shift": jnp.zeros(input_size)}

    def apply(params, inputs, *, key=None, length=None):
        del key
        inputs = counted(array(inputs), length)
        centered = inputs - inputs.mean(-1, keepdims=True)
        scaled = centered * jax.lax.rsqrt((centered**2).mean(-1, keepdims=True) + _EPSILON)
        return counted(scaled * params["gain"][None, None] + params["shift"][None, None], length)

    return Layer(init, apply, input_size, causal=True)


def dropout(input_size: int, rate: float) -> Layer:
    """Dropout between layers (Zaremba, Sutskever & Vinyals 2014): entries are zero with probability
    `rate`, others scaled by 1 / (1 - rate); without a key nothing is dropped.

    Raises:
      InputError: a rate outside [0, 1).
    """
    require_rate("rate", rate)

    def apply(params, inputs, *, key=None, length=None):
        del params
        inputs = counted(array(inputs), length)
        if key is None:
            return inputs
        masks = jax.vmap(lambda one: dropout_mask(one, inputs.shape[1:], rate, inputs.dtype))(key)
        return inputs * masks

    return Layer(lambda key: {}, apply, input_size, causal=True)
