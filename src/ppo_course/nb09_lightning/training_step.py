"""The check of notebook 09's second exercise: the loss of PPO as a `training_step` of Lightning."""

import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.distributions import Categorical

from ppo_course.feedback import describe, not_right, same, untouched_randomness
from ppo_course.guesses import agree, as_number, explain
from ppo_course.nb09_lightning.training_step_mistakes import GUESSES, Samples, loss
from ppo_course.student_code import InertEnv, call_method, made

NAME, METHOD = "ClippedPPO", "training_step"
N_ACTIONS = 3


class Batch(NamedTuple):
    """What a `training_step` gets: M transitions, as Lightning's PPO hands them over."""

    observations: Tensor
    actions: Tensor
    old_values: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    returns: Tensor


class Case(NamedTuple):
    """Samples, and the numbers of a policy and a value function that give them.

    Attributes:
        samples: M of them.
        actions: `[M]`.
        logits: `[M, K]`, the policy's scores for each observation.
    """

    samples: Samples
    actions: Tensor
    logits: Tensor


def cases(seed: int | None) -> list[Case]:
    """Transitions with ratios on both sides of the range, for good and for bad actions.

    The mean of the advantages is not 0, and no two cases have the same numbers. As with λ-returns,
    the returns are the advantages plus the old values; the values have changed since.
    """
    if seed is None:
        moved, shift = torch.tensor([0.75, -0.5, 1.0, -0.25]), torch.full((4,), 0.5)
        return [
            _case(0, torch.tensor(advantage), shift, moved, numbers)
            for advantage, numbers in (
                ([3.0, -1.0, 2.0, 0.0], (0.2, 0.5, 0.02)),
                ([0.0, -5.0, -1.0, -4.0], (0.1, 0.75, 0.05)),
            )
        ]
    source = torch.Generator().manual_seed(seed)
    chosen = []
    for pairs, side in ((3, 1), (5, -1)):
        sizes = 1.5 + torch.rand(pairs, generator=source)
        signs = torch.stack((sizes, -sizes[torch.randperm(pairs, generator=source)]), 1).flatten()
        one, two, three, mean = torch.rand(4, generator=source).tolist()
        numbers = (0.1 + 0.08 * one + 0.1 * (side > 0), 0.6 + 0.4 * two, 0.02 + 0.1 * three)
        n = len(signs)
        moved = torch.where(torch.arange(n) // 2 % 2 == 0, side, -side) * (
            0.4 + 0.6 * torch.rand(n, generator=source)
        )
        shift = torch.rand(n, generator=source)
        advantage = signs + side * (0.5 + mean)
        chosen.append(_case(2 * seed + pairs, advantage, shift, moved, numbers))
    return chosen


