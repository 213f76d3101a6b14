"""A run's policy in another program: made again from files alone, or refused with a reason."""

import shutil
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from probe_envs import config
from torch import nn

import ppo_bbrl
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.episodic import EpisodicAlgo
from ppo_bbrl.errors import UserError
from ppo_bbrl.ppo import PPOClip, restore_policy
from ppo_bbrl.runs.best_policy import class_name, load_policy, restore, save_policy
from ppo_bbrl.runs.given_observation import as_batch
from ppo_bbrl.system.console import as_return


def saved_run(cfg, **kwargs):
    """The folder of a policy that was evaluated once."""
    algo = PPOClip(cfg, **kwargs)
    algo.evaluate(force=True)
    algo.close()
    return algo.save_best()


def test_no_environment_is_made(monkeypatch):
    """Its spaces lie with the weights: the task may be missing, slow, or a stranger's."""
    folder = saved_run(config("Chance"))
    monkeypatch.setattr(EnvAgent, "__init__", lambda *_, **__: pytest.fail("made an environment"))
    assert isinstance(restore_policy(load_policy(folder)).wrapped, DiscretePolicy)


def test_an_old_file_without_spaces():
    """The environment of the configuration is made to learn them."""
    folder = saved_run(config("Chance"))
    content = torch.load(folder / "policy.pt")
    for name in ("observation_space", "action_space", "own_agent"):
        del content[name]
    torch.save(content, folder / "policy.pt")
    policy = restore_policy(load_policy(folder))
    assert all(
        torch.equal(policy.state_dict()[name], content["policy"][name])
        for name in content["policy"]
    )


