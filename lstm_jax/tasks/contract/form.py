"""Clauses about the tuple and its examples: fields, shapes, values, times, keys."""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import BrokenClauseError, first_line, require
from lstm_jax.tasks.base import GENERATED, Example, Task
from lstm_jax.tasks.contract.case import Case


def fields(case: Case) -> None:
    """The fields of the tuple are of their kind, and fit the argument and each other."""
    task = case.task
    require(isinstance(task, Task), f"the constructor returned a {type(task).__name__}, no Task")
    require(task.kind in ("tokens", "dense"), f"kind is {task.kind!r}: tokens or dense")
    for name in ("input_size", "output_size", "length"):
        value = getattr(task, name)
        require(isinstance(value, int) and value > 0, f"{name} is {value!r}: a positive int")
    require(task.swept_by in ("gap", "length"), f"swept_by is {task.swept_by!r}: gap or length")
    if task.swept_by == "gap" and task.gap is not None:
        require(task.gap == case.argument, f"gap is {task.gap}, but {case.argument} was asked for")
    if task.swept_by == "length":
        require(
            task.length == case.argument,
            f"length is {task.length}, but {case.argument} was asked for (swept_by='length')",
        )
    for name in ("blind", "loss_blind"):
        blind = getattr(task, name)
        if name == "loss_blind" and blind is None:
            continue
        blind = np.asarray(blind)
        require(
            blind.shape[-1:] == (task.output_size,)
            and blind.ndim <= 2
            and blind.dtype == np.float32,
            f"{name} is {blind.dtype}{list(blind.shape)}: must be float32[{task.output_size}], or "
            "one of them a use",
        )
    require(
        task.chance < task.ceiling <= 1,
        f"ceiling is {task.ceiling}: must lie above chance, up to 1",
    )
    require(0 <= task.chance < 1, f"chance is {task.chance}: must lie in [0, 1)")
    require(
        task.chance < task.solved_at <= task.ceiling,
        f"solved_at is {task.solved_at}: must lie above chance, {task.chance:.4g}, up to "
        f"{task.ceiling:g}",
    )
    require(
        task.floors is None or task.gap is None,
        "floors hang on the data only where gap is None",
    )
    require(
        (task.data_set is None) == (task.zero_data is None),
        "data_set and zero_data: give both, or neither",
    )
    require(np.isfinite(task.blind_loss), f"blind_loss is {task.blind_loss}: must be finite")
    require(task.licence, "licence is empty: must say that of the examples")
    require(
        task.load is tuple or task.licence != GENERATED,
        f"licence is {GENERATED}, which is for generated tasks, but the task loads data: must say "
        "the licence of that data",
    )
    least = task.counted_from
    require(
        isinstance(least, int) and 0 <= least <= (task.gap or 0),
        f"counted_from is {least!r}: must be an int from 0 to the gap",
    )
    require(
        not task.noisy_targets or (task.oracle is not None and task.evaluation_set is None),
        "noisy_targets needs an oracle, and no evaluation_set of its own",
    )


def shapes(case: Case) -> None:
    """Shapes and dtypes are those of `Example`, `loss` and `correct`, under strict promotion."""
    task = case.task
    try:
        example = jax.eval_shape(task.sample, case.data, jax.random.key(0))
    except Exception as error:
        raise BrokenClauseError(f"sample fails when traced: {first_line(error)}") from error
    require(isinstance(example, Example), f"sample returns a {type(example).__name__}, no Example")
    if task.zero_data is not None:
        own, zero = map(_structure, (case.data, task.zero_data()))
        require(own == zero, f"zero_data gives {zero}: must be {own}, as load, but for lengths")
    uses = example.weights.shape[0] if example.weights.ndim else 0
    require(uses, f"weights has shape {list(example.weights.shape)}: must be [uses]")
    infos = example.info_times.shape[-1] if example.info_times.ndim else 0
    tokens = task.kind == "tokens"
    classes = jnp.issubdtype(example.targets.dtype, jnp.integer)
    expected = {
        "inputs": ((task.length,) if tokens else (task.length, task.input_size), tokens),
        "targets": ((uses,) if classes else (uses, task.output_size), classes),
        "weights": ((uses,), False),
        "info_times": ((uses, infos), True),
        "use_times": ((uses,), True),
        "lag": ((uses,), True),
    }
    for name, (shape, whole) in expected.items():
        leaf = getattr(example, name)
        kind = jnp.integer if whole else jnp.floating
        words = "integers" if whole else "floats"
        require(
            leaf.shape == shape and jnp.issubdtype(leaf.dtype, kind),
            f"{name} is {leaf.dtype}{list(leaf.shape)}: must be {words} of shape {list(shape)}",
        )
    prediction = jax.ShapeDtypeStruct((task.output_size,), jnp.float32)
    target = jax.ShapeDtypeStruct(example.targets.shape[1:], example.targets.dtype)
    for name, kind, words in (("loss", jnp.floating, "float"), ("correct", jnp.bool_, "bool")):
        try:
            result = jax.eval_shape(getattr(task, name), prediction, target)
        except Exception as error:
            raise BrokenClauseError(f"{name} fails when traced: {first_line(error)}") from error
        require(
            result.shape == () and jnp.issubdtype(result.dtype, kind),
            f"{name} gives {result.dtype}{list(result.shape)}: must be one {words}",
        )


