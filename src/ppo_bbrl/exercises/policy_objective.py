"""The check of notebook 03's exercise: the clipped policy objective of PPO.

The student's function is run on a few made-up transitions whose probabilities one can check by
hand. Where its value is wrong, it is compared with the values that well-known mistakes would
give; where its value is right, its gradients are looked at.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from ppo_bbrl.agents import Policy
from ppo_bbrl.config import load_config
from ppo_bbrl.exercises.feedback import ExerciseError, call, untouched_randomness
from ppo_bbrl.workspace import Workspace, one_row

#: (policy, workspace, cfg) → (policy_loss, entropy, policy_advantage)
PolicyObjective = Callable[[Any, Workspace, Any], tuple[Tensor, Tensor, Tensor]]

NAMES = ("policy_loss", "entropy", "policy_advantage")
OLD = "old_policy/logprob_predict"

ENTROPY_COEF = 0.01
CLIP_RANGE_VF = 0.05  # the critic's, to notice who takes the wrong one


class Transition(NamedTuple):
    """One decision: the probabilities of the action that was taken, and its advantage."""

    old: float
    new: float
    advantage: float


# Ratios within the clip range and on both sides of it, each with both signs of the advantage.
TRANSITIONS = (
    Transition(0.5, 0.55, 0.5),
    Transition(0.5, 0.45, -1.5),
    Transition(0.4, 0.6, 2.5),
    Transition(0.6, 0.3, 4.0),
    Transition(0.4, 0.6, -3.0),
    Transition(0.6, 0.3, -0.5),
)
#: the transitions and the clip range of each call; the mistakes give other values in at least one
BATCHES = ((TRANSITIONS, 0.2), (TRANSITIONS, 0.4), (TRANSITIONS[:3], 0.2))


class TablePolicy(Policy):
    """A policy over two actions that looks its logits up: state s is the s-th unit vector."""

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__("policy")
        self.table = nn.Parameter(probabilities.log())
        self.has_acted = False

    def dist(self, obs: Tensor) -> Categorical:
        """π(·|s)."""
        return Categorical(logits=obs @ self.table)

    def forward(self, t: int, **kwargs: Any) -> None:
        """As every policy does, and remember whether an action was drawn."""
        self.has_acted |= not kwargs.get("predict_proba", False)
        super().forward(t, **kwargs)


class Case:
    """Some transitions as the student's function gets them, fresh for every call.

    Old log-probabilities and advantages are leaves that require grad, so that one sees whether a
    gradient arrives there.
    """

    def __init__(self, transitions: Sequence[Transition], clip_range: float) -> None:
        self.transitions, self.clip_range = transitions, clip_range
        n = len(transitions)
        action = torch.arange(n) % 2
        new = torch.tensor([transition.new for transition in transitions])
        probabilities = torch.empty(n, 2)
        probabilities[torch.arange(n), action] = new
        probabilities[torch.arange(n), 1 - action] = 1 - new
        self.policy = TablePolicy(probabilities).with_prefix("current_policy/")
        self.old = torch.tensor([transition.old for transition in transitions]).log()
        self.old.requires_grad_()
        self.advantage = torch.tensor([transition.advantage for transition in transitions])
        self.advantage.requires_grad_()
        self.observation, self.action = torch.eye(n), action
        self.workspace = one_row(
            {
                "env/env_obs": self.observation,
                "action": action,
                "advantage": self.advantage,
                OLD: self.old,
            }
        )
        self.cfg = load_config(
            {
                "gym_env": {"env_name": "CartPole-v1"},
                "algorithm": {
                    "clip_range": clip_range,
                    "clip_range_vf": CLIP_RANGE_VF,
                    "entropy_coef": ENTROPY_COEF,
                },
            }
        )

    def call(self, function: PolicyObjective) -> Any:
        """What the student's function returns."""
        try:
            result = call(function, self.policy, self.workspace, self.cfg, hint=_hint)
        except ExerciseError as error:
            if self.policy.has_acted:
                raise _resampled() from error
            raise
        if self.policy.has_acted:
            raise _resampled()
        return result

    def log_prob_and_entropy(self) -> tuple[Tensor, Tensor]:
        """What is right, `[N]` each; the log-probabilities carry the policy's gradient."""
        return self.policy.log_prob_and_entropy(self.observation, self.action)

    def inputs(self) -> "Inputs":
        """What formulas are made of."""
        log_prob, entropy = self.log_prob_and_entropy()
        return Inputs(
            log_prob, self.old.detach(), self.advantage.detach(), entropy, self.clip_range
        )


