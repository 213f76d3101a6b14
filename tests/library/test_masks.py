"""Masks of invalid actions: where they come from, what they do, and that learning uses them."""

import math
import runpy
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from masked_envs import SEEN  # which registers them
from probe_envs import Chance, config

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.agents.base import refuse_unmasked
from ppo_bbrl.agents.build import build_policy
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.multi import MultiDiscretePolicy
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.agents.recurrent import RecurrentPolicy
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.distributions import ActionCategorical, masked
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.faults import UnfitError
from ppo_bbrl.envs.masks import MaskFromObservation, MaskReader, masks_of, with_mask
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError, UserError
from ppo_bbrl.joint_distributions import ActionMultiCategorical
from ppo_bbrl.rollout import collect, evaluate_rollout, transitions
from ppo_bbrl.workspace.table import Workspace

LOG = math.log
TAXI = "Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3"
DOORS = Path(__file__).parents[2] / "examples" / "masked_doors.py"


def settings(env_args=None, action_mask="auto", **algorithm):
    cfg = config("Masked", **algorithm)
    cfg["gym_env"] |= {"env_args": env_args or {}, "action_mask": action_mask}
    return cfg


CASES = {
    "info": {},
    "method": {"source": "method"},
    "observation": {"source": "observation"},
    "several": {"nvec": [3, 4]},
    "several apart": {"nvec": [3, 4], "form": "tuple"},
    "several by method": {"nvec": [3, 4], "form": "tuple", "source": "method"},
    "several in the observation": {"nvec": [3, 4], "source": "observation"},
}


# ----------------------------------------------------------------------------- distributions


def test_a_masked_action_by_hand():
    """Probabilities 1/4, 1/4, 1/2 of which the last one is forbidden: 1/2, 1/2, 0."""
    logits = torch.tensor([[0.0, 0.0, LOG(2)]], requires_grad=True)
    dist = ActionCategorical(masked(logits, torch.tensor([[True, True, False]])))
    assert dist.probs.tolist() == [[0.5, 0.5, 0.0]]
    log_prob, entropy = dist.evaluate(torch.tensor([1]))
    assert log_prob.item() == pytest.approx(LOG(1 / 2))
    assert entropy.item() == pytest.approx(LOG(2))
    assert dist.entropy().item() == pytest.approx(LOG(2))
    (gradient,) = torch.autograd.grad(log_prob.sum() + entropy.sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[-0.5, 0.5, 0.0]]))
    assert set(dist.sample((1000,)).flatten().tolist()) == {0, 1}
    assert dist.mode.item() in (0, 1)


def test_masks_of_several_components_by_hand():
    """One allowed value of the first, two of three of the second."""
    logits = torch.tensor([[5.0, 0.0, 9.0, 0.0, LOG(3)]], requires_grad=True)
    mask = torch.tensor([[False, True, False, True, True]])
    dist = ActionMultiCategorical(masked(logits, mask), [2, 3])
    log_prob, entropy = dist.evaluate(torch.tensor([[1, 2]]))
    assert log_prob.item() == pytest.approx(LOG(3 / 4))
    assert entropy.item() == pytest.approx(-(LOG(1 / 4) / 4 + LOG(3 / 4) * 3 / 4))
    (gradient,) = torch.autograd.grad(log_prob.sum() + entropy.sum(), logits)
    assert gradient.isfinite().all()
    assert gradient[0, :3].tolist() == [0, 0, 0]
    assert {tuple(one) for one in dist.sample((200,))[:, 0].tolist()} == {(1, 1), (1, 2)}


def test_without_a_mask_nothing_changes():
    logits = torch.randn(2, 3)
    assert masked(logits, None) is logits


# --------------------------------------------------------------------------- environments


def policy_of(env, hidden=(8,)):
    cfg = settings(architecture={"actor_hidden_size": list(hidden)})
    return build_policy(load_config(cfg), env).with_prefix("current_policy/")


