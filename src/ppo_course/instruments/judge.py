"""Judges what a `Watch` has seen of one iteration: coverage, then the gradient of every step.

The gradient of a step says everything about the losses, targets and masks behind it. It is compared
with the right one, which is computed from the same weights on the same transitions; where it is
another, with those of known mistakes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ppo_course.formulas import Part, explain
from ppo_course.instruments.rollouts import TARGETS, Factors, Rollout
from ppo_course.instruments.watch import Step, Watch
from ppo_course.mistakes import Exercise

TOLERANCE = 2e-3  # of the length of a gradient
LOOKED_AT = 4  # steps of a network that a mistake has to explain


@dataclass(frozen=True)
class Settings:
    """Of an iteration: the names are those of the configuration."""

    discount_factor: float = 0.9
    gae: float = 0.7
    opt_epochs: int = 2
    batch_size: int = 12
    clip_range: float = 0.2
    clip_range_vf: float = 0.0
    entropy_coef: float = 0.1
    policy_coef: float = 1.0
    critic_coef: float = 1.0
    max_grad_norm: float = 100.0
    normalize_advantage: bool = False


class Minibatch(NamedTuple):
    """What a loss is made of, `[N]` each; the first three carry a gradient."""

    log_prob: Tensor
    entropy: Tensor
    value: Tensor
    old_log_prob: Tensor
    old_value: Tensor
    advantage: Tensor
    target: Tensor
    settings: Settings


def _normalised(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.std() + 1e-8)


def _objective(m: Minibatch, *, normalised: bool | None = None, ratio_1: bool = False) -> Tensor:
    normalise = m.settings.normalize_advantage if normalised is None else normalised
    advantage = _normalised(m.advantage) if normalise else m.advantage
    old = m.log_prob.detach() if ratio_1 else m.old_log_prob
    ratio, eps = (m.log_prob - old).exp(), m.settings.clip_range
    return torch.min(ratio * advantage, ratio.clamp(1 - eps, 1 + eps) * advantage).mean()


def _policy(
    m: Minibatch, *, sign: float = 1, coef: float | None = None, bonus: float = 1, **how: Any
) -> Tensor:
    coef = m.settings.policy_coef if coef is None else coef
    entropy = bonus * m.settings.entropy_coef * m.entropy.mean()
    return -sign * coef * _objective(m, **how) - entropy


POLICY = Part(
    _policy,
    {
        "policy-sign": lambda m: _policy(m, sign=-1),
        "both-signs": lambda m: -_policy(m),
        "entropy-sign": lambda m: _policy(m, bonus=-1),
        "no-entropy": lambda m: _policy(m, bonus=0),
        "entropy-not-weighted": lambda m: _policy(m, bonus=1 / m.settings.entropy_coef),
        "no-policy-coef": lambda m: _policy(m, coef=1.0),
        "policy-coef-twice": lambda m: _policy(m, coef=m.settings.policy_coef**2),
        "policy-coef-on-all": lambda m: _policy(m, bonus=m.settings.policy_coef),
        "normalisation": lambda m: _policy(m, normalised=not m.settings.normalize_advantage),
        "ratio-1": lambda m: _policy(m, ratio_1=True),
    },
)


def _critic(m: Minibatch, *, coef: float | None = None, clipped: bool = True) -> Tensor:
    error, eps = (m.value - m.target) ** 2, m.settings.clip_range_vf
    if clipped and eps > 0:
        near = m.old_value + (m.value - m.old_value).clamp(-eps, eps)
        error = torch.max(error, (near - m.target) ** 2)
    return (m.settings.critic_coef if coef is None else coef) * error.mean()


CRITIC = Part(
    _critic,
    {
        "critic-sign": lambda m: -_critic(m),
        "no-critic-coef": lambda m: _critic(m, coef=1.0),
        "critic-coef-twice": lambda m: _critic(m, coef=m.settings.critic_coef**2),
        "critic-half": lambda m: _critic(m) / 2,
        "critic-not-clipped": lambda m: _critic(m, clipped=False),
        "critic-sum": lambda m: _critic(m) * len(m.value),
        "critic-absolute": lambda m: (m.value - m.target).abs().mean(),
    },
)


def _limited(gradient: Tensor, most: float) -> Tensor:
    return gradient * min(1.0, most / (float(gradient.norm()) + 1e-6))


#: of a gradient, what stood in `.grad` before, and the longest that is allowed
LIMITS = Part(
    lambda g, _before, most: _limited(g, most),
    {
        "not-limited": lambda g, _before, _most: g,
        "accumulated": lambda g, before, most: _limited(before + g, most),
        "accumulated-not-limited": lambda g, before, _most: before + g,
        "entries-limited": lambda g, _before, most: g.clamp(-most, most),
    },
)


@dataclass(frozen=True)
class Run:
    """An iteration that was watched, and what it was given."""

    rollout: Rollout
    settings: Settings
    watch: Watch

    def place(self, obs: Tensor) -> Tensor:
        """Row × B + environment of each observation, `[N]`; -1 where there is no such."""
        every = self.rollout.obs.flatten(0, 1)
        if obs.shape[-1] != every.shape[-1]:
            return torch.full((len(obs),), -1)
        found = torch.isclose(obs[:, None], every[None], rtol=0, atol=1e-6).all(-1)
        return torch.where(found.any(1), found.float().argmax(1), -1)


def judge(exercise: Exercise, run: Run) -> None:
    """Raise unless every transition was used once an epoch, and every gradient is right.

    The words are those of `words.toml` beside this module.
    """
    for network in run.watch.models:
        check_coverage(exercise, run, network)
    for network in run.watch.models:
        check_steps(exercise, run, network)
    check_kept(exercise, run)


def check_kept(exercise: Exercise, run: Run) -> None:
    """Raise unless the weights stay as each step left them, until the next one and to the end."""
    for network, model in run.watch.models.items():
        later = [step.weights for step in run.watch.of(network)[1:]]
        later.append(dict(model.named_parameters()))
        for reached, found in zip(run.watch.reached[network], later, strict=True):
            kept = all(torch.equal(tensor, found[name]) for name, tensor in reached.items())
            exercise.refuse(not kept, f"learned-lost~{network}")


def check_coverage(exercise: Exercise, run: Run, network: str) -> None:
    """Raise unless every transition was used once an epoch."""
    steps, settings = run.watch.of(network), run.settings
    exercise.refuse(not steps, f"no-step~{network}")
    places = [run.place(step.obs) for step in steps]
    last_row = len(run.rollout.valid) * run.rollout.valid.shape[1]
    valid = run.rollout.valid.flatten()
    for index in places:
        exercise.refuse(not len(index), f"no-pass~{network}")
        exercise.refuse((index < 0).any(), f"strange-observation~{network}")
        exercise.refuse((index >= last_row).any(), f"last-row~{network}")
        exercise.refuse((~valid[index]).any(), f"reset-used~{network}")
        if len(index) > settings.batch_size:
            seen, expected = len(index), f"{settings.batch_size} at most"
            raise exercise.error("minibatch-too-large", seen=seen, expected=expected)
    n, epochs = int(valid.sum()), list[Tensor]()
    used = torch.zeros_like(valid)
    for index in places:
        repeated = used[index].any() or len(set(index.tolist())) < len(index)
        if repeated:
            facts = f"  {n - int(used.sum())} of {n} transitions had not been used by then."
            raise exercise.error(f"not-once~{network}", facts=[facts])
        used[index] = True
        epochs.append(index)
        if int(used.sum()) == n:
            used = torch.zeros_like(valid)
    done = sum(map(len, epochs)) / n
    exercise.refuse(used.any(), f"rest-unused~{network}", missing=n - int(used.sum()))
    if round(done) != settings.opt_epochs:
        told = {"seen": f"{done:g} epochs", "expected": f"{settings.opt_epochs}"}
        raise exercise.error(f"other-epochs~{network}", **told)
    per_epoch = len(epochs) // settings.opt_epochs
    first, second = (
        [*map(frozenset, map(Tensor.tolist, epochs[k : k + per_epoch]))] for k in (0, per_epoch)
    )
    exercise.refuse(per_epoch > 1 and first == second, "not-shuffled")


def check_steps(exercise: Exercise, run: Run, network: str) -> None:
    """Raise unless the gradient of every step is right."""
    steps = run.watch.of(network)
    loss = POLICY if network == "policy" else CRITIC
    parts = (TARGETS, loss, LIMITS)
    pairs = list(zip([None, *steps], steps, strict=False))

    def fits(values: Sequence[Any], which: Sequence[Any] = pairs) -> bool:
        made = _expectation(run, network, values)
        return all(_close(step.gradient, made(before, step)) for before, step in which)

    rights = [part.right for part in parts]
    wrong = next((k for k, pair in enumerate(pairs) if not fits(rights, [pair])), None)
    if wrong is None:
        return
    step = steps[wrong]
    exercise.refuse(not step.gradient.any(), f"zero-gradient~{network}")
    known = explain(parts, lambda values: fits(values, pairs[:LOOKED_AT]))
    right = _expectation(run, network, rights)(pairs[wrong][0], step)
    cosine = float(torch.cosine_similarity(step.gradient, right, dim=0))
    facts = [
        f"  The gradient of the {network} in step {wrong + 1} of {len(steps)}:",
        f"  seen      of length {float(step.gradient.norm()):.4g}",
        f"  expected  of length {float(right.norm()):.4g}",
        f"  The cosine between the two is {cosine:.3f}; 1 is the same direction.",
    ]
    raise exercise.error(*(known or (f"unknown-gradient~{network}",)), facts=facts)


def _expectation(
    run: Run, network: str, values: Sequence[Any]
) -> Callable[[Step | None, Step], Tensor]:
    """A function of the step before and a step: the gradient that a value of each part gives."""
    targets, loss, limit = values
    settings, rollout = run.settings, run.rollout
    factors = Factors(settings.discount_factor, settings.gae)
    advantage, target = (part.flatten() for part in targets(rollout, factors))
    flat = {name: tensor.flatten(0, 1) for name, tensor in rollout._asdict().items()}
    old, _ = _log_probs(run, run.watch.of("policy")[0].weights, flat["obs"], flat["action"])

    def made(before: Step | None, step: Step) -> Tensor:
        index = run.place(step.obs)
        weights = {name: w.clone().requires_grad_() for name, w in step.weights.items()}
        log_prob = entropy = value = torch.zeros(len(index))
        if network == "policy":
            log_prob, entropy = _log_probs(run, weights, flat["obs"][index], flat["action"][index])
        else:
            value = functional_call(run.watch.models["critic"], weights, flat["obs"][index])
            value = value.flatten()
        minibatch = Minibatch(
            log_prob,
            entropy,
            value,
            old.detach()[index],
            flat["value"][index],
            advantage[index],
            target[index],
            settings,
        )
        gradients = torch.autograd.grad(loss(minibatch), list(weights.values()))
        gradient = torch.cat([part.flatten() for part in gradients])
        stood = torch.zeros_like(gradient) if before is None else before.gradient
        result: Tensor = limit(gradient, stood, settings.max_grad_norm)
        return result

    return made


def _log_probs(
    run: Run, weights: Mapping[str, Tensor], obs: Tensor, action: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of actions, and entropies, `[N]` each."""
    model: nn.Module = run.watch.models["policy"]
    every = functional_call(model, dict(weights), obs).log_softmax(-1)
    log_prob = every.gather(-1, action.long()[:, None]).squeeze(-1)
    return log_prob, -(every.exp() * every).sum(-1)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).norm() <= TOLERANCE * max(float(other.norm()), 1e-4))
