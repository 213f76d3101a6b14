"""Agents: pure functions, the flags of `forward`, and what acts is what learns."""

import copy
import itertools
import math

import bbrl.agents
import pytest
import torch
from bbrl.agents import Agents, TemporalAgent
from gymnasium.spaces import Box, Discrete, Tuple
from torch import nn
from torch.distributions import Categorical, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.utils._python_dispatch import TorchDispatchMode

from ppo_bbrl.agents.acting import array_actor, draw_noise, row_actor
from ppo_bbrl.agents.base import (
    Agent,
    Critic,
    KWAgentWrapper,
    Policy,
    copy_agent,
    evaluate_actions,
    has_memory,
    predict_values,
)
from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.multi import (
    CompositePolicy,
    HeadPolicy,
    MultiBinaryPolicy,
    MultiDiscretePolicy,
)
from ppo_bbrl.agents.policies import DiscretePolicy, GaussianPolicy, drawing_from, draws_noise_alone
from ppo_bbrl.agents.recurrent import RecurrentPolicy
from ppo_bbrl.seeding import RandomStream, generator
from ppo_bbrl.workspace.table import Workspace

LEADING = [(), (5,), (3, 5), (2, 3, 5), (0,)]


def discrete():
    torch.manual_seed(0)
    policy = DiscretePolicy(4, [8], 3)
    with torch.no_grad():  # away from the nearly uniform start
        policy.model[-1].weight.mul_(100)
    return policy


def gaussian(shape=(2,)):
    torch.manual_seed(0)
    policy = GaussianPolicy(4, [8], shape, log_std_init=-0.5)
    with torch.no_grad():
        policy.model[-1].weight.mul_(100)
    return policy


POLICIES = pytest.mark.parametrize("make", [discrete, gaussian])


def table(n=6, seed=1):
    """A workspace with one row of n observations."""
    torch.manual_seed(seed)
    workspace = Workspace()
    workspace.set("env/env_obs", 0, torch.randn(n, 4))
    return workspace


# The agents as the notebook of BBRL writes them.


class SeedVAgent(bbrl.agents.Agent):
    def __init__(self, model, name="critic"):
        super().__init__(name)
        self.model = model

    def forward(self, t, **kwargs):
        observation = self.get(("env/env_obs", t))
        critic = self.model(observation).squeeze(-1)
        self.set((f"{self.prefix}v_values", t), critic)


class SeedDiscretePolicy(bbrl.agents.Agent):
    def __init__(self, model, name="policy"):
        super().__init__(name=name)
        self.model = model

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        observation = self.get(("env/env_obs", t))
        scores = self.model(observation)
        probs = torch.softmax(scores, dim=-1)
        if predict_proba:
            assert stochastic  # what is judged was sampled
            action = self.get(("action", t))
            log_probs = probs[torch.arange(probs.size()[0]), action].log()
            self.set((f"{self.prefix}logprob_predict", t), log_probs)
        else:
            if stochastic:
                action = torch.distributions.Categorical(probs).sample()
            else:
                action = scores.argmax(1)
            self.set(("action", t), action)
        if compute_entropy:
            entropy = torch.distributions.Categorical(probs).entropy()
            self.set((f"{self.prefix}entropy", t), entropy)


# ------------------------------------------------------------------------------ pure functions


@pytest.mark.parametrize("leading", LEADING)
def test_value_has_the_leading_dimensions_of_the_observations(leading):
    """One row, a rollout, a single observation: each number is that of its observation alone."""
    critic = VAgent(4, [8])
    assert critic.is_q_function is False  # BBRL asks
    obs = torch.randn(*leading, 4)
    value = critic.value(obs)
    assert value.shape == leading
    for index in itertools.product(*map(range, leading)):
        torch.testing.assert_close(value[index], critic.value(obs[index]))


@POLICIES
@pytest.mark.parametrize("leading", LEADING[:-1])
def test_distributions_have_the_leading_dimensions_of_the_observations(make, leading):
    policy, obs = make(), torch.randn(*leading, 4)
    dist = policy.dist(obs)
    assert dist.batch_shape == leading
    action = dist.sample()
    for stochastic in (True, False):
        assert policy.act(obs, stochastic=stochastic).shape == action.shape
    assert policy.dist(obs).with_noise(draw_noise(policy, *leading)).shape == action.shape
    log_prob, entropy = policy.evaluate_actions(obs, action)
    assert log_prob.shape == entropy.shape == leading
    for index in itertools.product(*map(range, leading)):
        one = policy.evaluate_actions(obs[index], action[index])
        torch.testing.assert_close((log_prob[index], entropy[index]), one)


