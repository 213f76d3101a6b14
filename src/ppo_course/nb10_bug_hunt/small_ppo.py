"""A small PPO whose parts can be exchanged: notebook 10 has suspects with one broken part each.

It is PPO with two small networks, on the package's rollouts, advantages and losses. Beside what it
learns, it keeps what a detective wants to see: the first minibatch of each update, the indices of
the last epoch, losses with their graph.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ppo_bbrl.advantages import gae, lambda_returns, normalise
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, explained_variance, value_loss
from ppo_bbrl.rollout import collect
from ppo_bbrl.seeding import Seeds
from ppo_bbrl.workspace.table import Workspace
from ppo_course.probes import register_probes

HIDDEN = 64
EPISODES = 20  # whose returns are averaged
Rows = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """Of the algorithm; the same for every suspect."""

    n_envs: int = 16  # B
    n_steps: int = 64  # T, transitions of an environment in a rollout
    epochs: int = 4  # of an update
    batch_size: int = 256  # transitions in a minibatch
    lr: float = 3e-3  # step size of Adam, for both networks
    discount_factor: float = 0.98  # γ
    gae_lambda: float = 0.95  # λ
    clip_range: float = 0.2  # ε
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float = 0.5  # to which each network's gradient is clipped


class FeaturePolicy(DiscretePolicy):
    """A policy that knows which observations it acts on, row by row."""

    def features(self, obs: Tensor) -> Tensor:
        """What its last layer reads: `[..., *observation]` to `[..., HIDDEN]`."""
        features: Tensor = self.encoder(obs)
        *body, _ = self.model.children()
        for layer in body:
            features = layer(features)
        return features

    def seen(self, obs: Tensor) -> Tensor:
        """What it acts on: `[T, B, …]`, of what the environments showed, `[T, B, …]`."""
        return obs


class FeatureCritic(nn.Module):
    """A critic on the features of the policy, which spares it a part of the work.

    It must not change them: they are the policy's, whose weights are none of the critic's.
    """

    def __init__(self, policy: FeaturePolicy) -> None:
        super().__init__()
        self.model = build_ortho_mlp([HIDDEN, HIDDEN, 1], "tanh", output_gain=1.0)
        self._features = (policy.features,)  # in a tuple: no module of this one

    def features(self, obs: Tensor) -> Tensor:
        """Of the policy, as constants."""
        return self._features[0](obs).detach()

    def value(self, obs: Tensor) -> Tensor:
        """V(s): `[..., *observation]` to `[...]`."""
        return cast("Tensor", self.model(self.features(obs))).squeeze(-1)


def advantages(rows: Rows, settings: Settings) -> Tensor:
    """GAE of the T transitions of each environment, `[T, B]`."""
    return gae(
        reward=rows["reward"][1:],
        value=rows["value"][:-1],
        next_value=rows["value"][1:],
        terminated=rows["terminated"][1:],
        done=rows["done"][1:],
        discount_factor=settings.discount_factor,
        gae_lambda=settings.gae_lambda,
    )


def transitions(rows: Rows) -> Rows:
    """The N valid transitions of a rollout, `[N, …]`; one starts where no episode has ended."""
    starts = ~rows["done"][:-1]
    return {
        name: rows[name][:-1][starts]
        for name in ("obs", "action", "log_prob", "value", "advantage", "target")
    }


def minibatches(n: int, batch_size: int, generator: torch.Generator) -> Sequence[Tensor]:
    """The indices of an epoch: each of 0 to n - 1 once."""
    count = -(-n // batch_size)
    return torch.randperm(n, generator=generator).tensor_split(count)


def policy_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_range: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate, to be minimised, and its diagnostics."""
    return clipped_surrogate(
        log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage, clip_range=clip_range
    )


@dataclass(frozen=True)
class Parts:
    """What a small PPO is made of; each part can be exchanged by another."""

    policy: type[FeaturePolicy] = FeaturePolicy
    critic: type[FeatureCritic] = FeatureCritic
    advantages: Callable[[Rows, Settings], Tensor] = advantages
    transitions: Callable[[Rows], Rows] = transitions
    minibatches: Callable[[int, int, torch.Generator], Sequence[Tensor]] = minibatches
    policy_loss: Callable[..., tuple[Tensor, dict[str, Tensor]]] = policy_loss


class Losses(NamedTuple):
    """Of one minibatch: scalars with their graph, and what they were computed from, `[N]`."""

    policy: Tensor
    value: Tensor
    log_prob: Tensor
    old_log_prob: Tensor
    facts: dict[str, Tensor]


