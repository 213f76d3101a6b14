"""The check of notebook 04's exercise on the KL divergence, and on when it stops an update."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.exercises.feedback import (
    call,
    describe,
    not_right,
    numbers,
    untouched_randomness,
)
from ppo_bbrl.exercises.guesses import Guess, as_number, explain
from ppo_bbrl.losses import clipped_surrogate

#: (log_prob, old_log_prob, target_kl) → (whether to stop, the estimate of the KL divergence)
ShouldStop = Callable[[Tensor, Tensor, float | None], tuple[bool, float]]

NAME = "should_stop"
TOLERANCE = 1.5


class Case(NamedTuple):
    """Log-probabilities of the same actions under two policies, `[N]` each, as lists."""

    log_prob: list[float]
    old_log_prob: list[float]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Both as tensors, `[N]`, in double precision."""
        return torch.tensor(self.log_prob).double(), torch.tensor(self.old_log_prob).double()

    def tell(self) -> list[str]:
        """The example in a message."""
        new, old = self.tensors
        return [
            "  Example: the actions now have the probabilities",
            f"    {numbers(new.exp()[:6])}{' …' if len(new) > 6 else ''}",
            "  and had, when the data were collected,",
            f"    {numbers(old.exp()[:6])}{' …' if len(old) > 6 else ''}",
        ]


def _case(new: list[float], old: list[float]) -> Case:
    return Case(torch.tensor(new).log().tolist(), torch.tensor(old).log().tolist())


CASES = (
    _case([0.6, 0.3, 0.5], [0.5, 0.4, 0.5]),
    _case([0.9, 0.2], [0.4, 0.7]),
)


def drawn(seed: int) -> list[Case]:
    """Pairs of policies drawn from a seed: far enough apart that no two estimates agree."""
    source = random.Random(seed)
    cases = []
    for size in (source.randint(3, 9), source.randint(10, 20)):
        old = [source.uniform(0.3, 0.7) for _ in range(size)]
        new = [p * source.uniform(1.2, 1.4) if i % 3 else p * 0.5 for i, p in enumerate(old)]
        cases.append(_case(new, old))
    return cases


def right(case: Case) -> float:
    """The estimate k3 of KL(old ‖ new)."""
    log_prob, old_log_prob = case.tensors
    _, facts = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=old_log_prob,
        advantage=torch.zeros_like(log_prob),
        clip_range=0.2,
    )
    return float(facts["approx_kl"])


def _of(formula: Callable[[Tensor], Tensor]) -> Callable[[Case], float]:
    """A number of the logarithms of the ratios, `[N]`."""

    def value(case: Case) -> float:
        log_prob, old_log_prob = case.tensors
        return float(formula(log_prob - old_log_prob))

    return value


_FORMULA = "the estimate is the mean of (r − 1) − log r, with r = exp(log_prob − old_log_prob)"

MISTAKES = (
    Guess(
        _of(lambda d: (-d).mean()),
        "it is the plain estimate, the mean of −log r, which can be negative",
        "add r − 1, whose mean is 0 under the old policy: " + _FORMULA,
    ),
    Guess(
        _of(lambda d: d.mean()),
        "it is the mean of log r, which can be negative",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: 0.5 * d.square().mean()),
        "it is the estimate k2, half of the mean squared logarithm, which is biased",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: (-d).expm1().mean() + d.mean()),
        "the ratio is turned round: old over new",
        "r = exp(log_prob − old_log_prob): what is new comes first",
    ),
    Guess(
        _of(lambda d: (d - d.expm1()).mean()),
        "the sign is turned: the estimate is never positive",
        "(r − 1) − log r, not log r − (r − 1)",
    ),
    Guess(
        _of(lambda d: (d.expm1() - d).sum()),
        "it is the sum over the transitions",
        "a larger minibatch would stop earlier: take the mean",
    ),
    Guess(
        _of(lambda d: (d.expm1() - d).max()),
        "it is the largest term alone",
        "take the mean over the transitions",
    ),
    Guess(
        _of(lambda d: d.expm1().mean()),
        "− log r is missing: it is the mean of r − 1",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: (d.exp() - d).mean()),
        "the 1 is missing: equal policies would have a divergence of 1",
        "(r − 1) − log r is 0 where r = 1",
    ),
    Guess(
        _of(lambda d: d.abs().mean()),
        "it is the mean of |log r|, which is no estimate of the divergence",
        _FORMULA,
    ),
    Guess(
        lambda c: float(
            (c.tensors[0] / c.tensors[1] - 1 - (c.tensors[0] / c.tensors[1]).log()).mean()
        ),
        "the ratio is that of the logarithms",
        "both arguments are logarithms: r = exp(log_prob − old_log_prob)",
    ),
)


