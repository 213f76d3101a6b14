"""The check of notebook 03's exercise: the clipped policy objective of PPO.

The student's function is run on a few made-up transitions. Where its value is wrong, it is
compared with the values that well-known mistakes would give; where its value is right, its
gradients are looked at.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import number, numbers, same
from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb03_clip.policy_objective_cases import (
    BATCHES,
    CLIP_RANGE_VF,
    ENTROPY_COEF,
    EXERCISE,
    OLD,
    POLICY_COEF,
    PREFIXES,
    TRANSITIONS,
    Case,
    Inputs,
    drawn_batches,
)

MOST_MISTAKES = 3  # with more, a match would be chance
RESULTS = ("policy_loss", "entropy", "policy_advantage")


def _clip(ratio: Tensor, eps: float) -> Tensor:
    return ratio.clamp(1 - eps, 1 + eps)


RATIOS = Part(
    lambda x: (x.new - x.old).exp(),
    {
        "ratio-upside-down": lambda x: (x.old - x.new).exp(),
        "ratio-1": lambda x: torch.ones_like(x.old),
        "no-exp": lambda x: x.new - x.old,
        "logs-divided": lambda x: x.new / x.old,
        "probabilities-subtracted": lambda x: x.new.exp() - x.old.exp(),
        "log-prob-alone": lambda x: x.new,
        "probability-alone": lambda x: x.new.exp(),
    },
)

SURROGATES = Part(
    lambda r, a, eps: torch.min(r * a, _clip(r, eps) * a),
    {
        "larger-product": lambda r, a, eps: torch.max(r * a, _clip(r, eps) * a),
        "not-clipped": lambda r, a, _eps: r * a,
        "product-clipped": lambda r, a, eps: torch.min(r * a, _clip(r * a, eps)),
        "product-clipped-alone": lambda r, a, eps: _clip(r * a, eps),
        "product-clipped-twice": lambda r, a, eps: torch.min(r * a, _clip(r * a, eps) * a),
        "no-minimum": lambda r, a, eps: _clip(r, eps) * a,
        "around-0": lambda r, a, eps: torch.min(r * a, r.clamp(-eps, eps) * a),
        "from-above-alone": lambda r, a, eps: torch.min(r * a, r.clamp(max=1 + eps) * a),
        "from-below-alone": lambda r, a, eps: torch.min(r * a, r.clamp(min=1 - eps) * a),
        "no-advantage": lambda r, _a, eps: torch.min(r, _clip(r, eps)),
        "minimum-of-ratios": lambda r, a, eps: torch.min(r, _clip(r, eps)) * a,
        "minimum-of-means": lambda r, a, eps: torch.min(
            (r * a).mean(), (_clip(r, eps) * a).mean()
        ).expand_as(a),
    },
)

CLIPS = Part(
    lambda x: x.clip_range,
    {
        "range-fixed~0.1": lambda _x: 0.1,
        "range-fixed~0.2": lambda _x: 0.2,
        "range-fixed~0.3": lambda _x: 0.3,
        "range-of-critic": lambda _x: CLIP_RANGE_VF,
    },
)

REDUCTIONS = Part(
    lambda s, _x: s.mean(),
    {
        "sum": lambda s, _x: s.sum(),
        "policy-coef-inside": lambda s, _x: POLICY_COEF * s.mean(),
        "entropy-inside": lambda s, x: s.mean() + ENTROPY_COEF * x.entropy.mean(),
    },
)

SIGNS = Part(lambda v: v, {"sign": lambda v: -v})

PARTS = (RATIOS, SURROGATES, CLIPS, REDUCTIONS, SIGNS)
RIGHT = tuple(part.right for part in PARTS)


def value(x: Inputs, values: Sequence[Any]) -> Tensor:
    """What a value of each part gives."""
    ratio, surrogate, clip, reduction, sign = values
    result: Tensor = sign(reduction(surrogate(ratio(x), x.advantage, clip(x)), x))
    return result


@EXERCISE.check
def check_policy_objective(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `policy_objective(policy, workspace, cfg)`.

    It gets a workspace with one row, t = 0, of N transitions: `env/env_obs`, `action`,
    `advantage` and `old_policy/logprob_predict`. It returns `(policy_loss, entropy,
    policy_advantage)`: the clipped objective, to be maximised, a scalar; the other two `[1, N]`.
    """
    with torch.enable_grad():
        batches = BATCHES if seed is None else drawn_batches(seed)
        pairs = zip(batches, cycle(PREFIXES), strict=False)
        cases = [Case(*batch, prefix) for batch, prefix in pairs]
        results = [case.call(function) for case in cases]
        for case, result in zip(cases, results, strict=True):
            _check_form(case, result)

        def see_values() -> None:
            _check_values(function, cases, [result[0] for result in results])

        def see_gradients() -> None:
            see_values()  # a clip range known by heart may have the right gradients
            for case, result in zip(cases, results, strict=True):
                _check_gradients(case, result[0], result[1])

        with EXERCISE.partly(the_value=see_values, the_gradient=see_gradients):
            see_values()
            for case, result in zip(cases, results, strict=True):
                _check_companions(case, result)
            see_gradients()


