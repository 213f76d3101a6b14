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
from ppo_bbrl.workspace.table import Workspace
from ppo_course.feedback import ExerciseError, call, not_right
from ppo_course.lent import Lent

#: (policy, workspace, cfg) → (policy_loss, entropy, policy_advantage)
PolicyObjective = Callable[[Any, Workspace, Any], tuple[Tensor, Tensor, Tensor]]

NAME = "policy_objective"
OLD = "old_policy/logprob_predict"

ENTROPY_COEF = 0.01
CLIP_RANGE_VF = 0.05  # the critic's, to notice who takes the wrong one


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
#: the transitions and the clip range of a call
Batch = tuple[Sequence[Transition], float]
#: the mistakes give other values in at least one
BATCHES: tuple[Batch, ...] = ((TRANSITIONS, 0.2), (TRANSITIONS, 0.4), (TRANSITIONS[:3], 0.2))


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
        inside, below, above = (
            (1 - 0.8 * clip_range, 1 + 0.8 * clip_range),
            (0.3, 0.9 - clip_range),
            (1.1 + clip_range, 2.0),
        )
        kinds: list[tuple[float, float, float]] = [
            (*bounds, sign) for bounds in (inside, below, above) for sign in (-1, 1)
        ]
        kinds.append((*above, 0.15))  # so small that ratio × advantage is not clipped
        kinds += stream.choices(kinds, k=n_more)
        stream.shuffle(kinds)
        return [transition(*kind) for kind in kinds], clip_range

    # None of the clip ranges that people write down by heart: 0.1, 0.2, 0.3.
    return (
        batch(round(stream.uniform(0.12, 0.18), 3), stream.randint(1, 6)),
        batch(round(stream.uniform(0.33, 0.42), 3), stream.randint(7, 20)),
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
            "algorithm": {"clip_range_vf": CLIP_RANGE_VF, "entropy_coef": ENTROPY_COEF},
        }
    )


class Case:
    """Some transitions as the student's function gets them, fresh for every call.

    Old log-probabilities and advantages are leaves that require grad, so that one sees whether a
    gradient arrives there.
    """

    def __init__(self, transitions: Sequence[Transition], clip_range: float) -> None:
        self.transitions, self.clip_range = transitions, clip_range
        n = len(transitions)
        action = torch.arange(n) % 2
        new = torch.tensor([transition.new for transition in transitions])
        probabilities = torch.empty(n, 2)
        probabilities[torch.arange(n), action] = new
        probabilities[torch.arange(n), 1 - action] = 1 - new
        self.policy = TablePolicy(probabilities).with_prefix("current_policy/")
        self.old = torch.tensor([transition.old for transition in transitions]).log()
        self.old.requires_grad_()
        self.advantage = torch.tensor([transition.advantage for transition in transitions])
        self.advantage.requires_grad_()
        self.observation, self.action = torch.eye(n), action
        self._weights = self.policy.table.detach().clone()
        self._given = {
            "env/env_obs": self.observation,
            "action": action,
            "advantage": self.advantage,
            OLD: self.old,
        }
        self.workspace = Lent(capacity=1)
        for name, tensor in self._given.items():
            self.workspace.set(name, 0, tensor)
        self.cfg = copy.deepcopy(_config())  # reading one takes longer than the rest of the check
        self.cfg.algorithm.clip_range = clip_range

    def call(self, function: PolicyObjective) -> Any:
        """What the student's function returns."""
        try:
            result = call(function, self.policy, self.workspace, self.cfg, hint=_hint)
        except ExerciseError as error:
            if self.policy.has_acted:
                raise _resampled() from error
            raise
        if self.policy.has_acted:
            raise _resampled()
        self._check_untouched()
        return result

    def _check_untouched(self) -> None:
        """What belongs to others is as it was: the policy's weights, what the workspace held."""
        table = self.policy.table
        if table.grad is not None:
            raise not_right(
                NAME,
                "it calls backward()",
                "the function says what the objective is; the loop below takes the gradient",
            )
        if not torch.equal(table.detach(), self._weights):
            raise not_right(
                NAME,
                "it changes the weights of the policy",
                "the function says what the objective is; the loop below makes the step",
            )
        written = self.workspace.written_into(self._given)
        for name, tensor in self._given.items():
            if name == written or not torch.equal(self.workspace.get(name, 0), tensor):
                raise not_right(
                    NAME,
                    f'it changes workspace["{name}"], which the next epochs still need',
                    "what is computed from it goes into a new tensor, and not back under this "
                    "name; functions whose name ends in _, and -=, write where they read",
                )

    def log_prob_and_entropy(self) -> tuple[Tensor, Tensor]:
        """What is right, `[N]` each; the log-probabilities carry the policy's gradient."""
        return self.policy.evaluate_actions(self.observation, self.action)

    def inputs(self) -> Inputs:
        """What formulas are made of."""
        log_prob, entropy = self.log_prob_and_entropy()
        return Inputs(
            log_prob, self.old.detach(), self.advantage.detach(), entropy, self.clip_range
        )


def _hint(error: Exception) -> str:
    text = str(error)
    missing = text.partition(" in the workspace")[0] if isinstance(error, KeyError) else ""
    if "logprob_predict" in missing:
        return (
            "run the policy on the workspace with t=0 and predict_proba=True; it then writes "
            "`logprob_predict` under its own prefix, policy.prefix"
        )
    if "entropy" in missing:
        return (
            "run the policy with compute_entropy=True; it then writes `entropy` under its own "
            "prefix, policy.prefix"
        )
    if "ambiguous" in text:
        return (
            "Python's own min, max and if want one truth value: torch.min(a, b) takes the smaller "
            "number in each place"
        )
    if isinstance(error, AttributeError) and "NoneType" in text and "'get'" in text:
        return "call the agent itself, not its forward: policy(workspace, t=0, …)"
    if isinstance(error, TypeError | AttributeError) and "NoneType" in text:
        return "an agent returns nothing: what it has written is read from the workspace"
    if "ConfigAttributeError" in type(error).__name__ or "ConfigKeyError" in type(error).__name__:
        return "the clip range is cfg.algorithm.clip_range"
    if isinstance(error, TypeError) and "positional argument" in text:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:  # inside
            return "an agent is called with its row by name: policy(workspace, t=0, …)"
        return "the function is called as policy_objective(policy, workspace, cfg)"
    return ""


def _resampled() -> ExerciseError:
    return not_right(
        NAME,
        "the policy drew new actions, so that those of the workspace are lost",
        "the ratio is about the actions that were taken: run the policy with predict_proba=True, "
        "which asks for the probability of the action that is there",
    )
