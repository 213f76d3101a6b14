"""What the checks of notebook 02 have in common: an estimate `[T, B]`, and the table to follow.

Where a student's numbers are wrong, they are compared with those that well-known mistakes give;
the message shows one environment as a table that one can follow by hand.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, read_words
from ppo_course.nb02_values.trajectories import Episodes, cases

WORDS = read_words(__file__)

#: the episodes with the γ and λ that a function takes
CONSTANTS = Part(
    lambda x: x,
    {
        **{
            f"discount-fixed~{known}": functools.partial(Episodes._replace, discount_factor=known)
            for known in (0.9, 0.95, 0.99)
        },
        **{
            f"lambda-fixed~{known}": functools.partial(Episodes._replace, gae_lambda=known)
            for known in (0.9, 0.95, 0.97)
        },
        "constants-exchanged": lambda x: x._replace(
            discount_factor=x.gae_lambda, gae_lambda=x.discount_factor
        ),
    },
)


class Estimate(Exercise):
    """An estimate of some episodes that a student computes.

    Args:
        name: of the function.
        arguments: those of the function, in their order; `run` knows what they are.
        parts: those of the formula.
        formula: the estimate that a value of each part gives, `[T, B]`.
        to_mend: how many mistakes the student is given.
    """

    to_mend = 0

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        parts: Sequence[Part],
        formula: Callable[[Episodes, Sequence[Any]], Any],
        to_mend: int = 0,
    ) -> None:
        super().__init__(name, arguments, WORDS)
        self.to_mend = to_mend
        known = {
            key: way
            for key, way in CONSTANTS.wrong.items()
            if "gae_lambda" in arguments or key.startswith("discount")
        }
        self.parts = (*parts, CONSTANTS._replace(wrong=known))
        # What is mistaken about γ and λ is mistaken before the formula begins.
        self.formula = lambda case, values: formula(values[-1](case), values[:-1])

    def try_out(self, function: Callable[..., Any], seed: int | None) -> None:
        """Raise unless a student's function computes this estimate for some episodes."""
        with torch.no_grad():
            episodes = cases(seed)
            self.judge(episodes, [self.read(self.run(function, case), case) for case in episodes])

    def judge(self, episodes: Sequence[Episodes], results: Sequence[Any]) -> None:
        """Raise unless these are the estimates."""
        self.compare(
            episodes,
            results,
            self.parts,
            formula=self.formula,
            agree=self.agree,
            facts=self.facts,
            to_mend=self.to_mend,
        )

    def run(self, function: Callable[..., Any], case: Episodes) -> Any:
        """What a student's function returns, which leaves the workspace as it was, too."""
        workspace, before = case.workspace(), case.workspace()
        known = case.aligned() | {
            "workspace": workspace,
            "discount_factor": case.discount_factor,
            "gae_lambda": case.gae_lambda,
        }
        result = self.call(function, *(known[name] for name in self.arguments))
        for variable in before.variables:
            if not torch.equal(workspace.get_full(variable), before.get_full(variable)):
                raise self.error("sets-variable", variable=variable)
        if written := workspace.written_into():
            raise self.error("changes-variable", variable=written)
        return result

    def read(self, result: Any, case: Episodes) -> Any:
        """What was returned, if it is a tensor `[T, B]` of numbers."""
        self.expect(result, _malformed(result, case), f"a tensor of shape {list(case.valid.shape)}")
        return result

    def agree(self, case: Episodes, one: Any, other: Any) -> bool:
        """Whether two results are the same for every transition, up to rounding."""
        return bool(_close(one, other)[case.valid].all())

    def facts(self, case: Episodes, expected: Any, seen: Any) -> list[str]:
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
            if label != "value" or {"value", "workspace"} & {*self.arguments}:
                table[label] = [f"{entry:g}" for entry in column.tolist()]
        for label, mask in (("terminated", case.terminated), ("done", case.done)):
            table[label] = ["yes" if flag else "no" for flag in mask[1:, b].tolist()]
        for label, column in (("expected", expected[:, b]), ("seen", seen[:, b])):
            entries = zip(column.tolist(), valid, strict=True)
            table[label] = [f"{entry:.4g}" if ok else "·" for entry, ok in entries]
        constants = f"γ = {case.discount_factor:g}"
        if "gae_lambda" in self.arguments:
            constants += f", λ = {case.gae_lambda:g}"
        lines = [f"  One environment of an example, {constants}:"]
        for label, cells in table.items():
            lines.append(f"    {label:<11}" + "".join(f"{cell:>8}" for cell in cells))
        if not all(valid):
            lines.append(
                "    (· is a step from an episode to the next, no transition: not looked at)"
            )
        return lines


def _malformed(result: Any, case: Episodes) -> str | None:
    """What is wrong with the form of a result, if anything is."""
    if not isinstance(result, Tensor):
        return "not-one" if isinstance(result, tuple | list) else "no-tensor"
    n_steps, n_envs = case.valid.shape
    if result.shape != case.valid.shape:
        shapes: dict[tuple[int, ...], str] = {
            (n_steps + 1, n_envs): "row-each",
            (n_envs, n_steps): "transposed",
            (n_steps - 1, n_envs): "transition-missing",
        }
        return shapes.get(tuple(result.shape), "shape")
    return None if result[case.valid].isfinite().all() else "not-finite"


def _close(one: Tensor, other: Tensor) -> Tensor:
    return torch.isclose(one.detach().double(), other.detach().double(), rtol=1e-4, atol=1e-4)


def backward(first: Tensor, factor: Tensor, *_: Any) -> Tensor:
    """x_t = first_t + factor_t x_{t+1}, from the last row back; all `[T, B]`."""
    rows = list(first.unbind(0))
    for t in range(len(rows) - 2, -1, -1):
        rows[t] = rows[t] + factor[t] * rows[t + 1]
    return torch.stack(rows)


WRONG_LOOPS: dict[str, Callable[..., Tensor]] = {
    "reversed": lambda first, factor, *_: backward(first, factor).flip(0),
    "last-row-0": lambda first, factor, *_: backward(
        torch.cat((first[:-1], 0 * first[-1:])), factor
    ),
    "row-early": lambda first, factor, *_: torch.cat((backward(first, factor)[1:], 0 * first[-1:])),
}
