"""A recurrent layer, forward and forward + backward, against other libraries.

    pip install -e .[bench]
    python -m benchmarks.unroll_vs_peers --cores=1
    python -m benchmarks.unroll_vs_peers --gpu             # beside `pip install -e .[cuda]`

Each library runs in a process of its own, bound to the same cores, and only one works at a time:
every round times each of them once, in an order drawn anew, so that a slow moment of the machine
falls on all. On a GPU, PyTorch and `jax.experimental.rnn` run cuDNN.
Before that, all results are compared by value. The floor is the time that the three matrix products
of a recurrent step (forward, and backward by carry and by kernel) would take at the rate that one
2048 x 2048 product reaches on the same cores in the same round. Prints Markdown.
"""

import multiprocessing
import os
import statistics
import time

import numpy as np
from absl import app, flags

from benchmarks.peers import GATES, PEERS, ours

_CORES = flags.DEFINE_integer("cores", 1, "Cores that each library may use.")
_CELLS = flags.DEFINE_list("cells", ["lstm", "gru", "rnn"], "Cells.")
_SHAPES = flags.DEFINE_list(
    "shapes",
    ["100x32x2x32", "100x32x10x64", "100x64x2x128", "500x20x10x128", "100x128x10x256"],
    "Shapes TxBxIxH: time, batch, input, hidden.",
)
_PEERS = flags.DEFINE_list("peers", list(PEERS), "Libraries.")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Rounds; medians over them are printed.")
_KEEP_MEMORY = flags.DEFINE_enum(
    "keep_memory",
    "ours",
    ["ours", "all", "none"],
    "Who gets the allocator setting of `lstm_jax.backend.keep_freed_memory`.",
)
_GPU = flags.DEFINE_bool("gpu", False, "Runs all on the GPU.")


def worker(pipe, name: str, cores: int, keep_memory: bool, gpu: bool) -> None:
    """Answers requests: ("build", cell, ...) with results, ("forward" | "backward", calls) with
    seconds a call."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the libraries share the GPU
    os.environ["JAX_PLATFORMS"] = "cuda" if gpu else "cpu"
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    if keep_memory:
        from lstm_jax.backend import keep_freed_memory

        keep_freed_memory()
    if name == "PyTorch":
        import torch

        torch.set_num_threads(cores)
        torch.backends.cudnn.allow_tf32 = False  # float32, as everywhere here
    else:
        import jax

        jax.config.update("jax_default_matmul_precision", "float32")
    work = product = None
    while (request := pipe.recv()) is not None:
        what, *arguments = request
        if what == "build":
            cell, weights, inputs, cotangents = arguments
            options = {"device": "cuda"} if gpu and name == "PyTorch" else {}
            work = PEERS[name](cell, weights, inputs, cotangents, **options)
            if work is None:
                pipe.send(None)
                continue
            outputs = work.outputs(work.forward())
            pipe.send((outputs, work.recurrent(work.backward())))
        elif what == "product":
            product = product or _product()
            start = time.perf_counter()
            product()
            pipe.send(time.perf_counter() - start)
        else:
            (calls,) = arguments
            call = getattr(work, what)
            start = time.perf_counter()
            for _ in range(calls):
                call()
            pipe.send((time.perf_counter() - start) / calls)


def _product():
    """The product of the floor, compiled."""
    import jax
    import jax.numpy as jnp

    square, product = jnp.ones((2048, 2048)), jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(square))
    return lambda: jax.block_until_ready(product(square))


class Library:
    """A library's process."""

    def __init__(self, name: str):
        keep = {"ours": name in ("lstm_jax", "plain lax.scan"), "all": True, "none": False}
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.pipe, other = context.Pipe()
        arguments = (other, name, _CORES.value, keep[_KEEP_MEMORY.value], _GPU.value)
        context.Process(target=worker, args=arguments, daemon=True).start()

    def ask(self, *request):
        self.pipe.send(request)
        return self.pipe.recv()