class Inputs(NamedTuple):
    """The symbols of the formula, `[N]` each; new and old are log-probabilities."""

    new: Tensor
    old: Tensor
    advantage: Tensor
    entropy: Tensor
    clip_range: float


# ------------------------------------------------------------------------------- known mistakes


class Choice(NamedTuple):
    """One way to write a part of the formula; right ones have no words."""

    formula: Callable[..., Any]
    wrong: str = ""
    look: str = ""


def _clip(ratio: Tensor, eps: float) -> Tensor:
    return ratio.clamp(1 - eps, 1 + eps)


# The first choice of each part is the right one.

RATIOS = (
    Choice(lambda x: (x.new - x.old).exp()),
    Choice(
        lambda x: (x.old - x.new).exp(),
        "the ratio is upside down: π_old / π_θ instead of π_θ / π_old",
        "the current policy's probability stands above the line of the fraction, the old one's "
        "below it",
    ),
    Choice(
        lambda x: torch.ones_like(x.old),
        "the ratio is always 1: both probabilities come from the same policy",
        f"the numerator comes from `{{prefix}}logprob_predict` of the policy you were given, the "
        f"denominator from `{OLD}`",
    ),
    Choice(
        lambda x: x.new - x.old,
        "the exponential is missing: this is the logarithm of the ratio",
        "log a − log b = log(a / b), and the objective needs a / b itself",
    ),
    Choice(
        lambda x: x.new / x.old,
        "the logarithms are divided by each other",
        "the workspace holds log-probabilities: the ratio of two probabilities is the exponential "
        "of the difference of their logarithms",
    ),
    Choice(
        lambda x: x.new.exp() - x.old.exp(),
        "the probabilities are subtracted instead of divided",
        "the ratio is π_θ / π_old, or the exponential of the difference of the logarithms",
    ),
    Choice(
        lambda x: x.new,
        "there is no ratio, only the log-probability of the current policy (as in A2C)",
        f"PPO compares with the policy that collected the data: `{OLD}`",
    ),
    Choice(
        lambda x: x.new.exp(),
        "there is no ratio, only the probability under the current policy",
        f"divide by the probability under the old policy, whose logarithm is `{OLD}`",
    ),
)

SURROGATES = (
    Choice(lambda r, a, eps: torch.min(r * a, _clip(r, eps) * a)),
    Choice(
        lambda r, a, eps: torch.max(r * a, _clip(r, eps) * a),
        "the larger of the two products is taken, the objective takes the smaller one",
        "max or min; if you turned the sign before, min of the values is −max of the negatives",
    ),
    Choice(
        lambda r, a, _eps: r * a,
        "nothing is clipped",
        "the second product has the ratio clamped to [1 − clip_range, 1 + clip_range]",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, _clip(r * a, eps)),
        "the product ratio × advantage is clipped, not the ratio",
        "clamp the ratio first, multiply by the advantage afterwards",
    ),
    Choice(
        lambda r, a, eps: _clip(r * a, eps),
        "the product ratio × advantage is clipped, not the ratio",
        "clamp the ratio first, multiply by the advantage afterwards; then take the minimum",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, _clip(r * a, eps) * a),
        "the product ratio × advantage is clipped, not the ratio",
        "clamp the ratio first, and multiply by the advantage once",
    ),
    Choice(
        lambda r, a, eps: _clip(r, eps) * a,
        "only the clipped product is there: the minimum with the unclipped one is missing",
        "the minimum keeps the gradient where a step went in the wrong direction",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, r.clamp(-eps, eps) * a),
        "the ratio is clamped around 0",
        "the ratio is 1 where nothing changed: its range is [1 − clip_range, 1 + clip_range]",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, r.clamp(max=1 + eps) * a),
        "the ratio is clamped from above only",
        "with a negative advantage it is the lower bound, 1 − clip_range, that matters",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, r.clamp(min=1 - eps) * a),
        "the ratio is clamped from below only",
        "with a positive advantage it is the upper bound, 1 + clip_range, that matters",
    ),
    Choice(
        lambda r, _a, eps: torch.min(r, _clip(r, eps)),
        "the advantage is missing",
        "both ratios, clipped and unclipped, are multiplied by the advantage before the minimum",
    ),
    Choice(
        lambda r, a, eps: torch.min(r, _clip(r, eps)) * a,
        "the minimum is taken of the ratios, before they are multiplied by the advantage",
        "a negative advantage turns the order around: multiply first, then take the minimum",
    ),
    Choice(
        lambda r, a, eps: torch.min((r * a).mean(), (_clip(r, eps) * a).mean()).expand_as(a),
        "the minimum is taken of two means",
        "the minimum is taken for each transition, the mean comes last",
    ),
)

