"""The checks of the notebooks' exercises: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import contextlib
import random

import numpy as np
import pytest
import torch
from seeds import SEEDS
from torch import nn

from ppo_course import ExerciseError, check_policy_objective
from ppo_course.feedback import same
from ppo_course.formulas import combinations
from ppo_course.nb03_clip.policy_objective import PARTS, RIGHT, value
from ppo_course.nb03_clip.policy_objective_cases import BATCHES, Case, drawn_batches


def read(policy, workspace, *, detach=True):
    """log π_θ, log π_old, advantage, entropy: what every answer starts from, [1, N] each."""
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new, old, advantage, entropy = workspace[
        f"{policy.prefix}logprob_predict",
        "old_policy/logprob_predict",
        "advantage",
        f"{policy.prefix}entropy",
    ]
    return (
        (new, old.detach(), advantage.detach(), entropy)
        if detach
        else (new, old, advantage, entropy)
    )


def answer(formula, **options):
    """A student's function whose loss is formula(ratio, advantage, ε)."""

    def policy_objective(policy, workspace, cfg):
        new, old, advantage, entropy = read(policy, workspace, **options)
        loss = formula((new - old).exp(), advantage, cfg.algorithm.clip_range)
        return loss, entropy, advantage

    return policy_objective


def with_log_probs(formula):
    """A student's function whose ratio is formula(log π_θ, log π_old)."""

    def policy_objective(policy, workspace, cfg):
        new, old, advantage, entropy = read(policy, workspace)
        return clipped(formula(new, old), advantage, cfg.algorithm.clip_range), entropy, advantage

    return policy_objective


def clipped(r, a, eps):
    return torch.min(r * a, r.clamp(1 - eps, 1 + eps) * a).mean()


# -------------------------------------------------------------------------------- right answers


def by_rows(policy, workspace, cfg):
    """With [N] instead of [1, N], and names instead of the prefix."""
    policy(workspace, t=0, stochastic=False, predict_proba=True, compute_entropy=True)
    new = workspace.get("current_policy/logprob_predict", 0)
    old = workspace.get("old_policy/logprob_predict", 0).detach()
    a = workspace["advantage"][0].detach()
    loss = clipped((new - old).exp(), a, cfg.algorithm.clip_range)
    return loss, workspace["current_policy/entropy"], workspace["advantage"].detach()


def by_distribution(policy, workspace, cfg):
    """With policy.dist, and the quotient of the probabilities."""
    dist = policy.dist(workspace["env/env_obs"])
    ratio = (
        dist.log_prob(workspace["action"]).exp()
        / workspace["old_policy/logprob_predict"].detach().exp()
    )
    advantage = workspace["advantage"].detach()
    return [clipped(ratio, advantage, cfg["algorithm"]["clip_range"]), dist.entropy(), advantage]


def by_relu(r, a, eps):
    """What lies beyond the range, in the direction that would pay, is taken away again."""
    sign = a.sign()
    return (r * a - a.abs() * nn.functional.relu(sign * (r - 1) - eps)).mean()


RIGHT_ANSWERS = {
    "min": answer(clipped),
    "negated max of negatives": answer(
        lambda r, a, eps: -torch.max(-r * a, -r.clamp(1 - eps, 1 + eps) * a).mean()
    ),
    "where": answer(
        lambda r, a, eps: (
            torch.where(
                a > 0, torch.where(r > 1 + eps, 1 + eps, r), torch.where(r < 1 - eps, 1 - eps, r)
            )
            .mul(a)
            .mean()
        )
    ),
    "relu": answer(by_relu),
    "sign": answer(lambda r, a, eps: torch.min(r * a, (1 + eps * a.sign()) * a).mean()),
    "sum / N": answer(
        lambda r, a, eps: torch.minimum(r * a, r.clip(1 - eps, 1 + eps) * a).sum() / a.numel()
    ),
    "rows": by_rows,
    "distribution": by_distribution,
}


@pytest.mark.parametrize("name", RIGHT_ANSWERS)
def test_a_right_answer_passes_with_one_line(name, capsys):
    check_policy_objective(RIGHT_ANSWERS[name])
    captured = capsys.readouterr()
    assert captured.out.startswith("Well done!")
    assert captured.out.count("\n") == 1
    assert captured.err == ""


