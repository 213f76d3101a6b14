"""The check of `joint_loss`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint
from seeds import SEEDS

from ppo_bbrl.hub import PPO2
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, value_loss
from ppo_course import ExerciseError, check_joint_loss
from ppo_course.nb08_shared_trunk.joint_loss import POLICY, TOTAL, VALUE, cases, right
from ppo_course.one_number import agree

# ------------------------------------------------------------------------------- right answers


def by_formula(
    returns, value_f, nll, entropy, advantages, old_values, old_nll, clip_range, ent_coef, vf_coef
):
    ratio = torch.exp(old_nll - nll)
    clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    policy = torch.max(-advantages * ratio, -advantages * clipped).mean()
    change = torch.clamp(value_f - old_values, -clip_range, clip_range)
    errors = torch.max((value_f - returns) ** 2, (old_values + change - returns) ** 2)
    value = 0.5 * errors.mean()
    return policy - ent_coef * entropy.mean() + vf_coef * value, policy, value


def by_the_package(
    returns, value_f, nll, entropy, advantages, old_values, old_nll, clip_range, ent_coef, vf_coef
):
    policy, _ = clipped_surrogate(
        log_prob=-nll, old_log_prob=-old_nll, advantage=advantages, clip_range=clip_range
    )
    error, _ = value_loss(
        value=value_f, old_value=old_values, target=returns, clip_range_vf=clip_range
    )
    bonus, _ = entropy_loss(entropy=entropy)
    return policy + ent_coef * bonus + vf_coef * error / 2, policy, error / 2


def by_minimum(
    returns, value_f, nll, entropy, advantages, old_values, old_nll, clip_range, ent_coef, vf_coef
):
    """The objective of notebook 03, then a minus; the value clamped around the old one."""
    ratio = (-nll).exp() / (-old_nll).exp()
    objective = torch.minimum(
        ratio * advantages, ratio.clip(1 - clip_range, 1 + clip_range) * advantages
    )
    clipped = torch.maximum(
        torch.minimum(value_f, old_values + clip_range), old_values - clip_range
    )
    errors = torch.stack(((value_f - returns).square(), (clipped - returns).square()))
    value = errors.amax(0).sum() / 2 / len(returns)
    total = -(objective + ent_coef * entropy).mean() + vf_coef * value
    return [total, -objective.mean(), value]


RIGHT = [by_formula, by_the_package, by_minimum, PPO2(2, 2, 2).loss]
RIGHT[3] = lambda *samples: PPO2(2, 2, 2).loss(*samples)[:3]

# ------------------------------------------------------------------------------- wrong answers


def stub(*samples):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def changed(change):
    """An answer whose three losses are changed: change(case fields by name, t, p, v)."""

    def answer(*samples):
        names = cases(None)[0]._fields
        return change(dict(zip(names, samples, strict=True)), *by_formula(*samples))

    return answer


def with_policy(policy):
    """An answer with another policy loss, in the total as well."""
    return changed(lambda s, t, p, v: (t - p + policy(s), policy(s), v))


def with_value(value):
    return changed(lambda s, t, p, v: (t + s["vf_coef"] * (value(s) - v), p, value(s)))


def ratio(s):
    return (s["old_neg_log_probs"] - s["neg_log_probs"]).exp()


def surrogate(s, r, larger=torch.max):
    e, a = s["clip_range"], s["advantages"]
    return larger(-a * r, -a * r.clamp(1 - e, 1 + e)).mean()


def clipped_error(s):
    e = s["clip_range"]
    v = s["old_values"] + (s["value_f"] - s["old_values"]).clamp(-e, e)
    return (v - s["returns"]) ** 2


def error(s):
    return (s["value_f"] - s["returns"]) ** 2


def in_place(*samples):
    samples[2].detach().neg_()
    return by_formula(*samples)


def detached(*samples):
    total, policy, value = by_formula(*samples)
    return total - value * samples[-1] + (value * samples[-1]).detach(), policy, value


def exchanged(*samples):
    *rest, ent_coef, vf_coef = samples
    return by_formula(*rest, vf_coef, ent_coef)


def normalised(s):
    advantages = (s["advantages"] - s["advantages"].mean()) / s["advantages"].std()
    return surrogate({**s, "advantages": advantages}, ratio(s))


WRONG = {
    with_policy(normalised): "policy-normalised",
    with_policy(lambda s: surrogate({**s, "clip_range": 0.2}, ratio(s))): ("policy-clip-fixed"),
    with_policy(lambda s: surrogate({**s, "clip_range": s["clip_range"] or 9.0}, ratio(s))): (
        "range-0-is-none"
    ),
    with_policy(lambda s: surrogate({**s, "clip_range": s["clip_range"] or 0.2}, ratio(s))): (
        "range-0-replaced"
    ),
    with_value(lambda s: torch.max(error(s), clipped_error({**s, "clip_range": 0.2})).mean() / 2): (
        "value-clip-fixed"
    ),
    changed(lambda s, t, p, v: (t, p, s["vf_coef"] * v)): "value-with-coef",
    changed(lambda s, t, p, v: (p, v, t)): "order",
    changed(lambda s, t, p, v: (p - 0.01 * s["entropy"].mean() + 0.5 * v, p, v)): ("coefs-fixed"),
    with_policy(lambda s: -surrogate(s, ratio(s))): "policy-sign",
    with_policy(lambda s: surrogate(s, 1 / ratio(s))): "ratio-inverted",
    with_policy(lambda s: surrogate(s, ratio(s), torch.min)): "policy-smaller",
    with_policy(lambda s: (-s["advantages"] * ratio(s)).mean()): "policy-not-clipped",
    with_policy(lambda s: surrogate(s, ratio(s), lambda _, clipped: clipped)): (
        "policy-clipped-only"
    ),
    with_policy(lambda s: surrogate(s, ratio(s)) * len(s["returns"])): ("policy-sum"),
    with_policy(lambda s: surrogate(s, ratio(s).log())): "ratio-no-exponential",
    with_policy(lambda s: surrogate(s, s["neg_log_probs"] / s["old_neg_log_probs"])): (
        "ratio-of-logarithms"
    ),
    with_policy(lambda s: (s["advantages"] * s["neg_log_probs"]).mean()): "no-ratio",
    with_value(lambda s: torch.max(error(s), clipped_error(s)).mean()): "value-not-halved",
    with_value(lambda s: error(s).mean() / 2): "value-not-clipped",
    with_value(lambda s: error(s).mean()): "value-plain",
    with_value(lambda s: clipped_error(s).mean() / 2): "value-clipped-only",
    with_value(lambda s: torch.min(error(s), clipped_error(s)).mean() / 2): ("value-smaller"),
    with_value(lambda s: -torch.max(error(s), clipped_error(s)).mean() / 2): ("value-sign"),
    changed(lambda s, t, p, v: (t + 2 * s["ent_coef"] * s["entropy"].mean(), p, v)): (
        "entropy-sign"
    ),
    changed(lambda s, t, p, v: (t - 2 * s["vf_coef"] * v, p, v)): "value-subtracted",
    changed(lambda s, t, p, v: (t - 2 * p, p, v)): "policy-subtracted",
    changed(
        lambda s, t, p, v: (p - s["vf_coef"] * s["entropy"].mean() + s["ent_coef"] * v, p, v)
    ): ("coefs-exchanged"),
    changed(lambda s, t, p, v: (p + s["vf_coef"] * v, p, v)): "entropy-missing",
    changed(lambda s, t, p, v: (t + (1 - s["vf_coef"]) * v, p, v)): "vf-coef-missing",
    changed(lambda s, t, p, v: (t - (1 - s["ent_coef"]) * s["entropy"].mean(), p, v)): (
        "ent-coef-missing"
    ),
    changed(lambda s, t, p, v: (p, p, v)): "policy-alone",
    changed(lambda s, t, p, v: (t + 1, p, v)): "unknown",
    changed(lambda s, t, p, v: (t.detach(), p, v)): "no gradient reaches value_f",
    detached: "no gradient reaches value_f",
    changed(lambda s, t, p, v: t): "not-three",
    changed(lambda s, t, p, v: (t, p.item(), v)): "policy_loss is not a tensor",
    changed(lambda s, t, p, v: (t, p, v * torch.ones(3))): "value_loss is not a single number",
    changed(lambda s, t, p, v: None): "returns-nothing",
    in_place: "it writes into its argument neg_log_probs",
    lambda returns: None: "ten-arguments",
    stub: "not-written",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_joint_loss, None, RIGHT, WRONG)


@pytest.mark.parametrize(("position", "part"), [(1, POLICY), (2, VALUE), (0, TOTAL)])
def test_no_two_mistakes_give_the_same_numbers(position, part):
    """Otherwise a student would read about a mistake of somebody else's."""
    for seed in (None, *SEEDS):
        chosen = cases(seed)
        results = [
            [right(case)[position].item() for case in chosen],
            *([float(wrong(case)) for case in chosen] for wrong in part.wrong.values()),
        ]
        for i, one in enumerate(results):
            for other in results[i + 1 :]:
                assert not all(map(agree, chosen, one, other)), (seed, i)


def test_the_message_shows_the_example():
    message = complaint(check_joint_loss, changed(lambda s, t, p, v: (t - 2 * p, p, v)))
    assert "An example with clip_range = 0.2, ent_coef = 0.01, vf_coef = 0.5:" in message
    assert "    advantages   [" in message
    assert "  expected  " in message


@pytest.mark.parametrize("place", [1, 2])
def test_a_part_without_gradient_is_refused_by_name(place):
    """A later cell takes the gradient of each part."""

    def detached(*samples):
        losses = list(PPO2.loss(None, *samples)[:3])
        losses[place] = losses[place].detach()
        return losses

    with pytest.raises(ExerciseError) as caught:
        check_joint_loss(detached)
    assert caught.value.keys == (f"part-detached~{('total', 'policy_loss', 'value_loss')[place]}",)
