"""The check of `GaussianPolicy`: right answers pass, each mistake gets its own message."""

import math

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of, tells
from seeds import SEEDS
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

import ppo_bbrl
from ppo_bbrl import Agent, build_ortho_mlp
from ppo_course import check_gaussian_policy

# ------------------------------------------------------------------------------- right answers


class ByDistribution(Agent):
    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [state_dim, *hidden_size, n_actions], activation=nn.Tanh(), output_gain=0.01
        )
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def dist(self, obs):
        return Independent(Normal(self.model(obs), self.log_std.exp()), 1)

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        dist = self.dist(self.get(("env/env_obs", t)))
        if predict_proba:
            log_prob = dist.log_prob(self.get(("action", t)))
            self.set((f"{self.prefix}logprob_predict", t), log_prob)
        else:
            self.set(("action", t), self.choose(dist, stochastic))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())

    def choose(self, dist, stochastic):
        return dist.sample() if stochastic else dist.mean.detach()


class ByHand(ByDistribution):
    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        mean = self.model(self.get(("env/env_obs", t)))
        half = 0.5 * math.log(2 * math.pi)
        if predict_proba:
            z = (self.get(("action", t)) - mean) * torch.exp(-self.log_std)
            log_prob = (-0.5 * z**2 - self.log_std - half).sum(-1)
            self.set((self.prefix + "logprob_predict", t), log_prob)
        else:
            action = mean.detach()
            if stochastic:
                action = action + self.log_std.detach().exp() * torch.randn_like(action)
            self.set(("action", t), action)
        if compute_entropy:
            entropy = (self.log_std + half + 0.5).sum()
            self.set((self.prefix + "entropy", t), entropy.repeat(len(mean)))


