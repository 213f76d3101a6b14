"""Environments by name: find them, import the modules that register them, say what is missing.

`module:Name-v0` imports the module first. That may run any code, so a module that is named only
in the files of a run is imported only if the user trusts the run.
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

# Environments of other packages: how their names begin, the module that registers them, and the
# package to install.
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
    """The registration of an environment; bbrl_gymnasium's are included.

    Raises:
        ConfigError: if there is none of that name; the message says how to name an environment of
            another package.
    """
    try:
        if ":" not in env_name and env_name not in gym.registry:
            import bbrl_gymnasium  # noqa: F401, PLC0415 - registers its environments
        module, _, name = env_name.rpartition(":")
        if module:
            import_module(module)
        return gym.spec(name)
    except (Exception, SystemExit) as error:  # importing a module may raise anything
        text = str(error) if isinstance(error, gym.error.Error) else reason(error)
        raise ConfigError(
            f"gym_env.env_name = {env_name!r}: {printable(text)}{_remedy(env_name, error)}"
        ) from error


def look_also_in(folders: Iterable[Path]) -> None:
    """Search these folders for modules too, as `python -m` searches the current one.

    They come last, so a file that happens to share a library module's name hides nothing.
    """
    for folder in folders:
        path = str(folder.absolute())
        if path not in sys.path:
            sys.path.append(path)


def check_trusted(env_name: str, trust: bool) -> None:
    """Refuse to import a module merely because the files of a run name it.

    Args:
        env_name: the environment's name in the files.
        trust: whether the user trusts the run.

    Raises:
        UserError: if making the environment would import a module that the program has not
            already imported.
    """
    module = env_name.rpartition(":")[0]
    if re.match(r"GymV\d", env_name) and not trust:  # its argument names an environment of gym
        raise UserError(
            f"the run's environment {env_name!r} may import any module; if you trust the run, add "
            "--trust (in a program: trust=True)"
        )
    if module and not trust and module not in sys.modules:
        raise UserError(
            f"the run's environment {env_name!r} needs the module {module!r}, and importing a "
            "module may run any code; if you trust the run, add --trust (in a program: import "
            "the module yourself, or pass trust=True)"
        )


def _remedy(env_name: str, error: BaseException) -> str:
    module, _, name = env_name.rpartition(":")
    if versions := [known for known in gym.registry if known.rpartition("-v")[0] == name]:
        return f"; write {', '.join(versions)}"  # the newest one may be another task some day
    home = next((home for home in _ELSEWHERE if re.match(home[0], name)), None)
    if isinstance(error, ModuleNotFoundError):
        if home and error.name == home[1]:
            return f"; install it with: pip install {home[2]}"
        if error.name == module.partition(".")[0]:
            return "; searched the current folder, the configuration's folder, and sys.path"
    missing = (gym.error.NamespaceNotFound, gym.error.NameNotFound)
    if not isinstance(error, missing) or module:
        return ""
    if home is None:
        return (
            "; for an environment of another package or of your own, put the module that registers "
            "it before the name, as in ale_py:ALE/Pong-v5"
        )
    install = "" if util.find_spec(home[1]) else f" (after pip install {home[2]})"
    return f"; write {home[1]}:{name}{install}"
