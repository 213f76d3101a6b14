"""The check of notebook 11's second step: an agent that acts, and a critic."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import describe, numbers, same
from ppo_course.formulas import first_fit
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.exercise import OwnCode, lent
from ppo_course.workspaces import RecordingWorkspace

EXERCISE = OwnCode("Policy", ())
ROW, MANY = 1, 4000
TOLERANCE = 0.05  # of a frequency of so many: six standard errors


class Case(NamedTuple):
    """An agent to be made, and what it meets."""

    obs: Tensor  # `[3, N, D]`
    action: Tensor  # `[3, N]`
    n_actions: int
    weights_seed: int


def cases(seed: int | None) -> list[Case]:
    """A policy of two actions, and one of more."""
    source, chosen = source_of(seed), []
    for n_actions in (2, integer(source, 3, 6)):
        n, d = integer(source, 5, 9), integer(source, 2, 5)
        obs = torch.randn(3, n, d, generator=source)
        action = torch.randint(n_actions, (3, n), generator=source)
        chosen.append(Case(obs, action, n_actions, integer(source, 0, 2**31)))
    return chosen


@torch.enable_grad()
@EXERCISE.check
def check_acting(policy_class: StudentCode, critic_class: Any, *, seed: int | None = None) -> None:
    """Check a student's agents `Policy(n_obs, n_actions)` and `Critic(n_obs)`.

    The policy has a network `model`; `evaluate(obs, action)` returns log-probabilities and
    entropies; its `forward` writes `action` and `log_prob` into row t. The critic is called with
    observations.
    """
    EXERCISE.own(policy_class, critic_class)
    drawn = cases(seed)

    def see(*checks: Callable[[Any, Case], None]) -> None:
        for case in drawn:
            policy = _policy(policy_class, case)
            for check in checks:
                check(policy, case)

    def see_critic() -> None:
        for case in drawn:
            _check_critic(critic_class, case)

    lending = lent(policy_class, critic_class, besides=("Policy", "Critic"))
    parts = EXERCISE.partly(
        evaluate=lambda: see(_check_evaluate),
        acting=lambda: see(_check_forward),
        the_critic=see_critic,
    )
    with lending, parts:
        for case in drawn:
            policy = _policy(policy_class, case)
            _check_evaluate(policy, case)
            _check_forward(policy, case)
            _check_rare(policy, case)
            _check_critic(critic_class, case)


def _policy(policy_class: StudentCode, case: Case) -> Any:
    """A student's policy with known weights."""
    torch.manual_seed(case.weights_seed)
    policy = _made("Policy", policy_class, case.obs.shape[-1], case.n_actions)
    _check_network(policy, "Policy", (case.obs.shape[-1], case.n_actions), gain=0.01)
    draw_weights(policy.model, source_of(case.weights_seed), 0.5)
    return policy


def _made(name: str, cls: Any, *sizes: int) -> Any:
    return EXERCISE.run(f"{name}.__init__", lambda: cls(*sizes), getattr(cls, "__init__", None))


def _check_network(agent: Any, name: str, ends: tuple[int, int], *, gain: float) -> None:
    (n_in, n_out), model = ends, getattr(agent, "model", None)
    EXERCISE.refuse(not isinstance(model, nn.Module), "no-model", agent=name)
    weights = [p for p in model.parameters() if p.dim() == 2]  # type: ignore[union-attr]
    seen = [weights[0].shape[1], *(weight.shape[0] for weight in weights)] if weights else []
    if seen[:1] + seen[-1:] != [n_in, n_out]:
        raise EXERCISE.error(
            "model-sizes", seen=seen[:1] + seen[-1:], expected=[n_in, n_out], agent=name
        )
    expected = [n_in, 64, 64, n_out]
    EXERCISE.refuse(seen != expected, "hidden-sizes", seen=seen, expected=expected, agent=name)
    found = float(torch.linalg.svdvals(weights[-1].detach())[0])
    if abs(found - gain) > 1e-3 * max(gain, 0.1):
        raise EXERCISE.error("model-gain", seen=f"{found:.4g}", expected=f"{gain:g}", agent=name)


