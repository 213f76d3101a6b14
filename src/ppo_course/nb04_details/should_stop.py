"""The check of notebook 04's exercise on the KL divergence, and on when it stops an update."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_course.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    untouched_randomness,
)
from ppo_course.guesses import Guess, agree, as_number, explain
from ppo_course.nb04_details.should_stop_mistakes import (
    CASES,
    COMPARED,
    MISTAKES,
    TOLERANCE,
    Case,
    drawn,
    right,
)

#: (log_prob, old_log_prob, target_kl) → (whether to stop, the estimate of the KL divergence)
ShouldStop = Callable[[Tensor, Tensor, float | None], tuple[bool, float]]

NAME = "should_stop"
# Where it is asked: the estimate as a multiple of the target, close to the tolerance on both sides
# and on both sides of what else one may compare with.
MULTIPLES = (0.05, 0.45, 0.62, 0.8, 1.1, 1.46, 1.54, 1.9, 2.1, 2.9, 3.1, 20.0)

_NAN = (
    "the logarithm of a negative number is nan, that of 0 is -inf. Is an exp missing? "
    "r = exp(log_prob − old_log_prob) is always above 0"
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
        _check_stop(function, cases)
        for case in cases:
            _check_no_target(function, case)
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
    if _is_truth(kl) and not _is_truth(stop):
        raise not_right(NAME, "the two values are exchanged", "return stop, kl", *facts)
    if isinstance(kl, Tensor) and kl.requires_grad:
        raise not_right(
            NAME,
            "the estimate carries a gradient",
            "nobody learns from it: .item() makes a number of it, .detach() a constant",
        )
    if kl is None and target_kl is None:
        raise _no_estimate("None")
    number = as_number(NAME, kl, "the estimate", look=_NAN)
    if not _is_truth(stop) and target_kl is None:
        raise not_right(
            NAME,
            "where target_kl is None, stop is not False",
            "`target_kl and …` gives None itself, `target_kl is not "
            "None and …` gives False; a value to start with is False, not None",
            f"  seen      {describe(stop)}",
            "  expected  False",
        )
    if not _is_truth(stop):
        raise not_right(
            NAME,
            "whether to stop is no truth value",
            "a comparison gives one: kl > …",
            f"  seen      {describe(stop)}",
            "  expected  True or False",
        )
    return bool(stop), number


def _is_truth(value: Any) -> bool:
    """Whether it is a single truth value: Python's, NumPy's or torch's."""
    if isinstance(value, Tensor):
        return value.dtype == torch.bool and value.numel() == 1
    if isinstance(value, np.ndarray):
        return value.dtype == np.bool_ and value.size == 1
    return isinstance(value, bool | np.bool_)


def _check_stop(function: ShouldStop, cases: Sequence[Case]) -> None:
    """Raise unless it stops above 1.5 × the target and nowhere else."""
    rows = [
        [_call(function, case, right(case) / multiple)[0] for multiple in MULTIPLES]
        for case in cases
    ]
    expected = _stops(cases[0], right)
    for case, answers in zip(cases, rows, strict=True):
        if answers != expected:
            raise _wrong_place(case, answers, expected, _compared(cases, rows))


def _stops(case: Case, number: Callable[[Case], float]) -> list[bool]:
    """Where it stops if this number is compared with 1.5 × the target."""
    return [number(case) > TOLERANCE * right(case) / multiple for multiple in MULTIPLES]


def _compared(cases: Sequence[Case], rows: Sequence[Sequence[bool]]) -> Guess | None:
    """What is compared in place of the estimate; None if another factor would do the same."""
    if all(row == rows[0] for row in rows):
        return None
    for guess in COMPARED:
        if all(row == _stops(case, guess.formula) for case, row in zip(cases, rows, strict=True)):
            return guess
    return None


def _wrong_place(
    case: Case, answers: list[bool], expected: list[bool], compared: Guess | None
) -> ExerciseError:
    """The error about a case where it stops too early, too late or not at all."""
    kl = right(case)
    pairs = list(zip(MULTIPLES, answers, expected, strict=True))
    # The clearest example: farthest from the tolerance.
    multiple, seen, wanted = max(
        (pair for pair in pairs if pair[1] != pair[2]),
        key=lambda pair: abs(np.log(pair[0] / TOLERANCE)),
    )
    facts = (
        f"  Example: the estimate is {kl:.4f}, target_kl is {kl / multiple:.4f}.",
        f"  seen      {seen}",
        f"  expected  {wanted}",
    )
    if compared is not None:
        return not_right(NAME, compared.wrong, compared.look, *facts)
    look = "stop = kl > 1.5 * target_kl, with the mean estimate that is returned"
    if not any(seen == wanted for _, seen, wanted in pairs):
        return not_right(
            NAME,
            "it stops where the policies are close, and goes on where they are far apart",
            "the direction of the comparison",
            *facts,
        )
    if len(set(answers)) == 1:
        return not_right(
            NAME,
            f"it answers {answers[0]} whatever the target is",
            "compare the estimate with 1.5 × target_kl, the third argument",
            *facts,
        )
    if answers == sorted(answers):
        above = answers.index(True)
        low, high = MULTIPLES[above - 1], MULTIPLES[above]
        if low < 1 < high:
            return not_right(
                NAME,
                "it stops as soon as the target itself is exceeded",
                "the estimate is noisy; we stop above 1.5 × target_kl",
                *facts,
            )
        return not_right(
            NAME,
            "the factor is not 1.5, or it is not the mean estimate k3 that is compared: it begins "
            f"to stop somewhere between {low:g} × and {high:g} × target_kl",
            look,
            *facts,
        )
    return not_right(NAME, "it stops at another place", look, *facts)


def _check_no_target(function: ShouldStop, case: Case) -> None:
    """Raise unless without a target it goes on, and gives its estimate."""
    stop, kl = _call(function, case, None)
    if stop:
        raise not_right(
            NAME,
            "it stops although target_kl is None",
            "without a target nothing is stopped; the estimate is returned all the same",
        )
    if not agree(kl, right(case)):
        raise _no_estimate(f"{kl:.5g}", f"{right(case):.5g}")


def _no_estimate(seen: str, expected: str = "the same estimate as with a target") -> ExerciseError:
    return not_right(
        NAME,
        "where target_kl is None, it does not give the estimate",
        "compute kl first, whatever target_kl is, and ask for None in the line of stop alone",
        f"  seen      {seen}",
        f"  expected  {expected}",
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
