"""The check of notebook 08's first exercise: acting by the PPO2 model, as its card poses it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ppo_bbrl.hub import PPO2
from ppo_course.feedback import call, describe, not_right, same, untouched_randomness

NAME = "eval_fn"
EXPONENT = 26  # of `bernstein`; 2 e^-26 is 1e-11
_DRAWN = "return the actions that model(obs) draws, as they are"
PARTS = ("value", "action", "neg_log_prob")

#: (model, observations [B, D] of NumPy) → value [B], action [B], negative log-likelihood [B]
EvalFn = Callable[[PPO2, np.ndarray], tuple[Tensor, Tensor, Tensor]]


class Case(NamedTuple):
    """A model with dropout, in training mode, and observations `[B, D]` of doubles."""

    model: PPO2
    obs: np.ndarray


def cases(seed: int | None) -> list[Case]:
    """Models and observations; the sizes, too, are drawn where a seed is given."""
    source = torch.Generator().manual_seed(0 if seed is None else seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=source))

    sizes = [(4, 2, 600)]
    if seed is not None:
        sizes = [(between(3, 6), between(2, 5), between(600, 700)) for _ in range(2)]
    chosen = []
    for input_dim, n_actions, n_obs in sizes:
        model = PPO2(input_dim, 16, n_actions, dropout=0.5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=source))
        obs = torch.randn(n_obs, input_dim, generator=source, dtype=torch.float64).numpy()
        chosen.append(Case(model, obs))
    return chosen


def check_eval_fn(function: EvalFn, *, seed: int | None = None) -> None:
    """Check a student's `eval_fn(model, obs)`.

    It gets a PPO2 model and observations of NumPy, `[B, D]`. It returns three tensors `[B]`
    without gradient: the values, the actions that it draws, their negative log-likelihoods.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw another model and other observations from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        torch.manual_seed(1 if seed is None else seed)
        for case in cases(seed):
            _check(function, case)
    if seed is None:
        print("Well done! It acts without dropout and without gradients, and knows how likely.")


def _check(function: EvalFn, case: Case) -> None:
    with torch.no_grad():
        dist, right_value = case.model.eval().dist_and_value(torch.tensor(case.obs).float())
    actions = []
    for _ in range(2):
        (value, action, neg_log_prob), dropped = _act(function, case)
        right_nll = -dist.log_prob(action)
        if not same(value, right_value):
            raise _value_error(value, right_value, right_nll, dropped=dropped)
        if torch.equal(action, dist.mode):
            raise not_right(
                NAME,
                "it always takes the most probable action",
                "model(obs) draws an action; without chance nothing is explored",
            )
        if not same(neg_log_prob, right_nll):
            raise _likelihood_error(neg_log_prob, right_nll, dist.entropy())
        for name, tensor in zip(PARTS, (value, action, neg_log_prob), strict=True):
            if tensor.requires_grad:
                raise not_right(
                    NAME,
                    f"{name} carries a gradient",
                    "run the model in `with torch.no_grad():`, or in "
                    "`with torch.set_grad_enabled(False):`",
                )
        actions.append(action)
    # PPO2's distribution is a Categorical, which mypy does not know.
    _check_chance(actions[0], actions[1], dist.probs)  # type: ignore[attr-defined]


def _act(function: EvalFn, case: Case) -> tuple[tuple[Tensor, Tensor, Tensor], bool]:
    """What the student's function returns, and whether neurons were dropped.

    Raises:
        ExerciseError: if it is not three tensors `[B]`, or not everything was left as it was.
    """
    model, obs = case.model.train(), case.obs.copy()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dropping: list[bool] = []
    hook = model.latent.register_forward_pre_hook(
        lambda module, _: dropping.append(module.training)
    )
    with torch.enable_grad():
        try:
            result: Any = call(function, model, obs, hint=_hint)
        finally:
            hook.remove()
        switched_off = not torch.is_grad_enabled()
    _check_untouched(case, obs, before)
    if switched_off:
        raise not_right(
            NAME,
            "it switches gradients off for all that follows, learning included",
            "`with torch.no_grad():` switches them on again at its end",
        )
    return _read(result, len(obs)), any(dropping)


