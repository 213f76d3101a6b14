"""The checks of notebook 12: its own solutions pass, and each mistake gets its own message."""

# ruff: noqa: E501 - lines of the notebook, exchanged

from types import SimpleNamespace

import pytest
import torch
from exchanged_lines import Solutions, refusal
from seeds import SEEDS

import ppo_course
from ppo_bbrl import Agent
from ppo_course.formulas import combinations
from ppo_course.nb12_language_model import (
    group_advantages,
    kl_estimates,
    text_loss,
    token_advantages,
    token_rewards,
)
from ppo_course.nb12_language_model.iterations import OF_GRPO, OF_PPO, grpo, ppo

written = Solutions("12_language_model", Agent=Agent, torch=torch, nn=torch.nn).written
NAMES = {
    "page": "Page",
    "writer": "Writer",
    **{name: name for name in (
        "kl_estimates", "token_rewards", "token_advantages", "text_loss", "learn_ppo",
        "group_advantages", "learn_grpo",
    )},
}  # fmt: skip


def asked(check, student, **options):
    getattr(ppo_course, f"check_{check}")(getattr(student, NAMES[check]), **options)


@pytest.mark.parametrize("check", NAMES)
def test_the_solution_passes_with_any_seed(check, capsys):
    student = written()
    asked(check, student)
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in SEEDS[:2] if check.startswith("learn") else SEEDS:
        asked(check, student, seed=seed)
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------ other right ways


class PageOfLists(Agent):
    def __init__(self, prompts, end):
        super().__init__("another")
        self.given, self.end = prompts, end

    def forward(self, t, **kwargs):
        rows = [self.get(("action", k)) for k in range(t)]
        history = torch.cat([self.given, *(row[:, None] for row in rows)], dim=1)
        self.set(("env/env_obs", t), history[:, -self.given.shape[1] :])
        ended = torch.zeros(len(self.given), dtype=torch.bool)
        for row in rows:
            ended = ended | row.eq(self.end)
        self.set(("env/done", t), ended)


class WriterByDistribution(Agent):
    def __init__(self, model):
        super().__init__("another")
        self.model = model

    def evaluate(self, obs, action):
        return torch.distributions.Categorical(logits=self.model(obs)).log_prob(action)

    def forward(self, t, **kwargs):
        chosen = torch.distributions.Categorical(logits=self.model(self.get(("env/env_obs", t))))
        action = chosen.sample()
        self.set(("log_prob", t), chosen.log_prob(action).detach())
        self.set(("action", t), action)


def estimates_by_ratio(log_prob, ref_log_prob):
    r = ref_log_prob.exp() / log_prob.exp()
    return -torch.log(r), r - 1 - torch.log(r)


def rewards_by_counting(reward, log_prob, ref_log_prob, written, beta):
    rewards = torch.where(written, beta * (ref_log_prob - log_prob), 0.0)
    length = written.sum(0)
    for b in range(len(reward)):
        rewards[length[b] - 1, b] += reward[b]
    return rewards


def rewards_by_scatter(reward, log_prob, ref_log_prob, written, beta):
    rewards = -beta * (log_prob - ref_log_prob)
    rewards[~written] = 0
    return rewards.scatter_add(0, (written.sum(0) - 1)[None], reward[None])


def advantages_text_by_text(reward, value, written, gae_lambda):
    result = torch.zeros_like(reward)
    for b in range(reward.shape[1]):
        n = int(written[:, b].sum())
        for t in range(n):
            for k in range(t, n):
                following = value[k + 1, b] if k + 1 < n else 0.0
                result[t, b] += gae_lambda ** (k - t) * (reward[k, b] + following - value[k, b])
    return result


def advantages_by_padding(reward, value, written, gae_lambda):
    value = torch.cat([value * written, torch.zeros_like(value[:1])])
    deltas = (reward + value[1:] - value[:-1]) * written
    out, last = [], 0.0
    for delta in deltas.flip(0):
        last = delta + gae_lambda * last
        out.append(last)
    return torch.stack(out[::-1])


