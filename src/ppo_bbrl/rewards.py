"""Rewards as they are learned from: scaled and clipped. The workspace keeps them as they were."""

from dataclasses import replace

import torch
from torch import Tensor

from ppo_bbrl.agents.normalisers import RunningMoments, Summarise, summary
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.system.state import State, check_names


class RewardScale:
    """The running standard deviation of the discounted return, by which rewards are divided.

    Source: Engstrom et al., "Implementation Matters in Deep Policy Gradients" (2020), after
    OpenAI Baselines' VecNormalize. The mean is left alone: shifting rewards changes the task.

    Attributes:
        moments: of the discounted returns.
    """

    def __init__(self) -> None:
        self.moments = RunningMoments()
        self._carried = torch.zeros(0, dtype=torch.float64)  # of the running episodes, [B]

    def update(
        self, rollout: Rollout, discount_factor: float, summarise: Summarise = summary
    ) -> None:
        """Move the statistics by a rollout that goes on where the one before ended."""
        found, running = [], self._carried
        if len(running) != rollout.mask.shape[1]:
            running = torch.zeros(rollout.mask.shape[1], dtype=torch.float64)
        rows = (rollout.reward, rollout.mask, rollout.done)
        for reward, valid, done in zip(*(row.cpu() for row in rows), strict=True):
            running = torch.where(valid, discount_factor * running + reward, running)
            found.append(running[valid])
            running = running.masked_fill(done, 0.0)
        self._carried = running
        self.moments.update(torch.cat(found), summarise)

    def state_dict(self) -> State:
        """The statistics, and the discounted returns of the running episodes."""
        return {"moments": self.moments.state_dict(), "carried": self._carried}

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` returned."""
        check_names(state, ("moments", "carried"), "reward_scale")
        self.moments.load_state_dict(state["moments"])
        self._carried = state["carried"]


def learned_from(rollout: Rollout, scale: RewardScale | None, clip: float | None) -> Rollout:
    """A rollout with rewards as they are learned from.

    Args:
        rollout: with the rewards of the environment.
        scale: divides them; None: it does not.
        clip: the largest absolute value of a reward, after that; None: no limit.
    """
    reward: Tensor = rollout.reward
    if scale is not None:
        reward = reward / scale.moments.std.to(reward.device, reward.dtype)
    if clip is not None:
        reward = reward.clamp(-clip, clip)
    return rollout if reward is rollout.reward else replace(rollout, reward=reward)