def _check_chance(one: Tensor, other: Tensor, probs: Tensor) -> None:
    """See that the actions of two calls, `[B]` each, are drawn from the policy, `[B, K]`.

    A right function is refused with a probability below 1e-9: there are at most
    twelve questions of chance in a check.
    """
    if (one == one[0]).all():
        raise not_right(NAME, f"the action is always {int(one[0])}", _DRAWN)
    if torch.equal(one, probs.argmin(1)):
        raise not_right(NAME, "it always takes the least probable action", _DRAWN)
    if torch.equal(one, other):
        raise not_right(
            NAME,
            "a second call with the same observations draws the same actions again",
            "no torch.manual_seed and no new generator in the function: it is called in each step",
        )
    both = torch.cat((probs, probs)).double()
    seen = functional.one_hot(torch.cat((one, other)).long(), both.shape[1]).double()
    likely = (seen * both).sum(1)  # the probability of the action that was taken
    surprise = bernstein(likely, both, both)
    if abs(surprise) > EXPONENT:
        raise not_right(
            NAME,
            f"probable actions come too {'often' if surprise > 0 else 'rarely'}: the actions are "
            "not drawn from the model's policy",
            _DRAWN,
            f"  seen      the actions that came have the probability {likely.mean():.3f}, on "
            "average",
            f"  expected  about {both.square().sum(1).mean():.3f}",
        )
    for action, is_it in enumerate(seen.unbind(1)):
        values = torch.zeros_like(both)
        values[:, action] = 1
        if abs(bernstein(is_it, values, both)) > EXPONENT:
            raise not_right(
                NAME,
                f"action {action} does not come as often as the model's policy says",
                _DRAWN,
                f"  seen      {is_it.sum():.0f} times in {len(is_it)}",
                f"  expected  about {both[:, action].sum():.0f} times",
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


def _check_untouched(case: Case, obs: np.ndarray, before: dict[str, Tensor]) -> None:
    if not np.array_equal(obs, case.obs):
        raise not_right(
            NAME,
            "it writes into the observations, which the caller still needs",
            "torch.from_numpy shares memory with the array; torch.tensor makes a copy",
        )
    after = case.model.state_dict()
    if any(not torch.equal(tensor, after[name]) for name, tensor in before.items()):
        raise not_right(NAME, "it changes the model's weights", "acting is not learning")
    if any(not parameter.requires_grad for parameter in case.model.parameters()):
        raise not_right(
            NAME,
            "it freezes the weights, so that they could not learn afterwards",
            "leave requires_grad as it is: `with torch.no_grad():` is for this call alone",
        )


def _read(result: Any, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The three tensors `[B]` that a student's function returned.

    Raises:
        ExerciseError: if it returned something else.
    """
    facts = (
        f"  seen      {describe(result)}",
        f"  expected  3 values: {', '.join(PARTS)}, each a tensor of shape [{n}]",
    )
    last_line = f"the last line: return {', '.join(PARTS)}"
    if result is None:
        raise not_right(NAME, "it returns nothing", last_line, *facts)
    if isinstance(result, tuple | list) and len(result) == 4:
        look = f"the model gives the entropy, too, which nobody needs for acting; {last_line}"
        raise not_right(NAME, "it returns four things", look, *facts)
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise not_right(NAME, "it does not return three things", last_line, *facts)
    for name, tensor in zip(PARTS, result, strict=True):
        if not isinstance(tensor, Tensor):
            look = "leave out .numpy(), .item() and .tolist(): train_fn wants tensors"
            raise not_right(NAME, f"{name} is no tensor", look, *facts)
        if list(tensor.shape) != [n]:
            look = "what the model gives has the right shape already"
            raise not_right(NAME, f"{name} has the wrong shape", look, *facts)
    kinds = [tensor.is_floating_point() for tensor in result]
    if kinds != [True, False, True]:
        look = f"the model's order is value, action, neg_log_prob, entropy; {last_line}"
        raise not_right(NAME, "the three are not in this order", look, *facts)
    value, action, neg_log_prob = result
    return value, action, neg_log_prob


def _value_error(seen: Tensor, right: Tensor, neg_log_prob: Tensor, *, dropped: bool) -> Exception:
    """The error about wrong values, `[B]`."""
    facts = (
        f"  seen      {_some(seen)}",
        f"  expected  {_some(right)}",
    )
    if same(seen, neg_log_prob):
        look = "the model's order is value, action, neg_log_prob, entropy"
        return not_right(NAME, "what comes first is no value", look, *facts)
    if not dropped:
        look = "leave what the model gives as it is"
        return not_right(NAME, "the values are not those of the model", look, *facts)
    return not_right(
        NAME,
        "the values are not those of the whole network: neurons were dropped",
        "model.eval() before the model is run switches dropout off; it comes in training mode here",
        *facts,
    )


def _likelihood_error(seen: Tensor, right: Tensor, entropy: Tensor) -> Exception:
    """The error about wrong negative log-likelihoods, `[B]`."""
    facts = (
        f"  seen      {_some(seen)}",
        f"  expected  {_some(right)}",
    )
    if same(seen, -right):
        wrong = "it returns log-likelihoods, without the minus"
        look = "the model gives the negative ones already: leave them as they are"
    elif same(seen, (-right).exp()):
        wrong = "it returns probabilities, not negative log-likelihoods"
        look = "leave what the model gives as it is"
    elif same(seen, entropy):
        wrong = "it returns the entropy in the place of neg_log_prob"
        look = "the model's order is value, action, neg_log_prob, entropy"
    else:
        wrong = "neg_log_prob does not belong to the action that is returned"
        look = (
            "each call model(obs) draws other actions: run the model once, and return what this "
            "one call gives"
        )
    return not_right(NAME, wrong, look, *facts)


def _some(tensor: Tensor) -> str:
    return ", ".join(f"{entry:.3f}" for entry in tensor[:4].tolist()) + " …"


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, AttributeError) and "numpy.ndarray" in text:
        return "the model wants a tensor: torch.tensor(obs)"
    if "same dtype" in text:
        return (
            "the weights are single precision, the observations double: torch.tensor(obs).float()"
        )
    if "positional argument" in text:
        return f"the function is called as {NAME}(model, obs)"
    if "unpack" in text:
        return "the model gives four things: value, action, neg_log_prob, entropy"
    return ""