def loss_by_sums(log_prob, old_log_prob, advantage, written, clip_range):
    r = torch.exp(log_prob - old_log_prob)
    upper = torch.where(advantage > 0, r.clamp(max=1 + clip_range), r.clamp(min=1 - clip_range))
    return -(upper * advantage * written).sum() / written.sum()


def groups_by_a_loop(reward, group_size):
    result = torch.empty_like(reward)
    for k in range(0, len(reward), group_size):
        group = reward[k : k + group_size]
        result[k : k + group_size] = (group - group.mean()) / (group.std() + 1e-6)
    return result


def ppo_by_other_words(algo, workspace, reward):
    obs, a = workspace["env/env_obs"], workspace["action"]
    m = workspace["env/done"].logical_not()
    old = workspace["log_prob"]
    k = old - algo.reference.evaluate(obs, a).detach()
    rewards = rewards_by_counting(reward, old, old - k, m, algo.cfg.beta)
    value = algo.critic(obs).detach()
    raw = advantages_by_padding(rewards, value, m, algo.cfg.gae)
    chosen = raw[m]
    scaled = (raw - chosen.mean()) / (chosen.std() + 1e-8)
    for _ in range(algo.cfg.epochs):
        loss = loss_by_sums(algo.writer.evaluate(obs, a), old, scaled, m, algo.cfg.clip_range)
        error = torch.nn.functional.mse_loss(algo.critic(obs)[m], (raw + value)[m])
        (loss + error).backward()
        for optimizer in (algo.writer_optimizer, algo.critic_optimizer):
            optimizer.step()
            optimizer.zero_grad()


def grpo_on_lists(algo, workspace, reward):
    obs, a, old, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
    keep = ~done
    ref = algo.reference.evaluate(obs, a)[keep].detach()
    advantage = groups_by_a_loop(reward, algo.cfg.group_size).repeat(len(obs), 1)[keep]
    for _ in range(algo.cfg.epochs):
        new, eps = algo.writer.evaluate(obs, a)[keep], algo.cfg.clip_range
        ratio = (new - old[keep]).exp()
        objective = torch.minimum(ratio * advantage, ratio.clip(1 - eps, 1 + eps) * advantage)
        k3 = torch.expm1(ref - new) - (ref - new)
        algo.writer_optimizer.zero_grad()
        (algo.cfg.beta * k3 - objective).mean().backward()
        algo.writer_optimizer.step()


RIGHT = [
    ("page", PageOfLists),
    ("writer", WriterByDistribution),
    ("kl_estimates", estimates_by_ratio),
    ("kl_estimates", lambda p, q: ((p - q), torch.expm1(q - p) + (p - q))),
    ("token_rewards", rewards_by_counting),
    ("token_rewards", rewards_by_scatter),
    ("token_advantages", advantages_text_by_text),
    ("token_advantages", advantages_by_padding),
    ("text_loss", loss_by_sums),
    ("group_advantages", groups_by_a_loop),
    ("learn_ppo", ppo_by_other_words),
    ("learn_grpo", grpo_on_lists),
]


@pytest.mark.parametrize(("check", "function"), RIGHT)
def test_other_styles_pass(check, function):
    for seed in (None, *SEEDS[:3]):
        getattr(ppo_course, f"check_{check}")(function, seed=seed)


# ------------------------------------------------------------------------------ wrong ones

