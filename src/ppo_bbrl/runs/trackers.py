"""Trackers: where else a run's metrics go, besides TensorBoard and metrics.csv."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from ppo_bbrl.errors import UserError, one_line, shown

RESUMED = "resumed_at_steps"  # the key that the configuration of a resumed run has
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@runtime_checkable
class Tracker(Protocol):
    """What follows a run (docs/extending.md). An error in it is a warning, never the run's end."""

    def begin(self, name: str, config: dict[str, Any]) -> None:
        """The run begins to log.

        Args:
            name: of the run: its folder in outputs/.
            config: the resolved configuration, plain dicts and lists. If the run was resumed, its
                key `resumed_at_steps` says where.
        """

    def log(self, metrics: dict[str, float], step: int) -> None:
        """A row of metrics, of training and evaluations, by the names of docs/metrics.md.

        Args:
            metrics: by name.
            step: environment steps so far.
        """

    def end(self, status: str) -> None:
        """The run is over: finished, stopped (by Ctrl-C or a signal) or failed."""


def check_trackers(trackers: Any) -> list[Tracker]:
    """The trackers as a list.

    Raises:
        UserError: for an object without the three methods.
    """
    if not isinstance(trackers, Tracker | Iterable):
        raise UserError(f"trackers = {shown(trackers)}: must be a list")
    found = [trackers] if isinstance(trackers, Tracker) else list(trackers)
    for one in found:
        if isinstance(one, type) or not isinstance(one, Tracker):
            named = f"the class {one.__name__}" if isinstance(one, type) else type(one).__name__
            raise UserError(
                f"trackers: {named} is not a tracker: must be an object with the methods "
                "begin(name, config), log(metrics, step) and end(status)"
            )
    return found


class Followed:
    """A tracker as the log calls it: begun by the first row; after an error it is left alone.

    Args:
        tracker: the user's.
        name: of the run.
        config: gives the configuration when the tracker begins.
    """

    def __init__(self, tracker: Tracker, name: str, config: Callable[[], dict[str, Any]]) -> None:
        self._tracker, self._name, self._config = tracker, name, config
        self._begun = self._failed = False
        #: steps at which the run goes on; None: it is new
        self.resumed_at: int | None = None
        #: steps of the last row before that, which the run's trackers have had
        self.had = -1

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Give it a row."""
        if step <= self.had:
            return
        if not self._begun:
            self._begun = True
            config = self._config()
            if self.resumed_at is not None:
                config[RESUMED] = self.resumed_at
            self._attempt("begin", self._name, config)
        self.resumed_at = step
        self._attempt("log", dict(row), step)

    def end(self, status: str) -> None:
        """Tell it that the run is over; further rows would begin it again."""
        if self._begun:
            self._begun = False
            self._attempt("end", status)

    def _attempt(self, method: str, *args: Any) -> None:
        if self._failed:
            return
        try:
            getattr(self._tracker, method)(*args)
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, the run goes on
            self._failed = True
            warnings.warn(
                f"the tracker {type(self._tracker).__name__} failed in {method}: "
                f"{one_line(error, 300)}; training goes on without it",
                RuntimeWarning,
                stacklevel=2,
            )


def status_now() -> str:
    """How a run ends that is closed now, by the error that is on its way."""
    kind = sys.exc_info()[0] or (getattr(sys, "last_type", None) if sys.is_finalizing() else None)
    if kind is None or issubclass(kind, GeneratorExit):
        return FINISHED
    return STOPPED if issubclass(kind, KeyboardInterrupt | SystemExit) else FAILED
