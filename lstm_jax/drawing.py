"""How figures look, and how they are written. Needs no JAX."""

import contextlib
import io
import os
import textwrap
import warnings
from collections.abc import Iterable, Iterator

import matplotlib.style
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lstm_jax import storage

# Okabe and Ito (2008): told apart under the common colour blindnesses. Yellow is too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
LINES = ("-", "-.", ":")  # dashed is kept for cells that were told the gap
_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "lstm_jax",
    "text.parse_math": False,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """What is drawn and saved inside looks alike everywhere, whatever a user has configured."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # letters that the font lacks
        yield


def write_about(axes: Axes, paragraphs: Iterable[str], width: int) -> None:
    """Writes small print above a panel: paragraphs broken at `width` characters."""
    lines = [line for text in paragraphs for line in textwrap.wrap(text, width)]
    axes.set_title("\n".join(lines), fontsize=8, loc="left", color="0.25")


def save(figure: Figure, stem: epath.PathLike) -> list[epath.Path]:
    """Writes `<stem>.png` and `<stem>.svg`, the latter with real text; returns their paths.

    Raises:
      OSError: as from the file system.
    """
    paths = []
    for extension, options in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format=extension, facecolor="white", **options)
        paths.append(epath.Path(f"{os.fspath(stem)}.{extension}"))
        storage.write(paths[-1], buffer.getvalue())
    return paths
