"""The check of notebook 11's sixth step: the numbers that tell whether an update was healthy."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import describe
from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.cases import batch_of, config, settings_of
from ppo_course.nb11_write_ppo.exercise import OwnCode, lent
from ppo_course.one_number import as_number, compare_numbers

EXERCISE = OwnCode("diagnostics", ("policy", "critic", "batch", "cfg"))


class Facts(NamedTuple):
    """What the numbers are made of, `[N]` each."""

    log_ratio: Tensor
    entropy: Tensor
    value: Tensor
    target: Tensor
    advantage: Tensor
    eps: float

    def tell(self) -> list[str]:
        """The example in a message."""
        return [f"  {len(self.value)} transitions, clip_range = {self.eps:.3g}:"]


def _share(x: Tensor) -> float:
    return float(x.float().mean())


def _moved_out(f: Facts) -> Tensor:
    return (f.log_ratio.exp() - 1).abs() > f.eps


NUMBERS = {
    "entropy": Part(
        lambda f: f.entropy.mean(),
        {"entropy-negative": lambda f: -f.entropy.mean(), "summed": lambda f: f.entropy.sum()},
    ),
    "kl": Part(
        lambda f: (f.log_ratio.exp() - 1 - f.log_ratio).mean(),
        {
            "kl-of-log-ratio": lambda f: -f.log_ratio.mean(),
            "kl-negative": lambda f: (f.log_ratio - f.log_ratio.exp() + 1).mean(),
            "kl-sign-of-log": lambda f: f.log_ratio.mean(),
            "kl-half-square": lambda f: f.log_ratio.square().mean() / 2,
            "kl-upside-down": lambda f: ((-f.log_ratio).exp() - 1 + f.log_ratio).mean(),
            "kl-no-one": lambda f: (f.log_ratio.exp() - f.log_ratio).mean(),
        },
    ),
    "clipped": Part(
        lambda f: _share(_moved_out(f)),
        {
            "clipped-inside": lambda f: 1 - _share(_moved_out(f)),
            "clipped-above-only": lambda f: _share(f.log_ratio.exp() > 1 + f.eps),
            "clipped-below-only": lambda f: _share(f.log_ratio.exp() < 1 - f.eps),
            "clipped-of-log": lambda f: _share(f.log_ratio.abs() > f.eps),
            "clipped-count": lambda f: float(_moved_out(f).sum()),
            "clipped-around-0": lambda f: _share(f.log_ratio.exp() > f.eps),
            "clipped-with-gradient": lambda f: _share(
                _moved_out(f) & (f.log_ratio * f.advantage > 0)
            ),
            "clipped-fixed": lambda f: _share((f.log_ratio.exp() - 1).abs() > 0.2),
        },
    ),
    "explained_variance": Part(
        lambda f: 1 - (f.target - f.value).var() / f.target.var(),
        {
            "unexplained": lambda f: (f.target - f.value).var() / f.target.var(),
            "of-squares": lambda f: 1 - (f.target - f.value).square().mean() / f.target.var(),
            "values-variance": lambda f: 1 - (f.target - f.value).var() / f.value.var(),
            "variance-ratio": lambda f: f.value.var() / f.target.var(),
            "deviations": lambda f: 1 - (f.target - f.value).std() / f.target.std(),
        },
    ),
}


@torch.enable_grad()
@EXERCISE.check
def check_diagnostics(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `diagnostics(policy, critic, batch, cfg)`.

    It returns a dict of plain numbers: entropy, kl, clipped and explained_variance.
    """
    EXERCISE.own(function)
    settings = settings_of(100 if seed is None else seed)
    facts, results = [], []
    with lent(function, besides=("diagnostics",)):
        more = 500 if seed is None else 500 + seed
        for draw, bad in ((seed, False), (more, False), (seed, True)):
            batch, policy, critic = batch_of(draw)
            if bad:  # a critic that explains less than nothing
                batch["target"] = 0.1 * batch["advantage"] - batch["target"]
            result: Any = EXERCISE.call(function, policy, critic, dict(batch), config(settings))
            good = isinstance(result, dict) and set(NUMBERS) <= set(result)
            expected = f"a dict with {', '.join(NUMBERS)}"
            seen = f"a dict with {', '.join(map(str, result))}" if isinstance(result, dict) else ""
            EXERCISE.expect(result, None if good else "no-dict", expected, seen=seen)
            for name, number in result.items():
                carries = isinstance(number, Tensor) and number.requires_grad
                EXERCISE.refuse(carries, "number-with-gradient", what=name, seen=describe(number))
            with torch.no_grad():
                log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
                value = critic(batch["obs"])
            difference = log_prob - batch["log_prob"]
            facts.append(
                Facts(
                    difference,
                    entropy,
                    value,
                    batch["target"],
                    batch["advantage"],
                    settings.clip_range,
                )
            )
            results.append(result)

    def see(name: str) -> None:
        read = [as_number(EXERCISE, result[name], name) for result in results]
        compare_numbers(EXERCISE, facts, read, NUMBERS[name])

    with EXERCISE.partly(**{name: partial(see, name) for name in NUMBERS}):
        for name in NUMBERS:
            see(name)
