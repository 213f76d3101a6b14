"""One optimiser step of PPO2 on a minibatch: the right one, and those of known mistakes."""

import copy
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_bbrl.hub import PPO2

RATE = 1.0  # of plain gradient descent, which shows the gradient itself
SAMPLES = (
    *("returns", "value_f", "neg_log_probs", "entropy"),
    *("advantages", "old_values", "old_neg_log_probs"),
)


class Batch(NamedTuple):
    """What a student's function gets besides model and optimiser: `[N, D]`, then `[N]` each."""

    args: SimpleNamespace
    obs: Tensor
    returns: Tensor
    old_actions: Tensor
    old_values: Tensor
    old_neg_log_probs: Tensor


class Descent(torch.optim.Optimizer):
    """Plain gradient descent that counts its steps.

    What torch's own optimisers inherit imports the compiler when it is first called, which takes
    longer than the whole check.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        self.n_steps = 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, as lists, with the rate that is set for all."""
        group = {**self.defaults, **param_group}
        self.param_groups.append({**group, "params": list(group["params"])})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        for parameter in self._parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step along the gradients that are there; what the closure returns."""
        with torch.enable_grad():
            loss = closure() if closure else None
        self.n_steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad)
        return loss

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]


class Case(NamedTuple):
    """A model whose gradients are left from before, and a minibatch."""

    model: PPO2
    batch: Batch
    seed: int

    def copied(self) -> PPO2:
        """The model, with these gradients."""
        model = copy.deepcopy(self.model)
        for one, parameter in zip(model.parameters(), self.model.parameters(), strict=True):
            one.grad = None if parameter.grad is None else parameter.grad.clone()
        return model


class Step(NamedTuple):
    """How a step is made; what is set here is right."""

    # Of returns, old and new values.
    advantages: Callable[..., Tensor] = lambda returns, old, _new: _normalised(returns - old)
    fresh_actions: bool = False
    cleared: bool = True
    loss: Callable[[tuple[Tensor, ...]], Tensor] = lambda losses: losses[0]
    clip: Callable[[PPO2, float], Any] = lambda model, norm: _limit([model], norm)
    stepped_first: bool = False
    old_coefficients: bool = False  # ent_coef and vf_coef exchanged
    exchanged: tuple[str, str] | None = None  # two of SAMPLES


def _normalised(advantages: Tensor, correction: int = 1) -> Tensor:
    """With mean 0 and deviation 1, where N - 1 divides, or N."""
    spread = advantages.std(correction=correction)
    return (advantages - advantages.mean()) / (spread + 1e-8)


def _limit(networks: Iterable[nn.Module | Tensor], norm: float) -> None:
    """Clip the gradient of each by itself."""
    for one in networks:
        nn.utils.clip_grad_norm_(one.parameters() if isinstance(one, nn.Module) else one, norm)


def take(case: Case, step: Step) -> tuple[Tensor, list[float]]:
    """The change of all weights, flat, and the five losses."""
    model = case.copied().train()
    optimizer = Descent(model.parameters(), lr=RATE)
    args, obs, returns, actions, old_values, old_nll = case.batch
    before = flat(model)
    torch.manual_seed(case.seed)
    if step.stepped_first:
        optimizer.step()
    if step.cleared:
        optimizer.zero_grad()
    value, _, nll, entropy = model(obs, action=None if step.fresh_actions else actions)
    advantages = step.advantages(returns, old_values, value)
    samples = (returns, value, nll, entropy, advantages, old_values, old_nll)
    given = dict(zip(SAMPLES, samples, strict=True))
    if step.exchanged:
        one, other = step.exchanged
        given[one], given[other] = given[other], given[one]
    coefficients = [args.ent_coef, args.vf_coef]
    if step.old_coefficients:
        coefficients.reverse()
    losses = model.loss(
        **given, clip_range=args.clip_range, ent_coef=coefficients[0], vf_coef=coefficients[1]
    )
    step.loss(losses).backward()  # type: ignore[no-untyped-call]
    step.clip(model, args.max_grad_norm)
    if not step.stepped_first:
        optimizer.step()
    return flat(model) - before, [loss.item() for loss in losses]


def flat(model: nn.Module) -> Tensor:
    """All weights of a model in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


RIGHT = (Step(), Step(advantages=lambda returns, old, _new: _normalised(returns - old, 0)))

MISTAKES = {
    "not-clipped": Step(clip=lambda *_: None),
    "clipped-each": Step(clip=lambda model, norm: _limit(model.parameters(), norm)),
    "clipped-parts": Step(
        clip=lambda m, norm: _limit((m.latent, m.policy_head, m.value_head), norm)
    ),
    "clipped-trunk": Step(clip=lambda model, norm: _limit([model.latent], norm)),
    "clipped-values": Step(
        clip=lambda model, norm: nn.utils.clip_grad_value_(model.parameters(), norm)
    ),
    "clipped-fixed": Step(clip=lambda model, _: _limit([model], 0.5)),
    "not-cleared": Step(cleared=False),
    "stepped-first": Step(stepped_first=True),
    "maximised": Step(loss=lambda losses: -losses[0]),
    "policy-alone": Step(loss=lambda losses: losses[1]),
    "value-alone": Step(loss=lambda losses: losses[2]),
    "no-coefficients": Step(loss=lambda losses: losses[1] + losses[2]),
    "not-normalised": Step(advantages=lambda returns, old, _new: returns - old),
    "mean-0-only": Step(
        advantages=lambda returns, old, _new: returns - old - (returns - old).mean()
    ),
    "mean-not-subtracted": Step(
        advantages=lambda returns, old, _new: (returns - old) / ((returns - old).std() + 1e-8)
    ),
    "advantages-sign": Step(advantages=lambda returns, old, _new: _normalised(old - returns)),
    "returns-for-advantages": Step(advantages=lambda returns, _old, _new: _normalised(returns)),
    "advantages-of-new-values": Step(
        advantages=lambda returns, _old, new: _normalised(returns - new.detach())
    ),
    "new-actions": Step(fresh_actions=True),
    "coefs-exchanged": Step(old_coefficients=True),
    "all-added": Step(loss=lambda losses: torch.stack(losses).sum()),
    "value-f-misplaced": Step(exchanged=("returns", "value_f")),
} | {
    f"exchanged~{one} and {other}": Step(exchanged=(one, other))
    for one, other in (
        ("returns", "old_values"),
        ("neg_log_probs", "old_neg_log_probs"),
        ("neg_log_probs", "entropy"),
        ("entropy", "advantages"),
        ("value_f", "neg_log_probs"),
        ("advantages", "returns"),
    )
}
