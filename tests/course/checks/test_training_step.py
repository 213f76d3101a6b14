"""The check of `ClippedPPO.training_step`: right classes pass, each mistake has its message."""

# ruff: noqa: ARG001, ARG005 - a student's method has the notebook's arguments

import itertools

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of, tells
from seeds import SEEDS

from ppo_bbrl.advantages import normalise
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, value_loss
from ppo_course import check_training_step
from ppo_course.nb09_lightning.training_step import cases
from ppo_course.nb09_lightning.training_step_mistakes import FORMULAS, loss
from ppo_course.one_number import agree

pytest.importorskip("lightning", reason="the extra `lightning` is not installed")

from ppo_bbrl.lightning import PPO


def student(training_step):
    return type("ClippedPPO", (PPO,), {"training_step": training_step})


# ------------------------------------------------------------------------------- right answers


class ByFormula(PPO):
    def training_step(self, batch, batch_idx):
        dist, value = self(batch.observations)
        ratio = torch.exp(dist.log_prob(batch.actions) - batch.old_log_probs)
        advantage = normalise(batch.advantages)
        clipped = torch.clamp(ratio, 1 - self.clip_range, 1 + self.clip_range)
        policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
        value_error = ((value - batch.returns) ** 2).mean()
        entropy = dist.entropy().mean()
        return policy_loss + self.value_coef * value_error - self.entropy_coef * entropy


class ByThePackage(PPO):
    def training_step(self, batch, batch_idx):
        dist, value = self.forward(batch.observations)
        policy_loss, facts = clipped_surrogate(
            log_prob=dist.log_prob(batch.actions),
            old_log_prob=batch.old_log_probs,
            advantage=normalise(batch.advantages),
            clip_range=self.clip_range,
        )
        critic_loss, _ = value_loss(
            value=value, old_value=batch.old_values, target=batch.returns, clip_range_vf=0
        )
        bonus, _ = entropy_loss(entropy=dist.entropy())
        self.log_dict(facts, on_step=False, on_epoch=True)
        total = policy_loss + self.value_coef * critic_loss + self.entropy_coef * bonus
        return {"loss": total, "policy_loss": policy_loss}


class ByTheReturns(PPO):
    """λ-returns are the advantages plus the old values; it prints, through Lightning."""

    def training_step(self, batch, batch_idx):
        self.print("minibatch", batch_idx)
        fresh = batch._replace(advantages=batch.returns - batch.old_values)
        return ByFormula.training_step(self, fresh, batch_idx)


class ByLosses(PPO):
    """Maximum of losses; the deviation divides by M; the mean is taken once, at the end."""

    def training_step(self, batch, batch_idx):
        observations, actions, _, old_log_probs, advantages, returns = batch[:6]
        dist, value = self(observations)
        a = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        r = dist.log_prob(actions).exp() / old_log_probs.exp()
        e = self.clip_range
        policy = torch.maximum(-a * r, -a * r.clip(1 - e, 1 + e))
        error = torch.nn.functional.mse_loss(value, returns, reduction="none")
        self.log("ratio", r.mean())
        return (policy + self.value_coef * error - self.entropy_coef * dist.entropy()).mean()


# ------------------------------------------------------------------------------- wrong answers


def answer(
    policy=lambda r, a, clipped: -torch.min(r * a, clipped * a).mean(),
    value=lambda v, batch: (v - batch.returns).square().mean(),
    entropy=lambda dist: dist.entropy().mean(),
    ratio=lambda new, old: (new - old).exp(),
    advantage=normalise,
    total=None,
    after=lambda self, total: total,
):
    def training_step(self, batch, batch_idx):
        dist, v = self(batch.observations)
        r, a = ratio(dist.log_prob(batch.actions), batch.old_log_probs), advantage(batch.advantages)
        p = policy(r, a, r.clamp(1 - self.clip_range, 1 + self.clip_range))
        e, bonus = value(v, batch), entropy(dist)
        mine = total or (
            lambda self, p, e, bonus: p + self.value_coef * e - self.entropy_coef * bonus
        )
        return after(self, mine(self, p, e, bonus))

    return student(training_step)