#: check, mistake, the lines that are exchanged for it
WRONG = [
    ("page", "window-not-moved", ("torch.cat([before[:, 1:], action.unsqueeze(-1)], dim=1)", "before")),
    ("page", "in-front", ("[before[:, 1:], action.unsqueeze(-1)]", "[action.unsqueeze(-1), before[:, :-1]]")),
    ("page", "last-replaced", ("[before[:, 1:], ", "[before[:, :-1], ")),
    ("page", "raises", ("[before[:, 1:], ", "[before, ")),
    ("page", "prompt-missing", ("window = self.prompts\n", "window = 0 * self.prompts\n")),
    ("page", "done-not-kept", ('self.get(("env/done", t - 1)) | (action == self.end)', "action == self.end")),
    ("page", "done-of-window", ('self.get(("env/done", t - 1)) | (action == self.end)', "(window == self.end).any(1)")),
    ("page", "done-of-last-character", ("torch.zeros(len(window), dtype=torch.bool)", "window[:, -1] == self.end")),
    ("page", "done-inverted", ('self.set(("env/done", t), done)', 'self.set(("env/done", t), ~done)')),
    ("page", "done-no-bool", ('self.set(("env/done", t), done)', 'self.set(("env/done", t), done.float())')),
    ("page", "not-written-there", ('self.set(("env/done", t), done)', "pass")),
    ("page", "wrong-row", ('self.set(("env/done", t), done)', 'self.set(("env/done", t + 1), done)')),
    ("page", "writes-more", ('self.set(("env/done", t), done)', 'self.set(("env/done", t), done); self.set(("x", t), done)')),
    ("page", "raises", ('action = self.get(("action", t - 1))', 'action = self.get(("action", t))')),
    ("page", "raises", ('super().__init__("page")\n', "pass\n"),),
    ("writer", "probability", ("self.model(obs).log_softmax(-1)", "self.model(obs).softmax(-1)")),
    ("writer", "log-of-0", ("self.model(obs).log_softmax(-1)", "self.model(obs).softmax(-1).log()")),
    ("writer", "same-actions-again", ("            probabilities = ",
                                      "            torch.manual_seed(0)\n            probabilities = ")),
    ("text_loss", "unknown", ("ratio = torch.exp(log_prob - old_log_prob)",
                              "ratio = torch.exp((log_prob - old_log_prob).clamp(-5, 5))")),
    ("writer", "scores", ("self.model(obs).log_softmax(-1)", "self.model(obs)")),
    ("writer", "evaluate-shape", ("action.unsqueeze(-1)).squeeze(-1)", "action.unsqueeze(-1))")),
    ("writer", "raises", ("log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)", "log_probs.gather(-1, action)")),
    ("writer", "not-of-the-action", ("gather(-1, action.unsqueeze(-1))", "gather(-1, 0 * action.unsqueeze(-1))")),
    ("writer", "no-gradient", ("self.model(obs).log_softmax(-1)", "self.model(obs).detach().log_softmax(-1)")),
    ("writer", "minus", ("return log_probs.gather", "return -log_probs.gather")),
    ("writer", "greedy", ("torch.multinomial(probabilities, 1).squeeze(-1)", "probabilities.argmax(-1)")),
    ("writer", "uniform", ("torch.multinomial(probabilities,", "torch.multinomial(torch.ones_like(probabilities),")),
    ("writer", "variable-shape", ("torch.multinomial(probabilities, 1).squeeze(-1)", "torch.multinomial(probabilities, 1)"), ("log_prob = self.evaluate(obs, action)", "log_prob = self.evaluate(obs, action[:, 0])")),
    ("writer", "raises", ("probabilities = self.model(obs).softmax(-1)", "probabilities = self.model(obs)")),
    ("writer", "wrong-row", ('self.set(("log_prob", t), log_prob)', 'self.set(("log_prob", 0), log_prob)')),
    ("writer", "not-written-there", ('self.set(("log_prob", t), log_prob)', "pass")),
    ("writer", "carries-gradient", ("with torch.no_grad():\n            probabilities", "with torch.enable_grad():\n            probabilities")),
    ("writer", "written-probability", ('self.set(("log_prob", t), log_prob)', 'self.set(("log_prob", t), log_prob.exp())')),
    ("writer", "log-prob-of-another", ("log_prob = self.evaluate(obs, action)", "log_prob = self.evaluate(obs, 0 * action)")),
    ("writer", "wrong-frequencies", ("probabilities = self.model(obs).softmax(-1)", "probabilities = self.model(obs).softmax(-1) ** 4")),
    ("kl_estimates", "k1-sign", ("k1 = -log_ratio", "k1 = log_ratio")),
    ("kl_estimates", "swapped", ("return k1, k3", "return k3, k1")),
    ("kl_estimates", "not-two", ("return k1, k3", "return k3")),
    ("kl_estimates", "mean-too-early", ("return k1, k3", "return k1.mean(), k3.mean()")),
    ("kl_estimates", "no-gradient", ("k3 = log_ratio.exp() - 1 - log_ratio", "k3 = (log_ratio.exp() - 1 - log_ratio).detach()")),
    ("kl_estimates", "wrong-gradient", ("k3 = log_ratio.exp() - 1 - log_ratio", "k3 = log_ratio.exp().detach() - 1 - log_ratio")),
    ("token_rewards", "per-text", ("return penalty + reward * last", "return reward + penalty.sum(0)")),
    ("token_rewards", "transposed", ("return penalty + reward * last", "return (penalty + reward * last).T")),
    ("token_advantages", "trace-of-padding", ("following = (delta + gae_lambda * following) * written[t]\n        next_value = value[t] * written[t]\n        advantage[t] = following", "following = delta + gae_lambda * following\n        next_value = value[t] * written[t]\n        advantage[t] = following * written[t]")),
    ("token_advantages", "changes-argument", ("advantage = torch.zeros_like(reward)", "advantage = reward")),
    ("text_loss", "no-mean", ("objective[written].mean()", "objective")),
    ("text_loss", "mask-ignored", ("objective[written].mean()", "objective.mean()")),
    ("text_loss", "objective-sign", ("return -objective[written]", "return objective[written]")),
    ("text_loss", "larger-product", ("torch.min(ratio", "torch.max(ratio")),
    ("text_loss", "range-fixed~0.2", ("1 - clip_range, 1 + clip_range)", "0.8, 1.2)")),
    ("text_loss", "no-gradient", ("return -objective[written]", "return -objective.detach()[written]")),
    ("text_loss", "plain-number", ("objective[written].mean()", "objective[written].mean().item()")),
    ("group_advantages", "still-in-groups", (").flatten()", ")")),
    ("group_advantages", "equal-rewards", ("(std + 1e-6)", "std")),
    ("group_advantages", "whole-batch", ("reward.reshape(-1, group_size)", "reward.reshape(1, -1)")),
    ("learn_ppo", "old-anew", ("loss = text_loss(log_prob, old_log_prob", "loss = text_loss(log_prob, log_prob.detach()")),
    ("learn_ppo", "returns-something", ("        algo.critic_optimizer.step()\n", "        algo.critic_optimizer.step()\n    return value_loss\n")),
    ("learn_ppo", "raises", ("    with torch.no_grad():\n        ref_log_prob = algo.reference.evaluate(obs, action)\n        value", "    if True:\n        ref_log_prob = algo.reference.evaluate(obs, action)\n        value")),
    ("learn_ppo", "target-of-normalised", ("    target = advantage + value\n    mean, std", "    mean, std"), ("    advantage = (advantage - mean) / (std + 1e-8)\n", "    advantage = (advantage - mean) / (std + 1e-8)\n    target = advantage + value\n")),
    ("learn_ppo", "workspace-changed", ("    written = ~done\n", "    written = ~done\n    workspace.set_full('log_prob', 2 * old_log_prob)\n")),
    ("learn_grpo", "no-kl", ("        loss = loss + cfg.beta * k3[written].mean()\n", "")),
    ("learn_grpo", "kl-with-padding", ("k3[written].mean()", "k3.mean()")),
    ("learn_grpo", "raises", ("reward, cfg.group_size", "reward, cfg.groups")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "key", "changes"), [(c, k, changes) for c, k, *changes in WRONG],
    ids=[f"{number}-{c}-{k}" for number, (c, k, *_) in enumerate(WRONG)],
)  # fmt: skip
def test_each_mistake_is_named(check, key, changes):
    student = written(*changes)
    for seed in (None, 1):
        error = refusal(check, getattr(student, NAMES[check]), seed=seed)
        named = [each if "~" in key else each.partition("~")[0] for each in error.keys]
        assert named[:1] == [key]
        assert len(named) == 1 + (key == "raises")  # each exception here has a hint of its own


