"""Action spaces of every kind: what is written, what the environment gets, what is learned."""

import copy

import numpy as np
import pytest
import torch
from action_envs import ACTIONS, check, target
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text, Tuple
from probe_envs import config

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.agents.build import build_policy
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.envs.actions import action_converter, each_action, is_own
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.spaces import Spaces, check_supported
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.evaluation import evaluate
from ppo_bbrl.workspace.table import Workspace, one_row

KINDS = pytest.mark.parametrize("kind", ACTIONS)

# the policy's class, and shape and type of a row of two actions in the workspace
WRITTEN = {
    "Discrete from 5": ("DiscretePolicy", (2,), torch.int64),
    "Box of float64": ("GaussianPolicy", (2, 2, 3), torch.float32),
    "MultiDiscrete": ("MultiDiscretePolicy", (2, 3), torch.int64),
    "MultiDiscrete of two axes": ("MultiDiscretePolicy", (2, 2, 2), torch.int64),
    "MultiBinary of two axes": ("MultiBinaryPolicy", (2, 2, 3), torch.float32),
    "Dict": ("CompositePolicy", (2, 3), torch.float32),
    "nested": ("CompositePolicy", (2, 10), torch.float32),
}


def settings(kind, **algorithm):
    cfg = config("Takes", **algorithm)
    cfg["gym_env"]["env_args"] = {"kind": kind}
    return cfg


def policy_for(kind):
    spaces = Spaces(Box(-1, 1, (3,), np.float32), ACTIONS[kind])
    return build_policy(load_config(settings(kind)), spaces).with_prefix("p/")


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_policy_that_auto_finds_writes_one_variable(kind):
    name, shape, dtype = WRITTEN[kind]
    policy = policy_for(kind)
    assert type(policy).__name__ == name
    for greedy in (False, True):
        row = one_row({"env/env_obs": torch.randn(2, 3)})
        policy(row, t=0, stochastic=not greedy)
        action = row.get("action", 0)
        assert (action.shape, action.dtype) == (shape, dtype)
        assert action.eq(action.round()).all() or "Box" in str(ACTIONS[kind])


@pytest.mark.wide(16)
@KINDS
@pytest.mark.parametrize("vectorization", ["sync", "async", "vector_entry_point"])
@pytest.mark.filterwarnings("ignore:gym_env.vectorization = vector_entry_point")
def test_every_action_is_a_member_of_the_space(kind, vectorization):
    """The environments refuse any other, also by its type; over the ends of episodes."""
    env = EnvAgent("Takes-v0", 2, env_args={"kind": kind}, vectorization=vectorization)
    act, workspace = row_actor(policy_for(kind), 2, 12), Workspace()
    try:
        for t in range(12):
            env(workspace, t=t)
            act(workspace, t)
    finally:
        env.close()
    assert workspace.view("env/done").any()


@KINDS
def test_a_row_becomes_the_actions_that_it_stands_for(kind):
    """Both ways: each action of the space has a row that becomes it."""
    space = ACTIONS[kind]
    space.seed(1)
    n = 20
    wanted = [space.sample() for _ in range(n)]
    row = torch.as_tensor(np.array([as_numbers(space, action) for action in wanted]))
    if isinstance(space, Discrete | MultiDiscrete):
        row = row.long()
    row = row.reshape(n, *(space.shape if space.shape is not None else (-1,)))
    if row.is_floating_point():
        row = row.float()
    for found, action in zip(each_of(space, row, n), wanted, strict=True):
        check(space, found)
        np.testing.assert_allclose(
            as_numbers(space, found), as_numbers(space, action), rtol=1e-3, atol=1e-4
        )


def same_numbers(space, found, expected):
    """But for rounding, which depends on where in memory weights are."""
    np.testing.assert_allclose(
        as_numbers(space, found), as_numbers(space, expected), rtol=1e-3, atol=1e-6
    )


def each_of(space, row, n):
    return each_action(space, action_converter(space, n)(row), n)


def as_numbers(space, action):
    """What a row has for an action: indices from 0."""
    if isinstance(space, Dict):
        return np.concatenate([as_numbers(space[name], action[name]) for name in space.spaces])
    if isinstance(space, Tuple):
        return np.concatenate([as_numbers(*pair) for pair in zip(space, action, strict=True)])
    start = space.start if isinstance(space, Discrete | MultiDiscrete) else 0
    return np.ravel(np.subtract(action, start, dtype=np.float64))