@POLICIES
def test_no_decision_has_no_log_probability(make):
    """A rollout of autoreset steps alone leaves nothing to evaluate."""
    policy, obs = make(), torch.zeros(0, 4)
    log_prob, entropy = policy.evaluate_actions(obs, policy.act(obs, stochastic=False))
    assert log_prob.shape == entropy.shape == (0,)


@POLICIES
def test_log_prob_and_entropy_are_those_of_the_distribution(make):
    """The closed forms, which avoid torch.distributions' overhead, say the same."""
    policy, obs = make(), torch.randn(50, 4) * 3
    dist = policy.dist(obs)
    action = dist.sample()
    log_prob, entropy = policy.evaluate_actions(obs, action)
    torch.testing.assert_close(log_prob, dist.log_prob(action))
    torch.testing.assert_close(entropy, dist.entropy())


def test_distributions_are_torchs():
    """A student may look at `probs`, `mean`, `stddev`."""
    obs = torch.randn(5, 4)
    policy = discrete()
    dist = policy.dist(obs)
    assert isinstance(dist, Categorical)
    torch.testing.assert_close(dist.probs, policy.model(obs).softmax(-1))
    policy = gaussian()
    dist = policy.dist(obs)
    expected = Independent(Normal(policy.model(obs), math.exp(-0.5)), 1)
    action = torch.randn(5, 2)
    torch.testing.assert_close(dist.log_prob(action), expected.log_prob(action))


@pytest.mark.parametrize("shape", [(2, 3), (), 2])
def test_gaussian_policies_of_other_shapes(shape):
    policy, obs = gaussian(shape), torch.randn(7, 4)
    action = policy.dist(obs).sample()
    assert action.shape == (7, *((shape,) if isinstance(shape, int) else shape))
    log_prob, entropy = policy.evaluate_actions(obs, action)
    torch.testing.assert_close(log_prob, policy.dist(obs).log_prob(action))
    torch.testing.assert_close(entropy, policy.dist(obs).entropy())


@POLICIES
def test_pure_functions_touch_nothing(make):
    """Neither a workspace nor the random streams; twice gives the same."""
    policy, obs = make(), torch.randn(5, 4)
    state = torch.get_rng_state()
    action = policy.act(obs, stochastic=False)
    assert torch.equal(action, policy.act(obs, stochastic=False))
    policy.evaluate_actions(obs, action)
    policy.dist(obs)
    assert torch.equal(torch.get_rng_state(), state)
    assert policy.workspace is None


@POLICIES
def test_gradients_of_log_prob_and_entropy(make):
    """They are those of the distribution: entropy has one, and log_std, if there is one."""
    policy, obs = make(), torch.randn(5, 4)
    action = policy.dist(obs).sample()

    def gradients(log_prob, entropy):
        policy.zero_grad()
        (log_prob.sum() + 0.5 * entropy.sum()).backward()
        return [p.grad.clone() for p in policy.parameters()]

    ours = gradients(*policy.evaluate_actions(obs, action))
    dist = policy.dist(obs)
    theirs = gradients(dist.log_prob(action), dist.entropy())
    torch.testing.assert_close(ours, theirs)


# -------------------------------------------------------------------------------------- forward


@POLICIES
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("compute_entropy", [False, True])
@pytest.mark.parametrize("predict_proba", [False, True])
def test_the_flags_of_forward(make, stochastic, predict_proba, compute_entropy):
    """What is written is what was asked for; the action that is there stays."""
    policy, workspace = make().with_prefix("p/"), table()
    if predict_proba:
        policy(workspace, t=0)
        before = workspace.get("action", 0)
    policy(
        workspace,
        t=0,
        stochastic=stochastic,
        predict_proba=predict_proba,
        compute_entropy=compute_entropy,
        something_else=3,
    )
    expected = {"env/env_obs", "action"}
    expected |= {"p/logprob_predict"} if predict_proba else set()
    expected |= {"p/entropy"} if compute_entropy else set()
    assert set(workspace.keys()) == expected
    dist = policy.dist(workspace.get("env/env_obs", 0))
    if predict_proba:
        assert torch.equal(workspace.get("action", 0), before)
        torch.testing.assert_close(workspace.get("p/logprob_predict", 0), dist.log_prob(before))
        assert workspace["p/logprob_predict"].requires_grad
    if compute_entropy:
        torch.testing.assert_close(workspace.get("p/entropy", 0), dist.entropy())
        assert workspace["p/entropy"].requires_grad
    assert not workspace["action"].requires_grad


