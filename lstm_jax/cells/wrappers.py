"""Cells made of cells."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lstm_jax.cells.base import Cell
from lstm_jax.cells.initializers import require_rate
from lstm_jax.errors import require_among

# A leaf by whose exponential others are divided.
_STABILIZER = "stabilizer"
# How the name of a leaf begins that holds a logarithm.
_LOG = "log_"


def zoneout(cell: Cell, rates: Mapping[str, float]) -> Cell:
    """Zoneout (Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden
    activations"): in training, each entry of a carry leaf keeps its old value with a probability::

        leaf_t = d leaf_{t-1} + (1 - d) step(...)      d ~ Bernoulli(rate), drawn at each step

    In evaluation (no key) d is the rate itself. Where the output of a cell is a leaf of its carry,
    such as h of an LSTM, it is zoned out with it. The paper's best for an LSTM::

        zoneout(lstm(input_size, hidden_size), {"hidden": 0.05, "memory": 0.5})

    Args:
      cell: what is wrapped.
      rates: probability by name of the carry's leaf; others stay as they are.

    Raises:
      InputError: a leaf that the carry has not, that counts, that holds logarithms, or that is
        carried in units which change from step to step (of a cell with a stabiliser only `hidden`
        is not); or a rate outside [0, 1).
    """

    def start(key):
        return cell.initial_carry(cell.prepare(cell.init(key)))

    leaves = jax.eval_shape(start, jax.random.key(0))._asdict()
    allowed = tuple(
        name
        for name, leaf in leaves.items()
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
        and (name == "hidden" or _STABILIZER not in leaves)
        and not name.startswith(_LOG)  # -inf at the start: no mean of it and anything
    )
    for name, rate in rates.items():
        require_among("zoneout of leaf", name, allowed)
        require_rate(f"zoneout of {name}", rate)

    def project(weights, inputs, key):
        inner_key = mask_key = None
        if key is not None:
            inner_key, mask_key = jax.random.split(key)
        shapes = jax.eval_shape(cell.initial_carry, weights)._asdict()
        kept = {}
        for index, (name, rate) in enumerate(sorted(rates.items())):
            shape, dtype = shapes[name].shape, jnp.finfo(shapes[name].dtype).dtype
            kept[name] = jnp.full(shape, rate, dtype)
            if key is not None:
                draws = jax.random.bernoulli(jax.random.fold_in(mask_key, index), rate, shape)
                kept[name] = draws.astype(dtype)
        return cell.project(weights, inputs, inner_key), kept

    def step(weights, carry, projected, dot=jnp.matmul):
        inner, kept = projected
        after, output = cell.step(weights, carry, inner, dot)
        mixed = {}
        for name, keep in kept.items():
            old, new = getattr(carry, name), getattr(after, name)
            mixed[name] = keep * old + (1 - keep) * new
            output = mixed[name] if output is new else output
        return after._replace(**mixed), output

    def gates(weights, carry, projected):
        return cell.gates(weights, carry, projected[0])

    return cell._replace(
        project=project, step=step, gates=gates if cell.gates else None, linear=None
    )
