r"""Writes examples as files that need no JAX: those that our networks are trained or scored on.

    python -m lstm_jax.datasets.export --task=recall --gaps=5,20,80 --out=exported
    python -m lstm_jax.datasets.export --task=recall --gaps=20 --split=train --examples=19200 \
        --seed=0 --batch_size=32 --out=exported

For each gap one `.npz` with the fields of an example (`lstm_jax.tasks.base.Example`) and one
`.json` that describes it. `report` and `monitor` are the fixed evaluation sets; `train` is what the
trial of one seed sees, in order. The same command writes the same bytes; a file that is there and
the same stays, one that differs is an error. `score.py`, which needs NumPy alone, is put beside.
"""

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import lstm_jax
from lstm_jax import keys
from lstm_jax.arrays import PyTree
from lstm_jax.datasets import score
from lstm_jax.errors import InputError, MissingExtraError, first_line
from lstm_jax.spec import load_file, parse
from lstm_jax.tasks import TASKS
from lstm_jax.tasks.base import Example, Task, counted, evaluation_set, training_batch

SPLITS = ("report", "monitor", "train")
_GENERATED = "CC0-1.0"
# Of sets that are not generated: what their own files say.
_LICENCES = {"digits": "CC-BY-4.0 (Alpaydin & Kaynak 1998, by scikit-learn)"}
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


def tolerance(task: Task, example: Example) -> float | None:
    """By how much an answer may be wrong and count as right; None where answers are classes."""
    if np.issubdtype(np.asarray(example.targets).dtype, np.integer):
        return None
    target = jnp.asarray(example.targets[0, 0])
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        right = bool(task.correct(target + jnp.float32(middle), target))
        low, high = (middle, high) if right else (low, middle)
    return float(f"{high:.4g}")


def describe(
    task: Task, spec: str, options: dict, argument: int, split: str, example: Example, stream: dict
) -> dict:
    """What the `.json` says, but for the hash."""
    lags = np.asarray(example.lag)[np.asarray(counted(task, example)) > 0]
    return {
        "format": 1,
        "task": spec,
        "options": options,
        "swept_by": task.swept_by,
        "gap": argument,
        "split": split,
        **stream,
        "examples": len(example.inputs),
        "arrays": {
            name: {"shape": list(np.shape(leaf)), "dtype": str(np.asarray(leaf).dtype)}
            for name, leaf in example._asdict().items()
        },
        "kind": task.kind,
        "input_size": task.input_size,
        "output_size": task.output_size,
        "length": task.length,
        "lags": [int(lags.min()), int(lags.max())],
        "counted_from": task.counted_from,
        "chance": task.chance,
        "blind_loss": task.blind_loss,
        "solved_at": task.solved_at,
        "ceiling": task.ceiling,
        "tolerance": tolerance(task, example),
        "licence": _LICENCES.get(task.name, _GENERATED),
        "made_by": f"lstm_jax {lstm_jax.__version__}",
    }


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text):
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r:.40} must be a whole number from {least} to {most:,}"
            )
        return int(text)

    return read


def _gaps(text: str) -> list[int]:
    return [_whole(0, 10**9)(part.strip()) for part in text.split(",")]


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m lstm_jax.datasets.export", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--task", required=True, help="a task with options, as copy:layout=exprnn")
    add("--task_file", help="your own task's file")
    add("--gaps", required=True, type=_gaps, help="comma-separated")
    add("--split", default="report", choices=SPLITS)
    add("--examples", type=_whole(1, _MOST_EXAMPLES), help="of train: how many")
    add("--seed", default=0, type=_whole(0, keys.MAX_SEED), help="of train")
    add("--batch_size", default=32, type=_whole(1, 10**6), help="of train, as the trial's")
    add("--out", required=True, help="a directory")
    given = parser.parse_args(arguments)
    if (given.split == "train") != (given.examples is not None):
        raise InputError("--examples: needed with --split=train, and only there")
    return given


def _sets(given: argparse.Namespace) -> Iterator[tuple[str, bytes, dict]]:
    """Name, data and description of each set; everything is checked before the first is drawn."""
    known = dict(TASKS)
    if given.task_file:
        own = load_file(given.task_file, "task")
        known[own.name] = own.constructor
    with _naming("task"):
        spec = parse(given.task, known, "task", knows_gap=False)
    with _naming("gaps"):
        tasks = [(gap, known[spec.name](gap, **spec.arguments(gap))) for gap in given.gaps]
    for gap, task in tasks:
        data = task.load()
        stream = {}
        if given.split == "train":
            stream = {"seed": given.seed, "batch_size": given.batch_size}
            drawn = train_stream(task, data, given.seed, given.batch_size, given.examples)
        else:
            drawn = evaluation_set(task, data, given.split)
        drawn = jax.tree.map(np.asarray, drawn)
        slug = str(spec).replace(":", "_").replace("/", "_")
        name = "-".join([slug, f"{task.swept_by}{gap}", given.split])
        if stream:
            name += f"-seed{given.seed}-batch{given.batch_size}-{given.examples}"
        about = describe(task, str(spec), spec.arguments(gap), gap, given.split, drawn, stream)
        yield name, encode(drawn), about


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    try:
        given = _arguments(arguments)
        made = _sets(given)
        first = next(made)  # what cannot be is said before anything is written
        os.makedirs(given.out, exist_ok=True)
        for name, data, about in itertools.chain([first], made):
            stem = os.path.join(given.out, name)
            done = "wrote" if write(stem, data, about) else "is there:"
            print(f"{done} {stem}.npz ({about['examples']:,} examples, {len(data) / 1e6:.1f} MB)")
        shutil.copyfile(score.__file__, os.path.join(given.out, "score.py"))
    except (InputError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: --out: {first_line(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
