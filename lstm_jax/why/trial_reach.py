"""The gradient reach of a sweep's networks: the cell of a trial, on sequences of its task.

`reach_at_initialisation` is the light one, for seconds: what a trial's cells reach before they are
trained. `looks` gives everything that `experiments/gradient_reach.py` writes down.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import keys
from lstm_jax.arrays import Array, Key, PyTree, count
from lstm_jax.errors import InputError
from lstm_jax.layers.base import Layer
from lstm_jax.programs import quick_jit
from lstm_jax.tasks.base import EVALUATION_SIZES, Task, loaded, require_whole
from lstm_jax.training import Assembly, assemble, build_task
from lstm_jax.trial import Catalogue, Trial
from lstm_jax.unroll import unroll
from lstm_jax.why.gradient_reach import (
    OUTPUT,
    LogNorms,
    Probes,
    carry_reach,
    direct_leaf,
    direct_path,
    input_reach,
    log_bound,
)
from lstm_jax.why.jacobian_products import carry_shapes, leaf_names
from lstm_jax.why.sequences import Sequences, long_sequences, sequences

# Carries of more numbers are estimated from probes: exact products cost a row a number.
MOST_EXACT = 256
PROBES = 32


class InputLook(NamedTuple):
    """How a network's loss at the last use of an example depends on its inputs.

    Attributes:
      log_reach: at the lags 0 to the gap: the geometric mean over examples of the norm of the
        derivative by the input, as a natural logarithm.
      loss: mean over the whole monitor set.
      accuracy: likewise.
    """

    log_reach: Array
    loss: Array
    accuracy: Array


class CarryLook(NamedTuple):
    """What the carry of a network reaches, geometric means over examples, as natural logarithms.

    Attributes:
      whole: the output by the whole carry, `[lags]`.
      by_leaf: by each leaf, `[lags, leaves]`.
      memory: `Looks.direct` by itself, d C_T / d C_{T-k}, `[lags]`; None without.
      direct: the direct path through it, `[lags]`; None without.
    """

    whole: LogNorms
    by_leaf: LogNorms
    memory: LogNorms | None
    direct: Array | None


class Looks(NamedTuple):
    """Compiled functions that look at networks of one kind.

    Attributes:
      init: seed -> the parameters of the network before training.
      carry: params, seed of the probes -> CarryLook, at the lags that were asked for.
      inputs: params -> InputLook.
      bound: params -> `log_bound` at the lags, or None.
      leaves: names of the carry's leaves.
      direct: the leaf with a direct path, or None.
      probes: directions a target; 0 where products are exact.
      sequences_gap: the gap of the sequences that the carry is looked at on.
      parameters: of the network.
    """

    init: Callable[[int], PyTree]
    carry: Callable[[PyTree, int], CarryLook]
    inputs: Callable[[PyTree], InputLook]
    bound: Callable[[PyTree], np.ndarray | None]
    leaves: tuple[str, ...]
    direct: str | None
    probes: int
    sequences_gap: int
    parameters: int


class InitialReach(NamedTuple):
    """What networks reach before training.

    Attributes:
      log_reach: natural logarithm of the reach, `[seeds, lags]`; -inf where it is zero.
      error: its standard error from the probes; zero where exact.
    """

    log_reach: np.ndarray
    error: np.ndarray


def reach_at_initialisation(
    trial: Trial,
    catalogue: Catalogue,
    lags: Sequence[int],
    *,
    seeds: Sequence[int] | None = None,
    examples: int = 16,
    probes: int = 0,
) -> InitialReach:
    """How far back a gradient reaches in a trial's network before its first update.

    In seconds, with the trial of a sweep's row or one that `make_sweep` makes of a user's cell::

        log_reach = reach_at_initialisation(trial, catalogue, lags=[1, trial.gap]).log_reach
        ratio = np.exp(log_reach[:, 1] - log_reach[:, 0])

    Args:
      trial: whose task, cell and sizes; parameters are those that its training starts from.
      catalogue: what its specs are read against.
      lags: in steps, rising from 1 up.
      seeds: of parameters; the trial's own if None.
      examples: over which the geometric mean is taken.
      probes: directions for an estimate; 0 for exact products up to `MOST_EXACT` numbers of a carry
        and `PROBES` directions beyond.

    Raises:
      InputError: as `looks`.
    """
    found = looks(trial, catalogue, lags, examples=examples, probes=probes, memory=False)
    whole = [
        found.carry(found.init(seed), seed).whole
        for seed in ([trial.seed] if seeds is None else seeds)
    ]
    return InitialReach(*(np.asarray(part, np.float64) for part in zip(*whole, strict=True)))


def recurrent(trial: Trial, catalogue: Catalogue) -> Assembly:
    """The trial's assembly.

    Raises:
      InputError: it cannot be, or is no single layer that carries something from step to step.
    """
    assembly = assemble(trial, catalogue)
    if isinstance(assembly.cell, Layer):
        raise InputError(f"{trial.cell}: carries nothing from step to step")
    if trial.layers != 1:
        raise InputError(f"layers={trial.layers}: the reach is that of one layer")
    return assembly


def looks(
    trial: Trial,
    catalogue: Catalogue,
    lags: Sequence[int],
    *,
    examples: int = 16,
    probes: int = 0,
    memory: bool = True,
) -> Looks:
    """Builds the functions that look at a trial's networks; they are compiled when called.

    The carry is looked at on the first `examples` of the monitor set of the task at a gap of
    `sequences.WARM_UP` + the largest lag, so that nothing relevant stands within the lags and no
    carry there is the initial one; the inputs on those of the task at the trial's own gap. No noise
    is drawn.

    Args:
      trial: of one layer, a cell; with `train_gaps`, at its `gap`.
      catalogue: what its specs are read against.
      lags: as for `reach_at_initialisation`, as the others.
      examples: as there.
      probes: as there.
      memory: whether to look at the memory and its direct path, too.

    Raises:
      InputError: a trial that cannot be or has no carry; lags that do not rise from 1 up, or that
        no sequence of the task holds; a number of examples or probes that cannot be.
    """
    require_whole("examples", examples, 1)
    require_whole("probes", probes, 0)
    if not lags or lags[0] < 1 or any(b <= a for a, b in itertools.pairwise(lags)):
        raise InputError(f"lags={list(lags)}: they must rise, from 1 up")
    assembly = recurrent(trial, catalogue)
    cell = assembly.cell
    sequences_gap, far = long_sequences(trial, catalogue, lags[-1], examples)
    task, data = loaded(build_task(catalogue, trial.task, trial.gap))
    scored = sequences(task, data, EVALUATION_SIZES["monitor"])
    near = jax.tree.map(lambda leaf: leaf[:examples], scored)
    numbers = count(carry_shapes(cell))
    probes = probes or (0 if numbers <= MOST_EXACT else PROBES)
    direct = _direct(assembly) if memory else None
    at_lags = np.asarray(lags) - 1
    carry = jax.jit(partial(_carry_look, assembly, trial.matmul_precision, at_lags, direct, probes))
    inputs = jax.jit(partial(_input_look, assembly, task, trial.matmul_precision, trial.gap))
    return Looks(
        init=quick_jit(lambda seed: assembly.network.init(keys.init(keys.root(seed)))),
        carry=lambda params, seed: carry(params, far, keys.root(seed)),
        inputs=lambda params: inputs(params, near, scored),
        bound=lambda params: log_bound(_of_cell(params), lags),
        leaves=leaf_names(cell),
        direct=direct,
        probes=probes,
        sequences_gap=sequences_gap,
        parameters=assembly.network.parameters,
    )


def _of_cell(params: PyTree) -> PyTree:
    (own,) = params["layer_params"].values()
    return own


def _vectors(assembly: Assembly, params: PyTree, inputs: Array) -> Array:
    """The inputs of one example as the cell takes them."""
    if assembly.task.kind != "tokens":
        return inputs
    table = params["embedding"] if "embedding" in params else jnp.eye(assembly.task.input_size)
    return table[inputs]


def _direct(assembly: Assembly) -> str | None:
    params = jax.eval_shape(assembly.network.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((2, assembly.cell_input_size), jnp.float32)
    return direct_leaf(assembly.cell, _of_cell(params), inputs)


def _carry_look(
    assembly: Assembly,
    precision: str,
    at_lags: np.ndarray,
    direct: str | None,
    probes: int,
    params: PyTree,
    sequences: Sequences,
    key: Key,
) -> CarryLook:
    cell, own, longest = assembly.cell, _of_cell(params), int(at_lags[-1]) + 1
    targets = (OUTPUT,) if direct is None else (OUTPUT, direct)

    def one(inputs, last, key):
        where = cell, own, _vectors(assembly, params, inputs), last, longest
        drawn = Probes(key, probes) if probes else None
        reach = carry_reach(*where, targets=targets, probes=drawn)
        whole, by_leaf = jax.tree.map(lambda leaf: leaf[at_lags], reach)
        output = jax.tree.map(lambda leaf: leaf[:, 0], (whole, by_leaf))
        if direct is None:
            return CarryLook(*output, None, None)
        leaf = leaf_names(cell).index(direct)
        memory = jax.tree.map(lambda norms: norms[:, 1, leaf], by_leaf)
        return CarryLook(*output, memory, direct_path(*where)[at_lags])

    example_keys = jax.random.split(key, len(sequences.last))
    with jax.default_matmul_precision(precision):
        found = jax.vmap(one)(sequences.inputs, sequences.last, example_keys)
    return jax.tree.map(_mean, found, is_leaf=lambda node: isinstance(node, LogNorms))


def _mean(found: LogNorms | Array) -> LogNorms | Array:
    """Over the examples, of logarithms: a geometric mean."""
    if not isinstance(found, LogNorms):
        return found.mean(axis=0)
    error = jnp.sqrt(jnp.square(found.error).sum(axis=0)) / len(found.error)
    return LogNorms(found.log.mean(axis=0), error)


def _input_look(
    assembly: Assembly,
    task: Task,
    precision: str,
    longest: int,
    params: PyTree,
    near: Sequences,
    scored: Sequences,
) -> InputLook:
    cell, own = assembly.cell, _of_cell(params)

    def reach(inputs, last, use, targets):
        vectors = _vectors(assembly, params, inputs)

        def loss(output):
            prediction = output @ params["readout_kernel"] + params["readout_bias"]
            return task.loss(prediction, targets[use])

        cotangent = jax.grad(loss)(unroll(cell, own, vectors, method="scan").outputs[last])
        return input_reach(cell, own, vectors, last, longest, cotangent)

    with jax.default_matmul_precision(precision):
        log_reach = jax.vmap(reach)(*near).mean(axis=0)
        uses = assembly.network.apply(params, scored.inputs, scored.last[:, None], None)
    targets = jax.vmap(lambda targets, use: targets[use])(scored.targets, scored.use)
    predictions = uses[:, 0]
    loss = jax.vmap(task.loss)(predictions, targets).mean()
    return InputLook(log_reach, loss, jax.vmap(task.correct)(predictions, targets).mean())