# -------------------------------------------------------------------------------- wrong answers


def resampled(policy, workspace, cfg):
    policy(workspace, t=0)
    return RIGHT_ANSWERS["min"](policy, workspace, cfg)


def resampled_then_lost(policy, workspace, cfg):
    policy(workspace, t=0, compute_entropy=True)
    return workspace["current_policy/logprob_predict"].exp().mean(), None, None


def not_run(policy, workspace, cfg):
    return workspace["current_policy/logprob_predict"].exp().mean(), None, None


def without_entropy(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True)
    return workspace["current_policy/logprob_predict"].mean(), workspace["current_policy/entropy"]


def stub(policy, workspace, cfg):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def other_stub(policy, workspace, cfg):
    raise NotImplementedError


def broken(policy, workspace, cfg):
    return workspace["advantage"] @ workspace["advantage"]  # no product of [1, N] and [1, N]


def unknown_key(policy, workspace, cfg):
    return cfg.clip_range


def of_the_loss(change):
    """A right answer whose three results are changed by `change`."""

    def policy_objective(policy, workspace, cfg):
        return change(*RIGHT_ANSWERS["min"](policy, workspace, cfg))

    return policy_objective


def under_no_grad(policy, workspace, cfg):
    with torch.no_grad():
        return RIGHT_ANSWERS["min"](policy, workspace, cfg)


def old_is_attached(policy, workspace, cfg):
    new, old, advantage, entropy = read(policy, workspace, detach=False)
    loss = clipped((new - old).exp(), advantage.detach(), cfg.algorithm.clip_range)
    return loss, entropy, advantage


def advantage_is_attached(policy, workspace, cfg):
    new, old, advantage, entropy = read(policy, workspace, detach=False)
    loss = clipped((new - old.detach()).exp(), advantage, cfg.algorithm.clip_range)
    return loss, entropy, advantage


def half_detached(r, a, eps):
    return torch.min(r * a, r.detach().clamp(1 - eps, 1 + eps) * a).mean()


def the_wrong_one_detached(policy, workspace, cfg):
    new, old, advantage, entropy = read(policy, workspace, detach=False)
    loss = clipped((new.detach() - old).exp(), advantage.detach(), cfg.algorithm.clip_range)
    return loss, entropy, advantage


def from_what_the_policy_returns(policy, workspace, cfg):
    new = policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    return (new - workspace["old_policy/logprob_predict"]).exp().mean(), None, None


def goes_backward(policy, workspace, cfg):
    loss, entropy, advantage = RIGHT_ANSWERS["min"](policy, workspace, cfg)
    loss.backward(retain_graph=True)
    return loss, entropy, advantage


def makes_a_step(policy, workspace, cfg):
    result = RIGHT_ANSWERS["min"](policy, workspace, cfg)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01)
    return result


def writes_into_the_workspace(policy, workspace, cfg):
    result = RIGHT_ANSWERS["min"](policy, workspace, cfg)
    workspace.set("advantage", 0, 2 * workspace.get("advantage", 0))
    return result


def judged_twice(policy, workspace, cfg):
    """Takes the current policy's probability for the old one, too."""
    new, _, advantage, entropy = read(policy, workspace)
    loss = clipped((new - new.detach()).exp(), advantage, cfg.algorithm.clip_range)
    return loss, entropy, advantage


