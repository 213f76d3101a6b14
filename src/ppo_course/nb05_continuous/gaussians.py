"""What the checks of notebook 05's formulas have in common: cases, hints, forms of a result."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from ppo_course.drawing import integer, source_of
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, read_words

WORDS = read_words(__file__)


# What is made of log_std, [D], where the formula has it.
SCALES = Part(
    lambda s: s,
    {
        "log-std-missing": torch.zeros_like,
        "log-std-sign": lambda s: -s,
        "log-std-as-std": lambda s: s.exp(),
        "log-std-halved": lambda s: s / 2,
        "log-std-twice": lambda s: 2 * s,
    },
)


class Gaussians(NamedTuple):
    """N actions of D components and the policy's numbers for them."""

    action: Tensor  # `[N, D]`
    mean: Tensor  # `[N, D]`
    log_std: Tensor  # `[D]`
    noise: Tensor  # standard normal, `[N, D]`
    low: Tensor  # the environment's lower bounds, `[D]`
    high: Tensor  # its upper bounds, `[D]`


def cases(seed: int | None) -> list[Gaussians]:
    """Actions of two, three and one component; without a seed always the same.

    The bounds are not symmetric. In each case actions lie below, within and above them, in each
    component, and so do some of the means.
    """
    generator = source_of(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    drawn = []
    for n, d in ((4, 2), (5, 3), (6, 1)):
        if seed is not None:
            n += 1 + integer(generator, 0, 5)  # noqa: PLW2901
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


def extreme() -> Gaussians:
    """An action 2 σ from 0, of a component with hardly any spread and of one with a huge one.

    Whoever limits σ, or adds a little to it, gets other numbers.
    """
    log_std, zero = torch.tensor([-25.0, 24.0]), torch.zeros(2)
    noise = torch.tensor([[2.0, 2.0]])
    return Gaussians(noise * log_std.exp(), zero[None], log_std, noise, zero - 1, zero + 1)


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


def arguments(exercise: Exercise, case: Gaussians, *learned: str) -> dict[str, Tensor]:
    """Copies of the fields that a student's function gets; some of them require grad."""
    given = {name: getattr(case, name).clone() for name in exercise.arguments}
    for name in learned:
        given[name].requires_grad_()
    return given


def one_number_each(exercise: Exercise, result: Any, case: Gaussians) -> Tensor:
    """What a student's function returned, if it is a tensor `[N]`."""
    n, d = case.mean.shape
    # Where two shapes are the same, the last one counts.
    mistakes = {
        (n, n): "every-pair",
        (n, 1): "keeps-dimension",
        (): "squeezed" if n == 1 else "single-number",
        (d,): "no-actions" if d == 1 else "sum-over-actions",
        (n, d): "not-summed",
    }
    shape = tuple(result.shape) if isinstance(result, Tensor) else ()
    mistake = None if shape == (n,) else mistakes.get(shape, "wrong-shape")
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    exercise.expect(result, mistake, f"a tensor of shape [{n}]")
    tensor: Tensor = result
    return tensor
