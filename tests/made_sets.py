"""Small made-up data sets under the names of real ones, so that the code that loads those runs on
files without a network.

Each has the name, version and features that TFDS gives the real one (they are written by its own
builder, which is only kept from downloading), all classes, and the same examples every time.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import filelock
import numpy as np

from lstm_jax.datasets import base
from lstm_jax.datasets.tensorflow_free import without_tensorflow

Examples = Iterator[dict[str, Any]]
SETS: dict[str, dict[str, Callable[[], Examples]]] = {}


def make(name: str, directory: os.PathLike) -> None:
    """Writes a made-up set below a directory unless it is there; of several processes, one does."""
    os.makedirs(directory, exist_ok=True)
    lock = os.path.join(directory, f".made-{name.replace('/', '-')}.lock")
    with filelock.FileLock(lock), in_directory(directory):
        with contextlib.suppress(base.InputError):
            base.require_prepared(name)
            return
        base.require("tensorflow_datasets", "made data").disable_progress_bar()
        builder = base.new_builder(name)
        splits = SETS[name]
        builder._split_generators = lambda dl_manager: {
            split: enumerate(examples()) for split, examples in splits.items()
        }
        with without_tensorflow(), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()


def shared(tmp_path_factory) -> pathlib.Path:
    """The directory of all made-up sets, one for all worker processes of a test run."""
    directory = tmp_path_factory.getbasetemp()
    directory = directory.parent if directory.name.startswith("popen-") else directory
    for name in SETS:
        make(name, directory / "data")
    return directory / "data"


@contextlib.contextmanager
def in_directory(directory: os.PathLike) -> Iterator[None]:
    """Has data sets lie below this directory."""
    before = os.environ.get(base.DIRECTORY_VARIABLE)
    os.environ[base.DIRECTORY_VARIABLE] = os.fspath(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ[base.DIRECTORY_VARIABLE]
        else:
            os.environ[base.DIRECTORY_VARIABLE] = before


def _images(shape: tuple[int, ...], count: int, seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Noisy images, each class with a pattern of its own, the classes in turn."""
    patterns = np.random.default_rng(0).integers(0, 200, (10, *shape))
    noise = np.random.default_rng(seed).integers(0, 56, (count, *shape))
    for index in range(count):
        label = index % 10
        yield (patterns[label] + noise[index]).astype(np.uint8), label


def _mnist(count: int, seed: int) -> Examples:
    for image, label in _images((28, 28, 1), count, seed):
        yield {"image": image, "label": label}


def _cifar10(count: int, seed: int) -> Examples:
    for index, (image, label) in enumerate(_images((32, 32, 3), count, seed)):
        yield {"id": f"{seed}_{index:05d}", "image": image, "label": label}


def _speech_commands(count: int, seed: int, mostly_unknown: bool) -> Examples:
    """A tone of its own for each label, some clips shorter than a second; the commonest label is
    `_unknown_` where it is so in the real set, which is everywhere but in its test split."""
    noise = np.random.default_rng(seed).normal(0, 300, (count, 16_000))
    for index in range(count):
        label = 11 if mostly_unknown and index % 2 else index // 2 % 12
        tone = 3000 * np.sin(np.arange(16_000) * (label + 1) / 20)
        length = 16_000 - 1000 * (index % 3)
        yield {"audio": (tone + noise[index])[:length].astype(np.int16), "label": label}


SETS["mnist"] = {"train": lambda: _mnist(640, 1), "test": lambda: _mnist(512, 2)}
SETS["cifar10"] = {"train": lambda: _cifar10(640, 1), "test": lambda: _cifar10(512, 2)}
SETS["speech_commands"] = {
    "train": lambda: _speech_commands(120, 1, True),
    "validation": lambda: _speech_commands(264, 2, True),
    "test": lambda: _speech_commands(132, 3, False),
}


_GOOD, _BAD = ("a fine film", "moving", "I loved it"), ("a dull film", "a bore", "I left early")
_BOTH = ("the plot", "<br /><br />", "an actor", "caf\u00e9 scenes", "two hours", "it rained")


def _imdb_reviews(count: int, seed: int) -> Examples:
    """Reviews of some words to some hundreds, some of which are of one opinion."""
    random = np.random.default_rng(seed)
    for index in range(count):
        label = index % 2
        words = random.choice(_BOTH, size=random.integers(2, 300)).tolist()
        words.insert(random.integers(len(words)), random.choice((_BAD, _GOOD)[label]))
        yield {"text": " ".join(words), "label": label}


def _tiny_shakespeare(count: int, seed: int) -> Examples:
    """Speeches of words with spaces between; the words' letters hang together."""
    words = ("the", "king", "speaks", "and", "a", "queen", "hears", "what", "fools", "have", "said")
    speech = np.random.default_rng(seed).choice(words, size=count)
    lines = [" ".join(speech[begin : begin + 8]) for begin in range(0, count, 8)]
    yield {"text": "FOOL:\n" + "\n".join(lines)}


SETS["imdb_reviews/plain_text"] = {
    "train": lambda: _imdb_reviews(800, 1),
    "test": lambda: _imdb_reviews(300, 2),
}
SETS["tiny_shakespeare"] = {
    "train": lambda: _tiny_shakespeare(8000, 1),
    "validation": lambda: _tiny_shakespeare(1500, 2),
    "test": lambda: _tiny_shakespeare(1500, 3),
}
