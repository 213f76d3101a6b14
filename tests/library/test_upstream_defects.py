"""What goes wrong in the libraries below, and does not go wrong here.

Each test fails on what bbrl 1.0.1 or bbrl_utils 1.1.1 does. Defects that concern one function
alone are tested beside that function.
"""

import copy
import sys
from pathlib import Path
from types import ModuleType

import bbrl.agents
import numpy as np
import pytest
import torch
from IPython.display import Video
from omegaconf import OmegaConf
from probe_envs import config, fresh_log, state_ids

from ppo_bbrl import (
    EpisodicAlgo,
    PPOClip,
    VAgent,
    Workspace,
    iter_partial_episodes,
    run,
    setup_tensorboard,
)
from ppo_bbrl.evaluation import EvaluationError
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.rollout import evaluate_rollout, gae_targets


@pytest.fixture(autouse=True)
def log():
    return fresh_log()


class Always(bbrl.agents.Agent):
    """Takes one action, whatever it sees."""

    def __init__(self, action):
        super().__init__()
        self.action = torch.tensor(action)

    def forward(self, t, **kwargs):
        rows = self.get(("env/env_obs", t)).shape[0]
        self.set(("action", t), self.action.expand(rows, *self.action.shape).clone())


class ReadsValues(bbrl.agents.Agent):
    """The value of a row is its observation; every action has log-probability 0."""

    def forward(self, t, *, predict_proba=False, **kwargs):
        value = self.get(("env/env_obs", t))[..., 0]
        self.set((f"{self.prefix}v_values", t), value)
        if predict_proba:
            self.set((f"{self.prefix}logprob_predict", t), torch.zeros_like(value))
            self.set((f"{self.prefix}entropy", t), torch.zeros_like(value))


def advantages(values, rewards, terminated, truncated, gae_lambda=0.9, discount_factor=0.9):
    """Advantages `[T-1, B]` of a workspace, from its columns, `[T, B]` each."""
    workspace = Workspace()
    terminated, truncated = (
        torch.tensor(mask, dtype=torch.bool) for mask in (terminated, truncated)
    )
    workspace.set_full("env/env_obs", torch.tensor(values).unsqueeze(-1))
    workspace.set_full("env/reward", torch.tensor(rewards))
    workspace.set_full("env/terminated", terminated)
    workspace.set_full("env/truncated", truncated)
    workspace.set_full("env/done", terminated | truncated)
    workspace.set_full("action", torch.zeros(terminated.shape, dtype=torch.int64))
    agent = ReadsValues().with_prefix("critic/")
    rollout = evaluate_rollout(workspace, agent, agent)
    return gae_targets(rollout, discount_factor=discount_factor, gae_lambda=gae_lambda)[0]


# -------------------------------------------------------------------------- learning correctness


def test_a_truncated_episode_does_not_see_the_next_one():
    """One mask for two things mixes in the next episode's rewards; here there are two masks."""
    rewards = [[0.0], [1.0], [1.0], [0.0], [1.0], [1.0]]
    truncated = [[0], [0], [1], [0], [0], [0]]
    never = [[0]] * 6

    def first_episode(later):
        values = [[10.0], [11.0], [12.0], [later], [-later], [later]]
        return advantages(values, rewards, never, truncated)[:2, 0]

    second = 1 + 0.9 * 12 - 11  # the final observation still counts
    first = 1 + 0.9 * 11 - 10 + 0.81 * second
    assert first_episode(0.0).tolist() == pytest.approx([first, second], abs=1e-5)
    assert torch.equal(first_episode(0.0), first_episode(100.0))


def test_the_step_of_autoreset_is_in_no_loss(log):
    """Which rows the critic is trained on: all that began a transition, no final observation."""
    trained_on = []

    class SpyingCritic(VAgent):
        def forward(self, t, **kwargs):
            if torch.is_grad_enabled():
                trained_on.extend(state_ids(self.get(("env/env_obs", t))))
            super().forward(t, **kwargs)

    algo = PPOClip(config("Logged", opt_epochs=1), critic_agent=SpyingCritic(2, [8]))
    trained_on.clear()  # the trial before the first step
    final = []
    for workspace in iter_partial_episodes(algo, 33):
        algo.update(algo.record(workspace))
        final += state_ids(workspace["env/env_obs"][workspace["env/done"]])
    assert len(final) > 20
    assert not set(final) & set(trained_on)
    assert sorted(trained_on) == sorted(log.acted_in)
    algo.close()


