"""Agents of one's own that do not fit the environment are one line, before anything happens."""

import threading
from pathlib import Path

import bbrl.agents
import pytest
import torch
from gymnasium.spaces import Box
from probe_envs import LOG, config, fresh_log
from torch import nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    Poisson,
    RelaxedOneHotCategorical,
    TransformedDistribution,
)
from torch.distributions.transforms import TanhTransform

from ppo_bbrl import DiscretePolicy, GaussianPolicy, PPOClip, VAgent, run
from ppo_bbrl.agents.base import Policy
from ppo_bbrl.errors import UserError


class Foreign(bbrl.agents.Agent):
    """As the notebook of BBRL writes a policy; knows nothing of this package."""

    def __init__(self, n_features, n_actions, columns=False):
        super().__init__("policy")
        self.model = nn.Linear(n_features, n_actions)
        self.columns, self.calls = columns, 0

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **_):
        self.calls += 1
        dist = Categorical(logits=self.model(self.get(("env/env_obs", t))))
        if predict_proba:
            action = self.get(("action", t))
            self.set((f"{self.prefix}logprob_predict", t), dist.logits[range(len(action)), action])
        else:
            self.set(("action", t), dist.sample() if stochastic else dist.probs.argmax(-1))
        if compute_entropy:
            entropy = dist.entropy()
            wide = entropy[:, None].expand(-1, 2)
            self.set((f"{self.prefix}entropy", t), wide if self.columns else entropy)


class ForeignCritic(bbrl.agents.Agent):
    def __init__(self, n_features, squeeze=True):
        super().__init__("critic")
        self.model, self.squeeze = nn.Linear(n_features, 1), squeeze

    def forward(self, t, **_):
        value = self.model(self.get(("env/env_obs", t)))
        self.set((f"{self.prefix}v_values", t), value.squeeze(-1) if self.squeeze else value)


class OfDist(Policy):
    """A policy that is its distribution."""

    def __init__(self, n_outputs, make):
        super().__init__("own")
        self.model, self.make = nn.Linear(2, n_outputs), make

    def dist(self, obs):
        return self.make(self.model(obs))


class Wide(GaussianPolicy):
    """The entropy of each component."""

    def evaluate_actions(self, obs, action):
        log_prob, _ = super().evaluate_actions(obs, action)
        return log_prob, (self.log_std + self.mean(obs)).expand_as(action)


class Numbers(VAgent):
    """A critic that learns nothing, since nothing of its loss comes back to it."""

    def value(self, obs):
        return torch.tensor(super().value(obs).tolist())


class FormerNames(DiscretePolicy):
    def log_prob_and_entropy(self, obs, action):
        return super().log_prob_and_entropy(obs, action)


class OwnNoise(DiscretePolicy):
    def draw_noise(self, *leading):
        return torch.zeros(*leading, 3)


def policy(make):
    return lambda: {"train_policy": make()}


def critic(make):
    return lambda: {"critic_agent": make()}


