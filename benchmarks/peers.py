"""Recurrent layers of other libraries, and ours, with the same weights and the same work.

A peer is `build(cell, weights, inputs, cotangents) -> Work`. Weights are NumPy arrays, laid out as
`x` `[input, gates * hidden]`, `h` `[hidden, gates * hidden]`, `b` `[gates * hidden]`, gates in the
order i f g o (LSTM) or z r n (GRU, z = 1 takes the candidate). Inputs are `[time, batch, input]`,
the order that every library takes and none has to transpose.
The work is the outputs (forward), and the gradient by all weights of the sum of outputs times
cotangents (backward, the forward pass included).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Work(NamedTuple):
    """Calls that return when the work is done; results as NumPy, for comparison.

    Attributes:
      forward: () -> outputs.
      backward: () -> gradient by the recurrent kernel `h`, as that library lays it out.
      outputs: outputs -> `[time, batch, hidden]`.
      recurrent: gradient -> `[hidden, gates * hidden]`, in our layout.
    """

    forward: Callable
    backward: Callable
    outputs: Callable
    recurrent: Callable


def _blocks(array, cell):
    return np.split(np.asarray(array), GATES[cell], axis=-1)


def _gru_rzn(array):
    """z r n with z taking the candidate, as r z n with z keeping."""
    z, r, n = np.split(array, 3, axis=-1)
    return np.concatenate([r, -z, n], axis=-1)


def _gru_zrn(array):
    r, z, n = np.split(np.asarray(array), 3, axis=-1)
    return np.concatenate([-z, r, n], axis=-1)


def _of_jax(apply, params, inputs, cotangents, recurrent) -> Work:
    import jax
    import jax.numpy as jnp

    inputs, cotangents = jnp.asarray(inputs), jnp.asarray(cotangents)
    params = jax.tree.map(jnp.asarray, params)
    forward = jax.jit(apply)
    backward = jax.jit(jax.grad(lambda params, x, ct: jnp.vdot(apply(params, x), ct)))
    return Work(
        forward=lambda: jax.block_until_ready(forward(params, inputs)),
        backward=lambda: jax.block_until_ready(backward(params, inputs, cotangents)),
        outputs=np.asarray,
        recurrent=recurrent,
    )


def ours(cell, weights, inputs, cotangents, *, method="deferred", reset="after"):
    """By default the GRU resets after the product, as most libraries' does."""
    from lstm_jax import cells
    from lstm_jax.cells.gru import GRUParams, GRUResetAfterParams
    from lstm_jax.cells.lstm import LSTMParams
    from lstm_jax.cells.rnn import RNNParams
    from lstm_jax.unroll import unroll_batch

    hidden = len(weights["h"])
    options = {"reset": reset} if cell == "gru" else {}
    built = cells.CELLS[cell](inputs.shape[-1], hidden, **options)
    x, h, b = weights["x"], weights["h"], weights["b"]
    if cell == "gru" and reset == "after":
        params = GRUResetAfterParams(x, h, b, np.zeros(hidden, np.float32))
    elif cell == "gru":
        params = GRUParams(x, h[:, : 2 * hidden], h[:, 2 * hidden :], b)
    else:
        params = {"rnn": RNNParams, "lstm": LSTMParams}[cell](x, h, b)

    def recurrent(gradient):
        if hasattr(gradient, "recurrent_kernel"):
            return np.asarray(gradient.recurrent_kernel)
        return np.concatenate([gradient.gate_kernel, gradient.candidate_kernel], axis=1)

    def apply(params, inputs):
        return unroll_batch(built, params, inputs, method=method, time_major=True).outputs

    return _of_jax(apply, params, inputs, cotangents, recurrent)


