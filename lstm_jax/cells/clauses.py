"""The clauses of a cell's contract that run the cell; `cells/check.py` runs them.

A clause is a function of a `Case` that raises `BrokenClauseError` and says in words what is wrong.
Its docstring is what must hold.
"""

from collections.abc import Callable

import jax
import numpy as np

from lstm_jax.arrays import PyTree
from lstm_jax.cells.case import BATCH, CHUNK, TIME, Case, Gradients
from lstm_jax.cells.products import products
from lstm_jax.cells.sketch import entries, named_leaves
from lstm_jax.errors import require
from lstm_jax.programs import quick_jit
from lstm_jax.unroll import LINEAR_METHODS

LONG = 2_000
_CUT = 3  # the step at which a sequence is reset, changed or ended


def init(case: Case) -> None:
    """Parameters are a function of the key, and finite."""
    params, again, other = case.drawn(0), case.drawn(0), case.drawn(1)
    for name, leaf in entries(params):
        require(
            np.isfinite(leaf).all(), f"parameter `{name}` starts with values that are not finite"
        )
    require(_distance(params, again) == 0, "one key gives other parameters the second time")
    require(_distance(params, other) > 0, "two keys give the same parameters")


def loop(case: Case) -> None:
    """Every other method equals a plain Python loop, values and gradients."""
    double = case.double
    loop_value, loop_gradients = double("loop", double.point)
    parallel = LINEAR_METHODS if case.cell.linear else ()
    for method in ("scan", "deferred", *parallel):
        value, gradients = double(method, double.point)
        words = f"method={method} and a plain loop give other"
        _close(value, loop_value, f"{words} values", 1e-9)
        _close(gradients, loop_gradients, f"{words} gradients", 1e-9)


def differences(case: Case) -> None:
    """Gradients are those of central finite differences, in float64."""
    double = case.double
    _, gradients = double("deferred", double.point)
    step = 1e-6
    for moved, words in enumerate(("the parameters", "the inputs", "the initial carry")):
        direction = [jax.tree.map(np.zeros_like, part) for part in double.point]
        direction[moved] = jax.tree.map(
            lambda leaf: case.normal(leaf.shape).astype(leaf.dtype), double.point[moved]
        )
        ahead, _ = double("deferred", _moved(double.point, direction, step))
        behind, _ = double("deferred", _moved(double.point, direction, -step))
        measured = (ahead - behind) / (2 * step)
        pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True)
        claimed = sum(float(np.real(g * d).sum()) for g, d in pairs)
        require(
            abs(measured - claimed) <= 1e-5 * max(1.0, abs(measured)),
            f"the gradient by {words} is {claimed:.6g} along a direction in which finite "
            f"differences give {measured:.6g}",
        )


def chunked(case: Case) -> None:
    """A sequence in two pieces, the carry handed over, equals the whole."""
    _chunked(case, None)


def _chunked(case: Case, key: jax.Array | None) -> None:
    whole = case.run(key=key)
    first = case.run(case.inputs[:, :CHUNK], key=key)
    second = case.run(case.inputs[:, CHUNK:], carries=first.carry, key=key, start=CHUNK)
    outputs = np.concatenate([first.outputs, second.outputs], axis=1)
    words = "with noise, " if key is not None else ""
    _close(whole.outputs, outputs, f"{words}a sequence in two pieces gives other outputs")
    _close(whole.carry, second.carry, f"{words}a sequence in two pieces ends in another carry")


def batched(case: Case) -> None:
    """A batch equals its examples one by one."""
    for index in range(BATCH):
        single = case.alone(case.params, case.inputs[index], case.carry)
        of_batch = jax.tree.map(lambda leaf, index=index: leaf[index], case.plain)
        _close(of_batch, single, "an example gives something else in a batch than alone")


