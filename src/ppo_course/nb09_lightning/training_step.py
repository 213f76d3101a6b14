"""The check of notebook 09's second exercise: the loss of PPO as a `training_step` of Lightning."""

import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.distributions import Categorical

from ppo_course.feedback import same
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise
from ppo_course.nb09_lightning.student_model import WORDS, InertEnv, call_method, made
from ppo_course.nb09_lightning.training_step_mistakes import FORMULAS, Samples, loss
from ppo_course.one_number import agree, as_number, compare_numbers

LIGHTNINGS = {"optimizers", "manual_backward", "zero_grad", "clip_gradients"}
N_ACTIONS = 3


def _asks_for_the_optimiser(error: Exception) -> bool:
    return bool(LIGHTNINGS & {frame.name for frame in traceback.extract_tb(error.__traceback__)})


MODEL = Exercise("ClippedPPO", (), WORDS)
METHOD = Exercise(
    "training_step",
    ("batch", "batch_idx"),
    WORDS,
    [Hint("optimiser-is-lightnings", when=_asks_for_the_optimiser)],
)


class Batch(NamedTuple):
    """What a `training_step` gets: M transitions, as Lightning's PPO hands them over."""

    observations: Tensor
    actions: Tensor
    old_values: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    returns: Tensor


class Case(NamedTuple):
    """Samples, and the numbers of a policy and a value function that give them."""

    samples: Samples  # M of them
    actions: Tensor  # `[M]`
    logits: Tensor  # `[M, K]`, the policy's scores for each observation


def cases(seed: int | None) -> list[Case]:
    """Transitions with ratios on both sides of the range, for good and for bad actions.

    The mean of the advantages is not 0, and no two cases have the same numbers. As with λ-returns,
    the returns are the advantages plus the old values; the values have changed since.
    """
    if seed is None:
        moved, shift = torch.tensor([0.75, -0.5, 1.0, -0.25]), torch.full((4,), 0.5)
        chosen = [
            _case(0, torch.tensor(advantage), shift, moved, numbers)
            for advantage, numbers in (
                ([3.0, -1.0, 2.0, 0.0], (0.2, 0.5, 0.02)),
                ([0.0, -5.0, -1.0, -4.0], (0.1, 0.75, 0.05)),
            )
        ]
        return [*chosen, _of_zeros(chosen[0]), _of_large_returns(chosen[1])]
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
    return [*chosen, _of_zeros(chosen[0]), _of_large_returns(chosen[1])]


def _of_zeros(case: Case) -> Case:
    """0 is a coefficient like others, and a ratio may have moved by far."""
    samples, far = case.samples, case.samples.old_log_prob - 2
    return case._replace(
        samples=samples._replace(value_coef=0.0, entropy_coef=0.0, old_log_prob=far)
    )


def _of_large_returns(case: Case) -> Case:
    """Returns may be as large as CartPole's, and the clip range as small as one likes."""
    samples = case.samples
    large = {name: 100 * getattr(samples, name) for name in ("value", "old_value", "returns")}
    return case._replace(samples=samples._replace(clip_range=0.001, **large))


