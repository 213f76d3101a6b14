"""The check of notebook 03's exercise: which transitions the clipped objective no longer moves."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    untouched_randomness,
)

#: (ratio, advantage, clip_range) → mask
IsClipped = Callable[[Tensor, Tensor, float], Tensor]

NAME = "is_clipped"

# Each of the known mistakes is wrong in at least one place. No ratio is at the edge of the range
# and no advantage is 0: there, both answers can be defended.
RATIO = (0.5, 0.75, 0.85, 0.95, 1.05, 1.15, 1.25, 1.5)
ADVANTAGE = (2.0, 0.5, -0.5, -2.0)
CLIP_RANGES = (0.2, 0.1, 0.4)


class Guess(NamedTuple):
    """A way to fill the mask; wrong ones say what is wrong, and where to look."""

    formula: Callable[[Tensor, Tensor, float], Tensor]
    wrong: str
    look: str


def right(r: Tensor, a: Tensor, eps: float) -> Tensor:
    """Where the clipped product is the smaller one, and so the one without gradient, `[N]`."""
    return ((a > 0) & (r > 1 + eps)) | ((a < 0) & (r < 1 - eps))


_PICTURE = "look at the picture: for each sign of the advantage, one side is flat and one is not"

MISTAKES = (
    Guess(
        lambda r, _a, eps: (r - 1).abs() > eps,
        "the advantage plays no part: every ratio outside the clip range is marked",
        "the minimum clips on one side only. " + _PICTURE[0].upper() + _PICTURE[1:],
    ),
    Guess(
        lambda r, a, eps: right(r, -a, eps),
        "the sides are swapped: marked is what went in the wrong direction",
        "a good action is stopped when it has become more probable, a bad one when less",
    ),
    Guess(
        lambda r, a, eps: ~right(r, a, eps),
        "the mask is inverted: marked is what still moves the policy",
        "True is for the flat parts of the picture",
    ),
    Guess(
        lambda r, _a, eps: (r - 1).abs() < eps,
        "marked is every ratio within the clip range",
        "within the range the objective has a slope; the flat parts lie outside, one for each sign",
    ),
    Guess(
        lambda r, a, eps: r * a > (1 + eps) * a,
        "the product is compared with the upper end of the range alone; for a negative advantage "
        "that turns the comparison round",
        "good actions are stopped above 1 + clip_range, bad ones below 1 − clip_range",
    ),
    Guess(
        lambda r, a, eps: (a > 0) & (r > 1 + eps),
        "bad actions (negative advantage) are never marked",
        "they are stopped below 1 − clip_range",
    ),
    Guess(
        lambda r, a, eps: (a < 0) & (r < 1 - eps),
        "good actions (positive advantage) are never marked",
        "they are stopped above 1 + clip_range",
    ),
    Guess(
        lambda r, _a, eps: r > 1 + eps,
        "only the upper end of the range is looked at, whatever the advantage",
        _PICTURE,
    ),
    Guess(
        lambda r, _a, eps: r < 1 - eps,
        "only the lower end of the range is looked at, whatever the advantage",
        _PICTURE,
    ),
    Guess(
        lambda r, a, _eps: ((a > 0) & (r > 1)) | ((a < 0) & (r < 1)),
        "the clip range plays no part: whatever has moved in its direction is marked",
        "within 1 ± clip_range the objective still has a slope",
    ),
    Guess(
        lambda r, a, eps: ((a > 0) & (r > eps)) | ((a < 0) & (r < -eps)),
        "the ratio is compared with the clip range itself",
        "the ratio is 1 where nothing changed: its range is [1 − clip_range, 1 + clip_range]",
    ),
    Guess(
        lambda r, _a, _eps: torch.zeros_like(r, dtype=torch.bool),
        "no transition is marked",
        "a good action whose ratio is far above 1 + clip_range must be",
    ),
    *(
        Guess(
            lambda r, a, _eps, fixed=fixed: right(r, a, fixed),  # type: ignore[misc]
            f"the clip range is always {fixed}, whatever the argument says",
            "the third argument, clip_range",
        )
        for fixed in CLIP_RANGES
    ),
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
    advantages = [sign * source.uniform(0.1, 3) for sign in (-1, 1, 1, -1)]
    pairs = [(ratio, advantage) for ratio in ratios for advantage in advantages]
    source.shuffle(pairs)
    ratio, advantage = torch.tensor(pairs).unbind(1)
    return ratio, advantage, clip_ranges


def check_is_clipped(function: IsClipped, *, seed: int | None = None) -> None:
    """Check a student's `is_clipped(ratio, advantage, clip_range)`.

    It gets ratios and advantages, `[N]` each, and ε; it returns a boolean mask, `[N]`: where the
    clipped objective has no gradient any more.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other transitions from it than the few that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    if seed is None:
        ratio, advantage = torch.cartesian_prod(
            torch.tensor(RATIO), torch.tensor(ADVANTAGE)
        ).unbind(1)
        clip_ranges: tuple[float, ...] = CLIP_RANGES
    else:
        ratio, advantage, clip_ranges = drawn(seed)
    with untouched_randomness():
        masks = {eps: _call(function, ratio, advantage, eps) for eps in clip_ranges}
    for eps, mask in masks.items():
        if not torch.equal(mask, right(ratio, advantage, eps)):
            raise _explain(ratio, advantage, eps, masks)
    if seed is None:
        print(
            "Well done! Good actions are stopped above the range, bad ones below it, and no other."
        )


