"""Memory: what agents remember lies in the workspace, and is learned through whole sequences."""

from dataclasses import replace

import bbrl.agents
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from probe_envs import LOG, Log, config
from space_envs import ACTIONS, OBSERVATIONS
from torch import nn
from torch.distributions import Categorical

import ppo_bbrl
from ppo_bbrl import DiscretePolicy, EpisodicAlgo, PPOClip, VAgent, run, shared_agents
from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.agents.memory import Memory, recall
from ppo_bbrl.agents.normalisers import normalisers_of
from ppo_bbrl.agents.recurrent import RecurrentCritic, RecurrentPolicy
from ppo_bbrl.agents.sequences import evaluate_sequences, step_through
from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.envs import EnvAgent, MaskVelocity
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.evaluation import play_episodes
from ppo_bbrl.minibatches import Minibatch
from ppo_bbrl.rollout import collect
from ppo_bbrl.runs.best_policy import load_policy
from ppo_bbrl.runs.trained_policy import restore_policy
from ppo_bbrl.update import Update
from ppo_bbrl.workspace.table import Workspace
from ppo_course.probes import Probe, box

JUDGED = {"stochastic": True, "predict_proba": True, "compute_entropy": True}


class Recall(Probe):
    """Only the first observation says which action the last step is rewarded for."""

    length = 4
    observation_space = box(2)
    action_space = Discrete(2)

    def observe(self):
        if self.t == 0:
            self.cue = int(self.np_random.integers(2))
            return np.array([2 * self.cue - 1, 1], np.float32)
        return np.zeros(2, np.float32)

    def reward(self, action):
        return float(self.t == self.length and int(action) == self.cue)


gym.register("Recall-v0", Recall, disable_env_checker=True)


def remembering(env_name="Logged", kind="lstm", *, shared=False, size=8, **algorithm):
    algorithm = {"n_envs": 4, "n_steps": 16, "batch_size": 32, "opt_epochs": 2} | algorithm
    made = config(env_name, **algorithm)
    made["algorithm"]["architecture"] = {
        "memory": kind,
        "shared_memory": shared,
        "actor_hidden_size": [16],
        "critic_hidden_size": [16],
    }
    if kind != "none":
        made["algorithm"]["architecture"]["memory_size"] = size
    return made


@pytest.fixture(autouse=True)
def no_log():
    vars(LOG).update(vars(Log()))


def rows_of(workspace, *memories):
    """All variables `[T, B, …]`, of memories the first row."""
    return {
        name: workspace[name][: 1 if name in memories else None] for name in workspace.variables
    }


# --------------------------------------------------------------------------------- in the table


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox", "FrozenLake-v1"])
def test_a_row_holds_what_is_remembered_when_one_comes_to_it(kind, env_name):
    """Zeros where an episode begins, elsewhere what came of the row before; in every rollout."""
    algo = PPOClip(remembering(env_name, kind, max_epochs=3))
    begun = carried = 0
    for workspace in algo.iter_partial_episodes(17):
        algo.record(workspace)
        begins = workspace["env/timestep"] == 0
        for agent in (algo.train_policy, algo.critic_agent):
            there = workspace[f"{agent.prefix}memory"]
            assert there.shape == (17, 4, 16 if kind == "lstm" else 8)
            assert not there[begins].any()
            with torch.no_grad():
                for t in range(16):
                    after = agent.memory.after(workspace["env/env_obs"][t], there[t])
                    after[begins[t + 1]] = 0
                    assert torch.allclose(there[t + 1], after, atol=1e-6)
            carried += bool(there[0].any())
        begun += int(begins[1:].sum())
    assert begun > 3
    assert carried >= 2
    algo.close()


@pytest.mark.wide(4)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox"])
def test_one_pass_and_step_by_step_agree(env_name, kind, shared):
    algo = PPOClip(remembering(env_name, kind, shared=shared, max_epochs=3))
    policy, critic = algo.train_policy, algo.critic_agent
    assert (policy.memory is critic.memory) == shared
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        rows = rows_of(workspace, "current_policy/memory", "critic/memory")
        log_prob, entropy, value = evaluate_sequences(policy, critic, rows)
        stepped, entropies = step_through(policy, rows, ("logprob_predict", "entropy"), **JUDGED)
        (values,) = step_through(critic, rows, ("v_values",))
        for one, other in ((log_prob, stepped), (entropy, entropies), (value, values)):
            assert torch.allclose(one, other.flatten(), atol=1e-5)
        assert torch.allclose(workspace["critic/v_values"], values, atol=1e-5)
        algo.update(rollout)
    algo.close()


