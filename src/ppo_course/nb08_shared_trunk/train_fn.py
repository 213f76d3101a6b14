"""The check of notebook 08's third exercise: a train step of PPO2, as its card poses it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.hub import PPO2
from ppo_course.drawing import integer, source_of
from ppo_course.feedback import same
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.nb08_shared_trunk import train_step
from ppo_course.nb08_shared_trunk.train_step import RIGHT, Batch, Case
from ppo_course.one_number import agree, as_number

EXERCISE = Exercise("train_fn", ("model", "optimizer", *Batch._fields), read_words(__file__))
LOSSES = ("total", "policy_loss", "value_loss", "entropy", "approx_kl")


def cases(seed: int | None) -> list[Case]:
    """A minibatch whose gradient is too long, and one whose gradient is short enough."""
    source = source_of(seed)
    chosen = []
    for max_grad_norm, coefs in ((0.1, (0.15, 0.05, 0.7)), (50.0, (0.3, 0.02, 0.4))):
        clip_range, ent_coef, vf_coef = coefs
        input_dim, n_actions, n = 4, 2, 6
        if seed is not None:
            input_dim, n_actions, n = integer(source, 3, 6), 3, integer(source, 8, 13)
        model = PPO2(input_dim, 8, n_actions)
        for parameter in model.parameters():
            parameter.data = 0.6 * torch.randn(parameter.shape, generator=source)
            parameter.grad = 0.3 * torch.randn(parameter.shape, generator=source)
        obs = torch.randn(n, input_dim, generator=source)
        with torch.no_grad():
            dist, values = model.dist_and_value(obs)
        probabilities = dist.probs  # type: ignore[attr-defined]
        actions = torch.multinomial(probabilities, 1, generator=source).squeeze(-1)
        # The policy has moved since then: some ratios are outside the clip range.
        moved = 0.35 * torch.randn(n, generator=source)
        old_values = values + 0.15 * torch.randn(n, generator=source)
        returns = old_values + 1.0 + 2.5 * torch.randn(n, generator=source)
        # One return near the value, so that the critic learns from it even where the two that
        # limit it, returns and old values, are exchanged.
        returns[0] = values[0] + 0.1
        args = SimpleNamespace(
            clip_range=clip_range,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
        )
        old_nll = -dist.log_prob(actions) + moved
        batch = Batch(args, obs, returns, actions, old_values, old_nll)
        chosen.append(Case(model, batch, integer(source, 0, 1000)))
    # Where all advantages are equal, their deviation is 0; in numbers that are exact.
    level = chosen[-1].batch.old_values.mul(8).round() / 8
    equal = chosen[-1].batch._replace(old_values=level, returns=level + 1)
    return [*chosen, chosen[-1]._replace(batch=equal)]


@torch.enable_grad()
@EXERCISE.check
def check_train_fn(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `train_fn`.

    It gets a PPO2 model, an optimiser of all its weights, `args` with `clip_range`, `ent_coef`,
    `vf_coef` and `max_grad_norm`, observations `[N, D]` and four tensors `[N]`. It makes one step
    on the joint loss, whose gradient has one limited norm, and returns the model's five losses.
    """
    *chosen, equal = cases(seed)
    answers = [_run(function, case) for case in chosen]
    changes = [change for change, _ in answers]
    rights = ([train_step.take(case, step)[0] for case in chosen] for step in RIGHT)
    if not any(all(map(same, changes, right)) for right in rights):
        EXERCISE.compare(
            chosen,
            changes,
            [Part(RIGHT[0], train_step.MISTAKES)],
            facts=_facts,
            formula=lambda case, values: train_step.take(case, values[0])[0],
            most=1,
        )
    for case, (_, result) in zip(chosen, answers, strict=True):
        _check_losses(case, result)
    _run(function, equal)


def _run(function: StudentCode, case: Case) -> tuple[Tensor, Any]:
    """The change of the weights, flat, and what the student's function returned."""
    model = case.copied().eval()
    optimizer = train_step.Descent(model.parameters(), lr=train_step.RATE)
    batch = Batch(case.batch.args, *(tensor.clone() for tensor in case.batch[1:]))
    modes: list[bool] = []
    hook = model.latent.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    torch.manual_seed(case.seed)
    try:
        result = EXERCISE.call(function, model, optimizer, *batch)
    finally:
        hook.remove()
    EXERCISE.refuse(not modes, "model-not-run")
    EXERCISE.refuse(not all(modes), "evaluation-mode")
    change = train_step.flat(model) - train_step.flat(case.model)
    EXERCISE.refuse(not change.isfinite().all(), "not-finite")
    EXERCISE.refuse(optimizer.n_steps > 1, "several-steps", n_steps=optimizer.n_steps)
    EXERCISE.refuse(not change.any(), "zero-gradient" if optimizer.n_steps else "no-step")
    EXERCISE.refuse(not optimizer.n_steps, "own-optimiser")
    return change, result


def _facts(case: Case, right: Tensor, seen: Tensor) -> tuple[str, ...]:
    max_norm, rate = case.batch.args.max_grad_norm, train_step.RATE
    cosine = torch.cosine_similarity(seen, right, dim=0)
    return (
        f"  An example with max_grad_norm = {max_norm:g}, gradient descent with the rate {rate:g}:",
        f"  seen      the weights change by {seen.norm():.4g} (the norm)",
        f"  expected  by {right.norm():.4g}",
        f"  The cosine between the two changes is {cosine:.3f}; 1 is the same direction.",
    )


def _check_losses(case: Case, result: Any) -> None:
    """See that the five losses are returned; the step was right."""
    if isinstance(result, Tensor | np.ndarray) and result.ndim == 1:
        result = list(result)  # one tensor of all five
    EXERCISE.several(result, 5, "not-five", f"5 numbers: {', '.join(LOSSES)}")
    truths = [train_step.take(case, step)[1] for step in RIGHT]
    seen = [
        as_number(EXERCISE, loss.detach() if isinstance(loss, Tensor) else loss, name)
        for name, loss in zip(LOSSES, result, strict=True)
    ]
    if not any(all(map(agree, LOSSES, seen, truth)) for truth in truths):
        told = [", ".join(f"{loss:.4g}" for loss in losses) for losses in (seen, truths[0])]
        raise EXERCISE.error("other-losses", seen=told[0], expected=told[1])
