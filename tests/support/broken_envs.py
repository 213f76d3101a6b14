"""Environments that are broken in one way each, and sound ones, for `ppo-bbrl check`.

Importing this module registers `Broken-v0` (its `kind` is a key of `BROKEN`) and `Sound-v0`.
"""

import threading
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Sequence

SPACE = Box(-1, 1, (3,), np.float32)


class Sound(gym.Env[Any, Any]):
    """A random walk of at most 20 steps; nothing is wrong with it."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium
    observation_space: Any = SPACE
    action_space: Any = Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t, self.state = 0, self.draw()
        return self.see(), self.info()

    def step(self, action: Any) -> Any:
        self.t += 1
        self.state = self.draw()
        over = self.t == 20 or bool(self.state[0] > 0.95)
        return self.see(), float(self.state[1]), over, False, self.info()

    def render(self) -> Any:
        return np.zeros((32, 32, 3), np.uint8)

    def draw(self) -> Any:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def see(self) -> Any:
        return self.state.copy()

    def info(self) -> Any:
        return {}


class InParts(Sound):
    """Dict observations and a mask."""

    observation_space = Dict(place=SPACE, cell=Discrete(3), action_mask=MultiBinary(2))

    def see(self) -> Any:
        return {"place": self.state.copy(), "cell": self.t % 3, "action_mask": self.mask()}

    def mask(self) -> Any:
        return np.array([1, self.state[2] > 0], np.int8)


class _Step(Sound):
    """Changes what `step` returns."""

    def step(self, action: Any) -> Any:
        return self.change(*super().step(action))


class NaN(_Step):
    def change(self, seen: Any, *rest: Any) -> Any:
        return np.where(self.t == 3, np.float32("nan"), seen), *rest


class Infinite(_Step):
    observation_space = Box(-np.inf, np.inf, (3,), np.float32)

    def change(self, seen: Any, *rest: Any) -> Any:
        return np.where(self.t == 3, np.float32("inf"), seen), *rest


class OutOfBounds(Sound):
    def see(self) -> Any:
        return 3 * self.state


class WrongType(Sound):
    def see(self) -> Any:
        return self.state.astype(np.float64)


class WrongShape(Sound):
    def see(self) -> Any:
        return self.state[None]


class AList(Sound):
    def see(self) -> Any:
        return self.state.tolist()


class OtherKeys(InParts):
    def see(self) -> Any:
        return {"place": self.state.copy(), "action_mask": self.mask()}


class BeyondStates(Sound):
    observation_space = Discrete(5)

    def see(self) -> Any:
        return self.t


class NaNReward(_Step):
    def change(self, seen: Any, reward: Any, *rest: Any) -> Any:
        return seen, float("nan") if self.t == 2 else reward, *rest


class RewardOfShape1(_Step):
    def change(self, seen: Any, reward: Any, *rest: Any) -> Any:
        return seen, np.array([reward]), *rest


class HugeReward(_Step):
    def change(self, seen: Any, reward: Any, *rest: Any) -> Any:
        return seen, 1e6 * reward, *rest


class NumbersForEnds(_Step):
    def change(self, seen: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> Any:
        return seen, reward, int(terminated), truncated, info


class NoneForTruncated(_Step):
    def change(self, seen: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> Any:
        return seen, reward, terminated, None, info


class NoInfo(Sound):
    def info(self) -> Any:
        return None


class OldStep(_Step):
    def change(self, seen: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> Any:
        return seen, reward, terminated, info


class OldReset(Sound):
    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0]


class NoSeedArgument(Sound):
    def reset(self) -> Any:  # type: ignore[override] # that is what is wrong
        return super().reset()


class GlobalRandom(Sound):
    def draw(self) -> Any:
        return np.random.uniform(-1, 1, 3).astype(np.float32)  # noqa: NPY002 - what is wrong


class SpaceRandom(Sound):
    def draw(self) -> Any:
        return np.full(3, self.action_space.sample(), np.float32)


class RandomOfItsOwn(Sound):
    def __init__(self, render_mode: Any = None) -> None:
        super().__init__(render_mode)
        self.length = np.random.default_rng().uniform(0, 1)

    def see(self) -> Any:
        return np.float32(self.length) * self.state


class AlwaysSeed0(Sound):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=0)


class SharedState(Sound):
    walk = np.zeros(3, np.float32)

    def draw(self) -> Any:
        self.walk[:] = 0.5 * self.walk + 0.5 * super().draw() if self.t else super().draw()
        return self.walk.copy()

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return super().reset(seed=seed)


class NotPicklable(Sound):
    def __init__(self, render_mode: Any = None) -> None:
        super().__init__(render_mode)
        self.lock = threading.Lock()


class ResetsItself(_Step):
    def change(self, seen: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> Any:
        if terminated:
            seen, info = self.reset()
        return seen, reward, terminated, truncated, info


class OneBuffer(Sound):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.buffer = np.zeros(3, np.float32)
        return super().reset(seed=seed)

    def see(self) -> Any:
        self.buffer[:] = self.state
        return self.buffer


class NeverEnds(_Step):
    def change(self, seen: Any, reward: Any, *rest: Any) -> Any:
        return seen, reward, False, False, rest[-1]


class EndsAtOnce(_Step):
    def change(self, seen: Any, reward: Any, *rest: Any) -> Any:
        return seen, reward, True, False, rest[-1]


class ForbidsAll(InParts):
    def mask(self) -> Any:
        return np.array([1, 1] if self.t < 3 else [0, 0], np.int8)


class MaskOfThree(InParts):
    observation_space = Dict(place=SPACE, cell=Discrete(3), action_mask=MultiBinary(3))

    def mask(self) -> Any:
        return np.ones(3, np.int8)


class MaskLater(Sound):
    def info(self) -> Any:
        return {"action_mask": np.ones(2, np.int8)} if self.t else {}


class MaskOfWords(Sound):
    def info(self) -> Any:
        return {"action_mask": ["yes", "no"]}


class Crashes(_Step):
    def change(self, *row: Any) -> Any:
        return 1 / (self.t - 3) and row


class ChangesActions(Sound):
    action_space = Box(-1, 1, (2,), np.float32)

    def step(self, action: Any) -> Any:
        action *= 0.5
        return super().step(action)


class NoSpace(Sound):
    observation_space = None


class Sequences(Sound):
    observation_space = Sequence(Discrete(3))


class IntegerBox(Sound):
    action_space = Box(-3, 3, (2,), np.int64)


class DrawsNothing(Sound):
    def render(self) -> Any:
        return None


class DrawsFloats(Sound):
    def render(self) -> Any:
        return np.zeros((32, 32, 3))


class CannotClose(Sound):
    def close(self) -> None:
        raise OSError("no window")


class Exits(_Step):
    def change(self, *row: Any) -> Any:
        raise SystemExit(3)


class Hangs(_Step):
    def change(self, *row: Any) -> Any:
        if self.t == 3:
            time.sleep(1000)
        return row


#: by kind: the class, the topic of the fault that a check must find, and what it says
BROKEN: dict[str, tuple[type[Sound], str, str]] = {
    "NaN": (NaN, "observation", "NaN"),
    "infinite": (Infinite, "observation", "inf"),
    "out of bounds": (OutOfBounds, "observation", "outside"),
    "float64": (WrongType, "observation", "dtype"),
    "shape": (WrongShape, "observation", "shape"),
    "a list": (AList, "observation", "list"),
    "keys": (OtherKeys, "observation", "cell"),
    "states": (BeyondStates, "observation", r"Discrete\(5\)"),
    "NaN reward": (NaNReward, "reward", "NaN"),
    "reward of shape 1": (RewardOfShape1, "reward", r"\[1\]"),
    "huge reward": (HugeReward, "reward scale", "normalize_reward"),
    "ends in numbers": (NumbersForEnds, "terminated", "int"),
    "None for truncated": (NoneForTruncated, "truncated", "None"),
    "no info": (NoInfo, "info", "None"),
    "old step": (OldStep, "step", "truncated"),
    "old reset": (OldReset, "reset", "pair"),
    "no seed argument": (NoSeedArgument, "reset", "seed"),
    "global random": (GlobalRandom, "seed", "np_random"),
    "random from a space": (SpaceRandom, "seed", "np_random"),
    "random in init": (RandomOfItsOwn, "seed", "__init__"),
    "always seed 0": (AlwaysSeed0, "seed", ""),
    "shared state": (SharedState, "shared state", ""),
    "not picklable": (NotPicklable, "pickle", "lock"),
    "resets itself": (ResetsItself, "autoreset", ""),
    "one buffer": (OneBuffer, "observation buffer", "copy"),
    "never ends": (NeverEnds, "episode end", "limit"),
    "ends at once": (EndsAtOnce, "episode end", "first step"),
    "forbids all": (ForbidsAll, "action mask", "forbids all"),
    "mask of three": (MaskOfThree, "action mask", "2 actions"),
    "mask later": (MaskLater, "action mask", "reset"),
    "mask of words": (MaskOfWords, "action mask", "zeros and ones"),
    "crashes": (Crashes, "step", "ZeroDivisionError"),
    "changes actions": (ChangesActions, "action", "changed"),
    "no space": (NoSpace, "spaces", "observation_space"),
    "sequences": (Sequences, "spaces", "Sequence"),
    "integer Box": (IntegerBox, "spaces", "int64"),
    "draws nothing": (DrawsNothing, "render", ""),
    "draws floats": (DrawsFloats, "render", "uint8"),
    "cannot close": (CannotClose, "close", "no window"),
    "exits": (Exits, "step", "sys.exit"),
    "hangs": (Hangs, "step", "in step 3"),
}


def broken(kind: str, render_mode: str | None = None) -> Sound:
    """The environment of this kind."""
    return BROKEN[kind][0](render_mode=render_mode)


gym.register("Broken-v0", broken)
gym.register("Sound-v0", Sound)
gym.register("SoundParts-v0", InParts)
