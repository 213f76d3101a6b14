"""Checks of a model's outputs, shared by all callers so that the errors are the same.

The errors have no subject: the caller adds which model they are about.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torch.nn.parameter import is_lazy

from ppo_bbrl.agents.observations import Observation
from ppo_bbrl.agents.walking import leaves_behind, weights_in
from ppo_bbrl.envs.actions import Array, action_converter
from ppo_bbrl.errors import ConfigError, UserError, one_line
from ppo_bbrl.joint_distributions import MultiCategorical

_PRECISIONS = (torch.float32, torch.float64)


def seen(observation: Observation) -> str:
    """Describe observations, for errors."""
    if isinstance(observation, Tensor):
        return f"observations {list(observation.shape)} {observation.dtype}"
    parts = (f"{path} {list(one.shape)} {one.dtype}" for path, one in observation.items())
    return f"observations {', '.join(parts)}"


def asked(function: Callable[[], Any], given: str) -> Any:
    """The result of a function.

    Raises:
        UserError: if it fails, for example because a layer expects another number of features.
    """
    try:
        return function()
    except UserError:
        raise
    except Exception as error:
        raise ConfigError(f"fails on {given}: {one_line(error, 300)}") from error


def check_weights(module: nn.Module) -> None:
    """Refuse weights that cannot learn: not made yet, of half precision, in sparse gradients."""
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise ConfigError(
                f"its weight {name} has no size yet: give the layer its number of inputs, or call "
                "the network once on observations"
            )
        if parameter.requires_grad and parameter.dtype not in _PRECISIONS:
            raise ConfigError(
                f"its weights are {parameter.dtype}; must be torch.float32 or torch.float64"
            )
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.sparse:
            raise ConfigError(
                f"its layer {name} has sparse gradients, which cannot be clipped: use sparse=False"
            )


def check_learns(name: str, tensor: Tensor, module: nn.Module, *others: nn.Module) -> None:
    """Refuse a result that no weight can change; warn of weights that nobody will change.

    Args:
        name: what the tensor is.
        tensor: computed with gradients.
        module: which computed it.
        others: modules whose weights learn, too.
    """
    trainable = any(parameter.requires_grad for parameter in module.parameters())
    if trainable and not tensor.requires_grad:
        raise ConfigError(
            f"its {name} has no gradient, so that its weights would never change: is there a "
            "detach(), an item() or a no_grad() on the way?"
        )
    learning = set(weights_in(module, *others))
    strange = [list(leaf.shape) for leaf in leaves_behind(tensor) if leaf not in learning]
    if strange:
        warnings.warn(
            f"{type(module).__name__}: its {name} is computed with weights that are none of its "
            f"parameters, {', '.join(map(str, strange[:4]))}, so that they never change; layers in "
            "a list or a dict belong into nn.ModuleList or nn.ModuleDict",
            stacklevel=2,
        )


def dist_and_value(answer: Any, n: int) -> tuple[Distribution, Tensor]:
    """Return `answer` if it is a distribution and a tensor of values for n observations."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ConfigError(f"must give (distribution, value), not {_described(answer)}")
    dist, value = answer
    if not isinstance(dist, Distribution):
        raise ConfigError(
            "must give (distribution, value), the first a torch Distribution, not "
            f"{_described(dist)}"
        )
    if not isinstance(value, Tensor):
        check_values(value, n)
    return dist, value


def check_values(value: Any, n: int) -> None:
    """Refuse anything but a tensor of n values."""
    if not isinstance(value, Tensor) or value.shape != (n,):
        column = isinstance(value, Tensor) and value.shape == (n, 1)
        remedy = "; value.squeeze(-1) removes the last dimension" if column else ""
        raise ConfigError(f"must give values of shape [{n}], not {_described(value)}{remedy}")


def check_actions(
    action: Array | Tensor, space: Space[Any], n: int, dist: Distribution | None = None
) -> None:
    """Refuse actions that environments do not accept, or a distribution over too many or too few.

    Args:
        action: `[n, …]`, on the CPU.
        space: action space of one environment.
        n: number of environments.
        dist: distribution of the actions, if known.
    """
    dist = getattr(dist, "base_dist", dist)
    named = "what it gives" if dist is None else f"its {type(dist).__name__}"
    try:
        action_converter(space, n)(action)
    except ValueError as error:
        raise ConfigError(
            f"{named} does not fit the action space {one_line(space)}: {one_line(error)}"
        ) from error
    if not isinstance(space, Discrete | MultiDiscrete):
        return
    wanted = [int(n) for n in np.ravel(space.n if isinstance(space, Discrete) else space.nvec)]
    found = wanted
    if isinstance(dist, MultiCategorical):
        found = list(dist.sizes)
    elif isinstance(dist, Categorical):
        found = [dist.logits.shape[-1]] * len(wanted)
    if found != wanted:
        text = " × ".join(map(str, found))
        raise ConfigError(f"{named} is over {text} actions, the action space is {one_line(space)}")


def check_one_number_each(name: str, tensor: Tensor, n: int) -> None:
    """Refuse a tensor that does not have one number for each of n actions, `[n]`."""
    if tensor.shape != (n,):
        remedy = "; torch.distributions.Independent makes the components of an action one event"
        raise ConfigError(
            f"its {name} of {n} actions is {_described(tensor)}, must be [{n}]"
            + (remedy if tensor.dim() > 1 else "")
        )


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"
