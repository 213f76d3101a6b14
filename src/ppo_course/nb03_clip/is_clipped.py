"""The check of notebook 03's exercise: which transitions the clipped objective no longer moves."""

import random
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import describe
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words

# Each of the known mistakes is wrong in at least one place. No ratio is at the edge of the range
# and no advantage is 0: there, both answers can be defended.
RATIO = (0.5, 0.75, 0.81, 0.85, 0.95, 1.05, 1.15, 1.21, 1.25, 1.5)
ADVANTAGE = (2.0, 0.5, -0.5, -2.0)
CLIP_RANGES = (0.2, 0.1, 0.4, 0.0)


def right(r: Tensor, a: Tensor, eps: float) -> Tensor:
    """Where the clipped product is the smaller one, and so the one without gradient, `[N]`."""
    return ((a > 0) & (r > 1 + eps)) | ((a < 0) & (r < 1 - eps))


MASKS = Part(
    right,
    {
        "advantage-ignored": lambda r, _a, eps: (r - 1).abs() > eps,
        "swapped": lambda r, a, eps: right(r, -a, eps),
        "inverted": lambda r, a, eps: ~right(r, a, eps),
        "within": lambda r, _a, eps: (r - 1).abs() < eps,
        "product-above": lambda r, a, eps: r * a > (1 + eps) * a,
        "bad-never": lambda r, a, eps: (a > 0) & (r > 1 + eps),
        "good-never": lambda r, a, eps: (a < 0) & (r < 1 - eps),
        "upper-end-alone": lambda r, _a, eps: r > 1 + eps,
        "lower-end-alone": lambda r, _a, eps: r < 1 - eps,
        "range-ignored": lambda r, a, _eps: ((a > 0) & (r > 1)) | ((a < 0) & (r < 1)),
        "range-itself": lambda r, a, eps: ((a > 0) & (r > eps)) | ((a < 0) & (r < -eps)),
        "log-ratio": lambda r, a, eps: right(1 + r.log(), a, eps),
        "edges-of-1": lambda r, a, eps: ((a > 0) & (r > 1 + eps)) | ((a < 0) & (r < 1 / (1 + eps))),
        "none-marked": lambda r, _a, _eps: torch.zeros_like(r, dtype=torch.bool),
        "always~0.2": lambda r, a, _eps: right(r, a, 0.2),
        "always~0.1": lambda r, a, _eps: right(r, a, 0.1),
        "always~0.4": lambda r, a, _eps: right(r, a, 0.4),
    },
)


def drawn(seed: int) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Ratios and advantages, `[N]` each, and clip ranges, drawn from a seed.

    As in the constants, there are ratios in and between all the ranges, with both signs.
    """
    source = random.Random(seed)
    clip_ranges = tuple(round(source.uniform(low, low + 0.05), 3) for low in (0.2, 0.1, 0.4))
    ratios = [
        1 + sign * source.uniform(low, high)
        for low, high in ((0.02, 0.09), (0.16, 0.19), (0.26, 0.39), (0.46, 0.9))
        for sign in (-1, 1)
    ]
    # Just beyond the largest range, and just within: 1 + ε < exp(ε), and exp(-ε) > 1 - ε.
    largest = max(clip_ranges)
    ratios += [1 + 1.03 * largest, 1 - 0.97 * largest]
    advantages = [sign * source.uniform(0.1, 3) for sign in (-1, 1, 1, -1)]
    pairs = [(ratio, advantage) for ratio in ratios for advantage in advantages]
    source.shuffle(pairs)
    ratio, advantage = torch.tensor(pairs).unbind(1)
    return ratio, advantage, (*clip_ranges, 0.0)


EXERCISE = Exercise("is_clipped", ("ratio", "advantage", "clip_range"), read_words(__file__))


@EXERCISE.check
def check_is_clipped(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `is_clipped(ratio, advantage, clip_range)`.

    It gets ratios and advantages, `[N]` each, and ε; it returns a boolean mask, `[N]`: where the
    clipped objective has no gradient any more.
    """
    if seed is None:
        ratio, advantage = torch.cartesian_prod(
            torch.tensor(RATIO), torch.tensor(ADVANTAGE)
        ).unbind(1)
        clip_ranges: tuple[float, ...] = CLIP_RANGES
    else:
        ratio, advantage, clip_ranges = drawn(seed)
    masks = [_mask(function, ratio, advantage, eps) for eps in clip_ranges]

    def facts(eps: float, truth: Tensor, mask: Tensor) -> list[str]:
        wrong = mask != truth
        first = int(wrong.nonzero()[0])
        r, a = ratio[first], advantage[first]
        return [
            f"  {int(wrong.sum())} of {len(ratio)} transitions are marked wrongly.",
            f"  Example: ratio = {r:g}, advantage = {a:g}, ε = {eps}.",
            f"  seen      {bool(mask[first])}",
            f"  expected  {bool(truth[first])}  ({_reason(r, a, eps)})",
        ]

    EXERCISE.compare(
        clip_ranges,
        masks,
        [MASKS],
        formula=lambda eps, values: values[0](ratio, advantage, eps),
        facts=facts,
    )
    _mask(function, ratio[:1], advantage[:1], clip_ranges[0])


def _mask(function: StudentCode, ratio: Tensor, advantage: Tensor, eps: float) -> Tensor:
    """The student's mask, `[N]`."""
    mask: Any = EXERCISE.call(function, ratio.clone(), advantage.clone(), eps)
    mistake, seen = None, ""
    if not isinstance(mask, Tensor):
        mistake = "no-tensor"
        if isinstance(mask, list | tuple):
            seen = f"a {type(mask).__name__} of {len(mask)}"
    elif list(mask.shape) != [len(ratio)] or mask.dtype != torch.bool:
        mistake = "numbers" if list(mask.shape) == [len(ratio)] else "shape"
        seen = describe(mask) + (f" of {mask.dtype}" if mask.dtype != torch.bool else "")
    EXERCISE.expect(mask, mistake, f"a tensor of shape [{len(ratio)}] of torch.bool", seen=seen)
    result: Tensor = mask
    return result


def _reason(ratio: Tensor, advantage: Tensor, eps: float) -> str:
    plain = float(ratio * advantage)
    clipped = float(ratio.clamp(1 - eps, 1 + eps) * advantage)
    if clipped == plain:
        return "the ratio is within the range"
    smaller = "clipped" if clipped < plain else "unclipped"
    return f"the products are {plain:.3g} and, clipped, {clipped:.3g}; the minimum is the {smaller}"
