"""The check of notebook 04's exercise on the KL divergence, and on when it stops an update."""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.losses import clipped_surrogate
from ppo_course.feedback import ExerciseError, describe, numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import agree, as_number, compare_numbers

# Where it is asked: the estimate as a multiple of the target, close to the tolerance on both sides
# and on both sides of what else one may compare with.
MULTIPLES = (0.05, 0.45, 0.62, 0.8, 1.1, 1.46, 1.54, 1.9, 2.1, 2.9, 3.1, 20.0)

TOLERANCE = 1.5  # × the target: above it an update is stopped


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


CASES = (_case([0.6, 0.3, 0.5], [0.5, 0.4, 0.5]), _case([0.9, 0.2], [0.4, 0.7]))
FAR = _case([0.002, 0.9, 0.5], [0.9, 0.01, 0.5])  # its estimate is 30: nothing limits it


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
    return lambda case: float(formula(case.tensors[0] - case.tensors[1]))


FORMULAS = Part(
    right,
    {
        "plain": _of(lambda d: (-d).mean()),
        "log-ratio": _of(lambda d: d.mean()),
        "k2": _of(lambda d: 0.5 * d.square().mean()),
        "ratio-upside-down": _of(lambda d: (-d).expm1().mean() + d.mean()),
        "added": _of(lambda d: (d.expm1() + d).mean()),
        "log-prob-alone": lambda c: float(
            ((c.tensors[0] - c.tensors[1]).expm1() - c.tensors[0]).mean()
        ),
        "no-exp": _of(lambda d: (d - 1 - d).mean()),
        "sign": _of(lambda d: (d - d.expm1()).mean()),
        "sum": _of(lambda d: (d.expm1() - d).sum()),
        "largest": _of(lambda d: (d.expm1() - d).max()),
        "no-log": _of(lambda d: d.expm1().mean()),
        "no-one": _of(lambda d: (d.exp() - d).mean()),
        "absolute": _of(lambda d: d.abs().mean()),
        "mean-of-logs": _of(lambda d: d.mean().expm1() - d.mean()),
        "mean-of-ratios": _of(lambda d: d.expm1().mean() - d.exp().mean().log()),
        "median": _of(lambda d: (d.expm1() - d).median()),
        "factor": _of(lambda d: TOLERANCE * (d.expm1() - d).mean()),
        "weighted": lambda c: float((c.tensors[1].exp() * (c.tensors[1] - c.tensors[0])).sum()),
        "ratio-of-logs": lambda c: float(
            (c.tensors[0] / c.tensors[1] - 1 - (c.tensors[0] / c.tensors[1]).log()).mean()
        ),
    },
)

# What else than the estimate may be compared with the target, besides the numbers above.
COMPARED = {
    "any-action": _of(lambda d: (d.expm1() - d).max()),
    "all-actions": _of(lambda d: (d.expm1() - d).min()),
}

EXERCISE = Exercise("should_stop", ("log_prob", "old_log_prob", "target_kl"), read_words(__file__))


