"""The checks of notebook 11: its own PPO passes, and each mistake gets its own message."""

# ruff: noqa: E501, ISC004 - lines of the notebook, exchanged

import re

import pytest
import torch
from course import NOTEBOOKS
from estimates_testing import error_of
from exchanged_lines import Solutions, refusal

import ppo_course
from ppo_bbrl import Agent, EpisodicAlgo, KWAgentWrapper, iter_partial_episodes, setup_optimizer
from ppo_bbrl.advantages import gae

SOURCE = NOTEBOOKS / "source" / "11_write_ppo.py"
GIVEN = {
    "Agent": Agent,
    "EpisodicAlgo": EpisodicAlgo,
    "KWAgentWrapper": KWAgentWrapper,
    "iter_partial_episodes": iter_partial_episodes,
    "setup_optimizer": setup_optimizer,
    "torch": torch,
    "nn": torch.nn,
}
written = Solutions("11_write_ppo", **GIVEN).written

#: by check: what it is asked about
CHECKS = {
    "network": ("network",),
    "acting": ("Policy", "Critic"),
    "advantages": ("advantages",),
    "batches": ("transitions", "minibatches"),
    "losses": ("losses",),
    "diagnostics": ("diagnostics",),
    "learn": ("PPO", "learn"),
}


def asked(check, student, **options):
    things = [getattr(student, name) for name in CHECKS[check]]
    getattr(ppo_course, f"check_{check}")(*things, **options)


@pytest.mark.wide(3)
@pytest.mark.parametrize("check", CHECKS)
def test_the_solution_passes_with_any_seed(check, capsys):
    student = written()
    asked(check, student)
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in range(1 if check == "learn" else 4):
        asked(check, student, seed=seed)
    assert capsys.readouterr().out == ""


