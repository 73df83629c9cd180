r"""Writes examples as files that need no JAX: those that our networks are trained or scored on.

    python -m lstm_jax.datasets.export --task=recall --gaps=5,20,80 --out=exported
    python -m lstm_jax.datasets.export --task=recall --gaps=20 --split=train --examples=19200 \
        --seed=0 --batch_size=32 --out=exported

For each gap one `.npz` with the fields of an example (`lstm_jax.tasks.base.Example`) and one
`.json` that describes it. `report` and `monitor` are the fixed evaluation sets; those that are
frozen (`frozen.py`) are compared with their checksums, and named with their version. `train` is
what the trial of one seed sees, in order. The same command writes the same bytes; a file that is
there and the same stays, one that differs is an error. `score.py`, which needs NumPy alone, is put
beside.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lstm_jax import keys
from lstm_jax.arrays import PyTree
from lstm_jax.datasets import description, frozen, score
from lstm_jax.datasets.command_line import Parser, exit_status
from lstm_jax.errors import InputError
from lstm_jax.spec import Spec, load_file, parse
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import Example, Task, evaluation_set, training_batch

SPLITS = ("report", "monitor", "train")
_MOST_EXAMPLES = 10**7
_EXACT = (1980, 1, 1, 0, 0, 0)  # the time of every member: no other would give equal bytes


def train_stream(task: Task, data: PyTree, seed: int, batch_size: int, count: int) -> Example:
    """The first `count` examples that a trial of a seed is trained on, in order.

    Args:
      task: of one gap.
      data: what it loaded.
      seed: of the trial.
      batch_size: of the trial; another gives other examples.
      count: how many.
    """

    @jax.jit
    def batch(update):
        return training_batch(task, data, keys.root(seed), update, batch_size)

    updates = -(-count // batch_size)
    drawn = [
        jax.tree.map(np.asarray, batch(jnp.int32(update)))
        for update in tqdm(range(updates), unit=" batches", disable=None, leave=False)
    ]
    return Example(*(np.concatenate(leaves)[:count] for leaves in zip(*drawn, strict=True)))


def encode(example: Example) -> bytes:
    """An `.npz` of its fields; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, leaf in example._asdict().items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(leaf), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EXACT)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def write(stem: str, data: bytes, about: dict) -> bool:
    """Writes `<stem>.npz` and `<stem>.json`, unless they are there; returns whether it did.

    Raises:
      InputError: another set has that name.
      OSError: as from the file system.
    """
    text = json.dumps({**about, "sha256": hashlib.sha256(data).hexdigest()}, indent=1) + "\n"
    contents = {f"{stem}.npz": data, f"{stem}.json": text.encode()}
    there = {name: _read(name) for name in contents}
    if there == contents:
        return False
    for name, content in there.items():
        if content not in (None, contents[name]):
            raise InputError(f"--out: {name} is there and differs; remove it, or write elsewhere")
    for name, content in contents.items():
        with open(f"{name}.{os.getpid()}", "wb") as file:
            file.write(content)
        os.replace(f"{name}.{os.getpid()}", name)
    return True


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _naming(flag: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"--{flag}: {error}") from error


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text):
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r:.40} must be a whole number from {least} to {most:,}"
            )
        return int(text)

    return read


def _listed(least: int, most: int) -> Callable[[str], list[int]]:
    read = _whole(least, most)
    return lambda text: [read(part.strip()) for part in text.split(",")]


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("export", __doc__)
    add = parser.add_argument
    add("--task", required=True, help="a task with options, as copy:layout=exprnn")
    add("--task_file", help="your own task's file")
    add("--gaps", required=True, type=_listed(0, 10**9), help="comma-separated")
    add("--split", default="report", choices=SPLITS)
    add("--examples", type=_whole(1, _MOST_EXAMPLES), help="of train: how many")
    add("--seed", default=[0], type=_listed(0, keys.MAX_SEED), help="of train; several by commas")
    add("--batch_size", default=32, type=_whole(1, 10**6), help="of train, as the trial's")
    add("--out", required=True, help="a directory")
    given = parser.parse_args(arguments)
    if (given.split == "train") != (given.examples is not None):
        raise InputError("--examples: needed with --split=train, and only there")
    return given


class _Request(NamedTuple):
    """A set that was asked for."""

    spec: Spec
    gap: int
    task: Task
    own: bool  # the task is in a user's file
    split: str
    stream: dict  # of the split `train`: seed, batch_size, examples


def _requests(given: argparse.Namespace) -> list[_Request]:
    """All sets; everything is checked before the first is drawn."""
    known = dict(TASKS)
    if given.task_file:
        own = load_file(given.task_file, "task")
        known[own.name] = own.constructor
    with _naming("task"):
        spec = parse(given.task, known, "task", knows_gap=False)
    constructor = known[spec.name]
    with _naming("gaps"):
        tasks = [(gap, constructor(gap, **spec.arguments(gap))) for gap in given.gaps]
    streams = [{}]
    if given.split == "train":
        shared = {"batch_size": given.batch_size, "examples": given.examples}
        streams = [{"seed": seed, **shared} for seed in given.seed]
    own = constructor is not TASKS.get(spec.name)
    return [
        _Request(spec, gap, task, own, given.split, stream)
        for gap, task in tasks
        for stream in streams
    ]


def _make(request: _Request) -> tuple[str, bytes, dict]:
    """Name, data and description of a set."""
    spec, gap, task, own, split, stream = request
    data = task.load()
    if stream:
        counts = stream["seed"], stream["batch_size"], stream["examples"]
        drawn = train_stream(task, data, *counts)
        ending = "-seed{}-batch{}-{}".format(*counts)
    else:
        drawn, ending = evaluation_set(task, data, split), ""
    drawn = Example(*map(np.asarray, drawn))
    name = frozen.set_name(str(spec), task.swept_by, gap)
    version = None
    if name in frozen.SETS and not stream and not own:
        frozen.check(name, split, drawn)
        version = frozen.VERSION
    about = {
        "format": 1,
        **description.of_task(task, str(spec), spec.arguments(gap), gap, drawn.targets.dtype),
        "split": split,
        **stream,
        **description.of_examples(drawn),
        "frozen_version": version,
        "content": frozen.checksum(drawn),
    }
    return f"{name}-{split}{ending}", encode(drawn), about


def _run(arguments: list[str]) -> None:
    given = _arguments(arguments)
    with tqdm(_requests(given), unit=" sets", disable=None) as requests:
        for request in requests:
            name, data, about = _make(request)
            os.makedirs(given.out, exist_ok=True)  # not before something can be written
            stem = os.path.join(given.out, name)
            done = "wrote" if write(stem, data, about) else "is there:"
            tqdm.write(
                f"{done} {stem}.npz ({about['examples']:,} examples, {len(data) / 1e6:.1f} MB)"
            )
    shutil.copyfile(score.__file__, os.path.join(given.out, "score.py"))


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: _run(arguments), "--out")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
