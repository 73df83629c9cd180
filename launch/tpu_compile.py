"""Compiles the training step of every registered cell, in every way to run it over time, for TPUs.

    make tpu-compile

No TPU is needed: each cell's cohort is compiled ahead of time by the real compiler, for slices of
four chips. It must be sharded over the trial axis alone, every chip with trials of its own, and its
program must hold no collective: chips never wait for each other. Says nothing of speed or numbers.
Programs of Newton's method, which take minutes to compile, are smaller, and for one slice alone.

Needs the package libtpu of the same release as JAX (extra `tpu`). Exit status 1 names the first
cell that does not pass.
"""

import os
import re
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no machine to ask about its TPUs
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")

TOPOLOGIES = ("v5e:2x2", "v6e:2x2")
GAP, TRIALS = 20, 8
_COLLECTIVES = re.compile(
    r"\b(all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|ragged-all-to-all"
    r"|collective-broadcast|send|recv)(-start|-done)?\("
)


class NotFitError(Exception):
    """A cell's program is not what it should be; the message says how."""


def collectives(program: str) -> list[str]:
    """Kinds of operations between chips in the text of a compiled program."""
    return sorted({found[0] for found in _COLLECTIVES.findall(program)})


def methods_of(cell: str) -> list[str]:
    """The ways to run a cell over time that it has on accelerators; of a layer the only one."""
    import jax
    import jax.numpy as jnp

    from lstm_jax.layers import MODELS, Layer

    built = MODELS[cell](4, 8)
    if isinstance(built, Layer):
        return ["auto"]
    carry = jax.eval_shape(
        lambda key: built.initial_carry(built.prepare(built.init(key))), jax.random.key(0)
    )
    leaves = jax.tree.leaves(carry)
    real = all(leaf.size and not jnp.iscomplexobj(leaf) for leaf in leaves)
    floats = len({leaf.dtype for leaf in leaves}) == 1 and real
    ways = ["deferred"]
    ways += ["associative", "chunked"] if built.linear else []
    ways += ["newton"] if floats and not built.linear else []
    return ways + (["on_chip"] if real else [])


def compile_cell(cell: str, devices: list, method: str = "auto"):
    """Compiles the step of a cohort of one cell for given devices.

    Args:
      cell: its name in the registry, or a layer's.
      devices: of a topology; nothing runs on them.
      method: how it runs over time.

    Returns:
      What `jax` calls compiled.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    from lstm_jax.layers import MODELS
    from lstm_jax.sweep import Settings, make_sweep
    from lstm_jax.tasks import TASKS
    from lstm_jax.training import assemble, make_program
    from lstm_jax.trial import Catalogue

    size = {"hidden_size": 8, "match": "hidden"} if method == "newton" else {}
    catalogue = Catalogue(MODELS, TASKS)
    trial, *_ = make_sweep(
        catalogue,
        task="recall",
        cells=[cell],
        gaps=[GAP],
        seeds=range(TRIALS),
        learning_rates=[1e-3],
        settings=Settings(unroll="" if method == "auto" else method, **size),
    )
    program = make_program(
        assemble(trial, catalogue),
        TRIALS,
        batch_size=trial.batch_size,
        matmul_precision=trial.matmul_precision,
        devices=devices,
        inner="vmap",
    )
    mesh = Mesh(np.asarray(devices), ("trial",), axis_types=(AxisType.Auto,))

    def placed(tree):
        sharding = NamedSharding(mesh, P("trial"))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    seeds = jax.ShapeDtypeStruct((TRIALS,), jnp.int32)
    rates = jax.ShapeDtypeStruct((TRIALS,), jnp.float32)
    state = jax.eval_shape(program.init, seeds)
    traced = program.advance.trace(placed(state), placed(seeds), placed(rates), placed(seeds), ())
    return traced.lower(lowering_platforms=(devices[0].platform,)).compile()


def require_fit(compiled, chips: int) -> None:
    """Raises NotFitError unless every chip has trials of its own and waits for no other."""
    import jax

    for sharding in jax.tree.leaves((compiled.input_shardings, compiled.output_shardings)):
        shard = sharding.shard_shape((TRIALS,) * max(1, len(sharding.spec)))
        if len(sharding.device_set) != chips or shard[0] * chips != TRIALS:
            raise NotFitError(f"not sharded over the trials of all {chips} chips: {sharding}")
    if found := collectives(compiled.as_text()):
        raise NotFitError(f"chips wait for each other: {', '.join(found)}")


def _row(cell: str, method: str, topology: str, compiled, seconds: float) -> str:
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    used -= memory.alias_size_in_bytes
    cost = compiled.cost_analysis()
    return (
        f"{cell:<16} {method:<11} {topology:<8} {seconds:>7.1f} {used / 2**20:>9.2f} "
        f"{cost.get('flops', float('nan')) / 1e6:>8.1f}"
    )


def main(arguments: list[str]) -> int:
    """Compiles all cells, or those that are named, and prints a table; returns the exit status."""
    try:
        import libtpu  # noqa: F401
    except ImportError:
        print("error: needs the extra 'tpu': run it by make tpu-compile", file=sys.stderr)
        return 2
    from jax.experimental import topologies

    from lstm_jax.layers import MODELS

    asked = arguments or list(MODELS)
    print(
        f"{'cell':<16} {'method':<11} {'slice':<8} {'seconds':>7} {'MiB/chip':>9} {'Mflop':>8}",
        flush=True,
    )
    compiled_programs = 0
    for topology in TOPOLOGIES:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
        devices = list(described.devices)
        for cell, method in [(name, way) for name in asked for way in methods_of(name)]:
            if method == "newton" and topology != TOPOLOGIES[0]:
                continue
            start = time.perf_counter()
            try:
                compiled = compile_cell(cell, devices, method)
                require_fit(compiled, len(devices))
            except Exception as error:  # the compiler raises many kinds
                lines = str(error).strip().splitlines()
                what = f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
                print(f"error: {cell} by {method} on {topology}: {what}", file=sys.stderr)
                return 1
            compiled_programs += 1
            print(_row(cell, method, topology, compiled, time.perf_counter() - start), flush=True)
    print(
        f"{compiled_programs} programs of {len(asked)} cells and layers, {TRIALS} trials at gap "
        f"{GAP}, {len(TOPOLOGIES)} slices of 4 chips: trials on every chip, no collective. Memory "
        "and flops as the compiler counts them: it may leave out temporaries, and counts the body "
        "of a loop once."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
