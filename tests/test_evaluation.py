"""Evaluations: whole episodes, on their own environments, with their own chance."""

import random

import bbrl.agents
import numpy as np
import pytest
import torch
from probe_envs import config, fresh_log
from torch import nn

from ppo_bbrl import PPOClip
from ppo_bbrl.envs import EnvAgent
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


def test_each_evaluation_has_fresh_episodes(log):
    """Also of `evaluate_policy`: none of them was seen by training or by another evaluation."""
    algo = PPOClip(config("Logged", n_envs=3, nb_evals=3))
    next(algo.iter_partial_episodes())
    algo.evaluate(force=True)
    algo.evaluate_policy(algo.eval_policy, 3)
    algo.evaluate(force=True)
    assert len(log.seeds) == len(set(log.seeds)) == 4 * 3
    algo.close()
