"""Does a carry help that is handed over to where gradients do not reach?

    python -m experiments.characters

Character language models are trained on a text in segments: handing the carry over from each to the
next (truncated backpropagation through time), or beginning each anew. Both do the same updates on
the same characters, at several lengths of a segment; then the end of the text, which training did
not see, is read whole, the carry handed over, and told in bits a character. Without --text the text
is this project's own documentation, whose SHA-256 is in every row.

Writes a row a network, a table and a figure into --results_dir. Networks that are there already are
not trained again.
"""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import commands, observing

if TYPE_CHECKING:
    from lstm_jax.characters_figure import Network

FLAGS = commands.Flags()
_WHOLE = commands.Number(1, whole=True, most=16_384)
_TEXT = FLAGS.define("text", "", "a file whose bytes are the characters; empty for our own docs")
_CELL = FLAGS.define("cell", "lstm", "cell, with options: lstm:forget_bias=4")
_SEGMENTS = FLAGS.define(
    "segments", [4, 16, 64], "steps of a segment, through which gradients go",
    commands.ListOf(_WHOLE),
)  # fmt: skip
_SEEDS = FLAGS.define("seeds", 5, "networks of each kind", commands.Number(1, whole=True, most=100))
_EPOCHS = FLAGS.define("epochs", 3, "times that the text is read", _WHOLE)
_BATCH = FLAGS.define("batch_size", 32, "streams side by side", _WHOLE)
_HIDDEN = FLAGS.define("hidden_size", 64, "units", _WHOLE)
_RATE = FLAGS.define(
    "learning_rate", 3e-3, "of Adam, the gradient's norm clipped to 1",
    commands.Number(0, whole=False, above=True, most=10),
)  # fmt: skip
_RESULTS = FLAGS.define("results_dir", "results/characters", "where rows and the figure go")
_SMOKE = FLAGS.define("smoke", False, "a small one, in some seconds", commands.TRUE_OR_FALSE)
_HELD_OUT = 10  # the last one part in so many of the text is for the test
_LARGEST = 10**8  # bytes of a text


def own_text() -> bytes:
    """This project's documentation, one file after another."""
    root = Path(__file__).parents[1]
    files = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return b"\n".join(path.read_bytes() for path in files)


def read_text(path: str) -> bytes:
    """The text; raises InputError where it cannot be read or is too large."""
    from lstm_jax import storage
    from lstm_jax.errors import InputError

    if not path:
        return own_text()
    try:
        content = storage.read(path, _LARGEST)
    except storage.TooLargeError as error:
        raise InputError(f"--text={path}: must hold at most {_LARGEST:,} bytes") from error
    except OSError as error:
        raise InputError(f"--text={path}: cannot be read ({error.strerror or error})") from error
    if content is None:
        raise InputError(f"--text={path}: no such file")
    return content.data


def networks(text: bytes) -> "list[Network]":
    """What is trained, in order."""
    from lstm_jax.characters_figure import Network
    from lstm_jax.layers import MODELS
    from lstm_jax.spec import parse

    smoke = _SMOKE.value
    segments, seeds = (_SEGMENTS.value, _SEEDS.value) if not smoke else ([4, 16], 2)
    with commands.naming("cell"):
        cell = parse(_CELL.value, MODELS, "cell")
    return [
        Network(
            cell=str(cell),
            segment=segment,
            hand_over=hand_over,
            seed=seed,
            epochs=1 if smoke else _EPOCHS.value,
            batch_size=_BATCH.value,
            hidden_size=8 if smoke else _HIDDEN.value,
            learning_rate=_RATE.value,
            text_sha256=hashlib.sha256(text).hexdigest(),
            text_bytes=len(text),
        )
        for segment in segments
        for hand_over in (True, False)
        for seed in range(seeds)
    ]


class Experiment:
    """A text, and the networks that read it; programs are shared by seeds."""

    def __init__(self, text: bytes):
        """Splits the text, and numbers its symbols."""
        import numpy as np

        symbols = np.frombuffer(text, np.uint8)
        self.alphabet, numbered = np.unique(symbols, return_inverse=True)
        held_out = len(symbols) // _HELD_OUT
        self.train, self.test = numbered[:-held_out], numbered[-held_out:]
        self._programs: dict = {}

    def made(self, network: "Network"):
        """Network functions, segments and the compiled training of this kind of network."""
        import jax

        from lstm_jax.errors import InputError
        from lstm_jax.layers import MODELS, Layer, layer
        from lstm_jax.network import functional
        from lstm_jax.optimizers import direction
        from lstm_jax.spec import parse
        from lstm_jax.stateful import cut, trainer

        kind = dataclasses.replace(network, seed=0)
        if kind not in self._programs:
            spec = parse(network.cell, MODELS, "cell")
            arguments = spec.arguments(network.segment)
            model = MODELS[spec.name](len(self.alphabet), network.hidden_size, **arguments)
            if isinstance(model, Layer):
                raise InputError(f"--cell={network.cell}: carries nothing from step to step")
            with commands.naming("segments"):
                segments = cut(self.train, batch=network.batch_size, segment=network.segment)
            functions = functional(
                [layer(model)],
                kind="tokens",
                input_size=len(self.alphabet),
                output_size=len(self.alphabet),
            )
            made = trainer(
                functions,
                direction("adam", "norm:1"),
                learning_rate=network.learning_rate,
                hand_over=network.hand_over,
            )
            self._programs[kind] = functions, segments, made.init, jax.jit(made.advance)
        return self._programs[kind]

    def told(self, network: "Network") -> dict:
        """Trains a network, and says what it came to."""
        import jax

        from lstm_jax.stateful import bits_per_symbol

        functions, segments, init, advance = self.made(network)
        state = init(jax.random.key(network.seed), network.batch_size)
        for _ in range(network.epochs):
            # The text begins again, and so does what is carried.
            state = state._replace(carries=functions.start(state.params, network.batch_size))
            state, losses = advance(state, segments)
        return {
            "updates": int(state.update),
            "parameters": functions.parameters,
            "train_bits": float(losses[-(len(losses) // 4 + 1) :].mean()) / math.log(2),
            "test_bits": bits_per_symbol(functions, state.params, self.test),
            "test_characters": len(self.test) - 1,
            "symbols": len(self.alphabet),
        }


def main() -> int:
    """Checks everything, trains what is not there, draws."""
    from lstm_jax import backend, storage
    from lstm_jax.characters_figure import KIND
    from lstm_jax.errors import InputError

    text = read_text(_TEXT.value)
    if len(text) < 10 * _BATCH.value:
        raise InputError(f"--text: holds {len(text)} bytes; must be {10 * _BATCH.value} at least")
    asked = networks(text)
    backend.set_up()
    experiment = Experiment(text)
    for network in asked:  # whatever is wrong is said before anything runs
        experiment.made(network)
    with commands.naming("results_dir"):
        directory = storage.usable_directory(_RESULTS.value)
    _, ended = observing.observe(
        asked,
        KIND,
        directory,
        experiment.told,
        lambda row: f"{row['test_bits']:.3f} bits a character",
    )
    return observing.finish(directory, ended)


if __name__ == "__main__":
    commands.run(main, FLAGS, __doc__)
