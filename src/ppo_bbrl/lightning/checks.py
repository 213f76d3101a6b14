"""What is refused before training starts: arguments of no use, a model that does not fit."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ppo_bbrl.config.rules import Rule
from ppo_bbrl.distributions import entropy_of
from ppo_bbrl.envs.spaces import action_converter
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.schedules import Schedule

SCHEDULED = ("clip_range", "clip_range_vf")  # may be functions of the remaining progress

_COUNT, _FRACTION = Rule(int, low=1), Rule(float, low=0, high=1)
_CLIP_RANGE = Rule(float, low=0, low_allowed=False)
RULES = {
    "buffer_length": _COUNT,
    "num_rollouts": _COUNT,
    "batch_size": _COUNT,
    "epochs_per_rollout": _COUNT,
    "num_eval_episodes": Rule(int, low=0),
    "gamma": _FRACTION,
    "gae_lambda": _FRACTION,
    "target_kl": Rule(float, low=0, low_allowed=False, optional=True),
    "value_coef": Rule(float, low=0),
    "entropy_coef": Rule(float),
    "sde_sample_freq": Rule(int, low=1, words=(-1,)),
    "verbose": Rule(int, low=0, high=2),
    "seed": Rule(int, low=0, high=2**63 - 1, optional=True),
}


def check_arguments(**values: Any) -> None:
    """Refuse an impossible value.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    for name, value in values.items():
        if not RULES[name].allows(_number(value)):
            raise UserError(f"{name} = {value!r}: must be {RULES[name].describe('None')}")


def clip_value(name: str, value: float | Schedule | None, progress_remaining: float) -> float:
    """A clip range at this moment of training.

    Args:
        name: of the argument.
        value: a number, a function of the remaining progress, or, for clip_range_vf, None.
        progress_remaining: from 1 (start) to 0 (end).

    Returns:
        A number > 0; 0 for None, which means no clipping.

    Raises:
        UserError: if it is not a number > 0.
    """
    if value is None and name == "clip_range_vf":
        return 0.0
    now: Any = value(progress_remaining) if callable(value) else value
    if not _CLIP_RANGE.allows(_number(now)):
        moment = f" at a remaining progress of {progress_remaining:g}" if callable(value) else ""
        none = ", or None" if name == "clip_range_vf" else ""
        raise UserError(
            f"{name} = {now!r}{moment}: must be {_CLIP_RANGE.describe()}, or a function from the "
            f"remaining progress, 1 to 0, to such a number{none}"
        )
    return float(now)


def _number(value: Any) -> Any:
    """Python's number of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def answer_of(name: str, function: Callable[[Tensor], Any], observation: Tensor) -> Any:
    """What a function of the model returns for observations, `[N, …]`.

    Args:
        name: of the function.
        function: of the model.
        observation: `[N, …]`.

    Raises:
        UserError: if it fails, as where a layer is made for another number of features.
    """
    try:
        return function(observation)
    except UserError:
        raise
    except Exception as error:
        reason = one_line(error, 200)
        raise UserError(
            f"{name}(x) fails on observations {list(observation.shape)} of {observation.dtype}: "
            f"{reason}"
        ) from error


def check_weights(model: torch.nn.Module, precision: str) -> None:
    """Refuse weights of half precision, unless the Trainer is told of them.

    Raises:
        UserError: naming their precision.
    """
    learned = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    halves = learned & {torch.float16, torch.bfloat16}
    if halves and "16" not in precision:
        raise UserError(
            f"the model's weights are {halves.pop()}: must be torch.float32 or torch.float64; "
            "Trainer(precision='bf16-mixed') computes in half precision"
        )


@torch.no_grad()
def check_forward(answer: Any, action_space: gym.Space[Any], n_envs: int) -> None:
    """Refuse what `forward` returned if PPO cannot learn from it.

    Args:
        answer: `forward(observations)` for one row of observations, `[B, …]`.
        action_space: of one environment.
        n_envs: B.

    Raises:
        UserError: saying what was expected, what was seen and, where it is known, the remedy.
    """
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise UserError(f"forward(x) must return (distribution, value), not {_told(answer)}")
    dist, value = answer
    if not isinstance(dist, Distribution):
        raise UserError(
            "forward(x) must return (distribution, value), the first a torch Distribution, not "
            f"{_told(dist)}"
        )
    if not isinstance(value, Tensor) or value.shape != (n_envs,):
        column = isinstance(value, Tensor) and value.shape == (n_envs, 1)
        raise UserError(
            f"forward(x) must return values of shape [{n_envs}], not {_told(value)}"
            + ("; value.squeeze(-1) takes the last dimension away" if column else "")
        )
    named = f"forward(x) returned a {type(dist).__name__}"
    space = one_line(action_space)
    assert action_space.shape is not None
    event = tuple(action_space.shape)
    if tuple(dist.batch_shape) == (n_envs, *event) and event:
        raise UserError(
            f"{named} with one log-probability for each component of an action; "
            f"torch.distributions.Independent(dist, {len(event)}) makes them one action of {space}"
        )
    shapes = (tuple(dist.batch_shape), tuple(dist.event_shape))
    if shapes != ((n_envs,), event):
        raise UserError(
            f"{named} of batch shape {list(shapes[0])} and event shape {list(shapes[1])}; the "
            f"action space {space} and {n_envs} environments need [{n_envs}] and {list(event)}"
        )
    _check_number_of_actions(dist, action_space, named)
    action = dist.sample()
    try:
        action_converter(action_space, n_envs)(action.cpu())
    except ValueError as error:
        raise UserError(f"{named}, which does not fit the action space {space}: {error}") from error
    log_prob = dist.log_prob(action)
    if log_prob.shape != (n_envs,):
        raise UserError(f"{named} whose log_prob is {_told(log_prob)}; must be of shape [{n_envs}]")
    entropy_of(dist, log_prob)  # refuses another shape


def check_predict(answer: Any, action_space: gym.Space[Any]) -> Any:
    """What `predict` returned for one observation, `[1, …]`, as a NumPy array.

    Raises:
        UserError: if it does not fit the action space.
    """
    action = answer.cpu().numpy() if isinstance(answer, Tensor) else np.asarray(answer)
    try:
        action_converter(action_space, 1)(action)
    except ValueError as error:
        space = one_line(action_space)
        raise UserError(f"predict(x) does not fit the action space {space}: {error}") from error
    return action


def _check_number_of_actions(dist: Distribution, space: gym.Space[Any], named: str) -> None:
    if isinstance(space, Discrete):
        wanted = [int(space.n)]
    elif isinstance(space, MultiDiscrete):
        wanted = space.nvec.flatten().tolist()
    else:
        return
    base = getattr(dist, "base_dist", dist)
    if isinstance(base, Categorical):
        found = [base.logits.shape[-1]] * len(wanted)
    else:
        found = list(getattr(dist, "sizes", wanted))
    if found != wanted:
        raise UserError(
            f"{named} over {_listed(found)} actions; the action space has {_listed(wanted)}"
        )


def _listed(numbers: list[int]) -> str:
    return " × ".join(map(str, numbers))


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"
