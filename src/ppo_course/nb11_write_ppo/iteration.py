"""The check of notebook 11's seventh step: one iteration of PPO, looked into by the instruments."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ppo_bbrl.agents.base import Agent
from ppo_bbrl.episodic import EpisodicAlgo
from ppo_course.drawing import draw_weights, source_of
from ppo_course.feedback import describe
from ppo_course.instruments.judge import Run, Settings, check_coverage, check_steps, judge
from ppo_course.instruments.rollouts import N_ACTIONS, N_OBS, TARGETS, Factors, draw_rollout
from ppo_course.instruments.watch import Watch
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.cases import config, recorded, settings_of
from ppo_course.nb11_write_ppo.diagnostics import NUMBERS
from ppo_course.nb11_write_ppo.exercise import OwnCode, lent
from ppo_course.nb11_write_ppo.right import diagnostics
from ppo_course.workspaces import RecordingWorkspace

EXERCISE = OwnCode("learn", ("algo", "workspace"))
OTHER = "Acrobot-v1"  # with other numbers of observations and actions
ATTRIBUTES = ("train_policy", "critic", "policy_optimizer", "critic_optimizer")


def configuration(settings: Settings, seed: int, env_name: str = "CartPole-v1") -> dict[str, Any]:
    """What a student's PPO is made from."""
    return {
        "base_dir": "${gym_env.env_name}/write-ppo-S${algorithm.seed}_${current_time:}",
        "gym_env": {"env_name": env_name},
        "algorithm": {
            "seed": seed,
            "n_envs": 2,
            "n_steps": 8,
            "max_epochs": 1,
            "eval_interval": 1000,
            "nb_evals": 2,
            **vars(settings),
        },
        "optimizer": {"classname": "torch.optim.Adam", "lr": 3e-3},
    }


