"""The check of notebook 03's third exercise: the error of the critic, clipped or not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from ppo_bbrl.agents.base import Critic
from ppo_course.drawing import integer, source_of
from ppo_course.feedback import describe, number, same
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.workspaces import LentWorkspace

EXERCISE = Exercise("critic_objective", ("critic", "workspace", "cfg"), read_words(__file__))


class TableCritic(Critic):
    """Looks values up: state s is the s-th unit vector."""

    def __init__(self, values: Tensor) -> None:
        super().__init__("critic")
        self.table = nn.Parameter(values.clone())

    def value(self, obs: Tensor) -> Tensor:
        """V(s)."""
        return obs @ self.table


class Inputs(NamedTuple):
    """The symbols of the formula: `[N]` each, then numbers."""

    value: Tensor
    old: Tensor
    target: Tensor
    eps: float
    coef: float
    policy_eps: float


def _clipped(x: Inputs, eps: float) -> Tensor:
    return x.old + (x.value - x.old).clamp(-eps, eps)


def _larger(x: Inputs, near: Tensor) -> Tensor:
    plain = (x.value - x.target) ** 2
    return torch.max(plain, (near - x.target) ** 2) if x.eps > 0 else plain


ERRORS = Part(
    lambda x: _larger(x, _clipped(x, x.eps)),
    {
        "never-clipped": lambda x: (x.value - x.target) ** 2,
        "clipped-alone": lambda x: (
            (_clipped(x, x.eps) - x.target) ** 2 if x.eps > 0 else (x.value - x.target) ** 2
        ),
        "clipped-at-0": lambda x: torch.max(
            (x.value - x.target) ** 2, (_clipped(x, x.eps) - x.target) ** 2
        ),
        "clipped-below-0": lambda x: (
            torch.max((x.value - x.target) ** 2, (_clipped(x, x.eps) - x.target) ** 2)
            if x.eps
            else (x.value - x.target) ** 2
        ),
        "clipped-alone-at-0": lambda x: (_clipped(x, x.eps) - x.target) ** 2,
        "smaller-error": lambda x: (
            torch.min((x.value - x.target) ** 2, (_clipped(x, x.eps) - x.target) ** 2)
            if x.eps > 0
            else (x.value - x.target) ** 2
        ),
        "around-1": lambda x: _larger(x, x.old + (x.value - x.old).clamp(1 - x.eps, 1 + x.eps)),
        "change-forgotten": lambda x: _larger(x, (x.value - x.old).clamp(-x.eps, x.eps)),
        "value-itself": lambda x: _larger(x, x.value.clamp(-x.eps, x.eps)),
        "range-of-policy": lambda x: _larger(x, _clipped(x, x.policy_eps)),
        "above-only": lambda x: _larger(x, x.old + (x.value - x.old).clamp(max=x.eps)),
        "below-only": lambda x: _larger(x, x.old + (x.value - x.old).clamp(min=-x.eps)),
        "clipped-not-squared": lambda x: (
            torch.max((x.value - x.target) ** 2, _clipped(x, x.eps) - x.target)
            if x.eps > 0
            else (x.value - x.target) ** 2
        ),
        "absolute": lambda x: (x.value - x.target).abs(),
        "not-squared": lambda x: x.value - x.target,
        "old-value": lambda x: (x.old - x.target) ** 2,
        "to-old-value": lambda x: (x.value - x.old) ** 2,
    },
)
REDUCTIONS = Part(
    lambda e, _x: e.mean(),
    {"sum": lambda e, _x: e.sum(), "half": lambda e, _x: e.mean() / 2},
)
COEFFICIENTS = Part(
    lambda x: x.coef,
    {"no-coef": lambda _: 1.0, "coef-twice": lambda x: x.coef**2, "sign": lambda x: -x.coef},
)
PARTS = (ERRORS, REDUCTIONS, COEFFICIENTS)


def formula(x: Inputs, values: Sequence[Any]) -> Tensor:
    """What a value of each part gives."""
    error, reduce, coefficient = values
    result: Tensor = coefficient(x) * reduce(error(x), x)
    return result


class Case:
    """Transitions whose values moved within the range and out of it, towards the target or away."""

    def __init__(self, source: torch.Generator, n: int, eps: float, coef: float) -> None:
        side = torch.arange(n)
        width = eps if eps > 0 else 0.3
        size = torch.where(side % 2 == 0, 1.6, 0.5) + 0.3 * torch.rand(n, generator=source)
        change = torch.where((side // 2) % 2 == 0, width * size, -width * size)
        old = 2 + torch.randn(n, generator=source)
        away = (side // 4) % 2 == 0
        distance = 0.7 + torch.rand(n, generator=source)
        self.value = old + change
        towards = torch.where(away, -change.sign(), change.sign())
        self.old, self.target = old, old + towards * distance
        self.eps, self.coef = eps, coef
        self.critic = TableCritic(self.value).with_prefix("critic/")

    def call(self, function: StudentCode) -> Any:
        """What a student's function returns."""
        workspace = LentWorkspace(capacity=1)
        given = {
            "env/env_obs": torch.eye(len(self.old)),
            "old_critic/v_values": self.old.clone(),
            "critic_target": self.target.clone(),
        }
        for name, tensor in given.items():
            workspace.set(name, 0, tensor)
        algorithm = {
            "clip_range_vf": self.eps,
            "critic_coef": self.coef,
            "clip_range": 0.11,
            "policy_coef": 1,
        }
        cfg = OmegaConf.create({"algorithm": algorithm})
        result = EXERCISE.call(function, self.critic, workspace, cfg)
        for name, tensor in given.items():
            changed = not torch.equal(workspace.get(name, 0), tensor)
            EXERCISE.refuse(changed, "changes-variable", variable=name)
        return result

    def inputs(self) -> Inputs:
        """With the gradient of the value."""
        return Inputs(self.critic.table, self.old, self.target, self.eps, self.coef, 0.11)


