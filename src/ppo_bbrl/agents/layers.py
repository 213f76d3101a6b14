"""Which of torch's layers an agent has, and how they are set: what its weights do not say.

ReLU and Tanh have no weights, and a convolution's stride does not change the shape of its own. So
weights alone would fit an agent that acts otherwise.
"""

from typing import Any

from torch import nn

from ppo_bbrl.errors import StateError, printable

_AS_IF_NOT_THERE = (nn.Identity, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layers_of(agent: nn.Module) -> dict[str, str]:
    """Torch's layers in an agent, or in the one that it wraps, as `LeakyReLU(…)` by name."""
    return {
        name: f"{type(layer).__name__}({layer.extra_repr()})"
        for name, layer in getattr(agent, "wrapped", agent).named_modules()
        if type(layer).__module__.startswith("torch.nn.modules.")
        and not isinstance(layer, _AS_IF_NOT_THERE)
    }


def check_same_layers(name: str, there: Any, agent: nn.Module) -> list[str]:
    """Refuse an agent with other layers than the saved one.

    Args:
        name: the agent's name, for messages.
        there: what `layers_of` gave for the saved agent; None in files that do not say.
        agent: the agent that is to take its weights.

    Returns:
        What differs in the settings of layers of the same kind, worth a warning once the weights
        fit: another version of torch may only say them in other words.

    Raises:
        StateError: naming the first layer that differs.
    """
    if there is None:
        return []
    if not isinstance(there, dict) or not all(isinstance(one, str) for one in there.values()):
        raise StateError(f"{name}: the state's layers are no dict of names")
    here = layers_of(agent)
    settings = []
    for layer in {**there, **here}:
        saved, made = (printable(one.get(layer, "none")) for one in (there, here))
        if saved == made:
            continue
        differs = f"{name}: {printable(layer)} is {saved} in the state, but {made} here"
        if saved.partition("(")[0] != made.partition("(")[0]:
            raise StateError(differs)
        settings.append(differs)
    return settings
