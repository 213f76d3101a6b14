"""One minibatch step as a pure function of tensors, for a compiler: losses, gradients, Adam."""

from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.fast.flat import Adam, FlatWeights
from ppo_bbrl.minibatches import LossesAndMetrics, Minibatch
from ppo_bbrl.update import Losses


class Networks(nn.Module):
    """Policy and critic, and the losses as their `forward`, so that weights can be swapped."""

    def __init__(self, policy: nn.Module, critic: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic
        self._losses = losses

    def forward(self, minibatch: Minibatch) -> LossesAndMetrics:
        """The losses and the metrics of a minibatch."""
        return self._losses(minibatch)


def parameter_index(networks: Networks) -> dict[str, int]:
    """The index of the parameter behind each name; a shared parameter has several names.

    `functional_call` can find this out by itself, but not while it is compiled.
    """
    order = {parameter: place for place, parameter in enumerate(networks.parameters())}
    return {
        f"{path}.{name}": order[parameter]
        for path, module in networks.named_modules()  # a shared module has one place to fill
        for name, parameter in module.named_parameters(recurse=False)
    }


def _select(data: dict[str, Any], index: Tensor) -> dict[str, Any]:
    return {
        name: _select(value, index) if isinstance(value, dict) else value[index]
        for name, value in data.items()
    }


def bias_corrections(adam: Adam, done: float, n: int) -> Tensor:
    """The divisors of Adam's moments in the n steps that follow the first `done`, `[n, 2]`.

    They are computed in float64, as in torch's Adam: in float32, 1 - 0.999 has only about four
    correct digits.
    """
    step = done + torch.arange(1, n + 1, dtype=torch.float64)
    corrections = (1 - adam.beta1**step, (1 - adam.beta2**step).sqrt())
    return torch.stack(corrections, 1).float()


def clipped_parts(flat_weights: FlatWeights, settings: AlgorithmConfig) -> dict[str, slice]:
    """What is clipped apart, by name: as `Learners.clipped`."""
    if settings.global_grad_norm:
        return {"shared": slice(0, len(flat_weights.weights))}
    return flat_weights.parts


def changing_coefficients(settings: AlgorithmConfig) -> list[str]:
    """The names of `Coefficients` that are numbers and may change; the others are None or 0."""
    given = {
        "clip_range": settings.clip_range is not None,
        "clip_range_vf": settings.clip_range_vf > 0,
        "clip_range_high": settings.clip_range_high is not None,
        "entropy_coef": settings.entropy_coef > 0,
        "kl_coef": settings.kl_penalty is not None,
        "value_scale": settings.normalize_value,
    }
    return [name for name, is_given in given.items() if is_given]


def make_step(
    networks: Networks, flat_weights: FlatWeights, settings: AlgorithmConfig, *, whole: bool
) -> Any:
    """The minibatch step as a pure function of tensors, which updates the first four in place.

    `changing` holds the learning rate, the KL limit, `changing_coefficients` and
    `bias_corrections`. With `whole`, the minibatch is the entire rollout, and the index is not
    used.
    """
    shapes = [parameter.shape for parameter in networks.parameters()]
    sizes, index_of = [shape.numel() for shape in shapes], parameter_index(networks)
    parts, adam = clipped_parts(flat_weights, settings), flat_weights.adam
    max_norm, names = settings.max_grad_norm, changing_coefficients(settings)
    fixed = {"clip_range": None, "clip_range_vf": 0.0}

    def total_loss(
        flat: Tensor, batch: dict[str, Any], mask: Tensor, coefficients: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        views = [
            part.view(shape) for shape, part in zip(shapes, torch.split(flat, sizes), strict=True)
        ]
        parameters = {name: views[index] for name, index in index_of.items()}
        minibatch = Minibatch(**batch, **coefficients, mask=mask)
        losses, metrics = torch.func.functional_call(
            networks, parameters, (minibatch,), tie_weights=False
        )
        total: Any = sum(losses.values())
        return total, metrics

    def clip(gradient: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(gradient)
        if max_norm is None:
            return gradient, norm
        return gradient * (max_norm / (norm + 1e-6)).clamp(max=1.0), norm

    def step(
        *,
        flat: Tensor,
        kept_gradient: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        changing: Tensor,
        index: Tensor,
        mask: Tensor,
        data: dict[str, Any],
    ) -> Tensor:
        rate, kl_limit, *now, correction1, correction2 = changing.unbind()
        coefficients = fixed | dict(zip(names, now, strict=True))
        batch = data if whole else _select(data, index)
        gradient, (_, metrics) = torch.func.grad_and_value(total_loss, has_aux=True)(
            flat, batch, mask, coefficients
        )
        clipped = []
        for name, part in parts.items():
            one, metrics[f"grad_norm/{name}"] = clip(gradient[part])
            clipped.append(one)
        gradient = clipped_gradient = torch.cat(clipped)

        # Adam (Kingma and Ba, 2015), with decoupled weight decay (Loshchilov and Hutter, 2019).
        decayed = flat
        if adam.decoupled:
            decayed = flat * (1 - rate * adam.weight_decay)
        else:
            gradient = gradient + adam.weight_decay * flat
        new1 = moment1.lerp(gradient, 1 - adam.beta1)
        new2 = adam.beta2 * moment2 + (1 - adam.beta2) * gradient.square()
        mean = new1 / correction1
        deviation = new2.sqrt() / correction2
        new_flat = decayed - rate * mean / (deviation + adam.eps)

        # Above the limit, the step changes nothing (a KL of NaN does not stop it); nor with a
        # gradient that is not a number.
        go_on = ~(metrics["approx_kl"] > kl_limit)
        for name in parts:
            go_on = go_on & metrics[f"grad_norm/{name}"].isfinite()
        flat.copy_(torch.where(go_on, new_flat, flat))
        kept_gradient.copy_(torch.where(go_on, clipped_gradient, kept_gradient))
        moment1.copy_(torch.where(go_on, new1, moment1))
        moment2.copy_(torch.where(go_on, new2, moment2))
        return torch.stack([metric.detach().float() for metric in metrics.values()])

    # torch.compile caches by code object. Without guards, a second algorithm in the same process
    # would get the first one's step, so each one has a code object of its own.
    step.__code__ = step.__code__.replace()
    return step
