"""Every kind of observation with every kind of action: trained, saved, loaded, replayed."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from decoded_video import decode
from gymnasium.spaces import Box, Dict
from gymnasium.vector.utils import iterate
from space_envs import ACTIONS, MORE_ACTIONS, MORE_OBSERVATIONS, OBSERVATIONS, space_config

from ppo_bbrl import PPOClip, load, run
from ppo_bbrl.envs.spaces import Spaces, check_same_spaces
from ppo_bbrl.errors import UserError
from ppo_bbrl.runs.given_observation import as_batch
from ppo_bbrl.runs.replay import record_video

PAIRS = [
    *((observation, action) for observation in OBSERVATIONS for action in ACTIONS),
    *((observation, "dict") for observation in MORE_OBSERVATIONS),
    *(("dict", action) for action in MORE_ACTIONS),
]


class Keeping(PPOClip):
    """Keeps its state after each iteration."""

    def evaluate(self, force=False):
        best = super().evaluate(force)
        vars(self).setdefault("states", []).append(self.state_dict())
        return best


def trained(cfg):
    algo = PPOClip(cfg)
    run(algo)
    return algo


def test_there_are_eight_kinds_of_observations_and_seven_of_actions():
    assert (len(OBSERVATIONS), len(ACTIONS)) == (8, 7)


@pytest.mark.wide(14)
@pytest.mark.parametrize(("observation", "action"), PAIRS)
def test_a_pair_of_spaces(observation, action):
    """The environment itself sees that each action is in its space, dtype included."""
    algo = trained(space_config(observation, action))
    assert algo.nb_steps > 20
    policy = load(algo.folder.path)

    env, over = policy.make_env(), False
    seen, _ = env.reset(seed=0)
    while not over:
        batch, *_ = as_batch(env.observation_space, seen)
        before, after = (
            agent.wrapped.act(batch, stochastic=False) for agent in (algo.best_policy, policy.agent)
        )
        assert torch.equal(before, after)
        seen, _, terminated, truncated, _ = env.step(policy.predict(seen))
        over = terminated or truncated
    env.close()

    frames, _ = decode(replayed(policy, max_steps=2))
    assert len(frames) == 3
    assert frames.max() > 150


def replayed(policy, max_steps):
    return record_video(
        policy.agent,
        policy.env_name,
        Path("replay.mp4"),
        seeds=np.random.SeedSequence(1),
        env_args=policy.saved.cfg.gym_env.env_args,
        trained_on=policy,
        max_steps=max_steps,
    )


@pytest.mark.wide(2)
@pytest.mark.parametrize(
    ("observation", "action"),
    [("dict", "tuple"), ("tuple", "dict"), ("image", "multi_binary"), ("integers", "box")],
)
def test_environments_in_processes_give_the_same_weights(observation, action):
    cfg = space_config(observation, action)
    alone = trained(cfg)
    apart = trained(cfg | {"gym_env": cfg["gym_env"] | {"vectorization": "async"}})
    pairs = zip(alone.train_policy.parameters(), apart.train_policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(("observation", "action"), [("dict", "tuple"), ("tuple", "dict")])
def test_a_run_goes_on_from_its_state(observation, action):
    """Bit-equal, with observations and actions of several parts."""
    cfg = space_config(observation, action, max_epochs=3)
    whole = Keeping(cfg)
    run(whole)
    rest = PPOClip(cfg)
    rest.load_state_dict(whole.states[0])
    run(rest)
    assert rest.nb_steps == whole.nb_steps
    pairs = zip(rest.train_policy.parameters(), whole.train_policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_batch_of_observations_of_several_parts():
    policy = load(trained(space_config("dict", "tuple")).folder.path)
    vector = gym.make_vec("Space-v0", 3, observation="dict", action="tuple")
    seen, _ = vector.reset(seed=0)
    actions = policy.predict(seen)
    assert vector.action_space.contains(actions)
    first = policy.predict(next(iterate(vector.observation_space, seen)))
    assert np.array_equal(first[0], actions[0][0])
    assert np.allclose(first[1]["b"], actions[1]["b"][0], atol=1e-5)  # sums in another order
    vector.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"near": None}, "the observation at near is not|the observation at near has"),
        ({"near": np.array([np.nan, 0])}, "the observation at near contains NaN"),
        ({"far": {"place": 9}}, r"the observation at far is a dict of \['place'\]"),
        ({"more": 1}, "the observation is a dict of"),
    ],
)
def test_an_observation_that_is_not_in_the_space(change, told):
    policy = load(trained(space_config("dict", "discrete")).folder.path)
    seen = policy.observation_space.sample()
    with pytest.raises(UserError, match=told) as error:
        policy.predict(seen | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Dict(near=Box(-1, 1, (3,))), "the policy was trained on"),
        (OBSERVATIONS["tuple"], "the policy was trained on"),
    ],
)
def test_an_environment_of_other_parts(other, told):
    trained_on = Spaces(OBSERVATIONS["dict"], ACTIONS["discrete"])
    with pytest.raises(UserError, match=told):
        check_same_spaces("Env-v0", Spaces(other, ACTIONS["discrete"]), trained_on)
    wider = Dict(OBSERVATIONS["dict"].spaces | {"near": Box(-9, 9, (2,), np.float64)})
    with pytest.warns(UserWarning, match=told):
        check_same_spaces("Env-v0", Spaces(wider, ACTIONS["discrete"]), trained_on)


def test_a_wrapper_that_needs_a_dict():
    """What it leaves is what agents get, in the run and in the policy that is loaded."""
    cfg = space_config("dict", "discrete")
    wrapper = {"classname": "FilterObservation", "filter_keys": ["far"]}
    algo = trained(cfg | {"gym_env": cfg["gym_env"] | {"wrappers": [wrapper]}})
    assert algo.train_policy.encoder.paths == ("far/place", "far/flags", "far/map")
    policy = load(algo.folder.path)
    env = policy.make_env()
    seen, _ = env.reset(seed=0)
    assert list(seen) == ["far"]
    assert env.action_space.contains(policy.predict(seen))
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize(("observation", "action"), [("dict", "tuple"), ("image", "box")])
def test_compiled_updates_give_the_same_weights(observation, action):
    cfg = space_config(observation, action)
    plain, compiled = trained(cfg), trained(cfg | {"compute": {"compile": "always"}})
    pairs = zip(plain.train_policy.parameters(), compiled.train_policy.parameters(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