@POLICIES
def test_the_former_name_judges_actions_too(make):
    policy, obs = make(), torch.randn(5, 4)
    action = policy.act(obs)
    judged = policy.evaluate_actions(obs, action)
    torch.testing.assert_close(policy.log_prob_and_entropy(obs, action), judged)


class ActsAlone(DiscretePolicy):
    def evaluate_actions(self, obs, action):
        raise AssertionError("nobody has asked")


def test_who_only_acts_judges_nothing():
    policy, workspace = ActsAlone(4, [8], 3), table()
    policy(workspace, t=0)
    assert set(workspace.variables) == {"env/env_obs", "action"}


def test_the_types_of_actions():
    """What the environment agent and `gather` need."""
    for policy, dtype in [(discrete(), torch.int64), (gaussian(), torch.float32)]:
        workspace = table()
        policy(workspace, t=0)
        assert workspace["action"].dtype == dtype


@POLICIES
def test_greedy_actions_are_the_most_likely_ones(make):
    policy, workspace = make(), table()
    policy(workspace, t=0, stochastic=False)
    dist = policy.dist(workspace.get("env/env_obs", 0))
    assert torch.equal(workspace.get("action", 0), dist.mode)


def test_the_critic_writes_under_its_prefix():
    critic, workspace = VAgent(4, [8]).with_prefix("critic/"), table()
    critic(workspace, t=0, stochastic=True)
    torch.testing.assert_close(
        workspace.get("critic/v_values", 0), critic.value(workspace.get("env/env_obs", 0))
    )
    assert workspace["critic/v_values"].requires_grad
    assert VAgent(4, [8])(workspace, t=0) is None
    assert "v_values" in workspace.keys()  # noqa: SIM118 - the prefix is empty at first


def test_prefixes_of_copies_are_independent():
    """As the course notebook does: `copy.deepcopy(policy).with_prefix("old_policy/")`."""
    policy = discrete().with_prefix("current_policy/")
    old = copy.deepcopy(policy).with_prefix("old_policy/")
    assert (policy.prefix, old.prefix) == ("current_policy/", "old_policy/")
    assert policy.name == "policy"
    assert VAgent(4, [8]).name == "critic"


def test_a_temporal_agent_runs_them_row_by_row():
    """As in the course notebook, whose TemporalAgent evaluates the actions of all rows."""
    workspace = Workspace()
    workspace.set_full("env/env_obs", torch.randn(7, 5, 4))
    policy, critic = discrete().with_prefix("p/"), VAgent(4, [8]).with_prefix("c/")
    TemporalAgent(Agents(policy, critic))(workspace, t=0, n_steps=7)
    TemporalAgent(policy)(workspace, t=0, n_steps=7, predict_proba=True, compute_entropy=True)
    obs, action = workspace["env/env_obs", "action"]
    log_prob, entropy = policy.evaluate_actions(obs, action)
    torch.testing.assert_close(workspace["p/logprob_predict"], log_prob)
    torch.testing.assert_close(workspace["p/entropy"], entropy)
    torch.testing.assert_close(workspace["c/v_values"], critic.value(obs))


def test_a_wrapper_with_fixed_arguments():
    """`KWAgentWrapper(policy, stochastic=False)` is greedy, whatever the caller says."""
    policy = discrete().with_prefix("p/")
    greedy = KWAgentWrapper(policy, stochastic=False, compute_entropy=True)
    workspace = table()
    greedy(workspace, t=0, stochastic=True, compute_entropy=False)
    dist = policy.dist(workspace.get("env/env_obs", 0))
    assert torch.equal(workspace.get("action", 0), dist.mode)
    assert "p/entropy" in workspace.keys()  # noqa: SIM118
    TemporalAgent(greedy)(workspace, t=0, n_steps=1, stochastic=True)
    assert torch.equal(workspace.get("action", 0), dist.mode)
    assert isinstance(greedy, bbrl.agents.KWAgentWrapper)
    assert greedy.wrapped is policy
    assert list(greedy.parameters())[0] is list(policy.parameters())[0]  # noqa: RUF015
    assert greedy.with_prefix("q/").prefix == policy.prefix == "q/"
    greedy.workspace = other = table(seed=2)
    greedy.forward(0, stochastic=True)  # as an agent that holds its workspace may be called
    assert torch.equal(other.get("action", 0), policy.dist(other.get("env/env_obs", 0)).mode)


# ------------------------------------------------------------------------------------- sampling


def chi_square(counts, probs):
    expected = probs * counts.sum()
    return float(((counts - expected).square() / expected).sum())