def backward(self, total):
    total.backward()
    return total.detach()


def in_place(self, batch, batch_idx):
    batch.advantages.mul_(2)
    return ByFormula.training_step(self, batch, batch_idx)


def centred_in_place(self, batch, batch_idx):
    batch.advantages.sub_(batch.advantages.mean())
    return ByFormula.training_step(self, batch, batch_idx)


def with_new_values(self, batch, batch_idx):
    value = self(batch.observations)[1].detach()
    return ByFormula.training_step(self, batch._replace(advantages=batch.returns - value), 0)


def with_new_actions(self, batch, batch_idx):
    actions = self(batch.observations)[0].sample()
    return ByFormula.training_step(self, batch._replace(actions=actions), 0)


def of_the_first_minibatch(self, batch, batch_idx):
    """The value counts only in the first minibatch of an epoch."""
    if batch_idx > 0:
        self.value_coef = 0.25
    return ByFormula.training_step(self, batch, batch_idx)


def clipped_value(self, batch, batch_idx):
    value = self(batch.observations)[1]
    e = self.clip_range
    clipped = batch.old_values + (value - batch.old_values).clamp(-e, e)
    plain, other = ((v - batch.returns).square() for v in (value, clipped))
    right = ByFormula.training_step(self, batch, batch_idx)
    return right + self.value_coef * (torch.max(plain, other) - plain).mean()


def fixed_range(self, batch, batch_idx):
    right, self.clip_range = self.clip_range, 0.2
    loss = ByFormula.training_step(self, batch, batch_idx)
    self.clip_range = right
    return loss


WRONG = {
    student(centred_in_place): "it writes into batch.advantages",
    student(with_new_values): "advantages-of-new-values",
    student(with_new_actions): "draws",
    student(clipped_value): "value-clipped",
    student(fixed_range): "clip-fixed",
    answer(value=lambda v, batch: (v.clamp(-10, 10) - batch.returns).square().mean()): (
        "values-limited"
    ),
    student(of_the_first_minibatch): "unknown",
    answer(advantage=lambda a: a / (a.std() + 1e-8)): "mean-not-subtracted",
    answer(advantage=lambda a: a - a.mean()): "mean-0-only",
    answer(value=lambda v, b: (b.old_values - b.returns).square().mean()): ("old-values"),
    answer(total=lambda self, p, e, bonus: p + e - bonus): "no-coefs",
    answer(total=lambda self, p, e, bonus: p + self.value_coef * e - bonus): (
        "entropy-coef-missing"
    ),
    answer(total=lambda self, p, e, bonus: p + 0.5 * e - self.entropy_coef * bonus): (
        "value-coef-fixed"
    ),
    answer(total=lambda self, p, e, bonus: p + self.value_coef * e - 0.01 * bonus): (
        "entropy-coef-fixed"
    ),
    answer(
        entropy=lambda dist: dist.entropy().sum(),
    ): "entropy-sum",
    answer(after=lambda self, total: None): "returns-nothing",
    answer(after=lambda self, total: total.item()): "plain-number",
    answer(after=lambda self, total: "loss"): "no-loss",
    answer(total=lambda self, p, e, bonus: (p, e, bonus)): "no-loss",
    answer(policy=lambda r, a, c: -torch.min(r * a, c * a)): "the loss is not a single number",
    answer(after=backward): "calls-backward",
    student(in_place): "it writes into batch.advantages",
    type("ClippedPPO", (PPO,), {}): "it has no training_step of its own",
    answer(policy=lambda r, a, c: torch.min(r * a, c * a).mean()): "policy-sign",
    answer(advantage=lambda a: a): "not-normalised",
    answer(policy=lambda r, a, c: -(r * a).mean()): "not-clipped",
    answer(policy=lambda r, a, c: -(c * a).mean()): "clipped-only",
    answer(policy=lambda r, a, c: -torch.max(r * a, c * a).mean()): "larger",
    answer(ratio=lambda new, old: (old - new).exp()): "ratio-inverted",
    answer(ratio=lambda new, old: new - old): "ratio-no-exponential",
    answer(policy=lambda r, a, c: -(r * a).mean(), ratio=lambda new, old: new): ("no-ratio"),
    answer(policy=lambda r, a, c: -torch.min(r * a, c * a).sum()): "policy-sum",
    answer(value=lambda v, b: (v - b.returns).square().mean() / 2): "value-halved",
    answer(value=lambda v, b: (v - b.old_values).square().mean()): "towards-old-values",
    answer(value=lambda v, b: (v - b.advantages).square().mean()): "towards-advantages",
    answer(value=lambda v, b: (v - b.returns).abs().mean()): "absolute",
    answer(value=lambda v, b: (v[:, None] - b.returns).square().mean()): "all-returns",
    answer(value=lambda v, b: (v - b.returns).mean().square()): "mean-squared",
    answer(value=lambda v, b: (v - b.returns).square().sum()): "value-sum",
    answer(value=lambda v, b: -(v - b.returns).square().mean()): "value-subtracted",
    answer(value=lambda v, b: 0): "value-missing",
    answer(total=lambda self, p, e, bonus: p + e - self.entropy_coef * bonus): (
        "value-coef-missing"
    ),
    answer(entropy=lambda dist: -dist.entropy().mean()): "entropy-sign",
    answer(entropy=lambda dist: 0.0): "entropy-missing",
    answer(total=lambda self, p, e, bonus: p): "policy-alone",
    answer(after=lambda self, total: total + 1): "unknown",
    answer(after=lambda self, total: total.detach()): "gradient-missing",
    answer(value=lambda v, b: (v.detach() - b.returns).square().mean()): (
        "its gradient with respect to the values"
    ),
    answer(ratio=lambda new, old: (new.detach() - old).exp()): (
        "its gradient with respect to the policy"
    ),
}

