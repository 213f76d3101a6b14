"""The engines that make an update: compiled, on flat weights, or by torch's optimisers.

They give the same weights and differ in speed. Each was made for the agents, optimisers and
settings that were there at the time, and is asked before each update whether these still are.
"""

from contextlib import suppress
from typing import Any, Protocol

import torch

from ppo_bbrl.compiled import CannotCompileError, CompiledUpdate
from ppo_bbrl.console import say
from ppo_bbrl.flat import FlatWeights, NotFlatError
from ppo_bbrl.learners import Learners
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.update import UpdateReport, update


class Engine(Protocol):
    """Makes updates."""

    def fits(self, learners: Learners, settings: Any, rollout: Rollout) -> bool:
        """Whether it can go on; else another engine is to be made."""

    def __call__(
        self,
        rollout: Rollout,
        learners: Learners,
        settings: Any,
        *,
        clip_factor: float,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Improve the agents on a rollout; the arguments are those of `update`."""


class EagerUpdate:
    """`update`, on flat weights where that is possible."""

    def __init__(self, learners: Learners) -> None:
        self._flat: FlatWeights | None = None
        with suppress(NotFlatError):  # torch's optimisers can do what is asked for
            self._flat = FlatWeights(*learners)

    def fits(self, learners: Learners, settings: Any, rollout: Rollout) -> bool:
        """Whether the weights are still laid out flat."""
        return self._flat is not None and self._flat.fits(*learners)

    def __call__(
        self,
        rollout: Rollout,
        learners: Learners,
        settings: Any,
        *,
        clip_factor: float,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Improve the agents on a rollout."""
        return update(
            rollout,
            **learners._asdict(),
            settings=settings,
            clip_factor=clip_factor,
            generator=generator,
            flat=self._flat,
        )


def choose_engine(
    learners: Learners, settings: Any, compute: Any, rollout: Rollout, why: str
) -> Engine:
    """The engine that the configuration asks for, or the eager one where it cannot be had.

    Args:
        learners: what is to learn.
        settings: the `algorithm` section of the configuration.
        compute: the `compute` section; where compiling fails, the decision is kept in it.
        rollout: for shapes and types.
        why: why the configuration asks for it, if that was not the user's choice.
    """
    if compute.compile == "never" and why:
        say(f"The update is not compiled: {why} (compute.compile).")
    if compute.compile == "always":
        begins = f"Compiling the update{f': {why}' if why else ''}. This takes some ten seconds."
        try:
            return CompiledUpdate(learners, settings, example=rollout, announcement=begins)
        except CannotCompileError as error:
            say(f"The update is not compiled: {error}.")
            compute.compile = "never"
    return EagerUpdate(learners)


def improve(
    engine: Engine, rollout: Rollout, learners: Learners, settings: Any, compute: Any, **how: Any
) -> tuple[Engine, UpdateReport]:
    """An update by an engine, or by the eager one where the compiled one cannot go on.

    Returns:
        The engine that made it, and its report.
    """
    try:
        return engine, engine(rollout, learners, settings, **how)
    except CannotCompileError as error:
        say(f"The update is not compiled any longer: {error}.")
        compute.compile = "never"
        engine = EagerUpdate(learners)
        return engine, engine(rollout, learners, settings, **how)
