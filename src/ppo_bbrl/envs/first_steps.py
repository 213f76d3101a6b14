"""Checks of environments in their first reset and their first step, too slow for every step.

They find draws from generators that everything shares, and masks that only `step` gives.
"""

import random
import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.random import mtrand

from ppo_bbrl.envs.faults import UnfitError
from ppo_bbrl.envs.masks import KEY
from ppo_bbrl.envs.single import Env


def seed_global_chance(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch that everything in this process shares.

    For processes of environments alone: forked from one process, they would all draw the same.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - environments may draw from it
    torch.manual_seed(seed)


def unlock_global_chance() -> None:
    """Replace NumPy's generator by one in the same state that nobody holds.

    In a process that was forked while another thread drew from it, nobody would ever give it back.
    """
    held = mtrand.get_bit_generator()
    free = type(held)()
    free.state = held.state  # read without the lock
    mtrand.set_bit_generator(free)


@contextmanager
def draws_told(name: str) -> Iterator[None]:
    """Warn of environments that draw from the generators of Python and NumPy that all share.

    The run's seed does not reach these, so that nobody can repeat it.
    """
    before = _global_chance()
    yield
    now = _global_chance()
    drawn = [one for one in before if before[one] != now[one]]
    if drawn:
        warnings.warn(
            f"{name} draws from {' and '.join(drawn)}, which no seed of the run reaches: another "
            "run will have other episodes; draw from self.np_random, which super().reset(seed="
            "seed) seeds",
            stacklevel=3,
        )


def _global_chance() -> dict[str, Hashable]:
    _, keys, *others = np.random.get_state()  # noqa: NPY002 - it is only looked at
    numbers = np.asarray(keys).tobytes(), *map(str, others)
    return {"np.random": numbers, "Python's random": random.getstate()}


def refusing_masks(envs: Sequence[Env]) -> list[Any]:
    """Environments whose reset gave no mask, and whose next step must not give one either."""
    return [_Maskless(env) for env in envs]


class _Maskless:
    def __init__(self, env: Env) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, action: Any) -> Any:
        answer: Any = self.env.step(action)
        info = answer[-1] if isinstance(answer, tuple) and answer else None
        if isinstance(info, dict) and KEY in info:
            raise UnfitError(
                f"step() gives an {KEY} in its info, and reset() none, where the first action is "
                "chosen: give it in both, or set gym_env.action_mask: none"
            )
        return answer
