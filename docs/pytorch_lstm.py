r"""An LSTM in PyTorch, trained and scored on the very examples that lstm_jax gives its own.

Needs NumPy and PyTorch alone. Where lstm_jax is installed, export what is trained on (600 updates
of 32 sequences, from two seeds), what stops the training, and what is scored:

    export="python -m lstm_jax.datasets.export --task=recall --gaps=40 --out=exported"
    $export --split=train --examples=19200 --seed=0,1
    $export --split=monitor
    $export --split=report

Then, anywhere, one network for each exported seed, in half a minute each:

    python pytorch_lstm.py exported/recall-gap40

The protocol is that of lstm_jax: batches of 32 in order, Adam at 3e-3, the gradient's norm clipped
at 1, a look at the monitor set every 50 updates, an end after two looks in a row at its `stop_at`
or when the examples are used up, and then the score on the report set. Predictions are written
beside the sets, one `.npz` a seed; `score.py`, which is exported with them, reads these too.
"""

import glob
import importlib
import os
import re
import sys

import numpy as np

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    print("error: pytorch_lstm.py needs the package torch: pip install torch", file=sys.stderr)
    sys.exit(2)

HIDDEN = 32
LEARNING_RATE = 3e-3
CLIP_NORM = 1.0
LOOK_EVERY = 50  # updates


class Network(nn.Module):
    """One-hot symbols or dense vectors, an LSTM, and a linear readout at the steps asked for."""

    def __init__(self, about: dict):
        super().__init__()
        self.symbols = about["input_size"] if about["kind"] == "tokens" else None
        self.lstm = nn.LSTM(about["input_size"], HIDDEN, batch_first=True)
        self.readout = nn.Linear(HIDDEN, about["output_size"])
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Draws the parameters as lstm_jax does: orthogonal recurrent blocks, kernels N(0, 1/rows),
        biases zero but for a forget bias of 1.

        PyTorch adds two biases. One of them stays zero: with both trained, Adam would move their
        sum twice as fast, and there would be 4 HIDDEN parameters more.
        """
        input_kernel, recurrent_kernel, bias, second_bias = self.lstm.parameters()
        nn.init.normal_(input_kernel, std=self.lstm.input_size**-0.5)
        for block in recurrent_kernel.split(HIDDEN):  # input, forget, candidate, output
            nn.init.orthogonal_(block)
        bias.zero_()
        bias[HIDDEN : 2 * HIDDEN] = 1
        second_bias.zero_()
        second_bias.requires_grad_(False)
        nn.init.normal_(self.readout.weight, std=HIDDEN**-0.5)
        self.readout.bias.zero_()

    def trained(self) -> list:
        """The parameters that are trained."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def forward(self, inputs, use_times):
        """`[batch, time(, input)]`, `[batch, uses]` -> predictions `[batch, uses, outputs]`."""
        if self.symbols is not None:
            inputs = functional.one_hot(inputs.long(), self.symbols).float()
        outputs, _ = self.lstm(inputs)
        return self.readout(outputs[torch.arange(len(outputs))[:, None], use_times.long()])


def loss_of(network: Network, batch: dict):
    """Mean over examples of the weighted mean over uses: cross entropy, or squared error."""
    predictions = network(batch["inputs"], batch["use_times"])
    targets, weights = batch["targets"], batch["weights"]
    if targets.dtype.is_floating_point:
        losses = (predictions - targets).square().mean(dim=-1)
    else:
        losses = functional.cross_entropy(
            predictions.transpose(1, 2), targets.long(), reduction="none"
        )
    return ((losses * weights).sum(dim=1) / weights.sum(dim=1)).mean()


@torch.no_grad()
def predict(network: Network, arrays: dict) -> np.ndarray:
    """Predictions on a set, `[examples, uses, outputs]`."""
    inputs, use_times = (torch.from_numpy(arrays[name]) for name in ("inputs", "use_times"))
    return network(inputs, use_times).numpy()


