"""Every engine of the update goes through the same changes, beside torch's own optimisers."""

import torch
from probe_envs import config, fresh_log
from torch import nn

from ppo_bbrl import DiscretePolicy, PPOClip, VAgent, shared_agents
from ppo_bbrl.update import Update

ADAMW = {"classname": "torch.optim.AdamW", "lr": 1e-2, "eps": 1e-5, "weight_decay": 0.1}


class Model(nn.Module):
    """Both heads on one trunk."""

    def __init__(self):
        super().__init__()
        self.trunk, self.actor, self.critic = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(self, x):
        latent = self.trunk(x).tanh()
        logits = self.actor(latent)
        return torch.distributions.Categorical(logits=logits), self.critic(latent).squeeze(-1)


def separate():
    return {"train_policy": DiscretePolicy(3, [8], 2), "critic_agent": VAgent(3, [8])}


def together():
    policy, critic = shared_agents(Model())
    return {"train_policy": policy, "critic_agent": critic}


AGENTS = {"separate": separate, "shared": together}
ENGINES = ("plain", "flat", "compiled")


class PlainPPO(PPOClip):
    """Updates by nothing but `Update` on the agents and optimisers as they are: the reference."""

    def update(self, rollout):
        self._read_config()
        self._engine = Plain()
        return super().update(rollout)


class Plain(Update):
    def fits(self, objective, transitions):
        return True


def algorithm(engine, agents="separate", optimizer=None, **settings):
    fresh_log()
    torch.manual_seed(0)
    cfg = config("Chance", **{"max_epochs": 6, "batch_size": 30, **settings})
    cfg["optimizer"] = optimizer or ADAMW
    cfg["compute"] = {"compile": "always" if engine == "compiled" else "never", "threads": 1}
    kind = PlainPPO if engine == "plain" else PPOClip
    return kind(cfg, **AGENTS[agents]())


def rollouts(algo, n):
    for workspace, _ in zip(algo.iter_partial_episodes(17), range(n), strict=False):
        yield algo.record(workspace)


def weights(algo):
    agents = (algo.train_policy, algo.critic_agent)
    return [parameter.detach().clone() for agent in agents for parameter in agent.parameters()]


def moments(algo):
    return [
        state[name].clone()
        for optimizer in (algo.policy_optimizer, algo.critic_optimizer)
        for group in optimizer.param_groups
        for parameter in group["params"]
        for state in [optimizer.state.get(parameter, {})]
        for name in sorted(state)
        if isinstance(state[name], torch.Tensor)
    ]


def all_engines(change, agents="separate", before=1, after=1, **options):
    """Weights and moments of each engine after updates, `change(algo)`, and more updates.

    They must be those of torch's optimisers; the change must have made a difference to them.
    """
    results = {}
    for engine in (*ENGINES, "unchanged"):
        algo = algorithm("plain" if engine == "unchanged" else engine, agents, **options)
        torch.manual_seed(1)  # what `change` makes is the same for all
        for number, rollout in enumerate(rollouts(algo, before + after)):
            if number == before and engine != "unchanged":
                change(algo)
            algo.update(rollout)
        algo.close()
        results[engine] = algo
    expected = weights(results["plain"])
    for engine in ("flat", "compiled"):
        torch.testing.assert_close(weights(results[engine]), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            moments(results[engine]), moments(results["plain"]), rtol=1e-3, atol=1e-5
        )
    assert [w.shape for w in expected] != [w.shape for w in weights(results["unchanged"])] or any(
        (one - other).abs().max() > 1e-4
        for one, other in zip(expected, weights(results["unchanged"]), strict=True)
    ), "the change made no difference"
    return results
