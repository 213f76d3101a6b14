"""The check of notebook 08's second exercise: the joint loss of a shared trunk."""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.hub import PPO2
from ppo_course.feedback import (
    call,
    describe,
    not_right,
    numbers,
    same,
    untouched_randomness,
)
from ppo_course.guesses import Guess, agree, as_number, explain
from ppo_course.nb08_shared_trunk.joint_loss_mistakes import POLICY, TOTAL, VALUE

NAME = "joint_loss"
PARTS = ("total", "policy_loss", "value_loss")
LEARNED = ("value_f", "neg_log_probs", "entropy")

#: (returns, value_f, neg_log_probs, entropy, advantages, old_values, old_neg_log_probs [N each],
#: clip_range, ent_coef, vf_coef) → total, policy loss, value loss
JointLoss = Callable[..., tuple[Tensor, Tensor, Tensor]]


class Samples(NamedTuple):
    """The arguments, in their order: `[N]` each, then three numbers."""

    returns: Tensor
    value_f: Tensor
    neg_log_probs: Tensor
    entropy: Tensor
    advantages: Tensor
    old_values: Tensor
    old_neg_log_probs: Tensor
    clip_range: float
    ent_coef: float
    vf_coef: float

    def tell(self) -> list[str]:
        """The example in a message: its first four samples."""
        rows = [
            ("advantages", self.advantages),
            ("now probable", (-self.neg_log_probs).exp()),
            ("and before", (-self.old_neg_log_probs).exp()),
            ("returns", self.returns),
            ("value_f", self.value_f),
            ("old_values", self.old_values),
            ("entropy", self.entropy),
        ]
        more = " …" if len(self.returns) > 4 else ""
        coefficients = f"ent_coef = {self.ent_coef:g}, vf_coef = {self.vf_coef:g}"
        return [
            f"  An example with clip_range = {self.clip_range:g}, {coefficients}:",
            *(f"    {name:<13}{numbers(row[:4])}{more}" for name, row in rows),
        ]


