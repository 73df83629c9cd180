"""Input, layers, readout: a Flax NNX module around the pure parts, used functionally.

`Network` is the module, for whoever wants one. `functional(...)` is what the project trains: the
same module split once into a graph and parameters, as two pure functions.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from lstm_jax.arrays import Array, Float, Int, Key, PyTree, count
from lstm_jax.cells.initializers import scaled_normal
from lstm_jax.layers.base import Layer
from lstm_jax.unroll import Rows

Kind = Literal["tokens", "dense"]


class Network(nnx.Module):
    """Embedding or dense input, layers, and a linear readout at the steps that are asked for.

    The module holds no random state: keys are arguments.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        kind: Kind,
        input_size: int,
        output_size: int,
        embedding_size: int = 0,
        rngs: nnx.Rngs,
    ):
        """Draws the parameters.

        Args:
          layers: from first to last; the first takes `first_layer_input_size(...)` features.
          kind: `tokens` (integers below `input_size`) or `dense` (vectors of `input_size`).
          input_size: number of symbols, or features of one input.
          output_size: width of a prediction.
          embedding_size: features of a learned embedding N(0, 1) of tokens; 0 for one-hot vectors.
          rngs: where the parameters come from.
        """
        self.input_size = input_size
        self.kind = kind
        self.layers = tuple(layers)
        embedded = kind == "tokens" and embedding_size
        shape = (input_size, embedding_size)
        self.embedding = nnx.Param(jax.random.normal(rngs(), shape)) if embedded else None
        self.layer_params = nnx.List([nnx.Param(layer.init(rngs())) for layer in layers])
        self.readout_kernel = nnx.Param(scaled_normal(rngs(), layers[-1].output_size, output_size))
        self.readout_bias = nnx.Param(jnp.zeros(output_size))

    def __call__(
        self,
        inputs: Int[Array, "batch time"] | Float[Array, "batch time input"],
        use_times: Int[Array, "batch uses"],
        *,
        key: Array | None = None,
    ) -> Float[Array, "batch uses classes"]:
        """Predictions at `use_times`. `key` `[batch]` is for noise; None means evaluation."""
        if self.kind == "tokens":
            embedded = self.embedding is not None
            table = self.embedding.get_value() if embedded else jnp.eye(self.input_size)
            inputs = Rows(table, inputs)
        fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        for index, (layer, params) in enumerate(zip(self.layers, self.layer_params, strict=True)):
            layer_key = None if key is None else fold_in(key, index)
            inputs = layer.apply(params.get_value(), inputs, key=layer_key)
        read = jax.vmap(lambda outputs, times: outputs[times])(inputs, use_times)
        batch, uses, _ = read.shape
        # One product for the batch, as its derivative is.
        predictions = read.reshape(batch * uses, -1) @ self.readout_kernel.get_value()
        predictions = predictions + self.readout_bias.get_value()[None]
        return predictions.reshape(batch, uses, -1)


def first_layer_input_size(kind: Kind, input_size: int, embedding_size: int = 0) -> int:
    """Features that the first layer takes."""
    return embedding_size if kind == "tokens" and embedding_size else input_size


class FunctionalNetwork(NamedTuple):
    """A network as two pure functions and its size.

    Attributes:
      init: key -> params, a nested dict of arrays.
      apply: params, inputs, use_times, key or None -> predictions `[batch, uses, output_size]`.
      parameters: number of scalars in params.
    """

    init: Callable[[Key], PyTree]
    apply: Callable[..., Float[Array, "batch uses classes"]]
    parameters: int


def functional(layers: Sequence[Layer], **options) -> FunctionalNetwork:
    """A `Network` with these layers and options (see `Network.__init__`), split once."""

    def build(key):
        return Network(layers, rngs=nnx.Rngs(key), **options)

    # The graph is made once: two constructions of closure-holding modules are unequal to `jit`.
    graph, shapes = nnx.split(nnx.eval_shape(build, jax.random.key(0)), nnx.Param)

    def init(key):
        params = nnx.to_pure_dict(nnx.state(build(key), nnx.Param))
        # Arrays made from Python numbers (jnp.full) are weakly typed, but not after an update: a
        # program compiled for the first would be compiled again.
        return jax.tree.map(
            lambda leaf: lax.convert_element_type(leaf, jnp.result_type(leaf)), params
        )

    def apply(params, inputs, use_times, key=None):
        state = jax.tree.unflatten(jax.tree.structure(shapes), jax.tree.leaves(params))
        return nnx.merge(graph, state)(inputs, use_times, key=key)

    return FunctionalNetwork(init, apply, count(shapes))