def causal(case: Case) -> None:
    """No output depends on a later input: neither by value nor by gradient."""
    changed = case.inputs.copy()
    changed[:, CHUNK:] = case.normal(changed[:, CHUNK:].shape)
    for before, after in zip(
        jax.tree.leaves((case.plain.outputs, case.plain.carries)),
        jax.tree.leaves(_each(case.run(changed), "outputs", "carries")),
        strict=True,
    ):
        require(
            np.array_equal(before[:, :CHUNK], after[:, :CHUNK], equal_nan=True),
            "changing a later input changes an earlier output",
        )
    cotangents = case.cotangents.copy()
    cotangents[:, CHUNK:] = 0
    later = case.gradients(cotangents=cotangents).inputs[:, CHUNK:]
    require(not later.any(), "an output has a gradient by a later input")


def reset(case: Case) -> None:
    """A reset equals a fresh start: nothing passes it, by value or by gradient."""
    flags = np.zeros((BATCH, TIME), bool)
    flags[:, _CUT] = True
    resumed = case.run(reset=flags)
    fresh = case.run(np.roll(case.inputs, -_CUT, axis=1), start=_CUT)
    _close(
        jax.tree.map(lambda leaf: leaf[:, _CUT:], _each(resumed, "outputs", "carries")),
        jax.tree.map(lambda leaf: leaf[:, : TIME - _CUT], _each(fresh, "outputs", "carries")),
        "a reset is not a fresh start",
    )
    cotangents = case.cotangents.copy()
    cotangents[:, :_CUT] = 0
    gradients = case.gradients(cotangents=cotangents, reset=flags)
    crossed = gradients.inputs[:, :_CUT].any() or any(leaf.any() for leaf in gradients.carry)
    require(not crossed, "a gradient passes a reset")


def mask(case: Case) -> None:
    """A masked step leaves the carry, gives zeros, and reads nothing, be it NaN or infinite."""
    flags = np.ones((BATCH, TIME), bool)
    flags[:, _CUT:] = False
    for filler in (0.0, np.nan, np.inf):
        padded = case.inputs.copy()
        padded[:, _CUT:] = filler
        words = f"with {filler} as padding, "
        masked = case.run(padded, mask=flags)
        require(not masked.outputs[:, _CUT:].any(), f"{words}the masked outputs are not zero")
        kept = case.plain.outputs[:, :_CUT]
        _close(masked.outputs[:, :_CUT], kept, f"{words}the outputs before it change")
        reached = jax.tree.map(lambda leaf: leaf[:, _CUT - 1], case.plain.carries)
        _close(masked.carry, reached, f"{words}the carry moves in the padding")
        gradients = case.gradients(padded, mask=flags)
        for name, leaf in named_leaves(gradients):
            require(np.isfinite(leaf).all(), f"{words}the gradient by `{name}` is not finite")


def gradient(case: Case) -> None:
    """Every parameter gets a finite gradient that is not zero, at the start and near it."""
    for params, near in ((case.drawn(0), "at the start"), (case.params, "near the start")):
        gradients = case.gradients(params=params)
        for name, leaf in entries(gradients.params):
            require(np.isfinite(leaf).all(), f"parameter `{name}` has no finite gradient {near}")
        require(np.isfinite(gradients.inputs).all(), f"the inputs have no finite gradient {near}")
    # Near the start only: a gate that starts at zero may hide what is behind it.
    for name, leaf in entries(gradients.params):
        require(leaf.any(), f"parameter `{name}` gets no gradient: nothing depends on it")
    require(gradients.inputs.any(), "the inputs get no gradient: the outputs ignore them")


def evaluation(case: Case) -> None:
    """Without a key the same inputs give the same outputs, bit for bit."""
    again = case.run()
    same = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), case.plain, again)
    require(all(jax.tree.leaves(same)), "a second evaluation of the same inputs differs")


def randomness(case: Case) -> None:
    """Noise comes from the key and the absolute time alone."""
    if not case.uses_key:
        return
    outputs = case.run(key=jax.random.key(1)).outputs
    again = case.run(key=jax.random.key(1)).outputs
    require(np.array_equal(outputs, again), "one key gives other noise the second time")
    _chunked(case, jax.random.key(1))


