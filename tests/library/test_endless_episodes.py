"""Episodes without an end: evaluations and videos have one, with a line, and memory stays."""

import gc
import tracemalloc

import gymnasium as gym
import numpy as np
import pytest
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.evaluation import evaluate
from ppo_course.probes import Probe


class Endless(Probe):
    """Never ends, and draws a picture."""

    length = 10**9
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium

    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        return np.zeros((32, 32, 3), np.uint8)


gym.register("TestEndless-v0", Endless, disable_env_checker=True)


def test_evaluation_and_video_end_at_the_limit_and_say_so(capsys):
    cfg = config("TestEndless-v0", max_epochs=2, n_steps=16, eval_interval=10, n_envs=2)
    cfg["algorithm"]["max_eval_steps"] = 20
    algo = PPOClip(cfg | {"compute": {"compile": "never"}})
    with pytest.warns(UserWarning, match=r"ended after 20 steps.*max_eval_steps"):
        run(algo)
    capsys.readouterr()
    path = algo.record_best()
    told = capsys.readouterr().out
    algo.close()
    assert path.is_file()
    assert "20 steps" in told
    assert "still running" in told
    assert told.count("\n") == 1


def test_memory_does_not_grow_with_an_evaluation():
    algo = PPOClip(config("TestEndless-v0", max_epochs=1, n_steps=8))
    env = EnvAgent("TestEndless-v0", 2, autoreset=False)
    peaks = []
    for steps in (20, 40, 240):  # the first one fills caches
        gc.collect()
        tracemalloc.start()
        with pytest.warns(UserWarning, match="still running"):
            evaluate(algo.train_policy, env, np.random.SeedSequence(0), max_steps=steps)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    env.close()
    algo.close()
    assert peaks[2] < peaks[1] + 15_000, "bytes; 200 rows are more"
