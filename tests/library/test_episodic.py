"""EpisodicAlgo: what a student's own algorithm stands on."""

import bbrl.agents
import bbrl_utils.algorithms
import pytest
import torch
from omegaconf import OmegaConf
from probe_envs import config, fresh_log, state_ids
from torch import nn

import ppo_bbrl
from ppo_bbrl import ConfigError, EpisodicAlgo, KWAgentWrapper, TemporalAgent, iter_episodes
from ppo_bbrl.plots import read_metrics


@pytest.fixture(autouse=True)
def log():
    return fresh_log()


class Dice(bbrl.agents.Agent):
    """Any of n actions."""

    def __init__(self, n=2):
        super().__init__()
        self.n = n

    def forward(self, t, **kwargs):
        self.set(("action", t), torch.randint(self.n, (self.get(("env/env_obs", t)).shape[0],)))


class Linear(bbrl.agents.Agent):
    """A policy that keeps the gradient of the log-probability of what it did."""

    def __init__(self, n_features, n_actions):
        super().__init__()
        self.model = nn.Linear(n_features, n_actions)

    def forward(self, t, *, stochastic=True, **kwargs):
        dist = torch.distributions.Categorical(logits=self.model(self.get(("env/env_obs", t))))
        action = dist.sample() if stochastic else dist.mode
        self.set(("action", t), action)
        self.set(("log_prob", t), dist.log_prob(action))


def algo_of(env_name="Chance", policy=None, autoreset=True, **algorithm):
    algo = EpisodicAlgo(config(env_name, **algorithm), autoreset)
    algo.train_policy = policy or Dice()
    return algo


# ----------------------------------------------------------------------------- the interface


def test_it_is_the_upstream_class_by_type():
    """Code that asks `isinstance` goes on working; autoreset and wrappers are positional too."""
    algo = EpisodicAlgo(config("Chance"), False, [])
    assert isinstance(algo, bbrl_utils.algorithms.EpisodicAlgo)
    assert not algo.train_env.autoreset
    assert not EpisodicAlgo(config("Chance")).train_env.autoreset
    assert EpisodicAlgo(config("Chance"), autoreset=True, env_wrappers=[]).train_env.autoreset


def test_the_smallest_configuration():
    """An environment is all that has no default."""
    algo = EpisodicAlgo({"gym_env": {"env_name": "CartPole-v1"}})
    assert algo.cfg.algorithm.n_envs == 8
    algo.close()


def test_the_callers_configuration_stays_as_it_was():
    """Upstream writes `logger.log_dir` into it."""
    cfg = OmegaConf.create(config("Chance"))
    cfg.base_dir = "here/${algorithm.seed}"
    cfg.student = {"key": "${algorithm.n_envs}"}
    before = OmegaConf.to_yaml(cfg)
    algo = EpisodicAlgo(cfg)
    algo.train_policy = Dice()
    algo.evaluate(force=True)
    algo.cfg.algorithm.n_steps = 999
    assert OmegaConf.to_yaml(cfg) == before
    assert algo.cfg.base_dir == "here/3"
    assert algo.cfg.student.key == 4
    algo.close()


def test_known_keys_are_checked_and_a_students_are_not():
    algo = EpisodicAlgo(config("Chance", temperature="hot") | {"anything": [1, {"at": "all"}]})
    assert algo.cfg.algorithm.temperature == "hot"
    assert algo.cfg.anything[1]["at"] == "all"
    with pytest.raises(ConfigError, match=r"algorithm\.n_envs = 0"):
        EpisodicAlgo(config("Chance", n_envs=0))


def test_without_a_policy_there_is_a_clear_error():
    """Upstream: an assertion, or a call of None."""
    algo = EpisodicAlgo(config("Chance"), autoreset=True)
    for use in (
        lambda: next(algo.iter_partial_episodes()),
        lambda: algo.evaluate(force=True),
        algo.visualize_best,
    ):
        with pytest.raises(ValueError, match="train_policy"):
            use()
    algo.close()


def test_no_file_before_something_is_logged(tmp_path):
    """Making an algorithm to look at it, as in a test or a notebook, leaves nothing behind."""
    algo = algo_of()
    assert algo.nb_steps == 0
    algo.train_env.get_obs_and_actions_sizes()
    assert not list(tmp_path.iterdir())
    algo.close()
    assert not list(tmp_path.iterdir())


def test_the_logger_averages_what_has_the_same_name_and_step():
    """Detached; upstream keeps the first value of a step and drops the others."""
    algo = algo_of()
    loss = torch.tensor(2.0, requires_grad=True) * 2
    algo.logger.add_log("mine", loss, 10)
    algo.logger.add_log("mine", 0.0, 10)
    algo.logger.log_losses(1.0, torch.tensor(2.0), loss, 10)
    algo.logger.log_losses(3.0, torch.tensor(4.0), loss, 10)
    algo.logger.add_log("mine", 7, 20)
    algo.close()
    table = read_metrics(algo.base_dir)
    assert table["steps"].tolist() == [10, 20]
    assert table["mine"].tolist() == [2, 7]
    row = table.iloc[0]
    assert [row[name] for name in ("critic_loss", "entropy_loss", "actor_loss")] == [2, 3, 4]
    loss.backward()  # its graph is still there: the logger did not use it up


