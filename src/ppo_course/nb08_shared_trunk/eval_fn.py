"""The check of notebook 08's first exercise: acting by the PPO2 model, as its card poses it."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ppo_bbrl.hub import PPO2
from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import same
from ppo_course.formulas import first_fit
from ppo_course.mistakes import Exercise, StudentCode, read_words

EXPONENT = 26  # of `bernstein`; 2 e^-26 is 1e-11
PARTS = ("value", "action", "neg_log_prob")
EXERCISE = Exercise("eval_fn", ("model", "obs"), read_words(__file__))


class Case(NamedTuple):
    """A model with dropout, in training mode, and observations `[B, D]` of doubles."""

    model: PPO2
    obs: np.ndarray


def cases(seed: int | None) -> list[Case]:
    """Models and observations; the sizes, too, are drawn where a seed is given."""
    source = source_of(seed)
    sizes = [(4, 2, 600)]
    if seed is not None:
        limits = ((3, 6), (2, 5), (600, 700))
        sizes = [tuple(integer(source, *pair) for pair in limits) for _ in range(2)]  # type: ignore[misc]
    chosen = []
    for input_dim, n_actions, n_obs in sizes:
        model = PPO2(input_dim, 16, n_actions, dropout=0.5)
        draw_weights(model, source, 0.4)
        obs = torch.randn(n_obs, input_dim, generator=source, dtype=torch.float64).numpy()
        obs[::7] *= 20  # nothing limits observations
        chosen.append(Case(model, obs))
    return chosen


@torch.enable_grad()
@EXERCISE.check
def check_eval_fn(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `eval_fn(model, obs)`.

    It gets a PPO2 model and observations of NumPy, `[B, D]`. It returns three tensors `[B]`
    without gradient: the values, the actions that it draws, their negative log-likelihoods.
    """
    torch.manual_seed(1 if seed is None else seed)
    for case in cases(seed):
        _check(function, case)


def _check(function: StudentCode, case: Case) -> None:
    with torch.no_grad():
        dist, right_value = case.model.eval().dist_and_value(torch.tensor(case.obs).float())
    actions = []
    for _ in range(2):
        (value, action, neg_log_prob), dropped = _act(function, case)
        right_nll = -dist.log_prob(action)
        if not same(value, right_value):
            key = "dropped" if dropped else "value"
            key = "no-value" if same(value, right_nll) else key
            raise EXERCISE.error(key, seen=_some(value), expected=_some(right_value))
        EXERCISE.refuse(torch.equal(action, dist.mode), "greedy")
        if not same(neg_log_prob, right_nll):
            known = {
                "log-likelihood": -right_nll,
                "probability": (-right_nll).exp(),
                "entropy": dist.entropy(),
            }
            key = first_fit(known, partial(same, neg_log_prob), "of-another-action")
            raise EXERCISE.error(key, seen=_some(neg_log_prob), expected=_some(right_nll))
        for part, tensor in zip(PARTS, (value, action, neg_log_prob), strict=True):
            EXERCISE.refuse(tensor.requires_grad, "carries-gradient", part=part)
        actions.append(action)
    _act(function, case._replace(obs=case.obs[:1]))
    # PPO2's distribution is a Categorical, which mypy does not know.
    _check_chance(actions[0], actions[1], dist.probs)  # type: ignore[attr-defined]


def _act(function: StudentCode, case: Case) -> tuple[tuple[Tensor, Tensor, Tensor], bool]:
    """What the student's function returns, if it left all as it was; were neurons dropped?"""
    model = case.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dropping: list[bool] = []
    hook = model.latent.register_forward_pre_hook(
        lambda module, _: dropping.append(module.training)
    )
    with torch.enable_grad():
        try:
            result: Any = EXERCISE.call(function, model, case.obs.copy())
        finally:
            hook.remove()
        switched_off = not torch.is_grad_enabled()
    after = model.state_dict()
    if any(not torch.equal(tensor, after[name]) for name, tensor in before.items()):
        raise EXERCISE.error("changes-weights")
    if any(not parameter.requires_grad for parameter in model.parameters()):
        raise EXERCISE.error("freezes-weights")
    EXERCISE.refuse(switched_off, "gradients-off")
    return _read(result, len(case.obs)), any(dropping)


def _check_chance(one: Tensor, other: Tensor, probs: Tensor) -> None:
    """See that the actions of two calls, `[B]` each, are drawn from the policy, `[B, K]`.

    A right function is refused with a probability below 1e-9: there are at most
    twelve questions of chance in a check.
    """
    if (one == one[0]).all():
        raise EXERCISE.error("always-one", action=int(one[0]))
    EXERCISE.refuse(torch.equal(one, probs.argmin(1)), "least-probable")
    EXERCISE.refuse(torch.equal(one, other), "same-again")
    both = torch.cat((probs, probs)).double()
    seen = functional.one_hot(torch.cat((one, other)).long(), both.shape[1]).double()
    likely = (seen * both).sum(1)  # the probability of the action that was taken
    surprise = bernstein(likely, both, both)
    if abs(surprise) > EXPONENT:
        raise EXERCISE.error(
            "too-often" if surprise > 0 else "too-rarely",
            seen=f"the actions that came have the probability {likely.mean():.3f}, on average",
            expected=f"about {both.square().sum(1).mean():.3f}",
        )
    for action, is_it in enumerate(seen.unbind(1)):
        values = torch.zeros_like(both)
        values[:, action] = 1
        if abs(bernstein(is_it, values, both)) > EXPONENT:
            raise EXERCISE.error(
                "one-too-often",
                seen=f"{is_it.sum():.0f} times in {len(is_it)}",
                expected=f"about {both[:, action].sum():.0f} times",
                action=action,
            )


def bernstein(seen: Tensor, values: Tensor, probs: Tensor) -> float:
    """How little chance explains a sum of independent numbers; negative where it is too small.

    By Bernstein's inequality, the sum is at a distance t or more from its mean with a probability
    of at most 2 exp(-x), x = t² / (2 (V + t / 3)). V is the sum of the variances.

    Args:
        seen: `[N]`, the numbers, between 0 and 1.
        values: `[N, K]`, the number that each action gives.
        probs: `[N, K]`, of the actions.

    Returns:
        x, with the sign of the distance.
    """
    mean = (probs * values).sum(1)
    variance = ((probs * values.square()).sum(1) - mean.square()).sum()
    distance = (seen - mean).sum()
    return float(distance * distance.abs() / (2 * (variance + distance.abs() / 3)))


def _read(result: Any, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a student's function returned, if it is three tensors `[B]`."""
    expected = f"3 values: {', '.join(PARTS)}, each a tensor of shape [{n}]"
    four = isinstance(result, tuple | list) and len(result) == 4
    EXERCISE.several(result, 3, "four-returned" if four else "not-three", expected)
    for part, tensor in zip(PARTS, result, strict=True):
        mistake = None
        if not isinstance(tensor, Tensor):
            mistake = "no-tensor"
        elif list(tensor.shape) != [n]:
            mistake = "wrong-shape"
        EXERCISE.expect(result, mistake, expected, part=part)
    if [tensor.is_floating_point() for tensor in result] != [True, False, True]:
        EXERCISE.expect(result, "order", expected)
    value, action, neg_log_prob = result
    return value, action, neg_log_prob


def _some(tensor: Tensor) -> str:
    return ", ".join(f"{entry:.3f}" for entry in tensor[:4].tolist()) + " …"