CLIPS = (
    Choice(lambda x: x.clip_range),
    *(
        Choice(
            lambda _x, eps=eps: eps,
            f"the clip range is always {eps}, whatever the configuration says",
            "cfg.algorithm.clip_range",
        )
        for eps in (0.1, 0.2, 0.3)
    ),
    Choice(
        lambda _x: CLIP_RANGE_VF,
        "the clip range is clip_range_vf, the critic's",
        "cfg.algorithm.clip_range",
    ),
)

REDUCTIONS = (
    Choice(lambda s, _x: s.mean()),
    Choice(
        lambda s, _x: s.sum(),
        "the transitions are added up",
        "the objective is an expectation: take the mean",
    ),
    Choice(
        lambda s, x: s.mean() + ENTROPY_COEF * x.entropy.mean(),
        "the entropy bonus is in it already",
        "`run` adds it afterwards: return the entropy beside the objective",
    ),
)

SIGNS = (
    Choice(lambda v: v),
    Choice(
        lambda v: -v,
        "the sign is turned",
        "`policy_loss` is the objective L of the formula, which is to be maximised: `run` puts "
        "the minus in front of it",
    ),
)

MOST_MISTAKES = 3  # with more, a match would be chance
PARTS = (RATIOS, SURROGATES, CLIPS, REDUCTIONS, SIGNS)
Formula = tuple[Choice, Choice, Choice, Choice, Choice]
RIGHT: Formula = (RATIOS[0], SURROGATES[0], CLIPS[0], REDUCTIONS[0], SIGNS[0])


def formulas() -> list[Formula]:
    """Every combination of a few mistakes, those with fewest first."""

    def mistakes(formula: Formula) -> int:
        return sum(bool(choice.wrong) for choice in formula)

    return sorted((f for f in product(*PARTS) if mistakes(f) <= MOST_MISTAKES), key=mistakes)


def value(formula: Formula, x: Inputs) -> Tensor:
    """What a combination gives."""
    ratio, surrogate, clip, reduction, sign = (choice.formula for choice in formula)
    result: Tensor = sign(reduction(surrogate(ratio(x), x.advantage, clip(x)), x))
    return result


# ------------------------------------------------------------------------------------ the check


