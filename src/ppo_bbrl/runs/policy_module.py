"""A trained policy as one module: from what an environment shows to what it takes.

Observations go in as the environment gives them, the greedy action comes out as the environment
takes it. What is in between, normalisation, scaling of images, memory, clipping, is inside; all of
it is tensor operations, which torch can export.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import Tensor, nn

from ppo_bbrl.agents.base import Policy, copy_agent
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.multi import CompositePolicy
from ppo_bbrl.agents.recurrent import RecurrentPolicy
from ppo_bbrl.distributions import masked
from ppo_bbrl.envs.actions import leaves
from ppo_bbrl.envs.masks import KEY, sizes_of
from ppo_bbrl.envs.parts import observation_template, parts_of

OBSERVATION, MEMORY, NEXT_MEMORY, ACTION = "observation", "memory", "next_memory", "action"


@dataclass(frozen=True)
class Port:
    """An input or an output.

    Attributes:
        name: as in the file.
        dtype: of its numbers.
        shape: of one row; the file has `[N, *shape]`.
        meaning: in words.
        optional: whether it may be left out.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str
    optional: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"shape": ["N", *self.shape]}

    def __str__(self) -> str:
        shape = ", ".join(map(str, ("N", *self.shape)))
        return f"{self.name} {self.dtype} [{shape}]" + (" (optional)" if self.optional else "")


class PolicyModule(nn.Module):
    """The greedy policy on tensors `[N, …]`: the inputs in order to the outputs in order.

    Args:
        policy: of the package; it is copied, in float32 on the CPU.
        seen: the space of the observations that it sees.
        actions: the action space of one environment.
        masks: whether there may be masks of allowed actions.

    Attributes:
        inputs, outputs: what they are.
    """

    def __init__(
        self, policy: Policy, seen: Space[Any], actions: Space[Any], *, masks: bool = True
    ) -> None:
        super().__init__()
        own: Any = copy_agent(policy).float().cpu().eval().requires_grad_(False)
        self.memory = own.memory if isinstance(own, RecurrentPolicy) else None
        self.head: Any = own.head if isinstance(own, RecurrentPolicy) else own
        self.cell = None if self.memory is None else _cell(self.memory)
        self.seen = nn.ModuleList(_Seen(part) for part in parts_of(seen).values())
        self.paths = tuple(parts_of(seen))
        self.take = _taken(actions)
        n_values = sum(sizes_of(actions))
        self.masks = masks and bool(n_values) and bool(own.takes_mask)
        composite = isinstance(self.head, CompositePolicy)
        self.mask_of = _WholeMask(self.head.head) if composite else None
        self.inputs = [_observed(path, part) for path, part in parts_of(seen).items()]
        self.outputs = [self._action(actions)]
        if self.memory is not None:
            width = (self.memory.width,)
            text = "zeros where an episode begins, else next_memory of the step before"
            self.inputs.append(Port(MEMORY, "float32", width, text))
            self.outputs.append(Port(NEXT_MEMORY, "float32", width, "memory of the next step"))
        if self.masks:
            text = "which actions are allowed; all if it is left out"
            self.inputs.append(Port(KEY, "bool", (n_values,), text, optional=True))

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in order, for all inputs, in order."""
        rest = list(given)
        mask = rest.pop() if self.masks else None
        state = None if self.memory is None else rest.pop()
        parts = [part(one) for part, one in zip(self.seen, rest, strict=True)]
        obs = dict(zip(self.paths, parts, strict=True)) if self.paths != ("",) else parts[0]
        if self.memory is None:
            return (self._act(obs, mask),)
        state = self._after(obs, state)
        return self._act(self.memory.features(state), mask), state

    def examples(self, n: int) -> tuple[Tensor, ...]:
        """Inputs of the right types and shapes, `[n, …]`."""
        made = []
        for port in self.inputs:
            dtype = getattr(torch, port.dtype)
            one = torch.ones if dtype == torch.bool else torch.zeros
            made.append(one(n, *port.shape, dtype=dtype))
        for place, part in enumerate(self.seen):
            made[place] = made[place] + part.first  # type: ignore[operator] # a buffer
        return tuple(made)

    def _act(self, obs: Any, mask: Tensor | None) -> Tensor:
        if mask is None:
            dist = self.head.dist(obs)
        elif self.mask_of is None:
            dist = self.head.dist(obs, mask)
        else:
            dist = self.head.head(masked(self.head.outputs(obs), self.mask_of(mask)))
        action: Tensor = self.take(dist.mode)
        return action

    def _after(self, obs: Any, state: Any) -> Tensor:
        assert self.memory is not None
        assert self.cell is not None
        seen, size = self.memory.encoder(obs).to(torch.float32), self.memory.size
        if self.memory.kind == "gru":
            after: Tensor = self.cell(seen, state)
            return after
        return torch.cat(self.cell(seen, (state[:, :size], state[:, size:])), -1)

    def _action(self, space: Space[Any]) -> Port:
        with torch.no_grad():
            row = self.take(torch.zeros(1, *_shape_in_workspace(space)))
        text = "the greedy action, as the environment takes it"
        if isinstance(space, Dict | Tuple):
            text += ": " + ", ".join(action_names(space))
        return Port(ACTION, _named(row.dtype), tuple(row.shape[1:]), text)


def action_names(space: Space[Any]) -> list[str]:
    """What each number of an action is, in its order: `push[0]`, `turn`; of one array its place."""
    names = []
    for path, part in parts_of(space).items():
        shape = tuple(part.shape or ())
        places = [str(list(index)).replace(" ", "") for index in np.ndindex(shape)]
        names += [(path or ACTION) + (place if shape else "") for place in places]
    return names


def _observed(path: str, part: Space[Any]) -> Port:
    template = observation_template(part, 1)
    name = f"{OBSERVATION}/{path}" if path else OBSERVATION
    return Port(name, _named(template.dtype), tuple(template.shape[1:]), f"in {part}"[:300])


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _Seen(nn.Module):
    """An observation of the environment as agents get it: indices begin at 0."""

    first: Tensor

    def __init__(self, space: Space[Any]) -> None:
        super().__init__()
        dtype = observation_template(space, 1).dtype
        indices = isinstance(space, Discrete | MultiDiscrete)
        first = torch.as_tensor(np.asarray(space.start if indices else 0)).to(dtype)  # type: ignore[attr-defined] # of these two
        self.register_buffer("first", first)
        self._moved = bool(first.any())

    def forward(self, observation: Tensor) -> Tensor:
        return observation - self.first if self._moved else observation


class _WholeMask(nn.Module):
    """The mask of all outputs of a composite head, from that of the parts which have one."""

    places: Tensor

    def __init__(self, head: Any) -> None:
        super().__init__()
        places = torch.full((head.n_outputs,), len(head.maskable))
        places[head.maskable] = torch.arange(len(head.maskable))
        self.register_buffer("places", places)

    def forward(self, mask: Tensor) -> Tensor:
        # Not by the number of rows, so that one mask may be that of all of them.
        return torch.cat((mask, torch.ones_like(mask[:, :1])), -1).index_select(-1, self.places)


def _cell(memory: Memory) -> nn.Module:
    """The memory's weights as the cell of one step."""
    kind = nn.GRUCell if memory.kind == "gru" else nn.LSTMCell
    with torch.random.fork_rng(devices=[]):
        cell = kind(memory.cells.input_size, memory.size)
    weights = {name.removesuffix("_l0"): one for name, one in memory.cells.state_dict().items()}
    cell.load_state_dict(weights)
    return cell.requires_grad_(False)