#: other ways to write a right one
RIGHT = {
    "losses": [
        [("advantage.std() + 1e-8", "advantage.std(correction=0) + 1e-8")],
        [("torch.exp(log_prob - batch", "torch.pow(torch.e, log_prob - batch")],
        [("torch.min(ratio * advantage, clipped_ratio * advantage)",
          "torch.where(advantage > 0, torch.clamp(ratio, max=1 + clip_range), "
          "torch.clamp(ratio, min=1 - clip_range)).mul(advantage)")],
    ],
    "batches": [
        [("torch.randperm(n).split(batch_size)",
          "[order[k : k + batch_size] for order in [torch.randperm(n)] "
          "for k in range(0, n, batch_size)]")],
    ],
    "learn": [
        [("policy_loss.backward()", "(policy_loss + 0 * value_loss.detach()).backward()")],
        [("            algo.policy_optimizer.zero_grad()\n", ""),
         ("            algo.policy_optimizer.step()\n",
          "            algo.policy_optimizer.step()\n            algo.policy_optimizer.zero_grad()\n")],
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("check", "changes"), [(check, each) for check, ways in RIGHT.items() for each in ways]
)
def test_other_styles_pass(check, changes):
    student = written(*changes)
    for seed in (None,) if check == "learn" else (None, 1):
        asked(check, student, seed=seed)


#: check, mistake, the lines that are exchanged for it
WRONG = [
    ("network", "gain", ("layer.weight, 2**0.5", "layer.weight, 1.0")),
    ("network", "gain-of-last", ("    nn.init.orthogonal_(layers[-1].weight, output_gain)\n", "")),
    ("network", "tanh-last", ("    layers.pop()  # no activation behind the last layer\n"
                              "    nn.init.orthogonal_(layers[-1]",
                              "    nn.init.orthogonal_(layers[-2]")),
    ("network", "bias", ("nn.init.zeros_(layer.bias)", "nn.init.ones_(layer.bias)")),
    ("network", "relu", ("nn.Tanh()]", "nn.ReLU()]")),
    ("network", "same-again", ("    layers = []\n", "    layers = []\n    torch.manual_seed(0)\n")),
    ("acting", "same-actions-again", ("            if stochastic:\n",
                                      "            torch.manual_seed(0)\n            if stochastic:\n")),
    ("acting", "log-of-0", ("torch.log_softmax(self.model(obs), dim=-1)",
                            "torch.softmax(self.model(obs), dim=-1).log()")),
    ("acting", "entropy-negative", ("entropy = -(log_probs", "entropy = (log_probs")),
    ("acting", "probability", ("torch.log_softmax(self", "torch.softmax(self")),
    ("acting", "not-greedy", ("scores.argmax(-1)", "scores.argmin(-1)")),
    ("acting", "greedy-always", ("            if stochastic:", "            if stochastic is None:")),
    ("acting", "wrong-row", ('self.set(("log_prob", t), ', 'self.set(("log_prob", 0), ')),
    ("acting", "not-written-there", ('self.set(("log_prob", t), log_prob)', "pass")),
    ("acting", "carries-gradient", ("        with torch.no_grad():\n            scores",
                                    "        with torch.enable_grad():\n            scores")),
    ("acting", "critic-not-squeezed", ("return self.model(obs).squeeze(-1)",
                                       "return self.model(obs)")),
    ("advantages", "trace-leaks-after-truncation", ("following * ~done[t]",
                                                    "following * ~terminated[t]")),
    ("batches", "reward-of-the-row", ("        reward[1:],", "        reward[:-1],")),
    ("batches", "masks-exchanged", ("        terminated[1:],\n        done[1:],",
                                    "        done[1:],\n        terminated[1:],")),
    ("batches", "target-is-advantage", ('"target": advantage + value[:-1]',
                                        '"target": advantage')),
    ("batches", "resets-kept", ("starts = ~done[:-1]", "starts = done[:-1] | True")),
    ("batches", "entry", ('workspace["action"][:-1]', 'workspace["action"][1:]')),
    ("batches", "carries-gradient", ("    with torch.no_grad():\n        value = critic",
                                     "    with torch.enable_grad():\n        value = critic")),
    ("batches", "repeated", ("torch.randperm(n)", "torch.randint(n, (n,))")),
    ("batches", "in-order", ("torch.randperm(n)", "torch.arange(n)")),
    ("batches", "rest-dropped", (".split(batch_size)",
                                 "[: n // batch_size * batch_size].split(batch_size)")),
    ("losses", "objective-sign", ("policy_loss = -objective", "policy_loss = objective")),
    ("losses", "entropy-sign", ("- cfg.algorithm.entropy_coef", "+ cfg.algorithm.entropy_coef")),
    ("losses", "not-normalised", ("(advantage - advantage.mean()) / (advantage.std() + 1e-8)",
                                  "advantage * 1.0")),
    ("losses", "larger-product", ("torch.min(ratio * advantage", "torch.max(ratio * advantage")),
    ("losses", "range-fixed~0.2", ("clip_range = cfg.algorithm.clip_range", "clip_range = 0.2")),
    ("losses", "losses-exchanged", ("return policy_loss, value_loss",
                                    "return value_loss, policy_loss")),
    ("losses", "value-weighted", ("error.square().mean()",
                                  "cfg.algorithm.critic_coef * error.square().mean()")),
    ("losses", "not-finite", ("advantage.std() + 1e-8", "advantage.std()")),
    ("losses", "unknown", ("ratio = torch.exp(log_prob - batch[\"log_prob\"])",
                           "ratio = torch.exp((log_prob - batch[\"log_prob\"]).clamp(-5, 5))")),
    ("losses", "half", ("error.square().mean()", "0.5 * error.square().mean()")),
    ("losses", "no-mean", ("error.square().mean()", "error.square()")),
    ("diagnostics", "unexplained", ("(1 - error.var() / ", "(error.var() / ")),
    ("diagnostics", "kl-no-one", ("ratio - 1 - log_ratio).mean", "ratio - log_ratio).mean")),
    ("diagnostics", "clipped-above-only", ("(ratio - 1).abs() >", "(ratio - 1) >")),
    ("learn", "not-limited~", ("nn.utils.clip_grad_norm_(algo.critic.parameters(), "
                               "cfg.algorithm.max_grad_norm)", "pass")),
    ("learn", "accumulated", ("            algo.policy_optimizer.zero_grad()\n", "")),
    ("learn", "other-epochs~policy", ("range(cfg.algorithm.opt_epochs)", "range(7)")),
    ("learn", "no-step~critic", ("            algo.critic_optimizer.step()\n", "")),
    ("learn", "zero-gradient~policy", ("policy_loss.backward()\n",
                                       "policy_loss.backward()\n"
                                       "            algo.policy_optimizer.zero_grad()\n")),
    ("learn", "both-signs", ("policy_loss.backward()", "(-policy_loss).backward()")),
    ("learn", "learned-lost~policy", ("    return diagnostics(algo.train",
                                      "    algo.train_policy.model[0].weight.data *= 0.9\n"
                                      "    return diagnostics(algo.train")),
    ("learn", "no-diagnostics", ("return diagnostics(algo.train_policy, algo.critic, batch, cfg)",
                                 "return {}")),
    ("learn", "minibatch-too-large", ("cfg.algorithm.batch_size):", "1000):")),
    ("learn", "eval-not-greedy", ("stochastic=False)\n        self.critic",
                                  "stochastic=True)\n        self.critic")),
    ("learn", "no-autoreset", ("autoreset=True", "autoreset=False")),
    ("learn", "attribute-missing", ("self.critic_optimizer = ", "self.optimizer = ")),
    ("learn", "target-is-advantage", ("minibatch = {name: tensor[index] for",
                                      'batch["target"] = batch["advantage"]\n'
                                      "            minibatch = {name: tensor[index] for")),
    ("learn", "weights-missing", ("self.cfg.optimizer, self.critic)",
                                  "self.cfg.optimizer, self.train_policy)")),
]  # fmt: skip


@pytest.mark.wide(27)
@pytest.mark.parametrize(("check", "key", "change"), WRONG, ids=[f"{c}-{k}" for c, k, _ in WRONG])
def test_each_mistake_is_named(check, key, change):
    student = written(change)
    things = [getattr(student, name) for name in CHECKS[check]]
    for seed in (None,) if check == "learn" else (None, 1):
        error = refusal(check, *things, seed=seed)
        named = [found if "~" in key[:-1] else found.partition("~")[0] for found in error.keys]
        both = {key.rstrip("~")}
        if key == "not-limited~":
            assert set(named) & {"not-limited", "critic-sum"}
        else:
            assert set(named) == both


# ------------------------------------------------------------- the package's functions do not count


def student_function(text, **names):
    scope = {"torch": torch, **names}
    exec(text, scope)
    return scope["advantages"]


ARGUMENTS = "reward, value, next_value, terminated, done, discount_factor, gae_lambda"
CALL = (
    "gae(reward=reward, value=value, next_value=next_value, terminated=terminated, done=done, "
    "discount_factor=discount_factor, gae_lambda=gae_lambda)"
)
BORROWED = {
    "by name": (f"def advantages({ARGUMENTS}):\n    return {CALL}", {"gae": gae}),
    "imported within": (
        f"def advantages({ARGUMENTS}):\n    from ppo_bbrl.advantages import gae\n    return {CALL}",
        {},
    ),
    "by its module": (
        f"def advantages({ARGUMENTS}):\n"
        f"    import ppo_bbrl.advantages as there\n    return there.{CALL}",
        {},
    ),
    "in a helper": (
        f"def helper(*args, **kwargs):\n    return gae(*args, **kwargs)\n"
        f"def advantages({ARGUMENTS}):\n    return helper{CALL.removeprefix('gae')}",
        {"gae": gae},
    ),
    "as a default": (
        f"def advantages({ARGUMENTS}, estimate=gae):\n    return estimate{CALL.removeprefix('gae')}",
        {"gae": gae},
    ),
}


@pytest.mark.parametrize("how", BORROWED)
def test_the_packages_functions_are_refused(how):
    text, names = BORROWED[how]
    error = error_of(ppo_course.check_advantages, student_function(text, **names))
    assert error.keys == ("borrowed",)
    assert "gae of ppo_bbrl.advantages" in str(error)


def test_an_attribute_of_the_same_name_is_none_of_the_packages_functions():
    """`cfg.algorithm.gae` is a number, wherever a function `gae` was imported."""
    asked("batches", Solutions("11_write_ppo", **GIVEN, gae=gae).written())


def test_a_mistake_in_an_earlier_step_is_not_told_again():
    """A wrong network, wrong advantages and losses: one iteration is still judged on its own."""
    student = written(
        ("delta = reward[t] +", "delta = reward[t] -"),
        ("policy_loss = -objective", "policy_loss = objective"),
        ("nn.init.zeros_(layer.bias)", "nn.init.ones_(layer.bias)"),
    )
    asked("learn", student)
    assert student.losses.__globals__["losses"] is student.losses  # what was lent is back


# ------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("learn-not-called", ("learn(algo, workspace).items()", "{'kl': 0.0}.items()")),
        ("other-rows", ("algo.cfg.algorithm.n_steps + 1", "algo.cfg.algorithm.n_steps")),
        ("never-evaluates", ("        algo.evaluate()\n", "")),
        ("not-logged", ("algo.logger.add_log(name,", "algo.logger.add_log('loss',")),
        ("logged-at-other-steps", ("number, algo.nb_steps)", "number, 0)")),
    ],
)
def test_each_mistake_of_the_loop_is_named(key, change):
    student = written(change)
    error = refusal("learning", student.PPO, student.run)
    assert error.keys == (key,)


@pytest.mark.slow
def test_a_critic_that_takes_a_time_limit_for_an_end_fails_on_its_probe():
    student = written(("bootstrap = next_value[t] * ~terminated[t]",
                       "bootstrap = next_value[t] * ~done[t]"))  # fmt: skip
    error = refusal("learning", student.PPO, student.run)
    assert error.keys == ("probe-value~TruncatedOnly",)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_the_solution_learns(seed):
    student = written()
    ppo_course.check_learning(student.PPO, student.run, seed=seed)


def test_students_write_at_least_80_lines():
    lines = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", SOURCE.read_text(), re.DOTALL)
    assert sum(bool(line.strip()) for part in lines for line in part.splitlines()) >= 80