def played(env, n_rows=14, hidden=(8,)):
    """Rows of a policy that the environments let act: any forbidden action would fail."""
    act, workspace = row_actor(policy_of(env, hidden), env.num_envs, n_rows), Workspace()
    try:
        for t in range(n_rows):
            env(workspace, t=t)
            act(workspace, t)
    finally:
        env.close()
    return workspace


@pytest.mark.wide(6)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_no_forbidden_action_is_taken(case, vectorization):
    """Wherever the mask is given, over the ends of episodes; the observation is without it."""
    env = EnvAgent("Masked-v0", 4, env_args=CASES[case], vectorization=vectorization).seed(3)
    workspace = played(env)
    mask = workspace["env/action_mask"]
    assert mask.dtype == torch.bool
    assert mask.shape == (14, 4, sum(env.action_space.nvec) if "several" in case else 5)
    name = "env/env_obs/seen" if "observation" in case else "env/env_obs"
    over = workspace["env/done"]
    assert over.any()
    assert mask[over].all()  # nothing is allowed then, and nothing counts
    assert torch.equal(mask[~over][:, 0].float(), workspace[name][~over][:, 0])
    assert "env/env_obs/action_mask" not in workspace.variables
    actions = workspace["action"].reshape(14, 4, -1)
    first = 0
    for part, size in enumerate([3, 4] if "several" in case else [5]):
        taken = mask[:, :, first : first + size].gather(-1, actions[:, :, part, None])
        assert taken.all()
        first += size


@pytest.mark.parametrize("hidden", [(8,), (512, 512)], ids=["in NumPy", "in torch"])
def test_both_ways_of_acting_obey(hidden):
    played(EnvAgent("Masked-v0", 8, autoreset=True).seed(1), 8, hidden)


def test_gymnasiums_own_masks_are_found():
    """Taxi has them in its infos."""
    workspace = played(EnvAgent(TAXI, 4).seed(0), 20)
    mask, actions = workspace["env/action_mask"], workspace["action"]
    assert not mask.all()
    assert mask.gather(-1, actions[..., None]).all()


def test_none_means_no_masks():
    env = EnvAgent(TAXI, 2, action_mask="none").seed(0)
    assert "env/action_mask" not in played(env, 3).variables
    env = EnvAgent("Masked-v0", 2, env_args=CASES["observation"], action_mask="none")
    assert set(env.observation_space.spaces) == {"action_mask", "seen"}
    env.close()