class ByCovariance(ByDistribution):
    def dist(self, obs):
        return MultivariateNormal(self.model(obs), torch.diag(torch.exp(2 * self.log_std)))

    def forward(self, t, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        with torch.no_grad():
            dist = self.dist(self.get(("env/env_obs", t)))
            if not predict_proba:
                self.set(("action", t), dist.sample() if stochastic else dist.mode)
        dist = self.dist(self.get(("env/env_obs", t)))
        if predict_proba:
            action = self.get(("action", t))
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


class OfThePackage(ppo_bbrl.GaussianPolicy):
    pass


RIGHT = [ByDistribution, ByHand, ByCovariance, OfThePackage]

# ------------------------------------------------------------------------------- wrong answers


def with_dist(make):
    """An answer whose dist is made of the mean and log_std."""

    class Answer(ByDistribution):
        def dist(self, obs):
            return make(self.model(obs), self.log_std)

    return Answer


def with_choice(choose):
    class Answer(ByDistribution):
        def choose(self, dist, stochastic):
            return choose(dist, stochastic)

    return Answer


def with_noise(make):
    """An answer that samples mean + standard deviation × noise in its own way."""

    class Answer(ByDistribution):
        def choose(self, dist, stochastic):
            mean = dist.mean.detach()
            return mean + make(mean, self.log_std.detach()) if stochastic else mean

    return Answer


def with_writing(change):
    """An answer whose calls of self.set are changed: from agent, name, row, value to a list."""

    class Answer(ByDistribution):
        def set(self, place, value):
            for name, t, changed in change(self, *place, value):
                super().set((name, t), changed)

    return Answer


def instead(ending, new):
    """Writes new(agent, row, value) for the name with this ending."""
    return with_writing(
        lambda agent, name, t, value: [
            (name, t, new(agent, t, value) if name.endswith(ending) else value)
        ]
    )


def renamed(ending, name_of):
    return with_writing(
        lambda agent, name, t, value: [
            (name_of(agent) if name.endswith(ending) else name, t, value)
        ]
    )


class NewActions(ByDistribution):
    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        dist = self.dist(self.get(("env/env_obs", t)))
        action = dist.sample() if stochastic else dist.mean.detach()
        self.set(("action", t), action)
        if predict_proba:
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


class RowZero(ByDistribution):
    def get(self, index):
        name, t = index
        return super().get((name, 0 if name == "env/env_obs" else t))


class Stub(ByDistribution):
    def dist(self, obs):
        assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


class StubOfForward(ByDistribution):
    def forward(self, t, **kwargs):
        assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


class WithoutArguments(ByDistribution):
    def forward(self, t):
        pass


class NoParameter(ByDistribution):
    def __init__(self, state_dim, hidden_size, n_actions):
        super().__init__(state_dim, hidden_size, n_actions)
        del self.log_std
        self.log_std = torch.zeros(n_actions)


class SameSeed(ByDistribution):
    def choose(self, dist, stochastic):
        torch.manual_seed(0)
        return super().choose(dist, stochastic)


class GreedyByDefault(ByDistribution):
    def forward(self, t, *, stochastic=False, **kwargs):
        super().forward(t, stochastic=stochastic, **kwargs)


class EntropyUnasked(ByDistribution):
    def forward(self, t, *, compute_entropy=False, **kwargs):
        super().forward(t, compute_entropy=True, **kwargs)


class LogProbUnasked(ByDistribution):
    def forward(self, t, *, predict_proba=False, **kwargs):
        super().forward(t, predict_proba=predict_proba, **kwargs)
        if not predict_proba:
            super().forward(t, predict_proba=True)


class EntropyWithEveryJudgement(ByDistribution):
    def forward(self, t, *, predict_proba=False, compute_entropy=False, **kwargs):
        super().forward(
            t,
            predict_proba=predict_proba,
            compute_entropy=compute_entropy or predict_proba,
            **kwargs,
        )


class EntropyOnlyWhenJudging(ByDistribution):
    def forward(self, t, *, predict_proba=False, compute_entropy=False, **kwargs):
        super().forward(
            t,
            predict_proba=predict_proba,
            compute_entropy=compute_entropy and predict_proba,
            **kwargs,
        )


class Exchanged(ByDistribution):
    def forward(self, t, *, predict_proba=False, **kwargs):
        super().forward(t, predict_proba=not predict_proba, **kwargs)


class EntropyOnlyWhenActing(ByDistribution):
    def forward(self, t, *, predict_proba=False, compute_entropy=False, **kwargs):
        super().forward(
            t,
            predict_proba=predict_proba,
            compute_entropy=compute_entropy and not predict_proba,
            **kwargs,
        )


class ReturnsTheAction(ByDistribution):
    def forward(self, t, **kwargs):
        return self.dist(self.get(("env/env_obs", t))).sample()


class ReturnsTheLogProb(ByDistribution):
    def forward(self, t, *, predict_proba=False, **kwargs):
        if predict_proba:
            action = self.get(("action", t))
            return self.dist(self.get(("env/env_obs", t))).log_prob(action)
        super().forward(t, **kwargs)
        return None


class ValueFirst(ByDistribution):
    def forward(self, t, **kwargs):
        self.set(self.dist(self.get(("env/env_obs", t))).sample(), ("action", t))


class LocalDist(ByDistribution):
    def forward(self, t, **kwargs):
        dist = dist(self.get(("env/env_obs", t)))  # noqa: F821 - as students write
        self.set(("action", t), dist.sample())


class ModelForDist(ByDistribution):
    def forward(self, t, **kwargs):
        dist = self.model(self.get(("env/env_obs", t)))
        self.set(("action", t), dist.sample())


LimitedWhenJudging = instead(
    "logprob_predict",
    lambda a, t, _: Independent(Normal(a.mean(t), a.log_std.clamp(-20, 2).exp()), 1).log_prob(
        a.get(("action", t))
    ),
)

WRONG = {
    with_dist(lambda m, s: Normal(m, s.exp())): "separate-components",
    with_dist(lambda m, s: Independent(Normal(m, s.exp()), 2)): "one-event",
    with_dist(lambda m, s: Independent(Normal(m, s), 1)): "std-not-positive",
    with_dist(lambda m, s: Independent(Normal(m, s.abs()), 1)): "log-std-as-std",
    with_dist(lambda m, s: Independent(Normal(m, (2 * s).exp()), 1)): "variance",
    with_dist(lambda m, _: Independent(Normal(m, torch.ones_like(m)), 1)): "std-of-1",
    with_dist(lambda m, s: Independent(Normal(m.tanh(), s.exp()), 1)): "dist-mean",
    with_dist(lambda m, s: Independent(Normal(m, s.exp().detach()), 1)): (
        "logprob_predict` to log_std"
    ),
    with_dist(lambda m, s: Independent(Normal(m.detach(), s.exp()), 1)): (
        "logprob_predict` to model"
    ),
    with_dist(lambda m, s: Independent(Normal(m, s.clamp(-20, 2).exp()), 1)): "std-limited",
    with_dist(lambda m, s: Independent(Normal(m, s.exp() + 1e-6), 1)): "std-limited",
    LimitedWhenJudging: "std-limited",
    with_dist(lambda *_: None): "dist-returns-nothing",
    with_dist(lambda m, s: (m, s.exp())): "no-distribution",
    with_choice(lambda dist, _: dist.mean): "mean-for-sample",
    with_choice(lambda dist, _: dist.sample()): "greedy-not-mean",
    with_choice(lambda dist, stochastic: dist.rsample() if stochastic else dist.mean): (
        "sample-with-gradient"
    ),
    with_choice(
        lambda dist, stochastic: (dist.sample() if stochastic else dist.mean).clamp(-2, 2)
    ): "clipped",
    with_choice(lambda dist, stochastic: (dist.sample() if stochastic else dist.mean).sum(-1)): (
        "`action` has the wrong shape"
    ),
    with_noise(lambda m, s: (2 * s).exp() * torch.randn_like(m)): (
        "of the actions that it samples, the variance σ² stands"
    ),
    with_noise(
        lambda m, _: torch.randn_like(m)
    ): "of the actions that it samples, log_std plays no part",
    with_noise(lambda m, s: s.exp() * torch.randn(m.shape[-1])): "same-noise-in-row",
    with_noise(lambda m, s: s.exp() * torch.randn(len(m), 1)): "same-noise-in-action",
    with_noise(lambda m, s: s.exp() * torch.rand_like(m) * math.sqrt(12)): ("mean-of-samples"),
    with_noise(lambda m, s: s.exp() * (torch.rand_like(m) - 0.5) * math.sqrt(12)): ("not-gaussian"),
    with_choice(lambda dist, stochastic: dist.sample() if stochastic else dist.mean): (
        "greedy-with-gradient"
    ),
    EntropyUnasked: "`current_policy/entropy` unasked (it acts",
    LogProbUnasked: "`current_policy/logprob_predict` unasked",
    EntropyWithEveryJudgement: "`current_policy/entropy` unasked (predict_proba=True",
    SameSeed: "same-noise-again",
    NewActions: "new-actions",
    RowZero: "another-row",
    instead(
        "logprob_predict", lambda a, t, _: a.dist(a.get(("env/env_obs", t))).log_prob(a.mean(t))
    ): "judges-mean",
    instead("logprob_predict", lambda _a, _t, v: v.exp()): "density",
    instead("logprob_predict", lambda _a, _t, v: -v): "log-prob-sign",
    instead("logprob_predict", lambda _a, _t, v: v + 1): "log-prob",
    instead("entropy", lambda _a, _t, v: -v): "entropy",
    instead("entropy", lambda _a, _t, v: v.detach()): "entropy` to log_std",
    instead("entropy", lambda _a, _t, v: v.mean()): "entropy` has the wrong shape",
    instead("entropy", lambda a, _t, v: v[:, None].expand(-1, len(a.log_std))): (
        "entropy` has a number for each component"
    ),
    renamed("logprob_predict", lambda _: "logprob_predict"): "`logprob_predict` without its prefix",
    renamed("logprob_predict", lambda a: f"{a.prefix}logprob"): (
        "does not write `current_policy/logprob_predict`"
    ),
    renamed("entropy", lambda _: "entropy"): "`entropy` without its prefix",
    renamed("action", lambda a: f"{a.prefix}action"): "action-missing",
    with_writing(lambda _, name, t, value: [(name, t + 1, value)]): "wrong-row",
    GreedyByDefault: "mean-when-not-told",
    EntropyOnlyWhenJudging: "(compute_entropy=True, predict_proba=False)",
    NoParameter: "no-parameter",
    WithoutArguments: "keep-first-line",
    with_choice(lambda dist, stochastic: dist.sample() if stochastic else dist.probs.argmax(-1)): (
        "no-probs"
    ),
    with_choice(lambda dist, _: dist.sample): "no-brackets",
    instead("entropy", lambda a, t, _: a.dist(a.get(("env/env_obs", t))).entropy): ("no-brackets"),
    Exchanged: "acts-and-reads",
    EntropyOnlyWhenActing: "entropy-missing",
    ReturnsTheAction: "forward writes, it does not return",
    ValueFirst: "value-last",
    LocalDist: "dist-is-a-method",
    ModelForDist: "mean-is-no-dist",
    Stub: "not-written",
    StubOfForward: "not-written",
}
ByDistribution.mean = lambda self, t: self.model(self.get(("env/env_obs", t)))

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    _,  # below, with fewer seeds
    _,
    test_streams_stay,
    _,  # a table of agents is a right answer
) = check_the_check(check_gaussian_policy, None, RIGHT, WRONG)


