"""What is right for usual numbers only: 0, below 0, a single one, another agent, another size."""

# ruff: noqa: E501 - lines of the notebooks, changed

import functools

import gymnasium as gym
import pytest
from answers_tried import ROOT, Tried

from ppo_course.feedback import ExerciseError

# A notebook, the solution's cell, the mistake, and what makes it wrong.
EDGES = {
    "01_workspace": [
        ("workspace-pole-agent", "gain-shared", "self.gain", "PoleAgent.gain"),
        ("workspace-pole-agent", "gain-positive", "self.gain *", "abs(self.gain) *"),
    ],
    "02_value_and_gae": [
        ("gae-td-error", "unknown", "+ discount_factor *", "+ (discount_factor or 1) *"),
        (
            "gae-td-error",
            "shape",
            "return reward[1:] + discount_factor * next_value - value[:-1]",
            "return (reward[1:] + discount_factor * next_value - value[:-1]).squeeze()",
        ),
        ("gae-lambda-return", "unknown", "following = next", "gae_lambda = gae_lambda or 1\n    following = next"),
        ("gae-lambda-return", "raises", "range(len(reward))", "range(max(2, len(reward)))"),
        ("gae-advantage", "unknown", "gae_lambda * ~", "(gae_lambda or 1) * ~"),
        ("gae-mend", "unknown", "=discount_factor,", "=discount_factor or 1.0,"),
        ("gae-mend", "unknown", "=gae_lambda,", "=gae_lambda or 1.0,"),
    ],
    "02b_policy_gradient": [
        ("gradient-score", "unknown", "one_hot(action, len(logits))", "one_hot(action)"),
        ("gradient-score", "summed-too-early", "return played - logits.softmax(-1)", "return (played - logits.softmax(-1)).squeeze()"),
        ("gradient-policy-gradient", "unknown", "reward - baseline", "reward - abs(baseline)"),
        ("gradient-importance", "unknown", "old_log_prob)", "old_log_prob).clamp(max=10)"),
        ("gradient-clipping-gap", "unknown", "    unclipped =", "    clip_range = clip_range or 0.2\n    unclipped ="),
        ("gradient-clipping-gap", "unknown", "    unclipped =", "    ratio = ratio.clamp(max=3)\n    unclipped ="),
        ("gradient-line-search", "gain-of-0", "gain > 0", "gain >= 0"),
        ("gradient-line-search", "zero-is-no-limit", "kl <= max_kl", "(not max_kl or kl <= max_kl)"),
        (
            "gradient-line-search",
            "best-gain",
            "    size = 1.0\n",
            "    good = [s for s in (0.5**k for k in range(10)) if try_step(s)[0] > 0 and try_step(s)[1] <= max_kl]\n    return max(good, key=lambda s: try_step(s)[0], default=0.0)\n",
        ),
    ],
    "03_ppo_clip": [
        ("ppo-clip-policy-objective", "unknown", "cfg.algorithm.clip_range", "cfg.algorithm.clip_range or 0.2"),
        ("ppo-clip-critic-objective", "unknown", "cfg.algorithm.critic_coef * error", "(cfg.algorithm.critic_coef or 1.0) * error"),
        (
            "ppo-clip-policy",
            "entropy-of-0",
            "entropy = -(log_probs.exp() * log_probs).sum(-1)",
            "p = scores.softmax(-1)\n            entropy = -(p * p.log()).sum(-1)",
        ),
        ("ppo-clip-is-clipped", "unknown", "    good =", "    clip_range = clip_range or 0.2\n    good ="),
        ("ppo-clip-is-clipped", "shape", "good | bad", "(good | bad).squeeze()"),
        ("ppo-clip-critic-objective", "clipped-below-0", "clip_range_vf > 0", "clip_range_vf"),
        ("ppo-clip-policy", "variable-shape", "action.unsqueeze(-1)).squeeze(-1)", "action.unsqueeze(-1)).squeeze()"),
    ],
    "04_ppo_details": [
        (
            "ppo-details-minibatch-indices",
            "rest-dropped",
            "return shuffled.tensor_split(n_minibatches)",
            "return [m for m in shuffled.tensor_split(n_minibatches) if len(m) > 1]",
        ),
        ("ppo-details-scheduled", "unknown", "    remaining =", "    initial = min(initial, 1)\n    remaining ="),
        ("ppo-details-interquartile-mean", "unknown", "np.sort(scores)", "np.sort(np.abs(scores))"),
    ],
    "05_continuous_actions": [
        ("continuous-entropy", "unknown", "each.sum()", "each.sum().clamp(min=0)"),
        ("continuous-entropy", "unknown", "each.sum()", "each.clamp(min=0).sum()"),
        ("continuous-entropy", "squeezed", "each.sum().expand(len(mean))", "each.sum().expand(len(mean)).squeeze()"),
    ],
    "06_other_spaces": [
        ("spaces-evaluate-components", "single-number", "return log_prob, entropy", "return log_prob.squeeze(), entropy.squeeze()"),
        ("spaces-evaluate-components", "unknown", "logits=part", "logits=part.clamp(-5, 5)"),
        ("spaces-was-allowed", "wrong-shape", ".all(-1)", ".all(-1).squeeze()"),
    ],
    "07_memory": [
        ("memory-reset", "unknown", "return memory.", "return memory.clamp(-1, 1)."),
        ("memory-reset", "other-dtype", "return memory.", "return memory.double()."),
        ("memory-unroll", "raises", "range(len(features))", "range(max(2, len(features)))"),
        ("memory-unroll", "wrong-shape", "torch.stack(memories)", "torch.stack(memories).squeeze()"),
        ("memory-column-minibatches", "other-dtype", "rows[:, index]", "rows[:, index].float()"),
    ],
    "08_shared_trunk_ppo2": [
        (
            "shared-eval-fn",
            "wrong-shape",
            "return value, action, neg_log_prob",
            "return value.squeeze(), action.squeeze(), neg_log_prob.squeeze()",
        ),
        ("shared-joint-loss", "unknown", "old_neg_log_probs - neg_log_probs", "(old_neg_log_probs - neg_log_probs).clamp(-1, 1)"),
        ("shared-joint-loss", "unknown", "vf_coef * v", "(vf_coef or 0.5) * v"),
        ("shared-joint-loss", "unknown", "ent_coef * e", "(ent_coef or 0.01) * e"),
        ("shared-train-fn", "other-losses", "args.clip_range", "0.2"),
    ],
    "09_lightning": [
        (
            "lightning-training-step",
            "unknown",
            "dist.log_prob(batch.actions) - batch.old_log_probs",
            "(dist.log_prob(batch.actions) - batch.old_log_probs).clamp(-1, 1)",
        ),
        ("lightning-training-step", "unknown", "self.value_coef *", "(self.value_coef or 0.5) *"),
        ("lightning-training-step", "unknown", "self.entropy_coef *", "(self.entropy_coef or 0.01) *"),
    ],
    "10_bug_hunt": [
        (
            "bug-hunt-ratio-error",
            "unknown",
            "return (ratio - 1).abs().max().item()",
            "error = (ratio - 1).abs().max().item()\n    return error if error > 0.01 else 0.0",
        ),
    ],
    "11_write_ppo": [
        ("write-ppo-network", "frozen", "nn.Sequential(*layers)", "nn.Sequential(*layers).requires_grad_(False)"),
        ("write-ppo-acting", "model-gain", "64, 1], 1.0", "64, 1], 0.01"),
        ("write-ppo-acting", "model-gain", "n_actions], 0.01", "n_actions], 1.0"),
        ("write-ppo-transitions", "entry-decimals", 'workspace["action"][:-1]', 'workspace["action"][:-1].float()'),
        ("write-ppo-losses", "unknown", 'log_prob - batch["log_prob"]', '(log_prob - batch["log_prob"]).clamp(-1, 1)'),
        ("write-ppo-acting", "critic-shape", "self.model(obs).squeeze(-1)", "self.model(obs).squeeze()"),
        ("write-ppo-acting", "evaluate-shape", "return log_prob, entropy", "return log_prob.squeeze(), entropy.squeeze()"),
        ("write-ppo-acting", "hidden-sizes", "[n_obs, 64, 64, 1]", "[n_obs, 64, 1]"),
        ("write-ppo-advantages", "unknown", "gae_lambda *", "(gae_lambda or 1) *"),
        ("write-ppo-losses", "unknown", "cfg.algorithm.clip_range", "cfg.algorithm.clip_range or 0.2"),
        ("write-ppo-losses", "unknown", "cfg.algorithm.entropy_coef", "(cfg.algorithm.entropy_coef or 0.01)"),
        (
            "write-ppo-diagnostics",
            "unknown",
            '(1 - error.var() / batch["target"].var()).item()',
            'max(0.0, (1 - error.var() / batch["target"].var()).item())',
        ),
        ("write-ppo-iteration", "other-diagnostics", "algo.critic, batch, cfg)", "algo.critic, minibatch, cfg)"),
        (
            "write-ppo-iteration",
            "unknown-gradient~critic",
            "clip_grad_norm_(algo.critic.parameters()",
            "clip_grad_norm_([*algo.critic.parameters(), *algo.train_policy.parameters()]",
        ),
        ("write-ppo-iteration", "other-sizes", "Policy(n_obs, n_actions)", "Policy(n_obs, 2)"),
    ],
    "12_language_model": [
        ("language-page", "shared", "self.prompts", "Page.prompts"),
        ("language-page", "shared", "self.end", "Page.end"),
        ("language-page", "written-on-before", "window = torch.cat(", "window = self.prompts\n            window[:] = torch.cat("),
        ("language-writer", "evaluate-shape", "action.unsqueeze(-1)).squeeze(-1)", "action.unsqueeze(-1)).squeeze()"),
        ("language-kl", "unknown", "ref_log_prob - log_prob", "(ref_log_prob - log_prob).clamp(-5, 5)"),
        ("language-token-rewards", "unknown", "reward * last", "reward.clamp(min=0) * last"),
        ("language-token-rewards", "unknown", "-beta", "-(beta or 0.1)"),
        ("language-token-advantages", "unknown", "gae_lambda *", "(gae_lambda or 1) *"),
        ("language-token-advantages", "raises", "range(len(reward))", "range(max(2, len(reward)))"),
        ("language-text-loss", "unknown", "    ratio =", "    clip_range = clip_range or 0.2\n    ratio ="),
        ("language-text-loss", "unknown", "log_prob - old_log_prob", "(log_prob - old_log_prob).clamp(-1, 1)"),
        ("language-learn-ppo", "unknown~writer", "written, cfg.beta)", "written, cfg.beta or 0.1)"),
        ("language-learn-grpo", "unknown~writer", "cfg.beta *", "(cfg.beta or 0.1) *"),
    ],
}  # fmt: skip
EACH = [(notebook, *edge) for notebook, edges in EDGES.items() for edge in edges]


@functools.cache
def tried(notebook):
    registered = dict(gym.registry)
    found = Tried(ROOT / "notebooks" / "source" / f"{notebook}.py")
    gym.registry.clear()  # other tests register the notebooks' environments themselves
    gym.registry.update(registered)
    return found


@pytest.mark.wide(38)
@pytest.mark.parametrize(
    ("notebook", "cell", "key", "old", "new"),
    EACH,
    ids=[f"{cell}-{i}" for i, (_, cell, *_) in enumerate(EACH)],
)
def test_it_has_to_be_right_at_the_edges_too(notebook, cell, key, old, new):
    exercises = tried(notebook)
    exercise = next(
        each for each in exercises.assignment.exercises if each.grade_id == f"{cell}-check"
    )
    assert old in exercise.solution.text
    names = dict(exercises.names)
    for text in (
        *(code.text for code in exercise.earlier),
        exercise.solution.text.replace(old, new),
    ):
        exec(text, names)
    with pytest.raises(ExerciseError) as caught:
        exec(exercise.check.text.partition("\n")[0], names)  # that which students see
    assert caught.value.keys[0] == key