@pytest.mark.parametrize(
    "wrapper",
    [
        gym.wrappers.FlattenObservation,
        partial(gym.wrappers.FilterObservation, filter_keys=["seen"]),
        partial(gym.wrappers.FrameStackObservation, stack_size=2),
    ],
)
def test_a_mask_that_a_wrapper_hides_is_told(wrapper):
    def reset(action_mask):
        env = EnvAgent(
            "Masked-v0", 2, env_args=CASES["observation"], wrappers=[wrapper],
            action_mask=action_mask,
        )  # fmt: skip
        env.seed(0)(Workspace(), t=0)
        env.close()

    with pytest.warns(UserWarning, match="no action is masked .*none if that is meant"):
        reset("auto")
    reset("none")


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_mask_that_forbids_everything_is_one_line(vectorization):
    env = EnvAgent("Masked-v0", 4, env_args={"forbidden_at": 2}, vectorization=vectorization).seed(
        1
    )
    told = r"environment 0 of 4 \(Masked-v0\) failed in step 2: its action mask forbids all 5 act"
    with pytest.raises(EnvironmentFailedError, match=told) as error:
        played(env)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_evaluations_and_videos_say_so_too(memory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(settings({"forbidden_at": 2}, architecture={"memory": memory}))
    for play in (lambda: algo.evaluate(force=True), algo.record_best):
        with pytest.raises(EnvironmentFailedError, match="step 2: its action mask forb") as error:
            play()
        assert "\n" not in str(error.value)
    algo.close()


def test_a_component_of_which_all_is_forbidden_is_named():
    with pytest.raises(UnfitError, match="forbids all 3 actions of component 1"):
        MaskReader(MultiDiscrete([2, 3])).checked([1, 0, 0, 0, 0])
    with pytest.raises(UnfitError, match=r"forbids all 5 actions$"):  # there is but one component
        MaskReader(Discrete(5)).checked([0] * 5)


class LateMask(Chance):
    """Gives a mask with each step, and none with a reset."""

    def step(self, action):
        *others, _ = super().step(action)
        return *others, {"action_mask": np.array([1, 0])}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_mask_that_comes_late_is_one_line(vectorization):
    """Nobody would look for it: forbidden actions would be taken, and learned from."""
    gym.register("LateMask-v0", LateMask)
    env = EnvAgent("LateMask-v0", 2, vectorization=vectorization)
    told = r"environment 0 of 2 \(LateMask-v0\) failed in step 1: step\(\) gives an action_mask in"
    with pytest.raises(EnvironmentFailedError, match=told):
        played(env)
    env.close()
    played(EnvAgent("LateMask-v0", 2, vectorization=vectorization, action_mask="none"))
    del gym.registry["LateMask-v0"]


def test_a_mask_that_is_lost_is_one_line():
    with pytest.raises(EnvironmentFailedError, match="step 3: its info has no action_mask"):
        played(EnvAgent("Masked-v0", 1, env_args={"lost_at": 3}))


def test_at_the_end_of_an_episode_a_mask_may_be_missing():
    """No action counts there any more: all are allowed, and the run goes on."""
    workspace = played(EnvAgent("Masked-v0", 1, env_args={"lost_at": 4}).seed(0), 7)
    over = workspace["env/done"]
    assert over.any()
    assert workspace["env/action_mask"][over].all()
    assert not workspace["env/action_mask"][~over].all()


def test_an_environment_that_alone_has_masks_is_refused():
    """Which one has them, or the source of the first one's, would decide for all in silence."""
    env = EnvAgent("Masked-v0", 3, vectorization="sync").seed(0)
    env.envs.envs[1].unwrapped.source = "none"
    with pytest.raises(EnvironmentFailedError, match=r"environment 1 of 3 .*others have none"):
        env(Workspace(), t=0)
    env.close()


@pytest.mark.parametrize("given", [np.zeros(2, np.float32), {"seen": np.zeros(2, np.float32)}])
def test_an_observation_without_the_key_of_its_mask_is_refused(given):
    env = MaskFromObservation(gym.make("Masked-v0", source="observation"))
    with pytest.raises(UnfitError, match="expected is a dict with action_mask"):
        env._taken_apart(given, {})
    rest, info = env._taken_apart({"seen": 1, "action_mask": 2}, {"more": 3})
    assert (rest, info) == ({"seen": 1}, {"more": 3, "action_mask": 2})


@pytest.mark.parametrize("ends", [(True, False), (False, True)])
def test_what_a_step_gives_beside_the_mask_stays_as_it_is(ends):
    env = MaskFromObservation(gym.make("Masked-v0", source="observation"))
    env.env = SimpleNamespace(
        step=lambda action: ({"seen": action, "action_mask": 2}, 3, *ends, {})
    )
    assert env.step(1) == ({"seen": 1}, 3, *ends, {"action_mask": 2})


class Boxed(gym.Env):
    """Has no actions that masks are for."""

    action_space = Box(-1, 1)

    def __init__(self, space=SEEN):
        self.observation_space = space


class BoxedMethod(Boxed):
    def action_masks(self):
        raise AssertionError


def test_masks_that_are_for_no_action_are_refused_when_they_are_seen():
    """Where there is neither a key nor a method of that name, nothing is said."""
    assert with_mask(plain := Boxed(), "auto") is plain
    for env in (Boxed(Dict(seen=SEEN, action_mask=MultiBinary(2))), BoxedMethod()):
        with pytest.raises(ConfigError, match=r"'auto': it gives masks of invalid actions"):
            with_mask(env, "auto")
        assert with_mask(env, "none") is env


SEEN_TOO = {
    "its mask": (Dict(seen=Box(-1, 1), action_mask=MultiBinary(4)), True),
    "in two parts": (
        Dict(seen=Box(-1, 1), action_mask=Dict(a=Discrete(2), b=Box(0, 1, (3,)))),
        True,
    ),
    "in a tuple": (Dict(seen=Box(-1, 1), action_mask=Tuple([MultiBinary(3), Discrete(2)])), True),
    "of another size": (Dict(seen=Box(-1, 1), action_mask=MultiBinary(5)), False),
    "of words": (Dict(seen=Box(-1, 1), action_mask=Text(4)), False),
    "half of words": (
        Dict(seen=Box(-1, 1), action_mask=Tuple([MultiBinary(3), Text(4)])),
        False,
    ),
    "nothing else": (Dict(action_mask=MultiBinary(4)), False),
    "no such key": (Dict(seen=Box(-1, 1), mask=MultiBinary(4)), False),
}


@pytest.mark.parametrize("case", SEEN_TOO)
def test_a_part_of_the_observation_is_a_mask_if_it_fits_the_actions(case):
    """Any other part stays in the observation, whatever its name is."""
    space, is_mask = SEEN_TOO[case]
    env = gym.Env()
    env.observation_space, env.action_space = space, Discrete(4)
    found = with_mask(env, "auto")
    assert isinstance(found, MaskFromObservation) == is_mask
    assert is_mask or found is env
    assert with_mask(env, "none") is env


READ = {
    "numbers": ([1, 0, 1, 1, 0], None),
    "booleans": (np.array([True, False, True, True, False]), None),
    "apart": ((np.array([1, 0], np.int8), np.array([1, 1, 0], np.int8)), None),
    "floats": (np.array([1.0, 0, 1, 1, 0]), None),
    "too few": ([1, 0, 1], r"its action mask is .*; expected 2 \+ 3 zeros and ones"),
    "other numbers": ([2, 0, 1, 1, 0], "zeros and ones"),
    "parts exchanged": ((np.ones(3), np.ones(2)), "zeros and ones"),
    "half apart": ([1, 0, [1, 1, 0]], "zeros and ones"),
    "words": (["a"] * 5, "zeros and ones"),
    "nothing": (None, "zeros and ones"),
}


@pytest.mark.parametrize("case", READ)
def test_forms_of_a_mask(case):
    given, told = READ[case]
    reader = MaskReader(MultiDiscrete([2, 3]))
    if told is None:
        assert reader.checked(given).tolist() == [True, False, True, True, False]
    else:
        with pytest.raises(UnfitError, match=told):
            reader.checked(given)


def test_of_no_actions_the_mask_is_empty():
    assert MaskReader(Dict(force=Box(-1, 1))).checked({}).tolist() == []


def test_masks_of_vectorised_environments_are_in_their_infos():
    reader, over = MaskReader(Discrete(2)), np.array([False, True])
    assert masks_of({}, reader, over) is None
    assert masks_of([{}, {}], reader, over) is None
    masks = masks_of({"action_mask": np.array([[1, 0], [0, 0]])}, reader, over)
    assert masks.tolist() == [[True, False], [True, True]]
    with pytest.raises(UnfitError, match="environment 1 of 2: its action mask forbids"):
        masks_of({"action_mask": np.array([[1, 0], [0, 0]])}, reader, ~over)
    with pytest.raises(UnfitError, match="there are 1 action masks for 2 environments"):
        masks_of({"action_mask": np.array([[1, 0]])}, reader, over)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_mask_under_a_key_of_another_name(vectorization, tmp_path, monkeypatch):
    """In training, evaluations, videos and for a loaded policy; the networks do not see it."""
    monkeypatch.chdir(tmp_path)
    cfg = settings({"source": "observation", "key": "legal"}, "legal", max_epochs=1, nb_evals=2)
    cfg["gym_env"]["vectorization"] = vectorization
    algo = PPOClip(cfg)
    assert [*algo.train_env.observation_space.spaces] == ["seen"]
    run(algo)
    assert algo.best_reward == 4.0  # no step was refused
    assert algo.record_best(max_steps=3).exists()
    algo.close()
    trained = ppo_bbrl.load(algo.folder.path)
    for allowed in range(5):
        raw = {"seen": np.zeros(2, np.float32), "legal": np.eye(5, dtype=np.int8)[allowed]}
        assert trained.predict(raw) == allowed


WRONG_KEYS = {
    "no such key": ("mask", {"source": "observation"}, "must be auto, none or one of several keys"),
    "no Dict": ("seen", {}, "must be auto, none or one of several keys"),
    "another size": ("seen", {"source": "observation"}, "has not one number for each of 5 actions"),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_key_that_is_no_mask_is_refused(case, vectorization):
    key, env_args, told = WRONG_KEYS[case]
    with pytest.raises(ConfigError, match=f"gym_env.action_mask = '{key}'.*{told}") as error:
        EnvAgent("Masked-v0", 2, env_args=env_args, action_mask=key, vectorization=vectorization)
    assert "\n" not in str(error.value)


def test_a_mask_that_is_all_of_the_observation_is_refused():
    """Nothing would be left for the policy to see."""
    env = gym.Env()
    env.observation_space, env.action_space = Dict(legal=MultiBinary(4)), Discrete(4)
    with pytest.raises(ConfigError, match="'legal': must be auto, none or one of several keys"):
        with_mask(env, "legal")


def test_a_key_for_actions_without_masks_is_refused():
    with pytest.raises(ConfigError, match="masks are for Discrete and MultiDiscrete actions"):
        EnvAgent("Pendulum-v1", 1, action_mask="mask")


# -------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("case", ["info", "several in the observation"])
def test_the_mask_that_acted_is_the_mask_that_learns(case, tmp_path, monkeypatch):
    """Over several rollouts, whose first row is carried: every ratio is 1 before a step."""
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(settings(CASES[case], n_steps=6))
    seen = []

    def losses(minibatch):
        terms, metrics = type(algo).losses(algo, minibatch)
        seen.append((minibatch, metrics["approx_kl"]))
        return terms, metrics

    algo.losses = losses
    workspace = Workspace(capacity=7)
    for _ in range(3):
        with torch.no_grad():
            collect(algo.train_env, algo.train_policy, workspace, 7)
            rollout = evaluate_rollout(workspace, algo.train_policy, algo.critic_agent)
        zeros = torch.zeros_like(rollout.reward)
        batch = transitions(
            rollout, algo.train_policy, algo.critic_agent, advantage=zeros + 1, returns=zeros
        )
        mask = batch.variables["env/action_mask"]
        assert torch.equal(mask, workspace["env/action_mask"][:-1][rollout.mask])
        assert not mask.all()
        log_prob, entropy = ppo_bbrl.agents.evaluate_actions(algo.train_policy, batch.variables)
        torch.testing.assert_close(log_prob, batch.log_prob, atol=1e-6, rtol=0)
        unmasked = {k: v for k, v in batch.variables.items() if k != "env/action_mask"}
        others = ppo_bbrl.agents.evaluate_actions(algo.train_policy, unmasked)
        assert (others[0] < log_prob - 1e-3).any()
        assert (entropy < others[1]).any()
        algo.update(batch)
    for minibatch, _ in seen:
        assert "env/action_mask" in minibatch.variables
    assert all(weight.isfinite().all() for weight in algo.train_policy.parameters())
    algo.close()


@pytest.mark.wide(3)
@pytest.mark.parametrize("case", CASES)
def test_trained_evaluated_saved_and_watched(case, tmp_path, monkeypatch):
    """The environments of all of these refuse forbidden actions."""
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(settings(CASES[case], n_steps=8, max_epochs=2, nb_evals=3))
    run(algo)
    assert algo.best_reward == 4.0  # of the four steps of an episode
    assert algo.record_best(max_steps=3).exists()
    trained = ppo_bbrl.load(algo.folder.path, which="last")
    algo.close()
    env = trained.make_env()
    observation, info = env.reset(seed=5)
    for _ in range(4):
        given = env.get_wrapper_attr("action_masks")() if "method" in case else info["action_mask"]
        action = trained.predict(observation, action_mask=given)
        assert env.action_space.contains(action)
        if "observation" in case:  # as an environment gives it that nobody has wrapped
            raw = {**observation, "action_mask": given}
            np.testing.assert_array_equal(trained.predict(raw), action)
        observation, *_, info = env.step(action)
    env.close()


def test_predict_with_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(settings(max_epochs=1))
    run(algo)
    algo.close()
    trained = ppo_bbrl.load(algo.folder.path, which="last")
    seen = np.zeros((2, 2), np.float32)
    for allowed in range(5):
        mask = np.eye(5)[allowed]
        assert trained.predict(seen[0], action_mask=mask) == allowed
        assert trained.predict(seen, action_mask=[mask, mask]).tolist() == [allowed] * 2
        sampled = trained.predict(seen[0], action_mask=mask, deterministic=False)
        assert sampled == allowed
    for wrong, told in [([0] * 5, "forbids all"), ([1] * 4, "expected 5")]:
        with pytest.raises(UserError, match=rf"action_mask: .*{told}") as error:
            trained.predict(seen[0], action_mask=wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="action_mask: there are 1 for 2 observations"):
        trained.predict(seen, action_mask=[[1] * 5])


def test_a_run_goes_on_with_its_masks(tmp_path, monkeypatch):
    """Bit-equal from a state in the middle of episodes."""
    monkeypatch.chdir(tmp_path)

    def rows(loop):
        found = []
        for _ in range(2):
            workspace = next(loop)
            found.append((workspace["env/action_mask"], workspace["action"]))
        return found

    one, other = (PPOClip(settings(max_epochs=4)) for _ in range(2))
    loop = one.iter_partial_episodes(7)
    rows(loop)
    other.load_state_dict(one.state_dict())
    goes_on = other.iter_partial_episodes(7)
    for found, wanted in zip(rows(goes_on), rows(loop), strict=True):
        assert all(map(torch.equal, found, wanted))
    loop.close()
    goes_on.close()
    one.close()
    other.close()


class Blind(ppo_bbrl.agents.Policy):
    """Takes no mask."""

    def __init__(self):
        super().__init__("blind")
        self.logits = torch.nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0]))

    def dist(self, obs):
        return torch.distributions.Categorical(logits=self.logits.expand(*obs.shape[:-1], 5))


