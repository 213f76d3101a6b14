"""PPO as a LightningModule: what it learns from, and that every argument does what it says."""

import inspect
import subprocess
from pathlib import Path

import gymnasium as gym
import imageio_ffmpeg
import lightning as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning_models import SPACES, Model, Steps, trainer
from torch import nn
from torch.distributions import Categorical

from ppo_bbrl import PPOClip, load_config, shared_agents
from ppo_bbrl import run as run_algorithm
from ppo_bbrl.agents.normalisers import ObservationNormaliser
from ppo_bbrl.lightning import PPO, Batch, DummyVecEnv, SubprocVecEnv, make_vec_env
from ppo_bbrl.lightning.environments import GivenEnvs
from ppo_bbrl.lightning.loader import Actor, collected
from ppo_bbrl.rollout import collect
from ppo_bbrl.workspace import Workspace


class Watched(Model):
    """Notes every minibatch, the ratio before its step, and what happened in which order."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.batches, self.ratios, self.log_of_events = [], [], []

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            dist, _ = self(batch.observations)
            ratio = (dist.log_prob(batch.actions) - batch.old_log_probs).exp()
        self.ratios.append(float((ratio - 1).abs().max()))
        self.batches.append(batch)
        return super().training_step(batch, batch_idx)

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.log_of_events.append("step")

    def predict(self, x, deterministic=True):
        self.log_of_events.append("predict")
        return super().predict(x, deterministic)


def model(cls=Watched, env=None, n_envs=2, **kwargs):
    settings = {
        "buffer_length": 16,
        "batch_size": 8,
        "epochs_per_rollout": 3,
        "num_eval_episodes": 0,
        "seed": 1,
    }
    env = make_vec_env(Steps, n_envs) if env is None else env
    return cls(**({"env": env, "eval_env": Steps()} | settings | kwargs))


def fitted(cls=Watched, max_epochs=1, **kwargs):
    made = model(cls, **kwargs)
    trainer(max_epochs=max_epochs).fit(made)
    return made


# ---------------------------------------------------------------------------------- arguments


def test_the_arguments_are_those_of_the_document():
    parameters = list(inspect.signature(PPO.__init__).parameters.values())[1:]
    assert [(p.name, p.default) for p in parameters] == [
        ("env", inspect.Parameter.empty),
        ("eval_env", inspect.Parameter.empty),
        ("buffer_length", 2048),
        ("num_rollouts", 1),
        ("batch_size", 64),
        ("epochs_per_rollout", 10),
        ("num_eval_episodes", 10),
        ("gamma", 0.99),
        ("gae_lambda", 0.95),
        ("clip_range", 0.2),
        ("clip_range_vf", None),
        ("target_kl", None),
        ("value_coef", 0.5),
        ("entropy_coef", 0.0),
        ("use_sde", False),
        ("sde_sample_freq", -1),
        ("verbose", 0),
        ("seed", None),
    ]


def test_rollouts_minibatches_and_epochs_have_the_numbers_asked_for():
    made = fitted(num_rollouts=3, epochs_per_rollout=2, buffer_length=16, batch_size=10, n_envs=3)
    # 48 rows in minibatches of 10 at most: 5 of them, twice, three times.
    assert len(made.batches) == 3 * 2 * 5
    sizes = [len(batch.advantages) for batch in made.batches]
    assert max(sizes) <= 10
    assert max(sizes[:5]) - min(sizes[:5]) <= 1


def test_each_valid_transition_is_learned_from_once_in_each_epoch():
    """None of an autoreset step: with episodes of one step half of the rows would be."""
    made = fitted(num_rollouts=2, epochs_per_rollout=3, buffer_length=20, batch_size=7)
    per_epoch = 6  # 40 rows
    assert len(made.batches) == 2 * 3 * per_epoch
    for rollout in range(2):
        epochs = []
        for epoch in range(3):
            start = (rollout * 3 + epoch) * per_epoch
            rows = torch.cat([b.observations for b in made.batches[start : start + per_epoch]])
            epochs.append(sorted(rows.tolist()))
            assert len(rows) == len(rows.unique(dim=0)) < 40
        assert epochs[0] == epochs[1] == epochs[2]
    first, second = made.batches[0].observations, made.batches[per_epoch].observations
    assert not torch.equal(first, second)  # shuffled anew


@pytest.mark.parametrize("lr", [0.1])
def test_a_rollout_waits_for_the_last_step_on_the_one_before(lr):
    """Lightning prefetches from a loader without length: it would act with older weights."""
    made = fitted(max_epochs=2, num_rollouts=3, epochs_per_rollout=2, lr=lr)
    firsts = range(0, len(made.ratios), 2 * 4)
    assert len(firsts) == 6
    assert max(made.ratios[i] for i in firsts) <= 1e-6
    assert min(made.ratios[i + 1] for i in firsts) > 1e-3


def test_target_kl_ends_the_epochs_over_a_rollout():
    kls = []

    class Far(Watched):
        def optimizer_step(self, *args, **kwargs):
            super().optimizer_step(*args, **kwargs)
            batch = self.batches[-1]
            with torch.no_grad():
                log_ratio = self(batch.observations)[0].log_prob(batch.actions)
                log_ratio = log_ratio - batch.old_log_probs
                kls.append(float((log_ratio.exp() - 1 - log_ratio).mean()))

    free = fitted(Far, num_rollouts=4, lr=0.03)
    assert len(free.batches) == 4 * 3 * 4
    assert max(kls) > 0.03
    kls.clear()
    made = model(Far, num_rollouts=4, lr=0.03, target_kl=0.01)
    run = trainer()
    run.fit(made)
    assert 4 < len(made.batches) < 4 * 3 * 4 == len(run.train_dataloader)
    assert run.global_step == len(made.batches)
    firsts = [i for i, ratio in enumerate(made.ratios) if ratio <= 1e-6]
    assert len(firsts) == 4  # every rollout gets its turn
    assert float(run.callback_metrics["stopped_early"]) > 0
    assert float(run.callback_metrics["approx_kl"]) <= 1.5 * 0.01


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")
def test_a_shortened_epoch_is_a_whole_one_for_lightning():
    """Its loader says how long an epoch may be; schedulers and resuming believe it."""

    class Scheduled(Watched):
        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.03)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    settings = {"num_rollouts": 1, "target_kl": 0.001}
    made = model(Scheduled, **settings)
    run = trainer(max_epochs=3, enable_checkpointing=True)
    run.fit(made)
    assert len(made.batches) < 3 * 3 * 4
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.03 * 0.5**3)

    path = run.checkpoint_callback.best_model_path
    resumed = model(Scheduled, **settings)
    again = trainer(max_epochs=5, enable_checkpointing=True)
    again.fit(resumed, ckpt_path=path, weights_only=True)
    assert again.current_epoch == 5
    assert again.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.03 * 0.5**5)
    assert again.global_step == run.global_step + len(resumed.batches)


def test_a_plateau_is_looked_for_after_a_shortened_epoch_too():
    class Scheduled(Watched):
        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.03)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="max", factor=0.5, patience=0
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "stopped_early"},
            }

    made = model(Scheduled, target_kl=1e-6)
    run = trainer(max_epochs=3)
    run.fit(made)
    assert float(run.callback_metrics["stopped_early"]) == 1
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.03 * 0.5**2)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")
def test_training_resumes_from_a_checkpoint():
    made = model(num_eval_episodes=1)
    run = trainer(max_epochs=2, enable_checkpointing=True)
    run.fit(made)
    resumed = model(num_eval_episodes=1)
    again = trainer(max_epochs=3, enable_checkpointing=True)
    again.fit(resumed, ckpt_path=run.checkpoint_callback.best_model_path, weights_only=True)
    assert len(resumed.batches) == 12
    assert again.global_step == 36
    first = made.batches[0].observations
    assert not torch.equal(first, resumed.batches[0].observations)  # other random numbers


@pytest.mark.parametrize("limit", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 4 * 12}])
def test_clip_ranges_follow_the_remaining_progress(limit):
    seen = []

    def half(progress):
        seen.append(progress)
        return 0.5 * progress

    ranges = []

    class Noting(Watched):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            ranges.append(self.progress_remaining)
            return loss

    made = model(Noting, clip_range=half, clip_range_vf=lambda progress: 3 * progress)
    made.num_rollouts = 2
    run = trainer(**limit)
    run.fit(made)
    assert sorted(set(ranges), reverse=True) == [1.0, 0.75, 0.5, 0.25]
    assert ranges == sorted(ranges, reverse=True)
    assert {1.0, 0.75, 0.5, 0.25} == set(seen)
    assert float(run.callback_metrics["clip_range"]) == pytest.approx(0.5 * (0.5 + 0.25) / 2)


def batch_for(made, n=32):
    torch.manual_seed(0)
    observations = torch.rand(n, *made.observation_space.shape)
    with torch.no_grad():
        dist, value = made(observations)
        actions = dist.sample()
        old = dist.log_prob(actions) + 0.3 * torch.randn(n)
    return Batch(
        observations,
        actions,
        value + torch.randn(n),
        old,
        torch.randn(n),
        torch.randn(n) * 3,
    )


@pytest.mark.parametrize(
    ("clip_range", "clip_range_vf", "value_coef", "entropy_coef"),
    [(0.2, None, 0.5, 0.0), (0.1, 0.5, 0.7, 0.02), (lambda _: 0.3, lambda _: 0.2, 0.0, -0.1)],
)
def test_the_loss_is_that_of_ppo(clip_range, clip_range_vf, value_coef, entropy_coef):
    """Against a plain computation in float64."""
    made = model(
        Model,
        clip_range=clip_range,
        clip_range_vf=clip_range_vf,
        value_coef=value_coef,
        entropy_coef=entropy_coef,
    )
    batch = batch_for(made)
    loss = made.training_step(batch, 0)
    with torch.no_grad():
        dist, value = made(batch.observations)
    p = dist.probs.double().numpy()
    value = value.double().numpy()
    actions, old, old_value, advantage, target = (
        x.numpy() if x.dtype == torch.int64 else x.double().numpy()
        for x in (
            batch.actions,
            batch.old_log_probs,
            batch.old_values,
            batch.advantages,
            batch.returns,
        )
    )
    advantage = (advantage - advantage.mean()) / advantage.std(ddof=1)
    ratio = np.exp(np.log(p[np.arange(32), actions]) - old)
    eps = clip_range(1.0) if callable(clip_range) else clip_range
    policy = -np.minimum(ratio * advantage, np.clip(ratio, 1 - eps, 1 + eps) * advantage).mean()
    error = (value - target) ** 2
    if clip_range_vf is not None:
        eps = clip_range_vf(1.0) if callable(clip_range_vf) else clip_range_vf
        clipped = old_value + np.clip(value - old_value, -eps, eps)
        error = np.maximum(error, (clipped - target) ** 2)
    entropy = -(p * np.log(p)).sum(1).mean()
    expected = policy + value_coef * error.mean() - entropy_coef * entropy
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


class Chain(gym.Env):
    """Rewards 1, 2, 4 for the steps of an episode of three, which is cut or ends."""

    observation_space = gym.spaces.Box(0, 3, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, cut=True):
        self.cut = cut

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        end = self.t == 3
        observation = np.full(1, self.t, np.float32)
        return observation, 2.0 ** (self.t - 1), end and not self.cut, end and self.cut, {}


@pytest.mark.parametrize("cut", [True, False])
def test_truncation_bootstraps_and_autoreset_steps_are_left_out(cut):
    """Values are 10, 20, 30 and 40 for the four observations of an episode."""
    env = GivenEnvs("env", make_vec_env(Chain, 1, env_kwargs={"cut": cut}))

    def forward(x):
        return Categorical(logits=torch.zeros(len(x), 2)), 10 * (x[:, 0] + 1)

    def rollout_of(n_steps):
        collect(env, Actor(forward, n_steps), workspace, n_steps + 1)
        return collected(workspace, gamma=0.5, gae_lambda=0.5)

    workspace = Workspace()
    rollout = rollout_of(6)
    observations = rollout.valid.variables["env/env_obs"]
    # Rows: 0 1 2 [3 → reset] 0 1, then 2 to bootstrap from.
    d = [1 + 10 - 10, 2 + 15 - 20, 4 + (20 if cut else 0) - 30]
    last = [d[0] + 0.25 * d[1], d[1]]
    whole = [d[0] + 0.25 * (d[1] + 0.25 * d[2]), d[1] + 0.25 * d[2], d[2]]
    assert observations[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert rollout.valid.advantage.tolist() == pytest.approx(whole + last)
    expected = [a + v for a, v in zip(whole + last, [10, 20, 30, 10, 20], strict=True)]
    assert rollout.valid.returns.tolist() == pytest.approx(expected)
    assert rollout.episode_returns == [7.0]
    # It goes on where it stood: row 0 is the observation 2, row 1 the final one.
    following = rollout_of(6)
    observations = following.valid.variables["env/env_obs"]
    assert observations[:, 0].tolist() == [2, 0, 1, 2]
    assert following.episode_returns == [7.0, 7.0]


def test_gamma_and_lambda_reach_the_advantages():
    seen = [fitted(**{key: value}).batches[0] for key, value in (("gamma", 0.5), ("gamma", 0.9))]
    seen += [fitted(gae_lambda=0.1).batches[0], fitted(gae_lambda=0.9).batches[0]]
    returns = [tuple(sorted(batch.returns.tolist())) for batch in seen]
    assert len(set(returns)) == 4


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose_says_more_and_more(verbose, capsys):
    fitted(verbose=verbose, num_eval_episodes=1, num_rollouts=2)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("epoch 0: ")]) == (verbose >= 1)
    assert len([line for line in lines if line.startswith("rollout: ")]) == 2 * (verbose == 2)
    if verbose:
        assert "eval_return" in lines[-1]


def weights(made):
    return torch.cat([p.detach().flatten() for p in made.parameters()])


def test_a_seed_repeats_a_training_and_evaluations_do_not_change_it():
    run = [
        weights(fitted(max_epochs=2, seed=3, num_eval_episodes=n, num_rollouts=1))
        for n in (0, 0, 3)
    ]
    assert torch.equal(run[0], run[1])
    assert torch.equal(run[0], run[2])
    assert not torch.equal(run[0], weights(fitted(max_epochs=2, seed=4)))


def test_num_rollouts_only_sets_how_often_the_model_is_evaluated():
    """Four rollouts, in one epoch of the Trainer or in four; schedules included."""
    run = [
        weights(
            fitted(
                num_rollouts=n,
                max_epochs=4 // n,
                clip_range=lambda progress: 0.2 * progress,
                num_eval_episodes=1,
                lr=0.03,
            )
        )
        for n in (1, 2, 4)
    ]
    assert torch.equal(run[0], run[1])
    assert torch.equal(run[0], run[2])


def test_without_a_seed_lightnings_own_seed_repeats_a_training():
    run = []
    for _ in range(2):
        pl.seed_everything(5, verbose=False)
        run.append(weights(fitted(seed=None)))
    assert torch.equal(run[0], run[1])
    assert not torch.equal(run[0], weights(fitted(seed=None)))


# -------------------------------------------------------------------------------- environments


@pytest.mark.wide(4)
@pytest.mark.parametrize(
    "kind",
    ["name", "environment", "vector", "wrapped", "vectorised", "processes", "gymnasium"],
)
def test_every_kind_of_environment_is_taken(kind):
    env = {
        "name": lambda: "CartPole-v1",
        "environment": lambda: gym.make("CartPole-v1"),
        "vector": lambda: gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"),
        "wrapped": lambda: gym.wrappers.vector.RecordEpisodeStatistics(
            gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
        ),
        "vectorised": lambda: gym.make_vec("CartPole-v1", 2),  # CartPole's own: one seed for all
        "processes": lambda: make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv),
        "gymnasium": lambda: make_vec_env("CartPole-v1", 2, vec_env_cls=gym.vector.AsyncVectorEnv),
    }[kind]()
    made = model(env=env, eval_env="CartPole-v1", buffer_length=8, num_eval_episodes=1)
    trainer().fit(made)
    n_envs = 1 if kind in {"name", "environment"} else 2
    assert made.env.num_envs == n_envs
    assert sum(len(batch.returns) for batch in made.batches) == 3 * 8 * n_envs
    made.env.close()


def test_environments_with_one_seed_for_all_are_seeded():
    """Gymnasium's own CartPole for many: a list of seeds is refused."""
    first = [
        fitted(env=gym.make_vec("CartPole-v1", 2), eval_env=None, seed=seed).batches[0]
        for seed in (1, 1, 2)
    ]
    rows = [sorted(batch.observations.tolist()) for batch in first]
    assert rows[0] == rows[1] != rows[2]


