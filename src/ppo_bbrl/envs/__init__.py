"""Environments as an agent: how they are found by name, made, and run in processes."""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from ppo_bbrl.config.mask_velocity import MaskVelocity as MaskVelocity
    from ppo_bbrl.config.wrappers import Wrapper as Wrapper
    from ppo_bbrl.envs.agent import EnvAgent as EnvAgent
    from ppo_bbrl.envs.vector import choose_vectorization as choose_vectorization

_HOME = {
    "EnvAgent": "ppo_bbrl.envs.agent",
    "MaskVelocity": "ppo_bbrl.config.mask_velocity",
    "Wrapper": "ppo_bbrl.config.wrappers",
    "choose_vectorization": "ppo_bbrl.envs.vector",
}
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
