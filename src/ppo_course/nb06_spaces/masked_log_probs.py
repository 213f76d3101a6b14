"""The check of notebook 06's second exercise: log-probabilities where actions are forbidden."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import ExerciseError, numbers, same
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, read_words

EXERCISE = Exercise(
    "masked_log_probs",
    ("logits", "mask"),
    read_words(__file__),
    (
        Hint("not", "bool tensor is not supported", "bad operand type", "Negation, the `-`"),
        Hint("ragged", "must match the size", "shape mismatch"),
        Hint("in-place", "a leaf Variable that requires grad"),
        Hint("dim", "log_softmax() missing", "softmax() received an invalid"),
    ),
)

#: (logits [N, A], mask [N, A] bool) → log-probabilities [N, A]
MaskedLogProbs = Callable[[Tensor, Tensor], Tensor]

NEVER = -104.0  # a log-probability below it is a probability of 0 for a float32


class Case(NamedTuple):
    """Logits in N states and what is allowed there.

    Attributes:
        logits: `[N, A]`.
        mask: `[N, A]` bool.
    """

    logits: Tensor
    mask: Tensor


def cases(seed: int | None) -> list[Case]:
    """Three and six actions; in the last case the allowed ones are the least likely by far."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    result = []
    for n, n_actions in ((4, 3), (5, 6), (4, 4)):
        if seed is not None:
            n += 1 + int(torch.randint(5, (), generator=generator))  # noqa: PLW2901
        logits = 3 * torch.rand(n, n_actions, generator=generator) - 1
        digits = 1 if seed is None else 3  # numbers to follow by hand
        logits = (logits * 10**digits).round() / 10**digits
        mask = torch.rand(n, n_actions, generator=generator) < 0.6
        mask[:, 0], mask[:, 1] = True, False
        mask[1] = True  # everything is allowed
        mask[2] = torch.arange(n_actions) == n_actions - 1  # a single action is
        result.append(Case(logits, mask))
    last = result[-1]
    result[-1] = Case(torch.where(last.mask, last.logits - 200, last.logits + 50), last.mask)
    return result


def _filled(x: Case, value: float) -> Tensor:
    return x.logits.masked_fill(~x.mask, value).log_softmax(-1)


MASKED = Part(
    lambda x: _filled(x, -math.inf),
    {
        "mask-missing": lambda x: x.logits.log_softmax(-1),
        "mask-inverted": lambda x: x.logits.masked_fill(x.mask, -math.inf).log_softmax(-1),
        "not-renormalised": lambda x: x.logits.log_softmax(-1).masked_fill(~x.mask, -math.inf),
        "zero-logits": lambda x: (x.logits * x.mask).log_softmax(-1),
        "zero-log-probs": lambda x: x.logits.log_softmax(-1) * x.mask,
        "zero-log-probs~renormalised": lambda x: _filled(x, -math.inf).masked_fill(~x.mask, 0),
        "mask-added": lambda x: (x.logits + x.mask).log_softmax(-1),
        "logits": lambda x: x.logits.masked_fill(~x.mask, -math.inf),
        "probabilities": lambda x: _filled(x, -math.inf).exp(),
        "probabilities~not renormalised": lambda x: x.logits.softmax(-1) * x.mask,
        "over-states": lambda x: x.logits.masked_fill(~x.mask, -math.inf).log_softmax(0),
        "sign": lambda x: -_filled(x, -math.inf),
    }
    | {
        f"too-small~{c}": lambda x, c=c: _filled(x, -c)
        for c in (1, 2, 5, 10, 20, 30, 50, 99, 100, 128, 200)
    }
    | {
        f"too-small~{c} less": lambda x, c=c: (x.logits - c * ~x.mask).log_softmax(-1)
        for c in (2, 5, 10, 20, 30, 50, 99, 100, 128, 200)
    },
)


def formula(case: Case, values: Sequence[Any]) -> Tensor:
    """The log-probabilities that a way of masking gives, `[N, A]`."""
    result: Tensor = values[0](case)
    return result


@torch.enable_grad()
@EXERCISE.check
def check_masked_log_probs(function: MaskedLogProbs, *, seed: int | None = None) -> None:
    """Check a student's `masked_log_probs(logits, mask)`.

    It gets logits and what is allowed, `[N, A]` each, and returns log-probabilities `[N, A]`: -inf
    for what is forbidden (or a number so low that its probability is 0).
    """
    chosen = cases(seed)
    given = [case.logits.clone().requires_grad_() for case in chosen]
    results = [_answer(function, case, logits) for case, logits in zip(chosen, given, strict=True)]
    # The last case comes by itself: whoever takes exp too early is right until then.
    _compare(chosen[:-1], results[:-1], "nan")
    _compare(chosen, results, "underflow")
    for case, logits, result in zip(chosen, given, results, strict=True):
        fresh = case.logits.clone().requires_grad_()
        right = formula(case._replace(logits=fresh), [MASKED.right])
        found = gradients(result[case.mask], {"logits": logits})
        if found["logits"].isnan().any():
            raise EXERCISE.error("nan-gradient")
        check_gradients(EXERCISE, found, gradients(right[case.mask], {"logits": fresh}))


def _compare(chosen: Sequence[Case], results: Sequence[Tensor], nan: str) -> None:
    """Name the mistake; where none is known, and there are NaNs, by this key."""
    try:
        EXERCISE.compare(chosen, results, [MASKED], formula=formula, agree=_agree, facts=_example)
    except ExerciseError as wrong:
        if wrong.keys == ("unknown",) and any(result.isnan().any() for result in results):
            raise EXERCISE.error(nan) from None
        raise


def _answer(function: MaskedLogProbs, case: Case, logits: Tensor) -> Tensor:
    result: Any = EXERCISE.call(function, logits, case.mask.clone())
    shape = list(case.mask.shape)
    mistake = None
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    elif list(result.shape) != shape:
        mistake = "wrong-shape"
    EXERCISE.expect(result, mistake, f"a tensor of shape {shape}")
    tensor: Tensor = result
    return tensor.float()


def _agree(case: Case, one: Tensor, other: Tensor) -> bool:
    """Whether both forbid the same, agree on the rest, and are NaN in the same places."""

    def plain(x: Tensor) -> Tensor:
        known = torch.where(~case.mask & (x < NEVER), 10 * NEVER, x)
        return known.clamp(-1e6, 1e6).nan_to_num(nan=1e7)

    return same(plain(one), plain(other))


def _example(case: Case, expected: Tensor, seen: Tensor) -> list[str]:
    """The first state that comes out wrong, in numbers to follow by hand."""
    n = next(
        i
        for i in range(len(case.mask))
        if not _agree(Case(case.logits[i], case.mask[i]), seen[i], expected[i])
    )
    return [
        f"  Example: logits {numbers(case.logits[n])}, mask {case.mask[n].tolist()}",
        f"  seen      {numbers(seen[n])}",
        f"  expected  {numbers(expected[n])}",
    ]
