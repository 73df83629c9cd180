"""The frozen evaluation sets: which there are, and what pins them.

A set is one generated task with its options at one gap: the `monitor` and the `report` examples on
which every network is scored. `checksums.json` says of each what its content is in `VERSION`, so
that a changed generator is noticed, here or in another release of JAX. Importing this imports no
JAX; drawing a set does.

To change a generator on purpose: raise VERSION, say why in RELEASE_NOTES, and run
`python -m lstm_jax.datasets.freeze --pin`. A set that is only added needs the last step alone.
"""

import functools
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lstm_jax.errors import InputError

if TYPE_CHECKING:
    from lstm_jax.tasks.base import Example, Task

VERSION = "1.0.0"
RELEASE_NOTES = {"1.0.0": "First."}
SPLITS = ("monitor", "report")
CHECKSUMS = resources.files("lstm_jax.datasets") / "checksums.json"

GAPS = (5, 10, 20, 40, 80, 160)  # those of the default sweep
# Every generated task in its default layout, and the layouts that most of the literature reports,
# at the lengths of Arjovsky, Shah & Bengio 2016 (arXiv:1511.06464): adding at T = 100 to 750, copy
# at T = 100 to 500, which is a gap of T + 10. What is swept, and at which values:
CORE = {
    "recall": ("gap", GAPS),
    "delayed_match": ("gap", GAPS),
    "long_lag": ("gap", GAPS),
    "latch": ("gap", GAPS),
    "two_sequence": ("gap", GAPS),
    "adding": ("gap", GAPS),
    "adding:layout=halves": ("length", (100, 200, 400, 750)),
    "multiplication": ("gap", GAPS),
    "temporal_order": ("gap", GAPS),
    "copy": ("gap", (20, 40, 80, 110, 160, 210, 310, 510)),
    "memorization": ("gap", GAPS[1:]),
    "selective_copy": ("gap", GAPS),
    "induction": ("gap", GAPS),
    "mqar": ("gap", GAPS),
    "reber": ("gap", GAPS),
    "parity": ("length", GAPS),
    "sentences": ("gap", GAPS),
    "agreement": ("gap", GAPS),
    "film": ("gap", GAPS),
}

_GRID = 2.0**23  # a draw from U[0, 1) is a multiple of 1 / _GRID
_TOLERANCE = 0.01  # of a sum; what rounding does to it is below 1e-3


class FrozenSet(NamedTuple):
    """Which task, with its options, at which gap (or length)."""

    task: str
    argument: int


def set_name(task: str, swept_by: str, argument: int) -> str:
    """`recall-gap20`: names files and TFDS configs, which take letters, digits, `_`, `-`, `.`."""
    slug = task.replace(":", "_").replace("/", "_").replace("=", "-")
    return f"{slug}-{swept_by}{argument}"


SETS = {
    set_name(task, swept_by, argument): FrozenSet(task, argument)
    for task, (swept_by, arguments) in CORE.items()
    for argument in arguments
}


def build(name: str) -> "Task":
    """The task of a set.

    Raises:
      InputError: no such set.
    """
    from lstm_jax.spec import parse
    from lstm_jax.tasks import TASKS

    if name not in SETS:
        raise InputError(f"frozen set {name!r} is not known: allowed are {', '.join(SETS)}")
    spec = parse(SETS[name].task, TASKS, "task", knows_gap=False)
    return TASKS[spec.name](SETS[name].argument, **spec.resolved)


def draw(name: str) -> dict[str, "Example"]:
    """The examples of a set by split, as NumPy arrays, not yet compared with anything.

    Raises:
      InputError: no such set.
    """
    from lstm_jax.tasks.base import Example, evaluation_set

    task = build(name)
    drawn = {split: evaluation_set(task, (), split) for split in SPLITS}
    return {split: Example(*map(np.asarray, example)) for split, example in drawn.items()}


def checksum(example: "Example") -> dict:
    """What pins a batch of examples, whatever the platform that draws them.

    `sha256` is of all that is the same everywhere: whole numbers, and floats that are draws from
    U[0, 1) or sums of a few. Other floats, such as Gaussian noise, went through functions that
    platforms round differently. No hash of rounded values helps, for among 300,000 some always lie
    at an edge. They have in `sums` the sum of all values, each with a sign from a fixed pattern:
    rounding moves it by less than 0.001, a value that changes by more than 0.01 shows, and so does
    another draw, but for one in 10,000.

    Returns:
      `sha256`, and `sums` by field where there are such.
    """
    digest, sums = hashlib.sha256(), {}
    for name, leaf in example._asdict().items():
        leaf = np.asarray(leaf)
        digest.update(f"{name} {leaf.dtype.name} {list(leaf.shape)}\n".encode())
        if _exact(leaf):
            digest.update(leaf.astype(leaf.dtype.newbyteorder("<")).tobytes())
        else:
            sums[name] = round(float(_signs(leaf.size) @ leaf.ravel().astype(np.float64)), 4)
    found = {"sha256": digest.hexdigest()}
    return {**found, "sums": sums} if sums else found


def _exact(leaf: np.ndarray) -> bool:
    if np.issubdtype(leaf.dtype, np.integer):
        return True
    steps = leaf.astype(np.float64) * _GRID
    return bool((steps == np.rint(steps)).all())


def _signs(size: int) -> np.ndarray:
    pattern = hashlib.shake_256(b"signs").digest(-(-size // 8))
    return 1.0 - 2.0 * np.unpackbits(np.frombuffer(pattern, np.uint8))[:size]


def same(found: dict, pinned: dict) -> bool:
    """Whether two results of `checksum` are of the same content."""
    sums, expected = found.get("sums", {}), pinned.get("sums", {})
    return (
        found["sha256"] == pinned["sha256"]
        and sums.keys() == expected.keys()
        and all(abs(sums[name] - expected[name]) <= _TOLERANCE for name in sums)
    )


@functools.cache
def pinned() -> dict[str, dict]:
    """Checksums by set and split.

    Raises:
      InputError: the file is of another version.
    """
    stored = json.loads(CHECKSUMS.read_text())
    if stored["version"] != VERSION:
        raise InputError(
            f"checksums.json is of version {stored['version']}, the frozen sets of {VERSION}: "
            "run python -m lstm_jax.datasets.freeze --pin"
        )
    return stored["sets"]


def check(name: str, split: str, example: "Example") -> dict:
    """The checksum of a split, if it is the one that is pinned.

    Raises:
      InputError: it is another one, or none is pinned.
    """
    found, expected = checksum(example), pinned().get(name, {}).get(split)
    if expected is None or not same(found, expected):
        what = "has no checksum" if expected is None else "is not what its checksum says"
        raise InputError(
            f"frozen set {name}, {split}: {what} in version {VERSION}: the task or JAX's random "
            "numbers have changed; if that is meant, raise VERSION in lstm_jax/datasets/frozen.py "
            "and run python -m lstm_jax.datasets.freeze --pin"
        )
    return found
