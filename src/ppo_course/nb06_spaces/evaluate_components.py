"""The check of notebook 06's first exercise: actions of several components, each a choice."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers, same
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, read_words

RESULTS = ("log_prob", "entropy")
EXERCISE = Exercise(
    "evaluate_components",
    ("logits", "sizes", "action"),
    read_words(__file__),
    (
        Hint("wrong-logits", "out of bounds", "out of range"),
        Hint(
            "outside-support", "to satisfy the constraint", "within the support", error=ValueError
        ),
        Hint("split-sizes", "split_with_sizes", "split expects"),
        Hint("gather", "gather()", "Index tensor must have"),
        Hint("unequal-parts", "stack expects", "Sizes of tensors must match"),
        Hint("shapes", "must match the size", "shape mismatch"),
        Hint("no-item", "cannot be converted to Scalar", "only one element"),
    ),
)

#: (logits [N, sum(sizes)], sizes, action [N, k] int64) → log_prob, entropy, [N] each
EvaluateComponents = Callable[[Tensor, list[int], Tensor], tuple[Tensor, Tensor]]


class Case(NamedTuple):
    """N actions of k components.

    Attributes:
        logits: `[N, sum(sizes)]`.
        sizes: k numbers.
        action: `[N, k]` int64.
    """

    logits: Tensor
    sizes: list[int]
    action: Tensor

    def split(self, logits: Tensor | None = None) -> list[Tensor]:
        """Logits component by component, `[N, size]` each."""
        given: Any = self.logits if logits is None else logits
        return list(given.split(self.sizes, -1))


def cases(seed: int | None) -> list[Case]:
    """Two, three components, and a single one; a single action; a policy that is nearly sure.

    Without a seed they are always the same.
    """
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    result = []
    for n, sizes in ((4, [2, 3]), (5, [4, 2, 3]), (3, [3])):
        if seed is not None:
            n += 2 + int(torch.randint(5, (), generator=generator))  # noqa: PLW2901
        logits = 3 * torch.rand(n, sum(sizes), generator=generator) - 1
        drawn = [torch.randint(size, (n,), generator=generator) for size in sizes]
        digits = 1 if seed is None else 3  # numbers to follow by hand
        logits = (logits * 10**digits).round() / 10**digits
        result.append(Case(logits, sizes, torch.stack(drawn, -1)))
    two = result[0]
    return [
        *result,
        two._replace(logits=two.logits[:1], action=two.action[:1]),
        two._replace(logits=6 * two.logits),
    ]


def _chosen(log_probs: Sequence[Tensor], case: Case) -> Tensor:
    """Of each component, `[N, k]`."""
    pairs = zip(log_probs, case.action.unbind(-1), strict=True)
    return torch.stack([part.gather(-1, at[:, None])[:, 0] for part, at in pairs], -1)


def _entropies(log_probs: Sequence[Tensor]) -> Tensor:
    """Of each component, `[N, k]`."""
    return torch.stack([-(part.exp() * part).sum(-1) for part in log_probs], -1)


# Log-probabilities of all values, component by component; how those of an action make one number;
# the entropies of the components, and how they make one.
PARTS = (
    Part(
        lambda x: [part.log_softmax(-1) for part in x.split()],
        {
            "one-softmax": lambda x: x.split(x.logits.log_softmax(-1)),
            "one-softmax~all": lambda x: [x.logits.log_softmax(-1)] * len(x.sizes),
            "not-normalised": lambda x: x.split(),
            "over-actions": lambda x: [part.log_softmax(0) for part in x.split()],
        },
    ),
    Part(
        lambda each: each.sum(-1),
        {
            "log-prob-mean": lambda each: each.mean(-1),
            "log-prob-product": lambda each: each.prod(-1),
            "log-prob-first": lambda each: each[:, 0],
            "log-prob-last": lambda each: each[:, -1],
            "log-prob-sign": lambda each: -each.sum(-1),
            "probability": lambda each: each.sum(-1).exp(),
            "sum-of-probabilities": lambda each: each.exp().sum(-1),
        },
    ),
    Part(
        lambda log_probs, _each: _entropies(log_probs),
        {
            "entropy-of-action": lambda _log_probs, each: -each,
            "entropy-mean-of-values": lambda log_probs, _each: torch.stack(
                [-(part.exp() * part).mean(-1) for part in log_probs], -1
            ),
            "entropy-unweighted": lambda log_probs, _each: torch.stack(
                [-part.sum(-1) for part in log_probs], -1
            ),
        },
    ),
    Part(
        lambda each: each.sum(-1),
        {
            "entropy-mean": lambda each: each.mean(-1),
            "entropy-product": lambda each: each.prod(-1),
            "entropy-first": lambda each: each[:, 0],
            "entropy-last": lambda each: each[:, -1],
            "entropy-sign": lambda each: -each.sum(-1),
        },
    ),
)


def formula(case: Case, values: Sequence[Any]) -> Tensor:
    """Both results that a choice of each part gives, `[2, N]`."""
    normalise, log_prob, entropies, entropy = values
    log_probs = normalise(case)
    each = _chosen(log_probs, case)
    return torch.stack((log_prob(each), entropy(entropies(log_probs, each))))


@torch.enable_grad()
@EXERCISE.check
def check_evaluate_components(function: EvaluateComponents, *, seed: int | None = None) -> None:
    """Check a student's `evaluate_components(logits, sizes, action)`.

    It gets the logits of k components side by side, `[N, sum(sizes)]`, the number of values of
    each and N actions `[N, k]`; it returns log-probabilities and entropies, `[N]` each.
    """
    chosen = cases(seed)
    given = [case.logits.clone().requires_grad_() for case in chosen]
    results = [_pair(function, case, logits) for case, logits in zip(chosen, given, strict=True)]
    if not all(result.isfinite().all() for result in results):
        raise EXERCISE.error("not-finite")
    rights = [formula(case, [part.right for part in PARTS]) for case in chosen]
    if all(map(same, [result.flip(0) for result in results], rights)):
        raise EXERCISE.error("order")

    def see(place: int) -> None:
        pairs = zip(results, rights, strict=True)
        wrong = not all(same(seen[place], right[place]) for seen, right in pairs)
        EXERCISE.refuse(wrong, "unknown")

    with EXERCISE.partly(the_log_probabilities=lambda: see(0), the_entropies=lambda: see(1)):
        EXERCISE.compare(chosen, results, PARTS, formula=formula, agree=_agree, facts=_example)
    for case, logits, result in zip(chosen, given, results, strict=True):
        fresh = case.logits.clone().requires_grad_()
        right = formula(case._replace(logits=fresh), [part.right for part in PARTS])
        for found, truth in zip(result, right, strict=True):
            check_gradients(
                EXERCISE,
                gradients(found, {"logits": logits}),
                gradients(truth, {"logits": fresh}),
            )


def _pair(function: EvaluateComponents, case: Case, logits: Tensor) -> Tensor:
    """What the student's function returned, side by side, `[2, N]`."""
    result = EXERCISE.call(function, logits, list(case.sizes), case.action.clone())
    n, k = case.action.shape
    expected = f"{' and '.join(RESULTS)}: two tensors of shape [{n}]"
    pair = isinstance(result, tuple | list) and len(result) == len(RESULTS)
    EXERCISE.expect(result, None if pair else "not-two", expected)
    known = {(): "single-number", (k,): "sum-over-actions", (n, 1): "keeps-dimension"}
    known[n, k] = known.get((n, k), "not-summed")
    for name, item in zip(RESULTS, result, strict=True):
        mistake = None
        if not isinstance(item, Tensor):
            mistake = "no-tensor"
        elif tuple(item.shape) != (n,):
            mistake = known.get(tuple(item.shape), "wrong-shape")
        EXERCISE.expect(result, mistake, expected, part=name)
    return torch.stack([item.float() for item in result])


def _agree(_case: Case, one: Tensor, other: Tensor) -> bool:
    return same(one, other)


def _example(case: Case, expected: Tensor, seen: Tensor) -> list[str]:
    """The first action that comes out wrong, in numbers to follow by hand."""
    n = next(i for i in range(len(case.action)) if not same(seen[:, i], expected[:, i]))
    lines = [f"  Example: action {case.action[n].tolist()}, sizes {case.sizes}"]
    for i, (logits, part) in enumerate(zip(case.split(), PARTS[0].right(case), strict=True)):
        lines.append(f"    component {i}: logits {numbers(logits[n])}")
        lines.append(f"      its log-probabilities {numbers(part[n])}")
    return [
        *lines,
        "  seen      log_prob {:.4g}, entropy {:.4g}".format(*seen[:, n].tolist()),
        "  expected  log_prob {:.4g}, entropy {:.4g}".format(*expected[:, n].tolist()),
    ]
