"""Replays: a video of one episode, or a window."""

from pathlib import Path

import bbrl.agents
import numpy as np
import pytest
import torch
from decoded_video import decode
from probe_envs import config, fresh_log

from ppo_bbrl import PPOClip
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.evaluation import play
from ppo_bbrl.runs.replay import record_video, watch


@pytest.fixture(autouse=True)
def log():
    return fresh_log()


class Always(bbrl.agents.Agent):
    def __init__(self, action):
        super().__init__()
        self.action = torch.tensor(action)

    def forward(self, t, **kwargs):
        rows = self.get(("env/env_obs", t)).shape[0]
        self.set(("action", t), self.action.expand(rows, *self.action.shape).clone())


def seeds(number=1):
    return np.random.SeedSequence(number)


def test_the_video_shows_every_state_of_the_episode(log):
    """First and last one included, at the speed of the environment, in a format browsers play."""
    path = record_video(
        Always(0), "Logged-v0", Path("a/b.c/video.mp4"), seeds=seeds(), max_steps=99
    )
    assert path == Path("a/b.c/video.mp4")
    pictures, facts = decode(path)
    assert len(pictures) == log.lengths[0] + 1
    (video,) = [line for line in facts.split("Output #0")[0].splitlines() if "Video:" in line]
    for fact in ("h264", "yuv420p", "48x32", "10 fps"):
        assert fact in video
    assert [path.name for path in Path("a/b.c").iterdir()] == ["video.mp4"]


def test_the_same_seeds_give_the_same_episode(log):
    """And `max_steps` ends one that would not end."""
    for number in (1, 1, 2):
        record_video(Always(0), "Logged-v0", Path(f"{len(log.returns)}.mp4"), seeds=seeds(number))
    assert log.returns[0] == log.returns[1] != log.returns[2]
    path = record_video(
        Always(0),
        "Logged-v0",
        Path("x.mp4"),
        seeds=seeds(),
        env_args={"ends": False},
        max_steps=8,
    )
    assert len(decode(path)[0]) == 9


def test_an_older_video_is_replaced():
    path = Path("video.mp4")
    path.write_text("old")
    record_video(Always(0), "Logged-v0", path, seeds=seeds())
    assert decode(path)[0].shape[1:] == (32, 48, 3)


@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")
def test_an_environment_without_pictures_is_an_error_in_one_line():
    """And neither a file nor an open environment is left."""
    with pytest.raises(Exception, match="Chance-v0 renders no images: it does not accept") as error:
        record_video(Always(0), "Chance-v0", Path("video.mp4"), seeds=seeds())
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)
    assert not list(Path().rglob("*.mp4"))


@pytest.mark.parametrize(
    ("env_name", "action", "size"),
    [("Pendulum-v1", [0.5], (500, 500)), ("CartPoleContinuous-v1", [0.1], (400, 600))],
)
def test_box_actions(env_name, action, size):
    """Clipped and shaped for the environment as in training."""
    path = record_video(Always(action), env_name, Path("video.mp4"), seeds=seeds(), max_steps=4)
    frames, _ = decode(path)
    assert frames.shape == (5, *size, 3)


def test_the_video_shows_the_best_policy_and_disturbs_nothing():
    """Not the present one; and training goes on as if there had been no video."""
    algo, other = (PPOClip(config("Logged", max_epochs=2)) for _ in range(2))
    used = []

    class Best(Always):
        def forward(self, t, **kwargs):
            used.append(t)
            torch.rand(3)
            super().forward(t, **kwargs)

    algo.best_policy = Best(2)
    state = torch.get_rng_state()
    path = algo.visualize_best()
    assert torch.equal(torch.get_rng_state(), state)
    assert path.is_file()
    assert used
    fresh_log()
    rows = next(algo.iter_partial_episodes())["action"]
    fresh_log()
    assert torch.equal(rows, next(other.iter_partial_episodes())["action"])
    algo.close()
    other.close()


def test_outside_a_notebook_the_path_is_said(capsys, monkeypatch):
    monkeypatch.setattr("ppo_bbrl.runs.replay.in_notebook", lambda: False)
    algo = PPOClip(config("Logged"))
    path = algo.visualize_best()
    told = capsys.readouterr().out
    assert str(path) in told
    assert "No evaluation" in told, "that it is not the best policy must be said"
    algo.evaluate(force=True)
    algo.visualize_best()
    assert "No evaluation" not in capsys.readouterr().out
    algo.close()


def test_in_a_notebook_a_video_element_is_returned(monkeypatch):
    monkeypatch.setattr("ppo_bbrl.runs.replay.in_notebook", lambda: True)
    algo = PPOClip(config("Logged"))
    assert "controls" in algo.visualize_best()._repr_html_()
    algo.close()


def test_watch_shows_a_window(monkeypatch):
    """On a display that is not there; the return of the episode comes back."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    total = watch(Always(1), "CartPole-v1", seeds=seeds(), max_steps=3)
    assert total == 3


def test_play_returns_the_return(log):
    env = EnvAgent("Logged-v0", 1, autoreset=False)
    report = play(Always(0), env, seeds(), max_steps=100)
    assert report.mean == pytest.approx(log.returns[0], abs=1e-5)
    env.close()