def _truth(policy: Any, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    every = policy.model(obs).log_softmax(-1)
    log_prob = every.gather(-1, action[..., None]).squeeze(-1)
    return log_prob, -(every.exp() * every).sum(-1)


def _check_evaluate(policy: Any, case: Case) -> None:
    told, method = "Policy.evaluate", getattr(type(policy), "evaluate", None)
    EXERCISE.refuse(method is None, "no-evaluate")
    for rows in (ROW, slice(None), (ROW, slice(1))):
        obs, action = case.obs[rows], case.action[rows]
        result = EXERCISE.run(told, policy.evaluate, method, obs.clone(), action.clone())
        pair = EXERCISE.several(result, 2, "not-two", "log_prob and entropy")
        truth = _truth(policy, obs, action)
        for name, seen, right in zip(("log_prob", "entropy"), pair, truth, strict=True):
            if not isinstance(seen, Tensor) or seen.shape != right.shape:
                expected = f"a tensor of shape {list(right.shape)}"
                raise EXERCISE.error(
                    "evaluate-shape", seen=describe(seen), expected=expected, what=name
                )
            if not same(seen, right):
                known = {
                    "probability": right.exp(),
                    "entropy-negative": -right,
                    "exchanged": truth[name == "log_prob"],
                    "not-of-the-action": _truth(policy, obs, 0 * action)[0],
                }
                key = first_fit(known, partial(same, seen), "wrong-evaluate")
                raise EXERCISE.error(key, seen=numbers(seen), expected=numbers(right), what=name)
            weights = dict(policy.named_parameters())
            check_gradients(
                EXERCISE, gradients(seen, weights), gradients(right, weights), what=name
            )


def _act(policy: Any, obs: Tensor, **kwargs: Any) -> tuple[RecordingWorkspace, Tensor, Tensor]:
    """The workspace, action and log-probability after the policy acted in row `ROW`."""
    workspace = RecordingWorkspace({"env/env_obs": obs})
    EXERCISE.run(
        "Policy.forward",
        lambda: policy(workspace, t=ROW, **kwargs),
        getattr(type(policy), "forward", None),
    )
    found = []
    for name in ("action", "log_prob"):
        rows = [row for written, row in workspace.written if written == name]
        others = ", ".join(dict.fromkeys(f"`{n}`" for n, _ in workspace.written)) or "nothing"
        EXERCISE.refuse(not rows, "not-written-there", variable=name, seen=others)
        EXERCISE.refuse(rows != [ROW], "wrong-row", variable=name, seen=rows, expected=[ROW])
        value = workspace.get(name, ROW)
        shape = list(obs.shape[1:2])
        if list(value.shape) != shape:
            raise EXERCISE.error(
                "variable-shape", variable=name, seen=list(value.shape), expected=shape
            )
        EXERCISE.refuse(value.requires_grad, "carries-gradient", variable=name)
        found.append(value)
    return workspace, found[0], found[1]


def _check_forward(policy: Any, case: Case) -> None:
    greedy = policy.model(case.obs[ROW]).argmax(-1)
    for kwargs in ({"stochastic": False}, {"stochastic": True}, {}):
        _, action, log_prob = _act(policy, case.obs, **kwargs)
        right = _truth(policy, case.obs[ROW], action.long())[0]
        if not same(log_prob, right):
            key = "log-prob-of-another" if log_prob.isfinite().all() else "log-prob"
            raise EXERCISE.error(key, seen=numbers(log_prob), expected=numbers(right))
        if kwargs == {"stochastic": False} and not torch.equal(action.long(), greedy):
            raise EXERCISE.error("not-greedy", seen=action.tolist(), expected=greedy.tolist())
    _check_again(policy, case)
    many = case.obs[:, :1].expand(-1, MANY, -1)
    for kwargs in ({"stochastic": True}, {}):
        _, action, _ = _act(policy, many, **kwargs)
        seen = action.long().bincount(minlength=case.n_actions)[: case.n_actions] / MANY
        right = policy.model(many[ROW, 0]).softmax(-1).detach()
        if not torch.allclose(seen, right, atol=TOLERANCE):
            uniform = torch.full_like(right, 1 / case.n_actions)
            key = "greedy-always" if (seen > 0.999).any() else "wrong-frequencies"
            key = "uniform" if torch.allclose(seen, uniform, atol=TOLERANCE) else key
            raise EXERCISE.error(key, seen=numbers(seen), expected=numbers(right))


def _check_again(policy: Any, case: Case) -> None:
    """Twice in the same states, it does not do the same everywhere."""
    obs = torch.randn(3, MANY, case.obs.shape[-1])
    first, second = (_act(policy, obs)[1] for _ in range(2))
    if torch.equal(first, second):
        greedy = policy.model(obs[ROW]).argmax(-1)
        raise EXERCISE.error(
            "greedy-always" if torch.equal(first, greedy) else "same-actions-again"
        )


def _check_rare(policy: Any, case: Case) -> None:
    """A probability that is rounded to 0 has a logarithm all the same."""
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(40)
    obs, action = 20 * case.obs[ROW], case.action[ROW]
    seen = EXERCISE.run(
        "Policy.evaluate", policy.evaluate, type(policy).evaluate, obs.clone(), action.clone()
    )
    for value, right in zip(seen, _truth(policy, obs, action), strict=True):
        EXERCISE.refuse(
            not same(value, right), "log-of-0", seen=numbers(value), expected=numbers(right)
        )


def _check_critic(critic_class: Any, case: Case) -> None:
    n_obs = case.obs.shape[-1]
    critic = _made("Critic", critic_class, n_obs)
    EXERCISE.refuse(not isinstance(critic, nn.Module), "critic-no-module")
    _check_network(critic, "Critic", (n_obs, 1), gain=1.0)
    draw_weights(critic, source_of(case.weights_seed), 0.5)
    method = getattr(critic_class, "forward", None)
    for obs in (case.obs[ROW], case.obs, case.obs[ROW, :1]):
        value = EXERCISE.run("Critic.forward", critic, method, obs.clone())
        right = critic.model(obs).squeeze(-1)
        if not isinstance(value, Tensor) or value.shape != right.shape:
            key = (
                "critic-not-squeezed"
                if getattr(value, "shape", ())[-1:] == (1,)
                else "critic-shape"
            )
            told = {"seen": describe(value), "expected": f"a tensor of shape {list(right.shape)}"}
            raise EXERCISE.error(key, **told)
        EXERCISE.refuse(not same(value, right), "critic-value")
        weights = dict(critic.named_parameters())
        check_gradients(
            EXERCISE, gradients(value, weights), gradients(right, weights), what="the value"
        )
