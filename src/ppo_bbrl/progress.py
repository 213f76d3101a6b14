"""Progress of a run on the console: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts rollouts, and shows steps, steps per second, rewards, KL and the time left.

    Args:
        total: rollouts of the run.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._bar: tqdm[int] | None = None
        if _can_show_a_bar():
            self._bar = tqdm(total=total, unit="rollout", dynamic_ncols=True, mininterval=0.2)
        self._start = self._last = time.monotonic()

    def rollouts(self) -> Iterator[int]:
        """0 to total - 1."""
        try:
            for index in range(self.total):
                yield index
                if self._bar is not None:
                    self._bar.update()
        finally:
            if self._bar is not None:
                self._bar.close()

    def seconds(self) -> float:
        """Since the start."""
        return max(time.monotonic() - self._start, 1e-9)

    def due(self, done: int) -> bool:
        """Whether it is time to show something: asking is cheap, making a text is not."""
        now = time.monotonic()
        wait = 0.2 if self._bar is not None else _SECONDS_BETWEEN_LINES
        if now - self._last < wait and done != self.total:
            return False
        self._last = now
        return True

    def show(self, done: int, facts: dict[str, str]) -> None:
        """Show what is known after `done` rollouts."""
        if self._bar is not None:
            self._bar.set_postfix(facts, refresh=False)
            return
        elapsed = self._last - self._start
        left = elapsed / done * (self.total - done) if done else 0.0
        told = "  ".join(f"{name} {value}" for name, value in facts.items())
        print(
            f"{100 * done / self.total:3.0f} %  {told}  {elapsed:.0f} s, {left:.0f} s left",
            flush=True,
        )


def _can_show_a_bar() -> bool:
    if sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules and type(sys.stderr).__module__.startswith("ipykernel")
