"""The check of notebook 02b's fifth exercise: what the minimum takes away from the objective."""

from typing import Any

import torch
from torch import Tensor

from ppo_course.drawing import source_of
from ppo_course.feedback import describe
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS

EXERCISE = Exercise("clipping_gap", ("ratio", "advantage", "clip_range"), WORDS)
RATIO = (0.25, 0.5, 0.75, 0.95, 1.05, 1.25, 1.5, 2.0, 6.0)
ADVANTAGE = (2.0, 0.5, -0.5, -2.0)
CLIP_RANGES = (0.2, 0.1, 0.4, 0.0)


def _clip(r: Tensor, eps: float) -> Tensor:
    return r.clamp(1 - eps, 1 + eps)


def right(r: Tensor, a: Tensor, eps: float) -> Tensor:
    """The unclipped objective minus that with the minimum, `[N]`; never negative."""
    return r * a - torch.min(r * a, _clip(r, eps) * a)


GAPS = Part(
    right,
    {
        "sign": lambda r, a, eps: -right(r, a, eps),
        "clip-only": lambda r, a, eps: r * a - _clip(r, eps) * a,
        "clip-only-absolute": lambda r, a, eps: (r * a - _clip(r, eps) * a).abs(),
        "maximum": lambda r, a, eps: r * a - torch.max(r * a, _clip(r, eps) * a),
        "maximum-sign": lambda r, a, eps: torch.max(r * a, _clip(r, eps) * a) - r * a,
        "minimum-itself": lambda r, a, eps: torch.min(r * a, _clip(r, eps) * a),
        "of-ratios": lambda r, _a, eps: r - torch.min(r, _clip(r, eps)),
        "of-ratios-times": lambda r, a, eps: (r - torch.min(r, _clip(r, eps))) * a,
        "from-above-only": lambda r, a, eps: r * a - torch.min(r * a, r.clamp(max=1 + eps) * a),
        "from-below-only": lambda r, a, eps: r * a - torch.min(r * a, r.clamp(min=1 - eps) * a),
        "around-0": lambda r, a, eps: r * a - torch.min(r * a, r.clamp(-eps, eps) * a),
        "ratio-from-1": lambda r, a, eps: (r - 1) * a - torch.min(r * a, _clip(r, eps) * a),
        "product-clipped": lambda r, a, eps: r * a - torch.min(r * a, _clip(r * a, eps)),
        "no-advantage": lambda r, a, eps: right(r, a.sign(), eps),
        "range-fixed~0.2": lambda r, a, _eps: right(r, a, 0.2),
        "range-fixed~0.1": lambda r, a, _eps: right(r, a, 0.1),
    },
)


def drawn(seed: int | None) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Ratios and advantages, `[N]`, and clip ranges."""
    if seed is None:
        pairs = torch.cartesian_prod(torch.tensor(RATIO), torch.tensor(ADVANTAGE))
        return pairs[:, 0], pairs[:, 1], CLIP_RANGES
    source = source_of(seed)
    ratio = 0.2 + 1.8 * torch.rand(40, generator=source)
    ratio[:2] = 6.0
    advantage = 2 * torch.randn(40, generator=source)
    eps = (0.1 + 0.25 * torch.rand(2, generator=source)).tolist()
    advantage[:2] = torch.tensor([1.0, -1.0])
    return ratio, advantage, (*(round(each, 3) for each in eps), 0.0)


@torch.enable_grad()
@EXERCISE.check
def check_clipping_gap(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `clipping_gap(ratio, advantage, clip_range)`.

    It gets ratios and advantages, `[N]`, and ε; it returns r A minus the minimum of r A and
    clip(r) A, `[N]`.
    """
    ratio, advantage, clip_ranges = drawn(seed)
    results = [
        _read(EXERCISE.call(function, ratio.clone(), advantage.clone(), eps), len(ratio))
        for eps in clip_ranges
    ]

    def facts(eps: float, truth: Tensor, seen: Tensor) -> list[str]:
        n = int((~torch.isclose(truth, seen, rtol=1e-4, atol=1e-5)).nonzero()[0])
        r, a = ratio[n], advantage[n]
        clipped = r.clamp(1 - eps, 1 + eps)
        return [
            f"  Example: ratio = {r:.3g}, advantage = {a:.3g}, ε = {eps:g}: the unclipped product",
            f"  is {r * a:.3g}, the clipped one {clipped * a:.3g}.",
            f"  seen      {seen[n]:.3g}",
            f"  expected  {truth[n]:.3g}",
        ]

    EXERCISE.compare(
        clip_ranges,
        results,
        [GAPS],
        formula=lambda eps, values: values[0](ratio, advantage, eps),
        facts=facts,
    )


def _read(result: Any, n: int) -> Tensor:
    mistake = None
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    elif list(result.shape) != [n]:
        mistake = "mean-taken" if result.numel() == 1 else "shape"
    EXERCISE.expect(result, mistake, f"a tensor of shape {[n]}", seen=describe(result))
    gap: Tensor = result.detach().float()
    return gap
