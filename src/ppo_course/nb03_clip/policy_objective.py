"""The check of notebook 03's exercise: the clipped policy objective of PPO.

The student's function is run on a few made-up transitions. Where its value is wrong, it is
compared with the values that well-known mistakes would give; where its value is right, its
gradients are looked at.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import (
    all_not_right,
    describe,
    not_right,
    number,
    numbers,
    same,
    untouched_randomness,
)
from ppo_course.nb03_clip.policy_objective_cases import (
    BATCHES,
    NAME,
    OLD,
    TRANSITIONS,
    Case,
    PolicyObjective,
    drawn_batches,
)
from ppo_course.nb03_clip.policy_objective_mistakes import RIGHT, formulas, value

RESULTS = ("policy_loss", "entropy", "policy_advantage")


def check_policy_objective(function: PolicyObjective, *, seed: int | None = None) -> None:
    """Check a student's `policy_objective(policy, workspace, cfg)`.

    It gets a workspace with one row, t = 0, of N transitions: `env/env_obs`, `action`,
    `advantage` and `old_policy/logprob_predict`. It returns `(policy_loss, entropy,
    policy_advantage)`: the clipped objective, to be maximised, a scalar; the other two `[1, N]`.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other transitions from it than the few that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        cases = [Case(*batch) for batch in (BATCHES if seed is None else drawn_batches(seed))]
        results = [case.call(function) for case in cases]
        for case, result in zip(cases, results, strict=True):
            _check_shapes(case, result)
        _check_values(function, cases, [result[0] for result in results])
        for case, result in zip(cases, results, strict=True):
            _check_companions(case, result)
            _check_gradients(case, result[0], result[1])
    if seed is None:
        print("Well done! Value, clipping on both sides, mean, sign and gradients are all right.")


def _check_shapes(case: Case, result: Any) -> None:
    """Three tensors, the scalar first."""
    n = len(case.transitions)
    seen = f"  seen      {describe(result)}"
    expected = f"  expected  {', '.join(RESULTS)}: a scalar tensor, [1, {n}] and [1, {n}]"
    last_line = f"the last line of the function: return {', '.join(RESULTS)}"
    if result is None:
        raise not_right(NAME, "it returns nothing", last_line, seen, expected)
    if not isinstance(result, tuple | list) or len(result) != len(RESULTS):
        raise not_right(NAME, "it does not return three things", last_line, seen, expected)
    for name, item in zip(RESULTS, result, strict=True):
        if isinstance(item, int | float):
            raise not_right(
                NAME,
                f"{name} is a plain number, which carries no gradient",
                f"leave out .item() or float() on the way to {name}",
                seen,
                expected,
            )
        if not isinstance(item, Tensor):
            raise not_right(NAME, f"{name} is no tensor", f"how {name} is made", seen, expected)
    _check_order(case, result, last_line, seen, expected)
    loss = result[0]
    if loss.dim():
        missing = loss.numel() == n
        raise not_right(
            NAME,
            "the mean is missing: policy_loss has an entry for each transition"
            if missing
            else "policy_loss is not a scalar",
            "the last step is the mean over the transitions, Ê in the formula"
            if missing
            else "the shapes of what you combine: take row 0 of each variable, or the whole [1, N]",
            seen,
            expected,
        )
    for name, item, variable in zip(
        RESULTS[1:], result[1:], ("current_policy/entropy", "advantage"), strict=True
    ):
        if list(item.shape) != [1, n]:
            raise not_right(
                NAME,
                f"{name} has the wrong shape",
                f'return what workspace["{variable}"] gives, the row t = 0 included and before '
                "any mean",
                seen,
                expected,
            )


def _check_order(case: Case, result: Sequence[Tensor], *told: str) -> None:
    """Whether the three came in another order."""
    scalars = [item.dim() == 0 for item in result]
    loss_elsewhere = not scalars[0] and sum(scalars) == 1
    entropy = case.log_prob_and_entropy()[1]
    swapped = scalars[0] and same(result[1], case.advantage) and same(result[2], entropy)
    if loss_elsewhere or swapped:
        last_line, *facts = told
        raise not_right(NAME, "the three results come in the wrong order", last_line, *facts)


