"""Plain attributes of a user's own agent, such as a noise that fades: no weight has them.

`state_dict()` of torch knows parameters and buffers. What else an agent counts, fades or draws from
would begin anew where a run goes on.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from ppo_bbrl.envs.plain_data import Reader, Writer
from ppo_bbrl.errors import StateError, printable, shown
from ppo_bbrl.system.state import NotPlainError, packed

_LIBRARIES = frozenset(("torch", "bbrl", "ppo_bbrl"))
_OF_EVERY_AGENT = frozenset((
    "training", "verbose", "prefix", "workspace", "_name", "_Agent__trace_file",
    "_is_full_backward_hook",
))  # fmt: skip


def attributes_of(agent: nn.Module) -> dict[str, Any]:
    """The plain attributes of an agent's modules as a `Writer` writes them, `fades.noise` by name.

    Of modules whose class comes from no library of ours.
    """
    found = {}
    for path, module in _own_modules(agent):
        for key, value in vars(module).items():
            if key not in _OF_EVERY_AGENT and not key.endswith(("_hooks", "_hooks_with_kwargs")):
                with suppress(NotPlainError):
                    found[f"{path}.{key}".lstrip(".")] = Writer().write(value)
    return found


def changes_of(agent: nn.Module, first: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What has changed since `attributes_of` gave `first`: what it was, and what it is."""
    return {
        name: [first[name], now]
        for name, now in (attributes_of(agent) if first else {}).items()
        if name in first and not _same(first[name], now)
    }


def restore_changes(name: str, agent: nn.Module, changes: Any) -> list[str]:
    """Set attributes to what they were in the run.

    Args:
        name: the agent's name, for messages.
        agent: the agent, which is changed, unless an error is raised.
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
    here, modules = attributes_of(agent), dict(_own_modules(agent))
    others, values = [], {}
    for attribute, pair in changes.items():
        if attribute not in here:
            raise StateError(
                f"{name}: its attribute {printable(attribute)} changed in the run; here it is "
                "missing, or no plain data"
            )
        began, values[attribute] = (_read(name, attribute, written) for written in pair)
        if not _same(pair[0], here[attribute]):
            begins = _read(name, attribute, here[attribute])
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