def _call(function: IsClipped, ratio: Tensor, advantage: Tensor, eps: float) -> Tensor:
    """The student's mask, `[N]`."""
    given = ratio.clone(), advantage.clone()
    mask: Any = call(function, *given, eps, hint=_hint)
    if not torch.equal(given[0], ratio) or not torch.equal(given[1], advantage):
        raise not_right(
            NAME,
            "it changes its arguments, which the loop still needs",
            "functions whose name ends in an underscore, such as clamp_, and what is assigned "
            "with [...] =",
        )
    n = len(ratio)
    many = f"a {type(mask).__name__} of {len(mask)}" if isinstance(mask, list | tuple) else ""
    seen = f"  seen      {many or describe(mask)}"
    if isinstance(mask, Tensor) and mask.dtype != torch.bool:
        seen += f" of {mask.dtype}"
    expected = f"  expected  a tensor of shape [{n}] of torch.bool"
    if mask is None:
        raise not_right(NAME, "it returns nothing", "the last line: return …", seen, expected)
    if not isinstance(mask, Tensor):
        raise not_right(
            NAME,
            "it does not return a tensor",
            "a comparison of tensors is a tensor: no loop, .item() or if is needed",
            seen,
            expected,
        )
    if list(mask.shape) != [n]:
        raise not_right(
            NAME,
            "the mask has the wrong shape",
            "one entry for each transition, before any mean, sum or nonzero",
            seen,
            expected,
        )
    if mask.dtype != torch.bool:
        raise not_right(
            NAME,
            "the mask holds numbers, not truth values",
            "a comparison such as ratio > 1 + clip_range gives truth values; keep them",
            seen,
            expected,
        )
    return mask


def _explain(
    ratio: Tensor, advantage: Tensor, eps: float, masks: dict[float, Tensor]
) -> ExerciseError:
    """The error about masks of which that for `eps` is the first wrong one."""
    mask, truth = masks[eps], right(ratio, advantage, eps)
    wrong = mask != truth
    first = int(wrong.nonzero()[0])
    facts = [
        f"  Example: ratio = {ratio[first]:g}, advantage = {advantage[first]:g}, ε = {eps}.",
        f"  seen      {bool(mask[first])}",
        f"  expected  {bool(truth[first])}  ({_reason(ratio[first], advantage[first], eps)})",
    ]
    for guess in MISTAKES:
        if all(
            torch.equal(mask, guess.formula(ratio, advantage, eps)) for eps, mask in masks.items()
        ):
            return not_right(NAME, guess.wrong, guess.look, *facts)
    return not_right(
        NAME,
        f"{int(wrong.sum())} of {len(ratio)} transitions are marked wrongly, in a way that this "
        "check does not know",
        "follow the example through your function",
        *facts,
    )


def _reason(ratio: Tensor, advantage: Tensor, eps: float) -> str:
    plain = float(ratio * advantage)
    clipped = float(ratio.clamp(1 - eps, 1 + eps) * advantage)
    if clipped == plain:
        return "the ratio is within the range"
    smaller = "clipped" if clipped < plain else "unclipped"
    return f"the products are {plain:.3g} and, clipped, {clipped:.3g}; the minimum is the {smaller}"


def _hint(error: Exception) -> str:
    text = str(error)
    if "Boolean value of Tensor" in text:
        return "for tensors write & instead of `and`, | instead of `or`, and no `if`"
    if isinstance(error, TypeError) and "positional argument" in text:
        return "the function is called as is_clipped(ratio, advantage, clip_range)"
    if "unsupported operand" in text or "not implemented for" in text:
        return "& and | bind more strongly than > and <: put each comparison into parentheses"
    return ""
