"""What an update learns from curiosity: scaled rewards, their own advantages, two more losses.

An episode's end is no end for curiosity: what is new after it is worth going on for, and else an
agent would learn to stay alive instead of exploring (Burda et al., 2018, section 2.3).
"""

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ppo_bbrl.advantages import continuing_gae, lambda_returns
from ppo_bbrl.agents.base import device_of
from ppo_bbrl.agents.curiosity import NEXT, RETURN, curiosity_of
from ppo_bbrl.agents.normalisers import Summarise, summary
from ppo_bbrl.agents.observations import moved, names_in, observation_in
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.losses import value_loss
from ppo_bbrl.minibatches import LossesAndMetrics, Minibatch
from ppo_bbrl.rewards import RewardScale
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.system.state import State
from ppo_bbrl.workspace.table import Workspace

MAX_DISCOUNT = 0.99  # γ of curiosity, the paper's, or discount_factor if that is less
REWARD, VALUE = "curiosity/reward", "curiosity/v_values"
ADVANTAGE = "curiosity/advantage"


class Watching:
    """Lets the curiosity of a critic watch rollouts, if it has one; else everything stays as it is.

    Rewards are divided by the running standard deviation of their discounted return, the rollout's
    own included. It moves once for each rollout, after the update.

    Args:
        summarise: as in `RunningMoments.update`.
    """

    def __init__(self, summarise: Summarise = summary) -> None:
        self._summarise = summarise
        self._scale = RewardScale()
        self._next = self._scale  # with the rollout that was watched last

    def watch(
        self,
        critic: nn.Module,
        workspace: Workspace,
        rollout: Rollout,
        settings: AlgorithmConfig,
    ) -> Rollout:
        """Write reward, value, advantage and return of curiosity, `[T, B]` each.

        Returns:
            The rollout, whose variables have them, too, and the observations of the next row.
        """
        curiosity = curiosity_of(critic)
        if curiosity is None:
            return rollout
        rows = rollout.variables
        names = names_in(rows)
        seen = observation_in({name: rows[name] for name in names})
        reward = curiosity.novelty(moved(seen, device_of(curiosity))).to(rollout.reward.device)
        nothing = torch.zeros_like(rollout.done)
        self._next = copy.deepcopy(self._scale)
        watched = replace(rollout, reward=reward[1:], done=nothing)
        self._next.update(watched, _discount(settings), self._summarise)
        following = {NEXT + name: torch.cat((rows[name][1:], rows[name][-1:])) for name in names}
        rollout = replace(rollout, variables={**rows, **following, REWARD: reward})
        rollout = self.evaluate(critic, rollout, settings)
        for name in (REWARD, VALUE, ADVANTAGE, RETURN):
            workspace.set_full(name, rollout.variables[name])
        return rollout

    def evaluate(self, critic: nn.Module, rollout: Rollout, settings: AlgorithmConfig) -> Rollout:
        """A rollout that was watched, with values of curiosity as they are now."""
        curiosity = curiosity_of(critic)
        if curiosity is None:
            return rollout
        rows = rollout.variables
        seen = observation_in({name: rows[name] for name in names_in(rows)})
        value = curiosity.value(moved(seen, device_of(curiosity))).to(rollout.reward.device)
        reward = rows[REWARD][1:]
        advantage = continuing_gae(
            reward=reward / self._next.moments.std.to(reward.device, reward.dtype),
            value=value[:-1],
            last_value=value[-1],
            mask=rollout.mask,
            discount_factor=_discount(settings),
            gae_lambda=settings.gae,
        )
        returns = lambda_returns(advantage=advantage, value=value[:-1])
        last = torch.zeros_like(advantage[:1])
        new = {ADVANTAGE: torch.cat((advantage, last)), RETURN: torch.cat((returns, last))}
        return replace(rollout, variables={**rows, VALUE: value, **new})

    def move(self) -> None:
        """Let the scale of rewards follow the rollout that was watched last."""
        self._scale = self._next

    def state_dict(self) -> State:
        """The scale of rewards."""
        return self._scale.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` returned."""
        self._scale.load_state_dict(state)
        self._next = self._scale


def _discount(settings: AlgorithmConfig) -> float:
    return min(settings.discount_factor, MAX_DISCOUNT)


def with_curiosity(advantage: Tensor, rollout: Rollout, settings: AlgorithmConfig) -> Tensor:
    """The advantages of a rollout, `[T, B]`, and weighted those of curiosity, if there are some."""
    if settings.curiosity == "none":
        return advantage
    return advantage + settings.curiosity_coef * rollout.variables[ADVANTAGE][:-1]


def with_losses(
    critic: nn.Module, minibatch: Minibatch, critic_coef: float, computed: LossesAndMetrics
) -> LossesAndMetrics:
    """The losses and metrics of a minibatch, and those of the critic's curiosity, if it has one.

    Args:
        critic: whose curiosity has watched the rollout.
        minibatch: of that rollout.
        critic_coef: weight of the loss of values.
        computed: the losses and metrics of PPO.

    Returns:
        With the losses `curiosity` (of the predictor) and `curiosity_value`, and as metrics
        `curiosity_loss` and `curiosity_value_loss`.
    """
    curiosity = curiosity_of(critic)
    if curiosity is None:
        return computed
    variables, mask = minibatch.variables, minibatch.mask
    following = {
        name.removeprefix(NEXT): tensor
        for name, tensor in variables.items()
        if name.startswith(NEXT)
    }
    novelty = curiosity.novelty(observation_in(following)).flatten()
    mean = novelty.mean() if mask is None else (novelty * mask).sum() / mask.sum()
    value = curiosity.value(observation_in(variables)).flatten()
    target = variables[RETURN].flatten()
    error, _ = value_loss(value=value, old_value=value, target=target, clip_range_vf=0.0, mask=mask)
    own = {"curiosity": mean, "curiosity_value": critic_coef * error}
    losses, metrics = computed
    return losses | own, metrics | {f"{name}_loss": one.detach() for name, one in own.items()}


def with_returns(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Variables of transitions with other returns of curiosity, if there are some."""
    return {**old, RETURN: new[RETURN]} if RETURN in new else dict(old)
