"""Choose the engine that makes the updates: compiled, on flat weights, or plain.

They compute the same weights at different speeds. Each is built for the agents, optimisers and
settings of that moment, and before each update it is asked whether these are still the same.
"""

from typing import Any

from ppo_bbrl.agents.learners import Learners
from ppo_bbrl.fast.compiled import CannotCompileError, CompiledUpdate
from ppo_bbrl.fast.flat import FlatUpdate, NotFlatError
from ppo_bbrl.minibatches import Transitions
from ppo_bbrl.system.console import say
from ppo_bbrl.update import Objective, Update, UpdateReport

Engine = Update | CompiledUpdate


def eager_engine(learners: Learners) -> Update:
    """The engine on flat weights, or the plain one if torch's own optimisers are needed."""
    try:
        return FlatUpdate(learners)
    except NotFlatError:
        return Update()


def place_weights(learners: Learners) -> None:
    """Put weights where any engine puts them, without an update.

    The last bits of what a network computes depend on how its weights are aligned in memory, so
    that a run that goes on has to have them at such addresses before it acts.
    """
    eager_engine(learners)


def choose_engine(objective: Objective, compute: Any, transitions: Transitions, why: str) -> Engine:
    """The engine that the configuration asks for, or an eager one if that is not available.

    Args:
        objective: the losses, agents, optimisers and settings.
        compute: the `compute` section; if compiling fails, it is set to the eager engine.
        transitions: an example of a rollout, for shapes and types.
        why: the reason for the configuration's choice, if the user did not choose.
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
    """Make an update with an engine, or with an eager one if the compiled one cannot continue.

    Returns:
        The engine that made the update, and its report.
    """
    try:
        return engine, engine(transitions, objective, **how)
    except CannotCompileError as error:
        say(f"The update is no longer compiled: {error}.")
        compute.compile = "never"
        engine = eager_engine(objective.learners)
        return engine, engine(transitions, objective, **how)
