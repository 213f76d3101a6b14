"""What a check lends to a function is not to be written into, though all comes out right."""

import pytest
import torch

from ppo_bbrl.advantages import gae
from ppo_course import (
    ExerciseError,
    check_critic_targets,
    check_gradients_into,
    check_policy_objective,
    check_td_error,
)
from ppo_course.workspaces import LentWorkspace


def td_error(workspace, discount_factor):
    """Right: where the values are set to 0 begins no transition."""
    reward, terminated, value = workspace["env/reward", "env/terminated", "critic/v_values"]
    value[1:][terminated[1:]] = 0
    return reward[1:] + discount_factor * value[1:] - value[:-1]


def td_error_in_full(workspace, discount_factor):
    value = workspace.get_full("critic/v_values")
    following = value[1:].mul_(~workspace.get_full("env/terminated")[1:])
    return workspace["env/reward"][1:] + discount_factor * following - value[:-1]


def critic_targets(workspace, discount_factor, gae_lambda):
    names = ("env/reward", "env/terminated", "env/done", "critic/v_values", "env/env_obs")
    reward, terminated, done, value, obs = workspace[names]
    advantage = gae(
        reward=reward[1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=terminated[1:],
        done=done[1:],
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    valid = ~done[:-1]
    target = value[:-1].add_(advantage)
    return obs[:-1][valid], target[valid]


def policy_objective(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new, old = workspace["current_policy/logprob_predict", "old_policy/logprob_predict"]
    ratio = torch.exp(new - old.detach())
    advantage, eps = workspace["advantage"], cfg.algorithm.clip_range
    entropy = workspace["current_policy/entropy"]
    a = advantage.detach()
    loss = torch.min(ratio * a, ratio.clamp(1 - eps, 1 + eps) * a).mean()
    with torch.no_grad():
        old.exp_()
    return loss, entropy, advantage


def gradients_into(loss, module):
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    with torch.no_grad():
        loss.add_(1)
    return [n for n, g in zip(names, found, strict=True) if g is not None and g.any()]


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize(
    ("check", "answer", "told"),
    [
        (check_td_error, td_error, r'what it read from workspace\["critic/v_values"\]'),
        (check_td_error, td_error_in_full, r'what it read from workspace\["critic/v_values"\]'),
        (check_critic_targets, critic_targets, r'what it read from workspace\["critic/v_values"\]'),
        (check_policy_objective, policy_objective, r'workspace\["old_policy/logprob_predict"\]'),
        (check_gradients_into, gradients_into, "it changes the loss"),
    ],
)
def test_writing_where_one_read_is_refused(check, answer, told, seed):
    with pytest.raises(ExerciseError, match=told):
        check(answer, seed=seed)


def test_what_a_function_makes_itself_is_its_own():
    lent = LentWorkspace(capacity=2)
    lent.set("a", 0, torch.ones(3, requires_grad=True))
    lent["a"].clone().add_(1)
    lent["a"].detach_()
    lent.get("a", 0).add_(1)
    lent.set("a", 0, torch.zeros(3))
    assert lent.written_into() is None
    lent["a"].add_(1)
    assert lent.written_into() == "a"
    assert lent.written_into({"b"}) is None


READS = {
    "several at once": lambda workspace, *names: workspace[names],
    "one by one": lambda workspace, *names: [workspace[name] for name in names],
    "in full": lambda workspace, *names: [workspace.get_full(name) for name in names],
    "row by row": lambda workspace, *names: [workspace.get(name, 0)[None] for name in names],
    "the row of all": lambda workspace, *names: [workspace[name][0][None] for name in names],
    "a part of time": lambda workspace, *names: [
        workspace.get_time_truncated(name, 0, 1) for name in names
    ],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("seed", [None, 1])
def test_a_workspace_may_be_read_in_any_way(read, seed):
    def answer(policy, workspace, cfg):
        policy(workspace, t=0, predict_proba=True, compute_entropy=True)
        new, old, advantage, entropy = read(
            workspace,
            f"{policy.prefix}logprob_predict",
            "old_policy/logprob_predict",
            "advantage",
            f"{policy.prefix}entropy",
        )
        ratio, a, eps = (new - old.detach()).exp_(), advantage.detach(), cfg.algorithm.clip_range
        loss = torch.min(ratio * a, ratio.clamp(1 - eps, 1 + eps) * a).mean()
        return loss, entropy, advantage

    check_policy_objective(answer, seed=seed)


def test_a_function_may_set_a_precision_of_its_own():
    """The check goes on with the one that it began with."""

    def answer(loss, module):
        names, parameters = zip(*module.named_parameters(), strict=True)
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        torch.set_default_dtype(torch.float64)
        return [n for n, g in zip(names, found, strict=True) if g is not None and g.any()]

    check_gradients_into(answer)
    assert torch.get_default_dtype() == torch.float32
