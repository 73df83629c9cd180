"""A scan whose weights stay on the chip: one Pallas kernel for the steps of any cell.

A scan of small steps reads the recurrent kernels from the chip's main memory at every step. Here
the steps are the grid of one kernel (persistent RNNs: Diamos et al. 2016, "Persistent RNNs:
stashing recurrent weights on-chip"): what every step reads is copied into the fast memory once,
the carry stays there, and inputs and outputs stream by. The kernel runs a cell's own traced step,
so there is one for all cells; `deferred.py` hands it the forward and the backward one.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from lstm_jax.arrays import PyTree, without_axes
from lstm_jax.errors import InputError
from lstm_jax.programs import alone, inlined

# Of the fast memory, 128 MiB on TPU v5e and v6e: for what crosses the border of the kernel, and for
# what stands between.
MOST_BYTES, _BETWEEN = 72 * 2**20, 48 * 2**20


def scan_on_chip(
    body: Callable, carry: PyTree, xs: PyTree, *, reverse: bool = False
) -> tuple[PyTree, PyTree]:
    """`lax.scan`, of a batch, as one kernel. Not differentiated: `deferred.py` has its derivative.

    On CPU the kernel is interpreted, which shows that it is right and is slow.

    Args:
      body: carry, x -> carry, y.
      carry: leaves `[batch, ...]`.
      xs: leaves `[time, batch, ...]`.
      reverse: from the last step back.

    Raises:
      InputError: what the steps read does not fit on the chip, is complex or empty, or there is no
        kernel for this backend.
    """
    if jax.default_backend() not in ("cpu", "tpu"):
        raise InputError(
            f"method=on_chip: there is no kernel for {jax.default_backend()}; allowed are tpu, and "
            "cpu, where it is interpreted"
        )
    for leaf in jax.tree.leaves((carry, xs)):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating) or not leaf.size:
            shape = list(leaf.shape)
            raise InputError(
                f"method=on_chip: a step reads {leaf.dtype}{shape}: must be real and not empty"
            )
    x = without_axes(xs, 1)
    closed, shapes = jax.make_jaxpr(body, return_shape=True)(carry, x)
    closed = inlined(closed)
    constants, values = _apart(closed.consts)
    ys = jax.tree.leaves(shapes[1])
    # Each crosses the border by two buffers; the carry does so twice, and stands there once.
    buffers = [(2, constants), (5, jax.tree.leaves(carry)), (2, jax.tree.leaves(x)), (2, ys)]
    need = sum(count * sum(map(_sized, leaves)) for count, leaves in buffers)
    if need > MOST_BYTES:
        raise InputError(
            f"method=on_chip: a step reads and writes {need / 2**20:.0f} MiB; at most "
            f"{MOST_BYTES / 2**20:.0f} fit on the chip: take a smaller hidden size or batch"
        )
    steps = jax.tree.leaves(xs)[0].shape[0]
    run = partial(_kernel_call, closed.jaxpr, values, len(jax.tree.leaves(carry)), steps, reverse)
    results = lax.platform_dependent(
        *constants,
        *jax.tree.leaves((carry, xs)),
        cpu=partial(run, True),
        tpu=partial(run, False),
    )
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def _apart(consts: list) -> tuple[list, list]:
    """Constants that are arrays of the program, and at the places of these None; small ones that
    are known stay in the kernel's text."""
    known = [isinstance(c, (np.ndarray, np.generic)) and np.size(c) == 1 for c in consts]
    arrays = [c for c, k in zip(consts, known, strict=True) if not k]
    return arrays, [c if k else None for c, k in zip(consts, known, strict=True)]


