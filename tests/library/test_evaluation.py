"""Evaluations: whole episodes, on their own environments, with their own chance."""

import random
import re

import bbrl.agents
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from probe_envs import config, fresh_log
from torch import nn

import ppo_bbrl
from ppo_bbrl import DiscretePolicy, PPOClip, Workspace, evaluation
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import UserError
from ppo_bbrl.evaluation import EvaluationError, evaluate


@pytest.fixture(autouse=True)
def log():
    return fresh_log()


class Dice(bbrl.agents.Agent):
    def __init__(self, n=3):
        super().__init__()
        self.n = n

    def forward(self, t, **kwargs):
        self.set(("action", t), torch.randint(self.n, (self.get(("env/env_obs", t)).shape[0],)))


def make(env_name, n, **options):
    return EnvAgent(env_name, n, autoreset=False, **options)


def seeds(number):
    return np.random.SeedSequence(number)


def test_returns_and_lengths_are_those_of_the_environments(log):
    """Undiscounted, one for each episode, nothing counted after its end."""
    env = make("Logged-v0", 20)
    report = evaluate(Dice(), env, seeds(1), max_steps=1000)
    assert report.unfinished == 0
    assert sorted(report.lengths.tolist()) == sorted(log.lengths)
    assert sorted(report.returns.tolist()) == pytest.approx(sorted(log.returns), abs=1e-5)
    assert report.mean == pytest.approx(np.mean(log.returns), abs=1e-5)
    assert report.std == pytest.approx(np.std(log.returns), abs=1e-5)
    assert len(log.acted_in) == sum(log.lengths), "nobody steps on after the end"
    env.close()


def test_the_same_seeds_give_the_same_episodes_and_others_others():
    env = make("Chance-v0", 6)
    first, again, other = (
        evaluate(Dice(2), env, seeds(number), max_steps=100).returns for number in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.isin(first, other).any()
    assert len(set(first.tolist())) == 6
    env.close()


def test_it_touches_no_random_stream():
    """Not torch's, not NumPy's, not Python's: whoever uses them goes on as if nothing had been."""
    env = make("Chance-v0", 4)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global stream is what this is about
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    evaluate(Dice(2), env, seeds(1), max_steps=100)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]
    env.close()


def test_the_policy_is_evaluated_in_eval_mode_and_left_as_it_was():
    """Dropout and running statistics stand still; afterwards each module is in its old mode."""
    modes = []

    class Mixed(Dice):
        def __init__(self):
            super().__init__(2)
            self.frozen, self.learning = nn.Dropout().eval(), nn.Dropout()

        def forward(self, t, **kwargs):
            modes.append(any(module.training for module in self.modules()))
            if t == 2:
                raise ZeroDivisionError
            super().forward(t, **kwargs)

    policy, env = Mixed(), make("Chance-v0", 2)
    with pytest.raises(ZeroDivisionError):
        evaluate(policy, env, seeds(1), max_steps=100)
    assert modes == [False] * 3
    assert [module.training for module in (policy, policy.frozen, policy.learning)] == [
        True,
        False,
        True,
    ]
    env.close()


def test_no_gradient_is_recorded():
    """A long evaluation of a network must not keep a graph of every step."""
    recorded = []

    class Curious(Dice):
        def forward(self, t, **kwargs):
            recorded.append(torch.is_grad_enabled())
            super().forward(t, **kwargs)

    env = make("Chance-v0", 2)
    evaluate(Curious(2), env, seeds(1), max_steps=100)
    assert recorded
    assert not any(recorded)
    env.close()


def test_endless_episodes_are_ended_and_said_to_be():
    env = make("Logged-v0", 3, env_args={"ends": False})
    with pytest.warns(UserWarning, match=r"Logged-v0 ended after 12 steps: 3 of 3"):
        report = evaluate(Dice(), env, seeds(1), max_steps=12)
    assert report.unfinished == 3
    assert report.lengths.tolist() == [12, 12, 12]
    env.close()


def test_a_return_that_is_no_number_names_its_episodes():
    env = make("NotANumber-v0", 2)
    with pytest.raises(EvaluationError, match=r"NotANumber-v0.*\[0, 1\].*nan"):
        evaluate(Dice(2), env, seeds(1), max_steps=12)
    env.close()