def test_environments_in_processes_train_the_same_model():
    """Their observations lie in shared memory, which the next step overwrites."""
    trained = []
    for cls in (DummyVecEnv, SubprocVecEnv):
        env = make_vec_env("CartPole-v1", 3, vec_env_cls=cls)
        trained.append(weights(fitted(env=env, eval_env=None, max_epochs=2)))
        env.close()
    assert torch.equal(*trained)


def test_the_spaces_are_those_of_one_environment():
    made = model(Model, env=make_vec_env("CartPole-v1", n_envs=8), eval_env="CartPole-v1")
    assert made.observation_space.shape == (4,)
    assert made.action_space.n == 2


def test_make_vec_env_hands_on_arguments_and_wrappers():
    env = make_vec_env(
        "CartPole-v1",
        2,
        env_kwargs={"max_episode_steps": 7},
        wrapper_class=lambda one: gym.wrappers.TransformReward(one, lambda reward: 3 * reward),
    )
    env.reset(seed=0)
    assert isinstance(env, DummyVecEnv)
    assert env.envs[0].spec.max_episode_steps == 7
    assert env.step(np.array([0, 1]))[1].tolist() == [3, 3]


@pytest.mark.wide(6)
@pytest.mark.parametrize("action", SPACES)
@pytest.mark.parametrize("observation", SPACES)
def test_every_combination_of_spaces_is_learned_on(observation, action):
    spaces = {"observation_space": SPACES[observation], "action_space": SPACES[action]}
    made = Watched(
        env=make_vec_env(Steps, 2, env_kwargs=spaces),
        eval_env=Steps(**spaces),
        buffer_length=8,
        batch_size=8,
        epochs_per_rollout=2,
        num_eval_episodes=2,
        seed=0,
    )
    before = weights(made)
    run = trainer(max_epochs=2)
    run.fit(made)
    assert not torch.equal(before, weights(made))
    assert max(made.ratios[::4]) <= 1e-6
    assert 1 <= float(run.callback_metrics["eval_return"]) <= 5
    made.evaluate(2, deterministic=False)


