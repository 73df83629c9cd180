"""What a person sees while a sweep runs: a bar with the time left, and a line a cohort."""

import sys

from tqdm import tqdm


class Bar:
    """A progress bar on standard error; nothing at all where that is no terminal, so that logs stay
    readable. Use as a context manager."""

    def __init__(self, *, show: bool = True):
        """Makes a bar that is empty until `work` is called."""
        self._bar = tqdm(
            total=1.0,
            disable=None if show else True,
            bar_format="{l_bar}{bar}| {elapsed} gone, {remaining} left{postfix}",
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()

    def work(self, done: float, total: float, label: str) -> None:
        """Shows `done` of `total` units of work, and what is being done now."""
        if self._bar.disable:
            return
        self._bar.total = max(total, 1e-9)
        self._bar.set_postfix_str(label, refresh=False)
        self._bar.n = min(done, total)
        self._bar.refresh()

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)
