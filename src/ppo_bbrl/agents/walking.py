"""What is in a module, found by a walk that costs a third of torch's, which builds names.

An iteration asks a dozen times whether everything is as it was.
"""

from typing import Any

from torch import Tensor, nn


def modules_in(*roots: nn.Module) -> list[nn.Module]:
    """These modules and those inside them, each once, in the order of `nn.Module.modules`."""
    found: dict[nn.Module, None] = {}
    waiting = list(reversed(roots))
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module] = None
            if inner := module._modules:
                waiting += [one for one in reversed(inner.values()) if one is not None]
    return list(found)


def weights_in(*roots: nn.Module) -> list[nn.Parameter]:
    """The parameters of these modules, each once, in the order of `nn.Module.parameters`."""
    held = [one for module in modules_in(*roots) for one in module._parameters.values()]
    return list(dict.fromkeys(one for one in held if one is not None))


def tensors_in(*roots: nn.Module) -> list[Tensor]:
    """The parameters of these modules, then their buffers, each once."""
    modules = modules_in(*roots)
    held: list[Tensor | None] = [one for each in modules for one in each._parameters.values()]
    held += [one for each in modules for one in each._buffers.values()]
    return list(dict.fromkeys(one for one in held if one is not None))


def leaves_behind(tensor: Tensor) -> list[Tensor]:
    """The tensors that would get a gradient from this one, each once."""
    found: dict[Tensor, None] = {}
    waiting: list[Any] = [tensor.grad_fn]
    known = set(waiting)
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if (leaf := getattr(node, "variable", None)) is not None:
            found[leaf] = None
        behind = [one for one, _ in node.next_functions if one not in known]
        known.update(behind)
        waiting += behind
    return list(found)
