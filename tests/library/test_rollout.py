"""Rollouts: what lies in which row, which rows are transitions, which weights they belong to."""

import bbrl.agents
import numpy as np
import probe_envs
import pytest
import torch
from probe_envs import SCALE, config, fresh_log, state_ids

from ppo_bbrl import DiscretePolicy, EpisodicAlgo, GaussianPolicy, PPOClip, VAgent, run
from ppo_bbrl.agents import acting
from ppo_bbrl.agents.base import evaluate_actions
from ppo_bbrl.minibatches import Transitions
from ppo_bbrl.rollout import evaluate_rollout, with_values


@pytest.fixture(autouse=True)
def log():
    return fresh_log()


class Spy:
    """Writes down how likely each action was when it was taken: what the ratio is about."""

    def forward(self, t, *, predict_proba=False, **kwargs):
        super().forward(t, predict_proba=predict_proba, **kwargs)
        if not predict_proba:
            dist = self.dist(self.get(("env/env_obs", t)))
            self.set(("taken_with", t), dist.log_prob(self.get(("action", t))))


class DiscreteSpy(Spy, DiscretePolicy):
    pass


class GaussianSpy(Spy, GaussianPolicy):
    pass


def spy(env_name):
    """Of the observation space: only then does it act on arrays, as the package's policies do."""
    if env_name == "Logged":
        return DiscreteSpy(probe_envs.Logged.observation_space, [16], 3)
    return GaussianSpy(probe_envs.LoggedBox.observation_space, [16], 2, log_std_init=-0.5)


def valid(workspace):
    """Which rows, but the last, begin a transition: `[T-1, B]`."""
    return ~workspace["env/done"][:-1]


# ------------------------------------------------------------------------------- rows and time


@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox"])
def test_the_action_of_a_row_is_executed_from_it_and_answered_in_the_next(env_name, log):
    """Protects the alignment in time: o_t, a_t in row t; the reward of a_t in row t+1.

    The environment shows the action that it got in its next observation, and says in which of
    its states it got it.
    """
    algo = PPOClip(config(env_name, n_envs=3))
    for workspace in algo.iter_partial_episodes(17):
        obs, action, starts = workspace["env/env_obs"], workspace["action"], valid(workspace)
        first = action[:-1] if env_name == "Logged" else action[:-1, :, 0].clamp(-0.5, 0.5)
        assert torch.equal(obs[1:, :, 1][starts], first[starts].float())
    assert sorted(log.acted_in) == sorted(set(log.acted_in))
    algo.close()


def test_rows_carry_on_where_the_last_rollout_stood(log):
    """Every state in which the environments were stepped is a valid row of exactly one rollout.

    Fails if a transition at the border is lost or seen twice, or the autoreset step counted.
    """
    algo = PPOClip(config("Logged", n_envs=3, max_epochs=6))
    seen, counts = [], 0
    for workspace in algo.iter_partial_episodes(9):
        assert workspace["env/env_obs"].shape == (9, 3, 2)
        starts = valid(workspace)
        seen += state_ids(workspace["env/env_obs"][:-1][starts])
        counts += int(starts.sum())
    assert sorted(seen) == sorted(log.acted_in)
    assert algo.nb_steps == counts == len(log.acted_in)
    algo.close()


def test_episodes_end_in_a_row_of_their_own(log):
    """Final observation, then the first one of the next episode: reward, time and sum are 0 there.

    Fails if the reset row carries on the sums of the ended episode.
    """
    algo = PPOClip(config("Logged", n_envs=2, max_epochs=1))
    (workspace,) = algo.iter_partial_episodes(200)
    done = workspace["env/done"]
    assert torch.equal(done, workspace["env/terminated"] | workspace["env/truncated"])
    resets = done[:-1]
    assert resets.sum() > 10
    after = torch.zeros_like(done)
    after[1:] = resets
    for name in ("env/reward", "env/timestep", "env/cumulated_reward"):
        assert not workspace[name][after].any()
    assert set(state_ids(workspace["env/env_obs"][after])) < set(log.first)
    assert not (after & done).any()
    ended = workspace["env/cumulated_reward"][done]
    assert sorted(ended.tolist()) == pytest.approx(sorted(log.returns), abs=1e-5)
    assert sorted(workspace["env/timestep"][done].tolist()) == sorted(log.lengths)
    algo.close()


