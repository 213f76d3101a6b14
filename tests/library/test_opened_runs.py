"""`eval` and `replay`: the task and the policy of the run, or one line that says why not."""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from command_line import call
from gymnasium.spaces import Box, Discrete
from probe_envs import config

from ppo_bbrl.ppo import PPOClip, run
from ppo_bbrl.runs.best_policy import load_policy


class Signs(gym.Env):
    """Rewards the action that is the sign of what is seen."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - as in Gymnasium

    def __init__(self, size=1, render_mode=None):
        self.render_mode = render_mode
        if size > 1:
            self.observation_space = Box(-1, 1, (size,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = float(self.np_random.choice([-1.0, 1.0]))
        return self.see(), {}

    def step(self, action):
        return self.see(), float(int(action) == int(self.x > 0)), True, False, {}

    def see(self):
        return np.full(self.observation_space.shape, self.x, np.float32)

    def render(self):
        return np.full((32, 32, 3), 128, np.uint8)


class Negated(gym.ObservationWrapper):
    def observation(self, observation):
        return -observation


gym.register("Signs-v0", Signs)


def learned(wrappers=(), **gym_env):
    """The run of a policy that has learned the signs."""
    cfg = config("Signs", n_envs=8, n_steps=32, max_epochs=20, eval_interval=500, nb_evals=20)
    cfg["gym_env"] = {"env_name": "Signs-v0", "wrappers": list(wrappers), **gym_env}
    cfg["optimizer"]["lr"] = 1e-2
    return cfg


def evaluated(monkeypatch, capsys, *words):
    status, out, err = call(monkeypatch, capsys, "eval", *words, "--episodes", 20)
    assert status == 0, err
    return float(out.split("greedy return")[1].split()[0])


def test_the_wrappers_of_a_run_are_there_when_it_is_opened(monkeypatch, capsys):
    """Else it is evaluated on another task, without a word."""
    algo = PPOClip(
        learned([{"ClipReward": {"min_reward": 0, "max_reward": 0.75}}]),
        env_wrappers=[gym.wrappers.RecordEpisodeStatistics],
    )
    run(algo)
    algo.close()
    assert algo.best_reward == 0.75
    assert evaluated(monkeypatch, capsys, algo.base_dir) == 0.75
    status, _, err = call(monkeypatch, capsys, "replay", algo.base_dir)
    assert status == 0, err


def test_a_wrapper_that_no_file_can_name(monkeypatch, capsys):
    """Refused: without it, this policy would be evaluated at 0."""
    algo = PPOClip(learned(), env_wrappers=[Negated])
    run(algo)
    algo.close()
    for command in ("eval", "replay"):
        status, _, err = call(monkeypatch, capsys, command, algo.base_dir)
        assert status == 1
        assert "test_opened_runs.Negated" in err
        assert "env_wrappers=[Negated]" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("which", ["", "best", "last"])
def test_a_run_or_one_of_its_policies(which, monkeypatch, capsys):
    """And the video goes to the run, not into the folder of the policy."""
    algo = PPOClip(config("Logged", eval_interval=10))
    run(algo)
    algo.close()
    path = algo.base_dir / which
    steps = load_policy(algo.base_dir / (which or "best")).steps
    status, out, err = call(monkeypatch, capsys, "eval", path, "--episodes", 2)
    assert status == 0, err
    assert f"{which or 'best'} policy after {steps:,} steps" in out
    status, _, err = call(monkeypatch, capsys, "replay", path)
    assert status == 0, err
    name = "replay-last.mp4" if which == "last" else "replay.mp4"  # neither takes the other's place
    assert [file.name for file in (algo.base_dir / "video").iterdir()] == [name]
    assert not (path / "video").exists() or not which
    monkeypatch.chdir(path)
    assert call(monkeypatch, capsys, "eval", ".", "--episodes", 2)[0] == 0


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_the_vectorization_of_a_run_is_there_when_it_is_opened(monkeypatch, capsys):
    made = []

    def spy(*args, vectorization="auto", **kwargs):
        made.append(vectorization)
        return make(*args, vectorization=vectorization, **kwargs)

    from ppo_bbrl.envs import agent as envs

    make = envs.make_vector_env
    algo = PPOClip(learned(vectorization="async"))
    algo.evaluate(force=True)
    algo.save_best()
    algo.close()
    monkeypatch.setattr(envs, "make_vector_env", spy)
    evaluated(monkeypatch, capsys, algo.base_dir)
    assert made == ["async"], "one set of environments, as in the run, and none to learn its spaces"


def test_a_task_that_has_changed_since(monkeypatch, capsys):
    """One line with both spaces, and no word of agents of one's own."""
    algo = PPOClip(learned())
    algo.evaluate(force=True)
    folder = algo.save_best()
    algo.close()
    config_file = folder / "config.yaml"
    text = config_file.read_text().replace("env_args: {}", "env_args: {size: 3}")
    config_file.write_text(text.partition("\n")[2])  # without its seal
    for command in ("eval", "replay"):
        status, _, err = call(monkeypatch, capsys, command, folder)
        assert status == 1
        assert err.count("\n") == 1
        assert "(3,)" in err
        assert "(1,)" in err
        assert "your own" not in err


def test_what_is_no_longer_there(monkeypatch, capsys):
    """The module of a task that a run names: its own line, not one about the policy."""
    Path("gone.py").write_text(
        "import gymnasium as gym\nfrom test_opened_runs import Signs\n"
        "gym.register('Gone-v0', Signs)\n"
    )
    monkeypatch.syspath_prepend(Path.cwd())
    algo = PPOClip(learned(env_name="gone:Gone-v0"))
    algo.evaluate(force=True)
    folder = algo.save_best()
    algo.close()
    Path("gone.py").unlink()
    del sys.modules["gone"]
    status, _, err = call(monkeypatch, capsys, "eval", folder)
    assert status == 1
    assert err.count("\n") == 1
    assert "gone:Gone-v0" in err
    assert "your own" not in err
