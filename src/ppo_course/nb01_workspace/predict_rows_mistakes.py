"""The cases of `check_predict_rows`, and the rows that well-known misunderstandings lead to."""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple


class Row(NamedTuple):
    """What the staircase writes into one row."""

    level: int
    reward: float
    terminated: bool
    truncated: bool
    timestep: int


class Case(NamedTuple):
    """The arguments of one call."""

    actions: list[int]
    height: int
    time_limit: int


class Mistake(NamedTuple):
    """A misunderstanding of `rows`, by its name there, and what to say about it."""

    name: str
    wrong: str
    look: str


MISTAKES = (
    Mistake(
        "action of the same row",
        "row t is made with the action of row t",
        "an action leads to the *next* row: what is in row t follows from actions[t-1]",
    ),
    Mistake(
        "reward beside its action",
        "the reward stands beside the action that earns it",
        "a reward comes with the observation that follows: that of actions[t-1] is in row t",
    ),
    Mistake(
        "no reset",
        "after the end of an episode it goes on as if nothing had happened",
        "the row after a `terminated` or `truncated` one is the first of a new episode: level 0, "
        "timestep 0, reward 0",
    ),
    Mistake(
        "no reset after truncation",
        "after a truncated row no new episode begins",
        "an episode is over if it is terminated *or* truncated",
    ),
    Mistake(
        "no reset after termination",
        "after a terminated row no new episode begins",
        "an episode is over if it is terminated *or* truncated",
    ),
    Mistake(
        "reset in the same row",
        "the last observation of an episode is missing: the reset is in the same row",
        "the final level keeps its own row, the one with the flag; level 0 comes in the next row",
    ),
    Mistake(
        "action after the reset",
        "the row after the end is already one step into the new episode",
        "the action of the row in which the episode ended is not executed: the next row is level 0 "
        "with timestep 0, whatever that action was",
    ),
    Mistake(
        "reward stays",
        "the first row of a new episode still has the reward of the row before",
        "nothing was earned on the way to a reset: its reward is 0",
    ),
    Mistake(
        "flags stay",
        "the first row of a new episode still has the flags of the row before",
        "a new episode is neither terminated nor truncated: set both to False, as in row 0",
    ),
    Mistake(
        "timestep goes on",
        "the timestep goes on counting across episodes",
        "it counts the steps of the running episode: 0 in the first row of each",
    ),
    Mistake(
        "timestep begins with 1",
        "the first row of a new episode has timestep 1",
        "no step has been made in it yet: its timestep is 0, as in row 0",
    ),
    Mistake(
        "flags exchanged",
        "terminated and truncated are exchanged",
        "a row is (level, reward, terminated, truncated, timestep): reaching the top terminates, "
        "running out of time truncates",
    ),
    Mistake(
        "limit counts rows",
        "the time limit is compared with the row, not with the timestep of the episode",
        "truncated: `time_limit` steps since this episode began",
    ),
    Mistake(
        "limit is one late",
        "truncation comes one step too late",
        "the step number `time_limit` is the last one: truncated when timestep == time_limit",
    ),
    Mistake(
        "limit is one early",
        "truncation comes one step too early",
        "the step number `time_limit` is still made: truncated when timestep == time_limit",
    ),
    Mistake(
        "never truncated",
        "no row is ever truncated",
        "after `time_limit` steps the episode is over, wherever it is",
    ),
    Mistake(
        "either or",
        "a row that is terminated is never truncated",
        "who reaches the top in the very last step is terminated *and* truncated: two questions, "
        "two answers",
    ),
    Mistake(
        "terminated is done",
        "a truncated row is called terminated, too",
        "terminated says that the top is reached; running out of time is truncated alone",
    ),
    Mistake(
        "truncated is done",
        "a terminated row is called truncated, too",
        "truncated says that the time is up; reaching the top is terminated alone",
    ),
    Mistake(
        "reward for staying",
        "staying on a level earns the level again",
        "a reward comes for climbing alone; who stays gets 0",
    ),
    Mistake(
        "reward of one",
        "each step upwards earns 1",
        "climbing to level k earns k",
    ),
)