def _shape_in_workspace(space: Space[Any]) -> tuple[int, ...]:
    if isinstance(space, Dict | Tuple):
        return (sum(math.prod(part.shape or ()) for part in leaves(space)),)
    return tuple(space.shape or ())


def _taken(space: Space[Any]) -> nn.Module:
    """What makes of a policy's actions those that the environment takes."""
    if isinstance(space, Dict | Tuple):
        return _TakenParts(list(leaves(space)))
    if isinstance(space, Discrete | MultiDiscrete):
        return _TakenIndices(space)
    if isinstance(space, MultiBinary):
        return _TakenBits()
    assert isinstance(space, Box)
    return _TakenNumbers(space)


class _TakenIndices(nn.Module):
    start: Tensor

    def __init__(self, space: Any) -> None:
        super().__init__()
        self.register_buffer("start", torch.as_tensor(np.asarray(space.start)).long())
        self._moved = bool(self.start.any())
        self._dtype = getattr(torch, str(space.dtype), torch.int64)

    def forward(self, action: Tensor) -> Tensor:
        action = action.long()
        return (action + self.start if self._moved else action).to(self._dtype)


class _TakenBits(nn.Module):
    def forward(self, action: Tensor) -> Tensor:
        return action.to(torch.int8)


class _TakenNumbers(nn.Module):
    """Clips in the precision of the space or in float32, whichever is higher."""

    low: Tensor
    high: Tensor

    def __init__(self, space: Box) -> None:
        super().__init__()
        self._dtype = getattr(torch, str(space.dtype))
        precise = np.promote_types(space.dtype, np.float32)
        for name, bound in (("low", space.low), ("high", space.high)):
            self.register_buffer(name, torch.as_tensor(bound.astype(precise)))
        self._bounded = bool((self.low.isfinite() | self.high.isfinite()).any())

    def forward(self, action: Tensor) -> Tensor:
        if self._bounded:
            action = action.to(self.low.dtype)
            action = torch.minimum(torch.maximum(action, self.low), self.high)
        return action.to(self._dtype)


class _TakenParts(nn.Module):
    """The numbers of all parts, one after the other, in float64 if one of them is."""

    def __init__(self, parts: Sequence[Space[Any]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(map(_taken, parts))
        self._shapes = [tuple(part.shape or ()) for part in parts]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        wide = any(part.dtype == np.float64 for part in parts)
        self._dtype = torch.float64 if wide else torch.float32

    def forward(self, action: Tensor) -> Tensor:
        pieces = action.split(self._sizes, -1)  # type: ignore[no-untyped-call] # torch's
        made = []
        for take, piece, shape in zip(self.parts, pieces, self._shapes, strict=True):
            own = take(piece.reshape(-1, *shape))
            made.append(own.reshape(piece.shape).to(self._dtype))
        return torch.cat(made, -1)