# ---------------------------------------------------------------------------------- evaluation


def test_an_evaluation_ends_every_epoch():
    class Counted(Watched):
        def evaluate(self, *args, **kwargs):
            self.log_of_events.append("evaluate")
            return super().evaluate(*args, **kwargs)

    made = fitted(Counted, max_epochs=2, num_rollouts=2, num_eval_episodes=3)
    events = [e for e in made.log_of_events if e != "predict"]
    assert events == (["step"] * 2 * 12 + ["evaluate"]) * 2
    assert made.training  # as it was


def test_evaluate_returns_returns_and_lengths():
    made = model()
    returns, lengths = made.evaluate(num_eval_episodes=4)
    assert returns == [float(length) for length in lengths]
    assert all(1 <= length <= 5 for length in lengths)
    assert len(lengths) == 4
    assert made.evaluate(50) != made.evaluate(50)  # each on seeds of its own
    made.num_eval_episodes = 2
    assert len(made.evaluate()[0]) == 2


@pytest.mark.parametrize("action", SPACES)
def test_predict_can_be_called_by_anyone(action):
    """As after loading a model: nobody has switched gradients off."""
    env = Steps(action_space=SPACES[action])
    made = model(Model, env=env, eval_env=None)
    for deterministic in (True, False):
        actions = made.predict(torch.zeros(5, 2), deterministic)
        assert isinstance(actions, np.ndarray)
        assert actions.shape == (5, *env.action_space.shape)