def torch(cell, weights, inputs, cotangents, *, device="cpu"):
    import torch as library

    hidden = len(weights["h"])
    kind = {"rnn": library.nn.RNN, "lstm": library.nn.LSTM, "gru": library.nn.GRU}[cell]
    layer = kind(inputs.shape[-1], hidden)
    order = _gru_rzn if cell == "gru" else np.asarray
    with library.no_grad():
        layer.weight_ih_l0.copy_(library.tensor(order(weights["x"]).T.copy()))
        layer.weight_hh_l0.copy_(library.tensor(order(weights["h"]).T.copy()))
        layer.bias_ih_l0.copy_(library.tensor(order(weights["b"]).copy()))
        layer.bias_hh_l0.zero_()
    layer = layer.to(device)
    x, ct = library.tensor(inputs, device=device), library.tensor(cotangents, device=device)
    wait = library.cuda.synchronize if device == "cuda" else lambda: None

    def forward():
        with library.no_grad():
            outputs = layer(x)[0]
        wait()
        return outputs

    def backward():
        layer.zero_grad(set_to_none=True)
        (layer(x)[0] * ct).sum().backward()
        wait()
        return layer.weight_hh_l0.grad

    back = _gru_zrn if cell == "gru" else np.asarray
    return Work(
        forward,
        backward,
        outputs=lambda outputs: outputs.cpu().numpy(),
        recurrent=lambda gradient: back(gradient.cpu().numpy().T),
    )


def flax_linen(cell, weights, inputs, cotangents):
    from flax import linen

    hidden = len(weights["h"])
    zeros = np.zeros(hidden, np.float32)
    x, h, b = (_blocks(weights[name], cell) for name in "xhb")
    if cell == "lstm":
        kind = linen.OptimizedLSTMCell
        params = {f"i{gate}": {"kernel": x[i]} for i, gate in enumerate("ifgo")}
        params |= {f"h{gate}": {"kernel": h[i], "bias": b[i]} for i, gate in enumerate("ifgo")}
    elif cell == "gru":
        kind, signs = linen.GRUCell, {"z": -1, "r": 1, "n": 1}
        params = {
            f"i{gate}": {"kernel": sign * x[i], "bias": sign * b[i]}
            for i, (gate, sign) in enumerate(signs.items())
        }
        params |= {f"h{gate}": {"kernel": s * h[i]} for i, (gate, s) in enumerate(signs.items())}
        params["hn"]["bias"] = zeros
    else:
        kind = linen.SimpleCell
        params = {"i": {"kernel": x[0], "bias": b[0]}, "h": {"kernel": h[0]}}

    def recurrent(gradient):
        gradient = gradient["params"]["cell"]
        if cell == "rnn":
            return np.asarray(gradient["h"]["kernel"])
        if cell == "lstm":
            return np.concatenate([gradient[f"h{gate}"]["kernel"] for gate in "ifgo"], axis=1)
        return np.concatenate(
            [sign * gradient[f"h{gate}"]["kernel"] for gate, sign in signs.items()], axis=1
        )

    layer = linen.RNN(kind(hidden), time_major=True)
    return _of_jax(layer.apply, {"params": {"cell": params}}, inputs, cotangents, recurrent)


def flax_nnx(cell, weights, inputs, cotangents):
    import jax.numpy as jnp
    from flax import nnx

    hidden = len(weights["h"])
    order = _gru_rzn if cell == "gru" else np.asarray
    kind = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}[cell]
    built = kind(inputs.shape[-1], hidden, rngs=nnx.Rngs(0))
    built.dense_i.kernel.set_value(jnp.asarray(order(weights["x"])))
    built.dense_h.kernel.set_value(jnp.asarray(order(weights["h"])))
    biased = built.dense_i if built.dense_i.bias is not None else built.dense_h
    biased.bias.set_value(jnp.asarray(order(weights["b"])))
    graph, params, rest = nnx.split(nnx.RNN(built, time_major=True), nnx.Param, ...)

    def apply(params, inputs):
        zeros = jnp.zeros((inputs.shape[1], hidden))
        start = (zeros, zeros) if cell == "lstm" else zeros
        return nnx.merge(graph, params, rest)(inputs, initial_carry=start)

    back = _gru_zrn if cell == "gru" else np.asarray
    return _of_jax(
        apply,
        params,
        inputs,
        cotangents,
        lambda gradient: back(gradient["cell"]["dense_h"]["kernel"].get_value()),
    )


