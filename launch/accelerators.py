"""TPU slices that may be asked for, and what they cost."""

from typing import NamedTuple

from lstm_jax.errors import InputError

# Dollars per chip and hour, in the dearest region of the United States that has it, from a price
# list whose day is not known. Spot prices move by the day, and other regions cost up to 1.4 times
# as much: --dollars_per_chip_hour.
PRICES_OF = "US list price; check cloud.google.com/tpu/pricing"


class Generation(NamedTuple):
    """One kind of TPU.

    Attributes:
      prefix: of the accelerator type in the API.
      cores: that the number behind the prefix counts a chip as.
      sizes: numbers that may stand behind the prefix.
      runtime: software version of its machines.
      on_demand: dollars per chip and hour.
      spot: the same while it may be taken away at any time.
    """

    prefix: str
    cores: int
    sizes: tuple[int, ...]
    runtime: str
    on_demand: float
    spot: float


_BY_CHIPS = (1, 4, 8, 16, 32, 64, 128, 256)
_BY_CORES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
GENERATIONS = {
    "v4": Generation("v4", 2, _BY_CORES, "tpu-ubuntu2204-base", 3.22, 0.93),
    "v5e": Generation("v5litepod", 1, _BY_CHIPS, "v2-alpha-tpuv5-lite", 1.20, 0.60),
    "v5p": Generation("v5p", 2, _BY_CORES, "v2-alpha-tpuv5", 4.20, 1.68),
    "v6e": Generation("v6e", 1, _BY_CHIPS, "v2-alpha-tpuv6e", 2.70, 1.35),
}


class Slice(NamedTuple):
    """Chips that are asked for.

    Attributes:
      accelerator_type: as the API names it.
      chips: how many.
      runtime: software version of its machines.
      dollars_per_hour: of all chips.
      price: where that is from, for a person.
    """

    accelerator_type: str
    chips: int
    runtime: str
    dollars_per_hour: float
    price: str


def read(accelerator: str, spot: bool, dollars_per_chip_hour: float | None) -> Slice:
    """The slice that a flag names, such as v5e-16 or v5litepod-16.

    Args:
      accelerator: generation and size.
      spot: whether it may be taken away at any time.
      dollars_per_chip_hour: overrides the list price.

    Raises:
      InputError: no such slice.
    """
    name, _, size = accelerator.rpartition("-")
    named = {name: g for name, g in GENERATIONS.items()}
    named |= {generation.prefix: generation for generation in GENERATIONS.values()}
    if name not in named or not size.isdecimal() or int(size) not in named[name].sizes:
        allowed = "; ".join(
            f"{name}-{'|'.join(map(str, generation.sizes))}"
            for name, generation in GENERATIONS.items()
        )
        raise InputError(f"--accelerator={accelerator:.60}: allowed are {allowed}")
    generation = named[name]
    chips = int(size) // generation.cores
    each, price = dollars_per_chip_hour, "your price"
    if each is None:
        each = generation.spot if spot else generation.on_demand
        price = f"{'spot' if spot else 'on demand'}, {PRICES_OF}"
    return Slice(
        f"{generation.prefix}-{size}",
        chips,
        generation.runtime,
        each * chips,
        f"{chips} {'chip' if chips == 1 else 'chips'} at ${each:g}; {price}",
    )
