"""The check of notebook 08's third exercise: a train step of PPO2, as its card poses it."""

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.hub import PPO2
from ppo_course.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    same,
    untouched_randomness,
)
from ppo_course.guesses import agree, as_number
from ppo_course.nb08_shared_trunk.train_step import (
    MISTAKES,
    RATE,
    RIGHT,
    Batch,
    Case,
    Descent,
    flat,
    take,
)

NAME = "train_fn"
ARGUMENTS = (
    "model",
    "optimizer",
    "args",
    "obs",
    "returns",
    "old_actions",
    "old_values",
    "old_neg_log_probs",
)
LOSSES = ("total", "policy_loss", "value_loss", "entropy", "approx_kl")

#: (model, optimizer, args, minibatch of tensors [N]) → the five losses of the model
TrainFn = Callable[..., Sequence[Tensor | float]]


def cases(seed: int | None) -> list[Case]:
    """A minibatch whose gradient is too long, and one whose gradient is short enough."""
    source = torch.Generator().manual_seed(0 if seed is None else seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=source))

    chosen = []
    for max_grad_norm in (0.1, 50.0):
        input_dim, n_actions, n = (4, 2, 6) if seed is None else (between(3, 6), 3, between(8, 13))
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
        batch = Batch(
            args=SimpleNamespace(
                clip_range=0.2, ent_coef=0.05, vf_coef=0.5, max_grad_norm=max_grad_norm
            ),
            obs=obs,
            returns=returns,
            old_actions=actions,
            old_values=old_values,
            old_neg_log_probs=-dist.log_prob(actions) + moved,
        )
        chosen.append(Case(model, batch, between(0, 1000)))
    return chosen


def check_train_fn(function: TrainFn, *, seed: int | None = None) -> None:
    """Check a student's `train_fn`.

    It gets a PPO2 model, an optimiser of all its weights, `args` with `clip_range`, `ent_coef`,
    `vf_coef` and `max_grad_norm`, observations `[N, D]` and four tensors `[N]`. It makes one step
    on the joint loss, whose gradient has one limited norm, and returns the model's five losses.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw another model and another minibatch from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        chosen = cases(seed)
        answers = [_run(function, case) for case in chosen]
        _compare(chosen, [change for change, _ in answers])
        for case, (_, result) in zip(chosen, answers, strict=True):
            _check_losses(case, result)
    if seed is None:
        print("Well done! One loss, one gradient, one limit of its norm, one step.")


def _run(function: TrainFn, case: Case) -> tuple[Tensor, Any]:
    """The change of the weights, flat, and what the student's function returned."""
    model = copy.deepcopy(case.model).eval()
    for copied, parameter in zip(model.parameters(), case.model.parameters(), strict=True):
        if parameter.grad is not None:
            copied.grad = parameter.grad.clone()
    optimizer = Descent(model.parameters(), lr=RATE)
    batch = Batch(case.batch.args, *(tensor.clone() for tensor in case.batch[1:]))
    modes: list[bool] = []
    hook = model.latent.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    torch.manual_seed(case.seed)
    try:
        result = call(function, model, optimizer, *batch, hint=_hint)
    finally:
        hook.remove()
    for name, given, mine in zip(ARGUMENTS[3:], batch[1:], case.batch[1:], strict=True):
        if not torch.equal(given, mine):
            raise not_right(
                NAME,
                f"it writes into its argument {name}, which the next epoch still needs",
                "operators such as -= and functions whose name ends in an underscore",
            )
    if not modes:
        raise not_right(NAME, "it does not run the model", "model(obs, action=old_actions)")
    if not all(modes):
        raise not_right(
            NAME,
            "the model learns in evaluation mode, where dropout is switched off",
            "model.train() before the model is run: collecting has left it in evaluation mode",
        )
    change = flat(model) - flat(case.model)
    if optimizer.n_steps > 1:
        raise not_right(
            NAME,
            f"the optimiser makes {optimizer.n_steps} steps",
            "one minibatch, one step: the loop around the function calls it again",
        )
    if not change.any():
        raise _no_step(optimizer.n_steps)
    if not optimizer.n_steps:
        raise not_right(
            NAME,
            "the weights change, but not by the optimiser that the function gets",
            "optimizer.step(): it knows the rate, and remembers the steps before",
        )
    return change, result


