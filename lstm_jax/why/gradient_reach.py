"""How far back a gradient reaches: Jacobians over many steps, as natural logarithms.

The reach of a cell at lag k is the Frobenius norm of d h_T / d carry_{T-k}, the derivative of the
output at step T by the whole carry after step T-k: lag 1 is one step of the cell. It is what a
gradient that starts at T is multiplied by on its way to T-k, so where it is small nothing that the
cell did there can be learned from an error at T (Hochreiter 1991; Bengio, Simard & Frasconi 1994;
Pascanu, Mikolov & Bengio 2013).

Everything is for one example, to be mapped over a batch, and told as a natural logarithm, so that
1e-300 and 1e+300 are numbers in float32; -inf is a derivative that is exactly zero.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lstm_jax.arrays import Inputs, Key, PyTree, Vector
from lstm_jax.cells.base import Cell
from lstm_jax.cells.rnn import RNNParams
from lstm_jax.errors import InputError
from lstm_jax.inspection import gate_values
from lstm_jax.why.jacobian_products import (
    backward,
    before,
    carry_shapes,
    leaf_names,
    leaf_slices,
    log_norm,
    log_root_sum,
    vector_dtype,
)

OUTPUT = "output"
_KEEPING = ("effective", "forget", "update")  # gates that keep, the first that there is


class LogNorms(NamedTuple):
    """Natural logarithms of norms.

    Attributes:
      log: of each norm; -inf where it is zero.
      error: standard error of `log` from the probes; zero where the norm is exact.
    """

    log: Array
    error: Array


class Reach(NamedTuple):
    """Norms of Jacobians against the lag, from lag 1 on.

    Attributes:
      whole: by the whole carry, `[lags, targets]`.
      by_leaf: by each of `leaf_names(cell)`, `[lags, targets, leaves]`.
    """

    whole: LogNorms
    by_leaf: LogNorms


class Probes(NamedTuple):
    """How Jacobians that are too large to be formed are estimated.

    For Gaussian v the mean of |v J|^2 is the squared Frobenius norm of J, so the mean over some v
    is an unbiased estimate of it.

    Attributes:
      key: that the directions are drawn from.
      count: directions for each target; at least 2, for there is a standard error.
    """

    key: Key
    count: int


def carry_reach(
    cell: Cell,
    params: PyTree,
    inputs: Inputs,
    last: Array | int,
    longest: int,
    *,
    targets: tuple[str, ...] = (OUTPUT,),
    probes: Probes | None = None,
) -> Reach:
    """Frobenius norms of the derivatives of what a cell has at one step by an earlier carry.

    A complex leaf counts as its real and its imaginary part; integer leaves have no derivative.

    Args:
      cell: one example's recurrence.
      params: its parameters.
      inputs: `[time, input]`.
      last: T, the step that is asked about, from `longest` on. The carry that is reached at lag T
        is the initial one, before any input, where derivatives are others: leave some steps before.
      longest: the largest lag.
      targets: of which derivatives are taken: `output`, h_T, or a leaf of the carry after step T.
      probes: for an estimate; None for exact products, which cost as many rows as the targets have
        numbers.

    Returns:
      Norms at the lags 1 to `longest`.

    Raises:
      InputError: a target that the cell does not have, or fewer than 2 probes.
    """
    leaves = dict(zip(leaf_names(cell), leaf_slices(cell), strict=True))
    for target in targets:
        if target not in (OUTPUT, *leaves):
            allowed = ", ".join((OUTPUT, *leaves))
            raise InputError(f"targets={target}: allowed for this cell are {allowed}")
    if probes is not None and probes.count < 2:
        raise InputError(f"probes={probes.count}: must be at least 2")
    weights, given = before(cell, params, inputs, last, longest)
    numbers = sum(part.stop - part.start for part in leaves.values())
    rows = [_rows(cell, leaves, numbers, target, probes) for target in targets]
    ends = np.cumsum([len(output_rows) for output_rows, _ in rows])[:-1].tolist()
    both = tuple(jnp.concatenate(parts) for parts in zip(*rows, strict=True))

    def measure(carry_rows, input_rows):
        del input_rows
        norms = [log_norm(carry_rows[:, part]) for part in leaves.values()]
        return jnp.stack([log_norm(carry_rows), *norms], axis=1)

    logs = backward(cell, weights, given, both, measure)
    parts = [_over_rows(part, probes) for part in jnp.split(logs, ends, axis=1)]
    log, error = (jnp.stack(fields, axis=1) for fields in zip(*parts, strict=True))
    return Reach(
        LogNorms(log[..., 0], error[..., 0]),
        LogNorms(log[..., 1:], error[..., 1:]),
    )


def _rows(
    cell: Cell, leaves: dict[str, slice], numbers: int, target: str, probes: Probes | None
) -> tuple[Array, Array]:
    """The cotangents whose way back tells a target's Jacobian: by output and by carry."""
    size = cell.output_size if target == OUTPUT else leaves[target].stop - leaves[target].start
    dtype = vector_dtype(cell)
    if probes is None:
        directions = jnp.eye(size, dtype=dtype)
    else:
        key = jax.random.fold_in(probes.key, (OUTPUT, *leaves).index(target))
        directions = jax.random.normal(key, (probes.count, size), dtype)
    of_output = jnp.zeros((len(directions), cell.output_size), dtype)
    of_carry = jnp.zeros((len(directions), numbers), dtype)
    if target == OUTPUT:
        return directions, of_carry
    return of_output, of_carry.at[:, leaves[target]].set(directions)


