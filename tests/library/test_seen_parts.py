"""`policy_keys` and `critic_keys`: the critic may see what the policy does not."""

import gymnasium as gym
import hidden_envs  # noqa: F401 - registers Hidden-v0
import numpy as np
import pytest
import torch
from gymnasium.spaces import Dict, Discrete, Tuple
from probe_envs import config
from space_envs import space_config
from torch.distributions import Categorical

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents import Policy
from ppo_bbrl.agents.build import build_policy
from ppo_bbrl.agents.seen_parts import without_others
from ppo_bbrl.config import ConfigError
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.envs.spaces import Spaces

SEEN, HIDDEN = ["sensors"], ["simulator/0", "sensors/steps"]
OF_POLICY = {"sensors/noisy", "sensors/steps"}


def settings(**algorithm):
    how = {"policy_keys": SEEN, "critic_keys": HIDDEN, "n_envs": 2, "n_steps": 12, "max_epochs": 2}
    return config("Hidden", **how | {"nb_evals": 1, "eval_interval": 1} | algorithm)


CASES = {
    "plain": {},
    "all for the critic": {"critic_keys": None},
    "normalised": {"normalize_observation": True, "clip_observation": 3.0},
    "memory": {"architecture": {"memory": "gru", "memory_size": 4}, "normalize_observation": True},
    "curious": {"curiosity": "rnd"},
}


class Spied(PPOClip):
    """Keeps the last minibatch."""

    def losses(self, minibatch):
        self.minibatch = minibatch
        return super().losses(minibatch)


def gradients(algo, minibatch):
    algo.train_policy.zero_grad()
    losses, _ = algo.losses(minibatch)
    losses["policy"].backward()
    return {name: one.grad.clone() for name, one in algo.train_policy.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_the_policy_does_not_depend_on_what_only_the_critic_sees(case):
    """Neither its actions nor its gradient change with it; the critic's values do."""
    algo = Spied(settings(**CASES[case]))
    for workspace in algo.iter_partial_episodes(13):
        transitions = algo.record(workspace)
        algo.update(transitions)  # normalisers have moved
        minibatch = algo.minibatch
        names = {name for name in minibatch.variables if name.startswith("env/env_obs/")}
        assert len(names) == 4
        before, values = gradients(algo, minibatch), algo.losses(minibatch)[0]["value"]
        for name in hidden_parts(minibatch):
            minibatch.variables[f"env/env_obs/{name}"].zero_()
        after = gradients(algo, minibatch)
        assert before
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert algo.losses(minibatch)[0]["value"] != values
        assert any(one.any() for one in before.values())
    algo.close()


def hidden_parts(minibatch):
    names = {name for name in minibatch.variables if name.startswith("env/env_obs/")}
    return {name.removeprefix("env/env_obs/") for name in names} - OF_POLICY


def test_what_each_sees_has_statistics_of_its_own():
    """A part that both see is normalised alike."""
    how = {"normalize_observation": True, "critic_keys": ["sensors/noisy", "simulator"]}
    algo = PPOClip(settings(**how))
    run(algo)
    of_policy, of_critic = (
        dict(zip(one.encoder.normaliser.paths, one.encoder.normaliser.moments, strict=True))
        for one in (algo.train_policy, algo.critic_agent)
    )
    assert list(of_policy) == ["sensors/noisy"]
    assert list(of_critic) == ["sensors/noisy", "simulator/0"]
    assert of_policy["sensors/noisy"].count > 10
    torch.testing.assert_close(
        of_policy["sensors/noisy"].state_dict(), of_critic["sensors/noisy"].state_dict()
    )


@pytest.mark.parametrize("case", ["plain", "normalised", "memory"])
def test_a_saved_policy_acts_without_the_critics_parts(case):
    """On the real robot there is no simulator; with it, actions are the same."""
    algo = PPOClip(settings(**CASES[case]))
    run(algo)
    algo.visualize_best()
    policy = ppo_bbrl.load(algo.base_dir, which="last")
    env = policy.make_env()
    with_it, _ = env.reset(seed=1)
    without = {"sensors": with_it["sensors"]}
    actions = []
    for one in (with_it, without):
        policy.reset()
        actions.append(policy.predict(one))
    assert actions[0] == actions[1]
    batch = {"noisy": np.zeros((3, 1), np.float32), "steps": np.zeros(3, np.int64)}
    policy.reset()
    assert policy.predict({"sensors": batch}).shape == (3,)
    with pytest.raises(ppo_bbrl.errors.UserError, match="expected a dict of"):
        policy.predict({**without, "camera": 1})
    with pytest.raises(ppo_bbrl.errors.UserError, match="expected a dict of"):
        policy.predict({"simulator": with_it["simulator"]})
    assert not any("critic" in name for name in policy.saved.state)
    env.close()


def test_a_run_goes_on_from_its_state():
    algo = PPOClip(settings(normalize_observation=True))
    run(algo)
    again = PPOClip(settings(normalize_observation=True))
    again.load_state_dict(algo.state_dict())
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            again.critic_agent.state_dict().values(),
            algo.critic_agent.state_dict().values(),
            strict=True,
        )
    )
    again.close()
    other = PPOClip(settings(normalize_observation=True, critic_keys=["simulator"]))
    with pytest.raises(ppo_bbrl.errors.UserError):
        other.load_state_dict(algo.state_dict())
    other.close()


