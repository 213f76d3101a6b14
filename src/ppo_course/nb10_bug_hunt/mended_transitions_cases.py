"""Rollouts for the check of `mended_transitions`, in which every entry says where it is from."""

from typing import NamedTuple

import torch
from torch import Tensor

NAMES = ("obs", "action", "log_prob", "value", "advantage", "target")


class Rows(NamedTuple):
    """A rollout in which every entry says where it comes from.

    Attributes:
        done: `[T+1, B]`.
        n_features: of an observation.
    """

    done: Tensor
    n_features: int

    @property
    def places(self) -> Tensor:
        """A number of its own for each row of each environment, `[T+1, B]`."""
        return torch.arange(self.done.numel()).reshape(self.done.shape)

    def variables(self) -> dict[str, Tensor]:
        """What the function gets."""
        places = self.places
        told: dict[str, Tensor] = {
            name: places + 0.5 * k for k, name in enumerate(NAMES[2:], start=1)
        }
        features = torch.arange(self.n_features) / 10
        told["obs"] = places[..., None] + features
        told["action"] = places.clone()
        told["done"] = self.done.clone()
        return told

    def where(self, place: int) -> str:
        """A place in words."""
        row, env = divmod(place, self.done.shape[1])
        return f"row {row} of environment {env}"

    @property
    def starts(self) -> set[int]:
        """The places in which a transition starts."""
        return set(self.places[:-1][~self.done[:-1]].tolist())

    @property
    def ends(self) -> set[int]:
        """The places in which an episode is over, those of the last row left out."""
        return set(self.places[:-1][self.done[:-1]].tolist())

    @property
    def starts_transposed(self) -> set[int]:
        """What the mask of the starts picks if it alone is transposed; nothing if it cannot be."""
        places, mask = self.places[:-1], ~self.done[:-1].T
        return set(places[mask].tolist()) if places.shape == mask.shape else set()


def cases(seed: int | None) -> list[Rows]:
    """Rollouts with ends; as many steps as environments, then fewer, then more."""
    if seed is None:
        done = torch.zeros(5, 4, dtype=torch.bool)
        done[1, 0] = done[2, 3] = done[4, 1] = True
        other = torch.zeros(4, 5, dtype=torch.bool)
        other[0, 1] = other[2, 2] = other[3, 4] = True
        return [Rows(done, 3), Rows(other, 1)]
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    result = []
    n = number(4, 7)
    for n_steps, n_envs in ((n, n), (n, n + 2), (n + 3, n)):
        done = torch.zeros(n_steps + 1, n_envs, dtype=torch.bool)
        # One end in the first row, one in the last. Where there are as many steps as environments,
        # the mask may be symmetric by chance; in the other rollouts it cannot be.
        done[0, number(1, n_envs)] = True
        done[number(1, n_steps - 1), 0] = True
        done[n_steps, number(1, n_envs)] = True
        # One feature is a dimension of its own, too: [N, 1].
        result.append(Rows(done, number(2, 5) if n_steps == n_envs else 1))
    return result