MISFITS = {
    # Logged: [2] to Discrete(3); LoggedBox: [2] to Box(2); FrozenLake: Discrete(16) to Discrete(4).
    "fewer actions": ("Logged", policy(lambda: DiscretePolicy(2, [8], 2)), "is over 2 actions"),
    "more actions": ("Logged", policy(lambda: DiscretePolicy(2, [8], 4)), "is over 4 actions"),
    "fewer actions of another's": ("Logged", policy(lambda: Foreign(2, 2)), "actions 0 to 2"),
    "more actions of another's": ("Logged", policy(lambda: Foreign(2, 30)), "Foreign on Logged"),
    "features": ("Logged", policy(lambda: DiscretePolicy(6, [8], 3)), r"observations \[7, 2\]"),
    "another's features": ("Logged", policy(lambda: Foreign(3, 3)), r"observations \[4, 2\]"),
    "a critic's features": ("Logged", critic(lambda: VAgent(3, [8])), r"VAgent on .*\[7, 2\]"),
    "another critic's": ("Logged", critic(lambda: ForeignCritic(3)), r"ForeignCritic on .*\[7"),
    "a shape": ("Logged", critic(lambda: VAgent((1, 2), [8])), r"VAgent on .*\[7, 2\]"),
    "states": ("FrozenLake-v1", policy(lambda: DiscretePolicy(10, [8], 4)), "10 states"),
    "too many states": ("FrozenLake-v1", critic(lambda: VAgent(500, [8])), "500 states"),
    "a space of fewer states": (
        "FrozenLake-v1",
        critic(lambda: VAgent(Box(-1, 1, (16,)), [8])),
        "VAgent on FrozenLake",
    ),
    "length of actions": (
        "LoggedBox",
        policy(lambda: GaussianPolicy(2, [8], 1)),
        r"its Normal does not fit .* shape \[7, 1\] .* takes shape \[7, 2\], floats",
    ),
    "shape of actions": ("LoggedBox", policy(lambda: GaussianPolicy(2, [8], (2, 1))), "its Normal"),
    "numbers for a choice": ("Logged", policy(lambda: GaussianPolicy(2, [8], 3)), "3.* integers"),
    "a choice for numbers": ("LoggedBox", policy(lambda: DiscretePolicy(2, [8], 2)), "floats"),
    "a normal of each component": (
        "LoggedBox",
        policy(lambda: OfDist(2, lambda out: Normal(out, 1.0))),
        r"log-probability of 7 actions is .* \[7, 2\], must be \[7\]; .*Independent",
    ),
    "an entropy of each component": (
        "LoggedBox", policy(lambda: Wide(2, [8], 2)), r"entropy of 7 actions is .* \[7, 2\]",
    ),
    "an entropy of columns": (
        "Logged", policy(lambda: Foreign(2, 3, columns=True)), r"entropy of 7 .* \[7, 2\]",
    ),
    "a column of values": (
        "Logged", critic(lambda: ForeignCritic(2, squeeze=False)), r"\[7, 1\]; value.squeeze\(-1\)",
    ),
    "counts": ("Logged", policy(lambda: OfDist(1, lambda y: Poisson(y[:, 0].exp()))), "Poisson"),
    "a mixture": (
        "LoggedBox",
        policy(
            lambda: OfDist(
                4,
                lambda out: MixtureSameFamily(
                    Categorical(logits=torch.zeros(len(out), 2)),
                    Independent(Normal(out.unflatten(-1, (2, 2)), 1.0), 1),
                ),
            )
        ),
        "MixtureSameFamily has no mode.*property `mode`",
    ),
    "relaxed": (
        "LoggedBox",
        policy(lambda: OfDist(2, lambda out: RelaxedOneHotCategorical(torch.ones(()), logits=out))),
        "RelaxedOneHotCategorical has no mode",
    ),
    "half precision": (
        "Logged", policy(lambda: DiscretePolicy(2, [8], 3).half()), "torch.float16; must be",
    ),
    "brain floats": (
        "Logged", critic(lambda: VAgent(2, [8]).bfloat16()), "torch.bfloat16; must be",
    ),
    "double that is not converted": (
        "Logged", policy(lambda: Foreign(2, 3).double()), "torch.float32: .*same dtype",
    ),
    "weights that are none": (
        "Logged", policy(lambda: DiscretePolicy(2, [8], 3).to("meta")), "cannot be moved to cpu",
    ),
    "no action": ("Logged", policy(lambda: VAgent(2, [8])), "must write `action`"),
    "not a number": (
        "Logged",
        policy(lambda: OfDist(3, lambda out: Categorical(logits=torch.nan * out))),
        "OfDist on Logged",
    ),
    "a critic for a policy": ("Logged", policy(lambda: VAgent(2, [8])), "must write `action`"),
    "a method by its former name": (
        "Logged", policy(lambda: FormerNames(2, [8], 3)), "is called evaluate_actions now",
    ),
    "noise of its own": (
        "Logged", policy(lambda: OwnNoise(2, [8], 3)), "draw_noise is not called any more",
    ),
    "what its weights do not reach": (
        "Logged",
        policy(lambda: OfDist(3, lambda out: Categorical(logits=out.detach()))),
        "OfDist on Logged.* log-probability has no gradient",
    ),
    "a value that is a number": (
        "Logged", critic(lambda: Numbers(2, [8])), "Numbers on Logged.* value has no gradient",
    ),
    "forgotten": ("Logged", critic(lambda: bbrl.agents.Agent("nothing")), "Agent on Logged"),
}  # fmt: skip


@pytest.mark.wide(18)
@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_one_line_before_the_first_step(case):
    env_name, agents, expected = MISFITS[case]
    given, stream = agents(), torch.get_rng_state()
    fresh_log()
    with pytest.raises(UserError, match=expected) as error:
        PPOClip(config(env_name), **given)
    assert "\n" not in str(error.value)
    assert not LOG.acted_in
    assert not LOG.first
    assert not list(Path().iterdir())
    assert torch.equal(torch.get_rng_state(), stream)


def squashed(out):
    return TransformedDistribution(Independent(Normal(out, 1.0), 1), [TanhTransform(cache_size=1)])


FITS = {
    "another's": ("Logged", lambda: Foreign(2, 3)),
    "squashed": ("LoggedBox", lambda: OfDist(2, squashed)),
    "squashed parts": (
        "LoggedBox",
        lambda: OfDist(
            2,
            lambda out: Independent(
                TransformedDistribution(Normal(out, 1.0), [TanhTransform()]), 1
            ),
        ),
    ),
    "beta": ("LoggedBox", lambda: OfDist(2, lambda out: Independent(Beta(out.exp(), 1.0), 1))),
    "one of two": (
        "CartPole-v1",
        lambda: OfBits(4),
    ),
    "states": ("FrozenLake-v1", lambda: DiscretePolicy(16, [8], 4)),
}


