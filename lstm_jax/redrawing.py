"""Whatever a results directory holds, drawn anew from its rows. Needs no JAX."""

from etils import epath

from lstm_jax import characters_figure, figures, observations, results, storage
from lstm_jax.why import gradient_reach_page

# Modules that draw observations, each with its KIND and `redraw(rows, directory)`.
PAGES = {page.KIND.name: page for page in (characters_figure, gradient_reach_page)}
KINDS = tuple(page.KIND for page in PAGES.values())


def redraw(directory: epath.PathLike) -> tuple[str, list[epath.Path]]:
    """Draws tables and figures of a sweep's rows and of observations, as far as there are any.

    Returns:
      The tables as text, and the paths of what was written.

    Raises:
      InputError: no such directory, or nothing readable in it.
      OSError: as from the file system.
    """
    directory = epath.Path(directory)
    results.require_directory(directory)
    texts, paths = [], []
    found = observations.read_all(directory, KINDS)
    for name, rows in found.items():
        text, written = PAGES[name].redraw(rows, directory)
        texts.append(text)
        paths += written
    if storage.names(directory, ".jsonl") or not found:
        text, written = figures.redraw(directory)
        texts.append(text)
        paths += written
    return "\n".join(texts), paths
