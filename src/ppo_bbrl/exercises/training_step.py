"""The check of notebook 09's second exercise: the loss of PPO as a `training_step` of Lightning."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.distributions import Categorical

from ppo_bbrl.exercises.feedback import describe, not_right, same, untouched_randomness
from ppo_bbrl.exercises.guesses import agree, as_number, explain
from ppo_bbrl.exercises.student_class import Still, call_method, made
from ppo_bbrl.exercises.training_step_mistakes import GUESSES, Samples, loss

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
    """Transitions with ratios on both sides of the range, for good and for bad actions."""
    if seed is None:
        advantage, shift = torch.tensor([2.0, -2.0, 1.0, -1.0]), torch.full((4,), 0.5)
        return [_case(torch.Generator().manual_seed(0), advantage, shift, (0.2, 0.5, 0.02))]
    source = torch.Generator().manual_seed(seed)
    chosen = []
    for pairs in (3, 5):
        sizes = 1.5 + torch.rand(pairs, generator=source)
        signs = torch.stack((sizes, -sizes[torch.randperm(pairs, generator=source)]), 1).flatten()
        one, two, three = torch.rand(3, generator=source).tolist()
        numbers = (0.1 + 0.2 * one, 0.3 + 0.4 * two, 0.02 + 0.1 * three)
        chosen.append(_case(source, signs, torch.rand(len(signs), generator=source), numbers))
    return chosen


def _case(
    source: torch.Generator, advantage: Tensor, shift: Tensor, numbers: tuple[float, float, float]
) -> Case:
    n, (clip_range, value_coef, entropy_coef) = len(advantage), numbers
    logits = torch.randn(n, N_ACTIONS, generator=source)
    actions = torch.randint(N_ACTIONS, (n,), generator=source)
    # Up, down, down, up, …: each side of the range with each sign, the last ones far outside.
    up = torch.tensor([(k + k // 2) % 2 == 0 for k in range(n)])
    size = (1.2 + shift) * clip_range
    ratio = torch.where(up, 1 + size, 1 - size)
    dist: Any = Categorical(logits=logits)  # its methods carry no types
    value = 2 * torch.randn(n, generator=source)
    samples = Samples(
        log_prob=dist.log_prob(actions),
        old_log_prob=dist.log_prob(actions) - ratio.log(),
        advantage=advantage,
        value=value,
        old_value=value - 0.5 - shift,
        returns=value + advantage + 0.55,
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
        _check_values([case.samples for case in chosen], [run[0] for run in runs])
        for case, (result, model) in zip(chosen, runs, strict=True):
            _check_gradients(case, result, model)
    if seed is None:
        print("Well done! Ratio, clipping, value, entropy: one loss, and Lightning does the rest.")


def _run(model_class: type[Any], case: Case) -> tuple[Tensor, Any]:
    """The loss of a minibatch, and the model that has computed it."""
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
    return _read(result), model


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
        """In place of logging, for which there is no Trainer here."""

    own = {"forward": forward, "log": quiet, "log_dict": quiet}
    samples = case.samples
    model = made(
        type(NAME, (model_class,), own) if isinstance(model_class, type) else model_class,
        NAME,
        env=Still(1, N_ACTIONS),
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


def _check_values(chosen: Sequence[Samples], results: Sequence[Tensor]) -> None:
    """The number itself. The deviation of the advantages may divide by M or by M - 1."""
    seen = [as_number(METHOD, result.detach(), "the loss") for result in results]
    for correction in (1, 0):
        right = [loss(samples, correction=correction) for samples in chosen]
        if all(agree(number, truth) for number, truth in zip(seen, right, strict=True)):
            return
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
    if "not attached to a `Trainer`" in text or "optimizers" in text or "zero_grad" in text:
        return "leave the optimiser to Lightning: return the loss, nothing else"
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"Lightning calls {METHOD}(self, batch, batch_idx)"
    if "unpack" in text:
        return "self(batch.observations) gives two things: the distribution and the values"
    if isinstance(error, AttributeError) and "'Batch' object" in text:
        return f"a batch has {', '.join(Batch._fields)}"
    if isinstance(error, NameError):
        return "what belongs to the model is reached through self: self.clip_range"
    return ""
