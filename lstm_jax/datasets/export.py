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
from lstm_jax.datasets.command_line import Parser, exit_status, write_whole
from lstm_jax.errors import InputError
from lstm_jax.spec import Spec, load_file, parse
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import Example, Task, evaluation_set, loaded, training_batch

SPLITS = ("report", "monitor", "train")
_MOST_EXAMPLES = 10**7
_EXACT = (1980, 1, 1, 0, 0, 0)  # the time of every member: no other would give equal bytes


def train_stream(task: Task, data: PyTree, batch_size: int) -> Callable[[int, int], Example]:
    """What trials of a task are trained on, in order.

    Args:
      task: of one gap.
      data: what it loaded.
      batch_size: of the trials; another gives other examples.

    Returns:
      seed of a trial, count -> its first `count` examples. Compiled once for all seeds.
    """

    @jax.jit
    def batch(seed, update):
        return training_batch(task, data, keys.root(seed), update, batch_size)

    def first(seed, count):
        updates = range(-(-count // batch_size))
        drawn = [
            jax.tree.map(np.asarray, batch(jnp.int32(seed), jnp.int32(update)))
            for update in tqdm(updates, unit=" batches", disable=None, leave=False)
        ]
        return Example(*(np.concatenate(leaves)[:count] for leaves in zip(*drawn, strict=True)))

    return first


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
        write_whole(name, content)
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
    add("--seed", type=_listed(0, keys.MAX_SEED), help="of train, 0 if not given; or several")
    add("--batch_size", default=32, type=_whole(1, 10**6), help="of train, as the trial's")
    add("--out", required=True, help="a directory")
    given = parser.parse_args(arguments)
    if (given.split == "train") != (given.examples is not None):
        raise InputError("--examples: needed with --split=train, and only there")
    if given.split != "train" and given.seed is not None:
        raise InputError("--seed: is of --split=train; the other sets have none")
    given.seed = given.seed or [0]
    return given


class _Asked(NamedTuple):
    """The task that was asked for, at all gaps."""

    spec: Spec
    tasks: dict[int, Task]
    own: bool  # it is in a user's file


def _asked(given: argparse.Namespace) -> _Asked:
    known = dict(TASKS)
    if given.task_file:
        own = load_file(given.task_file, "task")
        known[own.name] = own.constructor
    with _naming("task"):
        spec = parse(given.task, known, "task", knows_gap=False)
    constructor = known[spec.name]
    with _naming("gaps"):
        tasks = {gap: constructor(gap, **spec.arguments(gap)) for gap in given.gaps}
    return _Asked(spec, tasks, constructor is not TASKS.get(spec.name))


def _drawn(task: Task, data: PyTree, given: argparse.Namespace) -> Iterator[tuple[Example, dict]]:
    """Examples of a task at one gap, and of a train stream what it is: one set a seed."""
    if given.split != "train":
        yield evaluation_set(task, data, given.split), {}
        return
    first = train_stream(task, data, given.batch_size)
    for seed in given.seed:
        yield first(seed, given.examples), {"seed": seed, "batch_size": given.batch_size}


def _sets(asked: _Asked, given: argparse.Namespace) -> Iterator[tuple[str, bytes, dict]]:
    """Name, data and description of each set."""
    for gap, unread in asked.tasks.items():
        task, data = loaded(unread)
        name = frozen.set_name(str(asked.spec), task.swept_by, gap)
        for drawn, stream in _drawn(task, data, given):
            example = Example(*map(np.asarray, drawn))
            version = None
            if name in frozen.SETS and not stream and not asked.own:
                frozen.check(name, given.split, example)
                version = frozen.VERSION
            about = {
                "format": 1,
                **description.of_task(
                    task, str(asked.spec), asked.spec.arguments(gap), gap, example.targets.dtype
                ),
                "split": given.split,
                **stream,
                **description.of_examples(task, example),
                "frozen_version": version,
                "content": frozen.checksum(example),
            }
            ending = given.split
            if stream:
                ending += f"-seed{stream['seed']}-batch{given.batch_size}-{given.examples}"
            yield f"{name}-{ending}", encode(example), about


def _run(arguments: list[str]) -> None:
    given = _arguments(arguments)
    asked = _asked(given)  # what cannot be is said before anything is drawn
    total = len(asked.tasks) * (len(given.seed) if given.split == "train" else 1)
    for name, data, about in tqdm(_sets(asked, given), total=total, unit=" sets", disable=None):
        os.makedirs(given.out, exist_ok=True)
        stem = os.path.join(given.out, name)
        done = "wrote" if write(stem, data, about) else "is there:"
        tqdm.write(f"{done} {stem}.npz ({about['examples']:,} examples, {len(data) / 1e6:.1f} MB)")
    shutil.copyfile(score.__file__, os.path.join(given.out, "score.py"))


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: _run(arguments), "--out")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
