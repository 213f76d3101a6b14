"""What is done about environments that fail or hang: the run stops, or others take their place."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import gymnasium as gym
import numpy as np

from ppo_bbrl.envs.faults import StalledError, reason
from ppo_bbrl.envs.watch import Watch
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError
from ppo_bbrl.system.signals import time_limit

FAILURES = (Exception, SystemExit, StalledError)  # what a failing environment raises
RESTART = "restart"  # the value of gym_env.on_failure
CLOSE_SECONDS = 3.0  # how long environments may take to close
ATTEMPTS = 5  # environments, one after the other, of which none could begin an episode
IN_A_ROW = 10  # failures of the same environment without a good step between them


@dataclass(frozen=True)
class OnFailure:
    """What to do about environments that fail or hang.

    Attributes:
        step_timeout: seconds that a reset, a step or a close may take; None: no limit.
        restart: whether another environment takes the place of one that fails.
    """

    step_timeout: float | None = None
    restart: bool = False

    @property
    def close_seconds(self) -> float:
        """How long environments may take to close."""
        return min(CLOSE_SECONDS, self.step_timeout or CLOSE_SECONDS)

    @classmethod
    def of(cls, gym_env: Any) -> Self:
        """What the section `gym_env` of a configuration says."""
        return cls(gym_env.step_timeout, gym_env.on_failure == RESTART)


def check_on_failure(on_failure: OnFailure, vectorization: str) -> None:
    """Refuse what environments that do not run one by one cannot do.

    Raises:
        ConfigError: naming both keys.
    """
    instead = f"not with gym_env.vectorization = {vectorization}; use sync or async"
    if on_failure.restart and vectorization not in {"sync", "async"}:
        raise ConfigError(f"gym_env.on_failure = restart: {instead}")
    if on_failure.step_timeout is not None and vectorization == "envpool":
        raise ConfigError(f"gym_env.step_timeout = {on_failure.step_timeout:g}: {instead}")


class Guard:
    """Watches the calls of some environments, and replaces those that failed.

    Args:
        on_failure: what to do.
        makers: functions that make the environments.
        watch: what interrupts them; None: nothing does.
    """

    def __init__(
        self, on_failure: OnFailure, makers: Sequence[Callable[[], Any]], watch: Watch | None
    ) -> None:
        self.on_failure, self.restart, self.watch = on_failure, on_failure.restart, watch
        self._makers = list(makers) if on_failure.restart else []
        self._seeds: list[int | None] = [None] * len(makers)
        self._replaced = [0] * len(makers)
        self._last = [(-1, 0)] * len(makers)  # step of the last failure, and how many in a row

    def watching(self) -> AbstractContextManager[None]:
        """Within this block calls are watched."""
        return nullcontext() if self.watch is None else self.watch.watching()

    def start(self) -> None:
        """A call of an environment begins."""
        if self.watch is not None:
            self.watch.start()

    def stop(self) -> None:
        """It is over."""
        if self.watch is not None:
            self.watch.stop()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Within this block environments have a few seconds to close, all together.

        Then the one that is closing is interrupted, and each of those that follow in a moment.
        """
        seconds = self.on_failure.close_seconds
        if self.watch is None or self.watch.seconds > seconds:
            with time_limit(seconds):
                yield
        else:
            with self.watch.watching():
                self.watch.start()
                yield

    def seeded(self, seeds: Sequence[int | None]) -> None:
        """Environments were reset with these seeds, from which those of others are derived."""
        self._seeds, self._replaced = list(seeds), [0] * len(seeds)

    def note(self, i: int, step: int, failed: EnvironmentFailedError) -> None:
        """Environment i failed.

        Raises:
            EnvironmentFailedError: if it does nothing else.
        """
        self._last[i] = check_in_a_row(self._last[i], step, failed)

    def another(self, i: int, env: gym.Env[Any, Any]) -> tuple[gym.Env[Any, Any], int | None]:
        """Close environment i; make another one in its place, with a seed of its own."""
        try:
            with self.closing():
                env.close()
        except FAILURES as error:
            reason(error)  # raises if it is a signal
        self._replaced[i] += 1
        return self._makers[i](), derived(self._seeds[i], self._replaced[i])

    def seed_of(self, i: int) -> list[Any]:
        """What the seeds of environments in the place of environment i depend on."""
        return [self._seeds[i], self._replaced[i]]

    def take_seed(self, i: int, seed: int | None, replaced: int) -> None:
        """Continue from a result of `seed_of`."""
        self._seeds[i], self._replaced[i] = seed, replaced

    def state_dict(self) -> dict[str, Any]:
        """What seeds depend on."""
        return {"seeds": list(self._seeds), "replaced": list(self._replaced)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self._seeds, self._replaced = list(state["seeds"]), list(state["replaced"])


def check_in_a_row(
    last: tuple[int, int], step: int, failed: EnvironmentFailedError
) -> tuple[int, int]:
    """Count failures with no good step between them.

    Args:
        last: the step of the last one, and how many there were in a row by then.
        step: that of this one.
        failed: what is said of it.

    Returns:
        The same, with this one.

    Raises:
        EnvironmentFailedError: if there are too many.
    """
    in_a_row = last[1] + 1 if last[0] >= step - 1 else 1
    if in_a_row > IN_A_ROW:
        raise EnvironmentFailedError(f"{failed}, {in_a_row} times in a row") from failed
    return step, in_a_row


def derived(seed: int | None, number: int) -> int | None:
    """The seed of the environment that is the n-th in the place of one with this seed."""
    if seed is None:
        return None
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