def check_should_stop(function: ShouldStop, *, seed: int | None = None) -> None:
    """Check a student's `should_stop(log_prob, old_log_prob, target_kl)`.

    It gets log-probabilities, `[N]` each, and the target or None. It returns whether the estimate
    k3 of KL(old ‖ new) exceeds 1.5 × the target (never where that is None), and the estimate.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other policies from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    cases = list(CASES) if seed is None else drawn(seed)
    with untouched_randomness():
        answers = [_call(function, case, 0.01) for case in cases]
        error = explain(
            NAME, MISTAKES, cases, [kl for _, kl in answers], right=right, tell=Case.tell
        )
        if error is not None:
            raise error
        _check_stop(function, cases[0])
    if seed is None:
        print("Well done! The estimate is never negative, and it stops where it should.")


def _call(function: ShouldStop, case: Case, target_kl: float | None) -> tuple[bool, float]:
    """The student's answer: whether to stop, the estimate."""
    given = [tensor.float().requires_grad_(index == 0) for index, tensor in enumerate(case.tensors)]
    before = [tensor.detach().clone() for tensor in given]
    result: Any = call(function, *given, target_kl, hint=_hint)
    if not all(torch.equal(a.detach(), b) for a, b in zip(given, before, strict=True)):
        raise not_right(
            NAME,
            "it changes its arguments, which the loop still needs",
            "functions whose name ends in an underscore, such as exp_, and -= or *=",
        )
    facts = (f"  seen      {describe(result)}", "  expected  2 values: stop, kl")
    if result is None:
        raise not_right(NAME, "it returns nothing", "the last line: return stop, kl", *facts)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise not_right(
            NAME, "it does not return two values", "the last line: return stop, kl", *facts
        )
    stop, kl = result
    if isinstance(kl, bool) and not isinstance(stop, bool):
        raise not_right(NAME, "the two values are exchanged", "return stop, kl", *facts)
    if isinstance(kl, Tensor) and kl.requires_grad:
        raise not_right(
            NAME,
            "the estimate carries a gradient",
            "nobody learns from it: .item() makes a number of it, .detach() a constant",
        )
    number = as_number(NAME, kl, "the estimate")
    is_truth = isinstance(stop, bool) or (
        isinstance(stop, Tensor) and stop.dtype == torch.bool and stop.numel() == 1
    )
    if not is_truth:
        raise not_right(
            NAME,
            "whether to stop is no truth value",
            "a comparison gives one: kl > …",
            f"  seen      {describe(stop)}",
            "  expected  True or False",
        )
    return bool(stop), number


def _check_stop(function: ShouldStop, case: Case) -> None:
    """Raise unless it stops above 1.5 × the target and nowhere else."""
    kl = right(case)
    # The target as a part of the estimate: far below, within the tolerance, far above.
    answers = {part: _call(function, case, kl / part)[0] for part in (4.0, 1.25, 0.25)}
    expected = {part: part > TOLERANCE for part in answers}
    if answers != expected:
        wrong = next(part for part in answers if answers[part] != expected[part])
        facts = (
            f"  Example: the estimate is {kl:.4f}, target_kl is {kl / wrong:.4f}.",
            f"  seen      {answers[wrong]}",
            f"  expected  {expected[wrong]}",
        )
        if answers == {part: part > 1 for part in answers}:
            raise not_right(
                NAME,
                "it stops as soon as the target itself is exceeded",
                "the estimate is noisy; we stop above 1.5 × target_kl",
                *facts,
            )
        if answers == {part: not expected[part] for part in answers}:
            raise not_right(
                NAME,
                "it stops where the policies are close, and goes on where they are far apart",
                "the direction of the comparison",
                *facts,
            )
        if len(set(answers.values())) == 1:
            raise not_right(
                NAME,
                f"it answers {next(iter(answers.values()))} whatever the target is",
                "compare the estimate with 1.5 × target_kl, the third argument",
                *facts,
            )
        raise not_right(NAME, "it stops at another place", "kl > 1.5 * target_kl", *facts)
    if _call(function, case, None)[0]:
        raise not_right(
            NAME,
            "it stops although target_kl is None",
            "without a target nothing is stopped; the estimate is returned all the same",
        )


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(log_prob, old_log_prob, target_kl)"
    if "NoneType" in text:
        return "target_kl may be None, which means that nothing is stopped; ask for that first"
    if "Boolean value of Tensor" in text:
        return "take the mean before you compare"
    if isinstance(error, TypeError) and "must be Tensor" in text:
        return "the functions of `math` take numbers; torch.exp and tensor.exp() take tensors"
    return ""
