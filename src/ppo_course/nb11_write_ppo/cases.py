"""What the checks of notebook 11's later steps run a student's functions on."""

from dataclasses import asdict
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.instruments.judge import Settings
from ppo_course.instruments.rollouts import N_ACTIONS, N_OBS, Rollout
from ppo_course.workspaces import RecordingWorkspace


class SmallPolicy(nn.Module):
    """A policy with the interface of the student's."""

    def __init__(self, source: torch.Generator) -> None:
        super().__init__()
        self.model = nn.Linear(N_OBS, N_ACTIONS)
        draw_weights(self, source, 0.7)

    def evaluate(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy."""
        every = self.model(obs).log_softmax(-1)
        log_prob = every.gather(-1, action.long()[..., None]).squeeze(-1)
        return log_prob, -(every.exp() * every).sum(-1)


class SmallCritic(nn.Module):
    """A critic with the interface of the student's."""

    def __init__(self, source: torch.Generator) -> None:
        super().__init__()
        self.model = nn.Linear(N_OBS, 1)
        draw_weights(self, source, 0.7)

    def forward(self, obs: Tensor) -> Tensor:
        """`[…, D]` to `[…]`."""
        value: Tensor = self.model(obs).squeeze(-1)
        return value


def config(settings: Settings) -> DictConfig:
    """As students read it: `cfg.algorithm.gae`."""
    return OmegaConf.create({"algorithm": asdict(settings)})


def settings_of(seed: int | None) -> Settings:
    """Numbers that nobody knows by heart."""
    if seed is None:
        return Settings()
    source = source_of(seed)
    rest = torch.rand(5, generator=source).tolist()
    return Settings(
        discount_factor=0.8 + 0.15 * rest[0],
        gae=0.5 + 0.3 * rest[1],
        clip_range=0.12 + 0.15 * rest[2],
        entropy_coef=0.05 + 0.2 * rest[3],
        batch_size=integer(source, 9, 15),
        opt_epochs=integer(source, 2, 4),
    )


def recorded(rollout: Rollout, policy: Any) -> tuple[RecordingWorkspace, Tensor]:
    """A workspace after the policy has acted, and the log-probabilities in it."""
    with torch.no_grad():
        log_prob, _ = policy.evaluate(rollout.obs, rollout.action)
    given = rollout.workspace()
    variables = {name: given.get_full(name) for name in given.variables}
    return RecordingWorkspace({**variables, "log_prob": log_prob}), log_prob


def batch_of(seed: int | None) -> tuple[dict[str, Tensor], SmallPolicy, SmallCritic]:
    """Transitions of a policy that has moved since: `[N, …]` each, with both networks."""
    source = source_of(seed)
    policy, critic = SmallPolicy(source), SmallCritic(source)
    n = integer(source, 12, 20)
    obs = torch.randn(n, N_OBS, generator=source)
    action = torch.randint(N_ACTIONS, (n,), generator=source)
    with torch.no_grad():
        log_prob = policy.evaluate(obs, action)[0]
        value = critic(obs)
    moved = torch.linspace(-0.6, 0.6, n)[torch.randperm(n, generator=source)]
    advantage = 0.7 + 2 * torch.randn(n, generator=source)
    return (
        {
            "obs": obs,
            "action": action,
            "log_prob": (log_prob - moved).clamp(max=-0.01),
            "advantage": advantage,
            "target": value + advantage + 0.5,
        },
        policy,
        critic,
    )
