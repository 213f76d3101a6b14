"""What the exercises of notebook 11 have in common: own code only, and parts lent for a check."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bbrl.agents import TemporalAgent

from ppo_bbrl.agents.base import Agent, KWAgentWrapper
from ppo_bbrl.config.optimizers import copy_parameters, setup_optimizer
from ppo_bbrl.episodic import EpisodicAlgo, iter_partial_episodes
from ppo_bbrl.runs.notebook import setup_tensorboard
from ppo_bbrl.workspace.table import Workspace
from ppo_course import instruments
from ppo_course.feedback import Named
from ppo_course.lending import standing_in
from ppo_course.mistakes import Exercise, read_words
from ppo_course.nb11_write_ppo.right import PARTS
from ppo_course.reach import borrowed

#: of the package; everything else a student writes
ALLOWED = (
    *(Agent, EpisodicAlgo, KWAgentWrapper, TemporalAgent, Workspace),
    *(iter_partial_episodes, setup_optimizer, copy_parameters, setup_tensorboard),
)

WORDS = read_words(__file__)
OF_AN_ITERATION = read_words(str(Path(instruments.__file__)))["shared"]


class OwnCode(Exercise):
    """An exercise in which nothing of the package may be the answer."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        shared = {**OF_AN_ITERATION, **WORDS["shared"]}
        super().__init__(name, arguments, {**WORDS, "shared": shared})

    def own(self, *things: Any) -> None:
        """Raise if one of these uses something of the package besides what is `ALLOWED`."""
        for thing in things:
            what = borrowed(thing, ALLOWED)
            self.refuse(what, "borrowed", what=what)

    def run(self, told: str, run: Callable[..., Any], written_in: Any, *args: Any) -> Any:
        """What some of the student's code returns; `told` is its name in messages."""
        return self.call(Named(told, run, written_in), *args)


def lent(
    *things: Any, besides: Sequence[str] = (), also: Mapping[str, Any] = MappingProxyType({})
) -> AbstractContextManager[None]:
    """The right parts of a PPO stand in for those of these functions and classes."""
    parts = {name: part for name, part in PARTS.items() if name not in besides}
    return standing_in(things, {**parts, **also})