class Broken(gym.Env):
    """Something of it is no number, from step 3 on, in the second environment alone."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Discrete(2)
    made = 0

    def __init__(self, what, value=float("nan"), final=False):
        self.what, self.value, self.final = what, value, final
        self.index = Broken.made % 2
        Broken.made += 1

    def _observe(self):
        observation = np.zeros(2, np.float32)
        if self.what == "env_obs" and self.index == 1 and self.t >= 3:
            observation[1] = self.value
        return observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        broken = self.what == "reward" and self.index == 1 and self.t >= 3
        ends = self.t >= (3 if self.final else 6)
        return self._observe(), self.value if broken else 1.0, ends, False, {}


gym.register("BrokenNumbers-v0", Broken, disable_env_checker=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("what", ["env_obs", "reward"])
def test_what_is_no_number_is_named_with_episode_and_step(what, value):
    """The argmax of NaN is 0: the returns of such an evaluation would look like any others."""
    Broken.made = 0
    env = make("BrokenNumbers-v0", 2, env_args={"what": what, "value": value})
    named = rf"BrokenNumbers-v0: in step 3 of episodes \[1\] env/{what} is {value}"
    with pytest.raises(EvaluationError, match=named):
        evaluate(DiscretePolicy(2, [4], 2), env, seeds(1), max_steps=12)
    env.close()


def test_the_last_observation_of_an_episode_may_be_anything():
    """Nobody acts on it: a simulation that explodes is ended by its environment."""
    Broken.made = 0
    env = make("BrokenNumbers-v0", 2, env_args={"what": "env_obs", "final": True})
    report = evaluate(DiscretePolicy(2, [4], 2), env, seeds(1), max_steps=12)
    assert report.returns.tolist() == [3, 3]
    env.close()


def test_an_agent_of_ones_own_may_know_what_infinity_means():
    Broken.made = 0
    env = make("BrokenNumbers-v0", 2, env_args={"what": "env_obs", "value": float("inf")})
    assert evaluate(Dice(2), env, seeds(1), max_steps=12).returns.tolist() == [6, 6]
    env.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_action_that_is_no_number_is_named(value):
    class Wild(bbrl.agents.Agent):
        def forward(self, t, **kwargs):
            action = torch.zeros(3, 1)
            if t == 2:
                action[1] = value
            self.set(("action", t), action)

    env = make("Pendulum-v1", 3)
    named = rf"Pendulum-v1: in step 2 of episodes \[1\] action is {value}"
    with pytest.raises(EvaluationError, match=named):
        evaluate(Wild(), env, seeds(1), max_steps=12)
    env.close()


def test_a_policy_whose_weights_are_no_numbers_is_not_evaluated():
    """Nor is it the best of a run ever after."""
    policy, env = DiscretePolicy(3, [4], 2), make("Chance-v0", 2)
    with torch.no_grad():
        policy.model[0].weight[0, 0] = float("nan")
    with pytest.raises(EvaluationError, match=r"model\.0\.weight is not all numbers"):
        evaluate(policy, env, seeds(1), max_steps=12)
    env.close()


@pytest.mark.filterwarnings("ignore:overflow")
def test_rewards_whose_sum_is_no_number_are_named():
    Broken.made = 0
    env = make("BrokenNumbers-v0", 2, env_args={"what": "reward", "value": 3e38})
    with pytest.raises(EvaluationError, match=r"the return of episodes \[1\] is inf"):
        evaluate(Dice(2), env, seeds(1), max_steps=12)
    env.close()


# ------------------------------------------------------------------------------ its memory


class Reader(bbrl.agents.Agent):
    """Reads what `read(agent, t)` does, and keeps all of it; acts by chance."""

    def __init__(self, read):
        super().__init__()
        self.read, self.seen = read, []

    def forward(self, t, **kwargs):
        if t == 0:
            self.seen = []
        self.set(("mine", t), torch.full((4,), float(t)))
        self.seen.append(self.read(self, t))
        self.set(("action", t), torch.randint(2, (4,)))


def hidden(agent, t):
    """Behind a `try`, as an agent may look for a row that is not there at first."""
    try:
        return agent.get(("mine", t - 3))
    except Exception:  # noqa: BLE001
        return None


READS = {
    "this row": lambda agent, t: agent.get(("env/env_obs", t)),
    "the row before": lambda agent, t: agent.get(("mine", max(t - 1, 0))),
    "two rows before": lambda agent, t: agent.get(("mine", max(t - 2, 0))),
    "the first row": lambda agent, _: agent.get(("env/env_obs", 0)),
    "every third row": lambda agent, t: agent.get(("mine", max(t - 3, 0))) if t % 3 == 0 else None,
    "all rows": lambda agent, _: agent.workspace["env/env_obs"],
    "the last rows": lambda agent, t: agent.workspace.get_time_truncated("mine", 0, t + 1),
    "a part": lambda agent, t: agent.workspace.variables["mine"].subtime(0, t + 1).view(),
    "the length": lambda agent, _: torch.tensor(agent.workspace.variables["mine"].time_size()),
    "behind a try": hidden,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_an_agent_may_read_any_row_of_its_episode(read, monkeypatch):
    """What it gets is what it would get if all rows were kept."""
    env = make("Chance-v0", 4)
    agent = Reader(read)
    report = evaluate(agent, env, seeds(1), max_steps=100)
    monkeypatch.setattr(evaluation, "with_enough_rows", lambda use: use(Workspace(capacity=512)))
    other = Reader(read)
    expected = evaluate(other, env, seeds(1), max_steps=100)
    assert torch.equal(report.returns, expected.returns)
    assert len(agent.seen) == len(other.seen) == 4
    for one, two in zip(agent.seen, other.seen, strict=True):
        assert (one is two is None) or torch.equal(one, two)
    env.close()


@pytest.mark.parametrize("read", ["this row", "the row before"])
def test_memory_does_not_grow_with_the_episodes(read):
    """Of every variable two rows are kept, of agents of your own too."""
    sizes = []

    class Weighed(Reader):
        def forward(self, t, **kwargs):
            super().forward(t, **kwargs)
            variables = self.workspace.variables.values()
            sizes.append(sum(one._storage.numel() for one in variables))

    env = make("Logged-v0", 4, env_args={"ends": False})
    with pytest.warns(UserWarning, match="still running"):
        evaluate(Weighed(READS[read]), env, seeds(1), max_steps=700)
    assert len(sizes) == 700
    assert sizes[-1] == sizes[0]
    env.close()


def test_the_greedy_policy_is_evaluated():
    """PPO's evaluations take the most likely action: the same seeds give the same returns."""
    algo = PPOClip(config("ActionAndObservationDecide", nb_evals=8))
    greedy = [algo.evaluate_policy(algo.eval_policy, 50).returns.mean() for _ in range(2)]
    with torch.no_grad():
        probabilities = algo.train_policy.dist(torch.tensor([[-1.0], [1.0]])).probs
    chosen = probabilities.argmax(-1)
    if chosen[0] == chosen[1]:
        assert all(abs(value) < 0.6 for value in greedy)
    else:
        assert abs(greedy[0]) == abs(greedy[1]) == 1
    algo.close()


