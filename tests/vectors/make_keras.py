"""Makes keras.npz: weights, inputs and outputs of Keras's recurrent layers.

pip install keras==3.15.1 jax numpy && KERAS_BACKEND=jax python tests/vectors/make_keras.py
"""

from pathlib import Path

import keras
import numpy as np

BATCH, TIME, INPUT, HIDDEN = 2, 5, 3, 4
LAYERS = keras.layers
CASES = {
    "rnn_tanh": lambda: [LAYERS.SimpleRNN(HIDDEN, return_sequences=True)],
    "rnn_relu": lambda: [
        LAYERS.SimpleRNN(HIDDEN, activation="relu", use_bias=False, return_sequences=True)
    ],
    "lstm": lambda: [
        LAYERS.Bidirectional(LAYERS.LSTM(HIDDEN, return_sequences=True)),
        LAYERS.LSTM(HIDDEN, return_sequences=True),
    ],
    "gru_after": lambda: [LAYERS.GRU(HIDDEN, return_sequences=True) for _ in range(2)],
    "gru_before": lambda: [LAYERS.GRU(HIDDEN, reset_after=False, return_sequences=True)],
}


def main():
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    arrays = {}
    for name, make in CASES.items():
        network = keras.Sequential([keras.Input((TIME, INPUT)), *make()])
        inputs = random.normal(size=(BATCH, TIME, INPUT)).astype(np.float32)
        for index, layer in enumerate(network.layers):
            drawn = [random.normal(size=w.shape, scale=0.5) for w in layer.get_weights()]
            layer.set_weights(drawn)  # biases start at zero, which would hide their order
            for at, array in enumerate(layer.get_weights()):
                arrays[f"{name}/weights/{index}/{at}"] = np.asarray(array)
        outputs = np.asarray(network(inputs))
        arrays |= {f"{name}/inputs": inputs, f"{name}/outputs": outputs}
    np.savez_compressed(Path(__file__).with_name("keras.npz"), **arrays)


if __name__ == "__main__":
    main()
