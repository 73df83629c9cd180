"""A cohort: trials that share one compiled program, from keys to trained parameters.

The trial axis is sharded over every device (on CPU one device a core). Within a device the trials
run one after another under `lax.map` on CPU, which was measured to be faster there, and side by
side under `vmap` on accelerators, to fill them. Examples are drawn inside the program, so there is
no input pipeline.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lstm_jax import keys
from lstm_jax.arrays import Array, PyTree, count
from lstm_jax.cells.base import Cell
from lstm_jax.gaps import parse_gaps
from lstm_jax.information import bits
from lstm_jax.layers.base import Layer, layer
from lstm_jax.network import FunctionalNetwork, first_layer_input_size, functional
from lstm_jax.optimizers import direction
from lstm_jax.tasks.base import Example, Task, counted, example_loss, training_batch
from lstm_jax.tasks.mixture import mixture
from lstm_jax.trial import Catalogue, Trial

EVALUATION_BLOCK = 512  # examples that one call of `evaluate` scores, or fewer
Inner = Literal["map", "vmap"]


class Assembly(NamedTuple):
    """What a trial is made of, built once per cohort."""

    task: Task
    cell: Cell | Layer
    cell_input_size: int
    network: FunctionalNetwork
    optimizer: optax.GradientTransformationExtraArgs


class State(NamedTuple):
    """Everything that training carries from update to update; no key, for keys are folded."""

    params: PyTree
    optimizer: PyTree
    update: Array  # updates done


class Progress(NamedTuple):
    """Means over the updates of one call of `advance`; NaN where there were none."""

    train_loss: Array
    gradient_norm: Array


class Score(NamedTuple):
    """Sums over the examples of one block; `bits` over its even and its odd ones apart."""

    loss: Array
    correct: Array
    weight: Array
    bits: Array


class Program(NamedTuple):
    """A cohort's compiled functions. Every array argument and result has a leading trial axis, of
    the length that the program was built for; examples and data are shared.

    Attributes:
      init: seeds -> State.
      advance: state, seeds, learning rates, until, data -> State, Progress. Each trial goes on to
        its own `until`; one that is there already stays as it is. The state is donated.
      evaluate: params, active, examples `[block, ...]`, weights `[block]` -> Score. Trials that
        are not active are skipped and score zero.
      place: puts a host array with a trial axis on the devices.
      fetch: gives arrays with a trial axis as host arrays; with devices of several processes, the
        whole of them to each.
    """

    init: Callable[[Array], State]
    advance: Callable[..., tuple[State, Progress]]
    evaluate: Callable[..., Score]
    place: Callable[[PyTree], PyTree]
    fetch: Callable[[PyTree], PyTree]


def assemble(trial: Trial, catalogue: Catalogue) -> Assembly:
    """Builds task, cell, network and optimizer of a trial.

    Raises:
      InputError: a spec or a combination that cannot be.
    """
    task = trained_task(catalogue, trial.task, trial.gap, trial.train_gaps)
    cell_spec = catalogue.cell(trial.cell)
    build_cell = partial(catalogue.cells[cell_spec.name], **cell_spec.arguments(trial.gap))
    models = []
    first_size = first_layer_input_size(task.kind, task.input_size, trial.embedding_size)
    input_size = first_size
    for _ in range(trial.layers):
        models.append(build_cell(input_size, trial.hidden_size))
        input_size = models[-1].output_size
    network = functional(
        [
            model if isinstance(model, Layer) else layer(model, method=trial.unroll or "auto")
            for model in models
        ],
        kind=task.kind,
        input_size=task.input_size,
        output_size=task.output_size,
        embedding_size=trial.embedding_size,
    )
    return Assembly(task, models[0], first_size, network, direction(trial.optimizer, trial.clip))


def build_task(catalogue: Catalogue, task: str, gap: int) -> Task:
    """A task at a gap; raises InputError where its layout cannot have that gap."""
    spec = catalogue.task(task)
    return catalogue.tasks[spec.name](gap, **spec.arguments(gap))


def trained_task(catalogue: Catalogue, task: str, gap: int, train_gaps: str) -> Task:
    """The task that a trial is trained on: at its gap, or at the gaps of its mixture.

    Raises:
      InputError: its layout cannot have such a gap, or these gaps cannot be mixed.
    """
    gaps = parse_gaps(train_gaps) if train_gaps else (gap,)
    return mixture([build_task(catalogue, task, gap) for gap in gaps])


def default_inner() -> Inner:
    """How trials run inside a device: `map` on CPU, `vmap` on accelerators."""
    return "map" if jax.default_backend() == "cpu" else "vmap"


def padded_size(trials: int, devices: int) -> int:
    """The trial axis is padded to a multiple of the devices."""
    return -(-trials // devices) * devices


def make_program(
    assembly: Assembly,
    trials: int,
    *,
    batch_size: int,
    matmul_precision: str,
    devices: list[jax.Device] | None = None,
    inner: Inner | None = None,
) -> Program:
    """Builds the functions of a cohort; nothing is compiled before `compile_program` or a call.

    Args:
      assembly: what is trained.
      trials: length of the trial axis, a multiple of the number of devices.
      batch_size: sequences an update.
      matmul_precision: as `jax.default_matmul_precision` takes it.
      devices: all local ones if None.
      inner: how trials run inside a device; `default_inner()` if None.
    """
    devices = jax.devices() if devices is None else devices
    inner = default_inner() if inner is None else inner
    mesh = Mesh(np.asarray(devices), ("trial",), axis_types=(AxisType.Auto,))
    assert trials % len(devices) == 0, (trials, len(devices))

    def sharded(function, shared: int, **jit_options):
        """`function` of one trial, over the trial axis; the last `shared` arguments have none."""

        def over_trials(*arguments):
            own = arguments[: len(arguments) - shared]
            rest = arguments[len(arguments) - shared :]
            if inner == "vmap":
                return jax.vmap(lambda *one: function(*one, *rest))(*own)
            return lax.map(lambda one: function(*one, *rest), own)

        def call(*arguments):
            own = len(arguments) - shared
            specs = (P("trial"),) * own + (P(),) * shared
            with jax.default_matmul_precision(matmul_precision):
                return jax.shard_map(
                    over_trials, mesh=mesh, in_specs=specs, out_specs=P("trial"), check_vma=False
                )(*arguments)

        return jax.jit(call, **jit_options)

    return Program(
        init=sharded(partial(initial_state, assembly), shared=0),
        advance=sharded(partial(_advance, assembly, batch_size), shared=1, donate_argnums=0),
        evaluate=sharded(partial(_evaluate, assembly), shared=2),
        place=lambda tree: jax.device_put(tree, NamedSharding(mesh, P("trial"))),
        fetch=_fetch_from_all if mesh.is_multi_process else _fetch,
    )


def _fetch(tree: PyTree) -> PyTree:
    # np.array, not asarray: on CPU the latter is a view of a buffer that may be donated next.
    return jax.tree.map(np.array, tree)


def _fetch_from_all(tree: PyTree) -> PyTree:
    from jax.experimental import multihost_utils

    return jax.tree.map(np.array, multihost_utils.process_allgather(tree, tiled=True))


def initial_state(assembly: Assembly, seed: Array | int) -> State:
    """A trial before its first update."""
    params = assembly.network.init(keys.init(keys.root(seed)))
    return State(params, assembly.optimizer.init(params), jnp.int32(0))


def _advance(
    assembly: Assembly,
    batch_size: int,
    state: State,
    seed: Array,
    learning_rate: Array,
    until: Array,
    data: PyTree,
) -> tuple[State, Progress]:
    """One trial's updates up to `until`, all inside one loop on the device."""
    task, network, optimizer = assembly.task, assembly.network, assembly.optimizer
    root = keys.root(seed)

    def loss(params, examples, noise_keys):
        predictions = network.apply(params, examples.inputs, examples.use_times, noise_keys)
        return jnp.mean(jax.vmap(partial(example_loss, task))(predictions, examples))

    def update(carry):
        state, total = carry
        noise_keys = jax.random.split(keys.noise(root, state.update), batch_size)
        examples = training_batch(task, data, root, state.update, batch_size)
        value, gradient = jax.value_and_grad(loss)(state.params, examples, noise_keys)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes floats and integer counts
            steps, optimizer_state = optimizer.update(
                gradient,
                state.optimizer,
                state.params,
                value=value,
                value_fn=lambda params: loss(params, examples, noise_keys),
                key=keys.guesses(root, state.update),
            )
        params = jax.tree.map(
            lambda leaf, step: leaf - (learning_rate * step).astype(leaf.dtype), state.params, steps
        )
        total = Progress(total.train_loss + value, total.gradient_norm + optax.tree.norm(gradient))
        return State(params, optimizer_state, state.update + 1), total

    start = state.update
    zero = jnp.zeros((), jnp.float32)
    state, total = lax.while_loop(
        lambda carry: carry[0].update < until, update, (state, Progress(zero, zero))
    )
    updates = (state.update - start).astype(jnp.float32)
    return state, jax.tree.map(lambda leaf: leaf / updates, total)