MODULES = {
    "token_rewards": (
        token_rewards,
        (token_rewards.PENALTIES, token_rewards.PLACES, token_rewards.SUMS),
    ),
    "token_advantages": (
        token_advantages,
        (
            *(token_advantages.NEXT_VALUES, token_advantages.DELTAS, token_advantages.DECAYS),
            *(token_advantages.TRACES, token_advantages.LOOPS, token_advantages.RESULTS),
        ),
    ),
    "group_advantages": (
        group_advantages,
        (
            *(group_advantages.LAYOUTS, group_advantages.CENTRES),
            *(group_advantages.SCALES, group_advantages.ADDED, group_advantages.SIGNS),
        ),
    ),
}


def answers(module, values, seed):
    """A function that answers as a formula with these values does, whatever it is asked."""
    if module is group_advantages:
        known = module.CASES if seed is None else module.drawn(seed)
    else:
        known = module.cases(seed)
    results = iter([module.formula(case, values) for case in known])
    return lambda *_: next(results)


@pytest.mark.parametrize("check", MODULES)
@pytest.mark.parametrize("seed", [None, *SEEDS[:2]])
def test_every_known_mistake_is_told_from_the_others(check, seed):
    module, parts = MODULES[check]
    for keys, values in combinations(parts, 1):
        if not keys:
            continue
        function = answers(module, values, seed)
        assert refusal(check, function, seed=seed).keys == keys