def check_policy_objective(function: PolicyObjective) -> None:
    """Check a student's `policy_objective(policy, workspace, cfg)`.

    It gets a workspace with one row, t = 0, of N transitions: `env/env_obs`, `action`,
    `advantage` and `old_policy/logprob_predict`. It returns `(policy_loss, entropy,
    policy_advantage)`: the clipped objective, to be maximised, a scalar; the other two `[1, N]`.

    Prints one line if everything is right. Needs no network and leaves the global random
    streams as they were.

    Args:
        function: the student's.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        cases = [Case(*batch) for batch in BATCHES]
        results = [case.call(function) for case in cases]
        for case, result in zip(cases, results, strict=True):
            _check_shapes(case, result)
        _check_values(function, cases, [result[0] for result in results])
        for case, result in zip(cases, results, strict=True):
            _check_companions(case, result)
            _check_gradients(case, result[0], result[1])
    print("Well done! Value, clipping on both sides, mean, sign and gradients are all right.")


def _hint(error: Exception) -> str:
    text = str(error)
    missing = text.partition(" in the workspace")[0] if isinstance(error, KeyError) else ""
    if "logprob_predict" in missing:
        return (
            "run the policy on the workspace with t=0 and predict_proba=True; it then writes "
            "`logprob_predict` under its own prefix, policy.prefix"
        )
    if "entropy" in missing:
        return (
            "run the policy with compute_entropy=True; it then writes `entropy` under its own "
            "prefix, policy.prefix"
        )
    if "ConfigAttributeError" in type(error).__name__ or "ConfigKeyError" in type(error).__name__:
        return "the clip range is cfg.algorithm.clip_range"
    if isinstance(error, TypeError) and "positional argument" in text:
        return "the function is called as policy_objective(policy, workspace, cfg)"
    return ""


def _resampled() -> ExerciseError:
    return _error(
        "the policy drew new actions, so that those of the workspace are lost",
        "the ratio is about the actions that were taken: run the policy with predict_proba=True, "
        "which asks for the probability of the action that is there",
    )


def _error(wrong: str, look: str, *facts: str) -> ExerciseError:
    return _errors([(wrong, look)], *facts)


def _errors(mistakes: Sequence[tuple[str, str]], *facts: str) -> ExerciseError:
    """Each mistake is what is wrong, and where to look."""
    if len(mistakes) == 1:
        ((wrong, look),) = mistakes
        lines = [f"policy_objective is not right yet: {wrong}.", *facts, f"Where to look: {look}."]
    else:
        lines = [
            f"policy_objective is not right yet. Probably {len(mistakes)} things are wrong:",
            *(f"- {wrong}." for wrong, _ in mistakes),
            *facts,
            "Where to look:",
            *(f"- {look}." for _, look in mistakes),
        ]
    return ExerciseError("\n".join(lines))


def _describe(thing: Any) -> str:
    if isinstance(thing, Tensor):
        return f"a tensor of shape {list(thing.shape)}" if thing.dim() else "a scalar tensor"
    if thing is None:
        return "None"
    if isinstance(thing, tuple | list):
        return f"{len(thing)} values: {', '.join(_describe(item) for item in thing)}"
    return f"a {type(thing).__name__}"


def _check_shapes(case: Case, result: Any) -> None:
    """Three tensors, the scalar first."""
    n = len(case.transitions)
    seen = f"  seen      {_describe(result)}"
    expected = f"  expected  {', '.join(NAMES)}: a scalar tensor, [1, {n}] and [1, {n}]"
    last_line = f"the last line of the function: return {', '.join(NAMES)}"
    if result is None:
        raise _error("it returns nothing", last_line, seen, expected)
    if not isinstance(result, tuple | list) or len(result) != len(NAMES):
        raise _error("it does not return three things", last_line, seen, expected)
    for name, item in zip(NAMES, result, strict=True):
        if isinstance(item, int | float):
            raise _error(
                f"{name} is a plain number, which carries no gradient",
                f"leave out .item() or float() on the way to {name}",
                seen,
                expected,
            )
        if not isinstance(item, Tensor):
            raise _error(f"{name} is no tensor", f"how {name} is made", seen, expected)
    _check_order(case, result, last_line, seen, expected)
    loss = result[0]
    if loss.dim():
        missing = loss.numel() == n
        raise _error(
            "the mean is missing: policy_loss has an entry for each transition"
            if missing
            else "policy_loss is not a scalar",
            "the last step is the mean over the transitions, Ê in the formula"
            if missing
            else "the shapes of what you combine: take row 0 of each variable, or the whole [1, N]",
            seen,
            expected,
        )
    for name, item, variable in zip(
        NAMES[1:], result[1:], ("current_policy/entropy", "advantage"), strict=True
    ):
        if list(item.shape) != [1, n]:
            raise _error(
                f"{name} has the wrong shape",
                f'return what workspace["{variable}"] gives, the row t = 0 included and before '
                "any mean",
                seen,
                expected,
            )


def _check_order(case: Case, result: Sequence[Tensor], *told: str) -> None:
    """Whether the three came in another order."""
    scalars = [item.dim() == 0 for item in result]
    loss_elsewhere = not scalars[0] and sum(scalars) == 1
    entropy = case.log_prob_and_entropy()[1]
    swapped = scalars[0] and _same(result[1], case.advantage) and _same(result[2], entropy)
    if loss_elsewhere or swapped:
        last_line, *facts = told
        raise _error("the three results come in the wrong order", last_line, *facts)


def _check_values(
    function: PolicyObjective, cases: Sequence[Case], losses: Sequence[Tensor]
) -> None:
    """The objective itself; a wrong one is looked up among the known mistakes."""
    inputs = [case.inputs() for case in cases]
    expected = [value(RIGHT, x) for x in inputs]
    wrong = [i for i in range(len(cases)) if not _same(losses[i], expected[i])]
    if not wrong:
        return
    first = wrong[0]
    n = len(cases[first].transitions)
    facts = [
        f"  seen      {_number(losses[first])}  ({NAMES[0]} of {n} transitions)",
        f"  expected  {_number(expected[first])}",
        *_example(function, cases[first].clip_range),
    ]
    for formula in formulas():
        if all(_same(loss, value(formula, x)) for loss, x in zip(losses, inputs, strict=True)):
            mistakes = [(choice.wrong, choice.look) for choice in formula if choice.wrong]
            raise _errors(mistakes, *facts)
    raise _error(
        "its value is wrong, in a way that this check does not know",
        "follow the example through your function, line by line"
        if len(facts) > 2
        else "how the transitions are put together; each one alone comes out right",
        *facts,
    )


def _example(function: PolicyObjective, clip_range: float) -> list[str]:
    """The first single transition that comes out wrong, in numbers to follow by hand."""
    for transition in TRANSITIONS:
        case = Case([transition], clip_range)
        try:
            seen = torch.as_tensor(case.call(function)[0]).squeeze()
        except Exception:  # noqa: BLE001 - what fails on one transition makes no example
            continue
        expected = value(RIGHT, case.inputs())
        if seen.dim() or _same(seen, expected):
            continue
        old, new, advantage = transition
        ratio = new / old
        clipped = min(max(ratio, 1 - clip_range), 1 + clip_range)
        given = f"π_old(a|s) = {old:g}, π_θ(a|s) = {new:g}, advantage = {advantage:g}"
        products = f"{ratio:.4g} × {advantage:g}, {clipped:.4g} × {advantage:g}"
        return [
            f"  Example: {given}, clip_range = {clip_range}.",
            f"  The ratio is {ratio:.4g}, clipped {clipped:.4g}.",
            f"  min({products}) = {_number(expected)}. Yours gives {_number(seen)}.",
        ]
    return []


def _check_companions(case: Case, result: Sequence[Tensor]) -> None:
    """The entropy and the advantage, returned as they are."""
    entropy = case.log_prob_and_entropy()[1]
    for name, item, right, source in (
        (NAMES[1], result[1], entropy, "the entropy that the policy wrote"),
        (NAMES[2], result[2], case.advantage, "the advantage of the workspace"),
    ):
        if not _same(item, right):
            raise _error(
                f"{name} is not {source}",
                f"{name} is returned for the log and the entropy bonus, unchanged",
                f"  seen      {_numbers(item)}",
                f"  expected  {_numbers(right)}",
            )


def _check_gradients(case: Case, loss: Tensor, entropy: Tensor) -> None:
    """A gradient to the policy, the right one, and to nothing else."""
    sources = (case.policy.table, case.old, case.advantage)
    table, old, advantage = (
        torch.autograd.grad(loss, sources, retain_graph=True, allow_unused=True)
        if loss.requires_grad
        else (None, None, None)
    )
    leaks = [
        (name, variable)
        for name, variable, gradient in (
            ("the old policy's log-probabilities", OLD, old),
            ("the advantages", "advantage", advantage),
        )
        if gradient is not None and gradient.any()
    ]
    if leaks:
        names = " and through ".join(name for name, _ in leaks)
        variables = " and ".join(f'workspace["{variable}"]' for _, variable in leaks)
        raise _error(
            f"its value is right, but a gradient flows back through {names}",
            f"they are constants of the objective: .detach() what you read from {variables}",
            "  seen      a gradient there",
            "  expected  a gradient in the current policy alone",
        )
    if table is None or not table.any():
        raise _error(
            "its value is right, but no gradient reaches the current policy",
            "nothing between the policy's log-probability and policy_loss may be under "
            "torch.no_grad() or detached",
        )
    (right,) = torch.autograd.grad(value(RIGHT, case.inputs()), [case.policy.table])
    if not _same(table, right):
        raise _error(
            "its value is right, but its gradient is not",
            "some part of the formula is detached, or goes through .data or torch.no_grad(); only "
            "the old log-probabilities and the advantages are constants",
        )
    if not entropy.requires_grad:
        raise _error(
            "entropy carries no gradient, so that the entropy bonus would have no effect",
            "return it as the policy wrote it, not detached",
        )


def _number(scalar: Tensor) -> str:
    return f"{scalar.item():.4g}"


def _numbers(tensor: Tensor) -> str:
    return "[" + ", ".join(f"{number:.3f}" for number in tensor.flatten().tolist()) + "]"


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, whatever their shapes, up to rounding."""
    if one.numel() != other.numel():
        return False
    one, other = one.detach().flatten().double(), other.detach().flatten().double()
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