def _evaluate(
    assembly: Assembly, params: PyTree, active: Array, examples: Example, valid: Array
) -> Score:
    """One trial's sums over a block of examples; `valid` `[block]` is 0 for padding."""
    task, network = assembly.task, assembly.network

    def one(example, predictions, weight):
        correct = jax.vmap(task.correct)(predictions, example.targets)
        weights = weight * counted(task, example)
        return Score(
            loss=weight * example_loss(task, predictions, example),
            correct=jnp.sum(jnp.where(correct, weights, jnp.zeros_like(weights))),
            weight=jnp.stack([weight, jnp.sum(weights)]),
            bits=bits(task, predictions, example.targets, weights),
        )

    def score():
        predictions = network.apply(params, examples.inputs, examples.use_times, None)
        scores = jax.vmap(one)(examples, predictions, valid)
        halves = jnp.stack([scores.bits[::2].sum(axis=0), scores.bits[1::2].sum(axis=0)])
        sums = jax.tree.map(lambda leaf: leaf.sum(axis=0), scores)
        return sums._replace(bits=halves)

    shapes = jax.eval_shape(score)
    return lax.cond(
        active, score, lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    )


def carry_size(cell: Cell | Layer) -> int:
    """Scalars that a cell hands from step to step; 0 for a layer that is no recurrence."""
    return 0 if isinstance(cell, Layer) else count(_carry_shapes(cell))


def _carry_shapes(cell: Cell) -> PyTree:
    return jax.eval_shape(
        lambda key: cell.initial_carry(cell.prepare(cell.init(key))), jax.random.key(0)
    )


def flops_per_step(cell: Cell | Layer, input_size: int) -> float | None:
    """Floating-point operations of one step of a cell, forward, one example, as XLA counts them;
    None for a layer, which has no steps."""
    if isinstance(cell, Layer):
        return None

    def one_step(weights, carry, inputs):
        return cell.step(weights, carry, cell.project(weights, inputs, None))

    weights = jax.eval_shape(lambda key: cell.prepare(cell.init(key)), jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((input_size,), jnp.float32)
    analysis = jax.jit(one_step).lower(weights, _carry_shapes(cell), inputs).cost_analysis()
    return None if not analysis else analysis.get("flops")
