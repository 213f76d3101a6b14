"""Progress of a run: a bar on a terminal, one line that changes in a notebook, else plain lines."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from tqdm import tqdm

from ppo_bbrl.console import say
from ppo_bbrl.notebook import in_notebook

_BAR_WIDTH = 20


class Progress:
    """Counts rollouts, and shows steps, steps per second, rewards, KL and the time left.

    Args:
        total: rollouts of the run.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._display = _choose_display()
        self._start = self._last = time.monotonic()
        self._counted_from = (self._start, 0)

    def rollouts(self) -> Iterator[int]:
        """0 to total - 1."""
        try:
            yield from range(self.total)
        finally:
            with suppress(OSError):
                self._display.close()

    def seconds(self) -> float:
        """Since the start."""
        return max(time.monotonic() - self._start, 1e-9)

    def started_up(self, done: int) -> None:
        """Leave what was until now, `done` rollouts among it, out of the estimate of what is left.

        For what comes once, such as the start of processes. There is no estimate before the next.
        """
        self._counted_from = (time.monotonic(), done)

    def due(self, done: int) -> bool:
        """Whether it is time to show something: asking is cheap, making a text is not."""
        now = time.monotonic()
        if now - self._last < self._display.pause and done != self.total:
            return False
        self._last = now
        return True

    def show(self, done: int, facts: dict[str, str]) -> None:
        """Show what is known after `done` rollouts."""
        elapsed = self.seconds()
        since, before = self._counted_from
        left = (time.monotonic() - since) / max(done - before, 1) * (self.total - done)
        told = "  ".join(f"{name} {value}" for name, value in facts.items())
        with suppress(OSError):  # a terminal that is gone must not end a run
            self._display.show(done, self.total, f"{told}  {elapsed:.0f} s, {left:.0f} s left")


class _Display(Protocol):
    pause: float  # seconds between two changes

    def show(self, done: int, total: int, told: str) -> None: ...

    def close(self) -> None: ...


def _choose_display() -> _Display:
    if sys.stderr.isatty() and sys.stdout.isatty():
        return _Bar()
    if in_notebook():
        return _NotebookLine()
    return _Lines()


class _Lines:
    pause = 5.0

    def show(self, done: int, total: int, told: str) -> None:
        say(f"{100 * done / total:3.0f} %  {told}")

    def close(self) -> None:
        pass


class _Bar:
    pause = 0.2

    def __init__(self) -> None:
        self._tqdm: tqdm[int] | None = None

    def show(self, done: int, total: int, told: str) -> None:
        if self._tqdm is None:  # not earlier: what is printed first would stand in its line
            layout = "{percentage:3.0f} %|{bar:20}| {desc}"
            self._tqdm = tqdm(total=total, bar_format=layout, dynamic_ncols=True)
        self._tqdm.set_description_str(told, refresh=False)
        self._tqdm.n = done
        self._tqdm.refresh()

    def close(self) -> None:
        if self._tqdm is not None:
            self._tqdm.close()


class _NotebookLine:
    pause = 0.3

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, done: int, total: int, told: str) -> None:
        from IPython.display import display  # noqa: PLC0415 - there only in a notebook

        full = _BAR_WIDTH * done // total
        bar = "█" * full + "░" * (_BAR_WIDTH - full)
        content = {"text/plain": f"{bar} {100 * done / total:.0f} %  {told}"}
        if self._handle is None:
            show: Any = display
            self._handle = show(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def close(self) -> None:
        pass