def _case(
    seed: int,
    advantage: Tensor,
    shift: Tensor,
    moved: Tensor,
    numbers: tuple[float, float, float],
) -> Case:
    """A case from what varies it.

    Args:
        seed: of policy, actions and values.
        advantage: `[M]`.
        shift: `[M]`, in [0, 1]; how far the ratios are beyond the range.
        moved: `[M]`, value minus old value.
        numbers: ε, and the coefficients of value and entropy.
    """
    source = torch.Generator().manual_seed(seed)
    n, (clip_range, value_coef, entropy_coef) = len(advantage), numbers
    logits = torch.randn(n, N_ACTIONS, generator=source)
    actions = torch.randint(N_ACTIONS, (n,), generator=source)
    # Up, down, down, up, …: each side of the range with each sign, all of them outside.
    up = torch.tensor([(k + k // 2) % 2 == 0 for k in range(n)])
    size = (1.2 + shift) * clip_range
    ratio = torch.where(up, 1 + size, 1 - size)
    dist: Any = Categorical(logits=logits)  # its methods carry no types
    old_value = 2 * torch.randn(n, generator=source)
    samples = Samples(
        log_prob=dist.log_prob(actions),
        old_log_prob=dist.log_prob(actions) - ratio.log(),
        advantage=advantage,
        value=old_value + moved,
        old_value=old_value,
        returns=old_value + advantage,
        entropy=dist.entropy(),
        clip_range=clip_range,
        value_coef=value_coef,
        entropy_coef=entropy_coef,
    )
    return Case(samples, actions, logits)


def check_training_step(model_class: type[Any], *, seed: int | None = None) -> None:
    """Check a student's class `ClippedPPO(PPO)`, of which it calls `training_step` alone.

    It gets a minibatch of M transitions and its number, and returns the loss of PPO, a scalar.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        model_class: the student's.
        seed: draw other transitions and coefficients from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        chosen = cases(seed)
        runs = [_run(model_class, case) for case in chosen]
        _check_values(
            [case.samples for case in chosen],
            [run[0] for run in runs],
            drawn=any(run[2] for run in runs),
        )
        for case, (result, model, _) in zip(chosen, runs, strict=True):
            _check_gradients(case, result, model)
    if seed is None:
        print("Well done! Ratio, clipping, value, entropy: one loss, and Lightning does the rest.")


def _run(model_class: type[Any], case: Case) -> tuple[Tensor, Any, bool]:
    """The loss of a minibatch, the model that has computed it, and whether it drew something."""
    samples = case.samples
    model = _model(model_class, case)
    batch = Batch(
        torch.arange(len(case.actions)).float().unsqueeze(-1),
        case.actions,
        samples.old_value,
        samples.old_log_prob,
        samples.advantage,
        samples.returns,
    )
    given = Batch(*(tensor.clone() for tensor in batch))
    ancestor = next(c for c in type(model).__mro__[2:] if METHOD in vars(c))
    chance = torch.get_rng_state()
    with patch.object(ancestor, METHOD, _not_there):
        result = call_method(model, METHOD, given, 0, hint=_hint, check_in=model_class)
    for name, tensor, now in zip(batch._fields, batch, given, strict=True):
        if not torch.equal(tensor, now):
            look = "functions whose name ends in an underscore, and operators such as -="
            raise not_right(METHOD, f"it writes into batch.{name}, which is used again", look)
    if model.scores.grad is not None or model.values.grad is not None:
        raise not_right(
            METHOD,
            "it calls backward itself",
            "return the loss: Lightning calls zero_grad, backward and the optimiser's step",
        )
    return _read(result), model, not torch.equal(torch.get_rng_state(), chance)


def _model(model_class: Any, case: Case) -> Any:
    """A model of the student's class, with a policy and values of our own."""
    if isinstance(model_class, type) and METHOD not in vars(model_class):
        raise not_right(
            NAME,
            f"it has no {METHOD} of its own",
            f"def {METHOD}(self, batch, batch_idx), indented below class {NAME}(PPO):",
        )

    def forward(self: Any, x: Tensor) -> tuple[Categorical, Tensor]:
        index = x[:, 0].long()
        return Categorical(logits=self.scores[index]), self.values[index]

    def quiet(*_: Any, **__: Any) -> None:
        """In place of logging and printing, for which there is no Trainer here."""

    own = {"forward": forward, "log": quiet, "log_dict": quiet, "print": quiet}
    samples = case.samples
    model = made(
        type(NAME, (model_class,), own) if isinstance(model_class, type) else model_class,
        NAME,
        env=InertEnv(1, N_ACTIONS),
        eval_env=None,
        clip_range=samples.clip_range,
        value_coef=samples.value_coef,
        entropy_coef=samples.entropy_coef,
    )
    model.scores = torch.nn.Parameter(case.logits.clone())
    model.values = torch.nn.Parameter(samples.value.clone())
    return model


def _not_there(*_: Any, **__: Any) -> None:
    """In place of PPO's own `training_step`."""
    raise RuntimeError("PPO's own training_step is switched off in this exercise")


def _read(result: Any) -> Tensor:
    """The loss that a `training_step` returned; Lightning takes it in a dict, too.

    Raises:
        ExerciseError: if it is no scalar tensor.
    """
    facts = (f"  seen      {describe(result)}", "  expected  the loss, a scalar tensor")
    if result is None:
        look = "the last line: return …; without a loss, Lightning leaves the step out in silence"
        raise not_right(METHOD, "it returns nothing", look, *facts)
    value = result.get("loss") if isinstance(result, dict) else result
    if isinstance(value, int | float):
        look = "no .item() or float() on the way: Lightning needs the gradient"
        raise not_right(METHOD, "the loss is a plain number", look, *facts)
    if not isinstance(value, Tensor):
        look = "the three losses are added up to one: the last line of the formula"
        raise not_right(METHOD, "it does not return the loss", look, *facts)
    if value.numel() != 1:
        square = value.dim() == 2
        look = "the shapes: all are [M]" if square else "the mean over the minibatch, .mean()"
        raise not_right(METHOD, "the loss is not a single number", look, *facts)
    return value


def _check_values(chosen: Sequence[Samples], results: Sequence[Tensor], *, drawn: bool) -> None:
    """The number itself. The deviation of the advantages may divide by M or by M - 1.

    Args:
        chosen: the minibatches.
        results: the losses.
        drawn: whether random numbers were drawn on the way.
    """
    seen = [as_number(METHOD, result.detach(), "the loss") for result in results]
    for correction in (1, 0):
        right = [loss(samples, correction=correction) for samples in chosen]
        if all(agree(number, truth) for number, truth in zip(seen, right, strict=True)):
            return
    if drawn:
        raise not_right(
            METHOD,
            "it draws something at random, new actions perhaps",
            "the ratio is that of the actions that were taken: dist.log_prob(batch.actions)",
        )
    error = explain(METHOD, GUESSES, chosen, seen, right=loss, tell=Samples.tell)
    if error is not None:
        raise error


def _check_gradients(case: Case, result: Tensor, model: Any) -> None:
    """See that the loss, whose value is right, has the right gradients."""
    learned = (model.scores, model.values)
    if not result.requires_grad:
        look = "no torch.no_grad(), .detach() or torch.tensor(…) on the way to the loss"
        raise not_right(METHOD, "the loss is right, but has no gradient", look)
    found = torch.autograd.grad(result, learned, allow_unused=True, materialize_grads=True)
    logits = case.logits.clone().requires_grad_()
    value = case.samples.value.clone().requires_grad_()
    dist: Any = Categorical(logits=logits)
    current = case.samples._replace(
        log_prob=dist.log_prob(case.actions), value=value, entropy=dist.entropy()
    )
    for correction in (1, 0):
        total = current.total(correction=correction)
        truth = torch.autograd.grad(total, (logits, value), retain_graph=True)
        if all(same(one, other) for one, other in zip(found, truth, strict=True)):
            return
    wrong = "policy" if same(found[1], truth[1]) else "values"
    raise not_right(
        METHOD,
        f"the loss is right, but its gradient with respect to the {wrong} is not",
        "some part of the formula is detached, or computed under torch.no_grad()",
    )


def _hint(error: Exception) -> str:
    text = str(error)
    if "switched off" in text:
        return "write the loss yourself, from batch and from what self(batch.observations) gives"
    called = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    if called & {"optimizers", "manual_backward", "zero_grad", "clip_gradients"}:
        return "leave the optimiser to Lightning: return the loss, nothing else"
    if "not attached to a `Trainer`" in text:
        return "the check has no Trainer, and the loss needs none: batch and the model are enough"
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"Lightning calls {METHOD}(self, batch, batch_idx)"
    if "unpack" in text:
        return "self(batch.observations) gives two things: the distribution and the values"
    if isinstance(error, AttributeError) and "'Batch' object" in text:
        return f"a batch has {', '.join(Batch._fields)}"
    if isinstance(error, AttributeError) and "object has no attribute" in text:
        return "the model's numbers are self.clip_range, self.value_coef, self.entropy_coef"
    if isinstance(error, NameError):
        return "what belongs to the model is reached through self: self.clip_range"
    return ""
