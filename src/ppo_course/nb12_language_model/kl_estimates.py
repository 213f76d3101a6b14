"""The check of notebook 12's second exercise: two estimates of the KL divergence."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import describe, number, same
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb12_language_model.texts import WORDS, Texts, cases

EXERCISE = Exercise("kl_estimates", ("log_prob", "ref_log_prob"), WORDS)
NAMES = ("k1", "k3")


def _of(formula: Callable[[Tensor], Tensor]) -> Callable[[Texts], Tensor]:
    """A number for each character, `[T, B]`, of log π_ref − log π."""
    return lambda x: formula(x.ref_log_prob - x.log_prob)


K1 = Part(
    _of(lambda d: -d),
    {
        "k1-sign": _of(lambda d: d),
        "k1-absolute": _of(torch.abs),
        "k1-of-probabilities": lambda x: x.log_prob.exp() - x.ref_log_prob.exp(),
        "k1-ratio": _of(lambda d: (-d).exp()),
        "k1-is-k2": _of(lambda d: d.square() / 2),
        "k1-is-k3": _of(lambda d: d.expm1() - d),
        "k1-weighted": lambda x: x.log_prob.exp() * (x.log_prob - x.ref_log_prob),
        "k1-logs-divided": lambda x: x.log_prob / x.ref_log_prob,
    },
)
K3 = Part(
    _of(lambda d: d.expm1() - d),
    {
        "k3-upside-down": _of(lambda d: (-d).expm1() + d),
        "k3-sign": _of(lambda d: d - d.expm1()),
        "k3-no-exp": _of(lambda d: d - 1 - d),
        "k3-no-one": _of(lambda d: d.exp() - d),
        "k3-plus-log": _of(lambda d: d.expm1() + d),
        "k3-no-log": _of(torch.expm1),
        "k3-mixed": _of(lambda d: (-d).expm1() - d),
        "k3-is-k1": _of(lambda d: -d),
        "k3-is-k2": _of(lambda d: d.square() / 2),
        "k3-log-of-difference": lambda x: (
            (x.ref_log_prob.exp() - x.log_prob.exp()) - 1 - (x.ref_log_prob - x.log_prob)
        ),
    },
)


@torch.enable_grad()
@EXERCISE.check
def check_kl_estimates(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `kl_estimates(log_prob, ref_log_prob)`.

    It gets log-probabilities of characters that the policy has drawn, `[T, B]`, under the policy
    and under the reference; it returns the estimates k1 and k3 of KL(policy ‖ reference), `[T, B]`
    each.
    """
    found: list[tuple[Texts, Sequence[Tensor]]] = []
    for case in cases(seed):
        x = case._replace(log_prob=case.log_prob.clone().requires_grad_())
        found.append((x, _read(EXERCISE.call(function, x.log_prob, x.ref_log_prob), x)))
    inputs = [x for x, _ in found]
    swapped = all(same(pair[0], K3.right(x)) and same(pair[1], K1.right(x)) for x, pair in found)
    EXERCISE.refuse(swapped, "swapped")

    def see(place: int) -> None:
        name, part = NAMES[place], (K1, K3)[place]

        def facts(x: Texts, right: Tensor, seen: Tensor) -> list[str]:
            wrong = ~torch.isclose(right, seen, rtol=1e-4, atol=1e-5)
            t, b = (int(index) for index in wrong.nonzero()[0])
            told = f"log π = {x.log_prob[t, b]:g}, log π_ref = {x.ref_log_prob[t, b]:g}"
            return [
                f"  Example: a character with {told}.",
                f"  seen      {name} = {number(seen[t, b])}",
                f"  expected  {name} = {number(right[t, b])}",
            ]

        EXERCISE.compare(inputs, [pair[place] for _, pair in found], [part], facts=facts)
        for x, pair in found:
            weights = {"log_prob": x.log_prob}
            truth = gradients(part.right(x), weights)
            check_gradients(EXERCISE, gradients(pair[place], weights), truth, what=name)

    with EXERCISE.partly(k1=lambda: see(0), k3=lambda: see(1)):
        see(0)
        see(1)


def _read(result: Any, case: Texts) -> Sequence[Tensor]:
    shape = list(case.written.shape)
    expected = f"k1 and k3, two tensors of shape {shape}"
    pair = EXERCISE.several(result, 2, "not-two", expected)
    for item in pair:
        mistake = None
        if not isinstance(item, Tensor):
            mistake = "no-tensors"
        elif list(item.shape) != shape:
            mistake = "mean-too-early" if item.numel() == 1 else "shape"
        EXERCISE.expect(result, mistake, expected, seen=describe(result))
    return pair
