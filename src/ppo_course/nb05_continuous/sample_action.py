"""The check of notebook 05's second exercise: an action to keep, and one for the environment."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import describe, not_right, same, untouched_randomness
from ppo_course.nb05_continuous.gaussians import Choice, Gaussians, cases, compare, run

NAME = "sample_action"
ARGUMENTS = ("mean", "log_std", "noise", "low", "high")
RESULTS = ("action", "sent")

#: (mean [N, D], log_std [D], noise [N, D], low [D], high [D]) → action, sent, [N, D] each
SampleAction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

# The right one comes first.

SPREADS = (
    Choice(lambda x: x.log_std.exp() * x.noise),
    Choice(
        lambda x: x.noise,
        "the noise is not scaled: the standard deviation plays no part",
        "σ × noise, with σ = log_std.exp()",
    ),
    Choice(
        lambda x: x.log_std * x.noise,
        "the noise is scaled by log_std, which is the logarithm of σ",
        "σ is log_std.exp()",
    ),
    Choice(
        lambda x: (2 * x.log_std).exp() * x.noise,
        "the noise is scaled by the variance σ², not by σ",
        "σ × noise",
    ),
    Choice(
        lambda x: torch.zeros_like(x.noise),
        "there is no noise: the action is the mean",
        "μ + σ × noise",
    ),
    Choice(
        lambda x: -x.log_std.exp() * x.noise,
        "the noise is subtracted",
        "this has the same distribution, but the exercise asks for μ + σ × noise",
    ),
    Choice(
        lambda x: x.log_std.exp() * x.noise.clamp(x.low, x.high),
        "the noise is clipped, too",
        "noise may be as large as it is; only what is sent is clipped, at the very end",
    ),
    Choice(
        lambda x: (x.log_std.exp() * x.noise).clamp(x.low, x.high),
        "σ × noise is clipped before the mean is added",
        "only the whole action is clipped, and only the one that is sent",
    ),
    Choice(
        lambda x: x.log_std.exp() * x.noise.tanh(),
        "the noise is squashed by tanh",
        "σ × noise, as it is",
    ),
    Choice(
        lambda x: x.log_std.exp() * x.noise.sign(),
        "only the sign of the noise counts",
        "σ × noise, as it is",
    ),
    Choice(
        lambda x: x.log_std.exp() + x.noise,
        "σ is added to the noise, not multiplied by it",
        "σ × noise",
    ),
)
MEANS = (
    Choice(lambda x: x.mean),
    Choice(
        lambda x: torch.zeros_like(x.mean),
        "the mean is missing",
        "μ + σ × noise",
    ),
    Choice(
        lambda x: x.mean.clamp(x.low, x.high),
        "the mean is clipped before the noise is added",
        "the Gaussian knows no bounds; only what is sent is clipped, at the very end",
    ),
)


def _clip(action: Tensor, x: Gaussians) -> Tensor:
    return action.clamp(x.low, x.high)


def _squash(action: Tensor, x: Gaussians) -> Tensor:
    return x.low + (x.high - x.low) * (action.tanh() + 1) / 2


_KEEP = (
    "what is kept is the sample itself: the log-probability of the Gaussian belongs to it, and to "
    "nothing that was made of it"
)
STORED = (
    Choice(lambda action, _x: action),
    Choice(
        _clip,
        "the action that is kept is clipped as well",
        _KEEP,
    ),
    Choice(
        lambda action, _x: action.tanh(),
        "the action that is kept is squashed by tanh",
        _KEEP,
    ),
)
ONE_BOUND = (
    "the bounds of one component are used for all",
    "torch.clamp takes the tensors low and high as they are, [D]",
)
SENT = (
    Choice(_clip),
    Choice(
        lambda action, _x: action,
        "what is sent to the environment is not clipped",
        "torch.clamp(action, low, high)",
    ),
    Choice(
        lambda action, x: action.clamp(-x.high, x.high),
        "what is sent is clipped to −high … high",
        "the lower bound is an argument of its own, low",
    ),
    Choice(
        lambda action, x: action.clamp(max=x.high),
        "the lower bound plays no part in what is sent",
        "torch.clamp(action, low, high)",
    ),
    Choice(
        lambda action, x: action.clamp(min=x.low),
        "the upper bound plays no part in what is sent",
        "torch.clamp(action, low, high)",
    ),
    Choice(
        lambda action, _x: action.clamp(-1, 1),
        "what is sent is clipped to −1 … 1, whatever the bounds",
        "the bounds are the arguments low and high",
    ),
    Choice(
        lambda action, _x: action.clamp(-2, 2),
        "what is sent is clipped to −2 … 2, which fits the pendulum alone",
        "the bounds are the arguments low and high",
    ),
    Choice(lambda action, x: action.clamp(x.low.min(), x.high.max()), *ONE_BOUND),
    Choice(lambda action, x: action.clamp(x.low[0], x.high[0]), *ONE_BOUND),
    Choice(lambda action, x: action.clamp(x.low[-1], x.high[-1]), *ONE_BOUND),
    Choice(
        lambda action, x: action.clamp(x.high, x.low),
        "the two bounds are exchanged",
        "torch.clamp takes the lower bound first",
    ),
    Choice(
        _squash,
        "what is sent is squashed by tanh, not clipped",
        "this is how SAC does it, which then corrects the log-probability; here: torch.clamp",
    ),
    Choice(
        lambda action, _x: action.tanh(),
        "what is sent is squashed to −1 … 1 by tanh",
        "this is how SAC begins, which then scales it and corrects the log-probability; here: "
        "torch.clamp",
    ),
    Choice(
        lambda action, x: x.high * action.tanh(),
        "what is sent is high × tanh, whatever low is",
        "torch.clamp(action, low, high)",
    ),
    Choice(
        lambda _action, x: _clip(x.mean, x),
        "what is sent is the clipped mean, without noise",
        "clip the action that was sampled",
    ),
    Choice(
        lambda _action, x: _clip(x.noise, x),
        "what is sent is the clipped noise",
        "clip the action that was sampled: torch.clamp(action, low, high)",
    ),
    Choice(
        lambda _action, x: x.mean + x.log_std.exp() * _clip(x.noise, x),
        "for what is sent the noise is clipped, and not the action",
        "clip the whole action, at the very end: torch.clamp(action, low, high)",
    ),
    Choice(
        lambda _action, x: x.mean + _clip(x.log_std.exp() * x.noise, x),
        "for what is sent σ × noise is clipped, and not the action",
        "clip the whole action, at the very end: torch.clamp(action, low, high)",
    ),
    Choice(
        lambda _action, x: _clip(x.mean, x) + x.log_std.exp() * x.noise,
        "for what is sent the mean is clipped, and the noise added after",
        "clip the whole action, at the very end: torch.clamp(action, low, high)",
    ),
)
PARTS = (SPREADS, MEANS, STORED, SENT)


def formula(case: Gaussians, values: Sequence[Any]) -> Tensor:
    """Both results side by side, `[2, N, D]`."""
    spread, mean, stored, sent = values
    action = mean(case) + spread(case)
    return torch.stack((stored(action, case), sent(action, case)))


def check_sample_action(function: SampleAction, *, seed: int | None = None) -> None:
    """Check a student's `sample_action(mean, log_std, noise, low, high)`.

    It gets N means of D components and standard normal noise, `[N, D]` each, the logarithms of
    the standard deviations and the bounds of the environment, `[D]` each. It returns the action
    as it is kept in the workspace and as it is sent to the environment, `[N, D]` each.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other numbers from it than the few that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness():
        chosen = cases(seed)
        results = [_pair(function, case) for case in chosen]
        again = [_pair(function, case) for case in chosen]
        if not all(map(same, results, again)):
            raise not_right(
                NAME,
                "the same arguments give other actions the second time: it draws noise of its own",
                "the noise comes as the third argument; no torch.randn, Normal or .sample()",
            )
        _check_order(chosen, results)
        compare(NAME, chosen, results, PARTS, formula=formula, example=_example)
    if seed is None:
        print("Well done! The sample is kept as it is, and the environment gets what it can take.")