def cases(seed: int | None) -> list[Case]:
    """One that is not clipped, two that are, one with the coefficient 0, and a range below 0."""
    source = source_of(seed)
    rest = torch.rand(4, generator=source).tolist()
    return [
        Case(source, 8 + integer(source, 0, 8), eps, coef)
        for eps, coef in (
            (0.0, 0.4 + 0.3 * rest[0]),
            (0.25 + 0.2 * rest[1], 1.3 + rest[2]),
            (0.6 + 0.2 * rest[3], 0.8),
            (0.4, 0.0),
            (-0.3, 0.9),
        )
    ]


@torch.enable_grad()
@EXERCISE.check
def check_critic_objective(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `critic_objective(critic, workspace, cfg)`.

    It gets a workspace with one row of N transitions: `env/env_obs`, `old_critic/v_values` and
    `critic_target`. It returns the mean squared error of the critic, a scalar to be minimised.
    """
    given = cases(seed)
    off, on = [given[0], given[-1]], given[1:-1]
    with EXERCISE.partly(
        without_clipping=lambda: _check(function, off),
        with_clipping=lambda: _check(function, on),
    ):
        _check(function, given)


def _check(function: StudentCode, given: Sequence[Case]) -> None:
    results = [case.call(function) for case in given]
    for case, result in zip(given, results, strict=True):
        n = len(case.old)
        mistake = None
        if not isinstance(result, Tensor):
            mistake = "plain-number" if isinstance(result, int | float) else "no-tensor"
        elif result.dim():
            mistake = "no-mean" if result.numel() == n else "no-scalar"
        EXERCISE.expect(result, mistake, "a scalar tensor", seen=describe(result))

    def facts(x: Inputs, expected: Tensor, seen: Tensor) -> list[str]:
        told = f"clip_range_vf = {x.eps:.3g}, critic_coef = {x.coef:.3g}"
        first = [f"{t[0].item():.3g}" for t in (x.value, x.old, x.target)]
        return [
            f"  {len(x.old)} transitions, {told}; in the first one,",
            f"  the value is {first[0]}, the old value {first[1]}, the target {first[2]}.",
            f"  seen      {number(seen)}",
            f"  expected  {number(expected)}",
        ]

    EXERCISE.compare(
        [case.inputs() for case in given], results, PARTS, facts=facts, formula=formula
    )
    for case, result in zip(given, results, strict=True):
        EXERCISE.refuse(not result.requires_grad, "no-gradient")
        (found,) = torch.autograd.grad(result, [case.critic.table], allow_unused=True)
        EXERCISE.refuse(found is None, "no-gradient")
        right = formula(case.inputs(), [part.right for part in PARTS])
        (truth,) = torch.autograd.grad(right, [case.critic.table])
        EXERCISE.refuse(not same(found, truth), "gradient")
