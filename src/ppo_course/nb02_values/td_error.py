"""The check of notebook 02's first exercise: the TD errors of a workspace."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb02_values.estimates import Estimate
from ppo_course.nb02_values.trajectories import Episodes

REWARDS = Part(lambda x: x.reward[1:], {"reward-of-row-before": lambda x: x.reward[:-1]})

# What is left of the next value.
MASKS = Part(
    lambda x: ~x.terminated[1:],
    {
        "value-of-terminal": lambda x: torch.ones_like(x.terminated[1:]),
        "no-value-at-truncation": lambda x: ~x.done[1:],
        "masked-by-truncated": lambda x: ~x.truncated[1:],
        "mask-inverted": lambda x: x.terminated[1:],
    },
)

# (reward, γ, mask, V(s_t), V(s_{t+1})) → TD error
COMBINATIONS = Part(
    lambda r, g, m, v, w: r + g * m * w - v,
    {
        "no-discount": lambda r, _g, m, v, w: r + m * w - v,
        "reward-discounted": lambda r, g, m, v, w: g * (r + m * w) - v,
        "value-discounted": lambda r, g, m, v, w: r + g * (m * w - v),
        "reward-masked": lambda r, g, m, v, w: m * (r + g * w) - v,
        "last-error-0": lambda r, g, m, v, w: m * (r + g * w - v),
        "value-not-subtracted": lambda r, g, m, _v, w: r + g * m * w,
        "sign": lambda r, g, m, v, w: v - (r + g * m * w),
        "values-exchanged": lambda r, g, m, v, w: r + g * m * v - w,
        "value-twice": lambda r, g, m, v, _w: r + g * m * v - v,
        "no-reward": lambda _r, g, m, v, w: g * m * w - v,
    },
)


def formula(case: Episodes, values: Sequence[Any]) -> Tensor:
    """The TD errors that a value of each part gives, `[T, B]`."""
    reward, mask, combination = values
    result: Tensor = combination(
        reward(case), case.discount_factor, mask(case).float(), case.value[:-1], case.value[1:]
    )
    return result


PARTS = (REWARDS, MASKS, COMBINATIONS)
EXERCISE = Estimate("td_error", ("workspace", "discount_factor"), PARTS, formula)


@EXERCISE.check
def check_td_error(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `td_error(workspace, discount_factor)`.

    The workspace has T rows of B environments: `env/reward`, `env/terminated`, `env/truncated`,
    `env/done`, `critic/v_values` and `env/env_obs`. The function returns the TD errors of its
    T - 1 transitions, `[T - 1, B]`; those of the steps from an episode to the next are not looked
    at.
    """
    EXERCISE.try_out(function, seed)