def test_predict_is_asked_for_what_evaluate_was_asked():
    asked = []

    class Asked(Model):
        def predict(self, x, deterministic=True):
            asked.append((tuple(x.shape), deterministic, self.training, torch.is_grad_enabled()))
            return super().predict(x, deterministic)

    made = model(Asked)
    made.evaluate(1)
    made.evaluate(1, deterministic=False)
    assert {row[1] for row in asked} == {True, False}
    assert {(row[0], row[2], row[3]) for row in asked} == {((1, 2), False, False)}


def frames(path):
    """How many frames of 600 × 400 pixels the video has."""
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo"]
    done = subprocess.run([*decode, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return len(done.stdout) / (600 * 400 * 3)


def test_render_gives_a_video_where_there_is_no_screen(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    made = Model(env="CartPole-v1", eval_env=gym.make("CartPole-v1"), seed=0)
    _, lengths = made.evaluate(num_eval_episodes=2, render=True)
    (path,) = Path("video").glob("*.mp4")
    assert frames(path) == sum(lengths) + 2
    assert str(path) in capsys.readouterr().out


def test_no_episodes_are_no_video():
    made = Model(env="CartPole-v1", eval_env="CartPole-v1")
    assert made.evaluate(0, render=True) == ([], [])
    assert not Path("video").exists()


def test_an_environment_that_renders_is_recorded_itself():
    eval_env = gym.make("CartPole-v1", render_mode="rgb_array")
    made = Model(env="CartPole-v1", eval_env=eval_env, seed=0)
    made.evaluate(1, render=True)
    made.evaluate(1, render=True)
    assert len(list(Path("video").glob("*.mp4"))) == 2


def test_render_opens_a_window_where_there_is_a_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    made = Model(env="CartPole-v1", eval_env="CartPole-v1", seed=0)
    returns, _ = made.evaluate(1, render=True)
    assert returns[0] > 0
    assert not Path("video").exists()


# ---------------------------------------------------------------------- as Lightning's users do


def test_metrics_reach_the_logger_and_the_progress_bar():
    made = model(num_eval_episodes=2, num_rollouts=2)
    run = trainer(max_epochs=2, logger=CSVLogger("logs"))
    run.fit(made)
    header, *rows = Path(run.logger.log_dir, "metrics.csv").read_text().splitlines()
    logged = {
        "policy_loss",
        "value_loss",
        "entropy_loss",
        "approx_kl",
        "clip_fraction",
        "value_clip_fraction",
        "explained_variance",
        "eval_return",
        "eval_return_std",
        "eval_length",
        "episode_return",
        "clip_range",
        "stopped_early",
    }
    assert set(header.split(",")) == logged | {"epoch", "step"}
    assert len(rows) == 2
    assert {"eval_return", "approx_kl"} <= set(run.progress_bar_metrics)
    assert logged == set(run.callback_metrics)


def test_logged_losses_are_means_over_all_transitions():
    """Minibatches of different sizes count for what they hold."""
    kls, sizes = [], []

    class Noting(Watched):
        def training_step(self, batch, batch_idx):
            with torch.no_grad():
                ratio = self(batch.observations)[0].log_prob(batch.actions) - batch.old_log_probs
                kls.append(float((ratio.exp() - 1 - ratio).mean()))
                sizes.append(len(batch.returns))
            return super().training_step(batch, batch_idx)

    made = model(Noting, lr=0.05, batch_size=11)
    run = trainer()
    run.fit(made)
    assert len(set(sizes)) > 1
    expected = np.average(kls, weights=sizes)
    assert float(run.callback_metrics["approx_kl"]) == pytest.approx(expected, rel=1e-4)


def test_the_best_model_of_the_evaluations_is_kept():
    best = ModelCheckpoint("best", "{epoch}", monitor="eval_return", mode="max", save_top_k=1)
    returns = []

    class Noted(Watched):
        def evaluate(self, *args, **kwargs):
            played = super().evaluate(*args, **kwargs)
            returns.append(np.mean(played[0]))
            return played

    made = model(Noted, num_eval_episodes=3)
    trainer(max_epochs=4, callbacks=[best], enable_checkpointing=True).fit(made)
    assert float(best.best_model_score) == pytest.approx(max(returns))
    assert Path(best.best_model_path).name == f"epoch={int(np.argmax(returns))}.ckpt"


def test_training_step_can_be_overridden_as_the_document_says():
    class Plain(Model):
        def training_step(self, batch, batch_idx):
            dist, values = self(batch.observations)
            ratio = (dist.log_prob(batch.actions) - batch.old_log_probs).exp()
            self.log("mean_ratio", ratio.mean(), batch_size=len(ratio))
            assert batch.old_values.shape == batch.returns.shape == values.shape
            return (batch.returns - values).square().mean() - (ratio * batch.advantages).mean()

    made = model(Plain, num_eval_episodes=1, target_kl=1.0)
    before = weights(made)
    run = trainer()
    run.fit(made)
    assert not torch.equal(before, weights(made))
    assert {"mean_ratio", "eval_return", "explained_variance"} <= set(run.callback_metrics)
    assert "policy_loss" not in run.callback_metrics


def test_dropout_is_off_while_acting():
    class Dropping(Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seen = []
            self.critic = nn.Sequential(nn.Dropout(0.5), self.critic)

        def forward(self, x):
            self.seen.append((len(x), self.training))
            return super().forward(x)

    made = fitted(Dropping, n_envs=3)
    assert {training for n, training in made.seen if n == 3} == {False}
    assert {training for n, training in made.seen if n > 3} == {True}


def test_double_precision_and_few_batches_and_fast_dev_run():
    made = model(Watched)
    trainer(precision="64-true").fit(made)
    assert made.batches[0].old_values.dtype == torch.float64
    assert made.ratios[0] < 1e-12
    made = model(Watched)
    trainer(max_epochs=2, limit_train_batches=3).fit(made)
    assert len(made.batches) == 6
    assert made.ratios[3] < 1e-6  # a rollout of its own
    made = model(Watched, num_eval_episodes=1)
    trainer(fast_dev_run=True).fit(made)
    assert len(made.batches) == 1


def test_half_precision_is_of_the_network_alone():
    """Sums of 300 rewards would be rounded to the next 2."""
    made = model(target_kl=0.1, clip_range_vf=0.2, num_rollouts=2)
    trainer(precision="bf16-mixed").fit(made)
    batch = made.batches[0]
    assert batch.advantages.dtype == batch.returns.dtype == torch.float32
    assert made.ratios[0] == 0


def test_a_lightning_model_learns_inside_bbrl():
    """Its environments, in processes of their own, are not copied with it."""
    env = make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv)
    made = model(Model, env=env, eval_env="CartPole-v1", lr=1.0)
    before = weights(made)
    policy, critic = shared_agents(made)
    path = Path(__file__).parents[2] / "configs" / "cartpole_shared.yaml"
    cfg = load_config(path, ["algorithm.max_epochs=2", "algorithm.seed=1"])
    algo = PPOClip(cfg, train_policy=policy, critic_agent=critic)
    run_algorithm(algo)
    algo.close()
    assert not torch.equal(before, weights(made))
    assert made.evaluate(1)[0][0] > 0
    env.close()


# --------------------------------------------------------------------------------- checkpoints


def test_checkpoints_hold_plain_values_and_no_environment():
    made = model(num_eval_episodes=1, lr=0.01, clip_range=lambda progress: 0.2 * progress)
    run = trainer(enable_checkpointing=True)
    run.fit(made)
    path = run.checkpoint_callback.best_model_path
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["hyper_parameters"] == {
        "buffer_length": 16,
        "batch_size": 8,
        "num_eval_episodes": 1,
        "epochs_per_rollout": 3,
        "seed": 1,
        "lr": 0.01,
    }
    assert set(made.hparams) == set(checkpoint["hyper_parameters"])
    assert "env" not in str(checkpoint)
    observations = torch.rand(50, 2)
    loaded = Watched.load_from_checkpoint(path, env=make_vec_env(Steps, 3), eval_env=None)
    assert loaded.lr == 0.01
    for deterministic in (True, False):
        actions = []
        for each in (made, loaded):
            torch.manual_seed(0)
            actions.append(each.predict(observations, deterministic).tolist())
        assert actions[0] == actions[1]


@pytest.mark.parametrize("env", ["CartPole-v1", None])
def test_environments_given_by_name_or_by_argument_are_left_out_too(env):
    class Explicit(Model):
        def __init__(self, env, eval_env=None, width=3, **kwargs):
            super().__init__(env=env, eval_env=eval_env, **kwargs)
            self.save_hyperparameters(ignore="gamma")

    made = Explicit(env or gym.make("CartPole-v1"), width=5, gamma=0.9, gae_lambda=0.8)
    assert dict(made.hparams) == {"width": 5, "gae_lambda": 0.8, "lr": 1e-3}


def test_hyperparameters_may_be_saved_before_the_rest_is_made():
    """As Lightning lets it be; a function would need pickle."""

    class Early(Model):
        def __init__(self, width=3, **kwargs):
            self.save_hyperparameters()
            super().__init__(**kwargs)

    made = model(Early, clip_range=lambda _: 0.2, width=5)
    run = trainer(enable_checkpointing=True)
    run.fit(made)
    path = run.checkpoint_callback.best_model_path
    saved = torch.load(path, weights_only=True)["hyper_parameters"]
    assert saved["width"] == 5
    assert not {"env", "eval_env", "clip_range"} & set(saved)


class Normalising(Watched):
    """Sees normalised observations."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.normaliser = ObservationNormaliser(self.observation_space)
        self.means = []

    def forward(self, x):
        return super().forward(self.normaliser(x))

    def training_step(self, batch, batch_idx):
        self.means.append(self.normaliser.moments[0].mean.clone())
        return super().training_step(batch, batch_idx)


def test_a_normaliser_follows_each_rollout_after_the_update_with_it():
    """As in PPOClip: the ratio of the first minibatch is 1."""
    made = fitted(
        Normalising, num_rollouts=2, max_epochs=2, epochs_per_rollout=2, num_eval_episodes=1
    )
    per_rollout = len(made.means) // 4
    seen = [
        torch.cat([one.observations for one in made.batches[at : at + per_rollout // 2]])
        for at in range(0, len(made.batches), per_rollout)
    ]
    for index in range(4):
        own = made.means[index * per_rollout : (index + 1) * per_rollout]
        assert all(torch.equal(one, own[0]) for one in own), "it moved during an update"
        assert made.ratios[index * per_rollout] < 1e-5
        if index:
            expected = torch.cat(seen[:index]).double().mean(0)
            assert torch.allclose(own[0], expected, atol=1e-4)
        else:
            assert not own[0].any()
    moments = made.normaliser.moments[0]
    assert torch.allclose(moments.mean, torch.cat(seen).double().mean(0), atol=1e-4)
    assert int(moments.count) == len(torch.cat(seen))
