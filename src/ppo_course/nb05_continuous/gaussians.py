"""What the checks of notebook 05's formulas have in common: cases, mistakes, comparison.

Where a student's numbers are wrong, they are compared with those that well-known mistakes give.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from ppo_course.feedback import all_not_right, call, describe, not_right, same


class Choice(NamedTuple):
    """One way to write a part of a formula; right ones have no words."""

    value: Any
    wrong: str = ""
    look: str = ""


Part = tuple[Choice, ...]


def combinations(parts: Sequence[Part]) -> Iterator[tuple[Choice, ...]]:
    """Every choice of at most two mistakes, those with fewest first."""
    for n_mistakes in range(3):
        for positions in itertools.combinations(range(len(parts)), n_mistakes):
            yield from itertools.product(
                *(part[1:] if n in positions else part[:1] for n, part in enumerate(parts))
            )


class Gaussians(NamedTuple):
    """N actions of D components and the policy's numbers for them.

    Attributes:
        action: `[N, D]`.
        mean: `[N, D]`.
        log_std: `[D]`.
        noise: standard normal, `[N, D]`.
        low: the environment's lower bounds, `[D]`.
        high: its upper bounds, `[D]`.
    """

    action: Tensor
    mean: Tensor
    log_std: Tensor
    noise: Tensor
    low: Tensor
    high: Tensor


#: What a function returns for some Gaussians: one tensor, or several side by side
Formula = Callable[[Gaussians, Sequence[Any]], Tensor]


def cases(seed: int | None) -> list[Gaussians]:
    """Actions of two, three and one component; without a seed always the same.

    The bounds are not symmetric. In each case actions lie below, within and above them, in each
    component, and so do some of the means.

    Args:
        seed: where other numbers, and other N, are drawn from.
    """
    generator = torch.Generator().manual_seed(0 if seed is None else seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    drawn = []
    for n, d in ((4, 2), (5, 3), (6, 1)):
        if seed is not None:
            n += 1 + int(torch.randint(5, (), generator=generator))  # noqa: PLW2901
        low, high = uniform(-2.0, -1.2, d), uniform(0.5, 1.0, d)
        # None is near 0 or another's: a standard deviation is not 1, nor its own logarithm.
        log_std = uniform(0.3, 0.9, d)
        log_std[::2] *= -1
        mean = uniform(-1.0, 0.4, n, d)
        mean[-1] = high + uniform(0.3, 0.6, d)
        noise = uniform(0.2, 0.9, n, d)
        noise[1::2] *= -1
        noise[0] = 1 + ((high - mean[0]) / log_std.exp())
        noise[1] = -1 + ((low - mean[1]) / log_std.exp())
        drawn.append([mean, log_std, noise, low, high])
    digits = 1 if seed is None else 3  # numbers to follow by hand
    result = []
    for numbers in drawn:
        mean, log_std, noise, low, high = (
            (tensor * 10**digits).round() / 10**digits for tensor in numbers
        )
        action = ((mean + log_std.exp() * noise) * 10**digits).round() / 10**digits
        result.append(Gaussians(action, mean, log_std, noise, low, high))
    return result


def log_densities(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Of each component by itself, `[N, D]`, as torch.distributions has it."""
    normal: Any = Normal(mean, log_std.exp().expand_as(mean))
    result: Tensor = normal.log_prob(action)
    return result


def entropies(mean: Tensor, log_std: Tensor) -> Tensor:
    """Of each component by itself, `[N, D]`, as torch.distributions has it."""
    normal: Any = Normal(mean, log_std.exp().expand_as(mean))
    result: Tensor = normal.entropy()
    return result


def run(
    function: Callable[..., Any],
    name: str,
    case: Gaussians,
    arguments: Sequence[str],
    *,
    differentiable: Sequence[str] = (),
) -> tuple[Any, dict[str, Tensor]]:
    """Call a student's function with fields of a case, and see that it leaves them as they were.

    Args:
        function: the student's.
        name: what it should be called.
        case: where its arguments come from.
        arguments: the fields that it gets, in their order.
        differentiable: those that require grad.

    Returns:
        What it returned, and its arguments by name.

    Raises:
        ExerciseError: if it raises, or writes into one of its arguments.
    """
    given = {key: getattr(case, key).clone() for key in arguments}
    for key in differentiable:
        given[key].requires_grad_()
    result = call(function, *given.values(), hint=lambda error: _hint(error, name, arguments))
    for key, tensor in given.items():
        if not torch.equal(tensor, getattr(case, key)):
            raise not_right(
                name,
                f"it writes into its argument {key}, which the caller still needs",
                "functions whose name ends in an underscore, such as clamp_ and exp_, assignments "
                "with […] =, and operators such as +=",
            )
    return result, given


def _hint(error: Exception, name: str, arguments: Sequence[str]) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {name}({', '.join(arguments)})"
    if "must match the size" in text:
        return (
            "shapes are aligned from the right: [N, D] and [D] go together, [N, D] and [N] do not. "
            "Print the .shape of what is combined"
        )
    if "only one element" in text or "only 0-dimensional" in text:
        return (
            "math.exp takes a single number, and so does math.log; a tensor has the methods .exp() "
            "and .log(), as in log_std.exp()"
        )
    if "cannot be converted to Scalar" in text:
        return "no .item(): it is for a single number; tensors go together as they are"
    if "bitwise_xor" in text or "for ^" in text:
        return "the power is **, as in x ** 2; ^ is an operation on bits"
    if isinstance(error, IndexError) and "Dimension out of range" in text:
        return "log_std is [D], with a single dimension: .sum(-1) sums over the components"
    if isinstance(error, TypeError) and "must be Tensor, not" in text:
        return "for numbers there is the module math, as in math.log(2 * math.pi)"
    if "a leaf Variable that requires grad" in text:
        return "an in-place function (with an underscore at its end) changes what the caller needs"
    if "Can't call numpy()" in text:
        return "stay with torch: NumPy loses the gradient that PPO learns from"
    return ""


