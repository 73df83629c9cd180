"""Equations of every cell, transcribed from the papers into NumPy, one gate at a time.

Each takes parameters (NumPy leaves), inputs `[time, input]` and the hidden size, and gives the
outputs `[time, hidden]`. They are written for reading, apart from the cells, and share no code with
them. `EQUATIONS` holds, for each cell, the transcription and the options that it is compared at.
"""

import numpy as np
import scipy.linalg

EQUATIONS = {}


def of(name, *options):
    """Registers a transcription, to be compared at each of `options` beside the defaults."""

    def register(function):
        EQUATIONS[name] = function, [{}, *options]
        return function

    return register


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def columns(array, parts):
    return np.split(array, parts, axis=-1)


@of("rnn", {"activation": "relu"})
def rnn(params, inputs, size, *, activation="tanh"):
    activate = {"tanh": np.tanh, "relu": relu}[activation]
    h, outputs = np.zeros(size), []
    for x in inputs:
        h = activate(x @ params.input_kernel + h @ params.recurrent_kernel + params.bias)
        outputs.append(h)
    return np.array(outputs)


@of("irnn")
def irnn(params, inputs, size):
    return rnn(params, inputs, size, activation="relu")


@of("lstm", {"projection": 3})
def lstm(params, inputs, size, *, projection=None):
    w_i, w_f, w_g, w_o = columns(params.input_kernel, 4)
    u_i, u_f, u_g, u_o = columns(params.recurrent_kernel, 4)
    b_i, b_f, b_g, b_o = columns(params.bias, 4)
    h, c, outputs = np.zeros(projection or size), np.zeros(size), []
    for x in inputs:
        i = sigmoid(x @ w_i + h @ u_i + b_i)
        f = sigmoid(x @ w_f + h @ u_f + b_f)
        g = np.tanh(x @ w_g + h @ u_g + b_g)
        o = sigmoid(x @ w_o + h @ u_o + b_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        if projection:
            h = h @ params.projection_kernel
        outputs.append(h)
    return np.array(outputs)


VARIANTS = ("NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG", "NP", "FGR")


@of(
    "peephole_lstm",
    {"peepholes": "full"},
    *({"variant": variant} for variant in VARIANTS),
    *({"variant": variant, "peepholes": "full"} for variant in ("NIG", "NOG", "CIFG", "FGR")),
)
def peephole_lstm(params, inputs, size, *, variant="V", peepholes="diagonal"):
    """Greff et al. 2015: the vanilla LSTM of section II, and the variants of section III."""
    gates = {
        "NIG": ["f", "o"],
        "NFG": ["i", "o"],
        "NOG": ["i", "f"],
        "CIFG": ["i", "o"],
    }.get(variant, ["i", "f", "o"])
    blocks = [*gates, "z"]

    def by_block(array, names):
        return dict(zip(names, columns(array, len(names)), strict=True))

    w = by_block(params["input_kernel"], blocks)
    r = by_block(params["recurrent_kernel"], blocks)
    b = by_block(params["bias"], blocks)
    p = {}
    if variant != "NP" and peepholes == "diagonal":
        p = {gate: np.diag(v) for gate, v in by_block(params["peepholes"], gates).items()}
    elif variant != "NP":
        early = [gate for gate in gates if gate != "o"]
        p = by_block(params["memory_kernel"], early)
        if "o" in gates:
            p["o"] = params["output_memory_kernel"]

    def preactivation(name, x, y, c, before):
        total = x @ w[name] + y @ r[name] + b[name]
        if name in p:
            total = total + c @ p[name]
        if variant == "FGR" and name != "z":
            from_gates = by_block(params["gate_kernel"], gates)[name]
            total = total + np.concatenate(before) @ from_gates
        return total

    y, c, outputs = np.zeros(size), np.zeros(size), []
    before = [np.zeros(size)] * 3
    for x in inputs:
        z = preactivation("z", x, y, c, before)
        z = z if variant == "NIAF" else np.tanh(z)
        i = 1.0 if variant == "NIG" else sigmoid(preactivation("i", x, y, c, before))
        if variant == "NFG":
            f = 1.0
        elif variant == "CIFG":
            f = 1 - i
        else:
            f = sigmoid(preactivation("f", x, y, c, before))
        c = z * i + c * f
        o = 1.0 if variant == "NOG" else sigmoid(preactivation("o", x, y, c, before))
        y = (c if variant == "NOAF" else np.tanh(c)) * o
        before = [i, f, o]
        outputs.append(y)
    return np.array(outputs)


@of("cifg")
def cifg(params, inputs, size):
    w_f, w_g, w_o = columns(params.input_kernel, 3)
    u_f, u_g, u_o = columns(params.recurrent_kernel, 3)
    b_f, b_g, b_o = columns(params.bias, 3)
    h, c, outputs = np.zeros(size), np.zeros(size), []
    for x in inputs:
        f = sigmoid(x @ w_f + h @ u_f + b_f)
        c = f * c + (1 - f) * np.tanh(x @ w_g + h @ u_g + b_g)
        h = sigmoid(x @ w_o + h @ u_o + b_o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


@of("gru", {"reset": "after"})
def gru(params, inputs, size, *, reset="before"):
    w_z, w_r, w_n = columns(params.input_kernel, 3)
    b_z, b_r, b_n = columns(params.bias, 3)
    if reset == "before":
        u_z, u_r = columns(params.gate_kernel, 2)
        u_n = params.candidate_kernel
    else:
        u_z, u_r, u_n = columns(params.recurrent_kernel, 3)
    h, outputs = np.zeros(size), []
    for x in inputs:
        z = sigmoid(x @ w_z + h @ u_z + b_z)
        r = sigmoid(x @ w_r + h @ u_r + b_r)
        if reset == "before":
            n = np.tanh(x @ w_n + (r * h) @ u_n + b_n)
        else:
            n = np.tanh(x @ w_n + r * (h @ u_n + params.candidate_bias) + b_n)
        h = (1 - z) * h + z * n
        outputs.append(h)
    return np.array(outputs)


@of("depth_gated_lstm", {"layers": 3})
def depth_gated_lstm(params, inputs, size, *, layers=2):
    h = [np.zeros(size) for _ in range(layers)]
    c = [np.zeros(size) for _ in range(layers)]
    outputs = []
    for x in inputs:
        below = None
        for layer in range(layers):
            if layer == 0:
                w_i, w_f, w_g, w_o = columns(params.input_kernel, 4)
            else:
                w_i, w_f, w_g, w_o, w_d = columns(params.upper_kernel[layer - 1], 5)
            u_i, u_f, u_g, u_o = columns(params.recurrent_kernel[layer], 4)
            b_i, b_f, b_g, b_o = columns(params.bias[layer], 4)
            p_i, p_f, p_o = params.peepholes[layer]
            last = c[layer]
            i = sigmoid(x @ w_i + h[layer] @ u_i + p_i * last + b_i)
            f = sigmoid(x @ w_f + h[layer] @ u_f + p_f * last + b_f)
            c[layer] = f * last + i * np.tanh(x @ w_g + h[layer] @ u_g + b_g)
            if layer:
                p_d, q_d = params.depth_peepholes[layer - 1]
                d = sigmoid(x @ w_d + p_d * last + q_d * below + params.depth_bias[layer - 1])
                c[layer] = c[layer] + d * below
            o = sigmoid(x @ w_o + h[layer] @ u_o + p_o * c[layer] + b_o)
            h[layer] = o * np.tanh(c[layer])
            below, x = c[layer], h[layer]
        outputs.append(x)
    return np.array(outputs)


@of("clockwork_rnn", {"modules": 2}, {"modules": 1})
def clockwork_rnn(params, inputs, size, *, modules=8):
    module = [unit * min(modules, size) // size for unit in range(size)]
    u, entries = np.zeros((size, size)), iter(params.connections)
    for source in range(size):
        for target in range(size):
            if module[source] >= module[target]:  # from slow to fast alone
                u[source, target] = next(entries)
    assert next(entries, None) is None
    h, outputs = np.zeros(size), []
    for time, x in enumerate(inputs):
        moved = np.tanh(x @ params.input_kernel + h @ u + params.bias)
        due = [time % 2**g == 0 for g in module]
        h = np.where(due, moved, h)
        outputs.append(h)
    return np.array(outputs)


@of("grid_lstm", {"tied": True}, {"layers": 1})
def grid_lstm(params, inputs, size, *, layers=2, tied=False):
    h = [np.zeros(size) for _ in range(layers)]
    m = [np.zeros(size) for _ in range(layers)]
    outputs = []
    for x in inputs:
        depth_h, depth_m = columns(x @ params.input_kernel + params.input_bias, 2)
        for layer in range(layers):
            kernel, bias = (a[0 if tied else layer] for a in (params.kernel, params.bias))
            both = np.concatenate([h[layer], depth_h])

            def block(dimension, memory, kernel=kernel, bias=bias, both=both):
                w_u, w_f, w_o, w_c = columns(columns(kernel, 2)[dimension], 4)
                b_u, b_f, b_o, b_c = columns(columns(bias, 2)[dimension], 4)
                u, f, o = (
                    sigmoid(both @ w_u + b_u),
                    sigmoid(both @ w_f + b_f),
                    sigmoid(both @ w_o + b_o),
                )
                memory = f * memory + u * np.tanh(both @ w_c + b_c)
                return np.tanh(o * memory), memory

            h[layer], m[layer] = block(0, m[layer])
            depth_h, depth_m = block(1, depth_m)
        outputs.append(depth_h)
    return np.array(outputs)


@of("lstm_1997")
def lstm_1997(params, inputs, size):
    w_i, w_g, w_o = columns(params.input_kernel, 3)
    u_i, u_g, u_o = columns(params.recurrent_kernel, 3)
    b_i, b_g, b_o = columns(params.bias, 3)
    h, c, outputs = np.zeros(size), np.zeros(size), []
    for x in inputs:
        i = sigmoid(x @ w_i + h @ u_i + b_i)
        o = sigmoid(x @ w_o + h @ u_o + b_o)
        c = c + i * 2 * np.tanh((x @ w_g + h @ u_g + b_g) / 2)  # 4 sigmoid(x) - 2
        h = o * np.tanh(c / 2)  # 2 sigmoid(c) - 1
        outputs.append(h)
    return np.array(outputs)


@of("layer_norm_lstm")
def layer_norm_lstm(params, inputs, size):
    def norm(z):
        return (z - np.mean(z)) / np.sqrt(np.var(z) + 1e-5)

    h, c, outputs = np.zeros(size), np.zeros(size), []
    for x in inputs:
        from_input = norm(x @ params.input_kernel) * params.input_gain
        from_hidden = norm(h @ params.recurrent_kernel) * params.recurrent_gain
        i, f, g, o = columns(from_input + from_hidden + params.bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(norm(c) * params.memory_gain + params.memory_shift)
        outputs.append(h)
    return np.array(outputs)


def mut(params, inputs, size, number):
    w_z, w_r, w_h = columns(params.input_kernel, 3)
    b_z, b_r, b_h = columns(params.bias, 3)
    u_z, u_r = (None, params.gate_kernel) if number == 1 else columns(params.gate_kernel, 2)
    h, outputs = np.zeros(size), []
    for x in inputs:
        r = sigmoid(x @ w_r + h @ u_r + b_r)
        if number == 1:
            z, of_input = sigmoid(x @ w_z + b_z), np.tanh(x @ w_h)
        else:
            seen = h if number == 2 else np.tanh(h)
            z, of_input = sigmoid(x @ w_z + seen @ u_z + b_z), x @ w_h
        h = np.tanh((r * h) @ params.candidate_kernel + of_input + b_h) * z + h * (1 - z)
        outputs.append(h)
    return np.array(outputs)


@of("mut1")
def mut1(params, inputs, size):
    return mut(params, inputs, size, 1)


@of("mut2")
def mut2(params, inputs, size):
    return mut(params, inputs, size, 2)


@of("mut3")
def mut3(params, inputs, size):
    return mut(params, inputs, size, 3)


@of("orthogonal_rnn", {"activation": "tanh"}, {"activation": "linear"})
def orthogonal_rnn(params, inputs, size, *, activation="modrelu"):
    skew, entries = np.zeros((size, size)), iter(params.skew)
    for row in range(size):
        for column in range(row + 1, size):
            skew[row, column] = next(entries)
            skew[column, row] = -skew[row, column]
    # Through the eigenvalues of i A, which are real: not by the algorithm of the cell.
    values, vectors = np.linalg.eigh(1j * skew)
    u = (vectors * np.exp(-1j * values) @ vectors.conj().T).real
    np.testing.assert_allclose(u, scipy.linalg.expm(skew), atol=1e-12)
    h, outputs = np.zeros(size), []
    for x in inputs:
        z = x @ params.input_kernel + h @ u
        if activation == "modrelu":
            h = np.where(z >= 0, 1, -1) * relu(abs(z) + params.bias)
        else:
            h = {"tanh": np.tanh, "linear": lambda z: z}[activation](z + params.bias)
        outputs.append(h)
    return np.array(outputs)


@of("indrnn", {"time_scale": 10.0, "magnitude": 3.0})
def indrnn(params, inputs, size, *, time_scale=200.0, magnitude=2.0):
    u = magnitude ** (1 / time_scale) * np.tanh(params.recurrent)
    h, outputs = np.zeros(size), []
    for x in inputs:
        h = relu(x @ params.input_kernel + u * h + params.bias)
        outputs.append(h)
    return np.array(outputs)


@of("janet", {"beta": 0.3})
def janet(params, inputs, size, *, beta=1.0):
    w_f, w_g = columns(params.input_kernel, 2)
    u_f, u_g = columns(params.recurrent_kernel, 2)
    b_f, b_g = columns(params.bias, 2)
    c, outputs = np.zeros(size), []
    for x in inputs:
        s = x @ w_f + c @ u_f + b_f
        g = np.tanh(x @ w_g + c @ u_g + b_g)
        c = sigmoid(s) * c + (1 - sigmoid(s - beta)) * g
        outputs.append(c)
    return np.array(outputs)


@of("ur_lstm")
def ur_lstm(params, inputs, size):
    w_f, w_r, w_g, w_o = columns(params.input_kernel, 4)
    u_f, u_r, u_g, u_o = columns(params.recurrent_kernel, 4)
    b_f, b_r, b_g, b_o = columns(params.bias, 4)
    h, c, outputs = np.zeros(size), np.zeros(size), []
    for x in inputs:
        f = sigmoid(x @ w_f + h @ u_f + b_f)
        r = sigmoid(x @ w_r + h @ u_r + b_r)
        e = r * (1 - (1 - f) ** 2) + (1 - r) * f**2
        c = e * c + (1 - e) * np.tanh(x @ w_g + h @ u_g + b_g)
        h = sigmoid(x @ w_o + h @ u_o + b_o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


@of("slstm")
def slstm(params, inputs, size):
    """Without the stabiliser."""
    w_i, w_f, w_z, w_o = columns(params.input_kernel, 4)
    u_i, u_f, u_z, u_o = columns(params.recurrent_kernel, 4)
    b_i, b_f, b_z, b_o = columns(params.bias, 4)
    h, c, n, outputs = np.zeros(size), np.zeros(size), np.zeros(size), []
    for x in inputs:
        i = np.exp(x @ w_i + h @ u_i + b_i)
        f = sigmoid(x @ w_f + h @ u_f + b_f)
        c = f * c + i * np.tanh(x @ w_z + h @ u_z + b_z)
        n = f * n + i
        h = sigmoid(x @ w_o + h @ u_o + b_o) * c / n
        outputs.append(h)
    return np.array(outputs)


@of("mlstm", {"heads": 1}, {"heads": 2})
def mlstm(params, inputs, size, *, heads=4):
    """Without the stabiliser, one head after another."""
    width = size // heads
    w_q, w_k, w_v, w_o = columns(params.input_kernel, 4)
    b_q, b_k, b_v, b_o = columns(params.bias, 4)
    w_i, w_f = columns(params.gate_kernel, 2)
    b_i, b_f = columns(params.gate_bias, 2)
    outputs = np.zeros((len(inputs), size))
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        memory, n = np.zeros((width, width)), np.zeros(width)
        for time, x in enumerate(inputs):
            q = x @ w_q[:, own] + b_q[own]
            k = x @ w_k[:, own] / np.sqrt(width) + b_k[own]
            v = x @ w_v[:, own] + b_v[own]
            i = np.exp(x @ w_i[:, head] + b_i[head])
            f = sigmoid(x @ w_f[:, head] + b_f[head])
            memory = f * memory + i * np.outer(v, k)
            n = f * n + i * k
            o = sigmoid(x @ w_o[:, own] + b_o[own])
            outputs[time, own] = o * (memory @ q) / max(abs(n @ q), 1)
    return outputs


def log_space_scan(log_coefficients, log_values):
    """Feng et al. 2024, appendix B: h_t = a_t h_{t-1} + v_t by cumulative sums of logarithms."""
    total = np.cumsum(log_coefficients, axis=0)
    return np.exp(total + np.logaddexp.accumulate(log_values - total, axis=0))


def log_g(x):
    return np.where(x >= 0, np.log(relu(x) + 0.5), -np.logaddexp(0, -x))


@of("min_gru", {"candidate": "linear"})
def min_gru(params, inputs, size, *, candidate="positive"):
    k, n = columns(inputs @ params.input_kernel + params.bias, 2)
    if candidate == "positive":
        return log_space_scan(-np.logaddexp(0, k), -np.logaddexp(0, -k) + log_g(n))
    h, outputs = np.zeros(size), []
    for z, value in zip(sigmoid(k), n, strict=True):
        h = (1 - z) * h + z * value
        outputs.append(h)
    return np.array(outputs)


@of("min_lstm", {"candidate": "linear"})
def min_lstm(params, inputs, size, *, candidate="positive"):
    f, i, n = columns(inputs @ params.input_kernel + params.bias, 3)
    if candidate == "positive":
        difference = np.logaddexp(0, -f) - np.logaddexp(0, -i)
        log_f, log_i = -np.logaddexp(0, difference), -np.logaddexp(0, -difference)
        return log_space_scan(log_f, log_i + log_g(n))
    h, outputs = np.zeros(size), []
    for f_t, i_t, value in zip(sigmoid(f), sigmoid(i), n, strict=True):
        h = (f_t * h + i_t * value) / (f_t + i_t)
        outputs.append(h)
    return np.array(outputs)


@of("lru")
def lru(params, inputs, size):
    """As a convolution with the powers of lambda."""
    eigenvalues = np.exp(-np.exp(params.decay) + 1j * np.exp(params.phase))
    b = columns(params.input_kernel, 2)
    b = (b[0] + 1j * b[1]) * np.exp(params.input_scale)
    c = params.output_kernel[:size] + 1j * params.output_kernel[size:]
    outputs = []
    for time in range(len(inputs)):
        h = sum(eigenvalues ** (time - s) * (inputs[s] @ b) for s in range(time + 1))
        outputs.append((h @ c).real + inputs[time] @ params.skip_kernel)
    return np.array(outputs)


@of("s5")
def s5(params, inputs, size):
    """As the linear system of a held input, solved by the matrix exponential."""
    a = -np.exp(params.decay) + 1j * params.frequency
    b = columns(params.input_kernel, 2)
    b = b[0] + 1j * b[1]
    c = params.output_kernel[:size] + 1j * params.output_kernel[size:]
    held = []
    for state, step in enumerate(np.exp(params.log_step)):
        # d/dt [h, u] = [[a, 1], [0, 0]] [h, u], over one step.
        held.append(scipy.linalg.expm(step * np.array([[a[state], 1], [0, 0]])))
    held = np.array(held)
    h, outputs = np.zeros(size, complex), []
    for x in inputs:
        h = held[:, 0, 0] * h + held[:, 0, 1] * (x @ b)
        outputs.append(2 * (h @ c).real + x @ params.skip_kernel)
    return np.array(outputs)


@of("rg_lru")
def rg_lru(params, inputs, size):
    w_r, w_i, w_u = columns(params.input_kernel, 3)
    b_r, b_i, b_u = columns(params.bias, 3)
    a = sigmoid(-params.decay)  # exp(-softplus(Lambda))
    h, outputs = np.zeros(size), []
    for x in inputs:
        r, i = sigmoid(x @ w_r + b_r), sigmoid(x @ w_i + b_i)
        a_t = a ** (8 * r)
        h = a_t * h + np.sqrt(1 - a_t**2) * (i * (x @ w_u + b_u))
        outputs.append(h)
    return np.array(outputs)


@of("no_memory", {"width": 3})
def no_memory(params, inputs, size, *, width=1):
    outputs = []
    for time in range(len(inputs)):
        z = params.bias
        for back in range(width):
            if back <= time:
                z = z + inputs[time - back] @ params.kernels[back]
        outputs.append(relu(z))
    return np.array(outputs)
