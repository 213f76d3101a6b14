"""The check of notebook 08's second exercise: the joint loss of a shared trunk."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.hub import PPO2
from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import agree, as_number, compare_numbers

PARTS = ("total", "policy_loss", "value_loss")
#: what the gradient of each of the two parts reaches
REACHED = ("neg_log_probs", "value_f")
LEARNED = ("value_f", "neg_log_probs", "entropy")


class Samples(NamedTuple):
    """The arguments, in their order: `[N]` each, then three numbers."""

    returns: Tensor
    value_f: Tensor
    neg_log_probs: Tensor
    entropy: Tensor
    advantages: Tensor
    old_values: Tensor
    old_neg_log_probs: Tensor
    clip_range: float
    ent_coef: float
    vf_coef: float

    def tell(self) -> list[str]:
        """The example in a message: its first four samples."""
        rows = [
            ("advantages", self.advantages),
            ("now probable", (-self.neg_log_probs).exp()),
            ("and before", (-self.old_neg_log_probs).exp()),
            ("returns", self.returns),
            ("value_f", self.value_f),
            ("old_values", self.old_values),
            ("entropy", self.entropy),
        ]
        more = " …" if len(self.returns) > 4 else ""
        coefficients = f"ent_coef = {self.ent_coef:g}, vf_coef = {self.vf_coef:g}"
        return [
            f"  An example with clip_range = {self.clip_range:g}, {coefficients}:",
            *(f"    {name:<13}{numbers(row[:4])}{more}" for name, row in rows),
        ]


EXERCISE = Exercise("joint_loss", Samples._fields, read_words(__file__))


def _samples(
    n: int, shifts: Tensor, errors: Tensor, rest: Tensor, numbers_: Sequence[float]
) -> Samples:
    """Samples on all sides of both clip ranges, which repeat; all `[N]`, of numbers in [0, 1].

    Shifts vary the probabilities, errors the values; numbers_ are ε and the two coefficients.
    """
    side = torch.arange(n)
    good = side % 2 == 0
    outside = (side // 2) % 2 == 0
    clip_range, ent_coef, vf_coef = numbers_
    # Up for the first four, down for the next four: a side of the range with both signs.
    up = (side // 4 + side) % 2 == 0
    size = torch.where(outside, 1.5 + shifts, 0.3 + 0.3 * shifts) * clip_range
    ratio = torch.where(up, 1 + size, 1 - 0.8 * size)
    # The first four samples have a bad action that became more probable, too.
    ratio[3] = 1 + 2 * clip_range
    old_prob = 0.25 + 0.2 * rest
    old_values = 3 * rest - 1
    change = torch.where(outside, 2 + errors, 0.5 * errors) * clip_range
    value_f = old_values + torch.where(up, change, -change)
    # Of the values that left the range, some went towards the return, some away from it.
    away = (side // 2) % 4 < 2
    returns = torch.where(away == up, old_values - 1 - errors, old_values + 1 + errors)
    returns[0] = old_values[0] + 1.5
    return Samples(
        returns=returns,
        value_f=value_f,
        neg_log_probs=-(old_prob * ratio).log(),
        entropy=0.2 + 0.4 * errors,
        advantages=torch.where(good, 0.5 + rest, -0.5 - 2 * rest),
        old_values=old_values,
        old_neg_log_probs=-old_prob.log(),
        clip_range=clip_range,
        ent_coef=ent_coef,
        vf_coef=vf_coef,
    )


def cases(seed: int | None) -> list[Samples]:
    """Fixed samples that one can follow by hand, or others drawn from a seed."""
    if seed is None:
        rest = torch.tensor([0.5, 0.25, 0.75, 0.5])
        shifts, errors = torch.full((4,), 0.5), torch.tensor([0.5, 0.25, 0.5, 1.0])
        # With other numbers in the second case, none of them can be known by heart.
        chosen = [
            _samples(4, shifts, errors, rest, constants)
            for constants in ((0.2, 0.01, 0.5), (0.1, 0.05, 0.75))
        ]
        return [*chosen, _of_zeros(chosen[0]), _of_no_range(chosen[1])]
    source = torch.Generator().manual_seed(seed)
    chosen = []
    for least in (8, 13):
        n = least + int(torch.randint(5, (), generator=source))
        shifts, errors, rest = torch.rand(3, n, generator=source)
        one, two, three = torch.rand(3, generator=source).tolist()
        constants = (0.1 + 0.08 * one, 0.02 + 0.08 * two, 0.3 + 0.6 * three)
        chosen.append(_samples(n, shifts, errors, rest, constants))
    return [*chosen, _of_zeros(chosen[0]), _of_no_range(chosen[1])]


def _of_zeros(case: Samples) -> Samples:
    """0 is a coefficient like others, and a ratio may have moved by far."""
    far = case.old_neg_log_probs + 2
    return case._replace(ent_coef=0.0, vf_coef=0.0, old_neg_log_probs=far)


def _of_no_range(case: Samples) -> Samples:
    """0 is a range of the ratio like others; of the values, the package takes it for none."""
    moved = case.old_neg_log_probs - case.neg_log_probs
    return case._replace(
        clip_range=0.0,
        value_f=case.old_values.clone(),
        old_neg_log_probs=case.neg_log_probs + 3 * moved,  # beyond the usual ranges
    )


def right(case: Samples) -> tuple[Tensor, Tensor, Tensor]:
    """Total, policy loss and value loss, with gradient."""
    total, policy_loss, critic_loss, _, _ = PPO2.loss(None, *case)  # type: ignore[arg-type]
    return total, policy_loss, critic_loss


def _ratio(case: Samples) -> Tensor:
    return (case.old_neg_log_probs - case.neg_log_probs).exp()


def _products(case: Samples, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """-A·r and -A·clip(r), `[N]`."""
    clipped = ratio.clamp(1 - case.clip_range, 1 + case.clip_range)
    return -case.advantages * ratio, -case.advantages * clipped


def _unlimited(case: Samples) -> Samples:
    """With a range that limits nothing, if it is 0."""
    return case if case.clip_range else case._replace(clip_range=1e6)


def _replaced(case: Samples) -> Samples:
    """With the usual range, if it is 0."""
    return case if case.clip_range else case._replace(clip_range=0.2)


def _policy(case: Samples, ratio: Tensor | None = None) -> Tensor:
    return torch.max(*_products(case, _ratio(case) if ratio is None else ratio))


def _standard(case: Samples, correction: int) -> Tensor:
    """The advantages with mean 0 and deviation 1, `[N]`."""
    spread = case.advantages - case.advantages.mean()
    return spread / (spread.std(correction=correction) + 1e-8)


def _change(case: Samples) -> Tensor:
    """Of the value, clipped, `[N]`."""
    return (case.value_f - case.old_values).clamp(-case.clip_range, case.clip_range)


def _errors(case: Samples, clipped: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(V - R)² and (V_clip - R)², `[N]`."""
    clipped = case.old_values + _change(case) if clipped is None else clipped
    return (case.value_f - case.returns) ** 2, (clipped - case.returns) ** 2


