"""Progress of a run: a bar in a terminal, an updating line in a notebook, otherwise plain lines."""

import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from tqdm import tqdm

from ppo_bbrl.runs.notebook import in_notebook
from ppo_bbrl.system.console import say

_BAR_WIDTH = 20
# For ever narrower terminals: the width of the bar, and the fields to omit.
_SHORTER: tuple[tuple[int, tuple[str, ...]], ...] = (
    (_BAR_WIDTH, ()),
    (_BAR_WIDTH, ("elapsed",)),
    (10, ("elapsed",)),
    (10, ("elapsed", "steps/s")),
    (0, ("elapsed", "steps/s")),
    (0, ("elapsed", "steps/s", "best")),
    (0, ("elapsed", "steps/s", "best", "steps")),
    (0, ("elapsed", "steps/s", "best", "steps", "reward")),
)


class Progress:
    """Counts rollouts and shows steps, steps per second, rewards, KL and the time left.

    Args:
        total: number of rollouts in the run.
        first: number of rollouts already done.
    """

    def __init__(self, total: int, first: int = 0) -> None:
        self.total, self._first = total, first
        self._display = _choose_display()
        self._start = self._last = time.monotonic()
        self._counted_from = (self._start, first)

    def rollouts(self) -> Iterator[int]:
        """Yield `first` to total - 1."""
        try:
            yield from range(self._first, self.total)
        finally:
            with suppress(OSError, ValueError):
                self._display.close()

    def seconds(self) -> float:
        """Seconds since the start."""
        return max(time.monotonic() - self._start, 1e-9)

    def started_up(self, done: int) -> None:
        """Exclude the time so far, and `done` rollouts, from the estimate of the time left.

        For one-time costs, such as starting processes. The next rollout gives the first estimate.
        """
        self._counted_from = (time.monotonic(), done)

    def due(self, done: int) -> bool:
        """Whether it is time to update the display. Cheap to ask, unlike making the text."""
        now = time.monotonic()
        if now - self._last < self._display.pause and done != self.total:
            return False
        self._last = now
        return True

    def show(self, done: int, facts: Mapping[str, str]) -> None:
        """Show the progress after `done` rollouts.

        Args:
            done: number of finished rollouts.
            facts: values to show, by name; a narrow terminal omits first `steps/s`, then `best`,
                `steps` and `reward`.
        """
        since, before = self._counted_from
        left = (time.monotonic() - since) / max(done - before, 1) * (self.total - done)
        known = {**facts, "elapsed": duration(self.seconds()), "left": duration(left)}
        with suppress(OSError, ValueError):  # a closed terminal must not end the run
            self._display.show(done, self.total, known)


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours, to two or three digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def fitting_line(
    done: int, total: int, facts: Mapping[str, str], width: float
) -> tuple[int, str, str]:
    """The longest line that fits: the width of its bar, and the text before and after it."""
    before = f"{100 * done / total:3.0f} %"
    for bar, lacking in _SHORTER:
        after = _words({name: text for name, text in facts.items() if name not in lacking})
        if len(before) + (bar + 2 if bar else 0) + 2 + len(after) <= width:
            break
    return bar, before, after


def _words(facts: Mapping[str, str]) -> str:
    parts = [
        f" (best {value})"
        if name == "best"
        else f"  {value},"
        if name == "elapsed"
        else f"{' ' if 'elapsed' in facts else '  '}{value} left"
        if name == "left"
        else f"  {name} {value}"
        for name, value in facts.items()
    ]
    return "".join(parts).strip()


class _Display(Protocol):
    pause: float  # seconds between two updates

    def show(self, done: int, total: int, facts: Mapping[str, str]) -> None: ...

    def close(self) -> None: ...


def _choose_display() -> _Display:
    if all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr)):
        return _Bar()
    if in_notebook():
        return _NotebookLine()
    return _Lines()


class _Lines:
    pause = 5.0

    def show(self, done: int, total: int, facts: Mapping[str, str]) -> None:
        _, before, after = fitting_line(done, total, facts, math.inf)
        say(f"{before}  {after}")

    def close(self) -> None:
        pass


class _Bar:
    pause = 0.2

    def __init__(self) -> None:
        self._tqdm: tqdm[int] | None = None

    def show(self, done: int, total: int, facts: Mapping[str, str]) -> None:
        if self._tqdm is None:  # not earlier: the first prints would end up in its line
            self._tqdm = tqdm(total=total, bar_format="", dynamic_ncols=True)
        bar, _, after = fitting_line(done, total, facts, _columns() - 1)
        drawn = f"|{{bar:{bar}}}| " if bar else "  "
        self._tqdm.bar_format = f"{{percentage:3.0f}} %{drawn}{{desc}}"
        self._tqdm.set_description_str(after, refresh=False)
        self._tqdm.n = done
        self._tqdm.refresh()

    def close(self) -> None:
        if self._tqdm is not None:
            self._tqdm.close()


def _columns() -> int:
    """The width of the terminal, which may change."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


class _NotebookLine:
    pause = 0.3

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, done: int, total: int, facts: Mapping[str, str]) -> None:
        from IPython.display import display  # noqa: PLC0415 - there only in a notebook

        width, before, after = fitting_line(done, total, facts, math.inf)
        full = width * done // total
        content = {"text/plain": f"{'█' * full}{'░' * (width - full)} {before.strip()}  {after}"}
        if self._handle is None:
            show: Any = display
            self._handle = show(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def close(self) -> None:
        pass
