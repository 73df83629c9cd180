"""Several gaps of one task, mixed: what a network is trained on that is asked about others."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax.errors import InputError
from lstm_jax.tasks.base import Example, Task, evaluation_set


def mixture(tasks: Sequence[Task]) -> Task:
    """A task whose examples are those of several gaps, each as likely.

    An example is drawn at its own gap, with that gap's own layout, and followed by zeros up to the
    length of the longest; they stand behind its last use, where nothing is asked any more.
    A mixture of one gap is that task.

    Args:
      tasks: of one constructor with the same options, of rising gap. They read the same data.

    Returns:
      A task with the smallest gap; its chance and losses are means over the gaps, and it counts as
      solved at the largest of their thresholds.

    Raises:
      InputError: inputs or outputs differ from gap to gap.
    """
    first = tasks[0]
    if len(tasks) == 1:
        return first
    if first.gap is None:
        raise InputError(f"{first.name}: is language modelling, which has no gaps to mix")
    forms = [
        (task.kind, task.input_size, task.output_size, jnp.shape(task.blind)[-1]) for task in tasks
    ]
    for task, form in zip(tasks, forms, strict=True):
        if form != forms[0]:
            raise InputError(
                f"{first.name}: has other inputs or outputs at length {task.length} than at "
                f"{first.length}, so these cannot be mixed"
            )
    length = max(task.length for task in tasks)

    # A vmap over a choice would draw every example at every gap.
    @jax.custom_batching.sequential_vmap
    def sample(data, key):
        which_key, example_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, len(tasks))
        shapes = [jax.eval_shape(task.sample, data, example_key) for task in tasks]
        uses = max(len(shape.weights) for shape in shapes)
        infos = max(shape.info_times.shape[1] for shape in shapes)
        branches = [_padded(task, length, uses, infos) for task in tasks]
        return lax.switch(which, branches, data, example_key)

    def mean(name):
        return float(np.mean([getattr(task, name) for task in tasks]))

    blinds = [task.blind if task.loss_blind is None else task.loss_blind for task in tasks]
    alike = all(np.array_equal(blind, blinds[0]) for blind in blinds)
    own_sets = first.evaluation_set is not None or first.noisy_targets
    return first._replace(
        gap=min(task.gap for task in tasks),
        length=length,
        sample=sample,
        # What a blind guess knows of a use may depend on the gap: then no bits are counted.
        loss=first.loss if alike else lambda prediction, target: first.loss(prediction, target),
        chance=mean("chance"),
        blind_loss=mean("blind_loss"),
        solved_at=max(task.solved_at for task in tasks),
        ceiling=mean("ceiling"),
        oracle=None,
        noisy_targets=False,  # the sets have their expectations for targets
        counted_from=0,
        evaluation_set=_mixed_sets(tasks, length) if own_sets else None,
        fixed_position=False,
    )


def _padded(task: Task, length: int, uses: int, infos: int):
    """`task.sample`, its examples of a given size."""

    def sample(data, key):
        return pad(_counting(task, task.sample(data, key)), length, uses, infos)

    return sample


def _counting(task: Task, example: Example) -> Example:
    """What does not count at its own gap does not in a mixture either: -1 says so at any."""
    return example._replace(lag=jnp.where(example.lag >= task.counted_from, example.lag, -1))


def pad(example: Example, length: int, uses: int, infos: int) -> Example:
    """An example with zeros behind its inputs and with uses that are none behind its uses."""
    steps = length - len(example.inputs)
    more_uses = uses - len(example.weights)
    more_infos = infos - example.info_times.shape[1]

    def behind(leaf, by, value=0):
        rest = [(0, 0)] * (leaf.ndim - 1)
        return jnp.pad(leaf, [(0, by), *rest], constant_values=value)

    info_times = jnp.pad(example.info_times, [(0, 0), (0, more_infos)], constant_values=-1)
    return Example(
        inputs=behind(example.inputs, steps),
        targets=behind(example.targets, more_uses),
        weights=behind(example.weights, more_uses),
        info_times=behind(info_times, more_uses, -1),
        use_times=behind(example.use_times, more_uses, -1),
        lag=behind(example.lag, more_uses, -1),
    )


def _mixed_sets(tasks: Sequence[Task], length: int):
    """Evaluation sets of tasks that have their own: each example at one gap, in turn."""

    def mixed_set(data, split):
        sets = [_counting(task, evaluation_set(task, data, split)) for task in tasks]
        uses = max(own.weights.shape[1] for own in sets)
        infos = max(own.info_times.shape[2] for own in sets)
        padded = [jax.vmap(lambda one: pad(one, length, uses, infos))(own) for own in sets]
        gaps = np.arange(len(padded[0].weights)) % len(tasks)
        rows = np.arange(len(gaps))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[gaps, rows], *padded)

    return mixed_set