@pytest.mark.parametrize("seed", [None, *SEEDS[:2]])
def test_every_known_loss_is_told_from_the_others(seed):
    for keys, values in combinations(text_loss.PARTS, 1):
        if keys:
            results = iter([text_loss.formula(x, values) for x in text_loss.drawn(seed)])
            function = lambda *_, results=results: next(results)  # noqa: E731
            assert refusal("text_loss", function, seed=seed).keys == keys


@pytest.mark.parametrize("seed", [None, *SEEDS[:2]])
@pytest.mark.parametrize("place", [0, 1])
def test_every_known_estimate_is_told_from_the_others(seed, place):
    parts = (kl_estimates.K1, kl_estimates.K3)
    for key, wrong in parts[place].wrong.items():
        inputs = iter(kl_estimates.cases(seed))

        def function(log_prob, _, inputs=inputs, wrong=wrong):
            x = next(inputs)._replace(log_prob=log_prob)
            return wrong(x) if place == 0 else parts[0].right(x), (
                wrong(x) if place == 1 else parts[1].right(x)
            )

        assert refusal("kl_estimates", function, seed=seed).keys == (key,)


class OfData:
    """An iteration with a mistake, called as a student's is."""

    def __init__(self, iteration, mistakes):
        self.iteration, self.mistakes = iteration, mistakes

    def __call__(self, algo, workspace, reward):
        texts = SimpleNamespace(
            obs=workspace["env/env_obs"],
            action=workspace["action"],
            log_prob=workspace["log_prob"],
            done=workspace["env/done"],
            reward=reward,
        )
        self.iteration(algo, texts, self.mistakes)


@pytest.mark.wide(1)
@pytest.mark.parametrize("seed", [None, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("check", "iteration", "known"),
    [("learn_ppo", ppo, OF_PPO), ("learn_grpo", grpo, OF_GRPO)],
)
def test_every_known_mistake_of_an_iteration_is_told_from_the_others(check, iteration, known, seed):
    for key in known:
        if (check, key) == ("learn_grpo", "no-step~writer"):
            continue  # nothing has changed then
        assert refusal(check, OfData(iteration, (key,)), seed=seed).keys == (key,)


@pytest.mark.slow
def test_two_mistakes_of_an_iteration_are_both_told():
    error = refusal("learn_ppo", OfData(ppo, ("no-penalty", "half")))
    assert error.keys == ("no-penalty", "half")
    assert "Probably 2 things are wrong" in str(error)


def test_whoever_teaches_the_critic_of_grpo_is_told():
    def both(algo, workspace, reward):
        grpo_on_lists(algo, workspace, reward)
        with torch.no_grad():
            algo.critic.model.weight += 1

    assert refusal("learn_grpo", both).keys == ("critic-touched",)


def test_a_mistake_in_an_earlier_exercise_is_not_told_again():
    student = written(("k1 = -log_ratio", "k1 = log_ratio"), ("(std + 1e-6)", "(std + 1)"))
    asked("learn_ppo", student)
    asked("learn_grpo", student)