@pytest.mark.parametrize("prepared", [False, True], ids=["row by row", "noise at once"])
def test_sampling_frequencies_are_the_probabilities(prepared):
    """χ² with 2 degrees of freedom exceeds 13.8 once in a thousand; the seed is fixed."""
    policy, n = discrete(), 20_000
    obs = torch.randn(4, 4) * 2
    workspace = Workspace()
    workspace.set("env/env_obs", 0, obs.repeat_interleave(n, 0))
    torch.manual_seed(5)
    if prepared:
        row_actor(policy, 4 * n, 1)(workspace, 0)
    else:
        policy(workspace, t=0)
    action = workspace.get("action", 0).reshape(4, n)
    probs = policy.dist(obs).probs.detach()
    assert (probs.max() > 0.5) & (probs.min() < 0.25)
    for b in range(4):
        assert chi_square(action[b].bincount(minlength=3), probs[b]) < 13.8


def test_gaussian_samples_have_the_mean_and_deviation():
    policy, n = gaussian(), 20_000
    obs = torch.randn(1, 4).expand(n, 4)
    torch.manual_seed(5)
    action = policy.act(obs)
    dist = policy.dist(obs[0])
    deviation = math.exp(-0.5)
    assert (action.mean(0) - dist.mean).abs().max() < 4 * deviation / math.sqrt(n)
    assert (action.std(0) / deviation - 1).abs().max() < 4 / math.sqrt(2 * n)
    assert abs(torch.corrcoef(action.T)[0, 1]) < 4 / math.sqrt(n)


@POLICIES
def test_noise_is_finite(make):
    """An infinity would make one action certain, whatever the policy says."""
    torch.manual_seed(0)
    assert draw_noise(make(), 1000, 300).isfinite().all()


@POLICIES
def test_noise_drawn_at_once_is_used_row_by_row(make):
    """Row t of a rollout takes row t of the noise; elsewhere each row draws its own."""
    policy, obs = make(), torch.randn(6, 4)
    torch.manual_seed(3)
    noise = draw_noise(policy, 3, 6)
    torch.manual_seed(3)
    workspace = Workspace()
    act = row_actor(policy, 6, 3)
    state = torch.get_rng_state()
    for t in (0, 2, 1):
        workspace.set("env/env_obs", t, obs)
        act(workspace, t)
        expected = policy.dist(obs).with_noise(noise[t])
        assert torch.equal(workspace.get("action", t), expected)
        assert not workspace.get("action", t).requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    act = row_actor(policy, 6)  # nothing is drawn before it is due
    assert torch.equal(torch.get_rng_state(), state)
    act(workspace, 1)
    assert not torch.equal(torch.get_rng_state(), state)


@POLICIES
def test_same_seed_same_actions(make):
    policy, results = make(), []
    for _ in range(2):
        workspace = table()
        torch.manual_seed(9)
        policy(workspace, t=0)
        results.append(workspace.get("action", 0))
    assert torch.equal(*results)


@POLICIES
def test_noise_comes_from_the_stream_of_the_actions(make):
    """Whatever an environment draws from torch's global generator meanwhile."""
    policy, noises = make(), []
    for others in (1, 2):
        with RandomStream(5).direct():
            torch.rand(others)
            noises.append(draw_noise(policy, 4))
    assert torch.equal(*noises)


def test_chance_that_enters_by_the_noise_alone_needs_no_global_generator():
    """Whoever draws from the global one needs it, and another policy may."""
    inside, stream = DiscretePolicy(4, [8], 3), RandomStream(5)
    inside.dropout = nn.Dropout(0.5)
    for policy, alone in (
        (DiscretePolicy(4, [8], 3), True),
        (KWAgentWrapper(GaussianPolicy(BOX, [8], 2, activation="tanh"), stochastic=True), True),
        (inside, False),
        (Reversed(4, [8], 3), False),
        (HeadPolicy(4, [8], Discrete(3)), True),
        (MultiDiscretePolicy(4, [8], [2, 3]), True),
        (MultiBinaryPolicy(4, [8], 2), True),
        (CompositePolicy(4, [8], Tuple([Discrete(3)])), True),
        (RecurrentPolicy(Memory("lstm", 4, 8), DiscretePolicy(8, [8], 3)), True),
        (RecurrentPolicy(Memory("lstm", 4, 8), Reversed(8, [8], 3)), False),
    ):
        assert draws_noise_alone(policy) == alone
        with drawing_from(stream, policy):
            assert (generator() is not None) == alone


# ------------------------------------------------------------------------------------- on arrays

