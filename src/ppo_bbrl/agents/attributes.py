"""Plain attributes of a user's own agent, such as a noise that fades: no weight has them.

`state_dict()` of torch knows parameters and buffers. What else an agent counts, fades or draws from
would begin anew where a run goes on.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from ppo_bbrl.agents.base import Agent
from ppo_bbrl.envs.plain_data import Reader, Writer
from ppo_bbrl.errors import StateError, printable, shown
from ppo_bbrl.system.state import NotPlainError, packed

_LIBRARIES = frozenset(("torch", "bbrl", "ppo_bbrl"))


def attributes_of(agent: nn.Module) -> dict[str, Any]:
    """The plain attributes of an agent's modules as a `Writer` writes them, `fades.noise` by name.

    Of modules whose class is the user's own. What every agent has is left out: weights, buffers,
    parts, the workspace and the like.
    """
    found, of_every_agent = {}, {*vars(Agent()), "prefix"}
    for path, module in _own_modules(agent):
        for key, value in vars(module).items():
            if key not in of_every_agent:
                with suppress(NotPlainError):
                    found[f"{path}.{key}".lstrip(".")] = Writer().write(value)
    return found


def changes_of(agent: nn.Module, first: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What has changed since `attributes_of` gave `first`: what it was, and what it is."""
    now = attributes_of(agent) if first else {}
    return {
        name: [first[name], value]
        for name, value in now.items()
        if name in first and not _same(first[name], value)
    }


def restore_changes(
    name: str, agent: nn.Module, first: Mapping[str, Any], changes: Any
) -> list[str]:
    """Set attributes to what they were in the run; what had not changed there, to its first value.

    Args:
        name: the agent's name, for messages.
        agent: the agent, which is changed, unless an error is raised.
        first: what `attributes_of` gave for it before it acted.
        changes: those of `changes_of`, from a file.

    Returns:
        Which of them began with another value in the run than here, worth a warning.

    Raises:
        StateError: if the agent has no such attribute, or if these are no changes.
    """
    if not isinstance(changes, dict) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in changes.values()
    ):
        raise StateError(f"{name}: the state's attributes are no pairs of values")
    modules, others = dict(_own_modules(agent)), []
    changed_here = changes_of(agent, first)
    values = {one: _read(name, one, first[one]) for one in changed_here.keys() - changes.keys()}
    for attribute, pair in changes.items():
        if attribute not in first:
            raise StateError(
                f"{name}: its attribute {printable(attribute)} changed in the run; here it is "
                "missing, or no plain data"
            )
        began, values[attribute] = (_read(name, attribute, written) for written in pair)
        if not _same(pair[0], first[attribute]):
            begins = _read(name, attribute, first[attribute])
            others.append(
                f"{name}: its attribute {printable(attribute)} began the run with {shown(began)}, "
                f"and here with {shown(begins)}: it goes on with {shown(values[attribute])}, of "
                "the run"
            )
    for attribute, value in values.items():
        path, _, key = attribute.rpartition(".")
        setattr(modules[path], key, value)
    return others


def _read(name: str, attribute: str, written: Any) -> Any:
    try:
        return Reader().read(written)
    except Exception as error:  # a damaged file
        raise StateError(
            f"{name}: the state's attribute {printable(attribute)} cannot be read"
        ) from error


def _own_modules(agent: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (path, module)
        for path, module in getattr(agent, "wrapped", agent).named_modules()
        if type(module).__module__.partition(".")[0] not in _LIBRARIES
    ]


def _same(one: Any, other: Any) -> bool:
    return packed(one) == packed(other)
