"""What torchrun starts in tests/library/test_distributed.py: each checks something and says so."""

import os
import signal
import sys
from dataclasses import replace

import torch
import torch.distributed as dist

from ppo_bbrl import PPOClip, run
from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.distributed import DistributedPPO, DistributedUpdate, Processes
from ppo_bbrl.update import Objective, Update

TASK = {
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {"n_envs": 4, "n_steps": 16, "max_epochs": 4, "eval_interval": 30, "nb_evals": 2},
}


def with_keys(**keys):
    return {**TASK, "algorithm": {**TASK["algorithm"], **keys}}


def say(what):
    print(f"process {os.environ['RANK']}: {what}", flush=True)


def same_everywhere(value):
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return all(each == values[0] for each in values)


def coefficients():
    return Coefficients(clip_range=0.2, clip_range_vf=0.2)


def one_equals_several():
    """An update by two processes with half of the transitions each is one with all of them."""
    processes = Processes.join()
    cfg = with_keys(normalize_advantage=True, batch_size=0, opt_epochs=3, n_envs=6)
    alone = PPOClip(cfg)
    workspace = next(iter(alone.iter_partial_episodes(17)))
    rollout = alone.record(workspace)
    n = len(rollout)
    cut = n // 3  # not halves: the weights of the processes differ
    mine = torch.arange(cut) if processes.rank == 0 else torch.arange(cut, n)
    many = PPOClip(cfg)
    generator = torch.Generator().manual_seed(0)
    whole = Objective(alone._learners(), alone._settings, alone.losses)
    expected = Update()(rollout, whole, coefficients=coefficients(), generator=generator)
    many._settings = replace(many._settings, normalize_advantage=False)
    update = DistributedUpdate(processes, normalize_advantage=True)
    part = Objective(many._learners(), many._settings, many.losses)
    found = update(rollout.select(mine), part, coefficients=coefficients(), generator=generator)
    for agent in ("train_policy", "critic_agent"):
        pairs = zip(
            getattr(alone, agent).parameters(), getattr(many, agent).parameters(), strict=True
        )
        assert all(torch.allclose(a, b, atol=1e-6, rtol=0) for a, b in pairs), agent
    for name in ("approx_kl", "entropy_loss", "clip_fraction", "critic_loss", "grad_norm/policy"):
        torch.testing.assert_close(
            found.metrics[name].float(), expected.metrics[name].float(), atol=1e-5, rtol=1e-4
        )
    alone.close()
    many.close()
    say("equal")


def same_weights():
    """With everything that statistics and decisions depend on."""
    processes = Processes.join()
    keys = {
        "normalize_advantage": True, "normalize_observation": True, "normalize_reward": True,
        "normalize_value": True, "target_kl": 1e-4, "learning_rate_schedule": "adaptive_kl",
        "kl_target": 0.01, "batch_size": 20, "recompute_advantage": True, "max_epochs": 6,
    }  # fmt: skip
    algo = DistributedPPO({**with_keys(**keys), "base_dir": "same"}, processes)
    assert algo.train_env.num_envs == 4 // processes.size
    first = None
    for workspace in algo.iter_partial_episodes(17):
        first = first if first is not None else workspace["env/env_obs"].clone()
        report = algo.update(algo.record(workspace))
        algo.log(workspace, report, 1.0, 1)
        algo.evaluate()
        assert same_everywhere(algo.checksum())
        assert same_everywhere(report.n_minibatches)
        assert same_everywhere(algo.nb_steps)
        state = {**algo.train_policy.state_dict(), **algo.critic_agent.state_dict()}
        assert same_everywhere([float(each.double().sum()) for each in state.values()])
    assert not same_everywhere(first.tolist())  # each has its own episodes
    algo.close()
    say("same")


def killed():
    algo = DistributedPPO(with_keys(max_epochs=100_000), Processes.join())
    for workspace in algo.iter_partial_episodes(17):
        algo.update(algo.record(workspace))
        if algo.epoch == 3 and algo.processes.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def files():
    """Only the first process writes."""
    algo = DistributedPPO({**TASK, "base_dir": "together"}, Processes.join())
    run(algo)
    kept = algo.processes.rank == 0
    assert (algo.best_policy is not None) == kept
    algo.close()
    say("done")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        globals()[name]()