@torch.enable_grad()
@EXERCISE.check
def check_learn(ppo_class: Any, learn: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `PPO(cfg)` and `learn(algo, workspace)`.

    The class is an `EpisodicAlgo` with `train_policy`, `critic` and an optimiser of each; the
    function learns from the rows of a workspace and returns the diagnostics.
    """
    EXERCISE.own(ppo_class, learn)
    base = replace(settings_of(seed), normalize_advantage=True)
    with lent(ppo_class, learn, besides=("learn", "PPO")):
        smaller = replace(base, batch_size=base.batch_size - 4)
        limits = (0.05, 2.0)  # far below all gradients; near some of them
        limited = [replace(smaller, max_grad_norm=limit) for limit in limits]
        for number, settings in enumerate((base, *limited)):
            _check_once(ppo_class, learn, settings, (0 if seed is None else seed) + number)
        _check_sizes(ppo_class, base)


def _check_sizes(ppo_class: Any, settings: Settings) -> None:
    """Raise unless the networks fit another environment, too."""
    algo = EXERCISE.run("PPO.__init__", lambda: ppo_class(configuration(settings, 0, OTHER)), None)
    try:
        n_obs, n_actions = algo.train_env.get_obs_and_actions_sizes()
        for what, network, n_out in (
            ("train_policy", algo.train_policy, n_actions),
            ("critic", algo.critic, 1),
        ):
            _check_network(network, what, n_obs, n_out)
    finally:
        algo.close()


def _check_network(network: Any, what: str, n_in: int, n_out: int) -> None:
    weights = [p for p in network.parameters() if p.dim() == 2]
    sizes = [weights[0].shape[1], weights[-1].shape[0]]
    told = {"seen": sizes, "expected": [n_in, n_out]}
    EXERCISE.refuse(sizes != [n_in, n_out], "other-sizes", what=what, **told)


def _check_once(ppo_class: Any, learn: StudentCode, settings: Settings, seed: int) -> None:
    cfg = configuration(settings, seed)
    init = getattr(ppo_class, "__init__", None)
    algo = EXERCISE.run("PPO.__init__", lambda: ppo_class(cfg), init)
    try:
        policy, critic = _parts(algo)
        check_greedy(EXERCISE, algo)
        source = source_of(seed)
        for model in (policy.model, critic.model):
            draw_weights(model, source, 0.4)
        rollout = draw_rollout(source)
        workspace, log_prob = recorded(rollout, policy)
        with torch.no_grad():
            rollout = rollout._replace(value=critic.model(rollout.obs).squeeze(-1))
        variables = {name: workspace.get_full(name).clone() for name in workspace.variables}
        optimizers = (algo.policy_optimizer, algo.critic_optimizer)
        models = {"policy": policy.model, "critic": critic.model}
        with Watch(models, optimizers) as watch:
            result = EXERCISE.call(learn, algo, workspace)
        for name, tensor in variables.items():
            changed = not torch.equal(workspace.get_full(name), tensor)
            EXERCISE.refuse(changed, "changes-variable", variable=name)
        run = Run(rollout, settings, watch)

        def see(*networks: str, steps: bool = True) -> None:
            for network in networks:
                check_coverage(EXERCISE, run, network)
                if steps:
                    check_steps(EXERCISE, run, network)

        with EXERCISE.partly(
            the_minibatches=lambda: see(*models, steps=False),
            the_steps_of_the_policy=lambda: see("policy"),
            the_steps_of_the_critic=lambda: see("critic"),
        ):
            judge(EXERCISE, run)
        good = isinstance(result, dict) and set(NUMBERS) <= set(result)
        expected = f"the dict of diagnostics: {', '.join(NUMBERS)}"
        EXERCISE.expect(result, None if good else "no-diagnostics", expected)
        _check_diagnostics(result, _diagnosed(run, policy, critic, log_prob))
    finally:
        algo.close()


def _diagnosed(run: Run, policy: Any, critic: Any, log_prob: Tensor) -> dict[str, float]:
    """The diagnostics of all transitions, with the networks as they are now."""
    rollout, settings = run.rollout, run.settings
    _, target = TARGETS.right(rollout, Factors(settings.discount_factor, settings.gae))
    rows = {"obs": rollout.obs[:-1], "action": rollout.action[:-1], "log_prob": log_prob[:-1]}
    batch = {name: x[rollout.valid] for name, x in {**rows, "target": target}.items()}
    return diagnostics(policy, critic, batch, config(settings))


def _check_diagnostics(seen: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    for name, number in expected.items():
        if not math.isclose(float(seen[name]), number, rel_tol=1e-3, abs_tol=1e-4):
            told = {"seen": f"{float(seen[name]):.4g}", "expected": f"{number:.4g}"}
            raise EXERCISE.error("other-diagnostics", what=name, **told)


def check_greedy(exercise: OwnCode, algo: Any) -> None:
    """Raise if what acts in evaluations is not the greedy policy."""
    if algo.eval_policy is None:
        raise exercise.error("no-eval-policy")
    model, obs = algo.train_policy.model, torch.randn(1, 200, N_OBS)
    workspace = RecordingWorkspace({"env/env_obs": obs})
    exercise.run("PPO's eval_policy", lambda: algo.eval_policy(workspace, t=0), None)
    greedy = torch.equal(workspace.get("action", 0).long(), model(obs[0]).argmax(-1))
    exercise.refuse(not greedy, "eval-not-greedy")


def _parts(algo: Any) -> tuple[Any, Any]:
    """Policy and critic, if the student's algorithm has them, each with its optimiser."""
    EXERCISE.refuse(not isinstance(algo, EpisodicAlgo), "no-algo", seen=describe(algo))
    missing = [name for name in ATTRIBUTES if getattr(algo, name, None) is None]
    EXERCISE.refuse(missing, "attribute-missing", missing=", ".join(missing))
    EXERCISE.refuse(not algo.train_env.autoreset, "no-autoreset")
    policy, critic = algo.train_policy, algo.critic
    for name, network, n_out in (("train_policy", policy, N_ACTIONS), ("critic", critic, 1)):
        model = getattr(network, "model", None)
        wrong = not isinstance(network, nn.Module) or not isinstance(model, nn.Module)
        EXERCISE.refuse(wrong, "no-network", what=name)
        _check_network(network, name, N_OBS, n_out)
    EXERCISE.refuse(not isinstance(policy, Agent), "no-agent")
    for network, name in ((policy, "policy_optimizer"), (critic, "critic_optimizer")):
        optimizer = getattr(algo, name)
        EXERCISE.refuse(not isinstance(optimizer, Optimizer), "no-optimizer", what=name)
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        missing_weights = any(id(p) not in own for p in network.parameters())
        EXERCISE.refuse(missing_weights, "weights-missing", what=name)
        rates = {group["lr"] for group in optimizer.param_groups}
        EXERCISE.refuse(rates != {3e-3}, "other-rate", seen=rates, expected=3e-3, what=name)
    return policy, critic