def test_actions_stay_as_sampled_though_the_environment_gets_them_clipped(log):
    """The log-probability of a clipped action would be that of another action."""
    algo = PPOClip(config("LoggedBox", max_epochs=1))
    (workspace,) = algo.iter_partial_episodes(50)
    assert workspace["action"].abs().max() > 0.6
    assert np.abs(log.actions).max() <= 0.5
    algo.close()


def test_what_was_read_stays_as_it_was():
    """The workspace is the same one every time; what a student kept of the last is untouched."""
    algo = PPOClip(config("Logged", max_epochs=3))
    names = ("env/env_obs", "env/reward", "action")
    read = [[ws[name] for name in names] for ws in algo.iter_partial_episodes(8)]
    first = algo.iter_partial_episodes(8)
    workspace = next(first)
    kept = [workspace[name] for name in names] + [workspace.get(name, 3) for name in names]
    copies = [tensor.clone() for tensor in kept]
    next(first)
    assert all(map(torch.equal, kept, copies))
    assert not any(map(torch.equal, read[0], read[1]))
    algo.close()


# ------------------------------------------------------------------------ policies and weights


@pytest.mark.wide(2)
@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox"])
@pytest.mark.parametrize("spied", [False, True])
def test_on_the_first_minibatch_the_ratio_is_1(env_name, spied):
    """|ratio - 1| ≤ 1e-6 on the first minibatch of every rollout; carried rows included.

    Also against the log-probabilities that a spying policy wrote down when it acted, in every
    valid row. Upstream: up to 0.30, in row 0.
    """
    cfg = config(env_name, max_epochs=25, n_envs=8, opt_epochs=4)
    cfg["optimizer"]["lr"] = 1e-2  # so that weights do move between rollouts
    algo = PPOClip(cfg, train_policy=spy(env_name) if spied else None)
    moved = 0.0
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        minibatch = next(rollout.minibatches(32, torch.Generator()))
        with torch.no_grad():
            log_prob, _ = evaluate_actions(algo.train_policy, minibatch.variables)
        assert ((log_prob - minibatch.log_prob).exp() - 1).abs().max() <= 1e-6
        if spied:
            ratio = (workspace["current_policy/logprob"] - workspace["taken_with"]).exp()
            assert (ratio - 1)[:-1][valid(workspace)].abs().max() <= 1e-5  # float32, two formulas
        moved = max(moved, float(algo.update(rollout).metrics["approx_kl"]))
    assert moved > 1e-4
    algo.close()


def test_an_agent_with_memory_keeps_its_carried_row():
    """Its state in row 0 led to the action there; acting again would advance it twice.

    Gradients end there: those of the last rollout have been followed, and cannot be twice.
    """

    class Recurrent(bbrl.agents.Agent):
        has_memory = True

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, t, **kwargs):
            obs = self.get(("env/env_obs", t))
            before = self.get(("memory", t - 1)) if t > 0 else torch.zeros(obs.shape[0])
            self.set(("memory", t), before * self.weight + 1)
            if t == 0:  # and no row to carry
                self.set(("env/first_seen", t), obs)
            self.set(("action", t), torch.zeros(obs.shape[0], dtype=torch.int64))

    algo = EpisodicAlgo(config("Chance", max_epochs=3), autoreset=True)
    algo.train_policy = Recurrent()
    counts = []
    for workspace in algo.iter_partial_episodes(4):
        counts.append(workspace["memory"][:, 0].tolist())
        workspace["memory"].sum().backward()
    assert counts == [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8, 9, 10]]
    algo.close()


# ------------------------------------------------------------------------------ record, select


