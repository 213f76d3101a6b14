"""The check of notebook 03's last exercise: one iteration of PPO, looked into by instruments."""

import copy
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.workspace.table import Workspace
from ppo_course import instruments
from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import describe
from ppo_course.instruments.judge import (
    Run,
    Settings,
    check_coverage,
    check_kept,
    check_steps,
    judge,
)
from ppo_course.instruments.rollouts import N_ACTIONS, N_OBS, Rollout, draw_rollout
from ppo_course.instruments.watch import Watch
from ppo_course.lending import standing_in
from ppo_course.mistakes import Exercise, StudentCode, read_words

OWN = read_words(__file__)
SHARED = read_words(str(Path(instruments.__file__)))["shared"]
EXERCISE = Exercise("iteration", ("ppo_clip", "workspace"), {**OWN, "shared": SHARED})
RATE = 0.03
RATIO_ERROR = 1e-4
KEPT = ("env/env_obs", "env/reward", "env/terminated", "env/done", "action")


def settings_of(seed: int | None) -> tuple[Settings, ...]:
    """One iteration whose gradients are too long; one with every option switched on."""
    source = source_of(seed)
    rest = torch.rand(4, generator=source).tolist()
    plain = Settings(
        discount_factor=0.8 + 0.15 * rest[0],
        gae=0.5 + 0.3 * rest[1],
        clip_range=0.12 + 0.15 * rest[2],
        policy_coef=0.6 + 0.3 * rest[3],
        critic_coef=1.7,
        batch_size=integer(source, 10, 15),
        opt_epochs=integer(source, 2, 4),
    )
    options = replace(plain, normalize_advantage=True, clip_range_vf=0.15)
    return options, replace(plain, max_grad_norm=0.05, batch_size=plain.batch_size - 3)


def _agents(settings: Settings, source: torch.Generator) -> SimpleNamespace:
    """What a student's function uses of a `PPOClip`, with agents that have learned something."""
    policy = DiscretePolicy(N_OBS, [8], N_ACTIONS).with_prefix("current_policy/")
    critic = VAgent(N_OBS, [8]).with_prefix("critic/")
    for agent in (policy, critic):
        draw_weights(agent, source, 0.5)
    algorithm = {**asdict(settings), "n_steps": 8, "n_envs": 5}
    return SimpleNamespace(
        cfg=OmegaConf.create({"algorithm": algorithm}),
        train_policy=policy,
        critic_agent=critic,
        old_policy=copy.deepcopy(policy).with_prefix("old_policy/"),
        old_critic_agent=copy.deepcopy(critic).with_prefix("old_critic/"),
        policy_optimizer=torch.optim.SGD(policy.parameters(), lr=RATE),
        critic_optimizer=torch.optim.SGD(critic.parameters(), lr=RATE),
        nb_steps=40,
    )