def test_drawn_cases_accept_and_refuse_the_same(capsys):
    """A check of all of them takes seconds: each seed tries another part of the wrong answers."""
    for seed in SEEDS:
        check_gaussian_policy(RIGHT[seed % len(RIGHT)], seed=seed)
        for answer in list(WRONG)[seed % 5 :: 5]:
            said = WRONG[answer]
            assert tells(error_of(check_gaussian_policy, answer, seed=seed), said), (seed, said)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_many_samples_of_a_right_agent_pass_whatever_the_seed(seed):
    """The bounds on their mean and deviation are wide enough."""
    check_gaussian_policy(ByDistribution, seed=1000 + seed)


def test_a_scale_that_is_not_positive_is_explained():
    wrong = next(answer for answer, said in WRONG.items() if said == "std-not-positive")
    message = complaint(check_gaussian_policy, wrong)
    assert message.startswith("GaussianPolicy.dist raises ValueError")
    assert "σ is self.log_std.exp(), not self.log_std" in message


def test_exchanged_arguments_of_normal_are_explained():
    exchanged = with_dist(lambda m, s: Independent(Normal(s.exp(), m), 1))
    assert "Normal takes the mean first" in complaint(check_gaussian_policy, exchanged)


def test_brackets_behind_the_mean_are_explained():
    wrong = with_choice(lambda dist, stochastic: dist.sample() if stochastic else dist.mean())
    assert "a tensor has no brackets" in complaint(check_gaussian_policy, wrong)


def test_a_log_probability_that_is_returned_is_explained():
    message = complaint(check_gaussian_policy, ReturnsTheLogProb)
    assert "does not write `current_policy/logprob_predict`" in message
    assert "forward writes, it does not return" in message
