"""The check of notebook 05's second exercise: an action to keep, and one for the environment."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import numbers, same
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb05_continuous.gaussians import WORDS, Gaussians, arguments, cases, extreme

RESULTS = ("action", "sent")
EXERCISE = Exercise("sample_action", ("mean", "log_std", "noise", "low", "high"), WORDS)


def _clip(action: Tensor, x: Gaussians) -> Tensor:
    return action.clamp(x.low, x.high)


# The noise, the mean, the action that is kept, and the one that is sent.
PARTS = (
    Part(
        lambda x: x.log_std.exp() * x.noise,
        {
            "not-scaled": lambda x: x.noise,
            "scaled-by-log-std": lambda x: x.log_std * x.noise,
            "scaled-by-variance": lambda x: (2 * x.log_std).exp() * x.noise,
            "no-noise": lambda x: torch.zeros_like(x.noise),
            "noise-subtracted": lambda x: -x.log_std.exp() * x.noise,
            "noise-clipped": lambda x: x.log_std.exp() * _clip(x.noise, x),
            "scaled-noise-clipped": lambda x: _clip(x.log_std.exp() * x.noise, x),
            "noise-squashed": lambda x: x.log_std.exp() * x.noise.tanh(),
            "noise-sign": lambda x: x.log_std.exp() * x.noise.sign(),
            "std-added": lambda x: x.log_std.exp() + x.noise,
        },
    ),
    Part(
        lambda x: x.mean,
        {
            "mean-missing": lambda x: torch.zeros_like(x.mean),
            "mean-clipped": lambda x: _clip(x.mean, x),
        },
    ),
    Part(
        lambda action, _x: action,
        {"kept-clipped": _clip, "kept-squashed": lambda action, _x: action.tanh()},
    ),
    Part(
        _clip,
        {
            "not-clipped": lambda action, _x: action,
            "minus-high": lambda action, x: action.clamp(-x.high, x.high),
            "low-missing": lambda action, x: action.clamp(max=x.high),
            "high-missing": lambda action, x: action.clamp(min=x.low),
            "bounds-of-1": lambda action, _x: action.clamp(-1, 1),
            "bounds-of-2": lambda action, _x: action.clamp(-2, 2),
            "one-bound~widest": lambda action, x: action.clamp(x.low.min(), x.high.max()),
            "one-bound~first": lambda action, x: action.clamp(x.low[0], x.high[0]),
            "one-bound~last": lambda action, x: action.clamp(x.low[-1], x.high[-1]),
            "bounds-exchanged": lambda action, x: action.clamp(x.high, x.low),
            "sent-squashed": lambda action, x: x.low + (x.high - x.low) * (action.tanh() + 1) / 2,
            "sent-squashed-to-1": lambda action, _x: action.tanh(),
            "sent-squashed-by-high": lambda action, x: x.high * action.tanh(),
            "sent-mean": lambda _action, x: _clip(x.mean, x),
            "sent-noise": lambda _action, x: _clip(x.noise, x),
            "sent-noise-clipped": lambda _a, x: x.mean + x.log_std.exp() * _clip(x.noise, x),
            "sent-scaled-clipped": lambda _a, x: x.mean + _clip(x.log_std.exp() * x.noise, x),
            "sent-mean-clipped": lambda _a, x: _clip(x.mean, x) + x.log_std.exp() * x.noise,
        },
    ),
)


def formula(case: Gaussians, values: Sequence[Any]) -> Tensor:
    """Both results side by side, `[2, N, D]`."""
    spread, mean, stored, sent = values
    action = mean(case) + spread(case)
    return torch.stack((stored(action, case), sent(action, case)))


@EXERCISE.check
def check_sample_action(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `sample_action(mean, log_std, noise, low, high)`.

    It gets N means of D components and standard normal noise, `[N, D]` each, the logarithms of
    the standard deviations and the bounds of the environment, `[D]` each. It returns the action
    as it is kept in the workspace and as it is sent to the environment, `[N, D]` each.
    """
    chosen = cases(seed)
    results = [_pair(function, case) for case in chosen]
    if not all(map(same, results, [_pair(function, case) for case in chosen])):
        raise EXERCISE.error("noise-of-its-own")
    rights = [formula(case, [part.right for part in PARTS]) for case in chosen]
    EXERCISE.refuse(all(map(same, [result.flip(0) for result in results], rights)), "order")

    def see(place: int) -> None:
        if not all(
            same(one[place], right[place]) for one, right in zip(results, rights, strict=True)
        ):
            raise EXERCISE.error("unknown")

    kept_and_sent = EXERCISE.partly(
        the_action_to_keep=lambda: see(0), the_action_to_send=lambda: see(1)
    )
    with kept_and_sent:
        EXERCISE.compare(chosen, results, PARTS, facts=_example, formula=formula)
        far = extreme()
        noise = _pair(function, far)[0] / far.log_std.exp()
        told = {"seen": f"{numbers(noise)} σ from the mean", "expected": numbers(far.noise)}
        EXERCISE.refuse(not same(noise, far.noise), "std-limited", **told)


def _pair(function: StudentCode, case: Gaussians) -> Tensor:
    """What the student's function returned, side by side, `[2, N, D]`."""
    result = EXERCISE.call(function, *arguments(EXERCISE, case).values())
    shape = list(case.mean.shape)
    expected = f"{' and '.join(RESULTS)}: two tensors of shape {shape}"
    for name, item in zip(RESULTS, EXERCISE.several(result, 2, "not-two", expected), strict=True):
        mistake = None
        if not isinstance(item, Tensor):
            mistake = "no-tensor"
        elif list(item.shape) != shape:
            mistake = "wrong-shape"
        elif not item.isfinite().all():
            raise EXERCISE.error("not-finite", part=name)
        EXERCISE.expect(result, mistake, expected, part=name)
    return torch.stack([item.detach() for item in result])


def _example(case: Gaussians, expected: Tensor, seen: Tensor) -> list[str]:
    """The first component that comes out wrong, in numbers to follow by hand."""
    wrong = ~torch.isclose(seen, expected, rtol=1e-4, atol=1e-5).all(0)
    n, d = wrong.nonzero()[0].tolist()
    (kept, sent), (mine, mine_sent) = expected[:, n, d].tolist(), seen[:, n, d].tolist()
    numbers = {"mean": case.mean[n, d], "log_std": case.log_std[d], "σ": case.log_std[d].exp()}
    numbers |= {"noise": case.noise[n, d], "low": case.low[d], "high": case.high[d]}
    told = ", ".join(f"{label} = {entry:.3g}" for label, entry in numbers.items())
    return [
        f"  Example: {told}.",
        f"  seen      action {mine:.4g}, sent {mine_sent:.4g}",
        f"  expected  action {kept:.4g}, sent {sent:.4g}",
    ]