def compiled(case: Case) -> None:
    """One program serves the first call, later calls and handed-over carries."""
    last = case.alone(case.params, case.inputs[0], case.carry).carry
    case.alone(case.params, case.inputs[1], last)
    require(
        case.traces["one"] == 1,
        "handing over the carry compiles anew: the initial carry is made from Python numbers "
        "(jnp.full, jnp.asarray): give it a dtype, such as that of a weight",
    )


def long(case: Case) -> None:
    """From fresh parameters, outputs and carry stay finite over a long sequence."""
    params = case.drawn(0)
    unrolled = case.run(params=params)
    for chunk in range(1, LONG // TIME):
        inputs = case.normal(case.inputs.shape)
        unrolled = case.run(inputs, carries=unrolled.carry, params=params)
        steps = (chunk + 1) * TIME
        require(np.isfinite(unrolled.outputs).all(), f"outputs are not finite after {steps} steps")
    for name, leaf in named_leaves(unrolled.carry):
        # -inf may be meant (a log of zero); NaN and +inf are not.
        broken = np.isnan(leaf).any() or np.isposinf(np.real(leaf)).any()
        require(not broken, f"carry leaf `{name}` is not finite after {LONG} steps")


def gates(case: Case) -> None:
    """Gates, where a cell shows them, are named arrays of finite floats, at least 0."""
    if case.cell.gates is None:
        return

    @quick_jit
    def show(params, carry, inputs):
        weights = case.cell.prepare(params)
        return case.cell.gates(weights, carry, case.cell.project(weights, inputs, None))

    values = show(case.params, case.carry, case.inputs[0, 0])
    require(isinstance(values, dict) and values, "`gates` gives no dict of arrays by name")
    for name, leaf in values.items():
        array = np.asarray(leaf)
        require(
            np.issubdtype(array.dtype, np.floating) and array.ndim >= 1,
            f"gate `{name}` is {array.dtype}{list(array.shape)}: must be floats with an axis",
        )
        require(
            bool(np.isfinite(array).all() and (array >= 0).all()),
            f"gate `{name}` has values that are negative or not finite",
        )


def hoisted(case: Case) -> None:
    """`step` forms no product that needs no carry."""
    sketch = case.sketch
    found = products(case.cell.step, sketch.weights, sketch.carry, sketch.projected).hoistable
    for left, right in found:
        require(
            False,
            f"`step` multiplies {list(left)} by {list(right)}, and neither needs the carry: do it "
            "in `project` (inputs) or `prepare` (weights), which may run outside the scan",
        )


def _each(unrolled, *names: str) -> list[PyTree]:
    return [getattr(unrolled, name) for name in names]


def _moved(point: Gradients, direction: list[PyTree], step: float) -> Gradients:
    return Gradients(*jax.tree.map(lambda x, d: x + step * d, list(point), direction))


def _distance(tree: PyTree, other: PyTree) -> float:
    """The largest difference of two trees, relative to the values where these are above 1."""
    largest = 0.0
    for leaf, like in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(leaf), np.asarray(like)
        finite = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return np.inf
        if finite.any():
            difference = np.abs(a[finite] - b[finite]).max()
            largest = max(largest, float(difference / max(1.0, np.abs(b[finite]).max())))
    return largest


def _close(tree: PyTree, other: PyTree, message: str, tolerance: float = 1e-4) -> None:
    distance = _distance(tree, other)
    require(distance <= tolerance, f"{message} (by {distance:.2g})")


CLAUSES: dict[str, Callable[[Case], None]] = {
    "init": init,
    "evaluation": evaluation,
    "compiled": compiled,
    "batched": batched,
    "chunked": chunked,
    "causal": causal,
    "reset": reset,
    "mask": mask,
    "gradient": gradient,
    "loop": loop,
    "differences": differences,
    "randomness": randomness,
    "long": long,
    "hoisted": hoisted,
    "gates": gates,
}
