"""The check of `train_fn`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import numpy as np
import pytest
import torch
from estimates_testing import check_the_check, error_of, tells
from seeds import SEEDS
from torch.nn.utils import clip_grad_norm_

from ppo_bbrl.advantages import normalise
from ppo_course import check_train_fn
from ppo_course.feedback import same
from ppo_course.nb08_shared_trunk.train_fn import cases
from ppo_course.nb08_shared_trunk.train_step import MISTAKES, RIGHT, Descent, take

# ------------------------------------------------------------------------------- right answers


def as_in_the_card(model, optimizer, args, obs, returns, old_actions, old_values, old_nll):
    with torch.set_grad_enabled(False):
        advantages = returns - old_values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    model.train()
    with torch.set_grad_enabled(True):
        model.zero_grad()
        value_f, _, nll, entropy = model(obs, action=old_actions)
        losses = model.loss(
            returns,
            value_f,
            nll,
            entropy,
            advantages,
            old_values,
            old_nll,
            args.clip_range,
            args.ent_coef,
            args.vf_coef,
        )
        losses[0].backward()
        clip_grad_norm_(model.parameters(), args.max_grad_norm)
        optimizer.step()
    return [loss.item() for loss in losses]


def by_optimizer(model, optimizer, args, obs, returns, old_actions, old_values, old_nll):
    """The package's normalisation, the optimiser's parameters, tensors returned."""
    value_f, _, nll, entropy = model.train()(obs, old_actions)
    total, *others = model.loss(
        returns=returns,
        value_f=value_f,
        neg_log_probs=nll,
        entropy=entropy,
        advantages=normalise(returns - old_values),
        old_values=old_values,
        old_neg_log_probs=old_nll,
        clip_range=args.clip_range,
        ent_coef=args.ent_coef,
        vf_coef=args.vf_coef,
    )
    optimizer.zero_grad(set_to_none=False)
    total.backward()
    clip_grad_norm_(
        [p for group in optimizer.param_groups for p in group["params"]], args.max_grad_norm
    )
    optimizer.step()
    return total, *others


def by_hand(model, optimizer, args, obs, returns, old_actions, old_values, old_nll):
    """The deviation of all samples; autograd.grad; the norm written out; the terms apart."""
    advantages = returns - old_values
    advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
    model.train(True)
    value_f, _, nll, entropy = model(obs, action=old_actions)
    samples = (returns, value_f, nll, entropy, advantages, old_values, old_nll)
    losses = model.loss(*samples, args.clip_range, args.ent_coef, args.vf_coef)
    _, policy, value, bonus, _ = losses
    joint = policy - args.ent_coef * bonus + args.vf_coef * value
    gradients = torch.autograd.grad(joint, list(model.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    scale = min(1.0, args.max_grad_norm / float(norm))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = scale * gradient
    optimizer.step()
    return tuple(loss.detach() for loss in losses)


def as_one_array(*arguments):
    return np.array(as_in_the_card(*arguments))


def as_one_tensor(*arguments):
    return torch.stack(by_optimizer(*arguments)).detach()


RIGHT_ANSWERS = [as_in_the_card, by_optimizer, by_hand, as_one_array, as_one_tensor]

# ------------------------------------------------------------------------------- wrong answers


def stub(*arguments):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def variant(
    advantages=lambda returns, old_values: normalise(returns - old_values),
    clear=True,
    train=True,
    act_again=False,
    loss=lambda losses: losses[0].backward(),
    clip=lambda model, norm: clip_grad_norm_(model.parameters(), norm),
    clip_before=False,
    step=lambda optimizer: optimizer.step(),
    order=lambda samples: samples,
    clear_late=False,
    result=lambda losses: losses,
):
    """An answer that differs from the right one in what is said."""

    def answer(model, optimizer, args, obs, returns, old_actions, old_values, old_nll):
        if train:
            model.train()
        if clear:
            model.zero_grad()
        value_f, _, nll, entropy = model(obs, action=None if act_again else old_actions)
        samples = (returns, value_f, nll, entropy, advantages(returns, old_values))
        constants = (args.clip_range, args.ent_coef, args.vf_coef)
        losses = model.loss(*order([*samples, old_values, old_nll]), *constants)
        if clip_before:
            clip(model, args.max_grad_norm)
        loss(losses)
        if not clip_before:
            clip(model, args.max_grad_norm)
        if clear_late:
            optimizer.zero_grad()
        step(optimizer)
        return result(losses)

    return answer


def each_apart(model, norm):
    for parameter in model.parameters():
        clip_grad_norm_(parameter, norm)


def parts_apart(model, norm):
    for part in (model.latent, model.policy_head, model.value_head):
        clip_grad_norm_(part.parameters(), norm)


def clipped_after_the_step(model, optimizer, args, *samples):
    answer = variant(clip=lambda *_: None)(model, optimizer, args, *samples)
    clip_grad_norm_(model.parameters(), args.max_grad_norm)
    return answer


def twice(losses):
    losses[1].backward()
    losses[2].backward()


def exchange(i, j):
    def order(samples):
        samples[i], samples[j] = samples[j], samples[i]
        return samples

    return order


def step_twice(optimizer):
    optimizer.step()
    optimizer.step()


def with_an_optimiser_of_its_own(model, optimizer, *arguments):
    return as_in_the_card(model, torch.optim.SGD(model.parameters(), lr=1.0), *arguments)


def in_place(returns, old_values):
    returns -= old_values
    return normalise(returns)


def without_a_little(returns, old_values):
    advantages = returns - old_values
    return (advantages - advantages.mean()) / advantages.std()


WRONG = {
    variant(clip=lambda *_: None): "not-clipped",
    variant(clip_before=True): "not-clipped",
    clipped_after_the_step: "not-clipped",
    variant(clip=each_apart): "clipped-each",
    variant(clip=parts_apart): "clipped-parts",
    variant(clip=lambda model, norm: clip_grad_norm_(model.latent.parameters(), norm)): (
        "clipped-trunk"
    ),
    variant(clip=lambda m, norm: torch.nn.utils.clip_grad_value_(m.parameters(), norm)): (
        "clipped-values"
    ),
    variant(clip=lambda model, _: clip_grad_norm_(model.parameters(), 0.5)): "clipped-fixed",
    variant(clear=False): "not-cleared",
    variant(loss=lambda losses: (-losses[0]).backward()): "maximised",
    variant(loss=lambda losses: losses[1].backward()): "policy-alone",
    variant(loss=lambda losses: (losses[1] + losses[2]).backward()): "no-coefficients",
    variant(loss=twice): "one-backward",
    variant(loss=lambda losses: losses.backward()): "backward-of-five",
    variant(advantages=lambda returns, old: returns - old): "not-normalised",
    variant(advantages=lambda returns, old: normalise(old - returns)): ("advantages-sign"),
    variant(advantages=lambda returns, _: normalise(returns)): "returns-for-advantages",
    variant(advantages=in_place): "it writes into its argument returns",
    variant(advantages=without_a_little): "not-finite",
    variant(act_again=True): "new-actions",
    variant(train=False): "evaluation-mode",
    variant(step=lambda optimizer: None): "no-step",
    with_an_optimiser_of_its_own: "own-optimiser",
    variant(step=step_twice): "the optimiser makes 2 steps",
    variant(clear_late=True): "zero-gradient",
    variant(loss=lambda losses: sum(losses).backward()): "all-added",
    variant(order=exchange(3, 4)): "entropy and advantages are swapped",
    variant(order=exchange(0, 1)): "value-f-misplaced",
    variant(order=exchange(0, 5)): "returns and old_values are swapped",
    variant(result=lambda losses: None): "returns-nothing",
    variant(result=lambda losses: losses[0]): "not-five",
    variant(result=lambda losses: losses[::-1]): "other-losses",
    lambda model: None: "is called as train_fn(model, optimizer, args",
    lambda *_: [0.0] * 5: "model-not-run",
    stub: "not-written",
}
(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    _,  # every mistake with every seed takes minutes: see below
    _,
    test_streams_stay,
    _,  # a table of numbers changes no weights
) = check_the_check(check_train_fn, None, RIGHT_ANSWERS, WRONG)


@pytest.mark.wide(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_drawn_cases_accept_and_refuse_the_same(seed):
    """Each wrong answer with every sixth seed."""
    for answer in RIGHT_ANSWERS:
        check_train_fn(answer, seed=seed)
    for answer, said in list(WRONG.items())[seed % 6 :: 6]:
        assert tells(error_of(check_train_fn, answer, seed=seed), said)


@pytest.mark.slow
def test_no_two_mistakes_change_the_weights_in_the_same_way():
    """Otherwise a student would read about a mistake of somebody else's."""
    for seed in (None, *range(5)):
        chosen = cases(seed)
        steps = [*RIGHT, *MISTAKES.values()]
        changes = [[take(case, step)[0] for case in chosen] for step in steps]
        for i, one in enumerate(changes):
            for j, other in enumerate(changes[i + 1 :], i + 1):
                assert not all(map(same, one, other)), (seed, i, j)


def test_the_optimiser_of_the_check_is_plain_gradient_descent():
    """What students call on it does what torch's own SGD does."""
    weights = [torch.tensor([1.0, -2.0], requires_grad=True) for _ in range(2)]
    optimizers = [Descent([weights[0]], lr=0.1), torch.optim.SGD([weights[1]], lr=0.1)]
    for weight, optimizer in zip(weights, optimizers, strict=True):
        for set_to_none in (True, False):
            optimizer.zero_grad(set_to_none=set_to_none)
            weight.square().sum().backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        assert torch.equal(weight.grad, torch.zeros(2))
        optimizer.zero_grad()
        assert weight.grad is None

        def closure(weight=weight):
            loss = weight.square().sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).requires_grad
        optimizer.param_groups[0]["lr"] = 1.0
        optimizer.step()
    assert isinstance(optimizers[0], torch.optim.Optimizer)
    assert torch.equal(*weights)
