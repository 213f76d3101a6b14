"""The check of notebook 12's seventh exercise: the advantages of GRPO."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import describe, numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb12_language_model.texts import WORDS

EXERCISE = Exercise("group_advantages", ("reward", "group_size"), WORDS)


class Case(NamedTuple):
    """Rewards of texts, `[B]`; neighbours with the same prompt are a group of so many."""

    reward: Tensor
    size: int


#: of the second group, all texts have the same reward; those of the last hardly differ
CASES = (
    Case(torch.tensor([6.0, 8.0, 10.0, 3.0, 3.0, 3.0]), 3),
    Case(torch.tensor([1.0, 2.0, 4.0, 9.0, 12.0, 11.0, 7.0, 2.0]), 4),
    Case(torch.tensor([1e-5, 2e-5, 4e-5, 7e-5, 6e-5, 3e-5]), 3),
)


def drawn(seed: int) -> list[Case]:
    """Groups of different levels, one of them all alike; then some that hardly differ."""
    source, chosen = source_of(seed), []
    for _ in range(2):
        size, n_groups = integer(source, 3, 6), integer(source, 6, 9)
        level = torch.randint(1, 40, (n_groups, 1), generator=source)
        reward = level + torch.randint(0, 12, (n_groups, size), generator=source).float()
        reward[:, 0] += 0.5  # no other group has equal rewards
        alike = integer(source, 0, n_groups)
        reward[alike] = level[alike].float()
        chosen.append(Case(reward.flatten(), size))
    first = chosen[0]
    return [*chosen, first._replace(reward=1e-5 * first.reward)]


# How the texts are put into groups, and back.
LAYOUTS = Part(
    (lambda r, g: r.reshape(-1, g), lambda a: a.flatten()),
    {
        "groups-interleaved": (lambda r, g: r.reshape(g, -1).T, lambda a: a.T.flatten()),
        "whole-batch": (lambda r, _g: r.reshape(1, -1), lambda a: a.flatten()),
        "mean-over-groups": (lambda r, g: r.reshape(-1, g).T, lambda a: a.T.flatten()),
        "size-for-number": (lambda r, g: r.reshape(g, -1), lambda a: a.flatten()),
    },
)
CENTRES = Part(
    lambda r: r.mean(1, keepdim=True),
    {
        "not-centred": lambda r: 0 * r,
        "mean-of-all": lambda r: r.mean(),
        "mean-of-others": lambda r: (r.sum(1, keepdim=True) - r) / (r.shape[1] - 1),
        "median": lambda r: r.median(1, keepdim=True).values,
        "best": lambda r: r.max(1, keepdim=True).values,
        "worst": lambda r: r.min(1, keepdim=True).values,
    },
)
SCALES = Part(
    lambda r: r.std(1, keepdim=True),
    {
        "not-scaled": torch.ones_like,
        "std-of-all": lambda r: r.std(),
        "variance": lambda r: r.var(1, keepdim=True),
        "population-std": lambda r: r.std(1, keepdim=True, correction=0),
    },
)
ADDED = Part(1e-6, {"added~1e-8": 1e-8, "added~1e-5": 1e-5})
SIGNS = Part(lambda a: a, {"sign": lambda a: -a})


def formula(case: Case, values: Sequence[Any]) -> Tensor:
    """The advantages that a value of each part gives, `[B]`."""
    (apart, together), centre, scale, added, sign = values
    groups = apart(case.reward, case.size)
    result: Tensor = together(sign(groups - centre(groups)) / (scale(groups) + added))
    return result


@EXERCISE.check
def check_group_advantages(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `group_advantages(reward, group_size)`.

    It gets rewards, `[B]`, of which each `group_size` neighbours are a group; it returns each
    reward minus the mean of its group, divided by the group's standard deviation plus 1e-6, `[B]`.
    """
    chosen = CASES if seed is None else drawn(seed)
    results = [
        _read(EXERCISE.call(function, case.reward.clone(), case.size), case) for case in chosen
    ]

    def facts(case: Case, right: Tensor, seen: Tensor) -> list[str]:
        wrong = ~torch.isclose(right, seen.float(), rtol=1e-4, atol=1e-5)
        first = int(wrong.nonzero()[0]) // case.size * case.size
        group = slice(first, first + case.size)
        rewards = ", ".join(f"{reward:g}" for reward in case.reward[group].tolist())
        return [
            f"  A group of {case.size} with the rewards [{rewards}]:",
            f"  seen      {numbers(seen[group])}",
            f"  expected  {numbers(right[group])}",
        ]

    EXERCISE.compare(
        chosen, results, (LAYOUTS, CENTRES, SCALES, ADDED, SIGNS), formula=formula, facts=facts
    )


def _read(result: Any, case: Case) -> Tensor:
    n, mistake = len(case.reward), None
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    elif list(result.shape) != [n]:
        mistake = "still-in-groups" if result.numel() == n else "shape"
    elif not result.isfinite().all():
        mistake = "equal-rewards"
    EXERCISE.expect(result, mistake, f"a tensor of shape [{n}]", seen=describe(result))
    advantage: Tensor = result
    return advantage