BOX = Box(-10, 10, (4,))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("kind", [DiscretePolicy, GaussianPolicy])
def test_acting_on_arrays_is_acting(kind, stochastic, activation):
    """NumPy decides as torch does: the same noise selects the same actions, of the same type."""
    torch.manual_seed(0)
    policy, obs = kind(BOX, [8, 8], 3, activation=activation), torch.randn(5, 6, 4)
    with torch.no_grad():
        policy.model[-1].weight.mul_(100)
        if kind is GaussianPolicy:
            policy.log_std.copy_(torch.tensor([-1.0, 0.0, 0.7]))
    assert array_actor(policy, 6) is not None
    workspace = Workspace()
    torch.manual_seed(1)
    noise = draw_noise(policy, 5, 6)
    torch.manual_seed(1)
    act = row_actor(policy if stochastic else KWAgentWrapper(policy, stochastic=False), 6, 5)
    for t in range(5):
        workspace.set("env/env_obs", t, obs[t])
        act(workspace, t)
    dist = policy.dist(obs)
    expected = (dist.with_noise(noise) if stochastic else dist.mode).detach()
    assert workspace["action"].dtype == expected.dtype
    torch.testing.assert_close(workspace["action"], expected)


def test_acting_on_arrays_sees_new_weights():
    """Those of the moment when a rollout begins."""
    policy, workspace = DiscretePolicy(BOX, [8], 2), table()
    for wanted in (0, 1):
        with torch.no_grad():
            policy.model[-1].bias.copy_(torch.tensor([100.0, -100.0]) * (1 - 2 * wanted))
        row_actor(policy, 6)(workspace, 0)
        assert (workspace.get("action", 0) == wanted).all()


def test_an_actor_heeds_what_a_wrapper_fixes():
    """As calling the wrapper does: it samples, writes the entropy, or acts not at all."""
    policy = DiscretePolicy(BOX, [8], 3).with_prefix("p/")
    workspace = Workspace()
    workspace.set("env/env_obs", 0, torch.zeros(100, 4))  # all in one state
    row_actor(KWAgentWrapper(policy), 100)(workspace, 0)
    sampled = workspace.get("action", 0)
    assert sampled.unique().numel() == 3
    row_actor(KWAgentWrapper(policy, predict_proba=True), 100)(workspace, 0)
    assert torch.equal(workspace.get("action", 0), sampled)
    assert workspace["p/logprob_predict"].shape == (1, 100)
    row_actor(KWAgentWrapper(policy, stochastic=False, compute_entropy=True), 100)(workspace, 0)
    mode = policy.dist(workspace.get("env/env_obs", 0)).mode
    assert torch.equal(workspace.get("action", 0), mode)
    assert workspace["p/entropy"].shape == (1, 100)


class Operations(TorchDispatchMode):
    """Notes what torch computes."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [DiscretePolicy, GaussianPolicy])
@pytest.mark.parametrize(
    "wrap", [lambda policy: policy, KWAgentWrapper, lambda p: KWAgentWrapper(p, stochastic=False)]
)
def test_torch_computes_nothing_where_arrays_do(kind, wrap):
    """Right after an environment each of its operations takes long."""
    workspace = table()
    act = row_actor(wrap(kind(BOX, [8], 3)), 6, 1)
    act(workspace, 0)  # it makes room for the actions
    with Operations() as operations:
        act(workspace, 0)
    assert operations.seen <= {"aten.select.int", "aten.detach.default"}  # this row's noise, a view


def test_the_actions_of_small_policies_are_floats_whatever_torchs_default():
    policy, workspace = GaussianPolicy(BOX, [8], 2), table()
    torch.set_default_dtype(torch.float64)
    try:
        row_actor(policy, 6)(workspace, 0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert workspace.get("action", 0).dtype == torch.float32


def test_acting_on_arrays_leaves_the_workspace_as_it_found_it():
    """Neither the observations nor what was read before change."""
    policy, workspace = GaussianPolicy(BOX, [8], 2), table()
    obs = workspace.get("env/env_obs", 0)
    policy(workspace, t=0)
    action = workspace.get("action", 0)
    before = action.clone()
    row_actor(policy, 6)(workspace, 0)
    assert torch.equal(workspace.get("env/env_obs", 0), obs)
    assert torch.equal(action, before)


# ----------------------------------------------------------------------------------- subclasses


class Reversed(DiscretePolicy):
    """Overrides `dist` alone: prefers what its network likes least."""

    def dist(self, obs):
        return Categorical(logits=-5 * self.model(obs))


class Never0:
    """A mixin: action 0 is next to impossible."""

    def dist(self, obs):
        logits = self.logits(obs)
        return Categorical(logits=torch.cat((logits[..., :1] - 50, logits[..., 1:]), -1))


class Mixed(Never0, DiscretePolicy):
    pass


class Grandchild(Reversed):
    pass


class Overridden(Reversed):
    """Brings a form of its own of one function, consistent with the parent's `dist`."""

    def act(self, obs, *, stochastic=True):
        return super().act(obs, stochastic=stochastic)


