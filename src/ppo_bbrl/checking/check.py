"""`check_env`: everything that is wrong with an environment, for its author."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium as gym

from ppo_bbrl.checking.episodes import Episodes, Played, Unplayable
from ppo_bbrl.checking.findings import CheckReport
from ppo_bbrl.checking.repeats import check_seeds
from ppo_bbrl.checking.surroundings import (
    check_closing,
    check_copies,
    check_pictures,
    check_processes,
    check_rules,
    check_spaces,
    check_wrappers,
)
from ppo_bbrl.checking.task import Env
from ppo_bbrl.config.wrappers import Wrapper, wrap
from ppo_bbrl.envs.faults import name_of, reason
from ppo_bbrl.envs.guard import CLOSE_SECONDS
from ppo_bbrl.envs.masks import AUTO, NONE, with_mask
from ppo_bbrl.envs.vector import make_env
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.system.console import printed
from ppo_bbrl.system.signals import time_limit
from ppo_bbrl.system.sizes import size_of

_SECONDS = 30.0  # for each part of the check
_PLAYING = 0.5  # of it, after which no further step is made
_SEEDS = 3.0  # seconds that the comparison of seeds should take
_TRACKS = 12  # about so many are compared


def check_env(
    env: str | Env | Callable[..., Env],
    *,
    env_args: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_mask: str = AUTO,
    steps: int = 1000,
    seed: int = 0,
    scaled: tuple[bool, bool] = (False, False),
    seconds: float = _SECONDS,
) -> CheckReport:
    """Check an environment: Gymnasium's own rules, and what PPO needs besides.

    Args:
        env: a registered name (`module:Name-v0` imports the module), a class or a function that
            makes an environment, or an environment, which is closed then.
        env_args: keyword arguments of the environment.
        wrappers: applied in this order.
        action_mask: auto, none, or the key of the observation that the mask is in.
        steps: how many steps with random actions are made.
        seed: of these actions and of the first episode.
        scaled: whether rewards, and whether observations, are scaled by the configuration.
        seconds: the longest that each part may take.

    Returns:
        The report: `report.ok`, `report.faults`, `print(report)`.

    Raises:
        UserError: if there is no such environment, or it cannot be made.
    """
    return checked(
        env,
        env_args=env_args,
        wrappers=wrappers,
        action_mask=action_mask,
        steps=steps,
        seed=seed,
        scaled=scaled,
        seconds=seconds,
    )


def checked(
    env: Any,
    *,
    env_args: Mapping[str, Any] | None,
    wrappers: Sequence[Wrapper],
    action_mask: str,
    steps: int,
    seed: int,
    scaled: tuple[bool, bool],
    seconds: float = _SECONDS,
    tell: Callable[[str, CheckReport], None] = lambda *_: None,
) -> CheckReport:
    """As `check_env`; `tell` is called with the topic and what was found before each part."""
    size_of("steps", steps)
    size_of("seed", seed, "must be an integer ≥ 0", least=0)
    masks = action_mask != NONE
    with printed() as prints, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is found by the checks
        maker = _Maker(env, dict(env_args or {}), wrappers, seconds)
        report = CheckReport(maker.name)

        def part(topic: str, run: Callable[[], Any]) -> Any:
            tell(topic, report)
            return _run(report, seconds, topic, run)

        def masked() -> Env:
            return with_mask(maker(), action_mask)

        first = maker.first
        check_wrappers(first, report)
        if part("spaces", lambda: check_spaces(masked(), report, action_mask)):

            def play() -> Played:
                episodes = Episodes(
                    masked(), report, masks=masks, limit=_limit(first), scaled=scaled
                )
                before = prints.lines
                played = episodes.play(steps, seed, _PLAYING * seconds)
                report.summary = str(played)
                if n := prints.lines - before:
                    report.note("output", f"it prints: {n:,} lines", "training prints them as well")
                return played

            def compare(played: Played) -> None:
                affordable = _SEEDS / _TRACKS * played.steps / max(played.seconds, 1e-9)
                check_seeds(masked, report, fresh=maker.fresh, masks=masks, steps=int(affordable))

            playable = part("step", play)
            if playable and not report.about("action mask"):
                part("seed", lambda: compare(playable))
            part("pickle", lambda: check_copies(maker(), report))
            if playable:
                rules = partial(check_rules, maker, report, masked=playable.masked)
                part("gymnasium", rules)
                if maker.fresh and report.ok:
                    part("processes", lambda: check_processes(masked, report))
        else:
            playable = None
            part("gymnasium", lambda: check_rules(maker, report))
        if maker.fresh and playable and maker.takes_mode:
            part("render", lambda: check_pictures(maker, report))
        elif maker.fresh and playable:
            text = f"{maker.name} is made by a function without render_mode: no picture was drawn"
            report.note("render", text, "def make(**env_args): return gym.make(NAME, **env_args)")
        part("close", lambda: check_closing(maker, report))
        maker.close()
    return report


def _run(report: CheckReport, seconds: float, topic: str, run: Callable[[], Any]) -> Any:
    """Run a part of the check; an error in it is a fault."""
    try:
        with time_limit(seconds):
            return run()
    except Unplayable:
        return None
    except TimeoutError as error:
        report.fault(topic, f"{error}", "run it alone, and interrupt it to see where it hangs")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may be raised in there
        report.fault(topic, reason(error), "")
    return None


class _Maker:
    """Makes the environment that is checked, again and again.

    Attributes:
        name: of the environment, for messages.
        fresh: whether each is a new one.
        takes_mode: whether it may be given a render_mode; what is no function should take one.
        first: the first of them.
    """

    def __init__(
        self, env: Any, env_args: dict[str, Any], wrappers: Sequence[Wrapper], seconds: float
    ) -> None:
        self._env, self._env_args, self._wrappers = env, env_args, wrappers
        self.fresh = not isinstance(env, gym.Env)
        if self.fresh and not isinstance(env, str) and not callable(env):
            kind = type(env).__name__
            raise UserError(f"env is a {kind}: must be a name, a gymnasium.Env, or make one")
        self.takes_mode = not inspect.isfunction(env) or _takes(env, "render_mode")
        self.name = env if isinstance(env, str) else ""
        self._made: list[Env] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with time_limit(seconds):
                    self.first = self()
            except TimeoutError as error:
                raise UserError(
                    f"{self.name or 'the environment'} cannot be made: {error}"
                ) from error
        self.name = self.name or name_of(self.first)

    def __call__(self, **more: Any) -> Env:
        """Make another one; `more` are further arguments."""
        self._made.append(made := self._make(**more))
        return made

    def close(self) -> None:
        """Close all, whatever happens: `check_closing` reports it."""
        with suppress(TimeoutError), time_limit(CLOSE_SECONDS):
            for env in self._made:
                with suppress(Exception):
                    env.close()

    def _make(self, **more: Any) -> Env:
        arguments = {**self._env_args, **more}
        if isinstance(self._env, str):
            # Its checker warns of what we report.
            unchecked = {"disable_env_checker": True, **arguments}
            try:
                return make_env(self._env, unchecked, self._wrappers, NONE)
            except ConfigError:  # said again without our argument
                return make_env(self._env, arguments, self._wrappers, NONE)
        if not self.fresh:
            return wrap(self._env, self._wrappers)
        try:
            made = self._env(**arguments)
        except Exception as error:
            if more:
                raise
            raise UserError(f"the environment cannot be made: {reason(error)}") from error
        if not isinstance(made, gym.Env):
            raise ConfigError(
                f"{getattr(self._env, '__name__', 'env')} makes a {type(made).__name__}: must be "
                "a gymnasium.Env"
            )
        return wrap(made, self._wrappers)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of this name."""
    try:
        inspect.signature(function).bind_partial(**{name: None})
    except TypeError:
        return False
    return True


def _limit(env: Env) -> int | None:
    """The limit of an episode's length; None if there is none."""
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, gym.wrappers.TimeLimit):
            return int(layer._max_episode_steps)
        layer = layer.env
    return None