def _pair(function: SampleAction, case: Gaussians) -> Tensor:
    """What the student's function returned, side by side, `[2, N, D]`."""
    result, _ = run(function, NAME, case, ARGUMENTS)
    shape = list(case.mean.shape)
    facts = (
        f"  seen      {describe(result)}",
        f"  expected  {' and '.join(RESULTS)}: two tensors of shape {shape}",
    )
    last_line = f"the last line: return {', '.join(RESULTS)}"
    if result is None:
        raise not_right(NAME, "it returns nothing", last_line, *facts)
    if not isinstance(result, tuple | list) or len(result) != len(RESULTS):
        raise not_right(NAME, "it does not return two things", last_line, *facts)
    for name, item in zip(RESULTS, result, strict=True):
        if not isinstance(item, Tensor):
            raise not_right(NAME, f"{name} is no tensor", f"how {name} is made", *facts)
        if list(item.shape) != shape:
            look = "[N, D] and [D] go together component by component: nothing is summed here"
            raise not_right(NAME, f"{name} has the wrong shape", look, *facts)
        if not item.isfinite().all():
            look = "log_std is log σ already, and may be negative: it has no logarithm"
            raise not_right(NAME, f"{name} holds inf or NaN", look)
    return torch.stack([item.detach() for item in result])


def _check_order(chosen: Sequence[Gaussians], results: Sequence[Tensor]) -> None:
    """Whether both are right, and exchanged."""
    values = [part[0].value for part in PARTS]
    if all(
        same(result.flip(0), formula(case, values))
        for case, result in zip(chosen, results, strict=True)
    ):
        raise not_right(
            NAME,
            "the two results come in the wrong order: the clipped action is first",
            f"return {', '.join(RESULTS)}: first what is kept, then what is sent",
        )


def _example(case: Gaussians, expected: Tensor, seen: Tensor) -> list[str]:
    """The first component that comes out wrong, in numbers to follow by hand."""
    wrong = ~torch.isclose(seen, expected, rtol=1e-4, atol=1e-5).all(0)
    n, d = wrong.nonzero()[0].tolist()
    kept, sent = expected[:, n, d].tolist()
    mine, mine_sent = seen[:, n, d].tolist()
    numbers = (
        ("mean", case.mean[n, d]),
        ("log_std", case.log_std[d]),
        ("σ", case.log_std[d].exp()),
        ("noise", case.noise[n, d]),
        ("low", case.low[d]),
        ("high", case.high[d]),
    )
    return [
        "  Example: " + ", ".join(f"{label} = {entry:.3g}" for label, entry in numbers) + ".",
        f"  seen      action {mine:.4g}, sent {mine_sent:.4g}",
        f"  expected  action {kept:.4g}, sent {sent:.4g}",
    ]