WRONG_ANSWERS = {
    "sign": (of_the_loss(lambda p, e, a: (-p, e, a)), "sign"),
    "sign, max of negatives": (
        answer(lambda r, a, eps: torch.max(-r * a, -r.clamp(1 - eps, 1 + eps) * a).mean()),
        "sign",
    ),
    "max": (
        answer(lambda r, a, eps: torch.max(r * a, r.clamp(1 - eps, 1 + eps) * a).mean()),
        "larger-product",
    ),
    "no clamp": (answer(lambda r, a, eps: (r * a).mean()), "not-clipped"),
    "product": (
        answer(lambda r, a, eps: torch.min(r * a, (r * a).clamp(1 - eps, 1 + eps)).mean()),
        "product-clipped",
    ),
    "product alone": (
        answer(lambda r, a, eps: (r * a).clamp(1 - eps, 1 + eps).mean()),
        "product-clipped-alone",
    ),
    "product, advantage twice": (
        answer(lambda r, a, eps: torch.min(r * a, (r * a).clamp(1 - eps, 1 + eps) * a).mean()),
        "product-clipped-twice",
    ),
    "old / new": (with_log_probs(lambda new, old: (old - new).exp()), "ratio-upside-down"),
    "old / old": (with_log_probs(lambda new, old: (old - old).exp()), "ratio-1"),
    "new / new": (judged_twice, "ratio-1"),
    "gradient through the old policy": (old_is_attached, "leaks~old-policy"),
    "the wrong one detached": (
        the_wrong_one_detached,
        "leaks~old-policy~alone",
    ),
    "the policy's return value": (from_what_the_policy_returns, "agents-return-nothing"),
    "row without its name": (
        lambda policy, workspace, cfg: policy(workspace, 0, predict_proba=True),
        "row-by-name",
    ),
    "no row": (
        lambda policy, workspace, cfg: policy(workspace, predict_proba=True),
        "row-by-name",
    ),
    "Python's min": (answer(lambda r, a, eps: min(r * a, a).mean()), "min-of-tensors"),
    "forward": (
        lambda policy, workspace, cfg: policy.forward(0, predict_proba=True),
        "not-forward",
    ),
    "backward": (goes_backward, "backward"),
    "a step": (makes_a_step, "changes-weights"),
    "writes": (writes_into_the_workspace, "changes-variable"),
    "advantages not detached": (advantage_is_attached, "leaks~advantage"),
    "neither detached": (
        answer(clipped, detach=False),
        "leaks~old-policy~advantage",
    ),
    "no exp": (with_log_probs(lambda new, old: new - old), "no-exp"),
    "log / log": (with_log_probs(lambda new, old: new / old), "logs-divided"),
    "difference": (
        with_log_probs(lambda new, old: new.exp() - old.exp()),
        "probabilities-subtracted",
    ),
    "no old policy": (with_log_probs(lambda new, _: new), "log-prob-alone"),
    "no old policy, probability": (with_log_probs(lambda new, _: new.exp()), "probability-alone"),
    "no minimum": (
        answer(lambda r, a, eps: (r.clamp(1 - eps, 1 + eps) * a).mean()),
        "no-minimum",
    ),
    "around 0": (
        answer(lambda r, a, eps: torch.min(r * a, r.clamp(-eps, eps) * a).mean()),
        "around-0",
    ),
    "upper bound alone": (
        answer(lambda r, a, eps: torch.min(r * a, r.clamp(max=1 + eps) * a).mean()),
        "from-above-alone",
    ),
    "lower bound alone": (
        answer(lambda r, a, eps: torch.min(r * a, r.clamp(min=1 - eps) * a).mean()),
        "from-below-alone",
    ),
    "no advantage": (
        answer(lambda r, _, eps: torch.min(r, r.clamp(1 - eps, 1 + eps)).mean()),
        "no-advantage",
    ),
    "minimum of ratios": (
        answer(lambda r, a, eps: (torch.min(r, r.clamp(1 - eps, 1 + eps)) * a).mean()),
        "minimum-of-ratios",
    ),
    "minimum of means": (
        answer(lambda r, a, eps: torch.min((r * a).mean(), (r.clamp(1 - eps, 1 + eps) * a).mean())),
        "minimum-of-means",
    ),
    "ε by hand": (answer(lambda r, a, _: clipped(r, a, 0.2)), "range-fixed~0.2"),
    "sum": (
        answer(lambda r, a, eps: clipped(r, a, eps) * a.numel()),
        "sum",
    ),
    "entropy bonus inside": (
        of_the_loss(lambda p, e, a: (p + 0.01 * e.mean(), e, a)),
        "entropy-inside",
    ),
    "unknown": (of_the_loss(lambda p, e, a: (p + 17, e, a)), "unknown"),
    "no mean": (
        answer(lambda r, a, eps: torch.min(r * a, r.clamp(1 - eps, 1 + eps) * a)),
        "no-mean",
    ),
    "mean of a matrix": (of_the_loss(lambda p, e, a: (p.expand(2, 2), e, a)), "no-scalar"),
    "order": (of_the_loss(lambda p, e, a: (e, p, a)), "order"),
    "order of the companions": (of_the_loss(lambda p, e, a: (p, a, e)), "order"),
    "nothing": (of_the_loss(lambda *_: None), "returns-nothing"),
    "loss alone": (of_the_loss(lambda p, e, a: p), "not-three"),
    "a pair": (of_the_loss(lambda p, e, a: (p, e)), "not-three"),
    "a number": (of_the_loss(lambda p, e, a: (p.item(), e, a)), "plain-number~policy_loss"),
    "an array": (of_the_loss(lambda p, e, a: (p, e.detach().numpy(), a)), "no-tensor~entropy"),
    "mean entropy": (of_the_loss(lambda p, e, a: (p, e.mean(), a)), "shape~entropy"),
    "entropy without its row": (
        of_the_loss(lambda p, e, a: (p, e[0], a)),
        "shape~entropy",
    ),
    "advantage without its row": (
        of_the_loss(lambda p, e, a: (p, e, a[0])),
        "shape~policy_advantage",
    ),
    "another entropy": (of_the_loss(lambda p, e, a: (p, 2 * e, a)), "not-as-it-was~entropy"),
    "another advantage": (
        of_the_loss(lambda p, e, a: (p, e, -a)),
        "not-as-it-was~policy_advantage",
    ),
    "no gradient": (under_no_grad, "no-gradient"),
    "half a gradient": (answer(half_detached), "gradient"),
    "entropy detached": (
        of_the_loss(lambda p, e, a: (p, e.detach(), a)),
        "entropy-detached",
    ),
    "re-sampled": (resampled, "new-actions"),
    "re-sampled, then an exception": (resampled_then_lost, "new-actions"),
    "policy not run": (not_run, "predict-proba"),
    "entropy not asked for": (without_entropy, "compute-entropy"),
    "stub": (stub, "not-written"),
    "another stub": (other_stub, "not-written"),
    "exception": (broken, 'return workspace["advantage"] @ workspace["advantage"]'),
    "unknown key": (unknown_key, "config"),
    "signature": (lambda policy, workspace: None, "called-as"),
}


