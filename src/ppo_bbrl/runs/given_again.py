"""What a program gives to a run besides its configuration, and gives again to go on with it."""

import warnings
from collections.abc import Mapping
from typing import Any

from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.errors import StateError, printable
from ppo_bbrl.runs.best_policy import agent_name
from ppo_bbrl.runs.checkpoints import Checkpoint

# Methods by which a subclass learns something else.
DOORS = ("losses", "compute_targets")
_FLAGS = {"stochastic", "predict_proba", "compute_entropy"}  # of how an agent acts


def own_parts_of(algo: Any) -> dict[str, Any]:
    """What a checkpoint says of them: names, and classes."""
    return {
        "agents": {name: agent_name(getattr(algo, name)) for name in algo._given},
        "schedules": sorted(algo._schedules),
        "evaluated": _evaluated(algo),
        **_own_methods(type(algo)),
    }


def _evaluated(algo: Any) -> dict[str, Any]:
    """The policy that is evaluated, and how it acts, if it is the one that learns."""
    policy = algo.eval_policy
    if policy is None:
        return {}
    if getattr(policy, "wrapped", policy) is not algo.train_policy:
        return {"agent": agent_name(policy)}
    flags = getattr(policy, "kwargs", {})
    return {"flags": {name: bool(flags[name]) for name in sorted(_FLAGS & {*flags})}}


def evaluate_as_before(algo: Any, found: Checkpoint) -> None:
    """Let evaluations act as they did, if the program had changed that."""
    before, policy = found.own.get("evaluated", {}), algo.train_policy
    if policy is None or not before or before == _evaluated(algo):
        return
    flags = before.get("flags")
    if not isinstance(flags, dict) or not _FLAGS.issuperset(flags):
        warnings.warn(
            f"eval_policy: the run evaluated {printable(before.get('agent'))}, an agent of your "
            "own: set it again, algo.eval_policy = …",
            stacklevel=4,
        )
        return
    algo.eval_policy = (
        KWAgentWrapper(policy, **{name: bool(flags[name]) for name in flags}) if flags else policy
    )


def _own_methods(kind: type) -> dict[str, str]:
    """The methods of `DOORS` that a class of the user's defines, with its name."""
    found = {}
    for name in DOORS:
        owner = next((one for one in kind.__mro__ if name in vars(one)), None)
        if owner is not None and not owner.__module__.startswith("ppo_bbrl."):
            found[name] = owner.__name__
    return found


def check_given_again(found: Checkpoint, kind: type, own: Mapping[str, Any]) -> None:
    """Refuse to go on with another algorithm, because something is missing that no file contains.

    Raises:
        StateError: naming it, and how to give it.
    """
    for name, owner in found.own.get("agents", {}).items():
        if own.get(name) is None:
            raise StateError(
                f"{name}: the run's was an agent of your own, {printable(owner)}, of which its "
                f"files have only the weights; give it again in your program: "
                f"{kind.__name__}.resume(RUN, {name}=…)"
            )
    for name in found.own.get("schedules", []):
        if name not in own.get("schedules", {}):
            raise StateError(
                f"schedules: the run's schedule of {name} was a function of your own, which its "
                f"files do not contain; give it again in your program: {kind.__name__}.resume(RUN, "
                f"schedules={{{name!r}: …}})"
            )
    here = _own_methods(kind)
    for name in DOORS:
        owner = found.own.get(name)
        if owner is not None and name not in here:
            raise StateError(
                f"the run computed its {name} by {owner}.{name}, of a class of your own, and "
                f"{kind.__name__} does it otherwise; go on with it in your program: "
                f"{owner}.resume(RUN)"
            )
