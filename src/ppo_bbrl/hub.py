"""PPO2, for torch.hub: policy and value function on one latent state. Needs only torch.

`hubconf.py` makes it an entry point of torch.hub. The losses come from `losses`.
"""

import inspect
import math
from functools import cache
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from ppo_bbrl.distributions import as_one_event
from ppo_bbrl.errors import UserError
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, squared_log_ratio, value_loss
from ppo_bbrl.system.sizes import size_of

GAIN = math.sqrt(2)


class PPO2(nn.Module):
    """An actor-critic network: two Tanh layers, then a policy head and a value head.

    Source: the model card "PPO2" of PyTorch Hub; its losses are those of OpenAI Baselines,
    `ppo2/model.py`.

    Args:
        input_dim: number of features of an observation.
        hidden_dim: size of each of the two layers, and of the latent state.
        action_space: number of outputs of the policy head: the logits of the action distribution.
        dropout: dropout probability after each layer, in training mode only.

    Raises:
        UserError: for sizes that are not positive integers, or a probability outside [0, 1).
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, action_space: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input_dim = input_dim = size_of("input_dim", input_dim)
        hidden_dim = size_of("hidden_dim", hidden_dim)
        action_space = size_of("action_space", action_space)
        rate: Any = dropout
        if type(rate) is bool or not isinstance(rate, Real) or not 0 <= float(rate) < 1:
            raise UserError(f"dropout = {dropout!r}: must be a number in [0, 1)")
        self.latent = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            nn.Tanh(),
            nn.Dropout(float(dropout)),
            nn.Linear(hidden_dim, hidden_dim),
            nn.Tanh(),
            nn.Dropout(float(dropout)),
        )
        self.policy_head = nn.Linear(hidden_dim, action_space)
        self.value_head = nn.Linear(hidden_dim, 1)

    def reset_parameters(self) -> None:
        """Draw orthogonal weights with gain √2 and set the biases to 0 (docs/ppo.md#detail-2)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, GAIN)
                nn.init.zeros_(module.bias)

    def dist_and_value(
        self, obs: Tensor, distribution: type[Distribution] = Categorical
    ) -> tuple[Distribution, Tensor]:
        """π(·|s), with batch shape `[N]`, and V(s), `[N]`, from observations `[N, input_dim]`.

        N stands for any leading dimensions.

        Args:
            obs: `[N, input_dim]`, floats of any precision; converted to that of the weights.
            distribution: a class of `torch.distributions` that takes `logits`, `[N, action_space]`.
                If it makes one distribution per logit, as Bernoulli does, they are combined into
                one whose event is all of them.

        Raises:
            UserError: for any other class, or observations of the wrong shape or type.
        """
        _check_distribution(distribution)
        obs = _as_tensor("obs", obs)
        if not obs.is_floating_point() or obs.shape[-1:] != (self.input_dim,):
            raise UserError(
                f"obs has shape {list(obs.shape)} and dtype {obs.dtype}: must be "
                f"[N, {self.input_dim}] floats"
            )
        latent = self.latent(obs.to(self.policy_head.weight.dtype))
        dist = distribution(logits=self.policy_head(latent))  # type: ignore[call-arg] # checked
        value = cast("Tensor", self.value_head(latent)).squeeze(-1)
        return as_one_event(dist, value.dim()), value

    def forward(
        self,
        obs: Tensor,
        action: Tensor | None = None,
        distribution: type[Distribution] = Categorical,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Act, or evaluate given actions.

        Args:
            obs: `[N, input_dim]`, floats.
            action: `[N]`, or `[N, …]` if an action has several components; sampled if omitted.
            distribution: as in `dist_and_value`.

        Returns:
            The value `[N]`, the action, its negative log-likelihood `[N]`, and the entropy of the
            policy `[N]`; both in nats, summed over the components of an action.

        Raises:
            UserError: for a distribution without `logits` or without an entropy, or for
                observations or actions of the wrong shape.
        """
        dist, value = self.dist_and_value(obs, distribution)
        if action is None:
            action = dist.sample()
        action = _as_tensor("action", action)
        wanted = dist.batch_shape + dist.event_shape
        if action.shape != wanted:  # [N, 1] would broadcast to [N, N]
            raise UserError(
                f"action has shape {list(action.shape)}: must be {list(wanted)} for "
                f"{distribution.__name__} on these observations"
            )
        try:
            entropy = dist.entropy()
        except NotImplementedError as error:
            raise UserError(
                f"distribution = {distribution.__name__}: must be a class with an entropy"
            ) from error
        log_prob = dist.log_prob(action)
        for name, tensor in (("entropy", entropy), ("log_prob", log_prob)):
            if tensor.shape != value.shape:
                raise UserError(
                    f"distribution = {distribution.__name__}: its {name} has shape "
                    f"{list(tensor.shape)}, must be {list(value.shape)}: one number for each action"
                )
        return value, action, -log_prob, entropy

    def loss(  # noqa: PLR0917 - in the order of the model card
        self,
        returns: Tensor,
        value_f: Tensor,
        neg_log_probs: Tensor,
        entropy: Tensor,
        advantages: Tensor,
        old_values: Tensor,
        old_neg_log_probs: Tensor,
        clip_range: float | Tensor,
        ent_coef: float | Tensor,
        vf_coef: float | Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        r"""The joint loss of PPO2.

        .. math::
            L_\pi &= \mathbb{E}[\max(-A r, -A \operatorname{clip}(r, 1-\epsilon, 1+\epsilon))],
                \quad r = \exp(nll_{old} - nll) \\
            L_V &= \tfrac{1}{2} \mathbb{E}[\max((V - R)^2,
                (V_{old} + \operatorname{clip}(V - V_{old}, -\epsilon, \epsilon) - R)^2)] \\
            L &= L_\pi - c_{ent} \mathbb{E}[H] + c_{vf} L_V

        Args:
            returns: `[N]`, R. Gradients flow only into the next three arguments.
            value_f: `[N]`, V.
            neg_log_probs: `[N]`, negative log-likelihoods of the actions under the new policy.
            entropy: `[N]`, H, the entropy of the new policy.
            advantages: `[N]`, A.
            old_values: `[N]`, values under the old weights, which acted.
            old_neg_log_probs: `[N]`, negative log-likelihoods under the old weights.
            clip_range: ε ≥ 0 for policy and value, a number or a scalar tensor.
            ent_coef: weight of the entropy bonus.
            vf_coef: weight of the value loss.

        Returns:
            Total loss, policy loss, value loss, mean entropy, and the approximate KL divergence
            ½ E[(nll - nll_old)²] between the old and the new policy, which has no gradient.

        Raises:
            UserError: if the seven tensors are empty or differ in shape, or ε is negative.
        """
        returns, advantages = torch.as_tensor(returns), torch.as_tensor(advantages)  # or NumPy
        old_values = torch.as_tensor(old_values)
        old_neg_log_probs = torch.as_tensor(old_neg_log_probs)
        _check_samples(
            returns=returns,
            value_f=value_f,
            neg_log_probs=neg_log_probs,
            entropy=entropy,
            advantages=advantages,
            old_values=old_values,
            old_neg_log_probs=old_neg_log_probs,
        )
        # A tensor, because the number 0 would turn off the clipping of the values.
        epsilon = torch.as_tensor(clip_range, dtype=value_f.dtype, device=value_f.device)
        if epsilon.dim() != 0 or not bool(epsilon >= 0):
            raise UserError(f"clip_range = {clip_range!r}: must be a number ≥ 0")
        policy_loss, _ = clipped_surrogate(
            log_prob=-neg_log_probs,
            old_log_prob=-old_neg_log_probs,
            advantage=advantages,
            clip_range=epsilon,
            # Follow the formula as far as this dtype allows, with room for the line beyond.
            max_log_ratio=math.log(torch.finfo(neg_log_probs.dtype).max) - 10,
        )
        squared_error, _ = value_loss(
            value=value_f, old_value=old_values, target=returns, clip_range_vf=epsilon
        )
        critic_loss = 0.5 * squared_error
        exploration_loss, _ = entropy_loss(entropy=entropy)
        approx_kl = squared_log_ratio(log_prob=-neg_log_probs, old_log_prob=-old_neg_log_probs)
        total = policy_loss + ent_coef * exploration_loss + vf_coef * critic_loss
        return total, policy_loss, critic_loss, -exploration_loss, approx_kl


def _as_tensor(name: str, given: Any) -> Tensor:
    """A tensor of what may be a NumPy array, of any byte order, or a list.

    Raises:
        UserError: if it is neither.
    """
    dtype: Any = getattr(given, "dtype", None)
    if hasattr(dtype, "newbyteorder"):  # torch reads the machine's own order alone
        given = given.astype(dtype.newbyteorder("="))
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} is no tensor: {' '.join(str(error).split())[:200]}") from error


def _check_distribution(distribution: Any) -> None:
    """Refuse, by name, anything but a distribution class that needs only `logits`."""
    if distribution is Categorical:
        return  # a compiler cannot trace the rest
    name = getattr(distribution, "__name__", repr(distribution))
    if not isinstance(distribution, type) or not issubclass(distribution, Distribution):
        raise UserError(
            f"distribution = {name}: must be a class of torch.distributions that takes logits, "
            "such as Categorical or Bernoulli"
        )
    takes_logits, others = _arguments(cast("Any", distribution))
    if not takes_logits:
        raise UserError(
            f"distribution = {name}: does not take logits; must be one that does, such as "
            "Categorical or Bernoulli"
        )
    if others:
        raise UserError(
            f"distribution = {name}: needs {', '.join(others)} besides logits; must be a class "
            "that needs only logits (a subclass may fix the rest)"
        )


@cache
def _arguments(distribution: Any) -> tuple[bool, list[str]]:
    """Whether a class takes `logits`, and its other required arguments."""
    parameters = inspect.signature(distribution).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [one.name for one in parameters]
    required = [
        one.name for one in parameters if one.default is one.empty and one.kind not in variadic
    ]
    takes_logits = "logits" in names or any(one.kind is one.VAR_KEYWORD for one in parameters)
    return takes_logits, [name for name in required if name != "logits"]


def _check_samples(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"these must have the same shape [N]: {shapes}")
    if 0 in tensors["returns"].shape:
        raise UserError("there are no samples: the loss needs at least one")