def complaint(function):
    with pytest.raises(ExerciseError) as caught:
        check_policy_objective(function)
    return caught.value


@pytest.mark.wide(32)
@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name, capsys):
    function, said = WRONG_ANSWERS[name]
    error = complaint(function)
    if " " in said:
        assert said in str(error)
    else:
        assert error.keys in {(said,), ("raises", said)}
    assert name == "exception" or "Where to look: " in str(error)
    assert capsys.readouterr().out == ""


def test_two_mistakes_are_told_together():
    error = complaint(answer(lambda r, a, eps: -(r * a).mean()))
    assert error.keys == ("not-clipped", "sign")
    assert "2 things" in str(error)


def test_the_message_says_what_was_seen_and_expected_and_gives_an_example():
    lines = str(complaint(WRONG_ANSWERS["no clamp"][0])).splitlines()
    assert lines[0] == "policy_objective is not right yet: nothing is clipped."
    assert lines[1].split()[0] == "seen"
    assert lines[2].split()[0] == "expected"
    assert "π_old(a|s) = 0.4, π_θ(a|s) = 0.6, advantage = 2.5, clip_range = 0.2" in lines[3]
    assert "min(1.5 × 2.5, 1.2 × 2.5) = 3. Yours gives 3.75." in lines[5]


def test_an_exception_is_shown_with_its_line_and_kept_as_the_cause():
    with pytest.raises(ExerciseError, match="broken raises RuntimeError: ") as caught:
        check_policy_objective(broken)
    number = broken.__code__.co_firstlineno + 1
    assert f"in line {number} of the cell: return workspace" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_notebooks_show_the_message_alone():
    error = ExerciseError("one\n  two\n" + 10 * "long_words " + "\nfour")
    assert error._render_traceback_() == [
        "one",
        "  two",
        " ".join(8 * ["long_words"]),
        "  long_words long_words",
        "four",
    ]
    assert isinstance(error, AssertionError)