class SmallPPO:
    """PPO on vectorised environments with discrete actions.

    Args:
        env_name: a registered environment; the probe environments are known.
        seed: of everything that is random.
        parts: what it is made of.
        settings: what differs from the defaults of `Settings`.

    Attributes:
        policy: the actor, an nn.Module; `policy.dist(obs)`.
        critic: an nn.Module; `critic.value(obs)`.
        history: of each update a dict: `steps` so far, `return` (mean of the last 20 training
            episodes, NaN before the first one has ended), `kl`, `clipped` (share), `entropy`,
            `explained_variance`.
        first_minibatches: of each update `(log_prob, old_log_prob)`, `[N]` each, before its first
            step.
        n_transitions: valid transitions of the last rollout.
        last_epoch: the minibatches of the last epoch, as tensors of indices below n_transitions.
    """

    def __init__(
        self, env_name: str, seed: int, *, parts: Parts | None = None, **settings: Any
    ) -> None:
        register_probes()
        self.parts, self.settings = parts or Parts(), Settings(**settings)
        self.seeds = Seeds(seed)
        self.env = EnvAgent(env_name, self.settings.n_envs).seed(self.seeds.sequence("train_env"))
        n_inputs, n_actions = self.env.get_obs_and_actions_sizes()
        with self.seeds.weights.active():
            self.policy = self.parts.policy(n_inputs, [HIDDEN], n_actions, activation="tanh")
            self.critic = self.parts.critic(self.policy)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), self.settings.lr, fused=True)
            for network in (self.policy, self.critic)
        ]
        self.workspace = Workspace()
        self.steps = self.n_transitions = 0
        self.history: list[dict[str, float]] = []
        self.first_minibatches: list[tuple[Tensor, Tensor]] = []
        self.last_epoch: list[Tensor] = []
        self._returns: deque[float] = deque(maxlen=EPISODES)
        self._batch: Rows = {}

    def train(self, n_updates: int) -> "SmallPPO":
        """Collect and learn, so many times."""
        for _ in range(n_updates):
            rows = self._collect()
            self._batch = self.parts.transitions(rows)
            self.history.append({"steps": self.steps, **self._facts(rows), **self._learn()})
        return self

    def losses(self, index: Tensor | None = None) -> Losses:
        """The losses of transitions of the last rollout, all of them if no index is given."""
        batch = self._batch if index is None else {k: v[index] for k, v in self._batch.items()}
        log_prob, entropy = self.policy.evaluate_actions(batch["obs"], batch["action"])
        of_policy, facts = self.parts.policy_loss(
            log_prob, batch["log_prob"], normalise(batch["advantage"]), self.settings.clip_range
        )
        exploration, _ = entropy_loss(entropy=entropy)
        of_value, _ = value_loss(
            value=self.critic.value(batch["obs"]),
            old_value=batch["value"],
            target=batch["target"],
            clip_range_vf=0,
        )
        of_policy = of_policy + self.settings.entropy_coef * exploration
        told = {"kl": facts["approx_kl"], "clipped": facts["clip_fraction"]}
        told["entropy"] = entropy.detach().mean()
        return Losses(of_policy, of_value, log_prob, batch["log_prob"], told)

    @torch.no_grad()
    def _collect(self) -> Rows:
        """A rollout: `[T + 1, B, …]` rows; `advantage` and `target` are 0 in the last one."""
        with self.seeds.actions.active():
            self.steps += collect(self.env, self.policy, self.workspace, self.settings.n_steps + 1)
        names = ("reward", "terminated", "done", "cumulated_reward")
        rows = {name: self.workspace.get_full(f"env/{name}") for name in names}
        rows["obs"] = self.policy.seen(self.workspace.get_full("env/env_obs"))
        rows["action"] = self.workspace.get_full("action")
        rows["log_prob"], _ = self.policy.evaluate_actions(rows["obs"], rows["action"])
        rows["value"] = self.critic.value(rows["obs"])
        advantage = self.parts.advantages(rows, self.settings)
        target = lambda_returns(advantage=advantage, value=rows["value"][:-1])
        zeros = torch.zeros_like(advantage[:1])
        rows["advantage"], rows["target"] = (torch.cat((x, zeros)) for x in (advantage, target))
        return rows

    def _facts(self, rows: Rows) -> dict[str, float]:
        """What a rollout tells before anything is learned from it."""
        # Row 0 is the last row of the rollout before, which has counted its episodes.
        self._returns.extend(rows["cumulated_reward"][1:][rows["done"][1:]].tolist())
        explained = explained_variance(value=self._batch["value"], target=self._batch["target"])
        mean = sum(self._returns) / len(self._returns) if self._returns else math.nan
        return {"return": mean, "explained_variance": float(explained)}

    def _learn(self) -> dict[str, float]:
        self.n_transitions = len(self._batch["obs"])
        told: list[dict[str, Tensor]] = []
        for _ in range(self.settings.epochs):
            self.last_epoch = list(
                self.parts.minibatches(
                    self.n_transitions, self.settings.batch_size, self.seeds.minibatches
                )
            )
            for index in self.last_epoch:
                losses = self.losses(index)
                if not told:
                    first = losses.log_prob.detach(), losses.old_log_prob.detach()
                    self.first_minibatches.append(first)
                told.append(losses.facts)
                self._step(losses.policy + losses.value)
        return {name: float(torch.stack([x[name] for x in told]).mean()) for name in told[0]}

    def _step(self, loss: Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        networks: tuple[nn.Module, ...] = (self.policy, self.critic)
        for network, optimizer in zip(networks, self.optimizers, strict=True):
            nn.utils.clip_grad_norm_(network.parameters(), self.settings.max_grad_norm)
            optimizer.step()