class OtherLogits(DiscretePolicy):
    """Overrides what all the functions are made of."""

    def logits(self, obs):
        return -5 * super().logits(obs)


class Wide(GaussianPolicy):
    def dist(self, obs):
        return Independent(Normal(self.mean(obs) + 7, 0.1), 1)


class Own(Policy):
    """A policy from scratch: `dist` is all it needs."""

    def __init__(self):
        super().__init__("own")
        self.model = nn.Linear(4, 3)

    def dist(self, obs):
        return Categorical(logits=self.model(obs))


def subclass(cls):
    torch.manual_seed(0)
    if cls is Own:
        return Own()
    return cls(BOX, [8], 2) if issubclass(cls, GaussianPolicy) else cls(BOX, [8], 3)


SUBCLASSES = pytest.mark.parametrize(
    "cls", [Reversed, Mixed, Grandchild, Overridden, OtherLogits, Wide, Own]
)


@SUBCLASSES
def test_what_acts_on_arrays_is_what_learns(cls):
    """The faster way knows only the package's own networks."""
    policy, workspace = subclass(cls), table(100)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(3)
    dist = policy.dist(workspace.get("env/env_obs", 0))
    row_actor(KWAgentWrapper(policy, stochastic=False), 100)(workspace, 0)
    assert torch.equal(workspace.get("action", 0), dist.mode)


@SUBCLASSES
def test_what_acts_is_what_learns(cls):
    """Sampling, greedy actions, log-probability and entropy all follow an overridden `dist`."""
    policy, n = subclass(cls).with_prefix("p/"), 4000
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(3)
    workspace = Workspace()
    obs = torch.randn(1, 4).expand(n, 4)
    workspace.set("env/env_obs", 0, obs)
    dist = policy.dist(obs)
    policy(workspace, t=0, stochastic=False)
    assert torch.equal(workspace.get("action", 0), dist.mode)
    for prepared in (False, True):
        torch.manual_seed(1)
        if prepared:
            row_actor(policy, n, 1)(workspace, 0)
        else:
            policy(workspace, t=0)
        action = workspace.get("action", 0)
        # The mean log-probability of samples is minus the entropy, if they are from `dist`.
        surprise = -dist.log_prob(action)
        error = (surprise.mean() - dist.entropy()[0]).abs() / (surprise.std() / math.sqrt(n) + 1e-6)
        assert error < 4
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    torch.testing.assert_close(workspace.get("p/logprob_predict", 0), dist.log_prob(action))
    torch.testing.assert_close(workspace.get("p/entropy", 0), dist.entropy())
    variables = {"env/env_obs": obs, "action": action}
    torch.testing.assert_close(
        evaluate_actions(policy, variables), (dist.log_prob(action), dist.entropy())
    )


class Masked(DiscretePolicy):
    """Action 1 is forbidden everywhere, all but action 0 where the first feature is negative."""

    def logits(self, obs):
        forbidden = torch.zeros(3, dtype=torch.bool)
        forbidden[1] = True
        last = obs[..., :1] < 0
        forbidden = forbidden | (last & torch.tensor([False, False, True]))
        return super().logits(obs).masked_fill(forbidden, -math.inf)


def test_forbidden_actions_are_never_taken_and_everything_stays_finite():
    """0·log 0 is 0, as in torch's Categorical: with NaN the first update ruined the policy."""
    policy, workspace = subclass(Masked), table(400)
    obs = workspace.get("env/env_obs", 0)
    policy(workspace, t=0)
    action = workspace.get("action", 0)
    assert not (action == 1).any()
    assert (action[obs[:, 0] < 0] == 0).all()
    log_prob, entropy = policy.evaluate_actions(obs, action)
    dist = policy.dist(obs)
    torch.testing.assert_close((log_prob, entropy), (dist.log_prob(action), dist.entropy()))
    assert (entropy[obs[:, 0] < 0] == 0).all()
    (log_prob + entropy).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in policy.parameters())


def test_a_distribution_without_mode_and_entropy_is_a_policy():
    """A Gaussian squashed by tanh: torch knows neither of the two."""

    class Squashed(GaussianPolicy):
        def dist(self, obs):
            normal = Independent(Normal(self.mean(obs), self.log_std.exp()), 1)
            return TransformedDistribution(normal, TanhTransform(cache_size=1))

    policy, workspace = subclass(Squashed), table(5)
    policy(workspace, t=0, stochastic=False)
    obs, action = workspace.get("env/env_obs", 0), workspace.get("action", 0)
    torch.testing.assert_close(action, policy.mean(obs).tanh())
    log_prob, estimate = policy.evaluate_actions(obs, action)
    assert torch.equal(estimate, -log_prob)