def _case(
    seed: int, advantage: Tensor, shift: Tensor, moved: Tensor, numbers: tuple[float, float, float]
) -> Case:
    """A case from what varies it; all `[M]`, the shifts in [0, 1].

    Shifts say how far the ratios are beyond the range, moved is value minus old value, and numbers
    are ε and the coefficients of value and entropy.
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


@torch.enable_grad()
@MODEL.check
def check_training_step(model_class: type[Any], *, seed: int | None = None) -> None:
    """Check a student's class `ClippedPPO(PPO)`, of which it calls `training_step` alone.

    It gets a minibatch of M transitions and its number, and returns the loss of PPO, a scalar.
    """
    chosen = cases(seed)
    runs = [_run(model_class, case, number) for number, case in enumerate(chosen)]
    results, drew = [run[0] for run in runs], any(run[2] for run in runs)
    _check_values([case.samples for case in chosen], results, drawn=drew)
    for case, (result, model, _) in zip(chosen, runs, strict=True):
        _check_gradients(case, result, model)


def _run(model_class: type[Any], case: Case, number: int) -> tuple[Tensor, Any, bool]:
    """The loss of a minibatch, the model that has computed it, and whether it drew something."""
    samples = case.samples
    model = _model(model_class, case)
    observations = torch.arange(len(case.actions)).float().unsqueeze(-1)
    given_before = (samples.old_value, samples.old_log_prob, samples.advantage, samples.returns)
    batch = Batch(observations, case.actions, *given_before)
    given = Batch(*(tensor.clone() for tensor in batch))
    ancestor = next(c for c in type(model).__mro__[2:] if METHOD.name in vars(c))
    chance = torch.get_rng_state()
    with patch.object(ancestor, METHOD.name, _not_there):
        result = call_method(METHOD, model_class, model, given, number)
    for name, tensor, now in zip(batch._fields, batch, given, strict=True):
        METHOD.refuse(not torch.equal(tensor, now), "changes-batch", part=name)
    if model.scores.grad is not None or model.values.grad is not None:
        raise METHOD.error("calls-backward")
    return _read(result), model, not torch.equal(torch.get_rng_state(), chance)


def _model(model_class: Any, case: Case) -> Any:
    """A model of the student's class, with a policy and values of our own."""
    if isinstance(model_class, type) and METHOD.name not in vars(model_class):
        raise MODEL.error("no-own-step")

    def forward(self: Any, x: Tensor) -> tuple[Categorical, Tensor]:
        index = x[:, 0].long()
        return Categorical(logits=self.scores[index]), self.values[index]

    def quiet(*_: Any, **__: Any) -> None:
        """In place of logging and printing, for which there is no Trainer here."""

    own = {"forward": forward, "log": quiet, "log_dict": quiet, "print": quiet}
    coefs = ("clip_range", "value_coef", "entropy_coef")
    model = made(
        MODEL,
        type(MODEL.name, (model_class,), own) if isinstance(model_class, type) else model_class,
        env=InertEnv(1, N_ACTIONS),
        eval_env=None,
        **{name: getattr(case.samples, name) for name in coefs},
    )
    model.scores = torch.nn.Parameter(case.logits.clone())
    model.values = torch.nn.Parameter(case.samples.value.clone())
    return model


def _not_there(*_: Any, **__: Any) -> None:
    """In place of PPO's own `training_step`."""
    raise RuntimeError("PPO's own training_step is switched off in this exercise")


def _read(result: Any) -> Tensor:
    """The loss that a `training_step` returned; Lightning takes it in a dict, too."""
    value: Any = result.get("loss") if isinstance(result, dict) else result
    mistake = None
    if isinstance(value, int | float):
        mistake = "plain-number"
    elif not isinstance(value, Tensor):
        mistake = "no-loss"
    elif value.numel() != 1:
        mistake = "square" if value.dim() == 2 else "not-single"
    METHOD.expect(result, mistake, "the loss, a scalar tensor")
    loss_: Tensor = value
    return loss_


def _check_values(chosen: Sequence[Samples], results: Sequence[Tensor], *, drawn: bool) -> None:
    """The number itself. The deviation of the advantages may divide by M or by M - 1."""
    seen = [as_number(METHOD, result.detach(), "the loss") for result in results]
    for correction in (1, 0):
        right = [loss(samples, correction=correction) for samples in chosen]
        if all(map(agree, chosen, seen, right)):
            return
    METHOD.refuse(drawn, "draws")
    compare_numbers(METHOD, chosen, seen, FORMULAS)


def _check_gradients(case: Case, result: Tensor, model: Any) -> None:
    """See that the loss, whose value is right, has the right gradients."""
    learned = (model.scores, model.values)
    METHOD.refuse(not result.requires_grad, "gradient-missing")
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
    raise METHOD.error("gradient-of-part", part="policy" if same(found[1], truth[1]) else "values")