def test_a_rollout_cut_in_two_is_one_of_double_length():
    """The same environments, actions and weights: the same table, values and log-probabilities."""
    tables = []
    for n_rows in (9, 17):
        algo = PPOClip(remembering("Logged", n_envs=3))
        greedy = KWAgentWrapper(algo.train_policy, stochastic=False)
        workspace, table = Workspace(), []
        for _ in range(16 // (n_rows - 1)):
            with torch.no_grad():
                collect(algo.train_env, greedy, workspace, n_rows)
            algo.record(workspace)
            table.append({name: workspace[name][: n_rows - 1] for name in workspace.variables})
        tables.append({name: torch.cat([part[name] for part in table]) for name in table[0]})
        algo.close()
        vars(LOG).update(vars(Log()))
    cut, whole = tables
    for name in ("env/env_obs", "action", "current_policy/memory", "critic/memory",
                 "critic/v_values", "current_policy/logprob"):  # fmt: skip
        assert torch.allclose(cut[name].double(), whole[name].double(), atol=1e-6), name


def test_the_first_minibatch_has_ratio_one_in_every_rollout():
    """Row 0 included, whose action is drawn anew by weights that have learned since."""
    algo = PPOClip(remembering("LoggedBox", max_epochs=4, batch_size=0))
    for workspace in algo.iter_partial_episodes(17):
        before = algo.train_policy.state_dict()["memory.cells.weight_hh_l0"].clone()
        rollout = algo.record(workspace)
        log_prob, _, value = evaluate_sequences(
            algo.train_policy, algo.critic_agent, rollout.variables
        )
        assert torch.allclose(log_prob, rollout.log_prob.flatten(), atol=1e-5)
        assert torch.allclose(value, rollout.value.flatten(), atol=1e-5)
        algo.update(rollout)
        now = algo.train_policy.state_dict()["memory.cells.weight_hh_l0"]
        assert not torch.equal(now, before)
    algo.close()


def test_advantages_computed_anew_are_those_of_the_whole_rollout():
    """Each epoch, and with the measured KL: as long as no weight moves, they stay the same."""
    algo = PPOClip(
        remembering("Logged", recompute_advantage=True, learning_rate_schedule="adaptive_kl")
    )
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        again = algo._recompute(rollout)
        for name in ("value", "advantage", "returns"):
            assert torch.allclose(getattr(again, name), getattr(rollout, name), atol=1e-5)
        report = algo.update(rollout)
        assert report.metrics["kl_divergence"].isfinite()
        assert not torch.equal(algo._recompute(rollout).value, rollout.value)
    algo.close()


def test_with_everything_normalised():
    """Statistics stand in front of the memory; the first ratio is 1 in every rollout."""
    for shared in (False, True):
        made = remembering(
            "LoggedBox", shared=shared, max_epochs=3, batch_size=0, normalize_observation=True,
            normalize_reward=True, normalize_value=True, clip_observation=5.0,
        )  # fmt: skip
        algo = PPOClip(made)
        assert len(normalisers_of(algo.train_policy, algo.critic_agent)) == 1
        for workspace in algo.iter_partial_episodes(17):
            rollout = algo.record(workspace)
            _, metrics = algo.losses(whole(rollout))
            assert float(metrics["approx_kl"]) < 1e-9
            algo.update(rollout)
        assert float(algo.critic_agent.moments.count) > 40
        assert float(algo.critic_agent.moments.count) < 3 * 16 * 4  # without autoreset steps
        algo.evaluate(force=True)
        algo.close()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_an_episode_knows_nothing_of_another(kind):
    """Neither a later one of an earlier one, nor the other way round, nor other environments."""
    torch.manual_seed(0)
    memory = Memory(kind, 3, 5)
    obs = torch.randn(7, 2, 3, requires_grad=True)
    begins = torch.zeros(7, 2, dtype=torch.bool)
    begins[4, 0] = True
    features = memory.over(obs, torch.randn(2, memory.width), begins)
    (of_earlier,) = torch.autograd.grad(features[:4, 0].sum(), obs, retain_graph=True)
    assert of_earlier[:4, 0].all()
    assert not of_earlier[4:, 0].any()
    assert not of_earlier[:, 1].any()
    (of_later,) = torch.autograd.grad(features[4:, 0].sum(), obs, retain_graph=True)
    assert of_later[4:, 0].all()
    assert not of_later[:4, 0].any()
    (of_other,) = torch.autograd.grad(features[:, 1].sum(), obs)
    assert of_other[:, 1].all()
    assert not of_other[:, 0].any()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_one_pass_is_what_torchs_cells_give_row_by_row(kind):
    """From zeros where an episode begins, in row 0 as well as later; else from what came before."""
    torch.manual_seed(0)
    memory = Memory(kind, 3, 5).double()
    for weight in memory.parameters():
        nn.init.normal_(weight)
    cell = (nn.LSTMCell if kind == "lstm" else nn.GRUCell)(3, 5).double()
    cell.load_state_dict(
        {name.removesuffix("_l0"): one for name, one in memory.cells.state_dict().items()}
    )
    obs, state = torch.randn(6, 2, 3).double(), torch.randn(2, memory.width).double()
    begins = torch.zeros(6, 2, dtype=torch.bool)
    begins[0, 1] = begins[3, 0] = begins[4] = True
    parts = [part.clone() for part in state.split(5, -1)]  # hidden state, and that of the cell
    expected = []
    for row, fresh in zip(obs, begins, strict=True):
        for part in parts:
            part[fresh] = 0
        after = cell(row, parts[0] if kind == "gru" else tuple(parts))
        parts = [one.clone() for one in ((after,) if kind == "gru" else after)]
        expected.append(parts[0].clone())
        torch.testing.assert_close(memory.features(torch.cat(parts, -1)), parts[0])
    torch.testing.assert_close(memory.over(obs, state, begins), torch.stack(expected))
    first = memory.at_first(obs)
    torch.testing.assert_close(first[4], expected[4])
    torch.testing.assert_close(memory.features(memory.after(obs[0], state))[0], expected[0][0])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_weights_are_orthogonal_with_gain_one_and_biases_zero(kind):
    memory = Memory(kind, 3, 5)
    for name, weight in memory.cells.named_parameters():
        if "bias" in name:
            assert not weight.any()
        else:
            assert torch.allclose(weight.T @ weight, torch.eye(weight.shape[1]), atol=1e-5)
    before = torch.get_rng_state()
    PPOClip(remembering(kind=kind)).close()
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------------------ sequences


def test_minibatches_are_made_of_environments():
    algo = PPOClip(remembering("Logged", n_envs=5, batch_size=40))
    workspace = next(algo.iter_partial_episodes(17))
    rollout = algo.record(workspace)
    assert len(rollout) == int((~workspace["env/done"][:-1]).sum()) < 16 * 5
    parts = list(rollout.minibatches(40, torch.Generator().manual_seed(0)))
    assert [part.mask.shape[1] for part in parts] == [2, 2, 1]
    assert sum(map(len, parts)) == len(rollout)
    seen = torch.cat([part.variables["env/env_obs"] for part in parts], 1)
    order = [
        next(b for b in range(5) if torch.equal(column, workspace["env/env_obs"][:-1, b]))
        for column in seen.unbind(1)
    ]
    assert sorted(order) == list(range(5))
    assert order != sorted(order)
    of_two = parts[0].variables["current_policy/memory"]
    assert torch.equal(of_two, workspace["current_policy/memory"][:1, order[:2]])
    assert "T=16, B=5" in repr(rollout)
    assert len(list(rollout.minibatches(0, torch.Generator()))) == 1
    algo.close()


def test_too_small_a_minibatch_has_one_environment_and_a_warning():
    with pytest.warns(UserWarning, match="algorithm.batch_size = 8 is less than .*n_steps = 16"):
        algo = PPOClip(remembering("Logged", batch_size=8))
    rollout = algo.record(next(algo.iter_partial_episodes(17)))
    parts = list(rollout.minibatches(8, torch.Generator()))
    assert [part.mask.shape for part in parts] == [(16, 1)] * 4
    algo.close()


def test_autoreset_steps_enter_no_loss_and_no_metric():
    """Whatever their advantages, returns and values are."""
    algo = PPOClip(remembering("Logged", batch_size=0, clip_range_vf=0.2))
    algo.cfg.algorithm.normalize_advantage = True
    rollout = algo.record(next(algo.iter_partial_episodes(17)))
    weights = {name: one.clone() for name, one in algo.train_policy.state_dict().items()}
    state = algo.state_dict()
    report = algo.update(rollout)
    after = {name: one.clone() for name, one in algo.train_policy.state_dict().items()}
    assert not rollout.mask.all()
    algo.close()
    garbage = {
        name: getattr(rollout, name).where(rollout.mask, torch.tensor(1e4))
        for name in ("advantage", "returns", "value")
    }
    other = PPOClip(remembering("Logged", batch_size=0, clip_range_vf=0.2))
    other.load_state_dict(state)
    other.cfg.algorithm.normalize_advantage = True
    assert all(
        torch.equal(one, weights[name]) for name, one in other.train_policy.state_dict().items()
    )
    again = other.update(replace(rollout, **garbage))
    for name, one in other.train_policy.state_dict().items():
        assert torch.allclose(one, after[name], atol=1e-6), name
    for name in ("actor_loss", "critic_loss", "entropy_loss", "advantage", "explained_variance"):
        assert torch.allclose(again.metrics[name], report.metrics[name], atol=1e-5), name
    other.close()


def test_a_column_without_transitions_makes_no_minibatch():
    """A mean of nothing would be no number."""
    algo = PPOClip(remembering("Logged", n_envs=3, n_steps=1, batch_size=1))
    rollout = algo.record(next(algo.iter_partial_episodes(2)))
    mask = torch.tensor([[True, False, True]])
    parts = list(replace(rollout, mask=mask).minibatches(1, torch.Generator()))
    assert [len(part) for part in parts] == [1, 1]
    none = replace(rollout, mask=torch.zeros_like(mask))
    assert list(none.minibatches(1, torch.Generator())) == []
    algo.close()


def test_one_of_two_may_have_memory():
    """The other one sees each row by itself."""
    plain = {"train_policy": lambda: DiscretePolicy(2, [8], 3),
             "critic_agent": lambda: VAgent(2, [8])}  # fmt: skip
    for name, make in plain.items():
        algo = PPOClip(remembering("Logged", max_epochs=2, eval_interval=1), **{name: make()})
        run(algo)
        algo.close()


@pytest.mark.wide(3)
@pytest.mark.parametrize("actions", [*ACTIONS])
def test_any_action_space_and_any_observations(actions):
    """One memory in front of any head: trained, saved, loaded, and the same in one pass."""
    observations = [*OBSERVATIONS][[*ACTIONS].index(actions) + 1]
    made = remembering("Space", max_epochs=2, eval_interval=1)
    made["gym_env"]["env_args"] = {"observation": observations, "action": actions}
    algo = PPOClip(made)
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        rows = rows_of(workspace, "current_policy/memory", "critic/memory")
        log_prob, *_ = evaluate_sequences(algo.train_policy, algo.critic_agent, rows)
        (stepped,) = step_through(algo.train_policy, rows, ("logprob_predict",), **JUDGED)
        assert torch.allclose(log_prob, stepped.flatten(), atol=1e-5)
        algo.update(rollout)
        algo.evaluate(force=True)
    algo.close()
    trained = ppo_bbrl.load(algo.folder.path)
    env = trained.make_env()
    seen, _ = env.reset(seed=0)
    trained.predict(seen, episode_start=True)
    action = trained.predict(seen)
    assert trained.action_space.contains(action)
    env.close()


# ---------------------------------------------------------------- evaluating, saving, predicting


def test_episodes_that_end_at_different_times_are_played_as_if_alone():
    policy = PPOClip(remembering("Logged")).train_policy
    nn.init.normal_(policy.head.model[-1].weight)
    env = EnvAgent("Logged-v0", 5, autoreset=False)
    workspace = Workspace(capacity=64)
    greedy = KWAgentWrapper(policy, stochastic=False)
    play_episodes(greedy, env, np.random.SeedSequence(1), workspace, max_steps=50)
    lengths = workspace["env/timestep"][-1].tolist()
    assert len(set(lengths)) > 2
    for b, length in enumerate(lengths):
        alone = Workspace()
        for t in range(length):
            for name in ("env/env_obs", "env/timestep"):
                alone.set(name, t, workspace.get(name, t)[b : b + 1])
            greedy(alone, t=t)
        assert torch.equal(alone["action"][:, 0], workspace["action"][:length, b])
    assert len(workspace["action"].unique()) > 1
    env.close()


@pytest.mark.parametrize(("env_name", "kind"), [("Logged", "lstm"), ("LoggedBox", "gru")])
def test_a_saved_policy_acts_as_it_did(env_name, kind):
    algo = PPOClip(remembering(env_name, kind, max_epochs=2, eval_interval=1))
    run(algo)
    algo.close()
    env = EnvAgent(f"{env_name}-v0", 3, autoreset=False)
    workspace = Workspace(capacity=64)
    play_episodes(algo.eval_policy, env, np.random.SeedSequence(2), workspace, max_steps=6)
    env.close()
    trained = ppo_bbrl.load(algo.folder.path, which="last")
    restored = restore_policy(load_policy(algo.folder.path / "last"))
    again = Workspace()
    seen, actions = workspace["env/env_obs"].numpy(), workspace["action"].numpy()
    for t in range(len(actions)):
        for name in ("env/env_obs", "env/timestep"):
            again.set(name, t, workspace.get(name, t))
        restored(again, t=t)
        assert np.array_equal(again.get("action", t), actions[t])
        predicted = trained.predict(seen[t])
        bounded = np.clip(actions[t], -0.5, 0.5) if env_name == "LoggedBox" else actions[t]
        assert np.allclose(predicted, bounded)
    one = trained.predict(seen[0][0])
    assert trained.action_space.contains(one)
    assert algo.best_policy.wrapped.memory_size == trained.agent.wrapped.memory_size


def test_prediction_remembers_until_it_is_told_otherwise():
    algo = PPOClip(remembering("LoggedBox", max_epochs=1, eval_interval=1))
    run(algo)
    algo.close()
    trained = ppo_bbrl.load(algo.folder.path)
    here, there = np.array([[0.3, 0.1]] * 2, np.float32), np.array([[9.0, -9]] * 2, np.float32)
    first = trained.predict(here)
    second = trained.predict(here)
    assert not np.array_equal(first, second)
    trained.reset()
    assert np.array_equal(trained.predict(here), first)
    trained.predict(there)
    mixed = trained.predict(here, episode_start=[True, False])
    assert np.array_equal(mixed[0], first[0])
    assert not np.array_equal(mixed[1], first[1])
    assert np.array_equal(trained.predict(here, episode_start=True), first)
    assert np.array_equal(trained.predict(here[:1]), first[:1])  # of another number: they begin
    for wrong in ("yes", [True], [1, 0], np.ones((2, 1), bool)):
        with pytest.raises(UserError, match="episode_start"):
            trained.predict(here, episode_start=wrong)


def test_without_memory_prediction_forgets_anyway():
    algo = PPOClip(config("LoggedBox", max_epochs=1, eval_interval=1))
    run(algo)
    algo.close()
    trained = ppo_bbrl.load(algo.folder.path)
    here = np.array([0.3, 0.1], np.float32)
    first = trained.predict(here, episode_start=True)
    trained.reset()
    assert np.array_equal(trained.predict(here), first)


def test_in_processes_it_is_the_same():
    """Async environments: the same numbers as in one process."""
    losses = []
    for mode in ("sync", "async"):
        made = remembering("Recall", max_epochs=2)
        made["gym_env"]["vectorization"] = mode
        algo = PPOClip(made)
        for workspace in algo.iter_partial_episodes(17):
            report = algo.update(algo.record(workspace))
            losses.append(float(report.metrics["critic_loss"]))
        algo.close()
    assert losses[:2] == losses[2:]


# ----------------------------------------------------------------------------- agents of one's own


class OwnPolicy(bbrl.agents.Agent):
    """As docs/memory.md describes it, on bbrl alone."""

    has_memory, memory_size = True, 6

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(2, 6), nn.Linear(6, 3)

    def remember(self, t):
        name = f"{self.prefix}memory"
        begins = (self.get(("env/timestep", t)) == 0).unsqueeze(-1)
        if t == 0 and name not in self.workspace.variables:
            self.set((name, 0), torch.zeros(len(begins), 6))
        before = self.get((name, t)).masked_fill(begins, 0)
        after = self.cell(self.get(("env/env_obs", t)), before)
        self.set((name, t + 1), after)
        return after

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        dist = Categorical(logits=self.out(self.remember(t)))
        if predict_proba:
            log_prob = dist.log_prob(self.get(("action", t)))
            self.set((f"{self.prefix}logprob_predict", t), log_prob)
        else:
            self.set(("action", t), dist.sample() if stochastic else dist.probs.argmax(-1))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


class OwnCritic(OwnPolicy):
    def forward(self, t, **kwargs):
        self.set((f"{self.prefix}v_values", t), self.out(self.remember(t))[:, 0])


def test_an_agent_of_ones_own_is_led_through_its_rows():
    algo = PPOClip(
        remembering("Logged", "none", max_epochs=3, eval_interval=1),
        train_policy=OwnPolicy(),
        critic_agent=OwnCritic(),
    )
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        for prefix in ("current_policy/", "critic/"):
            assert workspace[f"{prefix}memory"].shape == (17, 4, 6)
        before = algo.train_policy.cell.weight_hh.clone(), algo.critic_agent.cell.weight_hh.clone()
        losses, metrics = algo.losses(whole(rollout))
        assert float(metrics["approx_kl"]) < 1e-9
        assert set(losses) == {"policy", "entropy", "value"}
        algo.update(rollout)
        assert not torch.equal(before[0], algo.train_policy.cell.weight_hh)
        assert not torch.equal(before[1], algo.critic_agent.cell.weight_hh)
    algo.evaluate(force=True)
    algo.close()


def whole(rollout):
    (part,) = rollout.minibatches(0, torch.Generator())
    return Minibatch.of(part, Coefficients(0.2))


def test_the_packages_pass_and_an_own_step_by_step_learn_the_same():
    """A subclass with a forward of its own is led through its rows: the same gradients."""

    class Led(RecurrentPolicy):
        def forward(self, t, **kwargs):
            super().forward(t, **kwargs)

    gradients = []
    for kind in (RecurrentPolicy, Led):
        torch.manual_seed(0)
        policy = kind(Memory("lstm", 2, 8), DiscretePolicy(8, [8], 3))
        algo = PPOClip(remembering("Logged"), train_policy=policy)
        rollout = algo.record(next(algo.iter_partial_episodes(17)))
        losses, _ = algo.losses(whole(rollout))
        losses["policy"].backward()
        gradients.append([one.grad for one in policy.parameters()])
        algo.close()
        vars(LOG).update(vars(Log()))
    for one, other in zip(*gradients, strict=True):
        assert one.any()
        assert torch.allclose(one, other, atol=1e-5)


class Silent(OwnPolicy):
    def remember(self, t):
        return self.cell(self.get(("env/env_obs", t)))


class Wide(OwnPolicy):
    memory_size = 7


@pytest.mark.parametrize("kind", [Silent, Wide])
def test_an_agent_that_does_not_write_its_memory_is_refused(kind):
    with pytest.raises(ConfigError, match=r"must write row t\+1 of .*memory, \[\d, \d\]"):
        PPOClip(remembering("Logged", "none"), train_policy=kind())


def test_memory_without_a_size_is_refused():
    """The loss shows rows in sequence; what is kept elsewhere would be lost in silence."""

    class Hidden(nn.Module):
        has_memory = True

    class Remembers(DiscretePolicy):
        has_memory = True

    class Trunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.linear = Hidden(), nn.Linear(2, 3)

        def forward(self, x):
            return Categorical(logits=self.linear(x)), self.linear(x)[:, 0]

    with pytest.raises(ConfigError, match="Remembers has memory, but no attribute memory_size"):
        PPOClip(config("Logged"), train_policy=Remembers(2, [4], 3))
    policy, critic = shared_agents(Trunk())
    with pytest.raises(ConfigError, match="SharedPolicy has memory"):
        PPOClip(config("Logged"), train_policy=policy, critic_agent=critic)


def test_a_policy_with_another_memory_may_take_over():
    algo = PPOClip(remembering("Logged", max_epochs=2))
    sizes = []
    for workspace in algo.iter_partial_episodes(17):
        sizes.append(workspace["current_policy/memory"].shape[-1])
        algo.update(algo.record(workspace))
        algo.train_policy = RecurrentPolicy(Memory("gru", 2, 3), DiscretePolicy(3, [4], 3))
        algo.critic_agent = RecurrentCritic(Memory("gru", 2, 3), VAgent(3, [4]))
    assert sizes == [16, 3]
    algo.close()


def test_a_policy_with_memory_acts_in_any_loop():
    """Inside a container, and in whole episodes, with gradients through the table."""
    made = config("Logged", max_epochs=2)
    algo = EpisodicAlgo(made)
    policy = RecurrentPolicy(Memory("lstm", 2, 8), DiscretePolicy(8, [4], 3))
    algo.train_policy = bbrl.agents.Agents(policy)
    for workspace in algo.iter_episodes():
        assert workspace["memory"].shape[0] == workspace["action"].shape[0]
        workspace["memory"][-1].sum().backward()
        assert policy.memory.cells.weight_hh_l0.grad.any()
    algo.close()
    algo = EpisodicAlgo(made, autoreset=True)
    algo.train_policy = bbrl.agents.Agents(policy)
    last = None
    for workspace in algo.iter_partial_episodes(9):
        if last is not None:
            assert torch.equal(workspace["memory"][0], last)
        last = workspace["memory"][-1].detach()
    algo.close()


@pytest.mark.parametrize(
    ("like", "expected"),
    [
        (torch.zeros(4), [[1.0] * 4, [0.0] * 4]),  # the second one's episode begins
        (torch.zeros(3), [[0.0] * 3] * 2),
        (torch.zeros(4).double(), [[0.0] * 4] * 2),
    ],
    ids=["its own", "of another width", "of another precision"],
)
def test_only_what_an_agent_like_it_remembered_is_gone_on_from(like, expected):
    """Another one begins with nothing; in the table as for the network."""
    workspace = Workspace()
    workspace.set_full("env/timestep", torch.tensor([[5, 0]]))
    workspace.set_full("memory", torch.ones(1, 2, 4))
    for found in (recall(workspace, "memory", 0, like), workspace.get("memory", 0)):
        assert found.dtype == like.dtype
        assert found.tolist() == expected


def test_a_row_that_was_left_out_is_an_error():
    policy = RecurrentPolicy(Memory("lstm", 2, 8), DiscretePolicy(8, [4], 3))
    workspace = Workspace()
    workspace.set_full("env/env_obs", torch.zeros(3, 1, 2))
    workspace.set_full("env/timestep", torch.arange(3)[:, None])
    with pytest.raises(UserError, match=r"memory has no row 2: .* acts in row 1 first"):
        policy(workspace, t=2)


def test_outside_of_a_sequence_observations_begin_episodes():
    """`dist` and `value` stay functions of observations with any leading dimensions."""
    policy = RecurrentPolicy(Memory("lstm", 2, 8), DiscretePolicy(8, [4], 3))
    critic = RecurrentCritic(Memory("gru", 2, 8), VAgent(8, [4]))
    obs = torch.randn(3, 5, 2)
    assert policy.dist(obs).batch_shape == (3, 5)
    assert critic.value(obs).shape == (3, 5)
    workspace = Workspace()
    workspace.set("env/env_obs", 0, obs[0])
    workspace.set("env/timestep", 0, torch.zeros(5, dtype=torch.int64))
    critic(workspace, t=0)
    assert torch.allclose(workspace.get("v_values", 0), critic.value(obs)[0], atol=1e-6)


# --------------------------------------------------------------------------- settings and engines


def test_what_is_not_compiled_says_so(capsys):
    made = remembering("Logged", max_epochs=1)
    made["compute"] = {"compile": "always"}
    algo = PPOClip(made)
    algo.update(algo.record(next(algo.iter_partial_episodes(17))))
    assert isinstance(algo._engine, Update)
    said = capsys.readouterr().out
    assert said.count("The update is not compiled: agents with memory learn from sequences") == 1
    algo.close()


def test_the_compiler_is_not_chosen_for_it():
    made = remembering("Logged", max_epochs=10**6)
    algo = PPOClip(made)
    assert algo.cfg.compute.compile == "never"
    algo.close()


@pytest.mark.parametrize(
    ("key", "value"), [("memory", "rnn"), ("memory_size", 0), ("shared_memory", "perhaps")]
)
def test_settings_are_checked(key, value):
    made = remembering()
    made["algorithm"]["architecture"][key] = value
    with pytest.raises(ConfigError, match=f"algorithm.architecture.{key} = "):
        PPOClip(made)


def test_a_memory_of_another_kind_is_refused():
    with pytest.raises(UserError, match="memory = 'rnn': must be one of lstm, gru"):
        Memory("rnn", 2, 3)


def test_lightning_refuses_agents_with_memory():
    checks = pytest.importorskip("ppo_bbrl.lightning.checks")
    model = nn.Sequential(RecurrentPolicy(Memory("lstm", 2, 8), DiscretePolicy(8, [4], 3)))
    with pytest.raises(UserError, match=r"RecurrentPolicy has memory.*PPOClip"):
        checks.check_model(model, "32")


def test_double_precision():
    algo = PPOClip(remembering("LoggedBox"))
    algo.train_policy.double()
    algo.critic_agent.double()
    for workspace in algo.iter_partial_episodes(17):
        assert torch.isfinite(algo.update(algo.record(workspace)).metrics["critic_loss"])
        break
    algo.close()


# ------------------------------------------------------------------------- hidden velocities


def test_velocities_are_hidden():
    env = MaskVelocity(gym.make("CartPole-v1"))
    env.reset(seed=1)
    seen, *_ = env.step(1)
    assert seen[[1, 3]].tolist() == [0, 0]
    assert seen[[0, 2]].all()
    assert env.observation_space.contains(seen)
    env.close()


def test_it_has_a_name_in_configurations():
    made = remembering("Pendulum-v1", max_epochs=1, eval_interval=1)
    made["gym_env"]["wrappers"] = ["MaskVelocity"]
    algo = PPOClip(made)
    run(algo)
    algo.close()
    trained = ppo_bbrl.load(algo.folder.path)
    env = trained.make_env()
    seen, _ = env.reset(seed=0)
    assert seen[2] == 0
    env.close()
    made["gym_env"]["wrappers"] = [{"classname": "MaskVelocity", "indices": [0]}]
    algo = PPOClip(made)
    workspace = next(algo.iter_partial_episodes(3))
    assert not workspace["env/env_obs"][..., 0].any()
    assert workspace["env/env_obs"][..., 2].any()
    algo.close()


@pytest.mark.parametrize(
    ("name", "indices", "message"),
    [
        ("Logged-v0", None, "does not know which entries"),
        ("CartPole-v1", [4], r"indices = \[4\]: must be integers from 0 to 3"),
        ("CartPole-v1", [True], r"indices = \[True\]"),
        ("FrozenLake-v1", None, "takes vectors, not Discrete"),
    ],
)
def test_unknown_velocities_are_refused(name, indices, message):
    env = gym.make(name)
    with pytest.raises(ConfigError, match=message):
        MaskVelocity(env, indices)
    env.close()


# ----------------------------------------------------------------------------------- learning


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_it_learns_what_only_memory_tells(kind):
    """One cue at the beginning, one reward at the end: 1 with memory, ½ without."""
    made = remembering(
        "Recall", kind, n_envs=16, n_steps=20, batch_size=80, max_epochs=40, opt_epochs=6,
        normalize_advantage=True, eval_interval=10**6,
    )  # fmt: skip
    made["optimizer"]["lr"] = 1e-2
    algo = PPOClip(made)
    run(algo)
    assert algo.evaluate_policy(algo.eval_policy, 50).mean >= 0.95
    algo.close()


@pytest.mark.slow
def test_cartpole_without_velocities_is_solved():
    from pathlib import Path

    source = Path(__file__).parents[2] / "configs" / "cartpole_no_velocity_lstm.yaml"
    algo = PPOClip(ppo_bbrl.load_config(source, ["algorithm.seed=3"]))
    run(algo)
    assert algo.nb_steps <= 100_000
    assert algo.evaluate_policy(algo.best_policy, 50).mean >= 475
    algo.close()
