"""Tasks and gaps as a command line asks for them: can they be, and which flag is to blame?"""

import contextlib

from lstm_jax.errors import InputError


@contextlib.contextmanager
def blaming(task, flag, several):
    """Names the flag to which an InputError inside is due, and the task if there are several."""
    try:
        yield
    except InputError as error:
        option = str(error).partition(":")[0]
        flag = "task" if option in task.split(":")[1:] else flag
        raise InputError(f"--{flag}: {f'{task}: ' if several else ''}{error}") from error


def possible_gaps(known, tasks, wanted, others) -> list[int]:
    """As many gaps as are wanted that all tasks can have, those themselves where they can."""
    from lstm_jax.training import build_task

    def possible(gap):
        try:
            for task in tasks:
                build_task(known, task, gap)
        except InputError:
            return False
        return True

    found = [gap for gap in (*wanted, *others) if possible(gap)]
    return found[: len(wanted)] or wanted


def fixed_in_length(known, task: str, gap: int) -> str:
    """The task with its length at the largest gap, `gap`, for an option."""
    from lstm_jax.spec import options_of

    spec = known.task(task)
    constructor = known.tasks[spec.name]
    if "length" not in options_of(constructor):
        raise InputError(f"--length=fixed: {spec.name} has no option length; tight is allowed")
    if spec.resolved["length"] is not None:
        raise InputError(f"--length=fixed: {task} has a length of its own")
    arguments = spec.arguments(gap)
    with blaming(task, "gaps", False):
        length = constructor(gap, **arguments).length
    try:
        constructor(gap, **arguments | {"length": length})
    except InputError as error:
        raise InputError(f"--length=fixed: {task}: {error}") from error
    return f"{task}:length={length}"


def require_data(tasks, gap) -> None:
    """Says at once which data a person must prepare, before what takes seconds is imported.

    What else is wrong with a task, or a task of a user's own, is for others to say.
    """
    from lstm_jax.spec import parse
    from lstm_jax.tasks import TASKS
    from lstm_jax.tasks.base import require_data

    for text in tasks:
        try:
            spec = parse(text, TASKS, "task")
            task = TASKS[spec.name](gap, **spec.arguments(gap))
        except InputError:
            continue
        require_data(task)


def require_unrolled(known, cells, method: str) -> None:
    """Raises InputError for a cell that cannot be run over time in this way; traces, no more."""
    import jax
    import jax.numpy as jnp

    from lstm_jax.layers import Layer
    from lstm_jax.unroll import unroll

    inputs = jax.ShapeDtypeStruct((2, 4), jnp.float32)
    for text in cells if method else ():
        spec = known.cell(text)
        cell = known.cells[spec.name](4, 8, **spec.arguments(gap=2))
        with blaming(text, "unroll", len(cells) > 1):
            if isinstance(cell, Layer):
                raise InputError("a layer is run in its own way")
            params = jax.eval_shape(cell.init, jax.random.key(0))
            jax.eval_shape(
                lambda params, x, cell=cell: unroll(cell, params, x, method=method), params, inputs
            )
