"""The suspects of notebook 10: small PPOs, all but one with a bug that raises nothing.

Who has come here from the notebook: the culprits are below. Reading on spoils the hunt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ppo_course.nb10_bug_hunt import small_ppo
from ppo_course.nb10_bug_hunt.small_ppo import Parts, Rows, Settings

#: What may be wrong, by the names that the notebook uses.
CHARGES = (
    "sign of the loss",
    "wrong action",
    "leak across truncation",
    "stale observation",
    "drawn with replacement",
    "critic moves the actor",
    "innocent",
)


_Part = TypeVar("_Part", bound=Callable[..., Any])


def _disguised_as(original: Callable[..., Any]) -> Callable[[_Part], _Part]:
    """Give a broken part the name of the right one: a suspect that is printed betrays nothing."""

    def rename(part: _Part) -> _Part:
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(part, attribute, getattr(original, attribute))
        return part

    return rename


@_disguised_as(small_ppo.FeaturePolicy)
class _Stale(small_ppo.FeaturePolicy):
    """Acts on the observation of the row before."""

    def seen(self, obs: Tensor) -> Tensor:
        return torch.cat((obs[:1], obs[:-1]))

    def forward(self, t: int, *, stochastic: bool = True, **kwargs: Any) -> None:
        del kwargs
        observation = self.get(("env/env_obs", max(t - 1, 0)))
        self.set(("action", t), self.act(observation, stochastic=stochastic).detach())


@_disguised_as(small_ppo.FeatureCritic)
class _Moving(small_ppo.FeatureCritic):
    """Lets its gradient through."""

    def features(self, obs: Tensor) -> Tensor:
        return self._features[0](obs)


@_disguised_as(small_ppo.advantages)
def _leaking(rows: Rows, settings: Settings) -> Tensor:
    """Cuts the trace where the episode is terminated, and nowhere else."""
    return small_ppo.advantages({**rows, "done": rows["terminated"]}, settings)


@_disguised_as(small_ppo.transitions)
def _wrong_actions(rows: Rows) -> Rows:
    """Lays the actions out environment by environment, everything else row by row."""
    starts = ~rows["done"][:-1]
    batch = small_ppo.transitions(rows)
    batch["action"] = rows["action"][:-1].T[starts.T]
    return batch


@_disguised_as(small_ppo.minibatches)
def _with_replacement(n: int, batch_size: int, generator: torch.Generator) -> Sequence[Tensor]:
    """Draws every index anew."""
    return torch.randint(n, (n,), generator=generator).tensor_split(-(-n // batch_size))


@_disguised_as(small_ppo.policy_loss)
def _turned(*args: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Minimises what should be maximised."""
    loss, facts = small_ppo.policy_loss(*args)
    return -loss, facts


_PARTS = {
    "sign of the loss": Parts(policy_loss=_turned),
    "wrong action": Parts(transitions=_wrong_actions),
    "leak across truncation": Parts(advantages=_leaking),
    "stale observation": Parts(policy=_Stale),
    "drawn with replacement": Parts(minibatches=_with_replacement),
    "critic moves the actor": Parts(critic=_Moving),
    "innocent": Parts(),
}

#: Who has done what.
CULPRITS = {
    "A": "drawn with replacement",
    "B": "wrong action",
    "C": "critic moves the actor",
    "D": "innocent",
    "E": "stale observation",
    "F": "leak across truncation",
    "G": "sign of the loss",
}

SUSPECTS = tuple(CULPRITS)


def suspect(
    name: str, env_name: str, seed: int, *, mended: Any = None, **settings: Any
) -> small_ppo.SmallPPO:
    """A suspect, before it has learned anything.

    Args:
        name: A to G.
        env_name: a registered environment; the probe environments are known.
        seed: of everything that is random.
        mended: takes the place of its function `transitions`.
        settings: what differs from the defaults of `Settings`.
    """
    parts = _PARTS[CULPRITS[name]]
    if mended is not None:
        parts = replace(parts, transitions=mended)
    return small_ppo.SmallPPO(env_name, seed, parts=parts, **settings)
