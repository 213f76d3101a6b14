"""The check of notebook 03's fourth exercise: the half of a policy that judges actions."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import Named, numbers, same
from ppo_course.formulas import first_fit
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.workspaces import RecordingWorkspace

EXERCISE = Exercise("DiscretePolicy", (), read_words(__file__))
ROW = 1
MANY = 4000  # actions: of a policy that samples, some are not the most probable ones
TOLERANCE = 0.05  # of a frequency of so many: six standard errors


class Case(NamedTuple):
    """What a policy is asked about."""

    obs: Tensor  # `[3, N, D]`
    action: Tensor  # `[3, N]`
    n_actions: int
    prefix: str
    weights_seed: int


def cases(seed: int | None) -> list[Case]:
    """Two actions, and more; with different prefixes."""
    source, chosen = source_of(seed), []
    for n_actions, prefix in ((2, "current_policy/"), (integer(source, 3, 6), "old_policy/")):
        n, d = integer(source, 5, 9), integer(source, 2, 5)
        obs = torch.randn(3, n, d, generator=source)
        action = torch.randint(n_actions, (3, n), generator=source)
        chosen.append(Case(obs, action, n_actions, prefix, integer(source, 0, 2**31)))
    return chosen


@torch.enable_grad()
@EXERCISE.check
def check_discrete_policy(policy_class: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `DiscretePolicy(state_dim, hidden_size, n_actions)`.

    With `predict_proba=True` it writes `{prefix}logprob_predict` and takes no action, with
    `compute_entropy=True` also `{prefix}entropy`.
    """
    drawn = cases(seed)

    def see_log_prob() -> None:
        for case in drawn:
            _check_judging(_made(policy_class, case), case, entropy=False)

    def see_entropy() -> None:
        for case in drawn:
            _check_entropy(_made(policy_class, case), case)

    with EXERCISE.partly(the_log_probability=see_log_prob, the_entropy=see_entropy):
        for case in drawn:
            policy = _made(policy_class, case)
            _check_judging(policy, case, entropy=False)
            _check_judging(policy, case, entropy=True)
            alone = case._replace(obs=case.obs[:, :1], action=case.action[:, :1])
            _check_judging(policy, alone, entropy=True)
            _check_acting(policy, case)
            _check_rare(policy, case)


def _made(policy_class: StudentCode, case: Case) -> Any:
    """A student's policy with known weights."""

    def make() -> Any:
        return policy_class(case.obs.shape[-1], [8], case.n_actions).with_prefix(case.prefix)

    init = getattr(policy_class, "__init__", None)
    policy: Any = EXERCISE.call(Named("DiscretePolicy.__init__", make, init))
    EXERCISE.refuse(not isinstance(getattr(policy, "model", None), nn.Module), "no-network")
    draw_weights(policy.model, source_of(case.weights_seed), 0.6)
    return policy


def _run(policy: Any, workspace: RecordingWorkspace, **kwargs: Any) -> set[str]:
    """Run the agent on a row; the names that it wrote there."""
    method = getattr(type(policy), "forward", None)
    workspace.written = []
    EXERCISE.call(
        Named("DiscretePolicy.forward", lambda: policy(workspace, t=ROW, **kwargs), method)
    )
    elsewhere = [row for _, row in workspace.written if row != ROW]
    EXERCISE.refuse(elsewhere, "wrong-row", seen=elsewhere[:1], expected=ROW)
    return {name for name, _ in workspace.written}


def _truth(policy: Any, case: Case) -> tuple[Tensor, Tensor]:
    every = policy.model(case.obs[ROW]).log_softmax(-1)
    log_prob = every.gather(-1, case.action[ROW][:, None]).squeeze(-1)
    return log_prob, -(every.exp() * every).sum(-1)


def _check_judging(policy: Any, case: Case, *, entropy: bool) -> None:
    workspace = RecordingWorkspace({"env/env_obs": case.obs, "action": case.action})
    written = _run(policy, workspace, predict_proba=True, compute_entropy=entropy)
    same_actions = torch.equal(workspace.get_full("action"), case.action)
    EXERCISE.refuse(not same_actions, "new-actions")
    every = policy.model(case.obs[ROW]).log_softmax(-1)
    log_prob, entropies = _truth(policy, case)
    wanted = {"logprob_predict": log_prob} | ({"entropy": entropies} if entropy else {})
    for bare, right in wanted.items():
        name, told = f"{case.prefix}{bare}", ", ".join(sorted(written)) or "nothing"
        EXERCISE.refuse(bare in written, "no-prefix", variable=bare)
        EXERCISE.refuse(name not in written, "missing", variable=name, seen=told, expected=name)
        value = workspace.get(name, ROW)
        if value.shape != right.shape:
            seen, expected = list(value.shape), list(right.shape)
            raise EXERCISE.error("variable-shape", variable=name, seen=seen, expected=expected)
        if not same(value, right):
            known = {
                "probability": right.exp(),
                "entropy-negative": -right,
                "scores": policy.model(case.obs[ROW])
                .gather(-1, case.action[ROW][:, None])
                .squeeze(-1),
                "row-0": policy.model(case.obs[0])
                .log_softmax(-1)
                .gather(-1, case.action[0][:, None])
                .squeeze(-1),
                "entropy-no-weights": -every.sum(-1),
                "entropy-mean": right / case.n_actions,
                "most-probable": every.max(-1).values,
            }
            key = first_fit(known, partial(same, value), "wrong-number")
            told_numbers = {"seen": numbers(value), "expected": numbers(right)}
            raise EXERCISE.error(key, variable=name, **told_numbers)
        weights = dict(policy.named_parameters())
        found, truth = gradients(value, weights), gradients(right, weights)
        check_gradients(EXERCISE, found, truth, variable=name)
    EXERCISE.refuse(not entropy and f"{case.prefix}entropy" in written, "entropy-unasked")