def test_a_policy_that_does_not_look_is_refused():
    env = EnvAgent("Masked-v0", 2)
    policy = Blind().with_prefix("p/")
    with pytest.raises(ConfigError, match="Blind takes no mask of allowed actions"):
        collect(env, policy, Workspace(), 1)
    env.close()


class Looking(Blind):
    """Takes it, and says so."""

    takes_mask = True

    def dist(self, obs, mask=None):
        logits = self.logits.expand(*obs.shape[:-1], 5)
        return torch.distributions.Categorical(logits=masked(logits, mask))


def test_a_policy_of_ones_own_gets_masks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(settings(max_epochs=2, entropy_coef=0.01), train_policy=Looking())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(algo)
    assert algo.train_policy.logits.isfinite().all()
    algo.close()


def test_policies_take_any_leading_dimensions():
    for policy, space in (
        (DiscretePolicy(2, [8], 5), Discrete(5)),
        (MultiDiscretePolicy(2, [8], [2, 3]), MultiDiscrete([2, 3])),
    ):
        assert policy.takes_mask
        # Of five actions 0, 2 and 4; of two components 0 of the first, 0 and 2 of the second.
        mask = torch.tensor([True, False, True, False, True])
        for leading in [(), (3,), (20, 3)]:
            given = mask.expand(*leading, 5)
            action = policy.act(torch.randn(*leading, 2), mask=given)
            assert action.shape == (*leading, *space.shape)
            log_prob, _ = policy.evaluate_actions(torch.randn(*leading, 2), action, mask=given)
            assert log_prob.isfinite().all()
            taken = set(action.flatten().tolist())
            assert taken <= ({0, 2, 4} if space == Discrete(5) else {0, 2})