def test_a_rollout_holds_the_valid_transitions_and_nothing_else():
    """No autoreset step in it, nor the last row; each entry belongs to the state beside it."""
    algo = PPOClip(config("Logged"))
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        starts = valid(workspace)
        assert len(rollout) == starts.sum() < starts.numel()
        expected = workspace["env/env_obs"][:-1][starts]
        assert torch.equal(rollout.variables["env/env_obs"], expected)
        assert torch.equal(rollout.variables["action"], workspace["action"][:-1][starts])
        assert set(rollout.variables) == {"env/env_obs", "action"}  # the rest nobody reads
        for name, tensor in (
            ("current_policy/logprob", rollout.log_prob),
            ("critic/v_values", rollout.value),
            ("advantage", rollout.advantage),
            ("return", rollout.returns),
        ):
            assert torch.equal(workspace[name][:-1][starts], tensor)
        assert torch.allclose(rollout.returns, rollout.advantage + rollout.value)
        with torch.no_grad():
            value = algo.critic_agent.value(rollout.variables["env/env_obs"])
        assert torch.allclose(value, rollout.value, atol=1e-6)
        assert not any(
            tensor.requires_grad for tensor in vars(rollout).values() if torch.is_tensor(tensor)
        )
    algo.close()


@pytest.mark.parametrize("critic", ["own", "package"])
def test_advantages_are_those_of_a_plain_loop(critic):
    """Against the definition, one episode at a time, in float64: fails on upstream's one mask."""

    class Plain(bbrl.agents.Agent):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([3.0, -0.5]))

        def forward(self, t, **kwargs):
            self.set((f"{self.prefix}v_values", t), self.get(("env/env_obs", t)) @ self.weight)

    gamma, lam = 0.9, 0.7
    cfg = config("Logged", discount_factor=gamma, gae=lam, max_epochs=2)
    agent = Plain() if critic == "own" else VAgent(2, [16])
    algo = PPOClip(cfg, critic_agent=agent)
    for workspace in algo.iter_partial_episodes(60):
        algo.record(workspace)
        names = ("env/reward", "critic/v_values", "env/terminated", "env/done", "advantage")
        reward, value, terminated, done, advantage = (workspace[n].double() for n in names)
        for b in range(reward.shape[1]):
            follows = 0.0
            for t in reversed(range(len(reward) - 1)):
                if done[t, b]:
                    follows = 0.0  # the step of autoreset
                    continue
                next_value = 0.0 if terminated[t + 1, b] else value[t + 1, b]
                delta = reward[t + 1, b] + gamma * next_value - value[t, b]
                follows = delta + (0.0 if done[t + 1, b] else gamma * lam * follows)
                assert advantage[t, b] == pytest.approx(float(follows), abs=1e-5)
    algo.close()


def test_values_computed_anew_are_those_of_the_critic_as_it_is_now():
    """Of each row and of the one after it; all else of the rollout stays."""
    algo = PPOClip(config("Logged"))
    workspace = next(algo.iter_partial_episodes(17))
    before = evaluate_rollout(workspace, algo.train_policy, algo.critic_agent)
    with torch.no_grad():
        for parameter in algo.critic_agent.parameters():
            parameter.add_(0.1)
        now = with_values(before, algo.critic_agent)
        expected = algo.critic_agent.value(workspace["env/env_obs"])
    torch.testing.assert_close(now.value, expected[:-1])
    torch.testing.assert_close(now.next_value, expected[1:])
    assert not torch.allclose(now.value, before.value)
    assert now.reward is before.reward
    algo.close()


def some_rollout(n):
    numbers = torch.arange(n)
    variables = {"env/env_obs": numbers[:, None] * SCALE, "action": numbers}
    return Transitions(variables, *(numbers.float() + offset for offset in (0.1, 0.2, 0.3, 0.4)))


@pytest.mark.parametrize(
    ("n", "batch_size"), [(64, 16), (65, 16), (7, 3), (5, 100), (9, 0), (1, 1)]
)
def test_minibatches_hold_every_transition_once(n, batch_size):
    """Fails on upstream's draws with replacement, which leave out a third of the transitions."""
    rollout, generator = some_rollout(n), torch.Generator().manual_seed(0)
    batches = list(rollout.minibatches(batch_size, generator))
    actions = torch.cat([batch.variables["action"] for batch in batches])
    assert sorted(actions.tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= (batch_size or n)
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) > 1 or batches[0] is rollout  # neither drawn nor copied
    for batch in batches:
        chosen = batch.variables["action"]
        assert torch.equal(batch.variables["env/env_obs"][:, 0], chosen * SCALE)
        assert torch.allclose(batch.log_prob, chosen + 0.1)
        assert torch.allclose(batch.value, chosen + 0.2)
        assert torch.allclose(batch.advantage, chosen + 0.3)
        assert torch.allclose(batch.returns, chosen + 0.4)


