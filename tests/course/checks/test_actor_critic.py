"""The check of `ActorCritic`: right classes pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's method has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint
from torch import nn
from torch.distributions import Categorical, Normal

from ppo_course import check_actor_critic

pytest.importorskip("lightning", reason="the extra `lightning` is not installed")

from ppo_bbrl.lightning import PPO


class Given(PPO):
    """What the notebook gives."""

    def __init__(self, lr=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.lr = lr
        n_inputs, n_actions = self.observation_space.shape[0], int(self.action_space.n)
        self.actor = nn.Sequential(nn.Linear(n_inputs, 8), nn.Tanh(), nn.Linear(8, n_actions))
        self.critic = nn.Sequential(nn.Linear(n_inputs, 8), nn.Tanh(), nn.Linear(8, 1))


def with_methods(forward=None, configure_optimizers=None):
    """A student's class; the right method in the place of one that is left out."""
    methods = {
        "forward": forward or (lambda self, x: (policy(self, x), value(self, x))),
        "configure_optimizers": configure_optimizers
        or (lambda self: torch.optim.Adam(self.parameters(), lr=self.lr)),
    }
    return type("ActorCritic", (Given,), methods)


def policy(self, x):
    return Categorical(logits=self.actor(x))


def value(self, x):
    return self.critic(x).squeeze(-1)


class Plain(Given):
    def forward(self, x):
        return Categorical(logits=self.actor(x)), self.critic(x).squeeze(-1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class WithSoftmax(Given):
    """As in the document that Lightning's PPO comes from."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.actor.append(nn.Softmax(dim=1))

    def forward(self, x):
        return Categorical(probs=self.actor(x)), self.critic(x).flatten()

    def configure_optimizers(self):
        return {"optimizer": torch.optim.Adam(self.parameters(), self.lr)}


class InSteps(Given):
    def forward(self, x):
        log_probs = torch.log_softmax(self.actor(x), dim=-1)
        return Categorical(logits=log_probs), self.critic(x)[:, 0]

    def configure_optimizers(self):
        groups = [{"params": net.parameters()} for net in (self.actor, self.critic)]
        return [torch.optim.Adam(groups, lr=self.lr)]


class InLists(Given):
    def forward(self, x):
        return Categorical(None, self.actor(x)), self.critic(x).view(-1)

    def configure_optimizers(self):
        adam = torch.optim.Adam([*self.actor.parameters(), *self.critic.parameters()], eps=1e-5)
        adam.param_groups[0]["lr"] = self.lr
        return [adam], []


def half_detached(self, x):
    scores = self.actor(x)
    return Categorical(logits=(scores + scores.detach()) / 2), value(self, x)


def optimised_by(kind, **settings):
    return with_methods(None, lambda self: kind(self.parameters(), lr=self.lr, **settings))


def without_gradient(self, x):
    with torch.no_grad():
        return policy(self, x), value(self, x)


WRONG = {
    with_methods(lambda self, x: None): "forward is not right yet: it returns nothing",
    with_methods(policy): "not-two",
    with_methods(lambda self, x: (value(self, x), policy(self, x))): "order",
    with_methods(lambda self, x: (self.actor(x), value(self, x))): "no-distribution",
    with_methods(lambda self, x: (Normal(self.actor(x), 1.0), value(self, x))): "no-categorical",
    with_methods(lambda self, x: (policy(self, x), 0.0)): "no-tensor",
    with_methods(lambda self, x: (Categorical(logits=self.critic(x)), value(self, x))): ("size"),
    with_methods(lambda self, x: (policy(self, x), self.critic(x))): "column",
    with_methods(lambda self, x: (policy(self, x), self.actor(x))): "wrong-shape",
    with_methods(
        lambda self, x: (Categorical(logits=self.actor(x).softmax(-1)), value(self, x))
    ): "softmax-twice",
    with_methods(
        lambda self, x: (Categorical(probs=self.actor(x).softmax(0)), value(self, x))
    ): "softmax-of-columns",
    with_methods(lambda self, x: (Categorical(logits=-self.actor(x)), value(self, x))): (
        "scores-sign"
    ),
    with_methods(lambda self, x: (Categorical(logits=self.actor(2 * x)), value(self, x))): (
        "not-of-actor"
    ),
    with_methods(lambda self, x: (policy(self, x), value(self, x) + 1)): ("not-of-critic"),
    with_methods(without_gradient): "no gradient reaches the actor",
    with_methods(lambda self, x: (policy(self, x), value(self, x).detach())): (
        "no gradient reaches the critic"
    ),
    with_methods(half_detached): "only a part of the gradient reaches the actor",
    with_methods(lambda self, x: (policy(self, x), self.critic(x).squeeze())): ("squeezed"),
    with_methods(lambda self, x: [policy(self, x), value(self, x)]): "list",
    optimised_by(torch.optim.SGD): "the optimiser is SGD, not Adam",
    optimised_by(torch.optim.AdamW): "the optimiser is AdamW, not Adam",
    optimised_by(torch.optim.Adam, weight_decay=0.5): "weight-decay",
    optimised_by(torch.optim.Adam, maximize=True): "maximises",
    with_methods(None, lambda self: None): "configure_optimizers is not right yet: it returns not",
    with_methods(None, lambda self: torch.optim.Adam): "no-optimiser",
    with_methods(
        None, lambda self: [torch.optim.Adam(n.parameters()) for n in (self.actor, self.critic)]
    ): "several",
    with_methods(None, lambda self: torch.optim.Adam(self.actor.parameters(), lr=self.lr)): (
        "the critic would never learn"
    ),
    with_methods(None, lambda self: torch.optim.Adam(self.critic.parameters(), lr=self.lr)): (
        "the actor would never learn"
    ),
    with_methods(None, lambda self: torch.optim.Adam(self.parameters())): ("other-rate"),
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_sizes_accept_and_refuse_the_same,
    *_,
) = check_the_check(check_actor_critic, None, [Plain, WithSoftmax, InSteps, InLists], WRONG)


def stub(*arguments):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


@pytest.mark.parametrize(
    ("model_class", "said"),
    [
        (with_methods(stub), "forward is not written yet"),
        (with_methods(None, stub), "configure_optimizers is not written yet"),
        (with_methods(lambda self, x: (Categorical(self.actor(x)), x)), "Categorical(logits=…)"),
        (with_methods(lambda self: None), "the methods are forward(self, x)"),
        (type("ActorCritic", (Given,), {}), "the method's name is forward"),
        (type("ActorCritic", (PPO,), {"__init__": lambda self, lr, **_: None}), "has no network"),
        (Categorical, "it is not a class derived from PPO"),
        (3, "it is not a class derived from PPO"),
    ],
)
def test_what_cannot_be_used_is_told(model_class, said):
    assert said in complaint(check_actor_critic, model_class)


def test_the_global_random_stream_stays_as_it_was():
    before = torch.get_rng_state()
    check_actor_critic(Plain)
    check_actor_critic(Plain, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