@EXERCISE.check
def check_should_stop(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `should_stop(log_prob, old_log_prob, target_kl)`.

    It gets log-probabilities, `[N]` each, and the target or None. It returns whether the estimate
    k3 of KL(old ‖ new) exceeds 1.5 × the target (never where that is None), and the estimate.
    """
    cases = list(CASES) if seed is None else drawn(seed)

    def see_estimate() -> None:
        seen = [_call(function, case, 0.01)[1] for case in cases]
        compare_numbers(EXERCISE, cases, seen, FORMULAS)
        far, expected = _call(function, FAR, 0.01)[1], right(FAR)
        if not agree(FAR, far, expected):
            told = {"seen": f"{far:.5g}", "expected": f"{expected:.5g}"}
            raise EXERCISE.error("limited", facts=FAR.tell(), **told)

    def see_stop() -> None:
        _see(function, cases)
        _check_stop(function, [FAR])

    with EXERCISE.partly(the_estimate=see_estimate, when_to_stop=see_stop):
        see_estimate()
        see_stop()


def _see(function: StudentCode, cases: Sequence[Case]) -> None:
    """Raise unless it stops where it should, also without a target, and with one of 0."""
    _check_stop(function, cases)
    for case in cases:
        stop, kl = _call(function, case, None)
        EXERCISE.refuse(stop, "stops-without-target")
        if not agree(case, kl, right(case)):
            raise _no_estimate(f"{kl:.5g}", f"{right(case):.5g}")
    # 0 is a target, which every step exceeds; in Python's `if` it is no different from None.
    for case in cases:
        EXERCISE.refuse(not _call(function, case, 0.0)[0], "zero-is-no-target")


def _call(function: StudentCode, case: Case, target_kl: float | None) -> tuple[bool, float]:
    """The student's answer: whether to stop, the estimate."""
    given = [tensor.float().requires_grad_(index == 0) for index, tensor in enumerate(case.tensors)]
    result: Any = EXERCISE.call(function, *given, target_kl)
    stop, kl = EXERCISE.several(result, 2, "not-two", "2 values: stop, kl")
    if _is_truth(kl) and not _is_truth(stop):
        EXERCISE.expect(result, "exchanged", "2 values: stop, kl")
    if isinstance(kl, Tensor) and kl.requires_grad:
        raise EXERCISE.error("gradient")
    if kl is None and target_kl is None:
        raise _no_estimate("None")
    number = as_number(EXERCISE, kl, "the estimate")
    if not _is_truth(stop):
        key, expected = (
            ("no-false", "False") if target_kl is None else ("no-truth", "True or False")
        )
        raise EXERCISE.error(key, seen=describe(stop), expected=expected)
    return bool(stop), number


def _is_truth(value: Any) -> bool:
    """Whether it is a single truth value: Python's, NumPy's or torch's."""
    if isinstance(value, Tensor):
        return value.dtype == torch.bool and value.numel() == 1
    if isinstance(value, np.ndarray):
        return value.dtype == np.bool_ and value.size == 1
    return isinstance(value, bool | np.bool_)


def _check_stop(function: StudentCode, cases: Sequence[Case]) -> None:
    """Raise unless it stops above 1.5 × the target and nowhere else."""
    rows = [[_call(function, case, right(case) / m)[0] for m in MULTIPLES] for case in cases]
    expected = _stops(cases[0], right)
    for case, answers in zip(cases, rows, strict=True):
        if answers != expected:
            raise _wrong_place(case, answers, expected, _compared(cases, rows))


def _stops(case: Case, number: Callable[[Case], float]) -> list[bool]:
    """Where it stops if this number is compared with 1.5 × the target."""
    return [number(case) > TOLERANCE * right(case) / multiple for multiple in MULTIPLES]


def _compared(cases: Sequence[Case], rows: Sequence[Sequence[bool]]) -> str | None:
    """The key of what is compared in place of the estimate; None if it may be another factor."""
    if all(row == rows[0] for row in rows):
        return None
    known = {**COMPARED, **FORMULAS.wrong}
    found = (key for key, of in known.items() if list(rows) == [_stops(c, of) for c in cases])
    return next(found, None)


def _wrong_place(
    case: Case, answers: list[bool], expected: list[bool], compared: str | None
) -> ExerciseError:
    """The error about a case where it stops too early, too late or not at all."""
    kl = right(case)
    pairs = list(zip(MULTIPLES, answers, expected, strict=True))
    # The clearest example: farthest from the tolerance.
    wrong = (pair for pair in pairs if pair[1] != pair[2])
    multiple, seen, wanted = max(wrong, key=lambda pair: abs(np.log(pair[0] / TOLERANCE)))
    example = f"  Example: the estimate is {kl:.4f}, target_kl is {kl / multiple:.4f}."
    facts = [example, f"  seen      {seen}", f"  expected  {wanted}"]
    if compared in COMPARED:
        return EXERCISE.error(compared, facts=facts)
    if compared is not None:
        number = EXERCISE.words(compared)[0]
        return EXERCISE.error(f"other-number~{compared}", facts=facts, number=number)
    if not any(seen == wanted for _, seen, wanted in pairs):
        return EXERCISE.error("direction", facts=facts)
    if len(set(answers)) == 1:
        return EXERCISE.error(f"always-the-same~{answers[0]}", facts=facts)
    if answers == sorted(answers):
        above = answers.index(True)
        low, high = MULTIPLES[above - 1], MULTIPLES[above]
        if low < 1 < high:
            return EXERCISE.error("target-alone", facts=facts)
        key = f"other-factor~{low:g}-{high:g}"
        return EXERCISE.error(key, facts=facts, low=f"{low:g}", high=f"{high:g}")
    return EXERCISE.error("other-place", facts=facts)


def _no_estimate(seen: str, expected: str = "the same estimate as with a target") -> ExerciseError:
    return EXERCISE.error("no-estimate", seen=seen, expected=expected)
