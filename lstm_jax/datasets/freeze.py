"""Writes the frozen evaluation sets for TFDS, or the checksums that pin them.

    python -m lstm_jax.datasets.freeze                          # all, below data/
    python -m lstm_jax.datasets.freeze --sets=recall-gap20,adding-gap40
    python -m lstm_jax.datasets.freeze --check                  # draws and compares, writes nothing
    python -m lstm_jax.datasets.freeze --pin                    # for a new version: checksums.json

Sets go to `data/` or where LSTM_JAX_DATA_DIR says, each to a folder with its version; one that is
there is not drawn again. They are read without JAX: `frozen_builder.py` shows how.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence

from tqdm import tqdm

from lstm_jax import datasets
from lstm_jax.datasets import frozen
from lstm_jax.datasets.command_line import Parser, exit_status, write_whole
from lstm_jax.errors import InputError


def generate(name: str) -> str:
    """Writes a set, unless it is there; returns its folder.

    Raises:
      InputError: what is drawn is not what is pinned, or the directory cannot be written.
      MissingExtraError: TFDS is not installed.
    """
    datasets.require("tensorflow_datasets", "freezing evaluation sets")
    from lstm_jax.datasets.frozen_builder import FrozenEvaluation

    return datasets.generated(functools.partial(FrozenEvaluation, config=name)).data_dir


def pin(names: Sequence[str], path: str) -> int:
    """Writes the checksums of all sets; returns how many are new or changed.

    Args:
      names: the sets.
      path: of `checksums.json`.

    Raises:
      InputError: a set of this version is pinned, and is another one now.
      OSError: the file cannot be written.
    """
    stored = {"version": None, "sets": {}}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)
    old = stored["sets"] if stored["version"] == frozen.VERSION else {}
    sets, changed = {}, 0
    for name in tqdm(names, unit=" sets", disable=None):
        sets[name] = {split: frozen.checksum(leaf) for split, leaf in frozen.draw(name).items()}
        if name not in old:
            changed += 1
            continue
        if not all(frozen.same(sets[name][split], old[name][split]) for split in frozen.SPLITS):
            raise InputError(
                f"--pin: {name} is pinned in version {frozen.VERSION} and is another set now; "
                "raise VERSION in lstm_jax/datasets/frozen.py, and say why in RELEASE_NOTES"
            )
        sets[name] = old[name]  # sums that another platform rounds otherwise stay as they are
    lines = [f"  {json.dumps(name)}: {json.dumps(sums)}" for name, sums in sets.items()]
    text = f'{{"version": "{frozen.VERSION}", "sets": {{\n' + ",\n".join(lines) + "\n}}\n"
    write_whole(path, text.encode())
    return changed


def _sets(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in frozen.SETS:
            raise argparse.ArgumentTypeError(
                f"{name!r:.80} is not known: allowed are {', '.join(frozen.SETS)}"
            )
    return names


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("freeze", __doc__)
    parser.add_argument("--sets", type=_sets, help="comma-separated; all if not given")
    parser.add_argument("--check", action="store_true", help="draw and compare; write nothing")
    parser.add_argument("--pin", action="store_true", help="write checksums.json")
    given = parser.parse_args(arguments)
    if given.pin and (given.check or given.sets):
        raise InputError("--pin: pins all sets, and does nothing else")
    return given


def _run(arguments: list[str]) -> None:
    given = _arguments(arguments)
    if given.pin:
        changed = pin(list(frozen.SETS), str(frozen.CHECKSUMS))
        print(f"{frozen.CHECKSUMS}: {len(frozen.SETS)} sets, {changed} of them new or changed")
        return
    for name in tqdm(given.sets or list(frozen.SETS), unit=" sets", disable=None):
        if given.check:
            for split, example in frozen.draw(name).items():
                frozen.check(name, split, example)
            tqdm.write(f"{name}: as pinned in version {frozen.VERSION}")
        else:
            tqdm.write(generate(name))


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: _run(arguments), "checksums.json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
