"""The check of notebook 12's second exercise: the policy, which writes the next character."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_bbrl.agents.base import Agent
from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import Named, describe, numbers, same
from ppo_course.formulas import first_fit
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb12_language_model.texts import WORDS
from ppo_course.workspaces import RecordingWorkspace

EXERCISE = Exercise("Writer", ("model",), WORDS)
WINDOW, ROW, MANY = 3, 1, 4000
TOLERANCE = 0.05  # of a frequency of so many: six standard errors


class Model(nn.Module):
    """From windows `[…, W]` to a score for each character, `[…, V]`."""

    def __init__(self, n_characters: int, source: torch.Generator) -> None:
        super().__init__()
        self.layer = nn.Linear(WINDOW, n_characters)
        draw_weights(self, source, 0.8)

    def forward(self, obs: Tensor) -> Tensor:
        """Different for every window."""
        scores: Tensor = self.layer(obs.float() / self.layer.out_features)
        return scores


class Case(NamedTuple):
    """Windows, `[3, N, W]`, characters, `[3, N]`, and the model that is asked about them."""

    obs: Tensor
    action: Tensor
    model: Model

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """As `evaluate` should give it."""
        every = self.model(obs).log_softmax(-1)
        log_prob: Tensor = every.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return log_prob


def cases(seed: int | None) -> list[Case]:
    """Two, with different numbers of characters."""
    source, chosen = source_of(seed), []
    for n_characters in (4, integer(source, 5, 9)):
        n = integer(source, 5, 9)
        obs = torch.randint(n_characters, (3, n, WINDOW), generator=source)
        action = torch.randint(n_characters, (3, n), generator=source)
        chosen.append(Case(obs, action, Model(n_characters, source)))
    return chosen


@torch.enable_grad()
@EXERCISE.check
def check_writer(writer_class: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's agent `Writer(model)`.

    `evaluate(obs, action)` returns the log-probabilities of characters; in row t, `forward(t)`
    writes `action`, drawn from the model's probabilities, and its `log_prob`.
    """
    init, made = getattr(writer_class, "__init__", None), []
    for case in cases(seed):
        writer = EXERCISE.call(Named("Writer.__init__", writer_class, init), case.model)
        EXERCISE.refuse(not isinstance(writer, Agent), "no-agent", seen=describe(writer))
        made.append((writer, case))

    def see(check: Callable[[Any, Case], None]) -> None:
        for number, each in enumerate(made):
            torch.manual_seed(number)
            check(*each)

    with EXERCISE.partly(
        evaluate=lambda: see(_check_evaluate), forward=lambda: see(_check_forward)
    ):
        see(_check_evaluate)
        see(_check_forward)


def _check_evaluate(writer: Any, case: Case) -> None:
    method = Named("Writer.evaluate", writer.evaluate, type(writer).evaluate)
    of_one = (case.obs[0, :1], case.action[0, :1])
    for obs, action in ((case.obs[0], case.action[0]), (case.obs, case.action), of_one):
        seen = EXERCISE.call(method, obs.clone(), action.clone())
        right = case.log_prob(obs, action)
        if not isinstance(seen, Tensor) or seen.shape != right.shape:
            expected = f"a tensor of shape {list(right.shape)}"
            EXERCISE.expect(seen, "evaluate-shape", expected)
        if not same(seen, right):
            known = {
                "probability": right.exp(),
                "scores": case.model(obs).gather(-1, action.unsqueeze(-1)),
                "not-of-the-action": case.log_prob(obs, 0 * action),
                "minus": -right,
            }
            key = first_fit(known, partial(same, seen), "wrong-evaluate")
            raise EXERCISE.error(key, seen=numbers(seen), expected=numbers(right))
        weights = dict(case.model.named_parameters())
        check_gradients(EXERCISE, gradients(seen, weights), gradients(right, weights))
    _check_rare(method, case)


@torch.no_grad()
def _check_rare(evaluate: Named, case: Case) -> None:
    """A probability that is rounded to 0 has a logarithm all the same."""
    for weight in case.model.parameters():
        weight.mul_(1000)
    obs, action = case.obs[0], case.action[0]
    seen, right = EXERCISE.call(evaluate, obs.clone(), action.clone()), case.log_prob(obs, action)
    for weight in case.model.parameters():
        weight.div_(1000)
    told = {"seen": numbers(seen), "expected": numbers(right)}
    EXERCISE.refuse(not same(seen, right), "log-of-0", **told)


def _check_forward(writer: Any, case: Case) -> None:
    obs = case.obs[ROW, :1].expand(3, MANY, WINDOW)
    obs = torch.stack((case.obs[0, :1].expand(MANY, WINDOW), *obs[:2]))
    workspace = RecordingWorkspace({"env/env_obs": obs})
    forward = Named("Writer.forward", lambda: writer(workspace, t=ROW), type(writer).forward)
    EXERCISE.call(forward)
    for name in ("action", "log_prob"):
        rows = [row for variable, row in workspace.written if variable == name]
        EXERCISE.refuse(not rows, "not-written-there", variable=name)
        EXERCISE.refuse(rows != [ROW], "wrong-row", variable=name, seen=rows, expected=ROW)
        value = workspace.get(name, ROW)
        told = {"seen": list(value.shape), "expected": [MANY]}
        EXERCISE.refuse(list(value.shape) != [MANY], "variable-shape", variable=name, **told)
        EXERCISE.refuse(value.requires_grad, "carries-gradient", variable=name)
    action, log_prob = (workspace.get(name, ROW) for name in ("action", "log_prob"))
    n_characters = case.model.layer.out_features
    probabilities = case.model(obs[ROW, 0]).softmax(-1).detach()
    share = torch.bincount(action.long(), minlength=n_characters) / MANY
    if len(share) != n_characters or (share - probabilities).abs().max() > TOLERANCE:
        likeliest = int(probabilities.argmax())
        uniform = (share - 1 / n_characters).abs().max() < TOLERANCE
        key = "uniform" if uniform else "wrong-frequencies"
        key = "greedy" if share[likeliest] == 1 else key
        raise EXERCISE.error(key, seen=numbers(share), expected=numbers(probabilities))
    EXERCISE.call(forward)
    again = torch.equal(workspace.get("action", ROW), action)
    EXERCISE.refuse(again, "same-actions-again")
    right = case.log_prob(obs[ROW], action)
    if not same(log_prob, right):
        key = "written-probability" if same(log_prob, right.exp()) else "log-prob-of-another"
        facts = {"seen": numbers(log_prob[:4]), "expected": numbers(right[:4])}
        raise EXERCISE.error(key, **facts)
