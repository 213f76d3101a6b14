"""What the check of the clipped objective runs a student's function on.

A few made-up transitions whose probabilities one can check by hand, or, to grade with, others that
are drawn from a seed.
"""

import copy
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from ppo_bbrl.agents.base import Policy
from ppo_bbrl.config.loading import load_config
from ppo_course.feedback import ExerciseError
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.workspaces import LentWorkspace

OLD = "old_policy/logprob_predict"

ENTROPY_COEF = 0.01
POLICY_COEF = 0.7  # which `iteration` multiplies in, not the objective
CLIP_RANGE_VF = 0.05  # the critic's, to notice who takes the wrong one


def _missing(variable: str) -> Callable[[Exception], bool]:
    """Whether it is this variable that the workspace does not have."""
    return lambda error: variable in str(error).partition(" in the workspace")[0]


def _inside(error: Exception) -> bool:
    """Whether the student's function had begun."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is not None


EXERCISE = Exercise(
    "policy_objective",
    ("policy", "workspace", "cfg"),
    read_words(__file__),
    [
        Hint("predict-proba", error=KeyError, when=_missing("logprob_predict")),
        Hint("compute-entropy", error=KeyError, when=_missing("entropy")),
        Hint("row-by-name", "positional argument", error=TypeError, when=_inside),
    ],
)


class Transition(NamedTuple):
    """One decision: the probabilities of the action that was taken, and its advantage."""

    old: float
    new: float
    advantage: float


# Ratios within the clip range and on both sides of it, each with both signs of the advantage.
TRANSITIONS = (
    Transition(0.5, 0.55, 0.5),
    Transition(0.5, 0.45, -1.5),
    Transition(0.4, 0.6, 2.5),
    Transition(0.6, 0.3, 4.0),
    Transition(0.4, 0.6, -3.0),
    Transition(0.6, 0.3, -0.5),
)
#: of the policies of the calls, in turn; the notebook's own first
PREFIXES = ("current_policy/", "policy_in_training/", "new/")
#: the transitions and the clip range of a call
Batch = tuple[Sequence[Transition], float]
#: the mistakes give other values in at least one
BATCHES: tuple[Batch, ...] = (
    (TRANSITIONS, 0.2),
    (TRANSITIONS, 0.4),
    (TRANSITIONS[:3], 0.2),
    (TRANSITIONS, 0.0),
)


def drawn_batches(seed: int) -> tuple[Batch, ...]:
    """Batches of other sizes, with other numbers and clip ranges; the same for the same seed.

    As in `BATCHES`, there are ratios within the clip range and on both sides of it, each with both
    signs of the advantage, so that no known mistake goes unseen.
    """
    stream = random.Random(seed)

    def transition(low: float, high: float, sign: float) -> Transition:
        ratio, old = stream.uniform(low, high), stream.uniform(0.25, 0.45)
        return Transition(old, old * ratio, sign * stream.uniform(0.5, 3.0))

    def batch(clip_range: float, n_more: int) -> Batch:
        inside = (1 - 0.8 * clip_range, 1 + 0.8 * clip_range)
        below, above = (0.3, 0.9 - clip_range), (1.1 + clip_range, 2.0)
        kinds = [(*bounds, float(sign)) for bounds in (inside, below, above) for sign in (-1, 1)]
        kinds.append((*above, 0.15))  # so small that ratio × advantage is not clipped
        kinds += stream.choices(kinds, k=n_more)
        stream.shuffle(kinds)
        return [transition(*kind) for kind in kinds], clip_range

    # None of the clip ranges that people write down by heart: 0.1, 0.2, 0.3.
    first = batch(round(stream.uniform(0.12, 0.18), 3), stream.randint(1, 6))
    return (
        first,
        batch(round(stream.uniform(0.33, 0.42), 3), stream.randint(7, 20)),
        (first[0], 0.0),
    )


class TablePolicy(Policy):
    """A policy over two actions that looks its logits up: state s is the s-th unit vector."""

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__("policy")
        self.table = nn.Parameter(probabilities.log())
        self.has_acted = False

    def dist(self, obs: Tensor) -> Categorical:
        """π(·|s)."""
        return Categorical(logits=obs @ self.table)

    def forward(self, t: int, **kwargs: Any) -> None:
        """As every policy does, and remember whether an action was drawn."""
        self.has_acted |= not kwargs.get("predict_proba", False)
        super().forward(t, **kwargs)
        for bare in ("logprob_predict", "entropy"):
            # Who writes out the notebook's own name is right there: it is given everywhere.
            if self.prefix != PREFIXES[0] and f"{self.prefix}{bare}" in self.workspace.variables:
                self.set((f"{PREFIXES[0]}{bare}", t), self.get((f"{self.prefix}{bare}", t)))


class Inputs(NamedTuple):
    """The symbols of the formula, `[N]` each; new and old are log-probabilities."""

    new: Tensor
    old: Tensor
    advantage: Tensor
    entropy: Tensor
    clip_range: float


@cache
def _config() -> Any:
    return load_config(
        {
            "gym_env": {"env_name": "CartPole-v1"},
            "algorithm": {
                "clip_range_vf": CLIP_RANGE_VF,
                "entropy_coef": ENTROPY_COEF,
                "policy_coef": POLICY_COEF,
            },
        }
    )


class Case:
    """Some transitions as the student's function gets them, fresh for every call.

    Old log-probabilities and advantages are leaves that require grad, so that one sees whether a
    gradient arrives there.
    """

    def __init__(
        self, transitions: Sequence[Transition], clip_range: float, prefix: str = PREFIXES[0]
    ) -> None:
        self.transitions, self.clip_range = transitions, clip_range
        n = len(transitions)
        action = torch.arange(n) % 2
        old, new, advantage = torch.tensor(transitions).unbind(1)
        probabilities = torch.empty(n, 2)
        probabilities[torch.arange(n), action] = new
        probabilities[torch.arange(n), 1 - action] = 1 - new
        self.policy = TablePolicy(probabilities).with_prefix(prefix)
        self.old, self.advantage = old.log().requires_grad_(), advantage.clone().requires_grad_()
        self.observation, self.action = torch.eye(n), action
        self._weights = self.policy.table.detach().clone()
        self._given = {
            "env/env_obs": self.observation,
            "action": action,
            "advantage": self.advantage,
            OLD: self.old,
        }
        self.workspace = LentWorkspace(capacity=1)
        for name, tensor in self._given.items():
            self.workspace.set(name, 0, tensor)
        self.cfg = copy.deepcopy(_config())  # reading one takes longer than the rest of the check
        self.cfg.algorithm.clip_range = clip_range

    def call(self, function: StudentCode) -> Any:
        """What the student's function returns."""
        try:
            result = EXERCISE.call(function, self.policy, self.workspace, self.cfg)
        except ExerciseError as error:
            if self.policy.has_acted:
                raise EXERCISE.error("new-actions") from error
            judged = f"{self.policy.prefix}entropy" in self.workspace.variables
            if judged and isinstance(error.__cause__, KeyError):
                raise EXERCISE.error(
                    "prefix-fixed", facts=[str(error).partition("\n")[0]]
                ) from error
            raise
        EXERCISE.refuse(self.policy.has_acted, "new-actions")
        # What belongs to others is as it was: the policy's weights, what the workspace held.
        table = self.policy.table
        if table.grad is not None:
            raise EXERCISE.error("backward")
        EXERCISE.refuse(not torch.equal(table.detach(), self._weights), "changes-weights")
        written = self.workspace.written_into(self._given)
        for name, tensor in self._given.items():
            if name == written or not torch.equal(self.workspace.get(name, 0), tensor):
                raise EXERCISE.error("changes-variable", variable=name)
        return result

    def log_prob_and_entropy(self) -> tuple[Tensor, Tensor]:
        """What is right, `[N]` each; the log-probabilities carry the policy's gradient."""
        return self.policy.evaluate_actions(self.observation, self.action)

    def inputs(self) -> Inputs:
        """What formulas are made of."""
        log_prob, entropy = self.log_prob_and_entropy()
        return Inputs(
            log_prob, self.old.detach(), self.advantage.detach(), entropy, self.clip_range
        )