# ------------------------------------------------------------------------------ what it is for


@pytest.fixture(scope="module")
def learn():
    return runpy.run_path(str(DOORS))["learn"]


def test_with_masks_most_doors_need_not_be_tried(learn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masks, none = (learn(1, 2048, mask, n_episodes=20).mean for mask in ("auto", "none"))
    assert masks > 4
    assert none < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_doors_are_solved_with_masks_and_not_without(learn, seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    masks, none = (learn(seed, 10_000, mask).mean for mask in ("auto", "none"))
    assert masks > 7.5
    assert none < 3


# ------------------------------------------------------------------ masks that nobody reads


def test_masks_for_actions_of_other_spaces_are_refused():
    """Training without them would be silent otherwise; `none` says that it is meant."""
    reader, env = MaskReader(gym.spaces.Box(-1, 1, (2,))), gym.make("CartPole-v1")
    with pytest.raises(UnfitError, match=r"masks .*action_mask.* action space is Box.*: none"):
        reader.found(env, {"action_mask": [1, 1]})
    assert reader.found(env, {}) == ""
    assert MaskReader(None).found(env, {"action_mask": [1, 1]}) == ""
    over = np.zeros(2, bool)
    assert masks_of({"action_mask": [[1, 1]] * 2}, MaskReader(None), over) is None
    with pytest.raises(UnfitError, match="action space is Box"):
        masks_of({"action_mask": [[1, 1]] * 2}, reader, over)
    env.close()


def test_a_key_is_not_read_from_vectorised_environments():
    with pytest.raises(ConfigError, match=r"gym_env\.action_mask = 'mask': of vectorised"):
        EnvAgent("CartPole-v1", 2, action_mask="mask", vectorization="vector_entry_point")


class ShownMasks(gym.vector.VectorEnv):
    """A vectorised task whose masks are a part of its observations."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's
    single_observation_space = Dict(seen=Box(-1, 1), action_mask=MultiBinary(2))
    single_action_space = Discrete(2)

    def __init__(self, num_envs):
        self.num_envs = num_envs
        for name in ("observation_space", "action_space"):
            one = getattr(self, f"single_{name}")
            setattr(self, name, gym.vector.utils.batch_space(one, num_envs))


gym.register("ShownMasks-v0", vector_entry_point=ShownMasks)


def test_masks_in_the_observations_of_vectorised_environments_are_refused():
    """The policy would see them as numbers, and no action would be masked."""
    with pytest.raises(ConfigError, match=r"gym_env\.action_mask = 'auto': of vectorised"):
        EnvAgent("ShownMasks-v0", 2, vectorization="vector_entry_point")
    how = {"vectorization": "vector_entry_point", "action_mask": "none"}
    EnvAgent("ShownMasks-v0", 2, **how).close()


class MaskedCarts(CartPoleVectorEnv):
    """Its infos say that only action 1 is allowed."""

    def reset(self, **kwargs):
        return super().reset(**kwargs)[0], self.masks()

    def step(self, action):
        return *super().step(action)[:-1], self.masks()

    def masks(self):
        return {"action_mask": np.array([[0, 1]] * self.num_envs)}


gym.register(
    "MaskedCarts-v0", CartPoleEnv, vector_entry_point=MaskedCarts, max_episode_steps=500
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*has not been compared")
@pytest.mark.parametrize(("action_mask", "masked"), [("auto", True), ("none", False)])
def test_a_vectorised_task_with_masks(action_mask, masked):
    how = {"vectorization": "vector_entry_point", "action_mask": action_mask}
    workspace = played(EnvAgent("MaskedCarts-v0", 4, **how).seed(0), 6)
    assert ("env/action_mask" in workspace.variables) == masked
    assert bool((workspace["action"] == 1).all()) == masked


class Maskless(DiscretePolicy):
    takes_mask = False


def test_a_policy_behind_a_memory_that_takes_no_mask_is_refused():
    env = EnvAgent("Masked-v0", 2).seed(0)
    policy = RecurrentPolicy(Memory("gru", 2, 4), Maskless(4, [4], 5)).with_prefix("p/")
    workspace = Workspace()
    env(workspace, t=0)
    with pytest.raises(ConfigError, match="Maskless takes no mask"):
        refuse_unmasked(policy, workspace)
    policy.head = DiscretePolicy(4, [4], 5)
    refuse_unmasked(policy, workspace)
    env.close()