def test_the_first_row_of_a_rollout_has_a_fresh_action(log):
    """The action in row 0 is that of the policy now, and the environment executes that one."""
    algo = EpisodicAlgo(config("Logged", n_envs=2), autoreset=True)
    algo.train_policy = Always(0)
    for version, workspace in enumerate(iter_partial_episodes(algo, 6)):
        assert (workspace["action"] == version).all()
        begun = ~workspace["env/done"][:-1]
        answers = workspace["env/env_obs"][1:, :, 1][begun]
        assert (answers == version).all()
        algo.train_policy.action = torch.tensor(version + 1)
    assert {*log.actions} == {0, 1, 2}
    algo.close()


def test_clip_range_vf_has_an_effect():
    """Upstream: one critic step for each rollout, when new = old; 600 of 600 scalars the same."""
    logged = []
    for clip_range_vf in (0.0, 0.01):
        cfg = config("Chance", clip_range_vf=clip_range_vf)
        cfg["optimizer"]["lr"] = 1e-2
        algo = PPOClip(cfg)
        run(algo)
        logged.append(read_metrics(algo.base_dir))
        algo.close()
    without, with_it = logged
    assert (without["critic_loss"] != with_it["critic_loss"]).all()
    assert (without["value_clip_fraction"] == 0).all()
    assert (with_it["value_clip_fraction"] > 0).all()
    assert (without["grad_norm/critic"] != with_it["grad_norm/critic"]).all()


def test_an_epoch_sees_every_transition_once():
    """Upstream draws with replacement: a third of the transitions is unseen in an epoch."""
    seen = []

    class SpyingCritic(VAgent):
        def forward(self, t, **kwargs):
            if torch.is_grad_enabled():
                seen.append(state_ids(self.get(("env/env_obs", t))))
            super().forward(t, **kwargs)

    cfg = config("Logged", opt_epochs=3, batch_size=20)
    algo = PPOClip(cfg, critic_agent=SpyingCritic(2, [8]))
    for workspace in iter_partial_episodes(algo, 17):
        seen.clear()
        rollout = algo.record(workspace)
        everything = sorted(state_ids(rollout.variables["env/env_obs"]))
        algo.update(rollout)
        flat = [state for minibatch in seen for state in minibatch]
        assert len(flat) == 3 * len(everything)
        for epoch in range(3):
            start = epoch * len(everything)
            assert sorted(flat[start : start + len(everything)]) == everything
        assert flat[: len(everything)] != flat[len(everything) : 2 * len(everything)]
        assert max(map(len, seen)) <= 20
    algo.close()


@pytest.mark.parametrize("rows", ["run", "iter_partial_episodes", "iter_episodes"])
def test_nb_steps_counts_what_the_environments_count(rows, log):
    """Upstream counts the carried row again: 3.1 % more than there were."""
    if rows == "run":
        algo = PPOClip(config("Logged"))
        algo.evaluate = lambda **_: False  # its environments count, too
        run(algo)
    else:
        algo = EpisodicAlgo(config("Logged"), autoreset=rows == "iter_partial_episodes")
        algo.train_policy = Always(1)
        for _ in getattr(algo, rows)():
            assert algo.nb_steps == len(log.acted_in)
    assert algo.nb_steps == len(log.acted_in) > 0
    algo.close()


def test_the_running_reward_follows_the_evaluations():
    """Upstream: 318.8 after 99 evaluations at 500, one at 0 before them."""
    algo = EpisodicAlgo(config("Chance"))
    algo.train_policy = Always(0)
    algo.register_evaluation(torch.zeros(4))
    for _ in range(99):
        algo.register_evaluation(torch.full((4,), 500.0))
    assert algo.running_reward == pytest.approx(500)
    algo.close()


def test_no_two_environments_share_a_seed(log):
    """Training, its evaluations, and those of runs with neighbouring seeds: all different."""
    for seed in range(6):
        algo = PPOClip(config("Logged", seed=seed, n_envs=8, nb_evals=8))
        next(algo.iter_partial_episodes())
        algo.evaluate(force=True)
        algo.evaluate(force=True)
        algo.close()
    assert len(log.seeds) == 6 * 3 * 8
    assert len(set(log.seeds)) == len(log.seeds)


