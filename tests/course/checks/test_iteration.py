"""The checks of notebook 03's later exercises: critic, policy, one iteration; and its own answers."""

# ruff: noqa: E501, ISC004 - lines of the notebook, exchanged

import re
from types import SimpleNamespace

import pytest
import torch
from course import NOTEBOOKS

import ppo_bbrl
import ppo_course
from ppo_bbrl.advantages import gae, lambda_returns, normalise
from ppo_course.nb03_clip.critic_objective import PARTS, cases, formula
from ppo_course.nb03_clip.iteration import minibatches

SOURCE = NOTEBOOKS / "source" / "03_ppo_clip.py"
CELL = re.compile(
    r'^# %% nbgrader=\{[^\n]*"solution": true[^\n]*\n(.*?)(?=^# %%)', re.DOTALL | re.MULTILINE
)
TEXT = "\n".join(CELL.findall(SOURCE.read_text(encoding="utf-8")))
GIVEN = {
    **{name: getattr(ppo_bbrl, name) for name in ("Agent", "TemporalAgent", "build_ortho_mlp")},
    "copy_parameters": ppo_bbrl.copy_parameters,
    "gae": gae,
    "lambda_returns": lambda_returns,
    "normalise": normalise,
    "minibatches": minibatches,
    "torch": torch,
    "nn": torch.nn,
}
NAMES = {
    "critic_objective": "critic_objective",
    "discrete_policy": "DiscretePolicy",
    "iteration": "iteration",
}