@pytest.mark.parametrize("batch_size", [0, 16])
def test_where_no_transition_begins_there_is_no_minibatch(batch_size):
    """Every episode had just ended: the mean of nothing would make weights of NaN."""
    assert list(some_rollout(0).minibatches(batch_size, torch.Generator())) == []


def test_minibatches_are_shuffled_anew_each_time():
    """The same order in every epoch would be fewer different gradients."""
    rollout, generator = some_rollout(64), torch.Generator().manual_seed(0)
    orders = {
        tuple(
            torch.cat([b.variables["action"] for b in rollout.minibatches(16, generator)]).tolist()
        )
        for _ in range(3)
    }
    assert len(orders) == 3
    assert tuple(range(64)) not in orders


def test_the_generator_alone_shuffles_minibatches():
    """A run's seed decides the order, whatever else draws numbers in the same program."""
    rollout, orders = some_rollout(64), []
    for seed in (0, 0, 1):
        torch.rand(1)
        parts = rollout.minibatches(16, torch.Generator().manual_seed(seed))
        orders.append([part.variables["action"].tolist() for part in parts])
    assert orders[0] == orders[1] != orders[2]


# ---------------------------------------------------------------------------- once in a rollout


@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox"])
def test_noise_is_drawn_once_for_a_whole_rollout(env_name, monkeypatch):
    """Drawing it row by row costs as much as the environments."""
    algo = PPOClip(config(env_name, max_epochs=2))
    shapes, draw = [], acting.draw_noise

    def watched(policy, *leading):
        shapes.append(leading)
        return draw(policy, *leading)

    monkeypatch.setattr(acting, "draw_noise", watched)
    for _ in algo.iter_partial_episodes(17):
        pass
    assert shapes == [(17, 4)] * 2
    algo.close()


def test_steps_are_counted_where_they_begin():
    """Episodes of one step: rows are in turn the first and the last of one."""
    algo = PPOClip(config("ConstantReward", n_envs=2, max_epochs=4))
    counts = []
    for workspace in algo.iter_partial_episodes(2):
        counts.append(algo.nb_steps)
        assert torch.equal(workspace["env/done"][0], ~workspace["env/done"][1])
    assert counts == [2, 2, 4, 4]
    algo.close()


def test_the_last_row_is_carried_over_though_all_episodes_end_in_it():
    """Autoreset begins the next ones; a reset in its place would hide the final observation."""
    algo = PPOClip(config("Logged", n_envs=1, max_epochs=40))
    last, ends = None, 0
    for workspace in algo.iter_partial_episodes(4):
        obs, done = workspace["env/env_obs"], workspace["env/done"]
        if last is not None:
            assert torch.equal(obs[0], last)
        last, ends = obs[-1], ends + int(done[-1].all())
    assert ends > 2
    algo.close()


def test_the_last_row_of_a_rollout_has_no_target():
    """No transition begins there: advantage and return are 0."""
    algo = PPOClip(config("Logged"))
    for workspace in algo.iter_partial_episodes(9):
        algo.record(workspace)
        for name in ("advantage", "return"):
            assert workspace[name].shape == (9, 4)
            assert not workspace[name][-1].any()
            assert workspace[name][:-1].any()
    algo.close()


class Clock(bbrl.agents.Agent):
    """A critic that reads the time, when it collects and when it learns."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, t, **kwargs):
        value = self.weight * self.get(("env/timestep", t)).float()
        self.set((f"{self.prefix}v_values", t), value)


def test_an_agent_of_ones_own_may_learn_from_any_variable():
    algo = PPOClip(config("Logged"), critic_agent=Clock())
    run(algo)
    assert algo.critic_agent.weight != 0
    algo.close()


def test_what_has_not_all_rows_belongs_to_no_transition():
    algo = PPOClip(config("Logged"), critic_agent=Clock())
    workspace = next(algo.iter_partial_episodes(9))
    workspace.set("noted", 0, torch.zeros(4))
    variables = algo.record(workspace).variables
    assert "env/timestep" in variables
    assert "noted" not in variables
    algo.close()
