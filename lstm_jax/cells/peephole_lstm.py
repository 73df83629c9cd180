"""The LSTM with peepholes, and the variants that Greff et al. compared."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell, gated
from lstm_jax.cells.initializers import gate_biases, orthogonal_blocks, scaled_normal
from lstm_jax.errors import InputError, require_among

VARIANTS = ("V", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR")
_PEEPHOLE_SCALE = 0.1  # standard deviation at the start (Greff et al. 2015, section III)
# The gate that a variant has no weights for.
_WITHOUT = {"NIG": "input", "NFG": "forget", "NOG": "output", "CIFG": "forget"}


class PeepholeLSTMCarry(NamedTuple):
    hidden: jax.Array  # [hidden], y in Greff et al.
    memory: jax.Array  # [hidden], c


class RecurrentGatesCarry(NamedTuple):
    hidden: jax.Array  # [hidden]
    memory: jax.Array  # [hidden]
    gates: jax.Array  # [3 * hidden], input, forget and output gate of the step before


def peephole_lstm(
    input_size: int,
    hidden_size: int,
    *,
    peepholes: Literal["diagonal", "full"] = "diagonal",
    variant: Literal["V", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR"] = "V",
    init: Literal["orthogonal", "chrono"] = "orthogonal",
    forget_bias: float | None = None,
    time_scale: float | None = None,
) -> Cell:
    """Peephole LSTM (Gers & Schmidhuber 2000, "Recurrent nets that time and count"; the "vanilla"
    of Greff et al. 2015, "LSTM: a search space odyssey")::

        i_t = sigmoid(x_t W_i + h_{t-1} U_i + p_i C_{t-1} + b_i)
        f_t = sigmoid(x_t W_f + h_{t-1} U_f + p_f C_{t-1} + b_f)
        g_t =    tanh(x_t W_g + h_{t-1} U_g + b_g)
        C_t = f_t C_{t-1} + i_t g_t
        o_t = sigmoid(x_t W_o + h_{t-1} U_o + p_o C_t + b_o)
        h_t = o_t tanh(C_t)

    The output gate sees the new memory. `variant` takes one thing away, as Greff et al. did::

        NIG   i_t = 1                    NIAF  no tanh in g_t        NP   no peepholes
        NFG   f_t = 1                    NOAF  h_t = o_t C_t         CIFG f_t = 1 - i_t
        NOG   o_t = 1                    FGR   all gates also see all gates of the step before

    Args:
      input_size: features of one input.
      hidden_size: units of h and of C; also the size of the output, which is h_t.
      peepholes: `diagonal`, p_* are vectors, as in both papers; `full`, matrices [hidden, hidden],
        as the essay draws it (W_f [C_{t-1}, h_{t-1}, x_t]).
      variant: V, as above, or what is taken away. Weights that it leaves without use do not exist.
      init: W ~ N(0, 1/input), U_* and full peepholes orthogonal, p_* ~ N(0, 0.01), biases zero but
        for b_f = `forget_bias`; `chrono`, b_f ~ log U(1, T-1), b_i = -b_f for T = `time_scale`.
        With CIFG b_i takes the opposite of b_f.
      forget_bias: default 1 (not taken with `chrono`).
      time_scale: T of `chrono`, in steps; default 200.

    Raises:
      InputError: an option outside what is named above, or one that `init` or `variant` does not
        take.
    """
    require_among("peepholes", peepholes, ("diagonal", "full"))
    require_among("variant", variant, VARIANTS)
    require_among("init", init, ("orthogonal", "chrono"))
    biases = gate_biases(init, forget_bias, time_scale)
    if variant == "NFG" and (init == "chrono" or forget_bias is not None):
        given = "init=chrono" if init == "chrono" else f"forget_bias={forget_bias}"
        raise InputError(f"{given}: variant=NFG has no forget gate")
    if variant == "NP" and peepholes != "diagonal":
        raise InputError(f"peepholes={peepholes}: variant=NP has none")
    absent = _WITHOUT.get(variant)
    gate_names = [name for name in ("input", "forget", "output") if name != absent]
    early = [name for name in gate_names if name != "output"]  # those that see C_{t-1}
    blocks = [*gate_names, "candidate"]
    width = len(blocks) * hidden_size
    peeping = variant != "NP"
    squash_candidate = (lambda x: x) if variant == "NIAF" else jnp.tanh
    squash_memory = (lambda x: x) if variant == "NOAF" else jnp.tanh

    def init_params(key):
        input_key, recurrent_key, bias_key, peephole_key, gate_key = jax.random.split(key, 5)
        forget_bias, input_bias = biases(bias_key, hidden_size)
        started = {"forget": forget_bias, "input": input_bias}
        if variant == "CIFG":
            started["input"] = -forget_bias
        zeros = jnp.zeros(hidden_size)
        params = {
            "input_kernel": scaled_normal(input_key, input_size, width),
            "recurrent_kernel": orthogonal_blocks(recurrent_key, hidden_size, len(blocks)),
            "bias": jnp.concatenate([started.get(name, zeros) for name in blocks]),
        }
        if peeping and peepholes == "diagonal":
            shape = (len(gate_names) * hidden_size,)
            params["peepholes"] = _PEEPHOLE_SCALE * jax.random.normal(peephole_key, shape)
        elif peeping:
            kernel = orthogonal_blocks(peephole_key, hidden_size, len(gate_names))
            params["memory_kernel"] = kernel[:, : len(early) * hidden_size]
            if "output" in gate_names:
                params["output_memory_kernel"] = kernel[:, len(early) * hidden_size :]
        if variant == "FGR":
            draws = [orthogonal_blocks(k, hidden_size, 3) for k in jax.random.split(gate_key, 3)]
            params["gate_kernel"] = _PEEPHOLE_SCALE * jnp.concatenate(draws)
        return params

    def initial_carry(weights):
        zeros = jnp.zeros_like(weights["bias"][:hidden_size])
        if variant == "FGR":
            return RecurrentGatesCarry(zeros, zeros, jnp.concatenate([zeros] * 3))
        return PeepholeLSTMCarry(hidden=zeros, memory=zeros)

    def project(weights, inputs, key):
        del key
        return inputs @ weights["input_kernel"] + weights["bias"]

    def peep(weights, memory, names, dot):
        """What the gates `names` see of the memory, side by side."""
        if peepholes == "full":
            late = names == ["output"]
            return dot(memory, weights["output_memory_kernel" if late else "memory_kernel"])
        start = gate_names.index(names[0]) * hidden_size
        seen = weights["peepholes"][start : start + len(names) * hidden_size]
        return seen * jnp.concatenate([memory] * len(names))

    def advance(weights, carry, projected, dot):
        preactivations = projected + dot(carry.hidden, weights["recurrent_kernel"])
        if variant == "FGR":
            seen = dot(carry.gates, weights["gate_kernel"])
            preactivations = preactivations.at[: 3 * hidden_size].add(seen)
        parts = dict(zip(blocks, jnp.split(preactivations, len(blocks)), strict=True))
        if peeping:
            seen = peep(weights, carry.memory, early, dot)
            for name, part in zip(early, jnp.split(seen, len(early)), strict=True):
                parts[name] = parts[name] + part
        ones = jnp.ones_like(carry.memory)
        gates = {name: jax.nn.sigmoid(parts[name]) for name in early}
        gates.setdefault("input", ones)
        gates.setdefault("forget", 1 - gates["input"] if variant == "CIFG" else ones)
        memory = gates["forget"] * carry.memory
        memory = memory + gates["input"] * squash_candidate(parts["candidate"])
        gates["output"] = ones
        if "output" in gate_names:
            output = parts["output"]
            output = output + peep(weights, memory, ["output"], dot) if peeping else output
            gates["output"] = jax.nn.sigmoid(output)
        hidden = gates["output"] * squash_memory(memory)
        if variant == "FGR":
            now = jnp.concatenate([gates[name] for name in gate_names])
            return RecurrentGatesCarry(hidden, memory, now), hidden, gates
        return PeepholeLSTMCarry(hidden, memory), hidden, gates

    step, gates = gated(advance)
    return Cell(init_params, initial_carry, project, step, hidden_size, gates=gates)