def test_a_critic_without_a_value_says_so():
    with pytest.raises(NotImplementedError, match=r"Critic must define value\(obs\)"):
        Critic()(table(), t=0)


def test_a_policy_without_a_distribution_says_so():
    class Nothing(Policy):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing must define dist\(obs\)"):
        Nothing()(table(), t=0)


# ------------------------------------------------------------------------------ foreign agents


def test_judging_by_a_foreign_policy_equals_the_packages():
    """The course notebook's DiscretePolicy, with its softmax, on the whole rollout at once."""
    policy = discrete()
    foreign = SeedDiscretePolicy(policy.model).with_prefix("mine/")
    variables = {"env/env_obs": torch.randn(40, 4), "action": torch.randint(3, (40,))}
    ours, theirs = (evaluate_actions(one, variables) for one in (policy, foreign))
    torch.testing.assert_close(theirs, ours)
    gradients = []
    for log_prob, entropy in (ours, theirs):
        policy.zero_grad()
        (log_prob + entropy).sum().backward()
        gradients.append([p.grad.clone() for p in policy.parameters()])
    torch.testing.assert_close(*gradients)


def test_estimating_by_a_foreign_critic_equals_the_packages():
    critic = VAgent(4, [8])
    foreign = SeedVAgent(critic.model).with_prefix("mine/")
    variables = {"env/env_obs": torch.randn(40, 4), "action": torch.randint(3, (40,))}
    value = predict_values(critic, variables)
    torch.testing.assert_close(predict_values(foreign, variables), value)
    assert value.shape == (40,)
    assert value.requires_grad


def test_an_overridden_forward_is_obeyed():
    """Whoever writes `forward` anew is judged by what it writes."""

    class Fixed(DiscretePolicy):
        def forward(self, t, **kwargs):
            n = len(self.get(("env/env_obs", t)))
            self.set((f"{self.prefix}logprob_predict", t), torch.full((n,), -7.0))
            self.set((f"{self.prefix}entropy", t), torch.full((n,), 3.0))

    class Zero(VAgent):
        def forward(self, t, **kwargs):
            n = len(self.get(("env/env_obs", t)))
            self.set((f"{self.prefix}v_values", t), torch.zeros(n))

    variables = {"env/env_obs": torch.randn(4, 4), "action": torch.zeros(4, dtype=torch.int64)}
    log_prob, entropy = evaluate_actions(Fixed(4, [8], 3), variables)
    assert log_prob.tolist() == [-7.0] * 4
    assert entropy.tolist() == [3.0] * 4
    assert not predict_values(Zero(4, [8]), variables).any()


def test_a_foreign_agent_may_read_other_variables():
    """Everything of the decision is there, not only observation and action."""

    class ReadsReward(bbrl.agents.Agent):
        def forward(self, t, **kwargs):
            self.set((f"{self.prefix}v_values", t), 2 * self.get(("env/reward", t)))

    variables = {"env/env_obs": torch.zeros(3, 4), "env/reward": torch.tensor([1.0, 2.0, 3.0])}
    assert predict_values(ReadsReward(), variables).tolist() == [2.0, 4.0, 6.0]


def test_memory_is_declared():
    """An agent whose rows depend on earlier rows says so; a wrapper around it, too."""

    class Remembers(Agent):
        has_memory = True

    assert not has_memory(discrete())
    assert has_memory(Remembers())
    assert has_memory(KWAgentWrapper(Agents(Remembers(), VAgent(4, [8]))))


# --------------------------------------------------------------------------------- interruptions


class Interrupts(Agent):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, t, **kwargs):
        self.set(("x", t), self.weight * torch.ones(2))
        raise KeyboardInterrupt


class ForeignInterrupts(bbrl.agents.Agent):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    forward = Interrupts.forward


def interrupted(agent):
    with pytest.raises(KeyboardInterrupt):
        agent(Workspace(), t=0)
    return agent


@pytest.mark.parametrize("wrap", [lambda a: a, KWAgentWrapper, TemporalAgent])
def test_interrupted_agent_lets_go_of_its_workspace(wrap):
    """Upstream keeps it, and `copy.deepcopy` fails on the gradients in it."""
    agent = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        wrap(agent)(Workspace(), t=0, n_steps=1)
    assert agent.workspace is None
    assert copy.deepcopy(agent).weight == 1
    assert wrap(agent).workspace is None