def _structure(data) -> str:
    """Of a pytree of arrays, all but the length of each."""
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape[1:])}", data))


def values(case: Case) -> None:
    """Inputs and targets lie in their range and are finite; weights are >= 0, some positive."""
    task, example = case.task, case.examples
    require(np.isfinite(example.inputs).all(), "some inputs are not finite")
    if task.kind == "tokens":
        low, high = example.inputs.min(), example.inputs.max()
        require(
            low >= 0 and high < task.input_size,
            f"inputs run from {low} to {high}: must be symbols 0 to {task.input_size - 1}",
        )
    require(np.isfinite(example.weights).all(), "some weights are not finite")
    require((example.weights >= 0).all(), "some weights are negative")
    require(example.weights.any(axis=1).all(), "some examples have no use of positive weight")
    targets = example.targets[case.used]
    require(np.isfinite(targets).all(), "some targets are not finite")
    if case.classes:
        require(
            targets.min() >= 0 and targets.max() < task.output_size,
            f"targets run from {targets.min()} to {targets.max()}: must be classes 0 to "
            f"{task.output_size - 1}",
        )


def times(case: Case) -> None:
    """Steps lie in the sequence, information no later than its use; -1 where there is no use."""
    task, example, used = case.task, case.examples, case.used
    use, info = example.use_times, example.info_times
    require(
        (use[used] >= 0).all() and (use[used] < task.length).all(),
        f"a use of positive weight stands outside steps 0 to {task.length - 1}",
    )
    absent = use < 0
    require((use[absent] == -1).all(), "an absent use has a use_time other than -1")
    require(
        (info[absent] == -1).all() and (example.lag[absent] == -1).all(),
        "an absent use (use_time -1) must have info_times and lag -1",
    )
    require(
        (info >= -1).all() and (info <= use[..., None]).all(),
        "an info_time is below -1 or later than its use",
    )
    if task.gap is not None:
        asks = info.max(axis=-1) >= 0
        require(
            (asks == (example.lag >= 0))[used].all(),
            "a use has info_times without a lag, or a lag without info_times",
        )
        require(case.counted.any(axis=1).all(), "an example asks for nothing past that counts")


def lag(case: Case) -> None:
    """`lag` is the use time minus the time of the last relevant input."""
    example, used = case.examples, case.asked
    if case.task.gap is None:
        return
    expected = example.use_times - example.info_times.max(axis=-1)
    wrong = np.argwhere(used & (expected != example.lag))
    if len(wrong):
        at = tuple(wrong[0])
        raise BrokenClauseError(
            f"lag is {example.lag[at]}, but the use at step {example.use_times[at]} minus the last "
            f"info_time {example.info_times[at].max()} is {expected[at]} "
            f"({len(wrong)} of {used.sum()} uses)"
        )


def gap(case: Case) -> None:
    """The smallest lag over examples is the task's gap, and is reached; of uses that count."""
    if case.task.gap is None:
        return
    smallest = case.examples.lag[case.counted].min()
    require(
        smallest == case.task.gap,
        f"the smallest lag of {len(case.examples.lag)} examples is {smallest}, not the gap "
        f"{case.task.gap}",
    )


def least_lag(case: Case) -> None:
    """No lag is below the gap (what `gap` says, where there are few examples)."""
    if case.task.gap is not None:
        smallest = case.examples.lag[case.counted].min()
        require(smallest >= case.task.gap, f"a lag of {smallest} is below {case.task.gap}, the gap")


def same_key(case: Case) -> None:
    """The same key gives the same example; others differ."""
    again = case.draw()
    for name in Example._fields:
        require(
            np.array_equal(getattr(again, name), getattr(case.examples, name)),
            f"two draws with the same keys differ in {name}",
        )
    require(
        case.traced() == case.traced(),
        "sample is not the same function each time it is traced: it draws from something other "
        "than its key",
    )
    inputs = case.examples.inputs
    require((inputs != inputs[:1]).any(), "all keys give the same inputs")


def position(case: Case) -> None:
    """The last relevant input of a use that counts stands at varying steps, unless the task says
    `fixed_position`."""
    if case.task.gap is None:
        return
    for use in range(case.used.shape[1]):
        info = case.examples.info_times[case.counted[:, use], use]
        if not len(info):
            continue
        if case.task.fixed_position:
            require(
                (info == info[0]).all(),
                "declares fixed_position, but info_times vary over examples",
            )
        else:
            require(
                len(np.unique(info.max(axis=-1))) > 1,
                f"the last relevant input always stands at step {info[0].max()}: draw a lead-in, "
                "or declare fixed_position=True",
            )