def _over_rows(logs: Array, probes: Probes | None) -> LogNorms:
    """`[lags, rows, parts]` to `[lags, parts]`."""
    if probes is None:
        log = log_root_sum(logs, axis=1)
        return LogNorms(log, jnp.zeros_like(log))
    log = log_root_sum(logs, axis=1) - 0.5 * math.log(probes.count)
    # Squares in units of their mean. The error of half a logarithm is half the relative error.
    reached = jnp.isfinite(log)
    squares = jnp.exp(2 * (logs - jnp.where(reached, log, jnp.zeros_like(log))[:, None]))
    error = 0.5 * jnp.std(squares, axis=1, ddof=1) / math.sqrt(probes.count)
    return LogNorms(log, jnp.where(reached, error, jnp.zeros_like(error)))


def input_reach(
    cell: Cell,
    params: PyTree,
    inputs: Inputs,
    last: Array | int,
    longest: int,
    cotangent: Vector,
) -> Float[Array, " lags"]:
    """The norm of the derivative of a loss by each input before it, against the lag.

    Args:
      cell: one example's recurrence.
      params: its parameters.
      inputs: `[time, input]`, as the cell takes them: tokens as one-hot or embedding vectors.
      last: T, the step whose output the loss is of, from `longest` on.
      longest: the largest lag.
      cotangent: the derivative of the loss by the output at T, `[output]`.

    Returns:
      Natural logarithms of |d loss / d x_{T-k}| at the lags k = 0 to `longest`.
    """
    weights, given = before(cell, params, inputs, last, longest + 1)
    nothing = jnp.zeros((1, leaf_slices(cell)[-1].stop), cotangent.dtype)
    logs = backward(
        cell,
        weights,
        given,
        (cotangent[None], nothing),
        lambda carry_rows, input_rows: log_norm(input_rows)[:, None],
    )
    return logs[:, 0, 0]


def direct_leaf(cell: Cell, params: PyTree, inputs: Inputs) -> str | None:
    """The leaf of the carry that a cell keeps by a gate, elementwise: C_t = f_t C_{t-1} + ...

    The gate f is the one named `effective` (UR-LSTM) or else `forget`, or 1 - z of one named z =
    `update`.

    Returns:
      `memory`, or `hidden` of a cell without; None where no gate stands so, or where the memory is
      carried in units that change from step to step.
    """
    names = leaf_names(cell)
    leaf = "memory" if "memory" in names else "hidden"
    if cell.gates is None or leaf not in names or "stabilizer" in names:
        return None
    gates = jax.eval_shape(lambda params, inputs: gate_values(cell, params, inputs), params, inputs)
    kept = next((gates[name] for name in _KEEPING if name in gates), None)
    carried = getattr(carry_shapes(cell), leaf)
    return leaf if kept is not None and kept.shape[1:] == carried.shape else None


def direct_path(
    cell: Cell, params: PyTree, inputs: Inputs, last: Array | int, longest: int
) -> Float[Array, " lags"]:
    """The way through `direct_leaf` alone: the Frobenius norm of diag(f_T f_{T-1} ... ), k factors
    at lag k, which is what d C_T / d C_{T-k} would be if no gate and no candidate looked at the
    past. Arguments as for `carry_reach`; the cell has a `direct_leaf`.

    Returns:
      Natural logarithms at the lags 1 to `longest`.
    """
    gates = gate_values(cell, params, inputs)
    name = next(name for name in _KEEPING if name in gates)
    log_kept = jnp.log1p(-gates[name]) if name == "update" else jnp.log(gates[name])
    log_kept = log_kept[last - jnp.arange(longest)].reshape(longest, -1)
    return log_root_sum(jnp.cumsum(log_kept, axis=0), axis=1)


def log_bound(params: PyTree, lags: Sequence[int]) -> np.ndarray | None:
    """The bound of Pascanu, Mikolov & Bengio 2013 on the reach of an Elman network.

    Its activation (tanh or ReLU) has no slope above 1, so |d h_T / d h_{T-k}| <= s^k with s the
    largest singular value of U. Where s < 1 the gradient must vanish; s > 1 is necessary to
    explode, not sufficient.

    Returns:
      Natural logarithms of sqrt(hidden) s^k at the lags k, the root because the reach is a
      Frobenius norm; None for other cells.
    """
    if not isinstance(params, RNNParams):
        return None
    kernel = np.asarray(params.recurrent_kernel, np.float64)
    return 0.5 * np.log(len(kernel)) + np.asarray(lags) * np.log(np.linalg.norm(kernel, 2))