def _check_values(
    function: PolicyObjective, cases: Sequence[Case], losses: Sequence[Tensor]
) -> None:
    """The objective itself; a wrong one is looked up among the known mistakes."""
    inputs = [case.inputs() for case in cases]
    expected = [value(RIGHT, x) for x in inputs]
    wrong = [i for i in range(len(cases)) if not same(losses[i], expected[i])]
    if not wrong:
        return
    first = wrong[0]
    n = len(cases[first].transitions)
    facts = [
        f"  seen      {number(losses[first])}  ({RESULTS[0]} of {n} transitions)",
        f"  expected  {number(expected[first])}",
        *_example(function, cases[first].clip_range),
    ]
    for formula in formulas():
        if all(same(loss, value(formula, x)) for loss, x in zip(losses, inputs, strict=True)):
            mistakes = [(choice.wrong, choice.look) for choice in formula if choice.wrong]
            raise all_not_right(NAME, mistakes, *facts)
    raise not_right(
        NAME,
        "its value is wrong, in a way that this check does not know",
        "follow the example through your function, line by line"
        if len(facts) > 2
        else "how the transitions are put together; each one alone comes out right",
        *facts,
    )


def _example(function: PolicyObjective, clip_range: float) -> list[str]:
    """The first single transition that comes out wrong, in numbers to follow by hand."""
    for transition in TRANSITIONS:
        case = Case([transition], clip_range)
        try:
            seen = torch.as_tensor(case.call(function)[0]).squeeze()
        except Exception:  # noqa: BLE001 - what fails on one transition makes no example
            continue
        expected = value(RIGHT, case.inputs())
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
    return []


def _check_companions(case: Case, result: Sequence[Tensor]) -> None:
    """The entropy and the advantage, returned as they are."""
    entropy = case.log_prob_and_entropy()[1]
    for name, item, right, source in (
        (RESULTS[1], result[1], entropy, "the entropy that the policy wrote"),
        (RESULTS[2], result[2], case.advantage, "the advantage of the workspace"),
    ):
        if not same(item, right):
            raise not_right(
                NAME,
                f"{name} is not {source}",
                f"{name} is returned for the log and the entropy bonus, unchanged",
                f"  seen      {numbers(item)}",
                f"  expected  {numbers(right)}",
            )


def _check_gradients(case: Case, loss: Tensor, entropy: Tensor) -> None:
    """A gradient to the policy, the right one, and to nothing else."""
    sources = (case.policy.table, case.old, case.advantage)
    table, old, advantage = (
        torch.autograd.grad(loss, sources, retain_graph=True, allow_unused=True)
        if loss.requires_grad
        else (None, None, None)
    )
    leaks = [
        (name, variable)
        for name, variable, gradient in (
            ("the old policy's log-probabilities", OLD, old),
            ("the advantages", "advantage", advantage),
        )
        if gradient is not None and gradient.any()
    ]
    if leaks:
        names = " and through ".join(name for name, _ in leaks)
        variables = " and ".join(f'workspace["{variable}"]' for _, variable in leaks)
        none = ", and none reaches the current policy" if table is None or not table.any() else ""
        raise not_right(
            NAME,
            f"its value is right, but a gradient flows back through {names}{none}",
            f"they are constants of the objective: .detach() what you read from {variables}",
            "  seen      a gradient there",
            "  expected  a gradient in the current policy alone",
        )
    if table is None or not table.any():
        raise not_right(
            NAME,
            "its value is right, but no gradient reaches the current policy",
            "nothing between the policy's log-probability and policy_loss may be under "
            "torch.no_grad() or detached",
        )
    (right,) = torch.autograd.grad(value(RIGHT, case.inputs()), [case.policy.table])
    if not same(table, right):
        raise not_right(
            NAME,
            "its value is right, but its gradient is not",
            "some part of the formula is detached, or goes through .data or torch.no_grad(); only "
            "the old log-probabilities and the advantages are constants",
        )
    if not entropy.requires_grad:
        raise not_right(
            NAME,
            "entropy carries no gradient, so that the entropy bonus would have no effect",
            "return it as the policy wrote it, not detached",
        )
