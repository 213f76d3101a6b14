"""The answers to the quiz of notebook 02, computed with the package's GAE and its corridor."""

import torch

from ppo_bbrl import Agent, Agents, TemporalAgent, Workspace
from ppo_bbrl.advantages import gae, lambda_returns
from ppo_bbrl.envs import EnvAgent
from ppo_course.nb02_values.trajectories import cases
from ppo_course.probes import corridor_values, register_probes
from quiz import nearest, the_one

GAMMA = 0.95


class CoinTosser(Agent):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, t, **kwargs):
        cell = self.get(("env/env_obs", t))
        self.set(("action", t), torch.randint(2, cell.shape, generator=self.generator))


def walk(n_rows):
    register_probes()
    workspace = Workspace()
    agent = Agents(EnvAgent("Corridor-v0", 16).seed(0), CoinTosser())
    TemporalAgent(agent)(workspace, t=0, n_steps=n_rows)
    return workspace["env/env_obs", "env/reward", "env/terminated", "env/done"]


def question_1():
    yes, no = torch.tensor([[True]]), torch.tensor([[False]])
    delta = gae(
        reward=torch.tensor([[1.0]]), value=torch.tensor([[10.0]]),
        next_value=torch.tensor([[10.0]]), terminated=no, done=yes,
        discount_factor=0.9, gae_lambda=0.95,
    )  # fmt: skip
    return nearest(float(delta), a=-9, b=0, c=1, d=-10)


def question_2():
    case = cases(1)[0]
    right = case.aligned()
    of_the_reset = torch.where(
        right["done"], torch.cat((case.value[2:], case.value[-1:])), right["next_value"]
    )

    def harmless(**mistake):
        estimates = [
            gae(**(right | change), discount_factor=GAMMA, gae_lambda=0.0)
            for change in ({}, mistake)
        ]
        return torch.equal(*(estimate[case.valid] for estimate in estimates))

    return the_one(
        a=harmless(terminated=right["done"]),
        b=harmless(next_value=of_the_reset),
        c=harmless(done=right["terminated"]),
    )


def question_3():
    cell, reward, terminated, done = walk(4001)
    value = corridor_values(GAMMA)[cell]

    def mean_error_and_spread(gae_lambda):
        advantage = gae(
            reward=reward[1:], value=value[:-1], next_value=value[1:],
            terminated=terminated[1:], done=done[1:],
            discount_factor=GAMMA, gae_lambda=gae_lambda,
        )  # fmt: skip
        of_cells = [advantage[~done[:-1] & (cell[:-1] == k)] for k in range(1, 9)]
        return (
            torch.stack([numbers.mean() for numbers in of_cells]).abs().max(),
            torch.stack([numbers.std() for numbers in of_cells]).mean(),
        )

    (mean_0, spread_0), (mean_1, spread_1) = map(mean_error_and_spread, (0.0, 0.95))
    mean_changes, spread_changes = bool(abs(mean_1 - mean_0) > 0.5), bool(spread_1 > 1.5 * spread_0)
    return the_one(
        a=mean_changes and spread_changes,
        b=mean_changes and not spread_changes,
        c=spread_changes and not mean_changes,
        d=not spread_changes and not mean_changes,
    )


def question_4():
    cells, rewards, terminals, dones = walk(150 * 32 + 1)
    table = torch.zeros(9)
    late = []
    for start in range(0, len(cells) - 1, 32):
        rows = slice(start, start + 33)
        cell, reward, done = cells[rows], rewards[rows], dones[rows]
        value = table[cell]
        advantage = gae(
            reward=reward[1:], value=value[:-1], next_value=value[1:],
            terminated=torch.zeros_like(terminals[rows][1:]), done=done[1:],
            discount_factor=GAMMA, gae_lambda=0.95,
        )  # fmt: skip
        target = lambda_returns(advantage=advantage, value=value[:-1])
        kept = ~done[:-1]
        seen, error = cell[:-1][kept], (target - value[:-1])[kept]
        table = table + 2 * torch.bincount(seen, error, minlength=9) / len(seen)
        late.append(table)
    off = (torch.stack(late[100:]).mean(0) - corridor_values(GAMMA))[1:]
    return the_one(
        a=bool(off[0] > 1),
        b=bool((off.abs() < 1).all()),
        c=bool((off < -1).all()),
    )


def question_5():
    reward = torch.zeros(10, 1, requires_grad=True)
    zeros, done = torch.zeros(10, 1), torch.zeros(10, 1, dtype=torch.bool)
    done[4] = True
    advantage = gae(
        reward=reward, value=zeros, next_value=zeros,
        terminated=torch.zeros_like(done), done=done, discount_factor=GAMMA, gae_lambda=0.95,
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(advantage[1, 0], reward)
    return nearest(int((gradient != 0).sum()), a=1, b=3, c=4, d=9)