def _check_entropy(policy: Any, case: Case) -> None:
    """The entropy alone, whatever the log-probability is."""
    workspace = RecordingWorkspace({"env/env_obs": case.obs, "action": case.action})
    _run(policy, workspace, predict_proba=True, compute_entropy=True)
    entropy, right = workspace.get(f"{case.prefix}entropy", ROW), _truth(policy, case)[1]
    EXERCISE.refuse(entropy.shape != right.shape or not same(entropy, right), "unknown")
    weights = dict(policy.named_parameters())
    name = f"{case.prefix}entropy"
    found, truth = gradients(entropy, weights), gradients(right, weights)
    check_gradients(EXERCISE, found, truth, variable=name)


def _check_acting(policy: Any, case: Case) -> None:
    for stochastic in (True, False):
        workspace = RecordingWorkspace({"env/env_obs": case.obs})
        written = _run(policy, workspace, stochastic=stochastic, compute_entropy=True)
        EXERCISE.refuse("action" not in written, "acts-no-more")
        name = f"{case.prefix}entropy"
        EXERCISE.refuse(name not in written, "entropy-when-acting", variable=name)
        judged = f"{case.prefix}logprob_predict" in written
        EXERCISE.refuse(judged, "judges-unasked")
        if not stochastic:
            greedy = policy.model(case.obs[ROW]).argmax(-1)
            wrong = not torch.equal(workspace.get("action", ROW), greedy)
            EXERCISE.refuse(wrong, "acts-otherwise")
    # What it does where nobody says more: it samples, and writes the action alone.
    obs = torch.randn(3, MANY, case.obs.shape[-1])
    many = RecordingWorkspace({"env/env_obs": obs})
    written = _run(policy, many)
    EXERCISE.refuse(name in written, "entropy-unasked")
    greedy = policy.model(obs[ROW]).argmax(-1)
    first = many.get("action", ROW)
    EXERCISE.refuse(torch.equal(first, greedy), "greedy-always")
    _run(policy, many)
    EXERCISE.refuse(torch.equal(many.get("action", ROW), first), "same-actions-again")
    _check_frequencies(policy, case)
    dist = EXERCISE.call(
        Named("DiscretePolicy.dist", policy.dist, type(policy).dist), case.obs[ROW].clone()
    )
    found = getattr(dist, "logits", torch.zeros(0)).log_softmax(-1)
    right = policy.model(case.obs[ROW]).log_softmax(-1)
    EXERCISE.refuse(found.shape != right.shape or not same(found, right), "dist-otherwise")


def _check_frequencies(policy: Any, case: Case) -> None:
    """In one state, each action is sampled as often as its probability says."""
    workspace = RecordingWorkspace({"env/env_obs": case.obs[:, :1].expand(-1, MANY, -1)})
    _run(policy, workspace, stochastic=True)
    counts = workspace.get("action", ROW).long().bincount(minlength=case.n_actions)
    seen, right = counts / MANY, policy.model(case.obs[ROW, 0]).softmax(-1).detach()
    if seen.shape != right.shape or not torch.allclose(seen, right, atol=TOLERANCE):
        told = {"seen": numbers(seen), "expected": numbers(right)}
        raise EXERCISE.error("other-frequencies", **told)


def _check_rare(policy: Any, case: Case) -> None:
    """A probability that is rounded to 0 has a logarithm all the same."""
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(40)
    workspace = RecordingWorkspace({"env/env_obs": 20 * case.obs, "action": case.action})
    _run(policy, workspace, predict_proba=True)
    finite = workspace.get(f"{case.prefix}logprob_predict", ROW).isfinite().all()
    EXERCISE.refuse(not finite, "log-of-0")
    _run(policy, workspace, predict_proba=True, compute_entropy=True)
    finite = workspace.get(f"{case.prefix}entropy", ROW).isfinite().all()
    EXERCISE.refuse(not finite, "entropy-of-0")
