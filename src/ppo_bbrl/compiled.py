"""The update as one compiled function: losses, gradients, clipping and optimiser.

What makes it fast: all weights lie in one flat tensor, of which the parameters of both networks
are views, and so do the optimiser's moments; shapes never change, as minibatches are padded and
masked; what changes between calls (learning rate, clip range) comes as a tensor. The losses are
those of `update.py`; there is no second copy of them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.agents import Critic, Policy, estimates_tensors, judges_tensors
from ppo_bbrl.console import say
from ppo_bbrl.errors import one_line
from ppo_bbrl.flat import FlatWeights, NotFlatError
from ppo_bbrl.losses import explained_variance
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.shared_trunk import have_one_model
from ppo_bbrl.update import KL_TOLERANCE, UpdateReport, loss_weights, minibatch_losses


class CannotCompileError(RuntimeError):
    """These agents or this optimiser have no compiled update; the message says why."""


class _Pair(nn.Module):
    """Policy and critic as one function of observations and actions."""

    def __init__(self, policy: Policy, critic: Critic) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π(a|s), entropy and V(s), `[N]` each."""
        if have_one_model(self.policy, self.critic):
            return self.policy.assess(obs, action)
        log_prob, entropy = self.policy.log_prob_and_entropy(obs, action)
        return log_prob, entropy, self.critic.value(obs)


