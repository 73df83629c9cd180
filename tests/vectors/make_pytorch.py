"""Makes pytorch.npz: weights, inputs and outputs of PyTorch's recurrent modules.

pip install torch==2.14.1 numpy && python tests/vectors/make_pytorch.py
"""

from pathlib import Path

import numpy as np
import torch

BATCH, TIME, INPUT, HIDDEN = 2, 5, 3, 4
CASES = {
    "rnn_tanh": (torch.nn.RNN, {}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu", "bias": False}),
    "lstm": (torch.nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "lstm_projection": (torch.nn.LSTM, {"num_layers": 2, "proj_size": 2}),
    "gru": (torch.nn.GRU, {"num_layers": 2, "bidirectional": True}),
}


def main():
    torch.manual_seed(0)
    arrays = {}
    for name, (module, options) in CASES.items():
        network = module(INPUT, HIDDEN, batch_first=True, **options)
        inputs = torch.randn(BATCH, TIME, INPUT)
        with torch.no_grad():
            outputs, _ = network(inputs)
        arrays |= {f"{name}/inputs": inputs.numpy(), f"{name}/outputs": outputs.numpy()}
        state = network.state_dict()
        arrays |= {f"{name}/state/{key}": value.numpy() for key, value in state.items()}
    np.savez_compressed(Path(__file__).with_name("pytorch.npz"), **arrays)


if __name__ == "__main__":
    main()