class OfBits(OfDist):
    """Chooses by a bit, and writes it as an integer."""

    def __init__(self, n_features):
        super().__init__(1, lambda out: Bernoulli(logits=out[..., 0]))
        self.model = nn.Linear(n_features, 1)

    def act(self, obs, *, stochastic=True):
        return super().act(obs, stochastic=stochastic).long()

    def evaluate_actions(self, obs, action):
        dist = self.dist(obs)
        return dist.log_prob(action.float()), dist.entropy()


@pytest.mark.parametrize("case", FITS)
def test_what_fits_is_trained(case):
    env_name, make = FITS[case]
    algo = PPOClip(config(env_name, entropy_coef=0.0), train_policy=make())
    run(algo)
    algo.evaluate(force=True)
    algo.close()
    assert all(parameter.isfinite().all() for parameter in algo.train_policy.parameters())


class Chosen(DiscretePolicy):
    """Allows the actions that the observation names; one of nothing is an error of torch's."""

    allows = 1.0

    def logits(self, obs):
        mask = obs[..., :1].expand(*obs.shape[:-1], 3) == self.allows
        return super().logits(obs).masked_fill(~mask, -torch.inf)


@pytest.mark.parametrize("allows", [0.0, 1.0])
def test_masks_that_blank_observations_would_forbid_everything_are_no_misfit(allows):
    """Whichever way round they are: one kind of observations that works is enough."""
    chosen = Chosen(2, [8], 3)
    chosen.allows = allows
    algo = PPOClip(config("Logged"), train_policy=chosen)
    algo.close()


def test_trying_leaves_the_agents_as_they_were():
    policy, critic = Foreign(2, 3), ForeignCritic(2)
    algo = PPOClip(config("Logged"), train_policy=policy, critic_agent=critic)
    algo.close()
    assert policy.calls == 0
    assert policy.training


def test_a_policy_may_read_what_it_wrote_when_it_acted():
    class Remembers(Foreign):
        def forward(self, t, *, predict_proba=False, **kwargs):
            if predict_proba:
                assert (self.get(("seen", t)) == self.get(("env/env_obs", t))).all()
            super().forward(t, predict_proba=predict_proba, **kwargs)
            if not predict_proba:
                self.set(("seen", t), self.get(("env/env_obs", t)))

    algo = PPOClip(config("Logged"), train_policy=Remembers(2, 3))
    run(algo)
    algo.close()


class Layers(OfDist):
    """Any module that gives the logits of three actions."""

    def __init__(self, model, **others):
        super().__init__(1, lambda out: Categorical(logits=out))
        self.model = model
        for name, value in others.items():
            setattr(self, name, value)


class Listed(Layers):
    def dist(self, obs):
        for layer in self.layers:
            obs = layer(obs)
        return super().dist(obs)


UNTRAINABLE = {
    "a lazy layer": (lambda: Layers(nn.LazyLinear(3)), "Layers on Logged-v0: its weight model.wei"),
    "sparse gradients": (
        lambda: Layers(nn.Linear(2, 3), own=nn.Embedding(2, 3, sparse=True)),
        "its layer own has sparse gradients.*sparse=False",
    ),
    "an open lock": (
        lambda: Layers(nn.Linear(2, 3), own=threading.Lock()),
        "Layers or VAgent cannot be copied.*lock",
    ),
    "no parameters": (
        lambda: Listed(nn.Identity(), layers=[nn.Linear(2, 3)]),
        r"Listed has no parameters to learn.*nn\.ModuleList",
    ),
}


@pytest.mark.parametrize("case", UNTRAINABLE)
@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:Listed")
def test_agents_that_no_optimiser_can_train_are_one_line(case):
    make, told = UNTRAINABLE[case]
    with pytest.raises(UserError, match=told) as error:
        PPOClip(config("Logged"), train_policy=make())
    assert "\n" not in str(error.value)
    assert not Path("outputs").exists()


def test_layers_that_python_holds_are_told_of():
    """Their weights would stay as they are, and the others learn around them."""
    mine = Listed(nn.Linear(4, 3), layers=[nn.Linear(2, 4)])
    with pytest.warns(UserWarning, match=r"Listed: its log-probability is.*\[4, 2\].*ModuleL"):
        PPOClip(config("Logged"), train_policy=mine).close()


def test_weights_of_the_other_agent_are_no_strangers(recwarn):
    """They learn as parts of that one, in a closure too, which copies of an agent share."""
    critic = VAgent(2, [3])
    mine = Listed(nn.Linear(3, 3), layers=[lambda obs: critic.model[1](critic.model[0](obs))])
    mine.trunk = critic.model
    PPOClip(config("Logged"), train_policy=mine, critic_agent=critic).close()
    assert not [one for one in recwarn if "never change" in str(one.message)]