def test_interrupted_agent_of_bbrl_can_still_be_copied():
    """Keeping the best policy goes through `copy_agent`, whoever wrote it."""
    agent = interrupted(ForeignInterrupts())
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(agent)  # upstream's defect
    agent = interrupted(ForeignInterrupts())
    copied = copy_agent(KWAgentWrapper(Agents(agent, discrete()), stochastic=False))
    assert copied.wrapped[0].workspace is None
    assert copied.wrapped[0].weight == 1


def test_copies_are_independent():
    """The best policy does not learn on."""
    policy = discrete().with_prefix("p/")
    copied = copy_agent(policy)
    with torch.no_grad():
        policy.model[0].weight.zero_()
    assert copied.prefix == "p/"
    assert copied.model[0].weight.any()


def test_a_copy_has_no_workspace_if_another_thread_begins_to_act_meanwhile():
    agent = Agents(discrete())

    class Begins(nn.Module):
        def __deepcopy__(self, memo):
            agent.workspace = Workspace()
            return nn.Identity()

    agent.begins = Begins()
    assert copy_agent(agent).workspace is None
    assert agent.workspace is not None


def test_copies_of_workspaces_are_independent():
    workspace = Workspace()
    workspace.set("x", 0, torch.zeros(2))
    copied = copy.deepcopy(workspace)
    workspace.set("x", 1, torch.ones(2))
    assert copied["x"].tolist() == [[0, 0]]


def test_an_agent_needs_a_workspace():
    with pytest.raises(ValueError, match="DiscretePolicy needs a workspace"):
        discrete()(None, t=0)


# ------------------------------------------------------------------------------- initialisation


def test_the_seeds_signatures():
    """Positional arguments as in the notebook."""
    policy = DiscretePolicy(4, [64, 64], 2, "my policy")
    critic = VAgent(4, [64, 64], "my critic")
    assert policy.name == "my policy"
    assert critic.name == "my critic"
    assert critic.is_q_function is False
    assert [p.shape for p in policy.model.parameters()][::2] == [(64, 4), (64, 64), (2, 64)]
    assert isinstance(policy, bbrl.agents.Agent)


def test_actions_are_about_equally_likely_at_first():
    """docs/ppo.md#detail-2: a small last layer, so that exploration starts everywhere."""
    torch.manual_seed(0)
    obs = torch.randn(100, 4)
    probs = DiscretePolicy(4, [64, 64], 3).dist(obs).probs
    assert (probs - 1 / 3).abs().max() < 0.02
    dist = GaussianPolicy(4, [64, 64], 2).dist(obs)
    assert dist.mean.abs().max() < 0.1
    assert (dist.stddev == 1).all()


@pytest.mark.parametrize(
    ("kind", "arguments", "gain"),
    [
        (DiscretePolicy, [3], 0.01),
        (GaussianPolicy, [3], 0.01),
        (MultiDiscretePolicy, [[2, 3]], 0.01),
        (VAgent, [], 1.0),
    ],
)
def test_last_layers_have_gains_of_their_own(kind, arguments, gain):
    gains = torch.linalg.svdvals(kind(4, [8], *arguments).model[-1].weight.detach())
    torch.testing.assert_close(gains, torch.full_like(gains, gain))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_activations(activation):
    for agent in (
        VAgent(4, [8], activation=activation),
        DiscretePolicy(4, [8], 2, activation=activation),
        GaussianPolicy(4, [8], 2, activation=activation),
        MultiDiscretePolicy(4, [8], [2, 3], activation=activation),
    ):
        assert type(agent.model[1]).__name__.lower() == activation


@pytest.mark.parametrize("kind", [DiscretePolicy, GaussianPolicy])
def test_other_precisions_do_not_act_on_arrays(kind):
    """Nor what is not on the CPU: NumPy would compute with other numbers, or not at all."""
    policy = kind(BOX, [8], 2)
    for rows in (2**13, 2**13 + 1):  # beyond, NumPy's threads and torch's wait for each other
        assert (array_actor(policy, rows) is None) == (rows > 2**13)
    assert array_actor(policy, 6) is not None
    assert array_actor(policy.double(), 6) is None
    if kind is GaussianPolicy:  # noise of its own precision, not rounded to another
        assert draw_noise(policy, 6).dtype == torch.float64


def test_other_networks_do_not_act_on_arrays():
    """Another model, or an encoder that turns states into vectors, would be left out."""
    model = DiscretePolicy(BOX, [8], 2)
    model.model = nn.Sequential(*model.model)
    for policy in (model, DiscretePolicy(Discrete(4), [8], 2)):
        assert array_actor(policy, 6) is None