def _samples(
    n: int, shifts: Tensor, errors: Tensor, rest: Tensor, numbers_: Sequence[float]
) -> Samples:
    """Samples on all sides of both clip ranges, from numbers in [0, 1] that vary them.

    Args:
        n: at least 4; the sides repeat.
        shifts: `[N]`, by how much the probabilities differ.
        errors: `[N]`, by how much the values differ.
        rest: `[N]`, varies what is left.
        numbers_: ε and the two coefficients.
    """
    side = torch.arange(n)
    good = side % 2 == 0
    outside = (side // 2) % 2 == 0
    clip_range, ent_coef, vf_coef = numbers_
    # Up for the first four, down for the next four: a side of the range with both signs.
    up = (side // 4 + side) % 2 == 0
    size = torch.where(outside, 1.5 + shifts, 0.3 + 0.3 * shifts) * clip_range
    ratio = torch.where(up, 1 + size, 1 - 0.8 * size)
    # The first four samples have a bad action that became more probable, too.
    ratio[3] = 1 + 2 * clip_range
    old_prob = 0.25 + 0.2 * rest
    old_values = 3 * rest - 1
    change = torch.where(outside, 2 + errors, 0.5 * errors) * clip_range
    value_f = old_values + torch.where(up, change, -change)
    # Of the values that left the range, some went towards the return, some away from it.
    away = (side // 2) % 4 < 2
    returns = torch.where(away == up, old_values - 1 - errors, old_values + 1 + errors)
    returns[0] = old_values[0] + 1.5
    return Samples(
        returns=returns,
        value_f=value_f,
        neg_log_probs=-(old_prob * ratio).log(),
        entropy=0.2 + 0.4 * errors,
        advantages=torch.where(good, 0.5 + rest, -0.5 - 2 * rest),
        old_values=old_values,
        old_neg_log_probs=-old_prob.log(),
        clip_range=clip_range,
        ent_coef=ent_coef,
        vf_coef=vf_coef,
    )


def cases(seed: int | None) -> list[Samples]:
    """Fixed samples that one can follow by hand, or others drawn from a seed."""
    if seed is None:
        rest = torch.tensor([0.5, 0.25, 0.75, 0.5])
        shifts, errors = torch.full((4,), 0.5), torch.tensor([0.5, 0.25, 0.5, 1.0])
        # With other numbers in the second case, none of them can be known by heart.
        return [
            _samples(4, shifts, errors, rest, constants)
            for constants in ((0.2, 0.01, 0.5), (0.1, 0.05, 0.75))
        ]
    source = torch.Generator().manual_seed(seed)
    chosen = []
    for least in (8, 13):
        n = least + int(torch.randint(5, (), generator=source))
        shifts, errors, rest = torch.rand(3, n, generator=source)
        one, two, three = torch.rand(3, generator=source).tolist()
        constants = (0.1 + 0.08 * one, 0.02 + 0.08 * two, 0.3 + 0.6 * three)
        chosen.append(_samples(n, shifts, errors, rest, constants))
    return chosen


def right(case: Samples) -> tuple[Tensor, Tensor, Tensor]:
    """Total, policy loss and value loss, with gradient."""
    total, policy_loss, critic_loss, _, _ = PPO2.loss(None, *case)  # type: ignore[arg-type]
    return total, policy_loss, critic_loss


def check_joint_loss(function: JointLoss, *, seed: int | None = None) -> None:
    """Check a student's `joint_loss`, with the arguments of `PPO2.loss`.

    It returns three scalars: the total loss, to be minimised, the policy loss and the value loss.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other samples from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        chosen = cases(seed)
        results, arguments = [], []
        for case in chosen:
            learned = {name: getattr(case, name).clone().requires_grad_() for name in LEARNED}
            fixed = {
                name: getattr(case, name).clone()
                for name in case._fields[:7]
                if name not in LEARNED
            }
            given = case._replace(**fixed, **learned)
            result = call(function, *given, hint=_hint)
            _check_untouched(case, given)
            results.append(_read(result))
            arguments.append(given)
        _check_order(chosen, results)
        # The total last: it is made of the other two.
        for position, mistakes in ((1, POLICY), (2, VALUE), (0, TOTAL)):
            _compare(chosen, results, position, mistakes)
        for case, given, result in zip(chosen, arguments, results, strict=True):
            _check_gradients(case, given, result[0])
    if seed is None:
        print("Well done! One loss, three terms, and each sign where it belongs.")


def _check_untouched(case: Samples, given: Samples) -> None:
    for name in case._fields[:7]:
        if not torch.equal(getattr(case, name), getattr(given, name).detach()):
            raise not_right(
                NAME,
                f"it writes into its argument {name}, which the caller still needs",
                "functions whose name ends in an underscore, such as clamp_ and exp_, and "
                "operators such as -=",
            )


def _read(result: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses that a student's function returned.

    Raises:
        ExerciseError: if they are no three scalar tensors.
    """
    facts = (
        f"  seen      {describe(result)}",
        "  expected  3 values: total, policy_loss, value_loss, each a scalar tensor",
    )
    last_line = "the last line: return total, policy_loss, value_loss"
    if result is None:
        raise not_right(NAME, "it returns nothing", last_line, *facts)
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise not_right(NAME, "it does not return three losses", last_line, *facts)
    for name, loss in zip(PARTS, result, strict=True):
        if not isinstance(loss, Tensor):
            look = "no .item(), float() or NumPy on the way: the gradient would be lost"
            raise not_right(NAME, f"{name} is no tensor", look, *facts)
        if loss.numel() != 1:
            look = "take the mean over the samples, .mean(), before you add losses up"
            raise not_right(NAME, f"{name} is not a single number", look, *facts)
    total, policy_loss, critic_loss = result
    return total, policy_loss, critic_loss


def _check_order(
    chosen: Sequence[Samples], results: Sequence[tuple[Tensor, Tensor, Tensor]]
) -> None:
    """See that the three are not right in another order."""
    truths = [[float(part.detach()) for part in right(case)] for case in chosen]
    seen = [[float(part.detach()) for part in result] for result in results]
    for order in list(permutations(range(len(PARTS))))[1:]:
        if all(
            agree(numbers_[position], truth[part])
            for numbers_, truth in zip(seen, truths, strict=True)
            for position, part in enumerate(order)
        ):
            raise not_right(
                NAME,
                "the three losses are right, but in another order",
                f"the last line: return {', '.join(PARTS)}",
                f"  seen      {', '.join(PARTS[part] for part in order)}",
                f"  expected  {', '.join(PARTS)}",
            )


def _compare(
    chosen: Sequence[Samples],
    results: Sequence[tuple[Tensor, Tensor, Tensor]],
    position: int,
    mistakes: Sequence[Guess],
) -> None:
    seen = [as_number(NAME, result[position].detach(), PARTS[position]) for result in results]
    error = explain(
        NAME,
        mistakes,
        chosen,
        seen,
        right=lambda case: right(case)[position].item(),
        tell=lambda case: [*case.tell(), f"  {PARTS[position]}:"],
    )
    if error is not None:
        raise error


def _check_gradients(case: Samples, given: Samples, total: Tensor) -> None:
    """See that the total, whose value is right, has the right gradients."""
    fresh = case._replace(
        **{name: getattr(case, name).clone().requires_grad_() for name in LEARNED}
    )
    truth = _gradients(right(fresh)[0], fresh)
    found = _gradients(total, given)
    for name in LEARNED:
        if not found[name].any():
            raise not_right(
                NAME,
                f"the total is right, but no gradient reaches {name}",
                f"nothing on the way from {name} to the total may be detached, under "
                "torch.no_grad(), or made anew by torch.tensor(…): the trunk learns through it",
            )
        if not same(found[name], truth[name]):
            raise not_right(
                NAME,
                f"the total is right, but its gradient with respect to {name} is not",
                "some part of the formula is detached",
            )


def _gradients(total: Tensor, samples: Samples) -> dict[str, Tensor]:
    inputs = [getattr(samples, name) for name in LEARNED]
    if not total.requires_grad:
        return {name: torch.zeros(1) for name in LEARNED}
    found = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return dict(zip(LEARNED, found, strict=True))


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return (
            "the arguments are those of the first line of the cell, ten of them; leave it as it is"
        )
    if "a leaf Variable that requires grad" in text:
        return "an in-place function (with an underscore at its end) changes what the caller needs"
    if "must be Tensor" in text:
        return "torch.max of two tensors takes the larger number in each place; numbers have max(…)"
    return ""