def problem(cell: str, shape: tuple[int, int, int, int]):
    """Weights, inputs and cotangents."""
    steps, batch, inputs, hidden = shape
    random = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return (scale * random.normal(size=shape)).astype(np.float32)

    width = GATES[cell] * hidden
    weights = {
        "x": normal(inputs, width, scale=inputs**-0.5),
        "h": normal(hidden, width, scale=hidden**-0.5),
        "b": normal(width, scale=0.1),
    }
    cotangents = normal(steps, batch, hidden, scale=(batch * steps) ** -0.5)
    return weights, normal(steps, batch, inputs), cotangents


def compared(cell: str, name: str, given, expected) -> None:
    """Raises where a library computes something else."""
    for what, value, other in zip(("outputs", "gradient"), given, expected, strict=True):
        far = np.abs(value - other).max() / max(1e-3, np.abs(other).max())
        if not far < 1e-3:
            raise SystemExit(f"{name} {cell}: its {what} differ from ours by {far:.2g}")


def row(libraries: list[Library], cell: str, shape: tuple[int, int, int, int]) -> None:
    """Times all libraries at one shape and prints the rows of the table."""
    given = problem(cell, shape)
    expected = None
    taking_part = []
    for library in libraries:
        results = library.ask("build", cell, *given)
        if results is None:
            continue
        taking_part.append(library)
        expected = results if expected is None else expected
        against = expected
        if cell == "gru" and library.name == "Haiku":
            before = ours(cell, *given, reset="before")
            against = before.outputs(before.forward()), before.recurrent(before.backward())
        compared(cell, library.name, results, against)
    steps, batch, inputs, hidden = shape
    one_product = 2 * steps * batch * (inputs + hidden) * GATES[cell] * hidden
    calls = {
        (library.name, what): max(1, int(0.03 / library.ask(what, 1)))
        for library in taking_part
        for what in WHAT
    }
    seconds = {key: [] for key in calls}
    floors = []
    order = np.random.default_rng(0)
    for _ in range(_ROUNDS.value):
        floors.append(one_product * libraries[0].ask("product") / (2 * 2048**3))
        for library in order.permutation(taking_part):
            for what in WHAT:
                key = library.name, what
                seconds[key].append(library.ask(what, calls[key]))
    floor = statistics.median(floors)
    own = {what: np.array(seconds["lstm_jax", what]) for what in WHAT}
    for library in taking_part:
        cells = []
        for what, passes in zip(WHAT, (1, 3), strict=True):
            times = np.array(seconds[library.name, what])
            low, middle, high = np.quantile(times / own[what], (0.25, 0.5, 0.75))
            cells.append(
                f"{1e3 * np.median(times):.2f} | {passes * floor / np.median(times):.0%} "
                f"| {middle:.2f} [{low:.2f}, {high:.2f}]"
            )
        print(f"| {cell} | {steps},{batch},{inputs},{hidden} | {library.name} | ", end="")
        print(" | ".join(cells) + " |", flush=True)


WHAT = ("forward", "backward")


def main(argv: list[str]) -> None:
    del argv
    names = ["lstm_jax", *(name for name in _PEERS.value if name != "lstm_jax")]
    libraries = [Library(name) for name in names]
    where = "One GPU" if _GPU.value else f"Cores: {_CORES.value}"
    print(f"{where}. Allocator keeps memory: {_KEEP_MEMORY.value}.\n")
    print("| cell | T,B,I,H | library | forward, ms | of floor | over ours ", end="")
    print("| forward + backward, ms | of floor | over ours |")
    print("| --- | --- | --- | ---: | ---: | --- | ---: | ---: | --- |")
    for cell in _CELLS.value:
        for text in _SHAPES.value:
            row(libraries, cell, tuple(int(size) for size in text.split("x")))
    for library in libraries:
        library.pipe.send(None)


if __name__ == "__main__":
    app.run(main)
