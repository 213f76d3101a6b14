"""What the checks of notebook 07 have in common: episodes to remember, forms of a result."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_course.mistakes import Exercise, read_words

WORDS = read_words(__file__)
SIZES = ((5, 4, 3, 2), (6, 3, 3, 4))  # T, B, H and F of a case
LARGE = 3.0  # a memory need not be between -1 and 1: that of an LSTM is not


class Case(NamedTuple):
    """T steps of B environments, in which episodes end and begin.

    Attributes:
        memory: what is remembered before row 0, `[B, H]`.
        begins: where an episode begins, `[T, B]` bool.
        features: what the cell gets, `[T, B, F]`.
        weights_seed: of the cell.
    """

    memory: Tensor
    begins: Tensor
    features: Tensor
    weights_seed: int

    def cell(self) -> nn.GRUCell:
        """A cell from F to H numbers, with weights that are the same each time."""
        generator = torch.Generator().manual_seed(self.weights_seed)
        cell = nn.GRUCell(self.features.shape[-1], self.memory.shape[-1])
        with torch.no_grad():
            for weight in cell.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))
        return cell


def cases(seed: int | None) -> list[Case]:
    """Three rollouts; without a seed always the same.

    In row 0 some environments begin and others go on; later ones begin alone and together, one
    never does. The third is a single row of a single environment, which goes on.

    Args:
        seed: where other numbers, and other T, are drawn from.
    """
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    drawn = []
    for n_steps, n_envs, size, n_features in SIZES:
        if seed is not None:
            n_steps += int(torch.randint(1, 4, (), generator=generator))  # noqa: PLW2901
        begins = torch.zeros(n_steps, n_envs, dtype=torch.bool)
        begins[0, 1] = begins[2, 0] = begins[2, 1] = begins[3, 1] = True
        envs = torch.randperm(n_envs, generator=generator) if seed is not None else ...
        drawn.append(
            Case(
                _away_from_0(n_envs, size, generator=generator),
                begins[:, envs],
                _away_from_0(n_steps, n_envs, n_features, generator=generator),
                int(torch.randint(2**31, (), generator=generator)),
            )
        )
    first = drawn[0]
    goes_on = int((~first.begins[0]).nonzero()[0])
    one = slice(goes_on, goes_on + 1)
    single = first._replace(
        memory=LARGE * first.memory[one],
        begins=first.begins[:1, one],
        features=first.features[:1, one],
    )
    return [*drawn, single]


def _away_from_0(*shape: int, generator: torch.Generator) -> Tensor:
    """Numbers of both signs between 0.1 and 1, with two decimals."""
    size = 0.1 + 0.9 * torch.rand(shape, generator=generator)
    sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return (100 * size * sign).round() / 100


def reset(memory: Tensor, begins: Tensor) -> Tensor:
    """Zeros where an episode begins: `[B, H]` and `[B]` to `[B, H]`."""
    return memory.masked_fill(begins.unsqueeze(-1), 0.0)


def check_tensor(
    exercise: Exercise, result: Any, shape: list[int], mistakes: dict[tuple[int, ...], str]
) -> Tensor:
    """What a student's function returned, if it is a tensor of this shape with finite numbers.

    Args:
        exercise: the student's.
        result: what was returned.
        shape: the right one.
        mistakes: the keys of wrong shapes; any other is "wrong-shape".

    Raises:
        ExerciseError: if it is anything else.
    """
    mistake = None
    if not isinstance(result, Tensor):
        mistake = "a-list" if isinstance(result, list | tuple) else "no-tensor"
    elif list(result.shape) != shape:
        mistake = mistakes.get(tuple(result.shape), "wrong-shape")
    exercise.expect(result, mistake, f"a tensor of shape {shape}")
    tensor: Tensor = result
    if not tensor.isfinite().all():
        raise exercise.error("not-finite")
    return tensor


def check_memory(
    exercise: Exercise, result: Any, shape: list[int], mistakes: dict[tuple[int, ...], str]
) -> Tensor:
    """As `check_tensor`, of numbers that a cell can go on with."""
    memory = check_tensor(exercise, result, shape, mistakes)
    exercise.refuse(memory.dtype != torch.float32, "other-dtype", seen=memory.dtype)
    return memory
