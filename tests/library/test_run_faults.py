"""NaN and infinity in a run: named, before a weight changes, with a file that shows it again."""

import math
import random
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents.networks import no_numbers
from ppo_bbrl.cli.commands import main
from ppo_bbrl.fast import compiled
from ppo_bbrl.ppo import TrainingFailedError
from ppo_bbrl.runs.archives import read_archive
from ppo_bbrl.runs.best_policy import load_policy


class Faulty(gym.Env):
    """One of its environments gives one number that is none, in its 40th step."""

    observation_space = Box(-1, 1, (3,), np.float32)
    made = 0

    def __init__(self, what="reward", value=0.0, which=2, continuous=False):
        self.what, self.value, self.steps = what, float(value), 0
        self.number, Faulty.made = Faulty.made % 4, Faulty.made + 1
        self.is_wrong = self.number == which
        self.action_space = Box(-1, 1, (2,), np.float32) if continuous else Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.random(3, dtype=np.float32), {}

    def step(self, action):
        self.steps, self.t = self.steps + 1, self.t + 1
        observation = self.np_random.random(3, dtype=np.float32)
        reward = float(self.np_random.random())
        if self.is_wrong and self.steps == 40:
            if self.what == "observation":
                observation[1] = self.value
            else:
                reward = self.value
        return observation, reward, False, self.t >= 7, {}


gym.register("Faulty-v0", Faulty, disable_env_checker=True)


def settings(compiling="never", optimizer=None, **env_args):
    Faulty.made = 0
    return {
        "base_dir": "run",
        "save_every": 1,
        "gym_env": {"env_name": "Faulty-v0", "env_args": env_args, "vectorization": "sync"},
        "algorithm": {
            "n_envs": 4, "n_steps": 16, "max_epochs": 6, "nb_evals": 4, "eval_interval": 40,
            "max_eval_steps": 6, "opt_epochs": 2, "batch_size": 32,
            "architecture": {"actor_hidden_size": [8], "critic_hidden_size": [8]},
        },
        "optimizer": {"classname": "torch.optim.Adam", "lr": 1e-3} | (optimizer or {}),
        "compute": {"compile": compiling, "threads": 1},
    }  # fmt: skip


def failing(cfg):
    algo = PPOClip(cfg)
    with pytest.raises(TrainingFailedError) as failed:
        run(algo)
    algo.close()
    return algo, failed.value


@pytest.mark.filterwarnings("ignore:evaluation on", "ignore:invalid value")
@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("continuous", [False, True])
def test_what_an_environment_gives_is_named(what, value, continuous):
    """Environment, variable and step; nothing has learned from it."""
    algo, error = failing(settings(what=what, value=value, continuous=continuous))
    assert str(error).startswith(f"environment 2 of 4 (Faulty-v0): its {what} is {value:g} in step")
    assert "in step 5 of its episode" in str(error)
    assert "(rollout 3)" in str(error)
    assert not no_numbers(algo.train_policy)
    assert all(map(torch.equal, algo.train_policy.parameters(), algo.eval_policy.parameters()))
    for which in ("best", "last"):
        assert load_policy(f"outputs/run/{which}").steps > 0
    assert "replay-fault" in error.__notes__[0]
    rows = read_archive(Path("outputs/run/fault.pt"))["rows"]
    wrong = rows["env/env_obs"][-1, 1] if what == "observation" else rows["env/reward"][-1]
    assert not wrong.isfinite()


@pytest.mark.filterwarnings("ignore:evaluation on", "ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("compiling", ["never", "always"])
@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_losses_and_gradients_that_are_no_numbers_change_no_weight(compiling, kind, monkeypatch):
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    cfg = settings(compiling, {"classname": f"torch.optim.{kind}", "lr": 1e30})
    algo, error = failing(cfg)
    assert "Faulty-v0: " in str(error)
    assert "is optimizer.lr too large" in str(error)
    agents = (algo.train_policy, algo.critic_agent)
    assert not [name for agent in agents for name in no_numbers(agent)]
    for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
        for moments in optimizer.state_dict()["state"].values():
            assert all(torch.isfinite(one).all() or kind == "RMSprop" for one in moments.values())


@pytest.mark.filterwarnings("ignore:evaluation on", "ignore:invalid value")
@pytest.mark.parametrize("comes", [True, False])
def test_the_moment_comes_again(comes, monkeypatch, capsys):
    """From the last checkpoint on; one that does not come is told."""
    _, error = failing(settings(what="observation", value=math.nan))
    if not comes:
        monkeypatch.setattr(PPOClip, "_check_rows", lambda *_: None)
    Faulty.made = 0
    monkeypatch.setattr(sys, "argv", ["ppo-bbrl", "replay-fault", "outputs/run/fault.pt"])
    before = sorted(Path("outputs").rglob("*"))
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    assert "from the state after 2 rollouts" in told.out
    assert sorted(Path("outputs").rglob("*")) == before
    if comes:
        assert not end.value.code, told
        assert "The fault occurred again, after" in told.out
        assert told.out.count(str(error)) == 2
    else:
        assert end.value.code == 1
        assert "the fault did not occur again: Faulty-v0: " in told.err


def test_a_file_that_holds_no_fault(monkeypatch, capsys):
    chance = random.Random(0)
    for content in (b"", b"PK", chance.randbytes(500)):
        Path("fault.pt").write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["ppo-bbrl", "replay-fault", "fault.pt"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        assert "fault.pt: not a fault of ppo-bbrl, or a damaged file" in capsys.readouterr().err
    Path("fault.pt").unlink()
    with pytest.raises(SystemExit):
        main()
    assert "fault.pt: No such file or directory" in capsys.readouterr().err
