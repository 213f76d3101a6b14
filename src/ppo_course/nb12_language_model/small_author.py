"""A small writer with its critic, and texts of it: what one iteration of learning is tried on."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.workspaces import RecordingWorkspace

N_CHARACTERS, WINDOW = 5, 3


class SmallWriter(nn.Module):
    """Gives each of a few characters a probability, by the characters before it."""

    def __init__(self, source: torch.Generator) -> None:
        super().__init__()
        self.model = nn.Linear(WINDOW, N_CHARACTERS)
        draw_weights(self, source, 0.5)

    def evaluate(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log-probabilities, `[…]`, of characters, `[…]`, after the windows, `[…, W]`."""
        every = self.model(obs.float() / N_CHARACTERS).log_softmax(-1)
        log_prob: Tensor = every.gather(-1, action[..., None]).squeeze(-1)
        return log_prob


class SmallCritic(nn.Module):
    """The value of what is written so far."""

    def __init__(self, source: torch.Generator) -> None:
        super().__init__()
        self.model = nn.Linear(WINDOW, 1)
        draw_weights(self, source, 0.5)

    def forward(self, obs: Tensor) -> Tensor:
        """`[…, W]` to `[…]`."""
        value: Tensor = self.model(obs.float() / N_CHARACTERS).squeeze(-1)
        return value


@dataclass(frozen=True)
class Settings:
    """As students read them: `algo.cfg.beta`."""

    beta: float
    gae: float
    clip_range: float
    epochs: int
    group_size: int


class Author:
    """What a student's iteration gets: always the same networks, with fresh optimisers."""

    def __init__(self, seed: int, settings: Settings) -> None:
        source = source_of(seed)
        self.writer, self.reference = SmallWriter(source), SmallWriter(source)
        self.critic = SmallCritic(source)
        # Steps so large that ratios leave the clip range.
        self.writer_optimizer = torch.optim.SGD(self.writer.parameters(), lr=0.7)
        self.critic_optimizer = torch.optim.SGD(self.critic.parameters(), lr=0.1)
        self.cfg = SimpleNamespace(**vars(settings))

    def weights(self, name: str) -> Tensor:
        """All weights of a network in a row."""
        return nn.utils.parameters_to_vector(getattr(self, name).parameters()).detach().clone()


class Written:
    """Texts that an author has written, some of them longer than others."""

    def __init__(self, seed: int, settings: Settings) -> None:
        source = source_of(seed + 1)
        self.seed, self.settings = seed, settings
        n_rows, n_texts = integer(source, 5, 8), 3 * settings.group_size
        self.obs = torch.randint(N_CHARACTERS, (n_rows, n_texts, WINDOW), generator=source)
        self.action = torch.randint(N_CHARACTERS, (n_rows, n_texts), generator=source)
        length = torch.randint(2, n_rows, (n_texts,), generator=source)
        length[:2] = torch.tensor([1, n_rows])
        self.done = torch.arange(n_rows)[:, None] >= length
        self.reward = torch.randint(0, 12, (n_texts,), generator=source).float()
        self.reward += 5 * (torch.arange(n_texts) // settings.group_size)
        with torch.no_grad():
            self.log_prob = self.author().writer.evaluate(self.obs, self.action)

    def author(self) -> Author:
        """The one who wrote them, with the weights of then."""
        return Author(self.seed, self.settings)

    def earning_nothing(self) -> "Written":
        """The same texts, all of them with the reward 0."""
        other = copy(self)
        other.reward = torch.zeros_like(self.reward)
        return other

    def workspace(self) -> RecordingWorkspace:
        """As the notebook's page and writer leave it."""
        variables: Mapping[str, Any] = {
            "env/env_obs": self.obs,
            "env/done": self.done,
            "action": self.action,
            "log_prob": self.log_prob,
        }
        return RecordingWorkspace(variables)


def cases(seed: int | None) -> list[Written]:
    """Three, with other settings; in the last one β is 0."""
    source = source_of(seed)
    chosen = []
    for number in range(3):
        settings = Settings(
            beta=(0.2 + 0.1 * integer(source, 0, 5)) * (number < 2),
            gae=0.6 + 0.05 * integer(source, 0, 6),
            clip_range=0.12 + 0.03 * integer(source, 0, 5),
            epochs=3 + number % 2,
            group_size=3 + number % 2,
        )
        chosen.append(Written(integer(source, 0, 2**31), settings))
    return chosen
