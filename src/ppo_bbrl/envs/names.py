"""Environments by name: which are known, which come with a module, and whose modules are imported.

`module:Name-v0` imports the module first. That may run anything, so a module that the files of a
run name is only imported by who trusts the run.
"""

import re
import sys
from collections.abc import Iterable
from importlib import import_module, util
from pathlib import Path

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from ppo_bbrl.envs.faults import reason
from ppo_bbrl.errors import ConfigError, UserError, printable

# Environments of other packages: how their names begin, the module that registers them, and what
# to install.
_ELSEWHERE = (
    (r"ALE/", "ale_py", "ale-py"),
    (r"(MiniGrid|BabyAI)-", "minigrid", "minigrid"),
    (r"MiniWorld-", "miniworld", "miniworld"),
    (r"(highway|merge|roundabout|parking|intersection|racetrack)-", "highway_env", "highway-env"),
    (r"(Fetch|Hand|Adroit|Franka|PointMaze)", "gymnasium_robotics", "gymnasium-robotics"),
    (r"Panda", "panda_gym", "panda-gym"),
    (r"mo-", "mo_gymnasium", "mo-gymnasium"),
)  # fmt: skip


def find_spec(env_name: str) -> EnvSpec:
    """The registration of an environment; those of bbrl_gymnasium are known too.

    Raises:
        ConfigError: if there is none of that name, saying how that of another package is written.
    """
    try:
        if ":" not in env_name and env_name not in gym.registry:
            import bbrl_gymnasium  # noqa: F401, PLC0415 - registers its environments
        module, _, name = env_name.rpartition(":")
        if module:
            import_module(module)
        return gym.spec(name)
    except (Exception, SystemExit) as error:  # a module may fail in any way
        told = str(error) if isinstance(error, gym.error.Error) else reason(error)
        raise ConfigError(
            f"gym_env.env_name = {env_name!r}: {printable(told)}{_remedy(env_name, error)}"
        ) from error


def look_also_in(folders: Iterable[Path]) -> None:
    """Let modules be found in these folders too, as `python -m` finds them in the current one.

    After all others: a file that happens to have the name of a library's module hides nothing.
    """
    for folder in folders:
        path = str(folder.absolute())
        if path not in sys.path:
            sys.path.append(path)


def check_trusted(env_name: str, trust: bool) -> None:
    """Refuse to import a module because the files of a run name it.

    Args:
        env_name: as the files name it.
        trust: whether the user trusts the run.

    Raises:
        UserError: if making the environment would import a module that the program has not
            imported by itself.
    """
    module = env_name.rpartition(":")[0]
    if module and not trust and module not in sys.modules:
        raise UserError(
            f"the run's environment {env_name!r} needs the module {module!r}, and a module may do "
            "anything when it is imported; if you trust the run, add --trust (in a program: import "
            "the module yourself, or give trust=True)"
        )


def _remedy(env_name: str, error: BaseException) -> str:
    module, _, name = env_name.rpartition(":")
    home = next((home for home in _ELSEWHERE if re.match(home[0], name)), None)
    if isinstance(error, ModuleNotFoundError):
        if home and error.name == home[1]:
            return f"; it comes with: pip install {home[2]}"
        if error.name == module.partition(".")[0]:
            return "; looked for in the current folder, beside the configuration, and in sys.path"
    missing = (gym.error.NamespaceNotFound, gym.error.NameNotFound)
    if not isinstance(error, missing) or module:
        return ""
    if home is None:
        return (
            "; one of another package, or of your own module, is written with the module that "
            "registers it, as in ale_py:ALE/Pong-v5"
        )
    install = "" if util.find_spec(home[1]) else f" (after pip install {home[2]})"
    return f"; write {home[1]}:{name}{install}"