def one_number_each(
    name: str,
    result: Any,
    case: Gaussians,
    total: str,
    *,
    single: tuple[str, str],
    of_components: str = "",
) -> Tensor:
    """What a student's function returned, if it is a tensor `[N]`.

    Args:
        name: of the function.
        result: what it returned.
        case: what it was called with.
        total: what there is one of for each action, in words.
        single: what is wrong with a single number for all of them, and where to look.
        of_components: where to look if it is `[D]`, unless it is what most functions need.

    Raises:
        ExerciseError: if it is anything else.
    """
    n, d = case.mean.shape
    facts = (f"  seen      {describe(result)}", f"  expected  a tensor of shape [{n}]")
    if result is None:
        raise not_right(name, "it returns nothing", "its last line: return …", *facts)
    if not isinstance(result, Tensor):
        look = "no .item(), float(), .numpy() or list on the way: they lose the gradient, too"
        raise not_right(name, "its result is no tensor", look, *facts)
    shape = list(result.shape)
    if shape == [n]:
        return result
    if shape == [n, d]:
        wrong = "it returns a number for each component of an action"
        look = f"the components are one event: {total} is the sum over the last dimension"
    elif shape == [d]:
        wrong = "it returns a number for each component, not for each action"
        look = of_components or (
            "dimension 0 counts the N actions, dimension 1 (or -1) the components to sum over"
            if d > 1
            else "there is a number for each of the N actions"
        )
    elif not shape:
        wrong, look = single
        if n == 1:
            wrong = "of a single action it returns a number without a dimension"
            look = "x.squeeze() drops every dimension of size 1, that of the actions, too"
    elif shape == [n, 1]:
        wrong = "it keeps the dimension of the components, with size 1"
        look = "no keepdim: [N, 1] and [N] together would make [N, N]"
    elif shape == [n, n]:
        wrong = "every action meets every other"
        look = "[N, 1] and [N] together make [N, N]: print the shapes of what you combine"
    else:
        wrong, look = "the result has the wrong shape", "print the shapes of what you combine"
    raise not_right(name, wrong, look, *facts)


def compare(
    name: str,
    chosen: Sequence[Gaussians],
    results: Sequence[Tensor],
    parts: Sequence[Part],
    *,
    formula: Formula,
    example: Callable[[Gaussians, Tensor, Tensor], list[str]],
) -> None:
    """Compare results with the right ones; wrong ones are looked up among the known mistakes.

    Args:
        name: of the student's function.
        chosen: what it was called with.
        results: what it returned each time.
        parts: the ways to write each part of the formula, the right one first.
        formula: what a choice of each part gives.
        example: lines for a message, from a case, the right and the student's result.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, where to look.
    """
    rights = [formula(case, [part[0].value for part in parts]) for case in chosen]
    wrong = [i for i in range(len(chosen)) if not same(results[i], rights[i])]
    if not wrong:
        return
    facts = example(chosen[wrong[0]], rights[wrong[0]].detach(), results[wrong[0]].detach())
    mistakes = explain(chosen, results, parts, formula)
    if mistakes:
        raise all_not_right(name, mistakes, *facts)
    raise not_right(
        name,
        "its numbers are wrong, in a way that this check does not know",
        "follow the example through your function, line by line",
        *facts,
    )


def explain(
    chosen: Sequence[Gaussians],
    results: Sequence[Tensor],
    parts: Sequence[Part],
    formula: Formula,
) -> list[tuple[str, str]]:
    """The fewest mistakes that give these results, as (wrong, look); empty if unknown."""
    for choices in combinations(parts):
        values = [choice.value for choice in choices]
        if all(
            same(result, formula(case, values))
            for case, result in zip(chosen, results, strict=True)
        ):
            return [(choice.wrong, choice.look) for choice in choices if choice.wrong]
    return []


def check_gradient(
    name: str, result: Tensor, expected: Tensor, given: dict[str, Tensor], right: dict[str, Tensor]
) -> None:
    """See that a right result carries the right gradient.

    Args:
        name: of the student's function.
        result: `[N]`, computed from `given`.
        expected: the same, computed from `right`.
        given: the arguments that the gradient must reach.
        right: the same numbers, another graph.

    Raises:
        ExerciseError: if a gradient is missing or wrong.
    """
    weights = torch.linspace(0.5, 1.5, len(result))  # unlike each other

    def gradients(total: Tensor, arguments: dict[str, Tensor]) -> list[Tensor]:
        inputs = list(arguments.values())
        if not total.requires_grad:
            return [torch.zeros_like(tensor) for tensor in inputs]
        return list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))

    found = gradients((weights * result).sum(), given)
    truth = gradients((weights * expected).sum(), right)
    for key, gradient, true in zip(given, found, truth, strict=True):
        if true.any() and not gradient.any():
            raise not_right(
                name,
                f"its value is right, but no gradient reaches {key}",
                "nothing on the way may be under torch.no_grad(), detached, made anew by "
                "torch.tensor(…) or turned into NumPy: PPO learns through this function",
            )
        if not same(gradient, true):
            raise not_right(
                name,
                f"its value is right, but its gradient with respect to {key} is not",
                "some part of the formula is detached, or goes through .data or torch.no_grad()",
            )


__all__ = [
    "Choice",
    "Formula",
    "Gaussians",
    "Part",
    "cases",
    "check_gradient",
    "compare",
    "entropies",
    "explain",
    "log_densities",
    "one_number_each",
    "run",
]