def haiku(cell, weights, inputs, cotangents):
    """Its GRU resets before the product; its vanilla RNN is another network, and left out."""
    import haiku as library
    import jax.numpy as jnp

    if cell == "rnn":
        return None
    hidden = len(weights["h"])
    x, h, b = weights["x"], weights["h"], weights["b"]

    def swapped(array):
        i, f, g, o = np.split(np.asarray(array), 4, axis=-1)
        return np.concatenate([i, g, f, o], axis=-1)

    if cell == "lstm":
        bias = b - np.repeat([0, 1, 0, 0], hidden).astype(np.float32)  # it adds 1 itself
        params = {"lstm/linear": {"w": swapped(np.concatenate([x, h])), "b": swapped(bias)}}
    else:
        params = {"gru": {"w_i": x, "w_h": h, "b": b}}

    def run(inputs):
        core = library.LSTM(hidden) if cell == "lstm" else library.GRU(hidden)
        start = core.initial_state(inputs.shape[1])
        return library.dynamic_unroll(core, inputs, start, time_major=True)[0]

    def recurrent(gradient):
        if cell == "gru":
            return np.asarray(gradient["gru"]["w_h"])
        return swapped(gradient["lstm/linear"]["w"][-hidden:])

    apply = library.without_apply_rng(library.transform(run)).apply
    return _of_jax(lambda p, x: apply(p, jnp.asarray(x)), params, inputs, cotangents, recurrent)


def equinox(cell, weights, inputs, cotangents):
    """It has no vanilla RNN."""
    import equinox as library
    import jax
    import jax.numpy as jnp

    if cell == "rnn":
        return None
    hidden = len(weights["h"])
    kind = library.nn.LSTMCell if cell == "lstm" else library.nn.GRUCell
    order = _gru_rzn if cell == "gru" else np.asarray
    built = kind(inputs.shape[-1], hidden, key=jax.random.key(0))
    built = library.tree_at(
        lambda one: (one.weight_ih, one.weight_hh, one.bias),
        built,
        tuple(jnp.asarray(order(weights[name]).T) for name in "xhb"),
    )
    if cell == "gru":
        built = library.tree_at(lambda one: one.bias_n, built, jnp.zeros(hidden))
    arrays, rest = library.partition(built, library.is_array)

    def one(arrays, inputs):
        step_cell = library.combine(arrays, rest)
        zeros = jnp.zeros(hidden)

        def step(carry, x):
            carry = step_cell(x, carry)
            return carry, carry[0] if cell == "lstm" else carry

        start = (zeros, zeros) if cell == "lstm" else zeros
        return jax.lax.scan(step, start, inputs)[1]

    back = _gru_zrn if cell == "gru" else np.asarray
    return _of_jax(
        jax.vmap(one, in_axes=(None, 1), out_axes=1),
        arrays,
        inputs,
        cotangents,
        lambda gradient: back(np.asarray(gradient.weight_hh).T),
    )


def jax_rnn(cell, weights, inputs, cotangents, *, run=None):
    """cuDNN by `jax.experimental.rnn`, which has an LSTM alone, and on a GPU alone.

    `run` stands in for its `lstm`, with the same arguments.
    """
    import jax
    import jax.numpy as jnp
    from jax.experimental import rnn as library

    if cell != "lstm" or (run is None and jax.default_backend() != "gpu"):
        return None
    run = run or library.lstm
    steps, batch, width = inputs.shape
    hidden = len(weights["h"])
    behind = width * 4 * hidden  # where the recurrent kernel begins
    flat = [weights["x"].T, weights["h"].T, weights["b"], np.zeros_like(weights["b"])]

    def apply(packed, inputs):
        zeros, lengths = jnp.zeros((1, batch, hidden)), jnp.full((batch,), steps, jnp.int32)
        rows = jnp.swapaxes(inputs, 0, 1)  # it takes the batch first
        sizes = {"input_size": width, "hidden_size": hidden, "num_layers": 1}
        options = {"dropout": 0.0, "bidirectional": False}
        outputs = run(rows, zeros, zeros, packed, lengths, **sizes, **options)[0]
        return jnp.swapaxes(outputs, 0, 1)

    def recurrent(gradient):
        size = hidden * 4 * hidden
        return np.asarray(gradient)[behind : behind + size].reshape(4 * hidden, hidden).T

    packed = np.concatenate([array.ravel() for array in flat])
    return _of_jax(apply, packed, inputs, cotangents, recurrent)


PEERS = {
    "lstm_jax": ours,
    "plain lax.scan": partial(ours, method="scan"),
    "PyTorch": torch,
    "Flax linen": flax_linen,
    "Flax NNX": flax_nnx,
    "Haiku": haiku,
    "Equinox": equinox,
    "jax.experimental.rnn": jax_rnn,
}
