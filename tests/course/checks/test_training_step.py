"""The check of `ClippedPPO.training_step`: right classes pass, each mistake has its message."""

# ruff: noqa: ARG001, ARG005 - a student's method has the notebook's arguments

import pytest
import torch
from estimates_testing import SEEDS, check_the_check, complaint

from ppo_bbrl.advantages import normalise
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, value_loss
from ppo_course import check_training_step
from ppo_course.guesses import agree
from ppo_course.nb09_lightning.training_step import cases
from ppo_course.nb09_lightning.training_step_mistakes import GUESSES, loss

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
    student(with_new_values): "with the values of now",
    student(with_new_actions): "it draws something at random",
    student(clipped_value): "the change of the values is clipped",
    student(fixed_range): "the clip range is 0.2",
    answer(advantage=lambda a: a / (a.std() + 1e-8)): "mean of the advantages is not subtracted",
    answer(advantage=lambda a: a - a.mean()): "not divided by their deviation",
    answer(value=lambda v, b: (b.old_values - b.returns).square().mean()): (
        "the old values in the place of the values"
    ),
    answer(total=lambda self, p, e, bonus: p + e - bonus): "both coefficients are missing",
    answer(total=lambda self, p, e, bonus: p + self.value_coef * e - bonus): (
        "entropy_coef is missing"
    ),
    answer(total=lambda self, p, e, bonus: p + 0.5 * e - self.entropy_coef * bonus): (
        "the coefficient of the value loss is 0.5"
    ),
    answer(total=lambda self, p, e, bonus: p + self.value_coef * e - 0.01 * bonus): (
        "the coefficient of the entropy is 0.01"
    ),
    answer(
        entropy=lambda dist: dist.entropy().sum(),
    ): "the entropy is a sum over the minibatch",
    answer(after=lambda self, total: None): "it returns nothing",
    answer(after=lambda self, total: total.item()): "the loss is a plain number",
    answer(after=lambda self, total: "loss"): "it does not return the loss",
    answer(total=lambda self, p, e, bonus: (p, e, bonus)): "it does not return the loss",
    answer(policy=lambda r, a, c: -torch.min(r * a, c * a)): "the loss is not a single number",
    answer(after=backward): "it calls backward itself",
    student(in_place): "it writes into batch.advantages",
    type("ClippedPPO", (PPO,), {}): "it has no training_step of its own",
    answer(policy=lambda r, a, c: torch.min(r * a, c * a).mean()): "policy loss has the wrong sign",
    answer(advantage=lambda a: a): "the advantages are not normalised",
    answer(policy=lambda r, a, c: -(r * a).mean()): "the ratio is not clipped",
    answer(policy=lambda r, a, c: -(c * a).mean()): "only the clipped product is there",
    answer(policy=lambda r, a, c: -torch.max(r * a, c * a).mean()): "it takes the larger one",
    answer(ratio=lambda new, old: (old - new).exp()): "the ratio is turned round",
    answer(ratio=lambda new, old: new - old): "a difference of logarithms",
    answer(policy=lambda r, a, c: -(r * a).mean(), ratio=lambda new, old: new): (
        "plain policy gradient"
    ),
    answer(policy=lambda r, a, c: -torch.min(r * a, c * a).sum()): "policy loss is a sum",
    answer(value=lambda v, b: (v - b.returns).square().mean() / 2): "the value loss has a ½",
    answer(value=lambda v, b: (v - b.old_values).square().mean()): "towards the old values",
    answer(value=lambda v, b: (v - b.advantages).square().mean()): "towards the advantages",
    answer(value=lambda v, b: (v - b.returns).abs().mean()): "the value loss is the absolute error",
    answer(value=lambda v, b: (v[:, None] - b.returns).square().mean()): "with all returns",
    answer(value=lambda v, b: (v - b.returns).mean().square()): "the mean is squared",
    answer(value=lambda v, b: (v - b.returns).square().sum()): "the value loss is a sum",
    answer(value=lambda v, b: -(v - b.returns).square().mean()): "the value loss is subtracted",
    answer(value=lambda v, b: 0): "the value loss is missing",
    answer(total=lambda self, p, e, bonus: p + e - self.entropy_coef * bonus): (
        "value_coef is missing"
    ),
    answer(entropy=lambda dist: -dist.entropy().mean()): "the entropy has the wrong sign",
    answer(entropy=lambda dist: 0.0): "the entropy is missing",
    answer(total=lambda self, p, e, bonus: p): "it is the policy loss alone",
    answer(after=lambda self, total: total + 1): "in a way that this check does not know",
    answer(after=lambda self, total: total.detach()): "the loss is right, but has no gradient",
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
        assert said in complaint(check_training_step, model_class, seed=seed)


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
        (3, "it is no class that is made from PPO"),
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
    results = {
        (guess.wrong, n): [guess.formula(samples) for samples in chosen]
        for n, guess in enumerate(GUESSES)
    }
    results["right", -1] = [loss(samples) for samples in chosen]
    names = list(results)
    same = [
        (one[0], other[0])
        for k, one in enumerate(names)
        for other in names[k + 1 :]
        if one[0] != other[0]
        and all(agree(a, b) for a, b in zip(results[one], results[other], strict=True))
    ]
    assert same == []


def test_the_global_random_stream_stays_as_it_was():
    before = torch.get_rng_state()
    check_training_step(ByFormula)
    check_training_step(ByFormula, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
