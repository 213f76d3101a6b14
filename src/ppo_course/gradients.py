"""The gradients of a student's result, beside those of the right one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ppo_course.feedback import same
from ppo_course.mistakes import Exercise


def gradients(result: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a sum in which every entry of the result has another weight; 0 where none arrives."""
    weights = torch.linspace(0.5, 1.5, result.numel())
    total = (weights * result.flatten()).sum()
    if not total.requires_grad:
        return {name: torch.zeros_like(tensor) for name, tensor in inputs.items()}
    tensors = list(inputs.values())
    found = torch.autograd.grad(
        total, tensors, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(inputs, found, strict=True))


def check_gradients(
    exercise: Exercise, found: Mapping[str, Tensor], truth: Mapping[str, Tensor], **values: str
) -> None:
    """See that a right result, whose gradients are the truth, carries them; or raise ExerciseError.

    The words "no-gradient" and "wrong-gradient" name the `{argument}`, and further values.
    """
    for argument, right in truth.items():
        if right.any() and not found[argument].any():
            raise exercise.error("no-gradient", argument=argument, **values)
        if not same(found[argument], right):
            raise exercise.error("wrong-gradient", argument=argument, **values)
