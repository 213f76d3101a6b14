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
from ppo_bbrl.fast.engines import eager_engine
from ppo_bbrl.update import Objective, Update

TASK = {
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {"n_envs": 4, "n_steps": 16, "max_epochs": 4, "eval_interval": 30, "nb_evals": 2},
}
# All that has statistics, and decides by what it measures.
STATISTICS = {
    "normalize_advantage": True, "normalize_observation": True, "normalize_reward": True,
    "normalize_value": True, "target_kl": 1e-4, "learning_rate_schedule": "adaptive_kl",
    "kl_target": 0.01, "recompute_advantage": True, "curiosity": "rnd", "opt_epochs": 3,
}  # fmt: skip
MEMORY = {
    "architecture": {"memory": "lstm", "actor_hidden_size": [8], "critic_hidden_size": [8]},
    "batch_size": 32, "normalize_advantage": True, "normalize_value": True, "opt_epochs": 2,
}  # fmt: skip


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


def close_to(mine, other, atol=1e-6):
    return all(
        torch.allclose(a, b, atol=atol, rtol=1e-6)
        for a, b in zip(mine.values(), other.values(), strict=True)
        if isinstance(a, torch.Tensor) and a.is_floating_point()
    )


def one_equals_several():
    """An update by two processes with parts of the transitions is one with all of them."""
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
    engine = eager_engine(many._learners())
    update = DistributedUpdate(processes, engine, normalize_advantage=True)
    part = Objective(many._learners(), many._settings, many.losses)
    found = update(rollout.select(mine), part, coefficients=coefficients(), generator=generator)
    for agent in ("train_policy", "critic_agent"):
        pair = (getattr(algo, agent).state_dict() for algo in (alone, many))
        assert close_to(*pair), agent
    assert found.metrics.keys() == expected.metrics.keys()
    for name, value in expected.metrics.items():
        torch.testing.assert_close(
            found.metrics[name].float(), value.float(), atol=1e-5, rtol=1e-4, msg=name
        )
    alone.close()
    many.close()
    say("equal")


def whole_iterations_are_those_of_one():
    """With half of the environments each: weights, statistics, what is measured and decided."""
    processes = Processes.join()
    for keys in (STATISTICS, MEMORY):
        # A minibatch of everything: other ones are drawn by each process for itself.
        cfg = with_keys(**{**keys, "batch_size": 0, "target_kl": 1e-3, "max_epochs": 2})
        alone, many = PPOClip(cfg), DistributedPPO(cfg, processes)
        share = 4 // processes.size
        columns = torch.arange(share) + processes.rank * share
        for workspace in alone.iter_partial_episodes(17):
            part = workspace.select_batch(columns)
            reports = [
                algo.update(algo.record(rows)) for algo, rows in ((alone, workspace), (many, part))
            ]
            for agent in ("train_policy", "critic_agent"):
                pair = (getattr(algo, agent).state_dict() for algo in (alone, many))
                assert close_to(*pair, atol=2e-6), agent
            for kind in ("reward_scale", "curiosity"):
                scales = [algo.state_parts().get(kind) for algo in (alone, many)]
                if scales[0] is not None:
                    assert close_to(*(one.state_dict()["moments"] for one in scales))
            assert reports[0].n_minibatches == reports[1].n_minibatches
            assert reports[0].metrics.keys() == reports[1].metrics.keys()
            for name, value in alone._episodes(workspace).items():
                torch.testing.assert_close(many._episodes(part)[name], value)
        alone.close()
        many.close()
    say("as one")


def same_weights():
    """After each update, with everything that statistics and decisions depend on."""
    processes = Processes.join()
    for keys in ({**STATISTICS, "batch_size": 30}, MEMORY):
        cfg = {**with_keys(**{**keys, "max_epochs": 3}), "base_dir": "same", "save_every": 0}
        algo = DistributedPPO(cfg, processes)
        assert algo.train_env.num_envs == 4 // processes.size
        first = None
        for workspace in algo.iter_partial_episodes(17):
            first = first if first is not None else workspace["env/env_obs"].clone()
            report = algo.update(algo.record(workspace))
            algo.log(workspace, report, 1.0, 1)
            algo.evaluate()
            state = {**algo.train_policy.state_dict(), **algo.critic_agent.state_dict()}
            numbers = [float(each.double().sum()) for each in state.values()]
            metrics = {name: float(value) for name, value in report.metrics.items()}
            for value in (algo.checksum(), report.n_minibatches, algo.nb_steps, numbers):
                assert same_everywhere(value)
            assert same_everywhere(str(metrics))
        assert not same_everywhere(first.tolist())  # each has its own episodes
        algo.close()
    say("same")


def checkpoints():
    """A run that goes on from its checkpoint is the one that was never interrupted."""
    processes = Processes.join()
    cfg = {**with_keys(**{**STATISTICS, "max_epochs": 4}), "save_every": 2}
    whole = DistributedPPO({**cfg, "base_dir": "whole"}, processes)
    run(whole)
    short = DistributedPPO({**cfg, "base_dir": "short"}, processes)
    short.cfg.algorithm.max_epochs = 2
    run(short)
    for algo in (whole, short):
        algo.close()
    changes = ["algorithm.max_epochs=4"]
    again = DistributedPPO.resume("outputs/short", changes, processes=processes)
    assert again.next_iteration == 2
    run(again)
    assert again.checksum() == whole.checksum()
    assert again.nb_steps == whole.nb_steps
    again.close()
    if processes.rank:
        assert again.best_policy is None
        assert "folder" not in vars(whole)
    say("goes on")


def files():
    """Only the first process writes."""
    cfg = {**with_keys(opt_epochs=1), "base_dir": "together"}
    algo = DistributedPPO(cfg, Processes.join())
    run(algo)
    kept = algo.processes.rank == 0
    assert (algo.best_policy is not None) == kept
    algo.close()
    say("done")


def killed():
    algo = DistributedPPO(with_keys(max_epochs=100_000), Processes.join())
    for workspace in algo.iter_partial_episodes(17):
        algo.update(algo.record(workspace))
        if algo.epoch == 3 and algo.processes.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def goes_on_alone():
    """Whatever the number of processes was when `outputs/before` was saved."""
    processes = Processes.join()
    algo = DistributedPPO.resume("outputs/before", ["algorithm.max_epochs=8"], processes=processes)
    assert same_everywhere(algo.checksum())
    say(f"from {algo.next_iteration}, {algo.checksum():.12g}")
    run(algo)
    assert same_everywhere(algo.checksum())
    algo.close()


def restarted():
    """One process dies in the first attempt, after a checkpoint; and in the second, of its own."""
    cfg = {**with_keys(max_epochs=8), "base_dir": "restarted", "save_every": 2}
    algo = DistributedPPO.start(cfg, Processes.join())
    begins, attempt = algo.next_iteration, int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    for workspace in algo.iter_partial_episodes(17):
        algo.update(algo.record(workspace))
        algo.evaluate()
        if algo.epoch == 5 and attempt == 0 and algo.processes.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    say(f"attempt {attempt} began after {begins}, ended after {algo.next_iteration}")
    algo.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        globals()[name]()
