"""The check of notebook 11's fifth step: the losses of policy and critic on a minibatch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import describe, same
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.cases import (
    SmallCritic,
    SmallPolicy,
    batch_of,
    config,
    settings_of,
)
from ppo_course.nb11_write_ppo.exercise import OwnCode, lent

EXERCISE = OwnCode("losses", ("policy", "critic", "batch", "cfg"))
PARTS = ("policy_loss", "value_loss")


class Inputs(NamedTuple):
    """The symbols of the formulas, `[N]` each, and the coefficients."""

    new: Tensor
    old: Tensor
    raw: Tensor
    entropy: Tensor
    value: Tensor
    target: Tensor
    eps: float
    coef: float
    critic_coef: float
    correction: int = 1  # of the deviation of the advantages: N - 1 divides, or N


def _normalised(x: Inputs) -> Tensor:
    return (x.raw - x.raw.mean()) / (x.raw.std(correction=x.correction) + 1e-8)


ADVANTAGES = Part(
    _normalised,
    {
        "not-normalised": lambda x: x.raw,
        "not-shifted": lambda x: x.raw / (x.raw.std() + 1e-8),
        "not-scaled": lambda x: x.raw - x.raw.mean(),
        "variance": lambda x: (x.raw - x.raw.mean()) / (x.raw.var() + 1e-8),
    },
)
RATIOS = Part(
    lambda x: (x.new - x.old).exp(),
    {
        "ratio-upside-down": lambda x: (x.old - x.new).exp(),
        "no-exp": lambda x: x.new - x.old,
        "no-old": lambda x: x.new.exp(),
        "log-prob-alone": lambda x: x.new,
        "ratio-is-1": lambda x: (x.new - x.new.detach()).exp(),
    },
)
SURROGATES: Part = Part(
    lambda r, a, e: torch.min(r * a, r.clamp(1 - e, 1 + e) * a),
    {
        "not-clipped": lambda r, a, _e: r * a,
        "larger-product": lambda r, a, e: torch.max(r * a, r.clamp(1 - e, 1 + e) * a),
        "no-minimum": lambda r, a, e: r.clamp(1 - e, 1 + e) * a,
        "around-0": lambda r, a, e: torch.min(r * a, r.clamp(-e, e) * a),
        "from-above-only": lambda r, a, e: torch.min(r * a, r.clamp(max=1 + e) * a),
        "from-below-only": lambda r, a, e: torch.min(r * a, r.clamp(min=1 - e) * a),
        "product-clipped": lambda r, a, e: torch.min(r * a, (r * a).clamp(1 - e, 1 + e)),
        "minimum-of-ratios": lambda r, a, e: torch.min(r, r.clamp(1 - e, 1 + e)) * a,
        "bounds-exchanged": lambda r, a, e: torch.min(r * a, r.clamp(1 + e, 1 - e) * a),
        "minimum-of-means": lambda r, a, e: torch.min(
            (r * a).mean(), (r.clamp(1 - e, 1 + e) * a).mean()
        ).expand_as(a),
    },
)
BONUSES = Part(
    lambda s, x: -s.mean() - x.coef * x.entropy.mean(),
    {
        "objective-sign": lambda s, x: s.mean() - x.coef * x.entropy.mean(),
        "both-signs": lambda s, x: s.mean() + x.coef * x.entropy.mean(),
        "entropy-sign": lambda s, x: -s.mean() + x.coef * x.entropy.mean(),
        "no-entropy": lambda s, _x: -s.mean(),
        "entropy-not-weighted": lambda s, x: -s.mean() - x.entropy.mean(),
        "sum": lambda s, x: -s.sum() - x.coef * x.entropy.sum(),
        "entropy-sum": lambda s, x: -s.mean() - x.coef * x.entropy.sum(),
    },
)
RANGES = Part(lambda x: x.eps, {"range-fixed~0.2": lambda _: 0.2, "range-fixed~0.1": lambda _: 0.1})
ERRORS = Part(
    lambda x: (x.value - x.target).square().mean(),
    {
        "value-weighted": lambda x: x.critic_coef * (x.value - x.target).square().mean(),
        "half": lambda x: (x.value - x.target).square().mean() / 2,
        "errors-summed": lambda x: (x.value - x.target).square().sum(),
        "value-sign": lambda x: -(x.value - x.target).square().mean(),
        "absolute": lambda x: (x.value - x.target).abs().mean(),
        "not-squared": lambda x: (x.value - x.target).mean(),
        "square-of-mean": lambda x: (x.value - x.target).mean().square(),
        "advantage-for-target": lambda x: (x.value - x.raw).square().mean(),
    },
)


def _policy_loss(x: Inputs, values: Sequence[Callable[..., Any]]) -> Tensor:
    advantage, ratio, surrogate, eps, bonus = values
    result: Tensor = bonus(surrogate(ratio(x), advantage(x), eps(x)), x)
    return result


POLICY = (ADVANTAGES, RATIOS, SURROGATES, RANGES, BONUSES)


@torch.enable_grad()
@EXERCISE.check
def check_losses(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `losses(policy, critic, batch, cfg)`.

    It gets networks with `policy.evaluate(obs, action)` and `critic(obs)`, and a dict of tensors
    `[N, …]`; it returns two scalars to be minimised.
    """
    EXERCISE.own(function)
    settings = replace(settings_of(100 if seed is None else seed), critic_coef=1.7)
    cases, results = [], []
    more = 1000 if seed is None else 1000 + seed
    zeros = replace(settings, clip_range=0.0, entropy_coef=0.0)
    far, equal = replace(settings), replace(settings)
    draws = ((seed, settings), (more, settings), (seed, zeros), (more, far), (more, equal))
    with lent(function, besides=("losses",)):
        for draw, numbers in draws:
            batch, policy, critic = batch_of(draw)
            if numbers is zeros:
                batch["log_prob"] -= 2.0  # ratios that have moved by far
            if numbers is far:
                batch["log_prob"] -= 7.0
                batch["target"] += 500.0
            if numbers is equal:
                batch["advantage"] = torch.ones_like(batch["advantage"])
            result = EXERCISE.call(function, policy, critic, dict(batch), config(numbers))
            results.append(_read(result, len(batch["obs"])))
            log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
            x = Inputs(
                log_prob,
                batch["log_prob"],
                batch["advantage"],
                entropy,
                critic(batch["obs"]),
                batch["target"],
                numbers.clip_range,
                numbers.entropy_coef,
                numbers.critic_coef,
            )
            cases.append((x, policy, critic))
    _compare(cases[:-1], results[:-1])
    finite = all(loss.isfinite() for loss in results[-1])
    EXERCISE.refuse(not finite, "not-finite", seen=", ".join(f"{x:.4g}" for x in results[-1]))
    _compare(cases[-1:], results[-1:])