@pytest.mark.parametrize("function", [RIGHT_ANSWERS["min"], resampled, broken])
def test_the_global_random_streams_stay_as_they_were(function, capsys):
    def drawing(policy, workspace, cfg):
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002 - the global stream
        random.random()
        return function(policy, workspace, cfg)

    def state():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = state()
    with contextlib.suppress(ExerciseError):
        check_policy_objective(drawing)
    assert state() == before


def test_gradients_are_checked_even_where_they_are_switched_off(capsys):
    with torch.no_grad():
        check_policy_objective(RIGHT_ANSWERS["min"])


def test_no_known_mistake_passes_and_no_two_look_alike():
    inputs = [Case(*batch).inputs() for batch in BATCHES]
    seen = [
        tuple(round(value(x, values).item(), 4) for x in inputs)
        for _, values in combinations(PARTS, 1)
    ]
    assert len({*seen}) == len(seen)


# ---------------------------------------------------------------------------------- drawn cases


@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_seed_right_answers_pass_in_silence_and_each_known_mistake_fails(seed, capsys):
    for right in RIGHT_ANSWERS.values():
        check_policy_objective(right, seed=seed)
    assert capsys.readouterr().out == ""
    inputs = [Case(*batch).inputs() for batch in drawn_batches(seed)]
    for keys, values in combinations(PARTS, 1):
        assert all(same(value(x, values), value(x, RIGHT)) for x in inputs) == (not keys)


@pytest.mark.wide(20)
@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_with_a_seed_a_wrong_answer_gets_a_message_too(name):
    with pytest.raises(ExerciseError):
        check_policy_objective(WRONG_ANSWERS[name][0], seed=3)


def test_numbers_learned_by_heart_fail_with_a_seed():
    """A function that knows the visible cases and nothing else."""

    def by_heart(policy, workspace, cfg):
        loss, entropy, advantage = RIGHT_ANSWERS["min"](policy, workspace, cfg)
        known = any(
            torch.equal(advantage.flatten(), Case(*batch).advantage.detach()) for batch in BATCHES
        )
        return (loss if known else 0 * loss), entropy, advantage

    check_policy_objective(by_heart)
    with pytest.raises(ExerciseError, match="policy_objective is not right yet"):
        check_policy_objective(by_heart, seed=1)


def test_batches_drawn_from_a_seed_are_the_same_again_and_of_many_sizes():
    assert drawn_batches(5) == drawn_batches(5)
    assert len({len(batch) for seed in range(10) for batch, _ in drawn_batches(seed)}) > 5


def test_a_tensor_that_agrees_with_everything_is_refused():
    """Else it would answer the check's own comparison."""

    class Agreeable(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return True

    def agreeable(policy, workspace, cfg):
        _, entropy, advantage = RIGHT_ANSWERS["min"](policy, workspace, cfg)
        return torch.zeros(()).as_subclass(Agreeable), entropy, advantage

    with pytest.raises(ExerciseError, match="a class of its own"):
        check_policy_objective(agreeable)


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("bare", ["logprob_predict", "entropy"])
def test_the_length_of_the_prefix_is_not_known_by_heart(bare, seed):
    def sliced(policy, workspace, cfg):
        policy(workspace, t=0, predict_proba=True, compute_entropy=True)
        workspace[f"{policy.prefix[:15]}{bare}"]
        return answer(clipped)(policy, workspace, cfg)

    with pytest.raises(ExerciseError) as caught:
        check_policy_objective(sliced, seed=seed)
    assert caught.value.keys == ("prefix-fixed",)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_weight_of_the_loss_is_no_part_of_the_objective(seed):
    def weighted(policy, workspace, cfg):
        loss, *rest = by_rows(policy, workspace, cfg)
        return cfg.algorithm.policy_coef * loss, *rest

    with pytest.raises(ExerciseError) as caught:
        check_policy_objective(weighted, seed=seed)
    assert caught.value.keys == ("policy-coef-inside",)