def written(*changes):
    """The notebook's solutions, with some lines exchanged."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    names = dict(GIVEN)
    exec(compile(text, "<student>", "exec"), names)
    return SimpleNamespace(**names)


def asked(check, student, **options):
    getattr(ppo_course, f"check_{check}")(getattr(student, NAMES[check]), **options)


def keys(check, student, **options):
    with pytest.raises(ppo_course.ExerciseError) as caught:
        asked(check, student, **options)
    assert "Where to look: " in str(caught.value)
    return caught.value.keys


@pytest.mark.parametrize("check", NAMES)
def test_the_solution_passes_with_any_seed(check, capsys):
    student = written()
    asked(check, student)
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in range(1 if check == "iteration" else 6):
        asked(check, student, seed=seed)
    assert capsys.readouterr().out == ""


STEP = "            ppo_clip.policy_optimizer.zero_grad()\n"
RIGHT = [
    ("critic_objective", [("(value - target) ** 2\n\n", "(target - value).square()\n\n")]),
    ("discrete_policy", [("log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)",
                          "log_probs[torch.arange(len(action)), action]")]),
    ("iteration", [("lambda_returns(advantage=advantage, value=old_value[:-1])",
                    "advantage + old_value[:-1]")]),
    ("iteration", [(STEP, ""), ("            ppo_clip.policy_optimizer.step()\n",
                                "            ppo_clip.policy_optimizer.step()\n" + STEP)]),
    ("iteration", [("copy_parameters(ppo_clip.train_policy, ppo_clip.old_policy)",
                    "ppo_clip.old_policy.load_state_dict(ppo_clip.train_policy.state_dict())")]),
]  # fmt: skip


@pytest.mark.parametrize(("check", "changes"), RIGHT)
def test_other_styles_pass(check, changes):
    student = written(*changes)
    for seed in (None,) if check == "iteration" else (None, 1):
        asked(check, student, seed=seed)


WRONG = [
    ("critic_objective", "never-clipped", ("clip_range_vf > 0:", "clip_range_vf > 1000:")),
    ("critic_objective", "no-coef", ("return cfg.algorithm.critic_coef * error", "return error")),
    ("critic_objective", "smaller-error", ("torch.max(error", "torch.min(error")),
    ("critic_objective", "no-mean", ("critic_coef * error.mean()", "critic_coef * error")),
    ("critic_objective", "no-gradient", ("    error = (value - target)",
                                         "    value = value.detach()\n    error = (value - target)")),
    ("discrete_policy", "entropy-negative", ("entropy = -(log_probs.exp()",
                                             "entropy = (log_probs.exp()")),
    ("discrete_policy", "probability", ("gather(-1, action.unsqueeze(-1)).squeeze(-1)",
                                        "gather(-1, action.unsqueeze(-1)).squeeze(-1).exp()")),
    ("discrete_policy", "variable-shape", ("gather(-1, action.unsqueeze(-1)).squeeze(-1)",
                                           "gather(-1, action.unsqueeze(-1))")),
    ("discrete_policy", "no-prefix", ('f"{self.prefix}logprob_predict", t)',
                                      '"logprob_predict", t)')),
    ("discrete_policy", "missing", ('f"{self.prefix}entropy"', 'f"{self.prefix}entropies"')),
    ("discrete_policy", "log-of-0", ("torch.log_softmax(scores, dim=-1)",
                                     "torch.softmax(scores, dim=-1).log()")),
    ("discrete_policy", "most-probable", ('action = self.get(("action", t))',
                                          "action = scores.argmax(-1)")),
    ("discrete_policy", "other-frequencies", (
        "Categorical(logits=scores).sample()", "Categorical(logits=scores / 2).sample()")),
    ("discrete_policy", "same-actions-again", (
        "            if stochastic:\n",
        "            if stochastic:\n                torch.manual_seed(0)\n")),
    ("iteration", "learned-lost~policy", (
        "copy_parameters(ppo_clip.train_policy, ppo_clip.old_policy)",
        "copy_parameters(ppo_clip.old_policy, ppo_clip.train_policy)")),
    ("iteration", "learned-lost~critic", (
        "copy_parameters(ppo_clip.critic_agent, ppo_clip.old_critic_agent)",
        "copy_parameters(ppo_clip.old_critic_agent, ppo_clip.critic_agent)")),
    ("iteration", "no-bootstrap", ("terminated=terminated[1:]", "terminated=done[1:]")),
    ("iteration", "leak", ("        done=done[1:]", "        done=terminated[1:]")),
    ("iteration", "masks-of-the-row", ("terminated=terminated[1:],\n        done=done[1:]",
                                       "terminated=terminated[:-1],\n        done=done[:-1]")),
    ("iteration", "reward-of-the-row", ("reward=reward[1:]", "reward=reward[:-1]")),
    ("iteration", "no-lambda~1", ("gae_lambda=cfg.algorithm.gae", "gae_lambda=1.0")),
    ("iteration", "target-is-advantage", ("lambda_returns(advantage=advantage, value=old_value[:-1])",
                                          "advantage")),
    ("iteration", "policy-sign", ("loss_policy = -cfg", "loss_policy = cfg")),
    ("iteration", "entropy-sign", ("loss_entropy = -cfg", "loss_entropy = cfg")),
    ("iteration", "no-policy-coef", ("-cfg.algorithm.policy_coef * policy_loss", "-policy_loss")),
    ("iteration", "critic-coef-twice", ("critic_loss.backward()",
                                        "(cfg.algorithm.critic_coef * critic_loss).backward()")),
    ("iteration", "normalisation", ("if cfg.algorithm.normalize_advantage:", "if False:")),
    ("iteration", "accumulated", (STEP, "")),
    ("iteration", "no-step~critic", ("            ppo_clip.critic_optimizer.step()\n", "")),
    ("iteration", "other-epochs~policy", ("range(cfg.algorithm.opt_epochs)", "range(7)")),
    ("iteration", "minibatch-too-large", ("minibatches(transitions, cfg.algorithm.batch_size)",
                                          "minibatches(transitions, 0)")),
    ("iteration", "reset-used~policy", ("workspace.get_transitions().subtime(0, 1)",
                                        "workspace.get_transitions(no_final_state=True).subtime(0, 1)")),
    ("iteration", "not-copied~critic", ("    copy_parameters(ppo_clip.critic_agent, "
                                        "ppo_clip.old_critic_agent)\n", "")),
    ("iteration", "new-actions", ("    reward, terminated, done, old_value = workspace[",
                                 "    ppo_clip.train_policy(workspace, t=2)\n    reward, terminated, done, old_value = workspace[")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "key", "change"), WRONG, ids=[f"{c}-{k}" for c, k, _ in WRONG])
def test_each_mistake_is_named(check, key, change):
    student = written(change)
    for seed in (None,) if check == "iteration" else (None, 1):
        assert keys(check, student, seed=seed) == (key,)


@pytest.mark.parametrize("place", range(len(PARTS)))
def test_each_mistake_with_the_critic_is_named(place):
    """Computed from the formula with one part exchanged."""
    for key, part in PARTS[place].wrong.items():
        values = [each.right for each in PARTS]
        values[place] = part

        def answer(critic, workspace, cfg, values=values):
            critic(workspace, t=0)
            names = ("critic/v_values", "old_critic/v_values", "critic_target")
            value, old, target = (workspace.get(name, 0) for name in names)
            coefs = cfg.algorithm
            x = cases(None)[0].inputs()._replace(
                value=value, old=old, target=target, eps=coefs.clip_range_vf,
                coef=coefs.critic_coef, policy_eps=coefs.clip_range,
            )  # fmt: skip
            return formula(x, values)

        for seed in (None, 1):
            with pytest.raises(ppo_course.ExerciseError) as caught:
                ppo_course.check_critic_objective(answer, seed=seed)
            assert caught.value.keys == (key,)


def test_a_variable_that_is_not_there_has_its_own_hint():
    student = written(("n_steps=n_rows, predict_proba=True)", "n_steps=n_rows)"))
    assert keys("iteration", student) == ("raises", "old-policy")
    student = written(('    workspace.set_full("critic_target"', '    workspace.set_full("target"'))
    assert keys("iteration", student) == ("raises", "target-there")


def test_a_mistake_in_an_earlier_exercise_is_not_told_again():
    student = written(
        ("torch.min(ratio * advantage", "torch.max(ratio * advantage"),
        ("return cfg.algorithm.critic_coef * error.mean()", "return error.sum()"),
    )
    mine = student.policy_objective
    asked("iteration", student)
    assert student.iteration.__globals__["policy_objective"] is mine


def test_students_write_at_least_60_lines():
    parts = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", SOURCE.read_text(), re.DOTALL)
    lines = [line.strip() for part in parts for line in part.splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in lines) >= 60
