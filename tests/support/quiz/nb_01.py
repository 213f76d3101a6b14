"""The answers to the quiz of notebook 01, computed with the rows of its staircase."""

import torch

from ppo_bbrl import Workspace
from ppo_course.nb01_workspace.predict_rows import Case, rows
from quiz import nearest, the_one


def question_1():
    actions = [0] * 6 + [1] + [0] * 3
    rewarded = [t for t, row in enumerate(rows(Case(actions, 9, 99))) if row.reward > 0]
    return the_one(a=rewarded == [6], b=rewarded == [7], c=not rewarded)


def question_2():
    workspace = Workspace()
    done = torch.zeros(33, 8, dtype=torch.bool)
    for entry in ((3, 0), (10, 4), (20, 4), (32, 1), (32, 7)):
        done[entry] = True
    workspace.set_full("env/done", done)
    count = workspace.get_transitions().batch_size()
    return the_one(a=count == 251, b=count == 253, c=count == 256, d=count == 259)


def question_3():
    """The episode of this staircase ends in row 9; two plans differ in the action there."""
    stays, climbs = ([1] * 9 + [action] + [0] * 4 for action in (0, 1))
    seen, other = rows(Case(stays, 9, 99)), rows(Case(climbs, 9, 99))
    assert seen[9].terminated
    return the_one(
        a=other[10].level == 10,
        b=other[10].level == 1 or other[11].level == 1,
        c=seen == other and other[10].level == 0,
    )


def question_4():
    def reward_of_one(row):
        return float(row.timestep > 0)

    long = rows(Case([0] * 5000, 9, 4))
    mean = sum(map(reward_of_one, long)) / len(long)
    return nearest(mean, a=1, b=0.8, c=0.75, d=0.67)
