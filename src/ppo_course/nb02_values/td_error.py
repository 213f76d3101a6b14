"""The check of notebook 02's first exercise: the TD errors of a workspace."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.advantages import gae
from ppo_course.nb02_values.estimates import Choice, Exercise
from ppo_course.nb02_values.trajectories import Episodes

#: (workspace, discount_factor) → [T - 1, B]
TDError = Callable[[Any, float], Tensor]

REWARDS = (
    Choice(lambda x: x.reward[1:]),
    Choice(
        lambda x: x.reward[:-1],
        "the rewards are those of the row before",
        "the reward of the action in row t came with row t+1: reward[1:]",
    ),
)

# What is left of the next value.
MASKS = (
    Choice(lambda x: ~x.terminated[1:]),
    Choice(
        lambda x: torch.ones_like(x.terminated[1:]),
        "the value of a terminal state is added",
        "nothing comes after a terminal state: where `terminated` is set in row t+1 (not in "
        "row t), the next value counts as 0",
    ),
    Choice(
        lambda x: ~x.done[1:],
        "the next value is left out wherever an episode ends, where its time was up, too",
        "truncated means that we stopped looking, not that nothing would have come: mask by "
        "`terminated`, not by `done`",
    ),
    Choice(
        lambda x: ~x.truncated[1:],
        "the next value is masked by `truncated`: it counts in a terminal state, and where the "
        "episode was only cut off it does not",
        "it is the other flag: `terminated` says that nothing comes after",
    ),
    Choice(
        lambda x: x.terminated[1:],
        "the mask is inverted: the next value counts in terminal states alone",
        "`~terminated` is true where the episode goes on",
    ),
)

# (reward, γ, mask, V(s_t), V(s_{t+1})) → TD error
COMBINATIONS = (
    Choice(lambda r, g, m, v, w: r + g * m * w - v),
    Choice(
        lambda r, _g, m, v, w: r + m * w - v,
        "the discount factor is missing",
        "γ stands before the next value",
    ),
    Choice(
        lambda r, g, m, v, w: g * (r + m * w) - v,
        "the reward is discounted, too",
        "γ stands before the next value alone",
    ),
    Choice(
        lambda r, g, m, v, w: r + g * (m * w - v),
        "the value of s_t is discounted, too",
        "γ stands before the next value alone; mind the brackets",
    ),
    Choice(
        lambda r, g, m, v, w: m * (r + g * w) - v,
        "the last reward of an episode is masked, too",
        "the mask takes the next value away, and nothing else: the reward was earned",
    ),
    Choice(
        lambda r, g, m, v, w: m * (r + g * w - v),
        "the whole TD error of an episode's last transition is 0",
        "the mask takes the next value away, and nothing else",
    ),
    Choice(
        lambda r, g, m, _v, w: r + g * m * w,
        "the value of s_t is not subtracted",
        "what you have is the target of the TD error; it is compared with V(s_t)",
    ),
    Choice(
        lambda r, g, m, v, w: v - (r + g * m * w),
        "the sign is wrong",
        "a TD error is positive where things went better than V(s_t) had said",
    ),
    Choice(
        lambda r, g, m, v, w: r + g * m * v - w,
        "the two values are exchanged",
        "V(s_t) is in the rows [:-1], V(s_{t+1}) in the rows [1:]",
    ),
    Choice(
        lambda r, g, m, v, _w: r + g * m * v - v,
        "V(s_t) takes the place of the next value as well",
        "V(s_{t+1}) is in the rows [1:] of the values",
    ),
    Choice(
        lambda _r, g, m, v, w: g * m * w - v,
        "the reward is missing",
        "the reward of row t+1 is the first term",
    ),
)


def formula(case: Episodes, values: Sequence[Any]) -> Tensor:
    """The TD errors that a value of each part gives, `[T, B]`."""
    reward, mask, combination = values
    result: Tensor = combination(
        reward(case), case.discount_factor, mask(case).float(), case.value[:-1], case.value[1:]
    )
    return result


def right(case: Episodes) -> Tensor:
    """The TD errors, `[T, B]`: GAE at λ = 0."""
    return gae(**case.aligned(), discount_factor=case.discount_factor, gae_lambda=0.0)


EXERCISE = Exercise(
    name="td_error",
    arguments=lambda case: {
        "workspace": case.workspace(),
        "discount_factor": case.discount_factor,
    },
    right=right,
    parts=(REWARDS, MASKS, COMBINATIONS),
    formula=formula,
    praise="Rewards, values and the terminal mask are all in their rows.",
    with_lambda=False,
)


def check_td_error(function: TDError, *, seed: int | None = None) -> None:
    """Check a student's `td_error(workspace, discount_factor)`.

    The workspace has T rows of B environments: `env/reward`, `env/terminated`, `env/truncated`,
    `env/done`, `critic/v_values` and `env/env_obs`. The function returns the TD errors of its
    T - 1 transitions, `[T - 1, B]`; those of the steps from an episode to the next are not looked
    at.

    Prints one line if everything is right. Needs no network and leaves the global random
    streams as they were.

    Args:
        function: the student's.
        seed: draw other episodes from it, and print nothing.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    EXERCISE.check(function, seed)
