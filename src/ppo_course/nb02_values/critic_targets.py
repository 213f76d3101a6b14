"""The check of notebook 02's last exercise: the mended targets of a critic."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb02_values.estimates import Estimate
from ppo_course.nb02_values.lambda_return import CUTS as CUTS_OF_RETURNS
from ppo_course.nb02_values.lambda_return import TERMINAL
from ppo_course.nb02_values.trajectories import Episodes

# Which of the T steps are left in.
ROWS = Part(
    lambda x: ~x.done[:-1],
    {
        "resets-kept": lambda x: torch.ones_like(x.valid),
        "by-done-of-next": lambda x: ~x.done[1:],
        "truncations-kept": lambda x: ~x.terminated[:-1],
        "no-last-transition": lambda x: ~x.done[:-1] & ~x.done[1:],
    },
)


CUTS = Part(CUTS_OF_RETURNS.right, {**CUTS_OF_RETURNS.wrong, "done-row-off": lambda x: x.done[:-1]})

OBSERVATIONS = Part(
    lambda observations: observations[:-1],
    {"observation-after": lambda observations: observations[1:]},
)

NEXT_VALUES = Part(
    lambda x: x.value[1:],
    {
        # Of who leaves out the last rows before looking for the next one.
        "value-after-reset": lambda x: torch.where(
            x.done[1:], torch.cat((x.value[2:], x.value[-1:])), x.value[1:]
        )
    },
)

RESULTS = Part(lambda target, _value: target, {"advantages": lambda target, value: target - value})


def targets(case: Episodes, values: Sequence[Any]) -> dict[int, float]:
    """Observation → target, as a value of each part gives them."""
    terminal, cut, rows, next_value, of_rows, result, by_environment = values
    if not by_environment:
        return _one_behind_the_other(case)
    aligned = case.aligned() | {
        "next_value": next_value(case),
        "terminated": terminal(case),
        "done": cut(case),
    }
    advantage = gae(**aligned, discount_factor=case.discount_factor, gae_lambda=case.gae_lambda)
    value = aligned["value"]
    target = result(lambda_returns(advantage=advantage, value=value), value)
    kept = rows(case)
    observations = of_rows(_observations(case))[kept]
    return dict(zip(observations.tolist(), target[kept].tolist(), strict=True))


def _observations(case: Episodes) -> Tensor:
    """Those of all rows, `[T + 1, B]`; each is another number."""
    observations: Tensor = case.workspace()["env/env_obs"]  # type: ignore[assignment]
    return observations


def _one_behind_the_other(case: Episodes) -> dict[int, float]:
    """Observation → target, where `gae` runs over what get_transitions() gives, `[N]`."""
    transitions = case.workspace().get_transitions()
    value = transitions.get("critic/v_values", 0)
    advantage = gae(
        reward=transitions.get("env/reward", 1),
        value=value,
        next_value=transitions.get("critic/v_values", 1),
        terminated=transitions.get("env/terminated", 1),
        done=transitions.get("env/done", 1),
        discount_factor=case.discount_factor,
        gae_lambda=case.gae_lambda,
    )
    target = lambda_returns(advantage=advantage, value=value)
    starts = transitions.get("env/env_obs", 0)
    return dict(zip(starts.tolist(), target.tolist(), strict=True))


BY_ENVIRONMENT = Part(True, {"one-behind-the-other": False})
PARTS = (TERMINAL, CUTS, ROWS, NEXT_VALUES, OBSERVATIONS, RESULTS, BY_ENVIRONMENT)


class _Targets(Estimate):
    """Results are observation → target."""

    def read(self, result: Any, case: Episodes) -> dict[int, float]:
        """What was returned, if it is two tensors `[N]`."""
        expected = "2 values: observations and targets, a tensor of shape [N] each"
        self.expect(result, _malformed(result), expected)
        observations, target = result
        found = dict(zip(observations.long().tolist(), target.tolist(), strict=True))
        self.expect(result, "repeated" if len(found) < len(observations) else None, expected)
        return found

    def agree(self, case: Episodes, one: dict[int, float], other: dict[int, float]) -> bool:
        """Whether they have the same observations, with the same targets up to rounding."""
        return one.keys() == other.keys() and all(abs(one[key] - other[key]) < 1e-3 for key in one)

    def facts(
        self, case: Episodes, expected: dict[int, float], seen: dict[int, float]
    ) -> list[str]:
        """How many transitions there are, and an environment with a wrong one."""
        facts = [f"  {len(seen)} transitions seen, {len(expected)} expected."]
        starts = _observations(case)[:-1].flatten().tolist()
        grids = [
            torch.tensor([table.get(number, math.nan) for number in starts]).view_as(case.valid)
            for table in (expected, seen)
        ]
        if any(key not in seen or abs(seen[key] - expected[key]) >= 1e-3 for key in expected):
            facts += super().facts(case, *grids)
        return facts


def _malformed(result: Any) -> str | None:
    """What is wrong with the form of a result, if anything is."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        return "not-two"
    observations, target = result
    if not isinstance(observations, Tensor) or not isinstance(target, Tensor):
        return "no-tensors"
    if observations.shape != target.shape or observations.dim() != 1:
        return "not-one-row"
    # Observations are numbers of rows: whole ones, whatever their type.
    if not target.is_floating_point() or not bool((observations == observations.long()).all()):
        return "exchanged"
    return None if target.isfinite().all() else "not-finite"


ARGUMENTS = ("workspace", "discount_factor", "gae_lambda")
EXERCISE = _Targets("critic_targets", ARGUMENTS, PARTS, targets, to_mend=2)


@EXERCISE.check
def check_critic_targets(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `critic_targets(workspace, discount_factor, gae_lambda)`.

    The workspace has T rows of B environments: `env/env_obs`, `env/reward`, `env/terminated`,
    `env/truncated`, `env/done` and `critic/v_values`. The function returns the observations in
    which the N transitions start, and their λ-returns, `[N]` each, in any order.
    """
    EXERCISE.try_out(function, seed)