@pytest.mark.parametrize("env_name", ["Chance", "CartPole-v1"])
def test_no_evaluation_and_no_episode_is_seen_twice(env_name):
    """With seed 0, upstream begins every episode with the same observation, in training too."""
    algo = PPOClip(config(env_name, seed=0, n_envs=8, nb_evals=8))
    (workspace, *_) = [Workspace(rows) for rows in algo.iter_partial_episodes(100)]
    timestep = workspace["env/timestep"]
    first = workspace["env/env_obs"][timestep == 0].tolist()
    assert len(first) > 16
    seen = {tuple(observation) for observation in first}
    assert len(seen) == len(first)
    for _ in range(2):
        begin = Workspace()
        algo.evaluate(force=True)
        algo.eval_env(begin, t=0)
        seen |= {tuple(observation) for observation in begin["env/env_obs"][0].tolist()}
    assert len(seen) == len(first) + 2 * 8
    algo.close()


def test_a_stochastic_evaluation_changes_nothing_in_training():
    """Upstream: an evaluation that samples uses up the numbers that training would have had."""
    weights = []
    for interval in (10**9, 0):
        algo = PPOClip(config("Chance", eval_interval=interval))
        algo.eval_policy = algo.train_policy
        run(algo)
        weights.append(copy.deepcopy(algo.train_policy.state_dict()))
        assert len(algo.eval_rewards) == (1 if interval else algo.cfg.algorithm.max_epochs)
        algo.close()
    without, with_it = weights
    assert all(torch.equal(without[name], with_it[name]) for name in without)


