"""The contract of a task: how examples of one gap are drawn, and what counts as solved.

A constructor named as the task takes the gap and returns the tuple::

    def recall(gap: int, *, option=default) -> Task

What every registered task must satisfy is written once, as the clauses of `tasks/check.py`.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lstm_jax import datasets, keys
from lstm_jax.arrays import Key, PyTree
from lstm_jax.errors import InputError

Split = Literal["monitor", "report"]
SURE = 30.0  # logit of an answer that is certain
EVALUATION_SIZES = {"monitor": 512, "report": 2048}
GENERATED = "CC0-1.0"  # licence of examples that are made of random numbers


class Example(NamedTuple):
    """One example; `uses` are the moments at which an answer is asked for.

    Attributes:
      inputs: `[time]` integers (tokens) or `[time, input]` (dense).
      targets: `[uses]` class, or `[uses, output]` value.
      weights: `[uses]`; 0 where there is no such use.
      info_times: `[uses, infos]`, the steps of the inputs that the answer depends on; -1 where
        there are fewer. The question, which stands at the use itself, is not among them.
      use_times: `[uses]`, the step at which the answer is read; -1 where there is no such use.
      lag: `[uses]`, use time minus time of the last relevant input; -1 where there is no such use.
        A use that asks for nothing past, such as the blanks before a copy, has a use time and a
        weight, but neither info times nor a lag: it is trained, and not counted in accuracy. The
        input at the use itself may tell its answer.
    """

    inputs: Array
    targets: Array
    weights: Array
    info_times: Array
    use_times: Array
    lag: Array


class SampleFn(Protocol):
    """Draws one example. `data` is what `Task.load` returned, `()` for generated tasks."""

    def __call__(self, data: PyTree, key: Key) -> Example: ...


class Floors(NamedTuple):
    """What a language model is measured by; only the data tell. Attributes as those of `Task`."""

    blind: np.ndarray
    chance: float
    blind_loss: float
    solved_at: float


class Task(NamedTuple):
    """A task at one gap.

    Attributes:
      name: as registered.
      gap: the minimal time lag in steps (Hochreiter & Schmidhuber 1997): the smallest `lag` over
        examples of the uses that count; None for language modelling, where nobody knows it: there
        every use has the input at its own step for its only info time, and lag 0.
      kind: `tokens` or `dense`.
      input_size: number of symbols, or features of one input.
      output_size: width of a prediction.
      length: steps of one example.
      sample: one example from data and a key.
      loss: prediction `[output_size]`, target -> scalar.
      correct: prediction `[output_size]`, target -> bool.
      blind: the prediction `[output_size]` of a stated blind predictor, the best that one can
        answer without looking; `[uses, output_size]` where that depends on which use it is.
      chance: accuracy of the blind predictor.
      blind_loss: its loss, or that of `loss_blind`.
      solved_at: accuracy at which the task counts as solved.
      oracle: inputs -> targets `[uses]`, from the inputs alone; None for real data.
      load: () -> data, a pytree of arrays, read once, and for all gaps at once where it is one
        function at all of them; `()` for generated tasks.
      evaluation_set: data, split -> batched Example; None for `EVALUATION_SIZES` fresh examples
        drawn with the split's own key.
      swept_by: what the constructor's argument is: `gap`, or `length` for layouts whose source
        sweeps the length of the sequence.
      fixed_position: True where the relevant inputs stand at the same steps in every example.
      loss_blind: the blind prediction of the lowest loss, where that is not `blind`.
      ceiling: accuracy of the oracle, the best that can be; below 1 where inputs are noisy.
      joint: True where relevant inputs of one use bound those of another, such as keys that must
        all differ, so that one alone cannot be changed.
      licence: of the examples: CC0 for what is drawn from keys alone; tasks that load data say that
        of their data, with its source.
      floors: where `gap` is None: data -> the fields of these names, which are then NaN until the
        data are there (see `loaded`); None where they hang on no data.
      data_set: the set of TFDS that a person must have prepared before `load`, as
        `datasets.prepared` takes it; None where there is none.
      zero_data: with `data_set`: () -> zeros in the structure of what `load` returns, of any
        lengths, from which to read what hangs on no values.
      counted_from: the smallest lag of a use that counts in accuracy. Uses of shorter lags are
        trained, and have their lags in every example, but whether a task is solved does not hang on
        them.
      noisy_targets: True where the targets that `sample` draws are noisy. The oracle's answers are
        then their expectations given the inputs, and stand in place of the targets wherever
        something is scored: in the evaluation sets, and in what `blind_loss` is the loss of.
    """

    name: str
    gap: int | None
    kind: Literal["tokens", "dense"]
    input_size: int
    output_size: int
    length: int
    sample: SampleFn
    loss: Callable[[Array, Array], Array]
    correct: Callable[[Array, Array], Array]
    blind: np.ndarray
    chance: float
    blind_loss: float
    solved_at: float
    oracle: Callable[[Array], Array] | None = None
    load: Callable[[], PyTree] = tuple
    evaluation_set: Callable[[PyTree, Split], Example] | None = None
    swept_by: Literal["gap", "length"] = "gap"
    fixed_position: bool = False
    loss_blind: np.ndarray | None = None
    ceiling: float = 1.0
    joint: bool = False
    licence: str = GENERATED
    floors: Callable[[PyTree], Floors] | None = None
    data_set: str | None = None
    zero_data: Callable[[], PyTree] | None = None
    counted_from: int = 0
    noisy_targets: bool = False


TaskConstructor = Callable[..., Task]


def loaded(task: Task) -> tuple[Task, PyTree]:
    """The task with all that its data tell about it, and the data."""
    data = task.load()
    return with_floors(task, data), data


def with_floors(task: Task, data: PyTree) -> Task:
    """The task with the fields that only its data tell."""
    return task if task.floors is None else task._replace(**task.floors(data)._asdict())


def require_data(task: Task) -> None:
    """Whether `load` will find its data; reads nothing, and takes no time.

    Raises:
      InputError: it will not; the message is the command that prepares them.
      MissingExtraError: the extra `data` is not installed.
    """
    if task.data_set is not None:
        datasets.require_prepared(task.data_set)


def evaluation_set(task: Task, data: PyTree, split: Split) -> Example:
    """The task's fixed examples of a split, batched. They hang on the task alone, so that cells and
    seeds are compared on the same examples."""
    if task.evaluation_set is not None:
        return task.evaluation_set(data, split)
    # Always as many, so that a sampler is compiled once for both sets.
    example_keys = jax.random.split(keys.evaluation(split), max(EVALUATION_SIZES.values()))
    drawn = noise_free(task, _batched(task.sample)(data, example_keys))
    size = EVALUATION_SIZES[split]
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[:size]), drawn)


@functools.lru_cache(maxsize=32)
def _batched(sample: SampleFn) -> Callable[[PyTree, Key], Example]:
    return jax.jit(jax.vmap(sample, in_axes=(None, 0)))


def noise_free(task: Task, examples: Example) -> Example:
    """Batched examples with the expectations of their targets, where these are noisy."""
    if not task.noisy_targets:
        return examples
    return examples._replace(targets=jax.vmap(task.oracle)(examples.inputs))


def training_batch(task: Task, data: PyTree, root: Key, update: Array, size: int) -> Example:
    """The examples of one update of a trial, batched.

    Args:
      task: what they are of.
      data: what it loaded.
      root: root key of the trial's seed.
      update: updates done before.
      size: how many.
    """
    data_keys = jax.random.split(keys.data(root, update), size)
    return jax.vmap(task.sample, in_axes=(None, 0))(data, data_keys)


def stop_at(task: Task) -> float:
    """Monitor accuracy at which training stops when reached twice in a row: halfway from
    `solved_at` to 1."""
    return (task.solved_at + 1) / 2


def example_loss(task: Task, predictions: Array, example: Example) -> Array:
    """Weighted mean over uses of the loss of one example."""
    losses = jax.vmap(task.loss)(predictions, example.targets)
    return jnp.sum(losses * example.weights) / jnp.sum(example.weights)


def counted(task: Task, example: Example) -> Array:
    """`[uses]`, what each use counts for in accuracy: its weight, or 0 where it asks for nothing
    past, or at a shorter lag than the task counts from."""
    counts = example.lag >= task.counted_from
    return jnp.where(counts, example.weights, jnp.zeros_like(example.weights))


def classification(*, classes: int, **fields) -> Task:
    """A task of equally likely classes: cross entropy, a blind guess right in 1/classes, solved
    at 0.9 unless `fields` say otherwise."""
    standard = {
        "output_size": classes,
        "loss": cross_entropy,
        "correct": classified,
        "blind": np.zeros(classes, np.float32),
        "chance": 1 / classes,
        "blind_loss": float(np.log(classes)),
        "solved_at": 0.9,
    }
    return Task(**{**standard, **fields})


def below(bits: Array, size: int) -> Array:
    """Whole numbers from 0 to size - 1 from random bits (uint32); none is favoured by more than one
    part in 2**32 / size."""
    return (bits % jnp.uint32(size)).astype(jnp.int32)


def whole(uniform: Array, count: int | Array) -> Array:
    """Whole numbers from 0 to `count` - 1, each as likely, from numbers in [0, 1)."""
    return jnp.floor(uniform * jnp.asarray(count, jnp.float32)).astype(jnp.int32)


def longest_lead_in(lead_in: int, length: int | None, needed: int) -> int:
    """How many steps may stand before the first relevant one.

    Args:
      lead_in: as asked for; not read with `length`.
      length: steps of an example, the same at every gap; None for as few as there must be.
      needed: steps without the lead-in.

    Raises:
      InputError: a negative lead-in, or a length in which these steps do not fit.
    """
    if length is None:
        require_whole("lead_in", lead_in, 0)
        return lead_in
    require_whole("length", length, needed)
    return length - needed


def cross_entropy(prediction: Array, target: Array) -> Array:
    """Minus log softmax(prediction) at the class `target`, in nats."""
    return jax.nn.logsumexp(prediction) - prediction[target]


def classified(prediction: Array, target: Array) -> Array:
    """Whether the largest entry of the prediction is at the class `target`."""
    return jnp.argmax(prediction) == target


def squared_error(prediction: Array, target: Array) -> Array:
    """Mean over the outputs of the squared difference."""
    return jnp.mean(jnp.square(prediction - target))


def require_whole(name: str, value: Any, least: int) -> None:
    """Raises InputError, in one line, where `value` is not a whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}={value}: must be a whole number, at least {least}")
