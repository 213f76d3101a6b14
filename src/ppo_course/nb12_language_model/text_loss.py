"""The check of notebook 12's fifth exercise: PPO's loss over the characters of texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import number
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.nb11_write_ppo import losses
from ppo_course.nb11_write_ppo.losses import RATIOS, SURROGATES
from ppo_course.nb12_language_model.texts import WORDS, as_scalar, cases

ARGUMENTS = ("log_prob", "old_log_prob", "advantage", "written", "clip_range")
EXERCISE = Exercise(
    "text_loss",
    ARGUMENTS,
    {
        "text_loss": {**read_words(losses.__file__)["losses"], **WORDS["text_loss"]},
        "shared": WORDS["shared"],
    },
)


class Inputs(NamedTuple):
    """The symbols of the formula, `[T, B]` each, and ε."""

    new: Tensor
    old: Tensor
    advantage: Tensor
    written: Tensor
    eps: float


REDUCTIONS = Part(
    lambda s, m: -(s * m).sum() / m.sum(),
    {
        "objective-sign": lambda s, m: (s * m).sum() / m.sum(),
        "mask-ignored": lambda s, _m: -s.mean(),
        "divided-by-all": lambda s, m: -(s * m).mean(),
        "summed": lambda s, m: -(s * m).sum(),
        "per-text": lambda s, m: -((s * m).sum(0) / m.sum(0)).mean(),
        "per-text-sum": lambda s, m: -(s * m).sum(0).mean(),
        "per-row": lambda s, m: -((s * m).sum(1) / m.sum(1).clamp(min=1)).mean(),
        "mask-inverted": lambda s, m: -(s * ~m).sum() / (~m).sum(),
    },
)
RANGES = Part(lambda x: x.eps, {"range-fixed~0.2": lambda _: 0.2, "range-fixed~0.1": lambda _: 0.1})
#: those of the losses of notebook 11; what is said about all but the first differs here
RATIO_MISTAKES = ("ratio-upside-down", "no-exp", "no-old", "log-prob-alone", "ratio-is-1")
PARTS = (
    Part(RATIOS.right, {key: RATIOS.wrong[key] for key in RATIO_MISTAKES}),
    Part(
        SURROGATES.right,
        {key: way for key, way in SURROGATES.wrong.items() if key != "minimum-of-means"},
    ),
    RANGES,
    REDUCTIONS,
)


def formula(x: Inputs, values: Sequence[Any]) -> Tensor:
    """The loss that a value of each part gives."""
    ratio, surrogate, eps, reduction = values
    result: Tensor = reduction(surrogate(ratio(x), x.advantage, eps(x)), x.written)
    return result


def drawn(seed: int | None) -> list[Inputs]:
    """Texts whose characters have become more and less probable, in the end by far; then ε is 0."""
    source, inputs = source_of(seed), []
    texts = cases(seed)[:-1]  # the last has no row in which nothing is written
    for case, far in zip(texts, (0.6, 0.6, 8.0), strict=True):
        moved = torch.linspace(-far, far + 0.1, case.written.numel())  # 0 is none of them
        moved = moved[torch.randperm(len(moved), generator=source)].reshape(case.written.shape)
        advantage = 0.3 + torch.randn(case.written.shape, generator=source)
        eps = integer(source, 12, 28) / 100 + 0.003 if far < 1 else 0.0
        new = (case.log_prob + moved).clamp(max=-0.01).requires_grad_()
        inputs.append(Inputs(new, case.log_prob, advantage, case.written, eps))
    return inputs


@torch.enable_grad()
@EXERCISE.check
def check_text_loss(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `text_loss(log_prob, old_log_prob, advantage, written, clip_range)`.

    All are `[T, B]` but for the last one; it returns minus the clipped objective, its mean over
    the characters that were written, a scalar.
    """
    inputs = drawn(seed)
    results = []
    for x in inputs:
        given = (x.new, x.old.clone(), x.advantage.clone(), x.written.clone(), x.eps)
        results.append(as_scalar(EXERCISE, EXERCISE.call(function, *given), x.new.numel()))

    def facts(x: Inputs, right: Tensor, seen: Tensor) -> list[str]:
        n_texts, n = x.written.shape[1], int(x.written.sum())
        told = f"  the loss of {n_texts} texts with {n} characters, clip_range = {x.eps:.3g}:"
        return [told, f"  seen      {number(seen)}", f"  expected  {number(right)}"]

    EXERCISE.compare(inputs, results, PARTS, formula=formula, facts=facts)
    for x, loss in zip(inputs, results, strict=True):
        weights = {"log_prob": x.new}
        truth = gradients(formula(x, [part.right for part in PARTS]), weights)
        check_gradients(EXERCISE, gradients(loss, weights), truth)
