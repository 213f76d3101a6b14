"""The states of agents and optimisers, loaded completely or not at all, unlike in torch."""

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.agents.attributes import changes_of, restore_changes
from ppo_bbrl.agents.layers import check_same_layers, layers_of
from ppo_bbrl.config.optimizers import ScheduledRates, held_parameters, without_compiler
from ppo_bbrl.errors import StateError, one_line
from ppo_bbrl.system.state import State, check_names


class AgentState:
    """The weights and buffers of an agent.

    Args:
        name: the agent's name, for messages.
        agent: the agent, which `load_state_dict` changes in place.
        first: its plain attributes when the run began, of `attributes_of`.
    """

    def __init__(
        self, name: str, agent: nn.Module, first: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self._name, self._agent, self._first = name, agent, first

    def state_dict(self) -> State:
        """The class, the kinds of layers, what does not learn, and weights and buffers by name.

        Buffers that `register_buffer(…, persistent=False)` keeps out of torch's state are among
        them: they may change, as a running mean does. So may plain attributes of one's own agent.
        """
        return {
            "class": _class_name(self._agent),
            "layers": layers_of(self._agent),
            "frozen": [
                name for name, one in self._agent.named_parameters() if not one.requires_grad
            ],
            "others": self._other_buffers(),
            "attributes": changes_of(self._agent, self._first),
            "weights": self._agent.state_dict(),
        }

    def _other_buffers(self) -> dict[str, Tensor]:
        kept = self._agent.state_dict()
        return {name: one for name, one in self._agent.named_buffers() if name not in kept}

    def load_state_dict(self, state: State) -> None:
        """Restore weights, buffers and plain attributes.

        Raises:
            StateError: if the state belongs to a different agent; nothing has been changed then.
        """
        new = dict.fromkeys(("layers", "frozen", "others", "attributes"))  # not in old states
        check_names(new | state, (*new, "class", "weights"), self._name)
        there, here = state["class"], _class_name(self._agent)
        if there != here:
            raise StateError(f"{self._name} is a {there} in the state, but a {here} here")
        settings = check_same_layers(self._name, state.get("layers"), self._agent)
        now, others = self._agent.state_dict(), self._other_buffers()
        check_names(state["weights"], now, self._name)
        given = state.get("others") or {}
        check_names(given, others if given else (), self._name)
        now = {**others, **now}
        for name, value in (*given.items(), *state["weights"].items()):
            there, here = _described(value), _described(now[name])
            if there != here:
                raise StateError(f"{self._name}: {name} is {there} in the state, but {here} here")
        changes = state.get("attributes") or {}
        settings += restore_changes(self._name, self._agent, self._first, changes)
        self._agent.load_state_dict(state["weights"])
        with torch.no_grad():
            for name, value in given.items():
                others[name].copy_(value)
        if (frozen := state.get("frozen")) is not None:
            for name, one in self._agent.named_parameters():
                one.requires_grad_(name not in frozen)
        for differs in settings:
            warnings.warn(differs, stacklevel=2)


class OptimizerState:
    """The state of an optimiser and of its learning rate schedule.

    Args:
        name: the optimiser's name, for messages.
        optimizer: the optimiser, which `load_state_dict` changes in place.
        rates: the scheduled learning rates.
    """

    def __init__(self, name: str, optimizer: torch.optim.Optimizer, rates: ScheduledRates) -> None:
        self._name, self._optimizer, self._rates = name, optimizer, rates

    def state_dict(self) -> State:
        """The name of the class, moments and settings, and the state of the schedule."""
        with without_compiler():
            own = self._optimizer.state_dict()
        return {
            "class": _class_name(self._optimizer),
            **own,
            "rates": self._rates.of(self._optimizer),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore moments and settings.

        Raises:
            StateError: if the state belongs to a different optimiser; nothing has been changed
                then.
        """
        check_names(state, ("class", "state", "param_groups", "rates"), self._name)
        there, here = state["class"], _class_name(self._optimizer)
        if there != here:
            raise StateError(f"{self._name} is a {there} in the state, but a {here} here")
        held = held_parameters(self._optimizer)
        for index, moments in state["state"].items():
            for name, value in moments.items():
                if isinstance(value, Tensor) and not _fits(value, held[index : index + 1]):
                    raise StateError(
                        f"{self._name}: {name} of parameter {index} is {list(value.shape)}, which "
                        "does not fit the parameter"
                    )
        try:
            with without_compiler():
                self._optimizer.load_state_dict(
                    {"state": state["state"], "param_groups": state["param_groups"]}
                )
        except ValueError as error:
            raise StateError(f"{self._name}: {one_line(error)}") from error
        self._rates.go_on_from(self._optimizer, state["rates"])


def _class_name(value: object) -> str:
    """The name of the class without its module, which may be `__main__` in another run."""
    return type(value).__qualname__


def _fits(moment: Tensor, parameters: list[nn.Parameter]) -> bool:
    """Whether a moment has its parameter's shape, or is a number, a row or a column for it."""
    try:
        return bool(parameters) and moment.expand_as(parameters[0]) is not None
    except RuntimeError:
        return False


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"