def test_lambda_has_an_effect_and_environments_stay_apart():
    """Other BBRL code runs GAE on `[2, N]` transitions: λ is lost, environments are mixed."""
    rewards = [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    never = [[0, 0]] * 4

    def both(second_values, gae_lambda):
        values = [[1.0, second_values]] * 4
        return advantages(values, rewards, never, never, gae_lambda=gae_lambda)

    small, large = both(2.0, 0.0), both(2.0, 0.9)
    assert (small[:2] != large[:2]).all()
    assert torch.equal(both(2.0, 0.9)[:, 0], both(-50.0, 0.9)[:, 0])
    deltas = [reward + 0.9 - 1 for reward in (1.0, 3.0, 5.0)]
    expected = deltas[0] + 0.81 * (deltas[1] + 0.81 * deltas[2])
    assert large[0, 0].item() == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------------------------------------- broken today


def test_visualize_best_needs_no_eval_policy():
    """Upstream calls None."""
    algo = EpisodicAlgo(config("Logged"))
    algo.train_policy = Always(2)
    assert algo.visualize_best().is_file()  # the current policy, before any evaluation
    algo.evaluate(force=True)
    assert algo.best_policy.action == 2
    assert algo.visualize_best().is_file()
    algo.close()


def test_an_evaluation_that_is_not_a_number_is_an_error():
    """Upstream accepts it: best_reward stays -inf, and nobody knows why."""
    algo = PPOClip(config("NotANumber"))
    with pytest.raises(EvaluationError, match=r"NotANumber-v0.*nan") as error:
        algo.evaluate(force=True)
    assert "\n" not in str(error.value)
    assert algo.best_policy is None
    algo.close()


def test_an_evaluation_ends_where_the_environment_has_no_time_limit():
    """Upstream never returns, and memory grows."""
    cfg = config("Logged", nb_evals=2, max_eval_steps=30)
    cfg["gym_env"]["env_args"] = {"ends": False}
    algo = EpisodicAlgo(cfg)
    algo.train_policy = Always(0)
    with pytest.warns(UserWarning, match=r"30 steps.*2 of 2.*max_eval_steps"):
        assert algo.evaluate(force=True)
    assert np.isfinite(algo.best_reward)
    algo.close()


def test_an_evaluation_without_a_limit_in_the_configuration_ends_too(log):
    cfg = config("Logged", nb_evals=1)
    cfg["gym_env"]["env_args"] = {"ends": False}
    algo = EpisodicAlgo(cfg)
    algo.train_policy = Always(0)
    with pytest.warns(UserWarning, match="10000 steps"):
        algo.evaluate(force=True)
    assert len(log.acted_in) == 10_000
    algo.close()


@pytest.mark.parametrize("env_name", ["FrozenLake-v1", "CliffWalking-v1"])
def test_videos_of_discrete_observations(env_name):
    """Upstream hands 0-d arrays to the environment, and `torch.Tensor(int)` to the policy."""
    algo = PPOClip(config(env_name, max_eval_steps=10))
    assert algo.visualize_best().stat().st_size > 500
    algo.close()


def test_a_video_folder_may_have_a_dot_in_its_name():
    """Upstream makes `run_lr0` of it."""
    cfg = config("Logged")
    cfg["base_dir"] = "run_lr0.001"
    algo = PPOClip(cfg)
    path = algo.visualize_best()
    assert path.relative_to(Path("outputs").resolve()).parts[0] == "run_lr0.001"
    assert path.is_file()
    algo.close()


def test_the_environment_is_closed_when_the_policy_raises(log):
    """Upstream leaves it open; and half a video must not stay either."""

    class Stumbles(Always):
        def forward(self, t, **kwargs):
            if t == 2:
                raise ZeroDivisionError("on purpose")
            super().forward(t, **kwargs)

    cfg = config("Logged")
    cfg["gym_env"]["env_args"] = {"ends": False}
    algo = EpisodicAlgo(cfg)
    algo.train_policy = Stumbles(0)
    made, closed = log.made, log.closed
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        algo.visualize_best()
    assert log.made - made == log.closed - closed == 1
    assert not list(Path().rglob("*.mp4"))
    algo.close()


def test_a_notebook_shows_the_video(monkeypatch):
    """Embedded, so that it is still there when the notebook is opened elsewhere.

    Upstream imports `moviepy.editor`, which moviepy 2 no longer has, and shows nothing.
    """
    monkeypatch.setattr("ppo_bbrl.runs.replay.in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "moviepy.editor", None)
    algo = PPOClip(config("Logged"))
    video = algo.visualize_best()
    assert isinstance(video, Video)
    html = video._repr_html_()
    assert "<video" in html
    assert "data:video/mp4;base64," in html
    algo.close()


@pytest.mark.parametrize("place", ["shell", "notebook"])
def test_setup_tensorboard_asks_nothing_and_takes_its_path(place, monkeypatch, capsys):
    """Upstream asks with `input()`, which a notebook run without a keyboard cannot answer."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    if place == "notebook":
        monkeypatch.setattr("ppo_bbrl.runs.notebook.in_notebook", lambda: True)
    setup_tensorboard("./elsewhere/tb")
    told = capsys.readouterr().out
    assert str(Path("elsewhere/tb").absolute()) in told
    assert "tensorboard" in told


def test_on_colab_tensorboard_is_shown_in_the_notebook(monkeypatch):
    """Where there is no shell to start it from."""
    magics = []

    class Shell:
        def run_line_magic(self, *magic):
            magics.append(magic)

    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr("IPython.get_ipython", Shell)
    setup_tensorboard("tb")
    assert [name for name, _ in magics] == ["load_ext", "tensorboard"]
    assert str(Path("tb").absolute()) in magics[1][1]


def test_a_replaced_eval_policy_is_the_one_that_is_evaluated():
    """Upstream evaluates the old one, which is cached, and saves the new one as best."""
    algo = EpisodicAlgo(config("ActionDecides"))
    algo.train_policy = Always(0)
    algo.eval_policy = Always(0)
    algo.evaluate(force=True)
    assert (algo.best_reward, algo.best_policy.action) == (-1, 0)
    algo.eval_policy = Always(1)
    assert algo.evaluate(force=True)
    assert (algo.best_reward, algo.best_policy.action) == (1, 1)
    algo.train_policy, algo.eval_policy = Always(0), None
    assert not algo.evaluate(force=True)
    assert algo.best_policy.action == 1
    algo.close()


def test_two_runs_of_the_same_second_have_two_folders():
    """Each with its own files, and TensorBoard events apart."""
    cfg = config("Chance")
    cfg["base_dir"] = "same/second"
    algos = [PPOClip(cfg) for _ in range(3)]
    for algo in algos:
        run(algo)
        algo.close()
    folders = [algo.base_dir for algo in algos]
    assert len(set(folders)) == 3
    assert len({algo.folder.tensorboard for algo in algos}) == 3
    for algo in algos:
        assert len(read_metrics(algo.base_dir)) == 3
        assert len(list(algo.folder.tensorboard.iterdir())) == 1


def test_the_folder_of_a_run_is_decided_once():
    """Upstream resolves `${current_time:}` at each access: one run, several folders."""
    cfg = OmegaConf.create(config("Chance"))
    cfg.base_dir = "run-${current_time:}"
    algo = PPOClip(cfg)
    assert "${" not in OmegaConf.to_container(algo.cfg, resolve=False)["base_dir"]
    assert algo.base_dir == algo.base_dir == Path("outputs").resolve() / algo.cfg.base_dir
    run(algo)
    assert len(list(Path("outputs").glob("run-*"))) == 1
    algo.close()