def test_evaluate_policy_keeps_nothing():
    """It answers a question about any policy; the best one and the log are left alone."""
    algo = PPOClip(config("ActionDecides"))
    report = algo.evaluate_policy(Dice(2), 25)
    assert report.returns.shape == (25,)
    assert algo.best_policy is None
    assert not algo.eval_rewards
    assert not algo.logger.newest()
    algo.close()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("n_episodes", lambda algo, wrong: algo.evaluate_policy(algo.eval_policy, wrong)),
        ("max_steps", lambda algo, wrong: algo.record_best(max_steps=wrong)),
        ("episode_steps", lambda algo, wrong: next(algo.iter_partial_episodes(wrong))),
    ],
)
@pytest.mark.parametrize("wrong", [0, -3, 2.0, "9"])
def test_numbers_of_steps_and_episodes_are_checked(name, call, wrong):
    algo = PPOClip(config("ActionDecides"))
    with pytest.raises(UserError, match=re.escape(f"{name} = {wrong!r}: must be an integer")):
        call(algo, wrong)
    algo.close()


def test_each_evaluation_has_fresh_episodes(log):
    """Also of `evaluate_policy`: none of them was seen by training or by another evaluation."""
    algo = PPOClip(config("Logged", n_envs=3, nb_evals=3))
    next(algo.iter_partial_episodes())
    algo.evaluate(force=True)
    algo.evaluate_policy(algo.eval_policy, 3)
    algo.evaluate(force=True)
    assert len(log.seeds) == len(set(log.seeds)) == 4 * 3
    algo.close()


@pytest.mark.parametrize("wrong", [None, lambda _: 0, DiscretePolicy])
def test_what_is_no_agent_is_not_evaluated(wrong):
    algo = PPOClip(config("Logged"))
    with pytest.raises(UserError, match="must be a BBRL agent"):
        algo.evaluate_policy(wrong, 2)
    algo.evaluate(force=True)
    algo.close()
    with pytest.raises(UserError, match="its attribute agent is one"):
        algo.evaluate_policy(ppo_bbrl.load(algo.folder.path), 2)
