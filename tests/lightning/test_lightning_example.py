"""The example of Lightning-Baselines3's page runs with only its import lines changed.

Where the document is there, its own text is taken; what is written below has its shape.
"""

import re
import runpy
import textwrap
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from lightning_models import trainer

from ppo_bbrl.lightning import SubprocVecEnv, make_vec_env

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT.parent / "shared" / "seeds" / "000_41227f35907d39bc.txt"

IMPORTS = {
    "import gym": "import gymnasium as gym",
    "import pytorch_lightning as pl": "import lightning as pl",
    "from lightning_baselines3.common.vec_env import make_vec_env, SubprocVecEnv": "",
    "from lightning_baselines3.on_policy_models import PPO": (
        "from ppo_bbrl.lightning import PPO, make_vec_env, SubprocVecEnv"
    ),
}

SHAPE = """
import gymnasium as gym
import torch
from torch import distributions, nn
import lightning as pl
from ppo_bbrl.lightning import PPO, make_vec_env, SubprocVecEnv

class Model(PPO):
    def __init__(self, **kwargs):
        super(Model, self).__init__(**kwargs)
        n = self.observation_space.shape[0]
        self.actor = nn.Sequential(
            nn.Linear(n, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(),
            nn.Linear(64, self.action_space.n), nn.Softmax(dim=1))
        self.critic = nn.Sequential(
            nn.Linear(n, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.save_hyperparameters()

    def forward(self, x):
        return distributions.Categorical(probs=self.actor(x)), self.critic(x).flatten()

    def predict(self, x, deterministic=True):
        probs = self.actor(x)
        if deterministic:
            return torch.max(probs, dim=1)[1].cpu().numpy()
        return distributions.Categorical(probs=probs).sample().cpu().numpy()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-4)

if __name__ == '__main__':
    env = make_vec_env('CartPole-v1', n_envs=4, vec_env_cls=SubprocVecEnv)
    eval_env = gym.make('CartPole-v1')
    model = Model(env=env, eval_env=eval_env)
    trainer = pl.Trainer(max_epochs=5, gradient_clip_val=0.5)
    trainer.fit(model)
    model.evaluate(num_eval_episodes=10, render=True)
"""


def code_of(source):
    if source == "written":
        return SHAPE
    if source == "ours":
        page = (ROOT / "docs" / "lightning.md").read_text()
        return re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    if not DOCUMENT.exists():
        pytest.skip(f"the document is not there: {DOCUMENT.name} in shared/seeds beside this")
    (block,) = re.findall(
        r"\.\. code-block:: python\n(.*?)^Results", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    lines = textwrap.dedent(block).splitlines()
    assert IMPORTS.keys() <= set(lines)
    return "\n".join(IMPORTS.get(line, line) for line in lines)


@pytest.fixture
def no_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)


def run(code, name):
    names = {"__name__": name}
    exec(compile(code, "document.py", "exec"), names)
    return names


@pytest.mark.wide(2)
@pytest.mark.parametrize("source", ["document", "written", "ours"])
@pytest.mark.usefixtures("no_screen")
def test_the_model_of_the_document_trains_and_is_shown(source):
    """One short epoch of it; the slow tests train it as it is written."""
    model_class = run(code_of(source), "document")["Model"]
    env = make_vec_env("CartPole-v1", n_envs=4, vec_env_cls=SubprocVecEnv)
    model = model_class(env=env, eval_env=gym.make("CartPole-v1"), buffer_length=64, seed=1)
    model.epochs_per_rollout = 2
    before = model.actor[0].weight.detach().clone()
    trainer(gradient_clip_val=0.5).fit(model)
    assert not before.equal(model.actor[0].weight)
    returns, lengths = model.evaluate(num_eval_episodes=2, render=True)
    assert returns == lengths
    assert len(list(Path("video").glob("*.mp4"))) == 1
    env.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*litlogger")
@pytest.mark.parametrize("source", ["document", "written"])
@pytest.mark.usefixtures("no_screen")
def test_the_example_of_the_document_learns(source):
    """To the letter: five epochs of 8192 steps, and a video at the end."""
    names = run(code_of(source), "__main__")
    assert len(list(Path("lightning_logs").rglob("*.mp4"))) == 1
    returns, _ = names["model"].evaluate(num_eval_episodes=10)
    assert np.mean(returns) > 150
    names["env"].close()


def example(name, monkeypatch, *arguments):
    path = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr("sys.argv", [str(path), *arguments])
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.slow
@pytest.mark.usefixtures("no_screen")
def test_cartpole_is_solved(monkeypatch, capsys):
    example("lightning_cartpole", monkeypatch, "--seed", "1")
    told = capsys.readouterr().out
    (after,) = re.findall(r"after \d+ epochs: mean return ([\d.]+)", told)
    assert float(after) >= 450  # ten other episodes than those that ended the training
    best = max(float(each) for each in re.findall(r"eval_return ([\d.]+)", told))
    assert best >= 475


@pytest.mark.slow
def test_pendulum_is_learned_with_gsde(monkeypatch, capsys):
    """A policy that does nothing gets -1200."""
    example("lightning_pendulum_sde", monkeypatch, "--seed", "1")
    (after,) = re.findall(r"of 100 episodes: (-[\d.]+)", capsys.readouterr().out)
    assert float(after) > -350