def told(folder):
    with pytest.raises(UserError) as error:
        restore_policy(load_policy(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


class Mine(DiscretePolicy):
    """An agent of a user's program."""


@pytest.mark.parametrize("agent", [Mine, DiscretePolicy])
def test_an_agent_of_ones_own_is_named(agent):
    """Of a class, or of sizes, that the configuration does not know."""
    cfg = config("Chance")
    message = told(saved_run(cfg, train_policy=agent(3, [5], 2)))
    assert class_name(agent) in message
    assert "agent of your own" in message


def test_only_an_agent_of_ones_own_is_called_that():
    """What does not fit for another reason has another line."""
    folder = saved_run(config("Chance"))
    text = (folder / "config.yaml").read_text().partition("\n")[2]  # without its seal
    (folder / "config.yaml").write_text(text.replace("- 16", "- 8"))
    message = told(folder)
    assert "do not fit" in message
    assert "your own" not in message


@pytest.mark.parametrize("env_name", ["CartPole-v1", "Pendulum-v1"])
def test_another_default_device_makes_no_difference(env_name):
    """A program may have its tensors on a GPU; on the device meta they would have no values."""
    folder = saved_run(config(env_name))
    policy = ppo_bbrl.load(folder)
    observation = np.full(policy.observation_space.shape, 0.1, np.float32)
    expected = policy.predict(observation)
    with torch.device("meta"):
        assert ppo_bbrl.load(folder).predict(observation) == expected
        assert policy.predict(observation) == expected


def test_an_agent_of_ones_own_that_the_configuration_makes_too():
    cfg = config("Chance")
    mine = DiscretePolicy(3, [16], 2)
    again = restore_policy(load_policy(saved_run(cfg, train_policy=mine))).wrapped
    assert torch.equal(
        again.evaluate_actions(torch.ones(3), torch.tensor(1))[0],
        mine.evaluate_actions(torch.ones(3), torch.tensor(1))[0],
    )


@pytest.mark.parametrize("architecture", [None, {"actor_hidden_size": [4]}])
def test_a_run_of_a_students_algorithm(architecture):
    """With agents and keys of its own: named as such, not called a damaged configuration."""
    cfg = {
        "base_dir": "student",
        "gym_env": {"env_name": "Chance-v0"},
        "algorithm": {"n_envs": 2, "nb_evals": 2, "beta": 0.5},
    }
    if architecture:
        cfg["algorithm"]["architecture"] = architecture
    algo = EpisodicAlgo(cfg)
    algo.train_policy = DiscretePolicy(3, [4], 2)
    algo.evaluate(force=True)
    algo.close()
    assert "agent of your own" in told(algo.save_best())


def test_a_policy_that_was_saved_by_hand():
    """`save_policy` without spaces, as before there were any."""
    cfg = load_config({"gym_env": {"env_name": "CartPole-v1"}})
    policy = DiscretePolicy(4, [64, 64], 2)
    save_policy(Path("run/best"), policy, cfg, 1.0, 1)
    weights = restore_policy(load_policy(Path("run/best"))).wrapped.parameters()
    assert torch.equal(
        nn.utils.parameters_to_vector(weights), nn.utils.parameters_to_vector(policy.parameters())
    )


# ------------------------------------------------------------------------- predict: its actions

F32 = np.float32
OBSERVATIONS = {
    "vector": Box(-1, 1, (2,), F32),
    "float64": Box(-1, 1, (2,), np.float64),
    "number": Box(-1, 1, (), F32),
    "matrix": Box(-1, 1, (2, 3), F32),
    "integers": Box(-9, 9, (2,), np.int64),
    "flags": Box(0, 1, (3,), np.bool_),
    "picture": Box(0, 255, (4, 5, 3), np.uint8),
    "discrete": Discrete(5),
    "discrete from -3": Discrete(4, start=-3),
}
ACTIONS = {
    "discrete": Discrete(3),
    "discrete from 5": Discrete(3, start=5),
    "discrete of one": Discrete(1, start=-1),
    "box": Box(-1, 1, (2,), F32),
    "box of a number": Box(-0.1, 0.1, (), F32),
    "matrix": Box(0.5, 1, (2, 2), F32),
    "asymmetric": Box(np.array([-2, 3], F32), np.array([0, 7], F32)),
    "half bounded": Box(np.array([-np.inf, 0.5], F32), np.array([1, np.inf], F32)),
    "unbounded": Box(-np.inf, np.inf, (2,), F32),
    "float64": Box(0.1, 0.3, (2,), np.float64),
    "float16": Box(0.1, 0.3, (2,), np.float16),
}


class Shaped(gym.Env):
    """Of any spaces."""

    def __init__(self, seen="vector", acts="discrete", render_mode=None):
        self.observation_space, self.action_space = OBSERVATIONS[seen], ACTIONS[acts]
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, True, {}


gym.register("Shaped-v0", Shaped, disable_env_checker=True)


def shaped(seen="vector", acts="discrete", **more):
    cfg = config("Shaped")
    cfg["gym_env"] = {"env_name": "Shaped-v0", "env_args": {"seen": seen, "acts": acts}, **more}
    return cfg


@pytest.mark.wide(7)
@pytest.mark.parametrize(
    ("seen", "acts"),
    [(name, "discrete") for name in OBSERVATIONS] + [("vector", name) for name in ACTIONS],
)
def test_an_action_is_in_the_action_space(seen, acts):
    """Of the right type, within the bounds, counted from the space's start; one or a batch."""
    policy = ppo_bbrl.load(saved_run(shaped(seen, acts)))
    observations = [OBSERVATIONS[seen].sample() for _ in range(6)]
    env = policy.make_env()
    env.reset(seed=0)
    for deterministic in (True, False):
        for observation in observations:
            action = policy.predict(observation, deterministic=deterministic)
            assert policy.action_space.contains(action)
            assert action.dtype == policy.action_space.dtype
            env.step(action)
        actions = policy.predict(np.array(observations), deterministic=deterministic)
        assert actions.shape == (6, *policy.action_space.shape)
        assert actions.dtype == policy.action_space.dtype
        assert all(policy.action_space.contains(np.asarray(one)) for one in actions)
    env.close()


@pytest.mark.parametrize("acts", ["discrete from 5", "asymmetric"])
@pytest.mark.parametrize("seen", ["vector", "picture", "discrete from -3"])
def test_an_action_is_what_the_run_would_do(seen, acts):
    """The same as the greedy agent's on the workspace, whatever was drawn before."""
    algo = PPOClip(shaped(seen, acts))
    algo.evaluate(force=True)
    policy = ppo_bbrl.load(algo.save_best())
    algo.train_env.seed(1)
    workspace = ppo_bbrl.Workspace()
    algo.train_env(workspace, t=0)
    algo.best_policy(workspace, t=0)
    expected = algo.train_env._to_env(workspace.get("action", 0))
    start = getattr(policy.observation_space, "start", 0)
    observations = workspace.get("env/env_obs", 0).numpy() + start
    np.testing.assert_allclose(policy.predict(observations), expected, rtol=1e-6, atol=1e-8)
    single = policy.predict(observations[0])
    np.testing.assert_allclose(single, expected[0], rtol=1e-6, atol=1e-8)
    algo.close()


def test_a_discrete_action_can_be_a_key():
    """As environments of tables use it."""
    policy = ppo_bbrl.load(saved_run(shaped("discrete", "discrete from 5")))
    assert policy.predict(3) in {5: "a", 6: "b", 7: "c"}
    assert policy.predict(np.int64(3)) in {5: "a", 6: "b", 7: "c"}


def test_samples_come_from_torchs_stream_and_greedy_actions_from_none():
    policy = ppo_bbrl.load(saved_run(shaped(acts="unbounded")))
    observation = np.zeros(2, F32)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    greedy = policy.predict(observation)
    assert torch.equal(torch.get_rng_state(), before)
    sampled = policy.predict(observation, deterministic=False)
    torch.manual_seed(0)
    assert np.array_equal(policy.predict(observation, deterministic=False), sampled)
    assert not np.array_equal(greedy, sampled)
    assert np.array_equal(policy.predict(torch.zeros(2)), greedy)
    assert np.array_equal(policy.predict([0, 0]), greedy)


def test_loading_draws_nothing_and_keeps_the_precision():
    """The program's random numbers stay as they were, and the weights as they are in the file."""
    folder = saved_run(shaped())
    before = torch.get_rng_state()
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        policy = ppo_bbrl.load(folder)
        assert policy.predict(np.zeros(2, F32)) in policy.action_space
    finally:
        torch.set_default_dtype(default)
    assert torch.equal(torch.get_rng_state(), before)
    assert {weight.dtype for weight in policy.agent.parameters()} == {torch.float32}


@pytest.mark.wide(10)
@pytest.mark.parametrize(
    ("seen", "observation"),
    [
        ("vector", np.zeros(3, F32)),
        ("vector", np.zeros((2, 2, 2), F32)),
        ("vector", 0.5),
        ("vector", "zero"),
        ("vector", None),
        ("vector", {"near": 1}),
        ("vector", [[0.0], [0.0, 1.0]]),
        ("vector", np.array([0.0, np.nan])),
        ("vector", np.array([0.0, np.inf])),
        ("vector", np.array([0.0, 1e300])),
        ("picture", np.zeros((3, 5, 4), np.uint8)),
        ("picture", np.zeros((4, 5, 3), F32)),
        ("picture", np.full((4, 5, 3), 256)),
        ("discrete", 5),
        ("discrete", -1),
        ("discrete", 1.0),
        ("discrete", [1, 7]),
        ("discrete from -3", 1),
        ("discrete from -3", -4),
    ],
)
def test_what_is_no_observation_is_refused(seen, observation):
    """A network would answer to it all the same: to the wrong state, in silence."""
    policy = ppo_bbrl.load(saved_run(shaped(seen)))
    with pytest.raises(UserError, match=r"^the observation ") as error:
        policy.predict(observation)
    assert "\n" not in str(error.value)


def test_one_part_of_a_batch_alone_is_named():
    space = Dict(near=Box(0, 9, (2,), F32), number=Discrete(3))
    with pytest.raises(UserError, match="at number is a single one, that at near a batch"):
        as_batch(space, {"near": np.zeros((2, 2), F32), "number": 1})
    with pytest.raises(UserError, match="at near is a single one, that at number a batch"):
        as_batch(space, {"near": np.zeros(2, F32), "number": [1, 2]})
    assert as_batch(space, {"near": np.zeros((2, 2), F32), "number": [1, 2]})[1:] == (2, False)


# ------------------------------------------------------------------------------- load: which one


def test_what_was_loaded_says_what_it_is():
    folder = saved_run(config("Chance"))
    reward = load_policy(folder).reward
    assert repr(ppo_bbrl.load(folder)) == (
        f"TrainedPolicy(Chance-v0 after 0 steps, mean return {as_return(reward)})"
    )


def test_load_takes_the_folder_of_a_run_or_of_a_policy(monkeypatch):
    """As a path or as a string, from anywhere."""
    best = saved_run(shaped())
    run = best.parent
    save_policy(run / "last", DiscretePolicy(2, [16], 3), load_config(shaped()), 1.0, 99)
    for path in (run, str(run), best, str(best), f"{best}/", run.absolute()):
        assert ppo_bbrl.load(path).saved.steps == 0
    for path, which in ((run, "last"), (run / "last", "last"), (run / "last", "best")):
        assert ppo_bbrl.load(path, which=which).saved.steps == 99
    monkeypatch.chdir(best)
    assert ppo_bbrl.load(".").saved.steps == 0
    assert load_policy(".").steps == 0


@pytest.mark.parametrize(
    ("path", "which", "told"),
    [
        ("nowhere", "best", "nowhere: not the folder of a run"),
        (".", "best", "not the folder of a run"),
        ("outputs/run", "worst", "which = 'worst': must be one of best, last"),
        ("outputs/run", "last", "outputs/run/last: no saved policy"),
    ],
)
def test_what_is_no_policy(path, which, told):
    shutil.rmtree(saved_run(shaped()).parent / "last")
    with pytest.raises(UserError, match=told):
        ppo_bbrl.load(path, which=which)


def test_opening_imports_nothing_that_the_files_name(monkeypatch, tmp_path):
    """The task's module, and that of a wrapper, may be a stranger's."""
    (tmp_path / "stranger.py").write_text(
        "import gymnasium as gym\nfrom test_trained_policy import Shaped\n"
        "gym.register('Stranger-v0', Shaped)\n"
        "def wrapper(env):\n    return env\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import stranger

    cfg = config("stranger:Stranger-v0")
    folder = saved_run(cfg, env_wrappers=[stranger.wrapper])
    mine = stranger.wrapper
    del sys.modules["stranger"]
    with pytest.raises(UserError, match=r"'stranger\.wrapper'"):
        ppo_bbrl.load(folder)
    ppo_bbrl.load(folder, env_wrappers=[mine]).predict(np.zeros(2, F32))
    assert "stranger" not in sys.modules


# ---------------------------------------------------------------------- wrappers and environment


class Negated(gym.ObservationWrapper):
    """A wrapper of a user's program."""

    def observation(self, observation):
        return -observation


def test_a_run_with_wrappers_is_opened_with_them():
    """Those that have a name come by themselves, the others are asked for."""
    named = gym.wrappers.FlattenObservation
    folder = saved_run(shaped("matrix"), env_wrappers=[Negated, named])
    for open_it in (ppo_bbrl.load, lambda run: restore_policy(load_policy(run))):
        with pytest.raises(
            UserError, match=r"test_trained_policy\.Negated.*env_wrappers=\[Negated\]"
        ):
            open_it(folder)
    for given in ([Negated], [Negated, named]):
        policy = ppo_bbrl.load(folder, env_wrappers=given)
        env = policy.make_env()
        assert isinstance(env, named)
        assert isinstance(env.env, Negated)
        assert policy.observation_space.shape == env.observation_space.shape == (6,)
        policy.predict(env.reset(seed=0)[0])
        env.close()
        assert restore_policy(load_policy(folder), env_wrappers=given) is not None


def test_an_old_file_with_named_wrappers():
    """Without spaces: the environment that is made to learn them has the wrappers."""
    folder = saved_run(shaped("matrix", wrappers=["FlattenObservation"]))
    content = torch.load(folder / "policy.pt")
    del content["observation_space"], content["action_space"]
    torch.save(content, folder / "policy.pt")
    assert ppo_bbrl.load(folder).observation_space.shape == (6,)


def test_an_environment_with_other_spaces_is_told():
    """Something of what made it has changed since."""
    policy = ppo_bbrl.load(saved_run(shaped()))
    for changed in ({"seen": "matrix"}, {"acts": "discrete from 5"}, {"acts": "box"}):
        with pytest.raises(UserError, match=r"Shaped-v0: its .* space is .* trained on"):
            policy.make_env(**changed)
    with pytest.warns(UserWarning, match="observation space"):
        policy.make_env(seen="float64").close()


def test_statistics_that_begin_anew_are_told():
    with pytest.warns(UserWarning, match="NormalizeObservation"):
        folder = saved_run(shaped(wrappers=["NormalizeObservation"]))
    policy = ppo_bbrl.load(folder)
    with pytest.warns(UserWarning, match="NormalizeObservation"):
        policy.make_env().close()


def test_an_agent_of_ones_own_with_the_same_weights_and_other_layers():
    """The one of the configuration would take its weights, and act otherwise."""
    mine = DiscretePolicy(3, [16], 2, activation=nn.Tanh())
    folder = saved_run(config("Chance"), train_policy=mine)
    assert "agent of your own" in told(folder)
    again = DiscretePolicy(3, [16], 2)
    with pytest.raises(UserError, match=r"model\.1 is Tanh\(\) in the state, but ReLU\(\) here"):
        restore(again, load_policy(folder))
    restore(DiscretePolicy(3, [16], 2, activation=nn.Tanh()), load_policy(folder))


def test_a_file_that_does_not_say_its_layers():
    folder = saved_run(config("Chance"))
    content = torch.load(folder / "policy.pt")
    del content["layers"]
    torch.save(content, folder / "policy.pt")
    restore_policy(load_policy(folder))


@pytest.mark.parametrize("layers", [3, ["model.0"], {"model.0": 3}])
def test_layers_in_a_strangers_file(layers):
    folder = saved_run(config("Chance"))
    content = torch.load(folder / "policy.pt")
    torch.save(content | {"layers": layers}, folder / "policy.pt")
    assert "layers" in told(folder)


@pytest.mark.parametrize("wrong", [None, {}, 3, b"outputs", ["outputs"]])
def test_what_is_no_path(wrong):
    for opens in (ppo_bbrl.load, PPOClip.resume, load_policy):
        with pytest.raises(UserError, match="must be the folder of a run"):
            opens(wrong)


def test_the_pair_of_a_reset_is_no_observation():
    policy = ppo_bbrl.load(saved_run(config("Chance")))
    with pytest.raises(UserError, match=r"observation, info = env\.reset\(\)"):
        policy.predict(policy.make_env().reset(seed=0))