def _check_form(case: Case, result: Any) -> None:
    """Three tensors, the scalar first."""
    n = len(case.transitions)
    expected = f"{', '.join(RESULTS)}: a scalar tensor, [1, {n}] and [1, {n}]"
    EXERCISE.several(result, len(RESULTS), "not-three", expected)
    for name, item in zip(RESULTS, result, strict=True):
        if not isinstance(item, Tensor):
            key = "plain-number" if isinstance(item, int | float) else "no-tensor"
            EXERCISE.expect(result, f"{key}~{name}", expected)
    loss, *others = result
    scalars = [item.dim() == 0 for item in result]
    loss_elsewhere = not scalars[0] and sum(scalars) == 1
    entropy = case.log_prob_and_entropy()[1]
    swapped = scalars[0] and same(result[1], case.advantage) and same(result[2], entropy)
    if loss_elsewhere or swapped:
        EXERCISE.expect(result, "order", expected)
    if loss.dim():
        EXERCISE.expect(result, "no-mean" if loss.numel() == n else "no-scalar", expected)
    variables = (f"{case.policy.prefix}entropy", "advantage")
    for name, item, variable in zip(RESULTS[1:], others, variables, strict=True):
        if list(item.shape) != [1, n]:
            EXERCISE.expect(result, f"shape~{name}", expected, variable=variable)


def _check_values(function: StudentCode, cases: Sequence[Case], losses: Sequence[Tensor]) -> None:
    """The objective itself; a wrong one is looked up among the known mistakes."""

    def facts(x: Inputs, expected: Tensor, loss: Tensor) -> list[str]:
        return [
            f"  seen      {number(loss)}  ({RESULTS[0]} of {len(x.new)} transitions)",
            f"  expected  {number(expected)}",
            *_example(function, x.clip_range),
        ]

    EXERCISE.compare(
        [case.inputs() for case in cases],
        losses,
        PARTS,
        formula=value,
        facts=facts,
        most=MOST_MISTAKES,
    )


def _example(function: StudentCode, clip_range: float) -> list[str]:
    """The first single transition that comes out wrong, in numbers to follow by hand."""
    for transition in TRANSITIONS:
        case = Case([transition], clip_range)
        try:
            seen = torch.as_tensor(case.call(function)[0]).squeeze()
        except Exception:  # noqa: BLE001 - what fails on one transition makes no example
            continue
        expected = value(case.inputs(), RIGHT)
        if seen.dim() or same(seen, expected):
            continue
        old, new, advantage = transition
        ratio = new / old
        clipped = min(max(ratio, 1 - clip_range), 1 + clip_range)
        given = f"π_old(a|s) = {old:g}, π_θ(a|s) = {new:g}, advantage = {advantage:g}"
        products = f"{ratio:.4g} × {advantage:g}, {clipped:.4g} × {advantage:g}"
        return [
            f"  Example: {given}, clip_range = {clip_range}.",
            f"  The ratio is {ratio:.4g}, clipped {clipped:.4g}.",
            f"  min({products}) = {number(expected)}. Yours gives {number(seen)}.",
        ]
    return ["  Each transition alone comes out right."]


def _check_companions(case: Case, result: Sequence[Tensor]) -> None:
    """The entropy and the advantage, returned as they are."""
    entropy = case.log_prob_and_entropy()[1]
    for name, item, right, source in (
        (RESULTS[1], result[1], entropy, "the entropy that the policy wrote"),
        (RESULTS[2], result[2], case.advantage, "the advantage of the workspace"),
    ):
        if not same(item, right):
            facts = {"seen": numbers(item), "expected": numbers(right), "source": source}
            raise EXERCISE.error(f"not-as-it-was~{name}", **facts)


def _check_gradients(case: Case, loss: Tensor, entropy: Tensor) -> None:
    """A gradient to the policy, the right one, and to nothing else."""
    sources = (case.policy.table, case.old, case.advantage)
    table, old, advantage = (
        torch.autograd.grad(loss, sources, retain_graph=True, allow_unused=True)
        if loss.requires_grad
        else (None, None, None)
    )
    none = table is None or not table.any()
    leaks = [
        words
        for gradient, *words in (
            (old, "old-policy", "the old policy's log-probabilities", f'workspace["{OLD}"]'),
            (advantage, "advantage", "the advantages", 'workspace["advantage"]'),
        )
        if gradient is not None and gradient.any()
    ]
    if leaks:
        ways, names, variables = zip(*leaks, strict=True)
        raise EXERCISE.error(
            "~".join(("leaks", *ways, *(["alone"] if none else []))),
            seen="a gradient there",
            expected="a gradient in the current policy alone",
            names=" and through ".join(names),
            none=", and none reaches the current policy" if none else "",
            variables=" and ".join(variables),
        )
    EXERCISE.refuse(none, "no-gradient")
    (right,) = torch.autograd.grad(value(case.inputs(), RIGHT), [case.policy.table])
    if table is None or not same(table, right):
        raise EXERCISE.error("gradient")
    EXERCISE.refuse(not entropy.requires_grad, "entropy-detached")