def _value(case: Samples, clipped: Tensor | None = None) -> Tensor:
    return 0.5 * torch.max(*_errors(case, clipped)).mean()


def _total(case: Samples, policy: float = 1, entropy: float = -1, value: float = 1) -> Tensor:
    bonus = entropy * case.ent_coef * case.entropy.mean()
    return policy * _policy(case).mean() + bonus + value * case.vf_coef * _value(case)


POLICY = Part(
    lambda c: right(c)[1],
    {
        "policy-sign": lambda c: -_policy(c).mean(),
        "ratio-inverted": lambda c: _policy(c, 1 / _ratio(c)).mean(),
        "policy-smaller": lambda c: torch.min(*_products(c, _ratio(c))).mean(),
        "range-0-is-none": lambda c: _policy(_unlimited(c)).mean(),
        "range-0-replaced": lambda c: _policy(_replaced(c)).mean(),
        "policy-clip-fixed": lambda c: _policy(c._replace(clip_range=0.2)).mean(),
        "policy-normalised~M-1": lambda c: _policy(c._replace(advantages=_standard(c, 1))).mean(),
        "policy-normalised~M": lambda c: _policy(c._replace(advantages=_standard(c, 0))).mean(),
        "policy-not-clipped": lambda c: _products(c, _ratio(c))[0].mean(),
        "policy-clipped-only": lambda c: _products(c, _ratio(c))[1].mean(),
        "policy-sum": lambda c: _policy(c).sum(),
        "ratio-no-exponential": lambda c: _policy(c, _ratio(c).log()).mean(),
        "ratio-of-logarithms": lambda c: _policy(c, c.neg_log_probs / c.old_neg_log_probs).mean(),
        "no-ratio": lambda c: (c.advantages * c.neg_log_probs).mean(),
    },
)

VALUE = Part(
    lambda c: right(c)[2],
    {
        "value-with-coef": lambda c: c.vf_coef * _value(c),
        "value-clip-fixed": lambda c: _value(c._replace(clip_range=0.2)),
        "value-not-halved": lambda c: 2 * _value(c),
        "value-not-clipped": lambda c: 0.5 * _errors(c)[0].mean(),
        "value-plain": lambda c: _errors(c)[0].mean(),
        "value-clipped-only": lambda c: 0.5 * _errors(c)[1].mean(),
        "value-smaller": lambda c: 0.5 * torch.min(*_errors(c)).mean(),
        "value-itself-clipped": lambda c: _value(c, c.value_f.clamp(-c.clip_range, c.clip_range)),
        "old-value-missing": lambda c: _value(c, _change(c)),
        "value-sign": lambda c: -_value(c),
        "value-sum": lambda c: torch.max(*_errors(c)).sum() / 2,
    },
)