def test_evaluate_says_whether_it_was_the_best():
    algo = algo_of("ActionDecides")
    assert not algo.evaluate()  # not due
    algo.eval_policy = Dice(1)
    assert algo.evaluate(force=True)
    assert algo.best_reward == algo.running_reward == -1
    assert not algo.register_evaluation(torch.tensor([-2.0]))
    assert algo.running_reward == -1.5
    algo.close()
    table = read_metrics(algo.base_dir)
    assert table["reward/max"].tolist() == [-1.5]  # two evaluations at the same step, averaged


def test_the_agents_that_upstream_offers():
    """`train_agent` and `eval_agent`: environment and policy in one, for one's own loops."""
    algo = algo_of(autoreset=False)
    workspace = ppo_bbrl.Workspace()
    algo.train_agent(workspace, t=0, n_steps=3)
    assert workspace["action"].shape == (3, 4)
    workspace = ppo_bbrl.Workspace()
    algo.eval_agent(workspace, t=0, stop_variable="env/done")
    assert workspace["env/done"][-1].all()
    algo.close()


# --------------------------------------------------------------------------- partial episodes


@pytest.mark.parametrize("call", ["method", "function"])
def test_a_partial_episode_has_n_rows(call):
    """As upstream: n rows, of which the first is the last one of the time before."""
    algo = algo_of(n_steps=7, max_epochs=3)
    rows = {
        "method": algo.iter_partial_episodes,
        "function": lambda n=None: ppo_bbrl.iter_partial_episodes(algo, n),
    }[call]
    last = None
    for workspace in rows():
        observations = workspace["env/env_obs"]
        assert observations.shape == (7, 4, 3)
        assert last is None or torch.equal(observations[0], last)
        last = observations[-1]
    assert algo.epoch == 2
    assert [workspace.time_size() for workspace in rows(5)] == [5, 5, 5]
    algo.close()


def test_the_function_honours_the_method_of_a_subclass():
    """Upstream's function is the method of its own class, whatever the subclass says."""

    class Mine(EpisodicAlgo):
        def iter_partial_episodes(self, episode_steps=None):
            yield f"mine, {episode_steps}"

        def iter_episodes(self):
            yield "mine, too"

    algo = Mine(config("Chance"))
    assert list(ppo_bbrl.iter_partial_episodes(algo, 5)) == ["mine, 5"]
    assert list(ppo_bbrl.iter_episodes(algo)) == ["mine, too"]
    algo.close()


def test_one_row_is_no_transition():
    algo = algo_of()
    for rows in (1, 0):
        with pytest.raises(ConfigError, match=f"episode_steps = {rows}"):
            next(algo.iter_partial_episodes(rows))
    algo.close()


def test_policies_may_be_exchanged_between_rollouts():
    """The one that is there when a rollout begins acts in it."""
    algo = algo_of("Logged", Dice(1), max_epochs=2)
    actions = []
    for workspace in algo.iter_partial_episodes(4):
        actions.append(workspace["action"])
        algo.train_policy = Dice(3)
    assert actions[0].max() == 0
    assert actions[1].max() > 0
    algo.close()


def test_gradients_go_through_the_rows_of_a_rollout():
    """What an agent wrote with a gradient can be backpropagated, rollout after rollout."""
    algo = algo_of("Logged", Linear(2, 3), max_epochs=3)
    optimizer = torch.optim.SGD(algo.train_policy.parameters(), 0.1)
    for workspace in algo.iter_partial_episodes(6):
        log_prob, action, obs = workspace["log_prob", "action", "env/env_obs"]
        assert log_prob.requires_grad
        loss = -(log_prob[:-1] * workspace["env/reward"][1:]).mean()
        expected = torch.distributions.Categorical(logits=algo.train_policy.model(obs)).log_prob(
            action
        )
        torch.testing.assert_close(log_prob, expected)
        optimizer.zero_grad()
        loss.backward()
        gradient = algo.train_policy.model.weight.grad.clone()
        optimizer.zero_grad()
        (-(expected[:-1] * workspace["env/reward"][1:]).mean()).backward()
        torch.testing.assert_close(algo.train_policy.model.weight.grad, gradient)
        optimizer.step()
    algo.close()


