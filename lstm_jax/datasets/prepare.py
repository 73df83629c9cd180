"""Downloads data sets, once: `python -m lstm_jax.datasets.prepare mnist`.

They are prepared by TFDS, in the one format that needs no TensorFlow.
"""

import contextlib
import resource
import sys
from collections.abc import Iterator

from lstm_jax.datasets.base import directory, new_builder, require_prepared
from lstm_jax.datasets.command_line import Parser, exit_status
from lstm_jax.datasets.tensorflow_free import without_tensorflow
from lstm_jax.errors import InputError, MissingExtraError, first_line


def prepare(name: str) -> str:
    """Downloads and prepares a set of TFDS below `directory()` unless it is there.

    Returns:
      The folder in which it lies.

    Raises:
      InputError: TFDS has no such set, or it cannot be downloaded or written.
      MissingExtraError: the extra `data` is not installed.
    """
    with contextlib.suppress(InputError):
        return require_prepared(name)
    builder = new_builder(name)
    try:
        with without_tensorflow(), _many_files():
            builder.download_and_prepare()
    except (InputError, MissingExtraError):
        raise
    except Exception as error:  # of the network, the disk, or a package of that set alone
        raise InputError(f"data set {name}: cannot be prepared: {first_line(error)}") from error
    return require_prepared(name)


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """Lets this process open as many files as it may: TFDS shuffles a large set through 1,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _run(arguments: list[str]) -> None:
    parser = Parser("prepare", __doc__)
    parser.add_argument("names", nargs="+", help="as TFDS knows them: mnist, cifar10")
    for name in parser.parse_args(arguments).names:
        print(f"{name}: in {prepare(name)}")


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    return exit_status(lambda: _run(arguments), directory())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
