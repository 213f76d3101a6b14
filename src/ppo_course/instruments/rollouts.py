"""Made-up rollouts with every kind of end, and what an iteration of PPO should learn from them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.workspace.table import Workspace
from ppo_course.formulas import Part

N_ROWS, N_ENVS, N_OBS, N_ACTIONS = 9, 5, 4, 2
# (environment, row of the episode's end, whether it is terminated); the last one is the last row.
ENDS = ((0, 3, True), (1, 4, False), (2, 2, False), (2, 6, True), (3, 8, True), (4, 8, False))


class Rollout(NamedTuple):
    """Rows of some environments, `[T + 1, B, …]`; the values are those of a critic."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    done: Tensor
    value: Tensor

    @property
    def valid(self) -> Tensor:
        """Where a transition starts: `[T, B]`."""
        return ~self.done[:-1]

    def workspace(self) -> Workspace:
        """A workspace with these rows, as an environment and a policy write them."""
        workspace = Workspace()
        for name, tensor in (
            ("env/env_obs", self.obs),
            ("env/reward", self.reward),
            ("env/terminated", self.terminated),
            ("env/truncated", self.done & ~self.terminated),
            ("env/done", self.done),
            ("action", self.action),
        ):
            workspace.set_full(name, tensor.clone())
        return workspace


def draw_rollout(source: torch.Generator) -> Rollout:
    """Rows drawn from a source, with values of 0; every observation is another one."""
    shape = (N_ROWS, N_ENVS)
    terminated, done = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    for env, row, is_terminal in ENDS:
        done[row, env], terminated[row, env] = True, is_terminal
    reward = 1 + torch.randn(shape, generator=source)
    reward[1:][done[:-1]] = 0  # a reset earns nothing
    return Rollout(
        obs=torch.randn(*shape, N_OBS, generator=source),
        action=torch.randint(N_ACTIONS, shape, generator=source),
        reward=reward,
        terminated=terminated,
        done=done,
        value=torch.zeros(shape),
    )


class Factors(NamedTuple):
    """The two numbers of the estimate."""

    discount_factor: float
    gae_lambda: float


def _gae(
    rollout: Rollout,
    factors: Factors,
    *,
    reward: Tensor | None = None,
    next_value: Tensor | None = None,
    terminated: Tensor | None = None,
    done: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advantages and targets of the critic, `[T, B]` each, with something exchanged."""
    reward = rollout.reward[1:] if reward is None else reward
    next_value = rollout.value[1:] if next_value is None else next_value
    terminated = rollout.terminated[1:] if terminated is None else terminated
    done = rollout.done[1:] if done is None else done
    gamma, lam = factors
    value, following = rollout.value[:-1], torch.zeros(N_ENVS)
    advantage = torch.zeros_like(value)
    for t in reversed(range(N_ROWS - 1)):
        delta = reward[t] + gamma * next_value[t] * ~terminated[t] - value[t]
        following = delta + gamma * lam * following * ~done[t]
        advantage[t] = following
    return advantage, advantage + value


def _with_target(target: Callable[[Rollout, Tensor], Tensor]) -> Callable[..., Any]:
    def of(rollout: Rollout, factors: Factors) -> tuple[Tensor, Tensor]:
        advantage, _ = _gae(rollout, factors)
        return advantage, target(rollout, advantage)

    return of


#: of a rollout and the factors: advantages and targets, `[T, B]` each
TARGETS = Part(
    _gae,
    {
        "masks-exchanged": lambda r, f: _gae(r, f, terminated=r.done[1:], done=r.terminated[1:]),
        "no-bootstrap": lambda r, f: _gae(r, f, terminated=r.done[1:]),
        "leak": lambda r, f: _gae(r, f, done=r.terminated[1:]),
        "reward-of-the-row": lambda r, f: _gae(r, f, reward=r.reward[:-1]),
        "masks-of-the-row": lambda r, f: _gae(r, f, terminated=r.terminated[:-1], done=r.done[:-1]),
        "next-is-this": lambda r, f: _gae(r, f, next_value=r.value[:-1]),
        "never-terminal": lambda r, f: _gae(r, f, terminated=torch.zeros_like(r.done[1:])),
        "factors-exchanged": lambda r, f: _gae(r, Factors(f.gae_lambda, f.discount_factor)),
        "not-discounted": lambda r, f: _gae(r, Factors(1.0, f.gae_lambda)),
        "no-lambda~1": lambda r, f: _gae(r, Factors(f.discount_factor, 1.0)),
        "no-lambda~0": lambda r, f: _gae(r, Factors(f.discount_factor, 0.0)),
        "target-is-advantage": _with_target(lambda _, advantage: advantage),
        "target-of-next-value": _with_target(lambda r, advantage: advantage + r.value[1:]),
        "target-is-value": _with_target(lambda r, _: r.value[:-1]),
        "target-is-reward": _with_target(lambda r, _: r.reward[1:]),
        "advantage-is-return": lambda r, f: (_gae(r, f)[1], _gae(r, f)[1]),
    },
)