def test_a_composite_action_by_hand():
    """Parts in the space's order."""
    space = Dict([("push", ACTIONS["Dict"]["push"]), ("turn", ACTIONS["Dict"]["turn"])])
    convert = action_converter(space, 2)
    given = convert(torch.tensor([[9.0, -0.5, 0.0], [-9.0, 0.5, 2.0]]))
    assert list(given) == ["push", "turn"]
    assert given["push"].tolist() == [[2.0, -0.5], [-1.0, 0.5]]
    assert given["turn"].tolist() == [-1, 1]
    with pytest.raises(ValueError, match=r"takes shape \[2, 3\], floats"):
        convert(torch.zeros(2, 4))


def test_each_environment_gets_a_key_or_an_array():
    """A Discrete part may index a dict of the environment's; a Box contains arrays alone."""
    space = Dict([("push", Box(-1, 1, (), np.float32)), ("turn", Discrete(3, start=-1))])
    given = each_of(space, torch.tensor([[0.5, 0.0], [-0.5, 2.0]]), 2)
    assert [{-1: "left", 0: "on", 1: "right"}[one["turn"]] for one in given] == ["left", "right"]
    assert all(one in space for one in given)


class Counted(Discrete):
    """An action space of one's own, which counts from 7, in place."""

    def action_head(self):
        raise NotImplementedError

    def for_environments(self, actions):
        actions += 7
        return actions.tolist()


def test_a_space_of_ones_own_says_what_environments_get():
    row = torch.tensor([0, 1])
    assert action_converter(Counted(2), 2)(row) == [7, 8]
    assert row.tolist() == [0, 1]  # the workspace's
    assert is_own(Dict(mine=Counted(2), other=Discrete(2)))
    assert not is_own(Dict(other=Discrete(2)))


def test_a_space_without_actions_is_named():
    with pytest.raises(UserError, match=r"no actions for Text"):
        action_converter(Text(3), 2)


@pytest.mark.wide(6)
@KINDS
def test_trained_saved_loaded_and_watched(kind, tmp_path, monkeypatch):
    """The policy of the file takes the same actions, in the space's own structure and type."""
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(settings(kind, max_epochs=2, n_steps=8))
    before = copy.deepcopy(algo.train_policy.state_dict())
    run(algo)
    after = algo.train_policy.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    algo.evaluate(force=True)
    trained = ppo_bbrl.load(algo.folder.path, which="last")
    space, seen = ACTIONS[kind], np.random.default_rng(0).uniform(-1, 1, (6, 3)).astype(np.float32)
    for rows in (seen, seen[:1]):  # sums of one row are rounded otherwise
        row = one_row({"env/env_obs": torch.from_numpy(rows)})
        algo.eval_policy(row, t=0)
        wanted = each_of(space, row.get("action", 0), len(rows))
        found = each_action(space, trained.predict(rows), len(rows))
        for one, action in zip(found, wanted, strict=True):
            check(space, one)
            same_numbers(space, one, action)
    single = trained.predict(seen[0])
    check(space, single)
    same_numbers(space, single, wanted[0])
    check(space, trained.predict(seen[0], deterministic=False))
    assert algo.record_best(max_steps=3).exists()
    algo.close()


@pytest.mark.wide(1)
@pytest.mark.parametrize("kind", ["MultiDiscrete of two axes", "MultiBinary", "Tuple"])
def test_each_component_is_learned(kind, tmp_path, monkeypatch):
    """A component that is left out, or swapped with another one, would stay wrong."""
    monkeypatch.chdir(tmp_path)
    cfg = settings(
        kind, n_envs=8, n_steps=16, max_epochs=30, batch_size=64, opt_epochs=4, discount_factor=0.0
    )
    cfg["optimizer"]["lr"] = 1e-2
    algo = PPOClip(cfg)
    run(algo)
    report = evaluate(algo.eval_policy, algo.eval_env, np.random.SeedSequence(5), max_steps=10)
    assert len(target(kind)) > 1
    assert report.mean / 5 > -0.15
    algo.close()


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (Text(3), r"Text\(1, 3.* is not supported; supported are Box, .*, Dict and Tuple"),
        (Dict(a=Discrete(2), b=Text(3)), "is not supported"),
        (Dict(), "is not supported"),
        (
            Tuple((Dict(a=Box(0, 9, (2,), np.int64)),)),
            r"its part 0/a, Box\(0, 9.*\), has dtype int64; .* Box of floats",
        ),
    ],
)
def test_what_no_policy_can_do_is_refused_in_one_line(space, told):
    with pytest.raises(ConfigError, match=told) as error:
        check_supported("Env-v0", Box(-1, 1, (3,), np.float32), space)
    assert "\n" not in str(error.value)


def test_a_policy_type_that_does_not_fit_is_refused():
    with pytest.raises(
        ConfigError, match=r"policy_type = 'MultiBinaryPolicy'.*needs MultiDiscrete"
    ):
        PPOClip(settings("MultiDiscrete", policy_type="MultiBinaryPolicy"))
