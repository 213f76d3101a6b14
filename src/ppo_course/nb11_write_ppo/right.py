"""The right parts of notebook 11's PPO: checks compare with them, and lend them to each other."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.advantages import gae
from ppo_bbrl.agents.base import Agent

Batch = Mapping[str, Tensor]


def network(sizes: Sequence[int], output_gain: float) -> nn.Sequential:
    """Linear layers with Tanh between them; orthogonal weights, biases of 0."""
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(n_in, n_out)
        nn.init.orthogonal_(linear.weight, output_gain if number == last else 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear] if number == last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class Policy(Agent):
    """Draws one of a few actions, and says how probable an action is."""

    def __init__(self, n_obs: int, n_actions: int) -> None:
        super().__init__("policy")
        self.model = network([n_obs, 64, 64, n_actions], 0.01)

    def evaluate(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy, `[…]` each."""
        every = self.model(obs).log_softmax(-1)
        log_prob = every.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return log_prob, -(every.exp() * every).sum(-1)

    def forward(self, t: int, *, stochastic: bool = True, **kwargs: Any) -> None:
        """Write `action` and `log_prob`."""
        del kwargs
        with torch.no_grad():
            obs = self.get(("env/env_obs", t))
            scores = self.model(obs)
            drawn = torch.multinomial(scores.softmax(-1), 1).squeeze(-1)
            action = drawn if stochastic else scores.argmax(-1)
            self.set(("action", t), action)
            self.set(("log_prob", t), self.evaluate(obs, action)[0])


class Critic(nn.Module):
    """The value of observations."""

    def __init__(self, n_obs: int) -> None:
        super().__init__()
        self.model = network([n_obs, 64, 64, 1], 1.0)

    def forward(self, obs: Tensor) -> Tensor:
        """`[…, D]` to `[…]`."""
        value: Tensor = self.model(obs).squeeze(-1)
        return value


def advantages(  # noqa: PLR0917 - as in notebook 02
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    discount_factor: float,
    gae_lambda: float,
) -> Tensor:
    """GAE, `[T, B]`."""
    return gae(
        reward=reward,
        value=value,
        next_value=next_value,
        terminated=terminated,
        done=done,
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )


def transitions(workspace: Any, critic: Any, cfg: Any) -> dict[str, Tensor]:
    """The N transitions of a rollout, `[N, …]` each."""
    obs, done = workspace["env/env_obs", "env/done"]
    with torch.no_grad():
        value = critic(obs)
    advantage = advantages(
        workspace["env/reward"][1:],
        value[:-1],
        value[1:],
        workspace["env/terminated"][1:],
        done[1:],
        cfg.algorithm.discount_factor,
        cfg.algorithm.gae,
    )
    rows = {
        "obs": obs[:-1],
        "action": workspace["action"][:-1],
        "log_prob": workspace["log_prob"][:-1],
        "advantage": advantage,
        "target": advantage + value[:-1],
    }
    return {name: tensor[~done[:-1]] for name, tensor in rows.items()}


def minibatches(n: int, batch_size: int) -> Sequence[Tensor]:
    """Index tensors of an epoch."""
    return torch.split(torch.randperm(n), batch_size)


def losses(policy: Any, critic: Any, batch: Batch, cfg: Any) -> tuple[Tensor, Tensor]:
    """Those of policy and critic, to be minimised."""
    advantage, eps = batch["advantage"], cfg.algorithm.clip_range
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
    ratio = (log_prob - batch["log_prob"]).exp()
    products = ratio * advantage, ratio.clamp(1 - eps, 1 + eps) * advantage
    objective = torch.min(*products).mean() + cfg.algorithm.entropy_coef * entropy.mean()
    return -objective, (critic(batch["obs"]) - batch["target"]).square().mean()


def diagnostics(policy: Any, critic: Any, batch: Batch, cfg: Any) -> dict[str, float]:
    """Numbers about an update, after it."""
    with torch.no_grad():
        log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
        error = batch["target"] - critic(batch["obs"])
    difference = log_prob - batch["log_prob"]
    ratio = difference.exp()
    return {
        "entropy": entropy.mean().item(),
        "kl": (ratio - 1 - difference).mean().item(),
        "clipped": ((ratio - 1).abs() > cfg.algorithm.clip_range).float().mean().item(),
        "explained_variance": (1 - error.var() / batch["target"].var()).item(),
    }


#: what a later step takes from the earlier ones
PARTS = {
    part.__name__: part
    for part in (
        *(network, Policy, Critic, advantages, transitions, minibatches, losses, diagnostics),
    )
}
