"""What the checks of notebook 02 have in common: how a function is run, and a mistake looked up.

Where a student's numbers are wrong, they are compared with those that well-known mistakes give;
the message shows one environment as a table that one can follow by hand.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.workspace.table import Workspace
from ppo_course.feedback import (
    all_not_right,
    call,
    describe,
    not_right,
    untouched_randomness,
)
from ppo_course.lent import Lent
from ppo_course.nb02_values.trajectories import Episodes, cases

MOST_MISTAKES = 2  # with more, a match would be chance


class Choice(NamedTuple):
    """One way to write a part of a formula; right ones have no words."""

    value: Any
    wrong: str = ""
    look: str = ""


Part = tuple[Choice, ...]


class Exercise(NamedTuple):
    """An estimate `[T, B]` that a student computes, and the ways to get it wrong.

    Attributes:
        name: of the function.
        arguments: those of the function for some episodes, by name, in their order.
        right: the right result, `[T, B]`.
        parts: the choices of each part of the formula, the right one first.
        formula: what a value of each part gives, `[T, B]`.
        praise: what is said when everything is right.
        with_lambda: whether λ plays a part.
    """

    name: str
    arguments: Callable[[Episodes], Mapping[str, Any]]
    right: Callable[[Episodes], Tensor]
    parts: Sequence[Part]
    formula: Callable[[Episodes, Sequence[Any]], Tensor]
    praise: str
    with_lambda: bool = True

    def check(self, function: Callable[..., Any], seed: int | None) -> None:
        """Run a student's function, and name its mistake.

        Args:
            function: the student's.
            seed: draw the episodes from it and print nothing; without, they are always the same.

        Raises:
            ExerciseError: with the likely mistake, what was seen and expected, where to look.
        """
        with untouched_randomness(), torch.no_grad():
            episodes = cases(seed)
            results = []
            for case in episodes:
                result = run(function, self.arguments(case), name=self.name)
                results.append(as_estimate(self.name, result, case))
            self._compare(episodes, results)
        if seed is None:
            print(f"Well done! {self.praise}")

    def _compare(self, episodes: Sequence[Episodes], results: Sequence[Tensor]) -> None:
        for case, result in zip(episodes, results, strict=True):
            expected = self.right(case)
            if agree(case, expected, result):
                continue
            arguments = self.arguments(case)
            facts = example(
                case,
                expected,
                result,
                with_lambda=self.with_lambda,
                with_value="value" in arguments or "workspace" in arguments,
            )
            mistakes = self.explain(episodes, results)
            if mistakes:
                raise all_not_right(self.name, mistakes, *facts)
            raise not_right(
                self.name,
                "its numbers are wrong, in a way that this check does not know",
                "follow the table through your function, line by line; a loop, from the right",
                *facts,
            )

    def explain(
        self, episodes: Sequence[Episodes], results: Sequence[Tensor]
    ) -> list[tuple[str, str]]:
        """The fewest mistakes that give these results, as (wrong, look); empty if unknown."""
        for choices in combinations(self.parts):
            values = [choice.value for choice in choices]
            if all(
                agree(case, self.formula(case, values), result)
                for case, result in zip(episodes, results, strict=True)
            ):
                return [(choice.wrong, choice.look) for choice in choices if choice.wrong]
        return []


def combinations(parts: Sequence[Part]) -> Iterator[tuple[Choice, ...]]:
    """Every choice of at most `MOST_MISTAKES` mistakes, those with fewest first.

    Args:
        parts: in each the right choice comes first.
    """
    for n_mistakes in range(MOST_MISTAKES + 1):
        for positions in itertools.combinations(range(len(parts)), n_mistakes):
            yield from itertools.product(
                *(part[1:] if n in positions else part[:1] for n, part in enumerate(parts))
            )


def agree(case: Episodes, one: Tensor, other: Tensor) -> bool:
    """Whether two results are the same for every transition, up to rounding."""
    return bool(_close(one, other)[case.valid].all())


def _close(one: Tensor, other: Tensor) -> Tensor:
    return torch.isclose(one.detach().double(), other.detach().double(), rtol=1e-4, atol=1e-4)


def backward(first: Tensor, factor: Tensor) -> Tensor:
    """x_t = first_t + factor_t x_{t+1}, from the last row back; all `[T, B]`."""
    rows = list(first.unbind(0))
    for t in range(len(rows) - 2, -1, -1):
        rows[t] = rows[t] + factor[t] * rows[t + 1]
    return torch.stack(rows)


# ------------------------------------------------------------------------------ the messages


def run(function: Callable[..., Any], arguments: Mapping[str, Any], *, name: str) -> Any:
    """Call a student's function, and see that it leaves its arguments as they were.

    Raises:
        ExerciseError: if it raises, or writes into one of its arguments.
    """
    before = {key: a.clone() for key, a in arguments.items() if isinstance(a, Tensor)}
    tables = {
        key: {name: table.get_full(name).clone() for name in table.variables}
        for key, table in arguments.items()
        if isinstance(table, Workspace)
    }

    def hint(error: Exception) -> str:
        return _hint(error, f"{name}({', '.join(arguments)})")

    result = call(function, *arguments.values(), hint=hint)
    for key, tensor in before.items():
        if not torch.equal(arguments[key], tensor):
            raise not_right(
                name,
                f"it writes into its argument {key}, which the caller still needs",
                f"an assignment like {key}[…] = …; work on a copy, {key}.clone(), or use "
                "masked_fill or torch.where, which make a new tensor",
            )
    for key, variables in tables.items():
        for variable, tensor in variables.items():
            if not torch.equal(arguments[key].get_full(variable), tensor):
                raise not_right(
                    name,
                    f'it writes into {key}["{variable}"], which others still need',
                    "what is computed from a variable goes into a new tensor, and not back under "
                    "its name",
                )
        if isinstance(table := arguments[key], Lent) and (written := table.written_into()):
            raise not_right(
                name,
                f'it writes into what it read from {key}["{written}"], which others need, too',
                "an assignment like values[…] = …; work on a copy, .clone(), or use masked_fill or "
                "torch.where, which make a new tensor",
            )
    return result


def _hint(error: Exception, signature: str) -> str:
    """What to say about an exception besides its own message."""
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {signature}"
    if "with a bool tensor is not supported" in text:
        return "a mask of truth values is inverted by ~mask, not by 1 - mask"
    if isinstance(error, IndexError):
        return (
            "the last transition has no following one: a loop begins with it, and goes back; "
            "number t of a tensor is about the step from row t to row t+1 already"
        )
    if "must match the size" in text:
        return "what is combined must have the same shape: print their .shape"
    if isinstance(error, KeyError) and "in the workspace" in text:
        return "the text above the exercise lists the names"
    return ""


def as_estimate(name: str, result: Any, case: Episodes) -> Tensor:
    """What a student's function returned, if it is a tensor `[T, B]` of numbers.

    Raises:
        ExerciseError: if it is anything else.
    """
    shape = list(case.valid.shape)
    facts = (f"  seen      {describe(result)}", f"  expected  a tensor of shape {shape}")
    if result is None:
        raise not_right(name, "it returns nothing", "its last line begins with return", *facts)
    if isinstance(result, tuple | list):
        look = "rows that were computed one by one are put together by torch.stack(rows)"
        raise not_right(name, "it does not return one tensor", look, *facts)
    if not isinstance(result, Tensor):
        look = "leave out .numpy(), .item() or float() on the way to the result"
        raise not_right(name, "its result is no tensor", look, *facts)
    found = list(result.shape)
    if found == [shape[0] + 1, shape[1]]:
        wrong = "it returns a number for each row, not for each transition"
        look = "T rows have T - 1 transitions: [:-1] leaves the last row out, [1:] the first"
        raise not_right(name, wrong, look, *facts)
    if found == shape[::-1]:
        look = "time comes first, then the environment"
        raise not_right(name, "the two dimensions are exchanged", look, *facts)
    if found == [shape[0] - 1, shape[1]]:
        wrong = "in each environment a transition is missing"
        look = "what is aligned on transitions needs neither [1:] nor [:-1]"
        raise not_right(name, wrong, look, *facts)
    if found != shape:
        look = "sums and means: there is a number for each transition of each environment"
        raise not_right(name, "the result has the wrong shape", look, *facts)
    if not result[case.valid].isfinite().all():
        look = "divisions, and tensors that were made by torch.empty"
        raise not_right(name, "some of its numbers are inf or NaN", look, *facts)
    return result


def example(
    case: Episodes, expected: Tensor, seen: Tensor, *, with_lambda: bool, with_value: bool = True
) -> list[str]:
    """The first environment with a wrong number, as a table; all `[T, B]`."""
    wrong = (~_close(expected, seen) & case.valid).any(0)
    b = int(wrong.nonzero()[0])
    valid = case.valid[:, b].tolist()
    table: dict[str, list[str]] = {"t": [str(t) for t in range(len(valid))]}
    for label, column in (
        ("reward", case.reward[1:, b]),
        ("value", case.value[:-1, b]),
        ("next value", case.value[1:, b]),
    ):
        if label != "value" or with_value:
            table[label] = [f"{entry:g}" for entry in column.tolist()]
    for label, mask in (("terminated", case.terminated), ("done", case.done)):
        table[label] = ["yes" if flag else "no" for flag in mask[1:, b].tolist()]
    for label, column in (("expected", expected[:, b]), ("seen", seen[:, b])):
        entries = zip(column.tolist(), valid, strict=True)
        table[label] = [f"{entry:.4g}" if ok else "·" for entry, ok in entries]
    constants = f"γ = {case.discount_factor:g}"
    if with_lambda:
        constants += f", λ = {case.gae_lambda:g}"
    lines = [f"  One environment of an example, {constants}:"]
    for label, cells in table.items():
        lines.append(f"    {label:<11}" + "".join(f"{cell:>8}" for cell in cells))
    if not all(valid):
        lines.append("    (· is a step from an episode to the next, no transition: not looked at)")
    return lines