TOTAL = Part(
    lambda c: right(c)[0],
    {
        "entropy-sign": lambda c: _total(c, entropy=1),
        "value-subtracted": lambda c: _total(c, value=-1),
        "policy-subtracted": lambda c: _total(c, policy=-1),
        "total-sign": lambda c: -_total(c),
        "coefs-exchanged": lambda c: _total(c._replace(ent_coef=c.vf_coef, vf_coef=c.ent_coef)),
        "coefs-fixed": lambda c: _total(c._replace(ent_coef=0.01, vf_coef=0.5)),
        "entropy-missing": lambda c: _total(c, entropy=0),
        "vf-coef-missing": lambda c: _total(c._replace(vf_coef=1.0)),
        "ent-coef-missing": lambda c: _total(c._replace(ent_coef=1.0)),
        "value-halved-twice": lambda c: _total(c._replace(vf_coef=c.vf_coef / 2)),
        "entropy-sum": lambda c: _total(c, entropy=-len(c.entropy)),
        "policy-alone": lambda c: _policy(c).mean(),
        "value-missing": lambda c: _total(c, value=0),
    },
)


@torch.enable_grad()
@EXERCISE.check
def check_joint_loss(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `joint_loss`, with the arguments of `PPO2.loss`.

    It returns three scalars: the total loss, to be minimised, the policy loss and the value loss.
    """
    chosen = cases(seed)
    given = [_learned(case) for case in chosen]
    results = [_read(EXERCISE.call(function, *samples)) for samples in given]
    seen = [
        [as_number(EXERCISE, x.detach(), p) for x, p in zip(r, PARTS, strict=True)] for r in results
    ]
    _check_order(chosen, seen)

    def see(position: int, part: Part) -> None:
        compare_numbers(
            EXERCISE,
            chosen,
            [losses[position] for losses in seen],
            part,
            tell=lambda case: [*case.tell(), f"  {PARTS[position]}:"],
        )

    with EXERCISE.partly(
        policy_loss=lambda: see(1, POLICY),
        value_loss=lambda: see(2, VALUE),
        total=lambda: see(0, TOTAL),
    ):
        # The total last: it is made of the other two.
        see(1, POLICY)
        see(2, VALUE)
        see(0, TOTAL)
    triples = zip(chosen, given, results, strict=True)
    # Without a range, clipped and plain error are the same number, with two gradients.
    limited = [triple for triple in triples if triple[0].clip_range]
    for case, samples, (total, *_) in limited:
        fresh = _learned(case)
        check_gradients(
            EXERCISE,
            gradients(total, {name: getattr(samples, name) for name in LEARNED}),
            gradients(right(fresh)[0], {name: getattr(fresh, name) for name in LEARNED}),
        )
    # Others take the parts apart, and their gradients.
    for _, samples, (_, *parts) in limited:
        for name, loss, reached in zip(PARTS[1:], parts, REACHED, strict=True):
            EXERCISE.refuse(not loss.requires_grad, f"part-detached~{name}")
            found = gradients(loss, {reached: getattr(samples, reached)})
            EXERCISE.refuse(not found[reached].any(), f"part-detached~{name}")


def _learned(case: Samples) -> Samples:
    """A copy in which what the network gives requires grad."""
    copies = {name: getattr(case, name).clone() for name in case._fields[:7]}
    for name in LEARNED:
        copies[name].requires_grad_()
    return case._replace(**copies)


def _read(result: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses that a student's function returned, if they are scalar tensors."""
    expected = "3 values: total, policy_loss, value_loss, each a scalar tensor"
    EXERCISE.several(result, 3, "not-three", expected)
    for part, loss in zip(PARTS, result, strict=True):
        mistake = None
        if not isinstance(loss, Tensor):
            mistake = "no-tensor"
        elif loss.numel() != 1:
            mistake = "no-single-number"
        EXERCISE.expect(result, mistake, expected, part=part)
    total, policy_loss, critic_loss = result
    return total, policy_loss, critic_loss


def _check_order(chosen: Sequence[Samples], seen: Sequence[Sequence[float]]) -> None:
    """See that the three are not right in another order."""
    truths = [[float(part) for part in right(case)] for case in chosen]
    for order in list(permutations(range(len(PARTS))))[1:]:
        pairs = zip(seen, truths, strict=True)
        if all(all(map(agree, PARTS, one, (of[part] for part in order))) for one, of in pairs):
            found = ", ".join(PARTS[part] for part in order)
            raise EXERCISE.error("order", seen=found, expected=", ".join(PARTS))
