"""Made-up texts of different lengths, on which the checks of notebook 12 run a function."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import describe
from ppo_course.mistakes import Exercise, read_words

WORDS = read_words(__file__)


class Texts(NamedTuple):
    """B texts in T rows, one character a row; `[T, B]` where nothing else is said.

    Attributes:
        log_prob: of the characters, when they were written.
        ref_log_prob: of the same characters under the reference.
        value: the critic's, in every row, also where nothing was written.
        token_reward: 0 where nothing was written.
        written: whether a character of the text stands in this row.
        reward: of the texts, `[B]`.
        beta: the weight of the KL penalty.
        gae: λ.
    """

    log_prob: Tensor
    ref_log_prob: Tensor
    value: Tensor
    token_reward: Tensor
    written: Tensor
    reward: Tensor
    beta: float
    gae: float

    @property
    def last(self) -> Tensor:
        """Whether a row holds the last character of a text."""
        following = torch.cat((self.written[1:], torch.zeros_like(self.written[:1])))
        return self.written & ~following


def cases(seed: int | None) -> list[Texts]:
    """Two batches; some texts fill all rows, one has a single character. Then β and λ are 0.

    The last batch is a single character.
    """
    source = source_of(seed)
    one, other = _drawn(source), _drawn(source)
    cells = {name: getattr(one, name)[:1, :1] for name in Texts._fields[:5]}
    single = one._replace(**cells, reward=one.reward[:1])
    return [one, other, one._replace(beta=0.0, gae=0.0), single]


def _drawn(source: torch.Generator) -> Texts:
    n_rows, n_texts = integer(source, 5, 8), integer(source, 8, 10)
    length = torch.randint(2, n_rows, (n_texts,), generator=source)
    length[:3] = torch.tensor([1, n_rows, n_rows - 1])
    length = length[torch.randperm(n_texts, generator=source)]
    written = torch.arange(n_rows)[:, None] < length

    def quarters(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=source) / 4

    everywhere = (n_rows, n_texts)
    token_reward = quarters(-6, 6, *everywhere) + 0.125  # never 0
    log_prob, ref_log_prob = (quarters(-12, -1, *everywhere) for _ in range(2))
    log_prob[0, 0], ref_log_prob[0, 0] = -0.25, -8.0  # far apart, in both directions
    log_prob[0, 1], ref_log_prob[0, 1] = -8.0, -0.25
    return Texts(
        log_prob=log_prob,
        ref_log_prob=ref_log_prob - 0.1,  # never the same
        value=quarters(2, 20, *everywhere),
        token_reward=token_reward * written,
        written=written,
        reward=quarters(-20, 40, n_texts) + 0.125,  # never 0
        beta=integer(source, 3, 9) / 20,
        gae=integer(source, 5, 9) / 10,
    )


class PerCharacter(Exercise):
    """An exercise whose function returns a number for each character, `[T, B]`, 0 elsewhere."""

    def __init__(self, name: str, arguments: Sequence[str], columns: Sequence[str]) -> None:
        super().__init__(name, arguments, WORDS)
        self._columns = columns

    def read(self, result: Any, case: Texts) -> Any:
        """What was returned, if it has the right form."""
        n_rows, n_texts = case.written.shape
        mistake = None
        if not isinstance(result, Tensor):
            mistake = "no-tensor"
        elif result.shape != case.written.shape:
            shapes = {(n_texts, n_rows): "transposed", (n_texts,): "per-text"}
            mistake = shapes.get(tuple(result.shape), "shape")
        elif not result.isfinite().all():
            mistake = "not-finite"
        self.expect(result, mistake, f"a tensor of shape {[n_rows, n_texts]}")
        return result

    def facts(self, case: Texts, expected: Tensor, seen: Tensor) -> list[str]:
        """The first text with a wrong number, as a table."""
        wrong = ~torch.isclose(expected.double(), seen.double(), rtol=1e-4, atol=1e-5)
        b = int(wrong.any(0).nonzero()[0])
        given = f"reward {case.reward[b]:g}, " if "reward" in self.arguments else ""
        constant = f"β = {case.beta:g}" if "beta" in self.arguments else f"λ = {case.gae:g}"
        if "token_reward" in self._columns:
            given = ""
        lines = [f"  One text of an example, {given}{constant}:"]
        table = {"row": [str(t) for t in range(len(expected))]}
        table["written"] = ["yes" if flag else "no" for flag in case.written[:, b].tolist()]
        for name in self._columns:
            label = "reward" if name == "token_reward" else name
            table[label] = [f"{entry:g}" for entry in _rounded(getattr(case, name)[:, b])]
        for label, column in (("expected", expected), ("seen", seen)):
            table[label] = [f"{entry:.4g}" for entry in column[:, b].tolist()]
        return lines + [
            f"    {label:<13}" + "".join(f"{cell:>9}" for cell in cells)
            for label, cells in table.items()
        ]


def _rounded(column: Tensor) -> list[float]:
    return [round(entry, 3) for entry in column.tolist()]


def as_scalar(exercise: Exercise, result: Any, n: int) -> Tensor:
    """A loss that a student's function returned.

    Raises:
        ExerciseError: if it is no scalar tensor.
    """
    mistake = None
    if not isinstance(result, Tensor):
        mistake = "no-tensor" if result is None or isinstance(result, tuple) else "plain-number"
    elif result.dim():
        mistake = "no-mean" if result.numel() >= n else "no-scalar"
    exercise.expect(result, mistake, "a scalar tensor", seen=describe(result))
    loss: Tensor = result
    return loss
