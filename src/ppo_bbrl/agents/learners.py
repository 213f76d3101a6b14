"""The two agents that learn and their optimisers, any of which may be replaced at any time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from ppo_bbrl.agents.shared import share_weights
from ppo_bbrl.agents.walking import tensors_in, weights_in
from ppo_bbrl.config.optimizers import held_parameters, setup_optimizer
from ppo_bbrl.errors import UserError


class Learners(NamedTuple):
    """Two agents and their optimisers; agents that share weights have one optimiser."""

    policy: Any
    critic: Any
    policy_optimizer: Optimizer
    critic_optimizer: Optimizer

    def groups(self) -> dict[str, tuple[list[nn.Parameter], Optimizer]]:
        """The groups stepped separately: "policy" and "critic", or only "shared"."""
        if self.policy_optimizer is self.critic_optimizer:
            return {"shared": (weights_in(self.policy, self.critic), self.policy_optimizer)}
        return {
            "policy": (weights_in(self.policy), self.policy_optimizer),
            "critic": (weights_in(self.critic), self.critic_optimizer),
        }

    def clipped(self, *, together: bool) -> dict[str, list[nn.Parameter]]:
        """What is clipped apart: the groups, or with `together` all of it as "shared"."""
        groups = {name: parameters for name, (parameters, _) in self.groups().items()}
        if together:
            return {"shared": [one for parameters in groups.values() for one in parameters]}
        return groups

    def learn(self) -> bool:
        """Whether any weight does; those with `requires_grad_(False)` stay as they are."""
        return any(one.requires_grad for group, _ in self.groups().values() for one in group)

    def tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """The weights and buffers of the policy, and those of the critic."""
        return tensors_in(self.policy), tensors_in(self.critic)

    def identity(self) -> tuple[list[object], list[object]]:
        """The ids of everything in the agents and the optimisers, which are cheap to compare."""
        optimizers: tuple[object, ...] = (self.policy_optimizer, self.critic_optimizer)
        return (
            [
                (id(tensor), tensor.dtype, tensor.device)
                for tensors in self.tensors()
                for tensor in tensors
            ],
            [
                (id(one), [*map(id, held_parameters(one))] if isinstance(one, Optimizer) else None)
                for one in optimizers
            ],
        )

    def check(self, known: tuple[list[Tensor], list[Tensor]]) -> None:
        """Refuse weights that would silently not learn, or learn twice; move moments to weights.

        Args:
            known: the result of `tensors` at the last check.

        Raises:
            UserError: naming the agent and the optimiser that do not fit, and the remedy.
        """
        of_policy, of_critic = ({id(tensor) for tensor in tensors} for tensors in known)
        pairs = (
            ("policy_optimizer", self.policy_optimizer, "train_policy", self.policy, of_policy),
            ("critic_optimizer", self.critic_optimizer, "critic_agent", self.critic, of_critic),
        )
        for optimizer_name, optimizer, agent_name, agent, before in pairs:
            if not isinstance(optimizer, Optimizer):
                raise UserError(
                    f"{optimizer_name} is a {type(optimizer).__name__}: must be a torch optimiser"
                )
            held = set(held_parameters(optimizer))
            weights = dict(agent.named_parameters())
            if weights and held.isdisjoint(weights.values()):
                raise UserError(
                    f"{optimizer_name} holds no parameter of {agent_name}: make it from "
                    f"{agent_name}.parameters()"
                )
            for name, weight in weights.items():
                if weight not in held and id(weight) not in before:
                    raise UserError(
                        f"{agent_name} has a new parameter {name}, which {optimizer_name} does not "
                        f"hold: assign {agent_name} again, which creates a new optimiser, or use "
                        f"{optimizer_name}.add_param_group"
                    )
            _follow(optimizer)
        if self.policy_optimizer is not self.critic_optimizer and not set(
            held_parameters(self.policy_optimizer)
        ).isdisjoint(held_parameters(self.critic_optimizer)):
            raise UserError(
                "policy_optimizer and critic_optimizer hold the same parameters, which would be "
                "stepped twice: agents that share weights need the same optimiser in both places"
            )


def _follow(optimizer: Optimizer) -> None:
    """Move moments to the device and dtype of their parameters."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                moment = value.shape == parameter.shape and value.is_floating_point()
                dtype = parameter.dtype if moment and name != "step" else value.dtype
                state[name] = value.to(parameter.device, dtype)


def make_optimizers(
    settings: Mapping[str, Any],
    policy: nn.Module,
    critic: nn.Module,
    *,
    new: nn.Module | None = None,
    before: tuple[Optimizer, Optimizer] | None = None,
) -> tuple[Optimizer, Optimizer]:
    """Make the optimisers of policy and critic; a single one if they share weights.

    Args:
        settings: the `optimizer` section of the configuration.
        policy: any BBRL agent.
        critic: any BBRL agent.
        new: the new agent, if the other one already has an optimiser.
        before: the previous optimisers, whose moments of remaining weights are kept.

    Raises:
        ValueError: for settings that the optimiser rejects.
    """
    if share_weights(policy, critic):
        joint = setup_optimizer(settings, nn.ModuleList((policy, critic)))
        made = (joint, joint)
    elif before is None or before[0] is before[1]:
        made = (setup_optimizer(settings, policy), setup_optimizer(settings, critic))
    elif new is policy:
        made = (setup_optimizer(settings, policy), before[1])
    else:
        made = (before[0], setup_optimizer(settings, critic))
    for optimizer in made:
        for old in before or ():
            if type(old) is type(optimizer):
                for parameter in held_parameters(optimizer):
                    if parameter in old.state:
                        optimizer.state[parameter] = old.state[parameter]
    return made
