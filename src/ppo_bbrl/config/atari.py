"""Two of Atari's details for which Gymnasium has no wrapper (docs/ppo.md#atari).

After OpenAI Baselines' `atari_wrappers.py` (Dhariwal et al., 2017).
"""

from typing import Any

import gymnasium as gym

from ppo_bbrl.errors import ConfigError, one_line

_NOOP, _FIRE = 0, "FIRE"


class EpisodicLife(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """The loss of a life ends the episode; the game goes on in the next one, until it is over.

    Such a next episode begins with an action that does nothing. For training only: name it in
    `gym_env.training_wrappers`, or evaluations count a life each.

    Args:
        env: a game of Atari, with or without wrappers.

    Raises:
        ConfigError: for any other environment.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        if not hasattr(env.unwrapped, "ale"):
            raise ConfigError(f"EpisodicLife is for games of Atari, not {one_line(env, 100)}")
        self._lives, self._over = 0, True

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """A new game, or the next life of this one; with a seed always a new game."""
        if not self._over and seed is None:
            seen, _, terminated, truncated, info = self.env.step(_NOOP)
            if not (terminated or truncated):
                self._lives = self._now()
                return seen, info
        seen, info = self.env.reset(seed=seed, options=options)
        self._lives, self._over = self._now(), False
        return seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """A step of the game, which terminates where a life is lost."""
        seen, reward, terminated, truncated, info = self.env.step(action)
        self._over = terminated or truncated
        before, self._lives = self._lives, self._now()
        return seen, reward, terminated or 0 < self._lives < before, truncated, info

    def _now(self) -> int:
        game: Any = self.env.unwrapped
        return int(game.ale.lives())


class FireReset(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Begins an episode by firing, and the action after that, in games that have a fire button.

    Args:
        env: a game of Atari, with or without wrappers.

    Raises:
        ConfigError: for an environment whose actions have no names.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        if not env.has_wrapper_attr("get_action_meanings"):
            raise ConfigError(f"FireReset is for games of Atari, not {one_line(env, 100)}")
        names: list[str] = env.get_wrapper_attr("get_action_meanings")()
        first = names.index(_FIRE) if _FIRE in names else len(names)
        self._pressed = range(first, min(first + 2, len(names)))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """A new game that has begun."""
        seen, info = self.env.reset(seed=seed, options=options)
        for action in self._pressed:
            seen, _, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                seen, info = self.env.reset(options=options)
        return seen, info
