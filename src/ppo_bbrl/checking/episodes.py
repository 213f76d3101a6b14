"""Episodes with random actions: what comes back, whether they end, and how fast they are."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppo_bbrl.checking.findings import CheckReport
from ppo_bbrl.checking.task import Actor, Env, Masks, arrays_in, place_of
from ppo_bbrl.checking.values import ValueChecks
from ppo_bbrl.envs.faults import RESET, STEP, UnfitError, described, reason
from ppo_bbrl.envs.masks import KEY

_LONG = 10_000  # steps after which an episode without a limit counts as endless
_FEW = 3  # episodes from which a rule is taken to hold for all


class Unplayable(Exception):  # noqa: N818 - it ends the episodes; the finding is in the report
    """An environment cannot be played any further."""


@dataclass
class Played:
    """What was seen of the episodes.

    Attributes:
        lengths: of those that ended, in steps.
        returns: likewise.
        rewards: the smallest and the largest.
        steps: their number.
        seconds: spent in `step`.
        masked: whether there are masks of invalid actions.
    """

    lengths: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    rewards: tuple[float, float] = (np.inf, -np.inf)
    steps: int = 0
    seconds: float = 0.0
    masked: bool = False

    def __str__(self) -> str:
        if not self.steps:
            return ""
        n, (low, high) = len(self.lengths), self.rewards
        ended = f"{n:,} episode{'' if n == 1 else 's'} ended"
        if n:
            ended += f" after {_span(min(self.lengths), max(self.lengths))} steps"
        speed = self.steps / max(self.seconds, 1e-9)
        return (
            f"{self.steps:,} random steps, {ended}, rewards {_span(low, high)}, "
            f"{speed:,.0f} steps/s; "
        )


class Episodes:
    """Plays one environment, and reports what is wrong with what it returns.

    Args:
        env: with its wrappers.
        report: for the findings.
        masks: whether masks of invalid actions are read.
        limit: of an episode's length, in steps; None if there is none.
        scaled: whether rewards and observations are scaled by the configuration.
    """

    def __init__(
        self,
        env: Env,
        report: CheckReport,
        *,
        masks: bool,
        limit: int | None,
        scaled: tuple[bool, bool],
    ) -> None:
        self._env, self._report, self._limit = env, report, limit
        self._values = ValueChecks(
            report, env.observation_space, rewards_scaled=scaled[0], observations_scaled=scaled[1]
        )
        self._masks = Masks(env, masks)
        self._previous: list[tuple[Any, Any]] = []  # arrays of the last observation, and copies
        self._resets_itself = self._in_step = False

    def play(self, steps: int, seed: int, seconds: float) -> Played:
        """Play at least `steps` steps, and until one episode has ended, if they end at all.

        Raises:
            Unplayable: if the environment fails; the report says how.
        """
        played, actor = Played(), Actor(self._env.action_space, seed)
        self._watch_resets()
        until = time.monotonic() + seconds
        most = max(steps, _LONG if self._limit is None else 0)
        length, total, mask = 0, 0.0, self._reset(seed)
        while played.steps < steps or (not played.lengths and played.steps < most):
            if time.monotonic() > until:
                break
            action, where = (
                actor(mask),
                f"in step {length + 1} of episode {len(played.lengths) + 1}",
            )
            began = time.perf_counter()
            returned = self._step(action, where)
            played.seconds += time.perf_counter() - began
            played.steps, length = played.steps + 1, length + 1
            if played.steps <= steps:
                reward, over, mask = self._look(returned, where)
            else:  # only its end is of interest
                reward, over = played.rewards[0], bool(returned[2]) or bool(returned[3])
                mask = self._masks.after_step(returned[4], over)
            total += reward
            played.rewards = (min(played.rewards[0], reward), max(played.rewards[1], reward))
            if over:
                played.lengths.append(length)
                played.returns.append(total)
                length, total, mask = 0, 0.0, self._reset(None)
        played.masked = bool(self._masks.source)
        self._judge(played)
        return played

    def _watch_resets(self) -> None:
        """Notice when the environment resets itself within a step."""
        base: Any = self._env.unwrapped
        own = base.reset

        def reset(*args: Any, **kwargs: Any) -> Any:
            self._resets_itself |= self._in_step
            return own(*args, **kwargs)

        try:
            base.reset = reset
        except AttributeError:  # it has __slots__
            return

    def _reset(self, seed: int | None) -> Any:
        where = "after a reset"
        try:
            returned: Any = self._env.reset(seed=seed)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may be raised in there
            self._fail("reset", reason(error) + place_of(error), "", error)
        if not isinstance(returned, tuple) or len(returned) != 2:
            found = f"it returned {described(returned)}"
            self._fail(
                "reset", found, f"return the pair {RESET} (the API of Gymnasium, not of gym)"
            )
        observation, info = returned
        self._values.observation(observation, where)
        self._values.info(info, where)
        self._remember(observation, where)
        return self._mask(lambda: self._masks.after_reset(info), where)

    def _step(self, action: Any, where: str) -> Any:
        before = [array.copy() for array in arrays_in(action)]
        self._in_step = True
        try:
            returned: Any = self._env.step(action)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may be raised in there
            old = isinstance(error, ValueError) and "unpack" in str(error)
            remedy = f"return {STEP} (the API of Gymnasium, not of gym)" if old else ""
            self._fail("step", f"{where}: {reason(error)}{place_of(error)}", remedy, error)
        finally:
            self._in_step = False
        if not isinstance(returned, tuple) or len(returned) != 5:
            found = f"{where} it returned {described(returned)}"
            self._fail("step", found, f"return {STEP} (the API of Gymnasium, not of gym)")
        if not all(map(_equal, before, arrays_in(action))):
            self._report.fault("action", f"{where} it was changed by step()", "copy it first")
        return returned

    def _look(self, returned: Any, where: str) -> tuple[float, bool, Any]:
        observation, reward, terminated, truncated, info = returned
        self._values.observation(observation, where)
        number = self._values.reward(reward, where)
        ends = [
            self._values.end(name, value, where)
            for name, value in (("terminated", terminated), ("truncated", truncated))
        ]
        self._values.info(info, where)
        self._remember(observation, where)
        if not self._masks.source and isinstance(info, dict) and KEY in info:
            self._report.fault(
                "action mask",
                f"{where} the info has one, and that of the reset had none, so it is not used",
                "put it into the info of reset() as well",
            )
        over = any(ends)
        mask = self._mask(lambda: self._masks.after_step(info, over), where)
        return number, over, mask

    def _mask(self, read: Any, where: str) -> Any:
        try:
            return read()
        except UnfitError as error:
            remedy = "allow one action at least, with a 0 or 1 for each"
            self._report.fault("action mask", f"{where}: {error}", remedy)
        except Exception as error:  # noqa: BLE001 - anything may be raised in there
            self._fail("action mask", f"{where}: {reason(error)}{place_of(error)}", "", error)
        return None

    def _remember(self, observation: Any, where: str) -> None:
        """Notice arrays that are returned twice, or changed later."""
        arrays = arrays_in(observation)
        for (old, copy), new in zip(self._previous, arrays, strict=False):
            if np.shares_memory(old, new) or not _equal(old, copy):
                self._report.fault(
                    "observation buffer",
                    f"{where} it is in the memory of the one before: what was kept is overwritten",
                    "return self.state.copy() (ppo-bbrl copies at once, others may not)",
                )
        self._previous = [(array, array.copy()) for array in arrays]

    def _judge(self, played: Played) -> None:
        lengths = played.lengths
        if self._resets_itself:
            self._report.fault(
                "autoreset",
                "step() calls reset(): the last observation of an episode is lost",
                "return the last observation, and leave the reset to the caller",
            )
        if not lengths and self._limit is None and played.steps >= _LONG:
            self._report.fault(
                "episode end",
                f"none in {played.steps:,} steps, and there is no limit: it never ends",
                "gym_env.env_args.max_episode_steps=1000, or max_episode_steps in gym.register",
            )
        elif not lengths and self._limit is None:
            self._report.note(
                "episode end",
                f"none in {played.steps:,} steps, and there is no limit",
                "give more --steps, or a max_episode_steps",
            )
        if len(lengths) >= _FEW and max(lengths) == 1:
            self._report.fault(
                "episode end",
                f"every one of {len(lengths):,} episodes ended in its first step",
                "look at what sets terminated (for a bandit it is right)",
            )
        if played.rewards == (0.0, 0.0):
            self._report.note(
                "reward",
                f"all {played.steps:,} were 0 for random actions",
                "sparse rewards take long: algorithm.curiosity=rnd may help",
            )

    def _fail(self, topic: str, text: str, remedy: str, error: BaseException | None = None) -> Any:
        self._report.fault(topic, text, remedy)
        raise Unplayable from error


def _equal(one: Any, other: Any) -> bool:
    if one.shape != other.shape:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
