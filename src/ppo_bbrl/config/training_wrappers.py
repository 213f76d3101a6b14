"""Wrappers for training only: evaluations, videos and saved policies have the task itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppo_bbrl.config.wrappers import Env, Named, Wrapper, parse
from ppo_bbrl.errors import ConfigError, one_line

KEY = "gym_env.training_wrappers"


@dataclass(frozen=True)
class TrainingOnly:
    """A wrapper that leaves both spaces as they are, so that the policy fits the task itself."""

    wrapper: Named

    def __call__(self, env: Env) -> Env:
        """Wrap an environment.

        Raises:
            ConfigError: if it gets another space.
        """
        wrapped = self.wrapper(env)
        for role in ("observation_space", "action_space"):
            before, after = getattr(env, role), getattr(wrapped, role)
            if before != after:
                raise ConfigError(
                    f"in {KEY} it must not change the {role.replace('_', ' ')}, from "
                    f"{one_line(before, 100)} to {one_line(after, 100)}, since an evaluation is "
                    "without it: name it in gym_env.wrappers"
                )
        return wrapped


def check_wrappers(gym_env: Mapping[str, Any]) -> None:
    """Refuse wrappers of a configuration that may not be named.

    Args:
        gym_env: its section.

    Raises:
        ConfigError: for a name that is not allowed, or arguments that the wrapper does not accept.
    """
    for index, entry in enumerate(gym_env["wrappers"]):
        parse(entry, f"gym_env.wrappers[{index}]")
    in_training((), gym_env["training_wrappers"])


def in_training(wrappers: Iterable[Wrapper], entries: Sequence[Any]) -> list[Wrapper]:
    """The wrappers of training environments: those of all, and those for training around them.

    Args:
        wrappers: of all environments; the first one is innermost.
        entries: the value of `gym_env.training_wrappers`.

    Raises:
        ConfigError: for a name that is not allowed, or arguments that the wrapper does not accept.
    """
    return [*wrappers, *(_only(entry, f"{KEY}[{index}]") for index, entry in enumerate(entries))]


def _only(entry: Any, key: str) -> TrainingOnly:
    wrapper = parse(entry, key)
    if not isinstance(wrapper, Named):
        raise ConfigError(f"{key} = {one_line(repr(entry), 200)}: must be the name of a wrapper")
    return TrainingOnly(wrapper)