def train(network: Network, stream: dict, batch_size: int, reached) -> int:
    """Trains on a stream in its order; returns the number of updates.

    Args:
      network: trained in place.
      stream: arrays of the exported split `train`.
      batch_size: with which it was exported.
      reached: asked every LOOK_EVERY updates; training ends when it says yes twice in a row.
    """
    # Its other settings are those of lstm_jax: decays 0.9 and 0.999, epsilon 1e-8.
    optimizer = torch.optim.Adam(network.trained(), LEARNING_RATE)
    tensors = {name: torch.from_numpy(leaf) for name, leaf in stream.items()}
    updates = len(stream["inputs"]) // batch_size
    before = False
    for update in range(updates):
        rows = slice(update * batch_size, (update + 1) * batch_size)
        optimizer.zero_grad()
        loss_of(network, {name: tensor[rows] for name, tensor in tensors.items()}).backward()
        nn.utils.clip_grad_norm_(network.trained(), CLIP_NORM, error_if_nonfinite=True)
        optimizer.step()
        if (update + 1) % LOOK_EVERY == 0:
            now = reached()
            if before and now:
                return update + 1
            before = now
    return updates


def run(stem: str, train_path: str, score) -> dict:
    """Trains and scores one network.

    Args:
      stem: of the exported files, `exported/recall-gap40`.
      train_path: of the stream.
      score: the module score.py.

    Returns:
      What `score.score` found on the report set, with `seed`, `updates`, `parameters`, and `about`,
      the set's description.
    """
    stream, about = score.read(train_path)
    monitor, about_monitor = score.read(f"{stem}-monitor.npz")
    report, about_report = score.read(f"{stem}-report.npz")
    torch.manual_seed(about["seed"])
    network = Network(about)

    def reached():
        found = score.score(predict(network, monitor), monitor, about_monitor)
        return found["accuracy"] >= about["stop_at"]

    updates = train(network, stream, about["batch_size"], reached)
    predictions = predict(network, report)
    np.savez(f"{stem}-predictions-seed{about['seed']}.npz", predictions=predictions)
    return {
        **score.score(predictions, report, about_report),
        "about": about_report,
        "seed": about["seed"],
        "updates": updates,
        "parameters": sum(parameter.numel() for parameter in network.trained()),
    }


def streams_of(stem: str) -> list:
    """The exported training streams, by seed.

    Raises:
      ValueError: there are none.
    """
    found = {}
    for path in glob.glob(f"{glob.escape(stem)}-train-seed*.npz"):
        found[int(re.search(r"-train-seed(\d+)-", path).group(1))] = path
    if not found:
        raise ValueError(f"{stem}-train-seed*.npz: not there; --help says how to export them")
    return [found[seed] for seed in sorted(found)]


def score_of(stem: str):
    """The module score.py that was exported beside the sets."""
    folder = os.path.dirname(os.path.abspath(stem))
    if not os.path.exists(os.path.join(folder, "score.py")):
        raise ValueError(f"{folder}: has no score.py, which the export writes beside the sets")
    sys.path.insert(0, folder)
    return importlib.import_module("score")


def main(arguments: list) -> int:
    """The command; returns its exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    (stem,) = arguments
    torch.set_num_threads(1)  # so small a network gains nothing from more
    solved, accuracies = 0, []
    try:
        streams, score = streams_of(stem), score_of(stem)
        for path in streams:
            found = run(stem, path, score)
            solved += found["solved"]
            accuracies.append(found["accuracy"])
            (line, *_) = score.lines(found, found["about"])
            told = f"seed {found['seed']}, {found['parameters']:,} parameters"
            print(f"{told}, {found['updates']} updates: {line}", flush=True)
    except (ValueError, KeyError, OSError, ImportError, RuntimeError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    print(f"solved {solved} of {len(streams)}, mean accuracy {np.mean(accuracies):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
