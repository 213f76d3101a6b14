"""Optimisers by name, from an allow-list, and the copying of weights."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Every optimiser of torch.optim that steps without a closure, on dense gradients.
OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD",
)  # fmt: skip


# What would break the update: ascending instead of descending, or a mode for other callers.
_NOT_OURS = ("params", "maximize", "differentiable", "capturable")


def optimizer_class(optimizer: Mapping[str, Any]) -> type[torch.optim.Optimizer]:
    """The class that an `optimizer` section names, its arguments checked.

    Args:
        optimizer: `classname`, such as torch.optim.AdamW, and the arguments of its constructor.

    Raises:
        ValueError: for a class outside the allow-list, an unknown argument, a learning rate that
            is not a positive number.
    """
    classname = str(optimizer.get("classname"))
    module, _, name = classname.rpartition(".")
    if module != "torch.optim" or name not in OPTIMIZERS or not hasattr(torch.optim, name):
        allowed = ", ".join(f"torch.optim.{name}" for name in OPTIMIZERS)
        raise ValueError(f"classname = {classname!r}: must be one of {allowed}")
    chosen: type[torch.optim.Optimizer] = getattr(torch.optim, name)
    known = [key for key in inspect.signature(chosen).parameters if key not in _NOT_OURS]
    for key, value in optimizer.items():
        if key != "classname" and key not in known:
            raise ValueError(
                f"{key} = {value!r}: {name} has no such argument; allowed are {', '.join(known)}"
            )
    rate = optimizer.get("lr", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise ValueError(f"lr = {rate!r}: must be a number > 0")
    return chosen


def setup_optimizer(
    cfg_optimizer: Mapping[str, Any], *agents: nn.Module | nn.Parameter
) -> torch.optim.Optimizer:
    """Make the optimiser of a configuration for the parameters of agents.

    Uses torch's fused implementation, several times cheaper on small networks, wherever it
    exists and the configuration does not choose otherwise.

    Args:
        cfg_optimizer: `classname` and arguments, as in the seed's `optimizer` section.
        agents: modules or single parameters.

    Raises:
        ValueError: for a class outside the allow-list or arguments that it refuses.
    """
    optimizer = dict(cfg_optimizer)
    chosen = optimizer_class(optimizer)
    del optimizer["classname"]
    parameters: list[Tensor] = []
    for agent in agents:
        parameters += [agent] if isinstance(agent, Tensor) else list(agent.parameters())
    if "fused" in inspect.signature(chosen).parameters and not {"fused", "foreach"} & set(
        optimizer
    ):
        optimizer["fused"] = all(parameter.is_floating_point() for parameter in parameters)
    try:
        if "betas" in optimizer:
            optimizer["betas"] = tuple(optimizer["betas"])
        return chosen(parameters, **optimizer)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"optimizer: {chosen.__name__} refuses its arguments: {error}") from error


def copy_parameters(source: nn.Module, target: nn.Module) -> None:
    """Copy weights and buffers of `source` into `target`.

    Raises:
        ValueError: if the two are not of the same architecture; nothing is copied then.
    """
    given, wanted = source.state_dict(), target.state_dict()
    if given.keys() != wanted.keys():
        different = sorted(given.keys() ^ wanted.keys())
        raise ValueError(f"cannot copy parameters, only one of the two has {different}")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"cannot copy parameters: {name} is {list(tensor.shape)} in the source and "
                f"{list(wanted[name].shape)} in the target"
            )
    with torch.no_grad():
        for name, tensor in given.items():
            wanted[name].copy_(tensor)