def test_reinforce_learns():
    """A student's first algorithm, on whole episodes with gradients through the workspace."""
    algo = algo_of("ActionDecides", Linear(1, 2), autoreset=False, max_epochs=60, n_envs=16)
    optimizer = torch.optim.Adam(algo.train_policy.parameters(), 0.05)
    for workspace in algo.iter_episodes():
        returns = workspace["env/cumulated_reward"][-1]
        loss = -(workspace["log_prob"][0] * (returns - returns.mean())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    algo.eval_policy = KWAgentWrapper(algo.train_policy, stochastic=False)
    algo.evaluate(force=True)
    assert algo.best_reward == 1
    with torch.no_grad():
        assert algo.train_policy.model(torch.ones(1, 1)).softmax(-1)[0, 1] > 0.9
    algo.close()


# ----------------------------------------------------------------------------- whole episodes


def test_whole_episodes(log):
    """One of each environment; who ends first repeats the last row, for no reward, as upstream."""
    algo = algo_of("Logged", Dice(3), autoreset=False, max_epochs=4, n_envs=5)
    for workspace in iter_episodes(algo):
        done, reward = workspace["env/done"], workspace["env/reward"]
        observations, timestep = workspace["env/env_obs"], workspace["env/timestep"]
        assert done[-1].all()
        assert not done[:-1].all(1).any(), "no row after the end of the last"
        for b in range(5):
            end = int(done[:, b].float().argmax())
            assert done[end:, b].all()
            assert not reward[end + 1 :, b].any()
            assert (observations[end:, b] == observations[end, b]).all()
            assert (timestep[end:, b] == end).all()
            total = workspace["env/cumulated_reward"][end:, b]
            assert (total == total[0]).all()
            assert total[0].item() == pytest.approx(float(reward[:, b].sum()), abs=1e-5)
        assert workspace["action"].shape[0] == done.shape[0]
        acted = ~done[:-1]
        assert set(state_ids(observations[:-1][acted])) <= set(log.acted_in)
        assert algo.nb_steps == len(log.acted_in)
    assert len(log.returns) == 4 * 5
    algo.close()


def test_whole_episodes_of_a_vectorised_task():
    """Gymnasium's own CartPole resets by itself: it is held back all the same."""
    algo = algo_of("CartPole-v1", autoreset=False, max_epochs=3)
    for workspace in algo.iter_episodes():
        done = workspace["env/done"]
        assert done[-1].all()
        assert (done[1:] >= done[:-1]).all()
        lengths = workspace["env/timestep"][-1]
        assert torch.equal(lengths.float(), workspace["env/cumulated_reward"][-1])
        assert workspace["env/reward"].sum() == lengths.sum()
    algo.close()


def test_episodes_differ_from_one_iteration_to_the_next():
    algo = algo_of(autoreset=False, max_epochs=3)
    first = [workspace["env/env_obs"][0].tolist() for workspace in algo.iter_episodes()]
    seen = {tuple(observation) for row in first for observation in row}
    assert len(seen) == 3 * 4
    algo.close()


def test_whole_episodes_need_environments_that_stop():
    algo = algo_of(autoreset=True)
    with pytest.raises(ConfigError, match="autoreset=False"):
        next(algo.iter_episodes())
    algo.close()


def test_workspaces_of_episodes_are_not_reused():
    """A student may keep all of them."""
    algo = algo_of(autoreset=False, max_epochs=2)
    first, second = algo.iter_episodes()
    assert first is not second
    assert not torch.equal(first["env/env_obs"], second["env/env_obs"])
    algo.close()


def test_a_temporal_agent_of_bbrl_runs_on_our_rows():
    """A critic over a whole rollout, row by row, as notebooks do it."""

    class Critic(bbrl.agents.Agent):
        def forward(self, t, **kwargs):
            self.set(("value", t), self.get(("env/env_obs", t)).sum(-1))

    algo = algo_of(max_epochs=2)
    for workspace in algo.iter_partial_episodes(6):
        TemporalAgent(Critic())(workspace, t=0, n_steps=6)
        assert torch.equal(workspace["value"], workspace["env/env_obs"].sum(-1))
    algo.close()


def test_an_evaluation_is_due_when_more_than_the_interval_has_gone_by():
    """Not when exactly as many steps have, as in bbrl."""
    algo = algo_of(eval_interval=100)
    due = []
    for algo.nb_steps in (99, 100, 101, 201, 202):
        algo.evaluate()
        due.append(len(algo.eval_rewards))
    assert due == [0, 0, 1, 1, 2]
    algo.close()


def test_the_running_reward_is_of_the_last_ten():
    algo = algo_of()
    for reward in range(13):
        algo.register_evaluation(torch.tensor([float(reward)]))
    assert algo.running_reward == sum(range(3, 13)) / 10
    algo.close()


def test_environments_of_evaluations_stand_still_at_their_end():
    """One that began anew would be stepped on while the others play."""
    assert not algo_of(autoreset=True).eval_env.autoreset
