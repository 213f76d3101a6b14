"""PPO in one file, to hold in the head: CartPole-v1 with torch and Gymnasium alone.

    python examples/ppo_in_one_file.py --seed 1

It takes the same actions as the package with the same seed, and ends with the same weights; a test
compares the two. T is time, B the environments, N the transitions of a rollout.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

N_ENVS, N_STEPS, ITERATIONS = 8, 32, 390
EPOCHS, BATCH_SIZE, CLIP_RANGE, MAX_GRAD_NORM = 10, 256, 0.2, 0.5
GAMMA, LAMBDA, ENTROPY_COEF, LR = 0.98, 0.8, 2e-7, 1e-3


def stream(seed: int, use: int) -> int:
    """The seed of one use of chance: 0 weights, 1 actions, 2 minibatches. All are independent."""
    words = np.random.SeedSequence(seed, spawn_key=(use, 0)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def network(*sizes: int, output_gain: float) -> nn.Sequential:
    """Linear layers with orthogonal weights, ReLU between them."""
    layers: list[nn.Module] = []
    for i, (n_inputs, n_outputs) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        layer = nn.Linear(n_inputs, n_outputs)
        nn.init.orthogonal_(layer.weight, output_gain if last else 2**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer] if last else [layer, nn.ReLU()]
    return nn.Sequential(*layers)


def gae(reward: Tensor, value: Tensor, terminated: Tensor, done: Tensor) -> Tensor:
    """Advantages, [T, B], of transitions t → t+1; `value` has one row more than the others.

    Two masks: a terminal state is worth nothing, and no trace leads from one episode to the next.
    """
    delta = reward + GAMMA * value[1:] * ~terminated - value[:-1]
    advantage = delta.clone()
    for t in reversed(range(len(delta) - 1)):
        advantage[t] += GAMMA * LAMBDA * ~done[t] * advantage[t + 1]
    return advantage


def learn(
    policy: nn.Module,
    critic: nn.Module,
    optimizers: list[torch.optim.AdamW],
    batch: list[Tensor],
    generator: torch.Generator,
) -> None:
    """Several passes over the transitions, each of them once in a pass."""
    n = len(batch[0])
    n_minibatches = -(-n // BATCH_SIZE)
    for _ in range(EPOCHS):
        order = torch.arange(n)
        if n_minibatches > 1:
            order = torch.randperm(n, generator=generator)
        for index in order.tensor_split(n_minibatches):
            obs, action, old_log_prob, advantage, target = (tensor[index] for tensor in batch)
            log_probs = policy(obs).log_softmax(-1)
            entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
            log_prob = log_probs.gather(-1, action[:, None]).squeeze(-1)
            ratio = (log_prob - old_log_prob).exp()
            clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
            policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
            value_loss = (critic(obs).squeeze(-1) - target).square().mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            (policy_loss - ENTROPY_COEF * entropy + value_loss).backward()
            for net, optimizer in zip((policy, critic), optimizers, strict=True):
                nn.utils.clip_grad_norm_(net.parameters(), MAX_GRAD_NORM)
                optimizer.step()


def train(seed: int, iterations: int = ITERATIONS) -> Iterator[dict[str, object]]:
    """Train, and yield what each iteration did."""
    envs = gym.make_vec("CartPole-v1", N_ENVS, vectorization_mode="vector_entry_point")
    torch.manual_seed(stream(seed, 0))
    policy = network(4, 64, 64, 2, output_gain=0.01)  # at first, both actions are about as likely
    critic = network(4, 64, 64, 1, output_gain=1.0)
    optimizers = [torch.optim.AdamW(net.parameters(), lr=LR, eps=1e-5) for net in (policy, critic)]
    for_actions = torch.Generator().manual_seed(stream(seed, 1))
    for_minibatches = torch.Generator().manual_seed(stream(seed, 2))
    env_seed = np.random.SeedSequence(seed, spawn_key=(3, 0)).generate_state(1)[0] & 0x7FFFFFFF
    observation, _ = envs.reset(seed=int(env_seed))
    done, episode_return = np.zeros(N_ENVS, bool), np.zeros(N_ENVS)

    for _ in range(iterations):
        # Collect. Row t: an observation, the action taken in it, and how the step to it ended.
        # After the last row of an episode comes the first one of the next; no transition is there.
        noise = torch.empty(N_STEPS + 1, N_ENVS, 2).exponential_(generator=for_actions).log().neg()
        rows: dict[str, list[Tensor]] = {"obs": [], "action": [], "reward": [], "terminated": []}
        dones, returns = [torch.tensor(done)], []
        for t in range(N_STEPS + 1):
            obs = torch.as_tensor(np.array(observation), dtype=torch.float32)
            with torch.no_grad():  # the Gumbel-max trick: a sample of softmax(logits)
                action = (policy(obs) + noise[t]).argmax(-1)
            rows["obs"].append(obs)
            rows["action"].append(action)
            if t < N_STEPS:
                observation, reward, terminated, truncated, _ = envs.step(action.numpy())
                reward[done] = 0  # a reset is no step
                episode_return = np.where(done, 0, episode_return) + reward
                done = terminated | truncated
                returns += list(episode_return[done])
                rows["reward"].append(torch.tensor(reward, dtype=torch.float32))
                rows["terminated"].append(torch.tensor(terminated))
                dones.append(torch.tensor(done))
        obs, action, reward, terminated = (torch.stack(rows[name]) for name in rows)
        ended = torch.stack(dones)

        # Targets, under the weights that acted.
        with torch.no_grad():
            value = critic(obs).squeeze(-1)
            log_prob = policy(obs).log_softmax(-1).gather(-1, action[..., None]).squeeze(-1)
        advantage = gae(reward, value, terminated, ended[1:])
        valid = ~ended[:-1]
        target = advantage + value[:-1]
        batch = [x[:N_STEPS][valid] for x in (obs, action, log_prob, advantage, target)]
        learn(policy, critic, optimizers, batch, for_minibatches)
        yield {
            "policy": policy,
            "critic": critic,
            "actions": action,
            "returns": returns,
        }
    envs.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    torch.set_num_threads(1)  # networks this small do not repay a second one
    recent: list[float] = []
    for i, done_so_far in enumerate(train(parser.parse_args().seed)):
        recent = [*recent, *done_so_far["returns"]][-20:]  # type: ignore[misc]
        if i % 20 == 19:
            steps = (i + 1) * N_ENVS * N_STEPS
            print(f"{steps:6,} steps: mean return of the last episodes {np.mean(recent):.1f}")