BAD = {
    "unknown": (
        {"critic_keys": ["sensors", "goal"]},
        "algorithm.critic_keys = ['sensors', 'goal']: the observations of Hidden-v0 have no 'g",
    ),
    "part of a name": ({"policy_keys": ["sens"]}, "the observations of Hidden-v0 have no 'sens'"),
    "shared trunk": (
        {"architecture": {"shared_trunk": True}},
        "policy and critic must see the same with algorithm.architecture.shared_trunk",
    ),
    "shared trunk, policy alone": (
        {"critic_keys": None, "architecture": {"shared_trunk": True}},
        "algorithm.policy_keys = ['sensors']: policy and critic must see the same",
    ),
    "shared memory": (
        {"architecture": {"memory": "lstm", "shared_memory": True}},
        "policy and critic must see the same with algorithm.architecture.shared_memory",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_in_one_line(case):
    algorithm, told = BAD[case]
    with pytest.raises(ConfigError) as error:
        PPOClip(settings(**algorithm))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["policy_keys", "critic_keys"])
def test_observations_without_keys(key):
    with pytest.raises(ConfigError, match=rf"algorithm.{key} = \['a'\]: must be null, since"):
        PPOClip(space_config("vector", "discrete", **{key: ["a"]}))


def test_both_may_see_less_by_one_trunk():
    trunk = {"shared_trunk": True, "actor_hidden_size": [8], "critic_hidden_size": [8]}
    algo = PPOClip(settings(critic_keys=SEEN, architecture=trunk))
    run(algo)
    assert algo.nb_steps == 48 - 2 * 4


class Own(Policy):
    """Of one's own: it reads what it likes."""

    def __init__(self):
        super().__init__("policy")
        self.logits = torch.nn.Parameter(torch.zeros(3))

    def dist(self, obs):
        n = len(obs["sensors/noisy"])
        return Categorical(logits=self.logits.expand(n, 3))


def test_agents_of_ones_own_choose_what_they_read():
    """So the key would have no effect, and is refused; the package's agents may be replaced."""
    with pytest.raises(ConfigError, match=r"policy_keys = \['sensors'\]: Own is an agent of your"):
        PPOClip(settings(), train_policy=Own())
    PPOClip(settings(policy_keys=None), train_policy=Own()).close()
    algo = PPOClip(settings())
    algo.train_policy = build_policy(algo.cfg, algo.train_env)
    with pytest.raises(ConfigError, match="critic_keys"):
        algo.critic_agent = PPOClip(settings(critic_keys=None)).critic_agent
    algo.close()


def test_parts_of_nested_tuples_have_numbers():
    """They may be left out, too: a dict by number has some of them."""
    space = Dict(a=Tuple((Discrete(2), Discrete(3))), b=Discrete(4))
    cfg = load_config(settings(policy_keys=["a/1"]))
    policy = build_policy(cfg, Spaces(space, Discrete(3)))
    assert policy.encoder.n_features == 3
    assert policy.encoder.paths == ("a/1",)
    seen = Dict(a=Dict({"1": Discrete(3)}))
    for given in ({"a": (0, 2), "b": 3}, {"a": (0, 2)}, {"a": {"1": 2}}):
        assert without_others(space, seen, given) == {"a": {"1": 2}}
    assert without_others(space, space, given) is given
    assert isinstance(gym.make("Hidden-v0").observation_space, Dict)
