"""Policy and critic on one trunk, inside BBRL: CartPole-v1 learned by PPOClip.

The model is a module whose `forward(x)` gives (distribution, value), as for Lightning; with
`--ppo2` it is the PPO2 of torch.hub.

    python examples/shared_trunk_cartpole.py --seed 1
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from ppo_bbrl import PPOClip, load_config, run, shared_agents
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.hub import PPO2

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "cartpole_shared.yaml"


class Model(nn.Module):
    """Distribution and value on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(build_ortho_mlp([4, 64, 64], "tanh"), nn.Tanh())
        self.actor = build_ortho_mlp([64, 2], output_gain=0.01)
        self.critic = build_ortho_mlp([64, 1], output_gain=1.0)

    def forward(self, x: Tensor) -> tuple[Categorical, Tensor]:
        """π(·|s) and V(s), [N], from observations [N, 4]."""
        latent = self.trunk(x)
        return Categorical(logits=self.actor(latent)), self.critic(latent).flatten()


def train(seed: int, *, ppo2: bool = False, overrides: tuple[str, ...] = ()) -> PPOClip:
    """Train; the algorithm, with its best policy."""
    torch.manual_seed(seed)
    model: nn.Module = Model()
    if ppo2:
        model = PPO2(input_dim=4, hidden_dim=64, action_space=2)
        model.reset_parameters()
    policy, critic = shared_agents(model)
    cfg = load_config(CONFIG, [f"algorithm.seed={seed}", *overrides])
    ppo_clip = PPOClip(cfg, train_policy=policy, critic_agent=critic)
    run(ppo_clip)
    return ppo_clip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ppo2", action="store_true")
    arguments = parser.parse_args()
    trained = train(arguments.seed, ppo2=arguments.ppo2)
    print(f"best mean return {trained.best_reward:.1f} of {trained.nb_steps:,} steps")
    trained.visualize_best()
