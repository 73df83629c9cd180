"""What an experiment asks for, for whoever runs it: its own command, or a launcher elsewhere."""

import importlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lstm_jax.errors import InputError

if TYPE_CHECKING:
    from lstm_jax.trial import Catalogue, Trial

# Flags of an experiment that say how this machine runs it, not what is run.
OF_THE_MACHINE = ("results_dir", "compile_cache", "dry_run", "minutes")
_NAME = re.compile(r"experiments(\.[a-z0-9_]+)+")


class Work(NamedTuple):
    """The arguments of `lstm_jax.running.run` that do not depend on where it runs."""

    trials: "tuple[Trial, ...]"
    catalogue: "Catalogue"
    updates: int
    match: str


def load(experiment: str, arguments: Sequence[str]) -> Work:
    """The work of `python -m EXPERIMENT ARGUMENTS`.

    An experiment is a module with `FLAGS` and `work()`; one process loads one.

    Raises:
      InputError: no such experiment, or arguments that it cannot take.
    """
    from absl import flags

    if not _NAME.fullmatch(experiment):
        raise InputError(f"{experiment!r:.80}: must be an experiment, as experiments.gap_sweep")
    try:
        module = importlib.import_module(experiment)
    except ModuleNotFoundError as error:
        if error.name != experiment:
            raise
        raise InputError(f"{experiment}: no such experiment") from error
    if not hasattr(module, "work"):
        raise InputError(f"{experiment}: runs no trials, so there is nothing to launch")
    for argument in arguments:
        if re.match(r"--?flagfile(=|$)", argument):  # on other machines it is not there
            raise InputError(f"{argument:.80}: write the flags themselves behind --")
    try:
        extra = module.FLAGS([experiment, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise InputError(f"--{error.flagname}: not a flag of {experiment}") from error
    except flags.Error as error:
        raise InputError(str(error)) from error
    if extra:
        raise InputError(f"{extra[0]!r} is not a flag: write --flag=value")
    if module.FLAGS["help"].value:
        raise InputError(f"--help: runs nothing; python -m {experiment} --help lists its flags")
    for name in OF_THE_MACHINE:
        if module.FLAGS[name].present:
            raise InputError(f"--{name}: the launcher's, so not to be given behind --")
    return module.work()
