"""The cases of `check_pole_agent`, and the rules that an agent may follow on them."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

POSITION, VELOCITY, ANGLE, ANGULAR_VELOCITY = range(4)
ORDER = (1, 2, 0)  # of the rows: who reads another row than t is noticed
LEAST = 0.001  # of |angle + gain × angular velocity|: rounding must not decide


class Case(NamedTuple):
    """A workspace's observations, `[T, B, 4]`, and the gain of the agent."""

    observations: Tensor
    gain: float


class Choice(NamedTuple):
    """One way to write a part of the rule; right ones have no words."""

    formula: Callable[..., Tensor]
    wrong: str = ""
    look: str = ""


# The first choice of each part is the right one.

ROWS = (
    Choice(lambda obs, t: obs[t]),
    Choice(
        lambda obs, _t: obs[0].expand_as(obs[0]),
        "it always looks at row 0",
        'self.get(("env/env_obs", t)) reads row t',
    ),
    Choice(
        lambda obs, t: obs[max(t - 1, 0)],
        "it looks at the row before",
        "the action of row t answers the observation of row t",
    ),
    Choice(
        lambda obs, t: obs[t, :1].expand_as(obs[t]),
        "all environments get the action of environment 0",
        "the observation of row t is [B, 4]: keep the dimension B, as in obs[:, 2]",
    ),
)

LINES = (
    Choice(lambda o, gain: o[:, ANGLE] + gain * o[:, ANGULAR_VELOCITY]),
    Choice(
        lambda o, _gain: o[:, ANGLE] + o[:, ANGULAR_VELOCITY],
        "the gain is ignored",
        "multiply the angular velocity by self.gain",
    ),
    Choice(
        lambda o, _gain: o[:, ANGLE],
        "the angular velocity is missing",
        "angle + gain × angular velocity",
    ),
    Choice(
        lambda o, _gain: o[:, ANGULAR_VELOCITY],
        "the angle is missing",
        "angle + gain × angular velocity",
    ),
    Choice(
        lambda o, gain: gain * o[:, ANGLE] + o[:, ANGULAR_VELOCITY],
        "the gain multiplies the angle",
        "the gain stands before the angular velocity",
    ),
    Choice(
        lambda o, gain: o[:, ANGLE] - gain * o[:, ANGULAR_VELOCITY],
        "the angular velocity is subtracted",
        "angle + gain × angular velocity",
    ),
    Choice(
        lambda o, gain: o[:, VELOCITY] + gain * o[:, ANGLE],
        "the columns are counted from 1",
        "the first column is 0: the angle is obs[:, 2], the angular velocity obs[:, 3]",
    ),
    Choice(
        lambda o, gain: o[:, POSITION] + gain * o[:, VELOCITY],
        "it looks at position and velocity of the cart",
        "the angle is column 2, the angular velocity column 3",
    ),
)

DIRECTIONS = (
    Choice(lambda line: line > 0),
    Choice(
        lambda line: line < 0,
        "the cart is pushed to the wrong side",
        "where the pole leans to the right (> 0) the cart must go there: action 1",
    ),
    Choice(
        torch.ones_like,
        "the action is always 1",
        "compare each environment's number with 0",
    ),
    Choice(
        torch.zeros_like,
        "the action is always 0",
        "compare each environment's number with 0; a probability or a difference below 1 becomes 0 "
        "as an integer",
    ),
)

Rule = tuple[Choice, Choice, Choice]
RIGHT: Rule = (ROWS[0], LINES[0], DIRECTIONS[0])


def actions(rule: Rule, case: Case, t: int) -> Tensor:
    """What an agent with this rule does in row t, `[B]` int64."""
    row, line, direction = rule
    return direction.formula(line.formula(row.formula(case.observations, t), case.gain)).long()


def rules() -> Iterator[Rule]:
    """All rules, those with fewest mistakes first."""
    every = product(ROWS, LINES, DIRECTIONS)
    yield from sorted(every, key=lambda rule: sum(bool(choice.wrong) for choice in rule))


def cases(seed: int | None) -> list[Case]:
    """Two workspaces on which every single mistake leads to other actions, and one with B = 1."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    while True:
        drawn: list[Case] = []
        for _ in range(2):
            n_envs = 5 if seed is None else int(torch.randint(6, 12, (), generator=generator))
            observations = torch.randn(len(ORDER), n_envs, 4, generator=generator)
            gain = float(torch.rand((), generator=generator)) + (0.25 if drawn else 1.5)
            drawn.append(Case((100 * observations).round() / 100, round(gain, 2)))
        if all(_is_clear(case) for case in drawn) and _mistakes_differ(drawn):
            return [*drawn, drawn[0]._replace(observations=drawn[0].observations[:, :1])]


def _is_clear(case: Case) -> bool:
    lines = [line.formula(o, case.gain) for line in LINES for o in case.observations]
    return all(bool((line.abs() > LEAST).all()) for line in lines)


def _mistakes_differ(chosen: list[Case]) -> bool:
    """Whether each single mistake leads to actions of its own."""
    single: list[Rule] = [
        *((row, LINES[0], DIRECTIONS[0]) for row in ROWS),
        *((ROWS[0], line, DIRECTIONS[0]) for line in LINES[1:]),
        *((ROWS[0], LINES[0], direction) for direction in DIRECTIONS[1:]),
    ]
    taken = [
        torch.cat([actions(rule, case, t) for case in chosen for t in ORDER]) for rule in single
    ]
    return len({tuple(row.tolist()) for row in taken}) == len(taken)