def _sized(leaf) -> int:
    """Bytes of an array on the chip, whose last two axes are laid out in tiles of 8 by 128."""
    *rest, rows, columns = _shape(leaf.shape)
    tiles = -(-rows // 8) * -(-columns // 128)
    return math.prod(rest) * tiles * 8 * 128 * np.dtype(_stored(leaf.dtype)).itemsize


def _stored(dtype) -> np.dtype:
    """Truth values cross the border of a kernel as integers."""
    return np.dtype(np.int32) if dtype == np.dtype(bool) else np.dtype(dtype)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """With at least two axes, as the memory of a TPU is laid out."""
    return (*shape, *(1,) * (2 - len(shape)))


def _kernel_call(jaxpr, values, carries, steps, reverse, interpret, *arrays):
    """The kernel on constants, carry and xs, flat; gives the last carry and ys, flat."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    constants = sum(value is None for value in values)
    carried = arrays[constants : constants + carries]
    outs = [var.aval for var in jaxpr.outvars]
    emitted = outs[carries:]

    def kernel(*refs):
        refs = list(refs)

        def take(count):
            return [refs.pop(0) for _ in range(count)]

        constant_refs, start_refs = take(constants), take(carries)
        x_refs = take(len(arrays) - constants - carries)
        last_refs, y_refs, held_refs = take(carries), take(len(emitted)), take(carries)

        @pl.when(pl.program_id(0) == 0)
        def _():
            for held, start in zip(held_refs, start_refs, strict=True):
                held[...] = start[...]

        given = iter(_read(ref, array) for ref, array in zip(constant_refs, arrays, strict=False))
        known = [next(given) if value is None else value for value in values]
        carry = [_read(ref, leaf) for ref, leaf in zip(held_refs, carried, strict=True)]
        x = [
            _read(ref, jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), first=True)
            for ref, leaf in zip(x_refs, arrays[constants + carries :], strict=True)
        ]
        results = _evaluated(jaxpr, [*known, *carry, *x])
        for held, last, value in zip(held_refs, last_refs, results[:carries], strict=True):
            value = _written(value)
            held[...] = value
            last[...] = value
        for ref, value in zip(y_refs, results[carries:], strict=True):
            ref[0] = _written(value)

    def whole(leaf):
        shape = _shape(leaf.shape)
        return pl.BlockSpec(shape, lambda time: (0,) * len(shape))

    def streamed(shape):
        shape = _shape(shape)

        def at(time):
            return (steps - 1 - time if reverse else time, *(0,) * len(shape))

        return pl.BlockSpec((1, *shape), at)

    xs = arrays[constants + carries :]
    results = pl.pallas_call(
        kernel,
        grid=(steps,),
        in_specs=[
            *map(whole, arrays[: constants + carries]),
            *(streamed(leaf.shape[1:]) for leaf in xs),
        ],
        out_specs=[*map(whole, carried), *(streamed(aval.shape) for aval in emitted)],
        out_shape=[
            *(jax.ShapeDtypeStruct(_shape(leaf.shape), _stored(leaf.dtype)) for leaf in carried),
            *(
                jax.ShapeDtypeStruct((steps, *_shape(aval.shape)), _stored(aval.dtype))
                for aval in emitted
            ),
        ],
        scratch_shapes=[pltpu.VMEM(_shape(leaf.shape), _stored(leaf.dtype)) for leaf in carried],
        interpret=interpret,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("arbitrary",), vmem_limit_bytes=MOST_BYTES + _BETWEEN
        ),
        name="steps_on_chip",
    )(
        *(_written(leaf) for leaf in arrays[: constants + carries]),
        *(leaf.astype(_stored(leaf.dtype)).reshape(steps, *_shape(leaf.shape[1:])) for leaf in xs),
    )
    return [
        _restored(result, shape, aval.dtype)
        for result, shape, aval in zip(
            results,
            [leaf.shape for leaf in carried] + [(steps, *aval.shape) for aval in emitted],
            outs,
            strict=True,
        )
    ]


def _evaluated(jaxpr: Jaxpr, operands: list) -> list:
    """The results of a step, by its equations."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), operands, strict=True))

    def read(var):
        return var.val if isinstance(var, Literal) else values[var]

    for equation in jaxpr.eqns:
        given = list(map(read, equation.invars))
        values.update(zip(equation.outvars, _results(jaxpr, equation, given), strict=True))
    return list(map(read, jaxpr.outvars))


def _results(jaxpr: Jaxpr, equation: JaxprEqn, operands: list) -> list:
    if equation.primitive.name == "reduce_precision":
        # `jax.checkpoint` rounds what it keeps to the precision that it has: Mosaic lacks that.
        return operands
    if equation.primitive.name == "sign":
        # Mosaic asks the device how, which a compiler ahead of time cannot answer.
        (x,) = operands
        return [jnp.where(x > 0, jnp.ones_like(x), jnp.where(x < 0, -jnp.ones_like(x), x))]
    return alone(jaxpr, equation)(*operands)


def _read(ref, leaf, *, first=False):
    """What a reference holds, as the array it stands for."""
    value = ref[0] if first else ref[...]
    return _restored(value, leaf.shape, leaf.dtype)


def _restored(value, shape, dtype):
    value = value != 0 if dtype == np.dtype(bool) else value
    return value.reshape(shape)


def _written(value):
    value = jnp.asarray(value)
    return value.astype(_stored(value.dtype)).reshape(_shape(value.shape))