class CompiledUpdate:
    """`update` with its minibatch step compiled; same losses, same order of minibatches.

    Args:
        policy: one of the package's policies, or a subclass of one.
        critic: a VAgent, or a subclass.
        policy_optimizer: Adam or AdamW; its moments become views of one flat tensor.
        critic_optimizer: the same, with the same settings.
        settings: the `algorithm` section of the configuration.
        example: a rollout, for shapes and types.
        size: transitions of a rollout, autoreset steps included: none is larger.
        announcement: printed when all is checked, before the seconds that compiling takes.

    Raises:
        CannotCompileError: if there is no compiled update for these agents or optimisers.
    """

    def __init__(
        self,
        *,
        policy: nn.Module,
        critic: nn.Module,
        policy_optimizer: torch.optim.Optimizer,
        critic_optimizer: torch.optim.Optimizer,
        settings: Any,
        example: Rollout,
        size: int,
        announcement: str = "",
    ) -> None:
        for agent, fits in ((policy, judges_tensors(policy)), (critic, estimates_tensors(critic))):
            if not fits:
                raise CannotCompileError(f"{type(agent).__name__} has a forward of its own")
        try:
            self._flat = FlatWeights(policy, critic, policy_optimizer, critic_optimizer)
        except NotFlatError as error:
            raise CannotCompileError(str(error)) from error
        self._settings = settings
        device = self._flat.weights.device

        self._count = torch.zeros((), device=device)

        self._batch_size = min(settings.batch_size or size, size)
        self._data = {
            name: tensor.new_zeros((size, *tensor.shape[1:]))
            for name, tensor in _tensors(example).items()
        }
        self._fill(example)
        self._index = torch.zeros(self._batch_size, dtype=torch.int64, device=device)
        self._mask = torch.zeros(self._batch_size, device=device)
        self._names: list[str] = []
        self._step = torch.compile(
            _make_step(
                _Pair(policy, critic),  # type: ignore[arg-type] # checked above
                self._flat,
                settings,
                self._names,
                whole=self._batch_size == size,
            ),
            fullgraph=True,
            dynamic=False,
            **_backend(device),
        )
        if announcement:
            say(announcement)
        self._compile(device)

    def __call__(
        self, rollout: Rollout, *, clip_factor: float, generator: torch.Generator
    ) -> UpdateReport:
        """Improve policy and critic on a rollout."""
        settings, count = self._settings, len(rollout)
        if count == 0:
            return UpdateReport({}, 0, False)
        self._fill(rollout)
        limit = torch.inf if settings.target_kl is None else KL_TOLERANCE * settings.target_kl
        changing = torch.tensor(
            [
                self._flat.rate,
                settings.clip_range * clip_factor,
                settings.clip_range_vf * clip_factor,
                limit,
            ],
            device=self._flat.weights.device,
        )
        self._count.fill_(self._flat.count)
        history: list[Tensor] = []
        stopped_early = False
        for _ in self._minibatches(count, generator):
            facts = self._step(
                flat=self._flat.weights,
                moment1=self._flat.moment1,
                moment2=self._flat.moment2,
                count=self._count,
                changing=changing,
                index=self._index,
                mask=self._mask,
                data=self._data,
            )
            history.append(facts)
            if settings.target_kl is not None:
                stopped_early = bool(facts[self._names.index("approx_kl")] > limit)
                if stopped_early:
                    break
        self._flat.count = self._count
        metrics = self._means(torch.stack(history), stopped_early)
        metrics["explained_variance"] = explained_variance(
            value=rollout.value, target=rollout.target
        )
        return UpdateReport(metrics, len(history) - stopped_early, stopped_early)

    def _fill(self, rollout: Rollout) -> None:
        for name, tensor in _tensors(rollout).items():
            self._data[name][: len(rollout)] = tensor

    def _means(self, facts: Tensor, stopped_early: bool) -> dict[str, Tensor]:
        """The mean of each metric over the minibatches that it describes; facts: `[M, metrics]`."""
        metrics = dict(zip(self._names, facts.mean(0).unbind(), strict=True))
        if stopped_early:  # the last minibatch has no gradient that was followed
            for column, name in enumerate(self._names):
                if name.startswith("grad_norm/"):
                    metrics[name] = facts[:-1, column].mean()
                    if len(facts) == 1:
                        del metrics[name]
        return metrics

    def _compile(self, device: torch.device) -> None:
        """Compile now, by a step that changes nothing: its limit of the KL is below every KL."""
        try:
            self._step(
                flat=self._flat.weights,
                moment1=self._flat.moment1,
                moment2=self._flat.moment2,
                count=self._count,
                changing=torch.tensor([0.0, 1.0, 1.0, -torch.inf], device=device),
                index=self._index,
                mask=torch.ones_like(self._mask),
                data=self._data,
            )
        except Exception as error:  # whatever stops the compiler, training goes on
            reason = one_line(error, 200)
            raise CannotCompileError(f"torch.compile failed: {reason}") from error

    def _minibatches(self, count: int, generator: torch.Generator) -> Iterator[None]:
        """Set index and mask to each minibatch; in the order of `Rollout.minibatches`."""
        n_batches = -(-count // self._batch_size)
        if n_batches == 1:
            self._select(torch.arange(count))
        for _ in range(self._settings.opt_epochs):
            if n_batches == 1:
                yield
                continue
            shuffled = torch.randperm(count, generator=generator)
            for part in shuffled.tensor_split(n_batches):
                self._select(part)
                yield

    def _select(self, part: Tensor) -> None:
        """Make these transitions the minibatch; the rest of it is padding that the mask hides."""
        self._index[: len(part)] = part
        self._index[len(part) :] = 0
        self._mask[: len(part)] = 1
        self._mask[len(part) :] = 0


def _tensors(rollout: Rollout) -> dict[str, Tensor]:
    """What the step reads of a rollout, `[N, …]` each."""
    return {
        "obs": rollout.variables["env/env_obs"],
        "action": rollout.variables["action"],
        "old_log_prob": rollout.log_prob,
        "old_value": rollout.value,
        "advantage": rollout.advantage,
        "target": rollout.target,
    }


def _backend(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"mode": "reduce-overhead"}  # CUDA graphs
    options: dict[str, Any] = {"cpp_wrapper": True}  # no Python between the kernels
    if hasattr(torch.compiler, "skip_all_guards_unsafe"):
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    return {"options": options}


def _places(pair: _Pair) -> dict[str, int]:
    """Which of the parameters each name of the networks stands for; several where it is shared.

    `functional_call` would find that out by itself, but not while it is compiled.
    """
    order = {parameter: place for place, parameter in enumerate(pair.parameters())}
    return {
        f"{path}.{name}": order[parameter]
        for path, module in pair.named_modules()  # a shared module once: it has one place to fill
        for name, parameter in module.named_parameters(recurse=False)
    }


def _make_step(
    pair: _Pair, flat_weights: FlatWeights, settings: Any, names: list[str], *, whole: bool
) -> Any:
    """The minibatch step as a pure function of tensors, which updates the first four in place.

    With `whole`, a minibatch is the rollout as it is, and the index is not read.
    """
    shapes = [parameter.shape for parameter in pair.parameters()]
    sizes, places = [shape.numel() for shape in shapes], _places(pair)
    parts, adam = flat_weights.parts, flat_weights.adam
    weights = loss_weights(settings)
    clips_values, max_norm = settings.clip_range_vf > 0, settings.max_grad_norm
    critic_coef, normalize_advantage = settings.critic_coef, settings.normalize_advantage

    def total_loss(
        flat: Tensor, batch: dict[str, Tensor], mask: Tensor, clip_range: Tensor, clip_vf: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        views = [
            part.view(shape) for shape, part in zip(shapes, torch.split(flat, sizes), strict=True)
        ]
        parameters = {name: views[place] for name, place in places.items()}
        batch = dict(batch)
        inputs = (batch.pop("obs"), batch.pop("action"))
        log_prob, entropy, value = torch.func.functional_call(
            pair, parameters, inputs, tie_weights=False
        )
        losses, facts = minibatch_losses(
            log_prob=log_prob,
            entropy=entropy,
            value=value,
            **batch,
            clip_range=clip_range,
            clip_range_vf=clip_vf if clips_values else 0.0,
            critic_coef=critic_coef,
            normalize_advantage=normalize_advantage,
            mask=mask,
        )
        total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return total, facts  # type: ignore[return-value] # three losses: never the int 0

    def clip(gradient: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(gradient)
        if max_norm is None:
            return gradient, norm
        return gradient * (max_norm / (norm + 1e-6)).clamp(max=1.0), norm

    def step(
        *,
        flat: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        count: Tensor,
        changing: Tensor,
        index: Tensor,
        mask: Tensor,
        data: dict[str, Tensor],
    ) -> Tensor:
        rate, clip_range, clip_vf, kl_limit = changing.unbind()
        batch = data if whole else {name: tensor[index] for name, tensor in data.items()}
        gradient, (_, facts) = torch.func.grad_and_value(total_loss, has_aux=True)(
            flat, batch, mask, clip_range, clip_vf
        )
        clipped = []
        for name, part in parts.items():
            one, facts[f"grad_norm/{name}"] = clip(gradient[part])
            clipped.append(one)
        gradient = torch.cat(clipped)

        # Adam (Kingma and Ba, 2015), with decoupled weight decay (Loshchilov and Hutter, 2019).
        steps, decayed = count + 1, flat
        if adam.decoupled:
            decayed = flat * (1 - rate * adam.weight_decay)
        else:
            gradient = gradient + adam.weight_decay * flat
        new1 = moment1.lerp(gradient, 1 - adam.beta1)
        new2 = adam.beta2 * moment2 + (1 - adam.beta2) * gradient.square()
        mean = new1 / (1 - adam.beta1**steps)
        deviation = (new2 / (1 - adam.beta2**steps)).sqrt()
        new_flat = decayed - rate * mean / (deviation + adam.eps)

        go_on = ~(facts["approx_kl"] > kl_limit)  # otherwise this step is not made; NaN is no stop
        flat.copy_(torch.where(go_on, new_flat, flat))
        moment1.copy_(torch.where(go_on, new1, moment1))
        moment2.copy_(torch.where(go_on, new2, moment2))
        count.copy_(torch.where(go_on, steps, count))
        names[:] = facts
        return torch.stack([fact.detach().float() for fact in facts.values()])

    # torch.compile finds what it compiled by the code object. Without guards a second algorithm
    # in the same process would be handed the first one's step: each has a code object of its own.
    step.__code__ = step.__code__.replace()
    return step
