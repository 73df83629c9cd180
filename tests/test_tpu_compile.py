"""The checks of `make tpu-compile`, on devices of this machine."""

import pytest


def test_collectives_are_found():
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType
    from jax.sharding import PartitionSpec as P

    from launch.tpu_compile import NotFitError, collectives, require_fit

    mesh = jax.make_mesh((2,), ("trial",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def compiled(function):
        sharded = jax.shard_map(function, mesh=mesh, in_specs=P("trial"), out_specs=P("trial"))
        sharding = jax.sharding.NamedSharding(mesh, P("trial"))
        return (
            jax.jit(sharded)
            .lower(jax.ShapeDtypeStruct((8,), jnp.float32, sharding=sharding))
            .compile()
        )

    apart = compiled(lambda x: x * 2)
    require_fit(apart, 2)
    with pytest.raises(NotFitError, match="not sharded"):
        require_fit(apart, 4)
    together = compiled(lambda x: x + jax.lax.psum(x.sum(), "trial"))
    assert collectives(together.as_text()) == ["all-reduce"]
    with pytest.raises(NotFitError, match="all-reduce"):
        require_fit(together, 2)


def test_a_cell_passes_on_devices_of_this_machine(monkeypatch):
    """For TPUs, and for every cell: make tpu-compile."""
    import jax

    from launch import tpu_compile

    monkeypatch.setattr(tpu_compile, "GAP", 2)
    tpu_compile.require_fit(tpu_compile.compile_cell("rnn", jax.devices()[:4]), 4)