def policy_objective(policy: Any, workspace: Any, cfg: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The right one, which stands in for the student's."""
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new, old, advantage, entropy = workspace[
        f"{policy.prefix}logprob_predict",
        "old_policy/logprob_predict",
        "advantage",
        f"{policy.prefix}entropy",
    ]
    ratio, eps = (new - old.detach()).exp(), cfg.algorithm.clip_range
    constant = advantage.detach()
    products = ratio * constant, ratio.clamp(1 - eps, 1 + eps) * constant
    return torch.min(*products).mean(), entropy, advantage


def critic_objective(critic: Any, workspace: Any, cfg: Any) -> Tensor:
    """The right one, which stands in for the student's."""
    critic(workspace, t=0)
    value, old, target = workspace["critic/v_values", "old_critic/v_values", "critic_target"]
    error, eps = (value - target) ** 2, cfg.algorithm.clip_range_vf
    if eps > 0:
        error = torch.max(error, (old + (value - old).clamp(-eps, eps) - target) ** 2)
    result: Tensor = cfg.algorithm.critic_coef * error.mean()
    return result


def minibatches(transitions: Any, batch_size: int) -> Iterator[Any]:
    """Those of the notebook."""
    n = transitions.batch_size()
    for index in torch.split(torch.randperm(n), batch_size or n):
        yield transitions.select_batch(index)


class Log:
    """In the place of what writes to TensorBoard: it sees whether that could be done."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Look at the arguments of a call of `log_step`."""
        self.calls += 1
        given = dict(zip(LOGGED, args, strict=False)) | kwargs
        scalars = [given.get(name) for name in ("policy_loss", "critic_loss")]
        rows = [given.get(name) for name in ("entropy", "policy_advantage")]
        right = (
            given.keys() == set(LOGGED)
            and hasattr(given["ppo_clip"], "cfg")
            and isinstance(given["sample_workspace"], Workspace)
            and all(isinstance(x, Tensor) and not x.dim() for x in scalars)
            and all(isinstance(x, Tensor) and x.dim() == 2 for x in rows)
        )
        if not right:
            self.wrong.append(", ".join(describe(x) for x in args[1:]) or "nothing")


LOGGED = (
    "ppo_clip", "sample_workspace", "policy_loss", "entropy", "policy_advantage", "critic_loss",
)  # fmt: skip
PARTS = {
    "policy_objective": policy_objective,
    "critic_objective": critic_objective,
    "minibatches": minibatches,
}


@torch.enable_grad()
@EXERCISE.check
def check_iteration(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `iteration(ppo_clip, workspace)`.

    It gets the algorithm with its agents and optimisers, and a rollout. It learns from it as the
    configuration says; afterwards the old agents have the weights of the new ones.
    """
    log = Log()
    with standing_in([function], {**PARTS, "log_step": log}):
        for number, settings in enumerate(settings_of(seed)):
            _check_once(function, settings, source_of((0 if seed is None else 10 * seed) + number))
    EXERCISE.refuse(not log.calls, "not-logged")
    if log.wrong:
        raise EXERCISE.error("logged-otherwise", seen=log.wrong[0], expected=", ".join(LOGGED[1:]))


def _check_once(function: StudentCode, settings: Settings, source: torch.Generator) -> None:
    algo = _agents(settings, source)
    rollout = draw_rollout(source)
    with torch.no_grad():
        rollout = rollout._replace(value=algo.critic_agent.value(rollout.obs))
        truth = algo.train_policy.dist(rollout.obs).log_prob(rollout.action)
    workspace = rollout.workspace()
    before = {name: workspace.get_full(name) for name in KEPT}
    models = {"policy": algo.train_policy.model, "critic": algo.critic_agent.model}
    with Watch(models, (algo.policy_optimizer, algo.critic_optimizer)) as watch:
        EXERCISE.call(function, algo, workspace)
    run = Run(rollout, settings, watch)

    def see_minibatches() -> None:
        for network in models:
            check_coverage(EXERCISE, run, network)

    with EXERCISE.partly(
        the_minibatches=see_minibatches,
        the_steps_of_the_policy=lambda: _check_steps(run, "policy"),
        the_steps_of_the_critic=lambda: _check_steps(run, "critic"),
        old_is_new=lambda: _check_copies(algo, run, moved=True),
    ):
        for name, tensor in before.items():
            changed = not torch.equal(workspace.get_full(name), tensor)
            key = "new-actions" if name == "action" else "changes-rows"
            EXERCISE.refuse(changed, key, name=name)
        _check_ratio(workspace, truth, rollout)
        judge(EXERCISE, run)
        _check_copies(algo, run)


def _check_steps(run: Run, network: str) -> None:
    """Those of a network alone."""
    check_coverage(EXERCISE, run, network)
    check_steps(EXERCISE, run, network)


def _check_ratio(workspace: Any, truth: Tensor, rollout: Rollout) -> None:
    """Before the first step, the ratio of every transition has to be 1."""
    name = "old_policy/logprob_predict"
    EXERCISE.refuse(name not in workspace.variables, "no-old-log-prob")
    old = workspace.get_full(name)
    same_rows = old.shape[0] == truth.shape[0]
    rows = slice(None) if same_rows else slice(0, min(len(old), len(truth) - 1))
    missing = len(old) < len(truth) - 1
    EXERCISE.refuse(missing, "rows-missing", seen=len(old), expected=len(truth))
    starts = rollout.valid
    error = ((truth[:-1] - old[rows][: len(starts)]).exp() - 1).abs()[starts].max()
    told = {"seen": f"|ratio − 1| up to {float(error):.3g}", "expected": "0, up to rounding"}
    EXERCISE.refuse(error > RATIO_ERROR, "first-ratio", **told)


def _check_copies(algo: SimpleNamespace, run: Run, *, moved: bool = False) -> None:
    """Afterwards old is new, and new is what was learned; `moved`: and is not as it was drawn."""
    for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
        still = not any(p.grad is not None for g in optimizer.param_groups for p in g["params"])
        EXERCISE.refuse(moved and still, "no-step~policy")
    for name, new, old in (
        ("policy", algo.train_policy, algo.old_policy),
        ("critic", algo.critic_agent, algo.old_critic_agent),
    ):
        pairs = list(zip(new.parameters(), old.parameters(), strict=True))
        EXERCISE.refuse(any(a is b for a, b in pairs), f"same-agent~{name}")
        equal = all(torch.equal(a, b) for a, b in pairs)
        EXERCISE.refuse(not equal, f"not-copied~{name}")
    check_kept(EXERCISE, run)