START = Row(0, 0.0, False, False, 0)


def rows(case: Case, mistakes: Sequence[str] = ()) -> list[Row]:
    """The rows that the environment writes; with `mistakes`, those that somebody might expect."""
    if "reward beside its action" in mistakes:
        others = [name for name in mistakes if name != "reward beside its action"]
        further = rows(case._replace(actions=[*case.actions, 0]), others)
        return [row._replace(reward=following.reward) for row, following in pairwise(further)]
    made = [START]
    for t in range(1, len(case.actions)):
        row, action = made[-1], case.actions[t if "action of the same row" in mistakes else t - 1]
        if _begins_anew(row, mistakes):
            following = _first(row, mistakes)
            if "action after the reset" in mistakes:
                following = _step(following, action, t, case, mistakes)
        else:
            following = _step(row, action, t, case, mistakes)
        made.append(following)
    if "flags exchanged" in mistakes:
        return [row._replace(terminated=row.truncated, truncated=row.terminated) for row in made]
    return made


def _begins_anew(row: Row, mistakes: Sequence[str]) -> bool:
    if "no reset" in mistakes or "reset in the same row" in mistakes:
        return False
    terminated = row.terminated and "no reset after termination" not in mistakes
    return terminated or (row.truncated and "no reset after truncation" not in mistakes)


def _first(row: Row, mistakes: Sequence[str]) -> Row:
    first = START
    if "reward stays" in mistakes:
        first = first._replace(reward=row.reward)
    if "flags stay" in mistakes:
        first = first._replace(terminated=row.terminated, truncated=row.truncated)
    if "timestep goes on" in mistakes:
        first = first._replace(timestep=row.timestep + 1)
    if "timestep begins with 1" in mistakes:
        first = first._replace(timestep=1)
    return first


def _step(row: Row, action: int, t: int, case: Case, mistakes: Sequence[str]) -> Row:
    level, timestep = row.level + action, row.timestep + 1
    reward = float(level) if action or "reward for staying" in mistakes else 0.0
    if "reward of one" in mistakes:
        reward = float(action)
    late = ("limit is one late" in mistakes) - ("limit is one early" in mistakes)
    counted = t if "limit counts rows" in mistakes else timestep
    terminated = level == case.height
    truncated = counted == case.time_limit + late and "never truncated" not in mistakes
    done = terminated or truncated
    if "either or" in mistakes:
        truncated = truncated and not terminated
    if "reset in the same row" in mistakes and done:
        level = timestep = 0
    if "terminated is done" in mistakes:
        terminated = done
    if "truncated is done" in mistakes:
        truncated = done
    return Row(level, reward, terminated, truncated, timestep)


def cases(seed: int | None) -> list[Case]:
    """Three calls, in which every known mistake shows somewhere."""
    if seed is None:
        return [
            Case([1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1], 3, 5),
            Case([0, 1, 1, 1, 0, 0, 0, 0, 1], 2, 3),
            Case([0, 0, 0, 0, 1, 1, 0, 1], 2, 6),
        ]
    generator = random.Random(seed)
    while True:
        drawn = []
        for _ in range(3):
            length, climbs = generator.randint(14, 22), generator.uniform(0.4, 0.8)
            actions = [int(generator.random() < climbs) for _ in range(length)]
            height = generator.randint(2, 4)
            drawn.append(Case(actions, height, height + generator.randint(0, 2)))
        if all(_differs(drawn, mistake.name) for mistake in MISTAKES):
            return drawn


def _differs(chosen: Sequence[Case], mistake: str) -> bool:
    return any(rows(case, [mistake]) != rows(case) for case in chosen)


def explanations() -> Iterator[tuple[Mistake, ...]]:
    """One mistake, then two at once."""
    for count in (1, 2):
        yield from combinations(MISTAKES, count)