RIGHT = [ByFormula, ByThePackage, ByLosses, ByTheReturns]

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    *_,  # every mistake with every seed takes long: see below
) = check_the_check(check_training_step, None, RIGHT, WRONG)


@pytest.mark.parametrize("seed", SEEDS)
def test_drawn_transitions_accept_and_refuse_the_same(seed):
    """Each wrong answer with every sixth seed."""
    for model_class in RIGHT:
        check_training_step(model_class, seed=seed)
    for model_class, said in list(WRONG.items())[seed % 6 :: 6]:
        assert tells(error_of(check_training_step, model_class, seed=seed), said)


def stub(*arguments):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


class Super(PPO):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


class Manual(PPO):
    def training_step(self, batch, batch_idx):
        self.optimizers().zero_grad()


@pytest.mark.parametrize(
    ("model_class", "said"),
    [
        (student(stub), "training_step is not written yet"),
        (Super, "write the loss yourself"),
        (Manual, "leave the optimiser to Lightning"),
        (student(lambda self, batch: None), "training_step(self, batch, batch_idx)"),
        (student(lambda self, batch, batch_idx: batch.rewards), "a batch has observations"),
        (student(lambda self, batch, batch_idx: self.vf_coef), "self.value_coef"),
        (student(lambda self, batch, batch_idx: self.trainer.lr), "the check has no Trainer"),
        (3, "it is not a class derived from PPO"),
    ],
)
def test_what_cannot_be_used_is_told(model_class, said):
    assert said in complaint(check_training_step, model_class)


def test_ppos_own_training_step_is_there_again_after_the_check():
    before = PPO.training_step
    complaint(check_training_step, Super)
    assert PPO.training_step is before


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_no_two_known_mistakes_give_the_same_loss(seed):
    chosen = [case.samples for case in cases(seed)]
    results = {key: [way(samples) for samples in chosen] for key, way in FORMULAS.wrong.items()}
    results["right"] = [loss(samples) for samples in chosen]
    same = [
        (one, other)
        for one, other in itertools.combinations(results, 2)
        if one.partition("~")[0] != other.partition("~")[0]
        and all(map(agree, chosen, results[one], results[other]))
    ]
    assert same == []


def test_the_global_random_stream_stays_as_it_was():
    before = torch.get_rng_state()
    check_training_step(ByFormula)
    check_training_step(ByFormula, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
