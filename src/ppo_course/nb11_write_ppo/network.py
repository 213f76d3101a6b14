"""The check of notebook 11's first step: a network with the weights that PPO begins with."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import describe
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.exercise import OwnCode

EXERCISE = OwnCode("network", ("sizes", "output_gain"))
Case = tuple[list[int], float]


def cases(seed: int | None) -> list[Case]:
    """Sizes of layers and gains of the last one."""
    if seed is None:
        return [([4, 8, 6, 2], 0.01), ([3, 5, 1], 1.0), ([2, 3], 0.5)]
    source = source_of(seed)
    sizes = [[integer(source, 2, 9) for _ in range(n)] for n in (4, 3, 5)]
    gains = 0.1 + torch.rand(3, generator=source)
    return list(zip(sizes, gains.tolist(), strict=True))


@EXERCISE.check
def check_network(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `network(sizes, output_gain)`.

    It returns an `nn.Sequential`: linear layers of these sizes with Tanh between them, orthogonal
    weights with the gain √2, in the last layer with `output_gain`, and biases of 0.
    """
    EXERCISE.own(function)
    for sizes, gain in cases(seed):
        facts = [f"  Example: network({sizes}, {gain:.3g})"]
        model: Any = EXERCISE.call(function, list(sizes), gain)
        EXERCISE.refuse(model is None, "returns-nothing")
        if not isinstance(model, nn.Module):
            raise EXERCISE.error("no-module", facts=facts, seen=describe(model))
        linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        seen = [(layer.in_features, layer.out_features) for layer in linears]
        expected = list(itertools.pairwise(sizes))
        if seen != expected:
            raise EXERCISE.error("sizes", facts=facts, seen=seen, expected=expected)
        _check_activations(model, linears, facts)
        _check_weights(linears, gain, facts)
        again: Any = EXERCISE.call(function, list(sizes), gain)
        pairs = zip(model.parameters(), again.parameters(), strict=True)
        same_again = all(torch.equal(one, other) for one, other in pairs)
        EXERCISE.refuse(same_again, "same-again", facts=facts)


def _check_activations(model: nn.Module, linears: Sequence[nn.Linear], facts: list[str]) -> None:
    """Compare the output with that of the same layers and the activations of known mistakes."""
    x = 2 * torch.linspace(-1, 1, 5 * linears[0].in_features).reshape(5, -1)
    with torch.no_grad():
        drawn = [nn.init.normal_(layer.weight.clone(), std=0.7) for layer in linears]
        kept = [layer.weight.clone() for layer in linears]
        for layer, weight in zip(linears, drawn, strict=True):
            layer.weight.copy_(weight)
        seen = EXERCISE.run("network's module", model, None, x)
        known = {
            "": ("tanh", False),
            "tanh-last": ("tanh", True),
            "relu": ("relu", False),
            "relu-last": ("relu", True),
            "no-activation": ("clone", False),
        }
        outputs = {key: _output(linears, x, *how) for key, how in known.items()}
        for layer, weight in zip(linears, kept, strict=True):
            layer.weight.copy_(weight)
    if isinstance(seen, Tensor) and seen.shape == outputs[""].shape:
        fits = [key for key, out in outputs.items() if torch.allclose(seen, out, atol=1e-5)]
        key = fits[0] if fits else "other-activation"
        EXERCISE.refuse(key, key, facts=facts)
    else:
        raise EXERCISE.error("other-activation", facts=facts)


def _output(linears: Sequence[nn.Linear], x: Tensor, activation: str, last: bool) -> Tensor:
    for number, layer in enumerate(linears, start=1):
        x = layer(x)
        if last or number < len(linears):
            x = getattr(x, activation)()
    return x


def _check_weights(linears: Sequence[nn.Linear], gain: float, facts: list[str]) -> None:
    for number, layer in enumerate(linears, start=1):
        last = number == len(linears)
        right = gain if last else 2**0.5
        told = [*facts, f"  The weights of layer {number} of {len(linears)}:"]
        EXERCISE.refuse(layer.bias is None, "no-bias", facts=told)
        values = torch.linalg.svdvals(layer.weight.detach())
        if not torch.allclose(values, values[:1], rtol=1e-3, atol=1e-6):
            raise EXERCISE.error("not-orthogonal", facts=told)
        seen = float(values[0])
        if abs(seen - right) > 1e-3 * max(right, 0.1):
            key = "gain-everywhere" if not last and abs(seen - gain) < 1e-3 else "gain"
            key = "gain-of-last" if last else key
            raise EXERCISE.error(
                key, facts=told, seen=f"the gain {seen:.4g}", expected=f"{right:.4g}"
            )
        EXERCISE.refuse(layer.bias.any(), "bias", facts=told)
        frozen = not all(weight.requires_grad for weight in layer.parameters())
        EXERCISE.refuse(frozen, "frozen", facts=told)