def _read(result: Any, n: int) -> Sequence[Tensor]:
    expected = "policy_loss and value_loss, two scalar tensors"
    pair = EXERCISE.several(result, 2, "not-two", expected)
    for name, loss in zip(PARTS, pair, strict=True):
        if not isinstance(loss, Tensor):
            raise EXERCISE.error("plain-number", seen=describe(loss), what=name)
        if loss.dim():
            key = "no-mean" if loss.numel() == n else "no-scalar"
            raise EXERCISE.error(key, seen=describe(loss), what=name)
    return pair


def _compare(
    cases: Sequence[tuple[Inputs, SmallPolicy, SmallCritic]], results: Sequence[Sequence[Tensor]]
) -> None:
    inputs = [case[0] for case in cases]
    by_n = [x._replace(correction=0) for x in inputs]
    rights = [part.right for part in POLICY]
    if all(same(r[0], _policy_loss(x, rights)) for x, r in zip(by_n, results, strict=True)):
        cases = [(x, policy, critic) for x, (_, policy, critic) in zip(by_n, cases, strict=True)]
        inputs = by_n
    exchanged = all(
        same(result[1], _policy_loss(x, [part.right for part in POLICY]))
        and same(result[0], ERRORS.right(x))
        for x, result in zip(inputs, results, strict=True)
    )
    EXERCISE.refuse(exchanged, "losses-exchanged")

    def see(place: int) -> None:
        name, parts, formula = (
            (PARTS[0], POLICY, _policy_loss),
            (PARTS[1], (ERRORS,), lambda x, values: values[0](x)),
        )[place]

        def facts(x: Inputs, right: Tensor, seen: Tensor) -> list[str]:
            told = f"  {name} of {len(x.new)} transitions, clip_range = {x.eps:.3g}"
            told += f", entropy_coef = {x.coef:.3g}:"
            return [told, f"  seen      {seen.item():.5g}", f"  expected  {right.item():.5g}"]

        seen = [result[place] for result in results]
        EXERCISE.compare(inputs, seen, parts, facts=facts, formula=formula)
        for (x, policy, critic), loss in zip(cases, seen, strict=True):
            rights = [part.right for part in parts]
            model: Any = policy if place == 0 else critic
            weights = dict(model.named_parameters())
            truth = gradients(formula(x, rights), weights)
            check_gradients(EXERCISE, gradients(loss, weights), truth, what=name)
            other: Any = critic if place == 0 else policy
            leak = gradients(loss, dict(other.named_parameters()))
            EXERCISE.refuse(any(g.any() for g in leak.values()), "leak-between", what=name)

    with EXERCISE.partly(policy_loss=lambda: see(0), value_loss=lambda: see(1)):
        see(0)
        see(1)
