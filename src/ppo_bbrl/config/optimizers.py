"""Optimisers by name, from an allow-list; learning rate schedules; copying weights."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ppo_bbrl.config.plain_values import plain
from ppo_bbrl.config.rules import Rule
from ppo_bbrl.errors import ConfigError, one_line, shown

# Every optimiser in torch.optim that needs no closure and works on dense gradients.
OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD",
)  # fmt: skip


# Arguments that would break the update: gradient ascent, or modes for other callers.
_NOT_OURS = ("params", "maximize", "differentiable", "capturable")


def optimizer_section(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Check an `optimizer` section, as far as possible without the parameters.

    Args:
        optimizer: `classname`, such as torch.optim.AdamW, and the arguments of its constructor.

    Returns:
        The section as plain Python values, with strings of numbers converted.

    Raises:
        ConfigError: for a class that is not in the allow-list, or an argument that is unknown, of
            the wrong type, or refused by the class.
    """
    section: dict[str, Any] = plain(optimizer)
    chosen = _chosen(section)
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(chosen).parameters.items()
        if key not in _NOT_OURS
    }
    for key, value in section.items():
        if key == "classname":
            continue
        if key not in defaults:
            raise ConfigError(
                f"optimizer.{key} = {shown(value)}: {chosen.__name__} has no such argument; "
                f"allowed are {', '.join(defaults)}"
            )
        if (rule := _rule(key, defaults[key])) is not None:
            section[key] = rule.fit(f"optimizer.{key}", value)
    _make(chosen, [torch.zeros(1, requires_grad=True)], section)  # torch's own checks
    return section


def _chosen(section: Mapping[str, Any]) -> type[torch.optim.Optimizer]:
    classname = str(section.get("classname"))
    module, _, name = classname.rpartition(".")
    if module != "torch.optim" or name not in OPTIMIZERS or not hasattr(torch.optim, name):
        allowed = ", ".join(f"torch.optim.{name}" for name in OPTIMIZERS)
        raise ConfigError(f"optimizer.classname = {classname!r}: must be one of {allowed}")
    chosen: type[torch.optim.Optimizer] = getattr(torch.optim, name)
    return chosen


def _rule(key: str, default: Any) -> Rule | None:
    """The values that an argument allows, by its default; torch would accept 7 as a boolean."""
    if default is None:  # fused, foreach
        return Rule(bool, optional=True)
    if isinstance(default, tuple):
        return None if None in default else Rule(float, items=True, length=len(default))
    if isinstance(default, bool):
        return Rule(bool)
    return Rule(float, low=0, low_allowed=False) if key == "lr" else Rule(float)


def _make(
    chosen: type[torch.optim.Optimizer], parameters: list[Tensor], section: Mapping[str, Any]
) -> torch.optim.Optimizer:
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in section.items()
        if key != "classname"
    }
    try:
        with without_compiler():
            return chosen(parameters, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"optimizer: {chosen.__name__} does not accept its arguments: {one_line(error)}"
        ) from error


@contextmanager
def without_compiler() -> Iterator[None]:
    """Inside the `with` block, optimisers work without importing torch's compiler.

    Torch imports its compiler only to mark some methods of `Optimizer` as not compiled, which takes
    a second. It stores this mark on the function. We set the same mark for the duration of the
    block. If a version of torch does this differently, nothing is changed.
    """
    kind, note = torch.optim.Optimizer, "__dynamo_disable"
    methods = (kind.add_param_group, kind.state_dict, kind.load_state_dict)
    functions = [getattr(method, "__wrapped__", None) for method in methods]
    noted = [function for function in functions if function and not hasattr(function, note)]
    if "torch._dynamo" in sys.modules:
        noted = []
    for function in noted:
        setattr(function, note, function)
    try:
        yield
    finally:
        for function in noted:
            delattr(function, note)


def setup_optimizer(
    cfg_optimizer: Mapping[str, Any], *agents: nn.Module | nn.Parameter
) -> torch.optim.Optimizer:
    """Make the optimiser that a configuration describes, for the parameters of agents.

    Uses torch's fused implementation, several times faster on small networks, where it exists and
    the configuration does not choose otherwise.

    Args:
        cfg_optimizer: `classname` and arguments: the `optimizer` section of a configuration.
        agents: modules or single parameters.

    Raises:
        ConfigError: for a class that is not in the allow-list, or arguments that it refuses.
    """
    section = optimizer_section(cfg_optimizer)
    chosen = _chosen(section)
    parameters: list[Tensor] = []
    for agent in agents:
        parameters += [agent] if isinstance(agent, Tensor) else list(agent.parameters())
    if not parameters:
        names = " and ".join(type(agent).__name__ for agent in agents)
        raise ConfigError(
            f"{names} has no parameters to learn: layers in a list or a dict belong into "
            "nn.ModuleList or nn.ModuleDict"
        )
    if "fused" in inspect.signature(chosen).parameters and not {"fused", "foreach"} & set(section):
        section["fused"] = all(parameter.is_floating_point() for parameter in parameters)
    return _make(chosen, parameters, section)


class ScheduledRates:
    """Learning rates that follow a schedule.

    The learning rate of a new optimiser or parameter group counts as the initial value of the
    schedule. One that the user has changed since counts as the current value: the schedule
    continues from there.
    """

    def __init__(self) -> None:
        # For each group: its initial rate, the rate last set, and the factor at that time.
        self._groups: WeakKeyDictionary[torch.optim.Optimizer, list[tuple[float, float, float]]] = (
            WeakKeyDictionary()
        )

    def apply(self, optimizer: torch.optim.Optimizer, factor: float) -> None:
        """Set the current learning rates: the initial ones times `factor`, from the schedule."""
        known = self._groups.setdefault(optimizer, [])
        for number, group in enumerate(optimizer.param_groups):
            first = lr = float(group["lr"])
            if number < len(known):
                first, written, factor_then = known[number]
                if lr != written:
                    first = lr / factor_then if factor_then else lr
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(first * factor)
            else:
                group["lr"] = first * factor
            known[number : number + 1] = [(first, float(group["lr"]), factor)]

    def of(self, optimizer: torch.optim.Optimizer) -> list[list[float]]:
        """What is known of the groups of an optimiser, as a part of its state."""
        return [list(known) for known in self._groups.get(optimizer, ())]

    def go_on_from(self, optimizer: torch.optim.Optimizer, known: list[list[float]]) -> None:
        """Take over what `of` returned."""
        self._groups[optimizer] = [(first, written, then) for first, written, then in known]

    def begin_with(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Set the initial learning rate of all groups."""
        self._groups.pop(optimizer, None)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr


def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """Copy the weights and buffers of `source` to `target`.

    Raises:
        ValueError: if their architectures differ; then nothing is copied.
    """
    given, wanted = source.state_dict(), target.state_dict()
    if given.keys() != wanted.keys():
        different = sorted(given.keys() ^ wanted.keys())
        raise ValueError(f"cannot copy parameters: only one of the two has {different}")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"cannot copy parameters: {name} is {list(tensor.shape)} in the source and "
                f"{list(wanted[name].shape)} in the target"
            )
    with torch.no_grad():
        for name, tensor in given.items():
            wanted[name].copy_(tensor)


def held_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of all groups of an optimiser."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
