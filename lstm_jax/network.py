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

from lstm_jax.arrays import Array, Bool, Float, Int, Key, PyTree, count
from lstm_jax.cells.initializers import scaled_normal
from lstm_jax.errors import InputError
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
        inputs = self._embedded(inputs)
        for index, (layer, params) in enumerate(zip(self.layers, self.layer_params, strict=True)):
            inputs = layer.apply(params.get_value(), inputs, key=_of_layer(key, index))
        return self._read(jax.vmap(lambda outputs, times: outputs[times])(inputs, use_times))

    def start(self, batch: int) -> list[PyTree]:
        """The carries of all layers before the first segment of a batch of sequences.

        Raises:
          InputError: a layer that is no recurrence over time alone.
        """
        for index, layer in enumerate(self.layers):
            if layer.start is None:
                raise InputError(
                    f"layer {index + 1} carries nothing from segment to segment: stateful training "
                    "needs recurrent layers that read from the first step on"
                )
        return [
            layer.start(params.get_value(), batch)
            for layer, params in zip(self.layers, self.layer_params, strict=True)
        ]

    def resume(
        self,
        inputs: Int[Array, "batch time"] | Float[Array, "batch time input"],
        carries: list[PyTree],
        *,
        reset: Bool[Array, "batch time"] | None = None,
        key: Array | None = None,
        start: Int[Array, ""] | int = 0,
    ) -> tuple[Float[Array, "batch time classes"], list[PyTree]]:
        """Predictions at every step of a segment that goes on from `carries`, and the carries after
        it. `reset` restores the initial carry before a step; `start` is the absolute time of the
        segment's first step, for the noise of `key` `[batch]`."""
        inputs, after = self._embedded(inputs), []
        layers = zip(self.layers, self.layer_params, carries, strict=True)
        for index, (layer, params, carry) in enumerate(layers):
            layer_key = _of_layer(key, index)
            inputs, carry = layer.resume(
                params.get_value(), inputs, carry, reset=reset, key=layer_key, start=start
            )
            after.append(carry)
        return self._read(inputs), after

    def _embedded(self, inputs):
        if self.kind != "tokens":
            return inputs
        embedded = self.embedding is not None
        table = self.embedding.get_value() if embedded else jnp.eye(self.input_size)
        return Rows(table, inputs)

    def _read(self, outputs):
        batch, uses, _ = outputs.shape
        # One product for the batch, as its derivative is.
        predictions = outputs.reshape(batch * uses, -1) @ self.readout_kernel.get_value()
        predictions = predictions + self.readout_bias.get_value()[None]
        return predictions.reshape(batch, uses, -1)


def _of_layer(key: Array | None, index: int) -> Array | None:
    if key is None:
        return None
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, index)


def first_layer_input_size(kind: Kind, input_size: int, embedding_size: int = 0) -> int:
    """Features that the first layer takes."""
    return embedding_size if kind == "tokens" and embedding_size else input_size


class FunctionalNetwork(NamedTuple):
    """A network as two pure functions and its size.

    Attributes:
      init: key -> params, a nested dict of arrays.
      apply: params, inputs, use_times, key or None -> predictions `[batch, uses, output_size]`.
      start: params, batch size -> carries, as `Network.start`.
      resume: params, inputs, carries -> predictions at every step, carries, as `Network.resume`,
        whose options it takes.
      parameters: number of scalars in params.
    """

    init: Callable[[Key], PyTree]
    apply: Callable[..., Float[Array, "batch uses classes"]]
    start: Callable[[PyTree, int], list[PyTree]]
    resume: Callable[..., tuple[Float[Array, "batch time classes"], list[PyTree]]]
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

    def module(params):
        state = jax.tree.unflatten(jax.tree.structure(shapes), jax.tree.leaves(params))
        return nnx.merge(graph, state)

    def apply(params, inputs, use_times, key=None):
        return module(params)(inputs, use_times, key=key)

    def start(params, batch):
        return module(params).start(batch)

    def resume(params, inputs, carries, **options):
        return module(params).resume(inputs, carries, **options)

    return FunctionalNetwork(init, apply, start, resume, count(shapes))
