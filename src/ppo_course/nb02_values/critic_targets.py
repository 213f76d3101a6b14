"""The check of notebook 02's last exercise: the mended targets of a critic."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_course.feedback import (
    ExerciseError,
    all_not_right,
    describe,
    not_right,
    untouched_randomness,
)
from ppo_course.nb02_values.estimates import Choice, combinations, example, run
from ppo_course.nb02_values.lambda_return import CUTS as CUTS_OF_RETURNS
from ppo_course.nb02_values.lambda_return import TERMINAL
from ppo_course.nb02_values.trajectories import Episodes, cases

NAME = "critic_targets"

#: (workspace, discount_factor, gae_lambda) → observations [N], targets [N]
CriticTargets = Callable[[Any, float, float], tuple[Tensor, Tensor]]

# Which of the T steps are left in.
ROWS = (
    Choice(lambda x: ~x.done[:-1]),
    Choice(
        lambda x: torch.ones_like(x.valid),
        "the steps from an episode to the next are still in it",
        "where row t is `done`, the step to row t+1 is a reset, no transition: leave it out, by "
        "`done` of the row it starts in, done[:-1]",
    ),
    Choice(
        lambda x: ~x.done[1:],
        "the rows are chosen by `done` of the row that a step leads to",
        "the step to leave out *starts* in a row that is done: done[:-1]; the one that leads there "
        "is a transition like any other",
    ),
    Choice(
        lambda x: ~x.terminated[:-1],
        "the steps that follow a truncation are still in it",
        "leave out every step that starts in a `done` row, however the episode ended: done[:-1]",
    ),
    Choice(
        lambda x: ~x.done[:-1] & ~x.done[1:],
        "the last transition of each episode is missing",
        "it leads to the row that is done, and it is a transition like any other; the step to "
        "leave out *starts* in that row",
    ),
)


def _of_the_reset(x: Episodes) -> Tensor:
    """The next values of who leaves out the last rows before looking for the next one."""
    after = torch.cat((x.value[2:], x.value[-1:]))
    return torch.where(x.done[1:], after, x.value[1:])


CUTS = (
    *CUTS_OF_RETURNS,
    Choice(
        lambda x: x.done[:-1],
        "the mask `done` given to `gae` is one row off",
        "whether the step from row t to row t+1 ended the episode stands in row t+1: the arguments "
        "are terminated[1:] and done[1:]",
    ),
)

OBSERVATIONS = (
    Choice(lambda observations: observations[:-1]),
    Choice(
        lambda observations: observations[1:],
        "the targets are right, but beside each stands the observation of the row after",
        "a target belongs to the row in which its step *starts*: observation[:-1]",
    ),
)

NEXT_VALUES = (
    Choice(lambda x: x.value[1:]),
    Choice(
        _of_the_reset,
        "at the end of an episode the next value is that of the row after the reset",
        "the last row of an episode is needed, for its value: first the targets of all steps, "
        "then leave out those that are no transitions",
    ),
)

RESULTS = (
    Choice(lambda target, _value: target),
    Choice(
        lambda target, value: target - value,
        "these are advantages, not targets for the critic",
        "the critic's target is the λ-return, advantage + V(s_t): lambda_returns(…)",
    ),
)

PARTS = (TERMINAL, CUTS, ROWS, NEXT_VALUES, OBSERVATIONS, RESULTS)


def targets(case: Episodes, values: Sequence[Any]) -> dict[int, float]:
    """Observation → target, as a value of each part gives them."""
    terminal, cut, rows, next_value, of_rows, result = values
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


def right(case: Episodes) -> dict[int, float]:
    """Observation → target."""
    return targets(case, [part[0].value for part in PARTS])


def _observations(case: Episodes) -> Tensor:
    """Those of all rows, `[T + 1, B]`; each is another number."""
    observations: Tensor = case.workspace()["env/env_obs"]  # type: ignore[assignment]
    return observations


def _alike(one: dict[int, float], other: dict[int, float]) -> bool:
    return one.keys() == other.keys() and all(abs(one[key] - other[key]) < 1e-3 for key in one)


def _read(result: Any) -> dict[int, float]:
    """What a student's function returned, as observation → target.

    Raises:
        ExerciseError: if it is not two tensors [N].
    """
    facts = (
        f"  seen      {describe(result)}",
        "  expected  2 values: observations and targets, a tensor of shape [N] each",
    )
    last_line = "its last line: return observations, targets"
    if result is None:
        raise not_right(NAME, "it returns nothing", last_line, *facts)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise not_right(NAME, "it does not return two things", last_line, *facts)
    observations, target = result
    if not isinstance(observations, Tensor) or not isinstance(target, Tensor):
        raise not_right(NAME, "what it returns are no tensors", last_line, *facts)
    if observations.shape != target.shape or observations.dim() != 1:
        raise not_right(
            NAME,
            "observations and targets are not one row of N numbers each",
            "x[mask] takes the numbers where a mask is true out of x, in one row; mask both by the "
            "same mask",
            *facts,
        )
    if not target.is_floating_point() or not _are_cells(observations):
        raise not_right(NAME, "the two results are exchanged", last_line, *facts)
    if not target.isfinite().all():
        raise not_right(NAME, "some targets are inf or NaN", "divisions, and torch.empty", *facts)
    found = dict(zip(observations.long().tolist(), target.tolist(), strict=True))
    if len(found) < len(observations):
        look = "each transition starts in one row of one environment: one mask [T - 1, B] for all"
        raise not_right(NAME, "some transitions are there more than once", look, *facts)
    return found


def _are_cells(observations: Tensor) -> bool:
    """Whether these are numbers of rows: whole ones, whatever their type."""
    return not observations.is_floating_point() or bool(
        (observations == observations.round()).all()
    )


def _compare(episodes: Sequence[Episodes], seen: Sequence[dict[int, float]]) -> None:
    """Compare targets with the right ones, and wrong ones with those of known mistakes."""
    for case, found in zip(episodes, seen, strict=True):
        if not _alike(found, right(case)):
            raise _error(case, found, _explain(episodes, seen))


def _explain(
    episodes: Sequence[Episodes], seen: Sequence[dict[int, float]]
) -> list[tuple[str, str]]:
    for choices in combinations(PARTS):
        values = [choice.value for choice in choices]
        if all(
            _alike(found, targets(case, values)) for case, found in zip(episodes, seen, strict=True)
        ):
            return [(choice.wrong, choice.look) for choice in choices if choice.wrong]
    if all(
        _alike(found, _one_behind_the_other(case))
        for case, found in zip(episodes, seen, strict=True)
    ):
        return [(_IN_ONE_ROW, _LATER)]
    return []


_IN_ONE_ROW = "the transitions of all environments were put one behind the other before `gae`"
_LATER = (
    "`gae` goes back through the rows of each environment: it wants [T - 1, B]. First the targets "
    "of all steps, then a mask, or get_transitions(), takes out those that are no transitions"
)


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


def _error(
    case: Episodes, found: dict[int, float], mistakes: list[tuple[str, str]]
) -> ExerciseError:
    expected = right(case)
    facts = [f"  {len(found)} transitions seen, {len(expected)} expected."]
    grids, starts = [], _observations(case)[:-1]
    for table in (expected, found):
        entries = [table.get(number, math.nan) for number in starts.flatten().tolist()]
        grids.append(torch.tensor(entries).reshape(case.valid.shape))
    if any(key not in found or abs(found[key] - expected[key]) >= 1e-3 for key in expected):
        facts += example(case, *grids, with_lambda=True)
    if mistakes:
        return all_not_right(NAME, mistakes, *facts)
    return not_right(
        NAME,
        "its targets are wrong, in a way that this check does not know",
        "the targets of all steps come first, as in the function above; then a mask takes out "
        "those that are no transitions",
        *facts,
    )


def check_critic_targets(function: CriticTargets, *, seed: int | None = None) -> None:
    """Check a student's `critic_targets(workspace, discount_factor, gae_lambda)`.

    The workspace has T rows of B environments: `env/env_obs`, `env/reward`, `env/terminated`,
    `env/truncated`, `env/done` and `critic/v_values`. The function returns the observations in
    which the N transitions start, and their λ-returns, `[N]` each, in any order.

    Prints one line if everything is right. Needs no network and leaves the global random
    streams as they were.

    Args:
        function: the student's.
        seed: draw other episodes from it, and print nothing.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.no_grad():
        episodes = cases(seed)
        seen = []
        for case in episodes:
            arguments = {
                "workspace": case.workspace(),
                "discount_factor": case.discount_factor,
                "gae_lambda": case.gae_lambda,
            }
            seen.append(_read(run(function, arguments, name=NAME)))
        _compare(episodes, seen)
    if seed is None:
        print("Well done! Both masks, the next values and the choice of the rows are all right.")