def _no_step(n_steps: int) -> ExerciseError:
    """The error about weights that are what they were."""
    if n_steps:
        return not_right(
            NAME,
            "the optimiser makes a step, but along a gradient of zeros",
            "zero_grad() belongs before backward(): after it, it clears what the step needs",
        )
    return not_right(
        NAME,
        "the weights are what they were: no step was made",
        "the end of the function: loss.backward(), clip_grad_norm_, then optimizer.step()",
    )


def _compare(chosen: Sequence[Case], changes: Sequence[Tensor]) -> None:
    """Compare the changes of the weights with those of the right step, and of known mistakes."""
    for step in RIGHT:
        if all(map(same, changes, (take(case, step)[0] for case in chosen))):
            return
    rights = [take(case, RIGHT[0])[0] for case in chosen]
    wrong = next(i for i in range(len(chosen)) if not same(changes[i], rights[i]))
    max_norm = chosen[wrong].batch.args.max_grad_norm
    cosine = torch.cosine_similarity(changes[wrong], rights[wrong], dim=0)
    facts = (
        f"  An example with max_grad_norm = {max_norm:g}, gradient descent with the rate {RATE:g}:",
        f"  seen      the weights change by {changes[wrong].norm():.4g} (the norm)",
        f"  expected  by {rights[wrong].norm():.4g}",
        f"  The cosine between the two changes is {cosine:.3f}; 1 is the same direction.",
    )
    for mistake in MISTAKES:
        if all(map(same, changes, (take(case, mistake.step)[0] for case in chosen))):
            raise not_right(NAME, mistake.wrong, mistake.look, *facts)
    raise not_right(
        NAME,
        "the weights change in another way, which this check does not know",
        "one after the other: advantages, model(obs, action=…), the ten arguments of model.loss "
        "in the order of joint_loss, zero_grad, backward of the first loss alone, "
        "clip_grad_norm_, step",
        *facts,
    )


def _check_losses(case: Case, result: Any) -> None:
    """See that the five losses are returned; the step was right."""
    facts = (
        f"  seen      {describe(result)}",
        f"  expected  5 numbers: {', '.join(LOSSES)}",
    )
    look = "the end: return what model.loss gave, all five"
    if result is None:
        raise not_right(NAME, "the step is right, but it returns nothing", look, *facts)
    if isinstance(result, Tensor | np.ndarray) and result.ndim == 1:
        result = list(result)  # one tensor of all five
    if not isinstance(result, tuple | list) or len(result) != len(LOSSES):
        raise not_right(NAME, "the step is right, but it does not return five losses", look, *facts)
    truths = [take(case, step)[1] for step in RIGHT]
    seen = [
        as_number(NAME, loss.detach() if isinstance(loss, Tensor) else loss, name)
        for name, loss in zip(LOSSES, result, strict=True)
    ]
    if not any(all(map(agree, seen, truth)) for truth in truths):
        raise not_right(
            NAME,
            "the step is right, but the losses are not those of this minibatch",
            look,
            f"  seen      {', '.join(f'{loss:.4g}' for loss in seen)}",
            f"  expected  {', '.join(f'{loss:.4g}' for loss in truths[0])}",
        )


def _hint(error: Exception) -> str:
    text = str(error)
    if "backward through the graph a second time" in text:
        return "one loss, one backward(): the joint loss reaches both heads and the trunk"
    if "does not require grad" in text:
        return "the model must be run with gradients; only the advantages are constants"
    if "loss()" in text:
        return (
            "model.loss gets returns, value_f, neg_log_probs, entropy, advantages, old_values, "
            "old_neg_log_probs, clip_range, ent_coef, vf_coef, in this order"
        )
    if "positional argument" in text:
        return f"the function is called as {NAME}({', '.join(ARGUMENTS)})"
    if "'backward'" in text:
        return "model.loss gives five losses; backward() belongs to the first one, the total"
    return ""
