"""Which engine makes the updates: the compiled one, the one on flat weights, or the plain one.

They give the same weights and differ in speed. Each was made for the agents, optimisers and
settings that were there at the time, and is asked before each update whether these still are.
"""

from typing import Any

from ppo_bbrl.agents.learners import Learners
from ppo_bbrl.fast.compiled import CannotCompileError, CompiledUpdate
from ppo_bbrl.fast.flat import FlatUpdate, NotFlatError
from ppo_bbrl.rollout import Transitions
from ppo_bbrl.system.console import say
from ppo_bbrl.update import Objective, Update, UpdateReport

Engine = Update | CompiledUpdate


def eager_engine(learners: Learners) -> Update:
    """The one on flat weights, or the plain one where torch's optimisers are needed."""
    try:
        return FlatUpdate(learners)
    except NotFlatError:
        return Update()


def choose_engine(objective: Objective, compute: Any, transitions: Transitions, why: str) -> Engine:
    """The engine that the configuration asks for, or an eager one where it cannot be had.

    Args:
        objective: what is to be improved.
        compute: the `compute` section; where compiling fails, the decision is kept in it.
        transitions: for shapes and types.
        why: why the configuration asks for it, if that was not the user's choice.
    """
    if compute.compile == "never" and why:
        say(f"The update is not compiled: {why} (compute.compile).")
    if compute.compile == "always":
        begins = f"Compiling the update{f': {why}' if why else ''}. This takes about ten seconds."
        try:
            return CompiledUpdate(objective, example=transitions, announcement=begins)
        except CannotCompileError as error:
            say(f"The update is not compiled: {error}.")
            compute.compile = "never"
    return eager_engine(objective.learners)


def improve(
    engine: Engine, transitions: Transitions, objective: Objective, compute: Any, **how: Any
) -> tuple[Engine, UpdateReport]:
    """An update by an engine, or by an eager one where the compiled one cannot go on.

    Returns:
        The engine that made it, and its report.
    """
    try:
        return engine, engine(transitions, objective, **how)
    except CannotCompileError as error:
        say(f"The update is no longer compiled: {error}.")
        compute.compile = "never"
        engine = eager_engine(objective.learners)
        return engine, engine(transitions, objective, **how)
