"""The answers to the quiz of notebook 07, computed with torch and the package's rollouts."""

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ppo_bbrl import PPOClip
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.sequences import Sequences
from ppo_course.nb07_memory.leaks import PARTS, Case, formula
from ppo_course.nb07_memory.suspects import suspects
from quiz import the_one


def algorithm(**parts):
    algorithm = {"n_envs": 4, "n_steps": 16, "seed": 1, "opt_epochs": 2}
    cfg = {
        "gym_env": {"env_name": "CartPole-v1", "wrappers": ["MaskVelocity"]},
        "algorithm": {**algorithm, "architecture": {"memory": "gru", "memory_size": 8}},
        "compute": {"compile": "never"},
    }
    return PPOClip(OmegaConf.create(cfg), **parts)


def question_1():
    rows = torch.arange(32).unsqueeze(-1) + 100 * torch.arange(8)  # says row and environment
    whole = Sequences({}, *([rows.float()] * 4), torch.ones(32, 8, dtype=torch.bool))
    batches = list(whole.minibatches(64, torch.Generator().manual_seed(0)))
    n_rows, n_envs = batches[0].value.shape
    return the_one(
        a=any(not torch.equal(batch.value[:, 0] % 100, torch.arange(32.0)) for batch in batches),
        b=(n_rows, n_envs, len(batches)) == (32, 2, 4),
        c=n_envs == 64,
        d=(n_rows, n_envs) == (8, 8),
    )


def question_2():
    algo = algorithm()
    memories: list[Tensor] = []
    first = []
    for workspace in algo.iter_partial_episodes(17):
        rows = workspace["current_policy/memory"]
        if memories:
            goes_on = workspace["env/timestep"][0] > 0
            obs = workspace["env/env_obs"][0, goes_on]
            new = algo.train_policy.memory.after(obs, torch.zeros(len(obs), 8)).detach()
            first = rows[0, goes_on]
            last = memories[-1][goes_on]
            break
        memories.append(rows[16])
        algo.update(algo.record(workspace))
    algo.close()
    return the_one(
        a=not first.any(), b=torch.allclose(first, new), c=len(first) and torch.equal(first, last)
    )


def question_3():
    torch.manual_seed(0)
    memory = Memory("gru", 3, 8)
    obs = torch.randn(16, 1, 3, requires_grad=True)

    def gradient(*rows):
        begins = torch.zeros(16, 1, dtype=torch.bool)
        begins[list(rows)] = True
        features = memory.over(obs, torch.zeros(1, 8), begins)
        return torch.autograd.grad(features[12].sum(), obs)[0][5]

    cut, whole = gradient(8), gradient()
    return the_one(
        a=not cut.any(),
        b=torch.equal(cut, whole),
        c=bool(cut.any()) and not torch.equal(cut, whole),
    )


def question_4():
    algo = algorithm(train_policy=suspects(4, 2)["C"])
    error, finite, found = False, True, 0
    try:
        for n, workspace in enumerate(algo.iter_partial_episodes(17)):
            memory, timestep = workspace["current_policy/memory"][:17], workspace["env/timestep"]
            right = [part.right for part in PARTS]
            found += int(formula(Case(memory[1:], timestep[1:]), right).sum())
            algo.update(algo.record(workspace))
            finite &= all(weight.isfinite().all() for weight in algo.train_policy.parameters())
            if n == 3:
                break
    except RuntimeError:
        error = True
    algo.close()
    return the_one(a=error, b=not finite, c=not error and finite and found > 0)
