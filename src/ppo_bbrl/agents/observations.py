"""Observations for agents: a tensor, or, for Dict and Tuple spaces, a dict of tensors.

In the workspace each part of a Dict or a Tuple is a variable of its own, `env/env_obs/<path>`;
everything else is `env/env_obs`. Agents get the parts together, by path: `{"a": …, "b/0": …}`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

NAME = "env/env_obs"
_PARTS = f"{NAME}/"

#: the input of `policy.dist` and `critic.value`, `[..., *shape]` each
Observation = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Features:
    """What the encoder of an agent has already made of observations, in their place.

    Attributes:
        of_encoder: `[..., F]`.
    """

    of_encoder: Tensor


def encoded(encoder: nn.Module, obs: Any) -> Tensor:
    """Observations as features, `[..., F]`."""
    return obs.of_encoder if isinstance(obs, Features) else cast("Tensor", encoder(obs))


def is_observation(name: str) -> bool:
    """Whether a variable of this name is an observation or a part of one."""
    return name == NAME or name.startswith(_PARTS)


def names_in(names: Iterable[str]) -> list[str]:
    """The names among these that belong to observations."""
    return [name for name in names if is_observation(name)]


def observation_in(variables: Mapping[str, Tensor]) -> Observation:
    """The observations among variables.

    Raises:
        KeyError: if there are none.
    """
    if NAME in variables:
        return variables[NAME]
    parts = {
        name.removeprefix(_PARTS): one for name, one in variables.items() if is_observation(name)
    }
    if not parts:
        raise KeyError(f"there is no {NAME} among {', '.join(variables) or 'no variables'}")
    return parts


def observation_at(workspace: Any, t: int) -> Observation:
    """The observations in row t of a workspace, `[B, …]`: a copy."""
    if NAME in workspace.variables:
        row: Tensor = workspace.get(NAME, t)
        return row
    names = names_in(workspace.variables)
    if not names:
        workspace.get(NAME, t)  # raises an error that says what there is
    return observation_in({name: workspace.get(name, t) for name in names})


def as_variables(observation: Observation) -> dict[str, Tensor]:
    """Observations by their names in the workspace."""
    if isinstance(observation, Tensor):
        return {NAME: observation}
    return {_PARTS + path: part for path, part in observation.items()}


def each_part(observation: Observation, function: Callable[[Tensor], Tensor]) -> Observation:
    """Apply a function to each part of an observation."""
    if isinstance(observation, Tensor):
        return function(observation)
    return {path: function(part) for path, part in observation.items()}


def moved(observation: Observation, device: torch.device) -> Observation:
    """Move observations to a device."""
    return each_part(observation, lambda part: part.to(device))


def any_part(observation: Observation) -> Tensor:
    """Any one tensor of an observation, which tells the number of rows and the device."""
    return observation if isinstance(observation, Tensor) else next(iter(observation.values()))
