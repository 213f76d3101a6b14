"""The check of notebook 09's first exercise: a policy, a value and an optimiser for Lightning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ppo_course.drawing import draw_weights, integer
from ppo_course.feedback import numbers, same
from ppo_course.formulas import first_fit
from ppo_course.gradients import gradients
from ppo_course.mistakes import Exercise
from ppo_course.nb09_lightning.student_model import WORDS, InertEnv, call_method, made

EXERCISE = Exercise("ActorCritic", (), WORDS)
FORWARD = Exercise("forward", ("x",), WORDS)
OPTIMIZER = Exercise("configure_optimizers", (), WORDS)


class Case(NamedTuple):
    """Sizes that a model is made for, a learning rate, and a seed of weights and observations."""

    n_inputs: int
    n_actions: int
    n: int
    lr: float
    seed: int


def cases(seed: int | None) -> list[Case]:
    """CartPole's sizes, or others drawn from a seed."""
    if seed is None:
        return [Case(4, 2, 6, 0.02, 0)]
    source = torch.Generator().manual_seed(seed)
    limits = ((5, 9), (3, 7), (7, 13), (3, 81))
    drawn = [[integer(source, *pair) for pair in limits] for _ in range(2)]
    return [
        Case(n_inputs, n_actions, n, rate / 1000, 2 * seed + k)
        for k, (n_inputs, n_actions, n, rate) in enumerate(drawn)
    ]


@torch.enable_grad()
@EXERCISE.check
def check_actor_critic(model_class: type[Any], *, seed: int | None = None) -> None:
    """Check a student's class `ActorCritic(PPO)` with networks `actor` and `critic`.

    `forward(x)` of observations `[N, D]` returns a Categorical over K actions and values `[N]`;
    `configure_optimizers()` returns one optimiser of all parameters, with learning rate `lr`.
    """
    drawn = cases(seed)

    def see(check: Callable[[type[Any], Any, Case], None]) -> None:
        for case in drawn:
            check(model_class, _made(model_class, case), case)

    with EXERCISE.partly(
        forward=lambda: see(_check_forward), configure_optimizers=lambda: see(_check_optimizer)
    ):
        for case in drawn:
            model = _made(model_class, case)
            _check_forward(model_class, model, case)
            _check_optimizer(model_class, model, case)


def _made(model_class: type[Any], case: Case) -> Any:
    torch.manual_seed(case.seed)
    env = InertEnv(case.n_inputs, case.n_actions)
    model = made(EXERCISE, model_class, env=env, eval_env=None, lr=case.lr)
    for part in ("actor", "critic"):
        if not isinstance(getattr(model, part, None), torch.nn.Module):
            raise EXERCISE.error("no-network", part=part)
    return model


def _check_forward(model_class: type[Any], model: Any, case: Case) -> None:
    source = torch.Generator().manual_seed(case.seed)
    draw_weights(model, source, 0.5)
    x = torch.randn(case.n, case.n_inputs, generator=source)
    dist, value = _read(call_method(FORWARD, model_class, model, x.clone()), case)
    _check_policy(model, dist, x)
    with torch.no_grad():
        right = model.critic(x)
    if not same(value, right):
        raise FORWARD.error(
            "not-of-critic", seen=f"{numbers(value[:4])} …", expected=f"{numbers(right[:4])} …"
        )
    _check_gradients(model, dist, value, x)
    # A squeeze of all dimensions would not give [1] for [1, D].
    shape = list(call_method(FORWARD, model_class, model, x[:1].clone())[1].shape)
    FORWARD.refuse(shape != [1], "squeezed", seen=shape, expected=[1])


def _read(answer: Any, case: Case) -> tuple[Categorical, Tensor]:
    """The distribution and the values that `forward` returned, if it returned these."""
    expected = f"2 values: a Categorical, a tensor of shape [{case.n}]"
    mistake = None
    if not isinstance(answer, tuple) or len(answer) != 2:
        mistake = "list" if isinstance(answer, list) and len(answer) == 2 else "not-two"
    FORWARD.expect(answer, mistake, expected)
    dist, value = answer
    if isinstance(value, Distribution):
        mistake = "order"
    elif isinstance(dist, Tensor):
        mistake = "no-distribution"
    elif type(dist) is not Categorical:
        mistake = "no-categorical"
    elif not isinstance(value, Tensor):
        mistake = "no-tensor"
    FORWARD.expect(answer, mistake, expected)
    shape, n_actions = list(dist.batch_shape), dist.logits.shape[-1]
    if shape != [case.n] or n_actions != case.n_actions:
        seen = f"{shape} choices between {n_actions} actions"
        expected = f"[{case.n}] choices between {case.n_actions} actions"
        raise FORWARD.error("size", seen=seen, expected=expected)
    if list(value.shape) != [case.n]:
        mistake = "column" if list(value.shape) == [case.n, 1] else "wrong-shape"
    FORWARD.expect(answer, mistake, expected)
    return dist, value


@torch.no_grad()
def _check_policy(model: Any, dist: Categorical, x: Tensor) -> None:
    scores = model.actor(x)
    probabilities = bool((scores >= 0).all()) and same(scores.sum(-1), torch.ones(len(x)))
    right = scores if probabilities else scores.softmax(-1)
    if same(dist.probs, right):
        return
    known = {
        "softmax-twice": Categorical(logits=right),
        "softmax-of-columns": Categorical(probs=scores.softmax(0)),
        "scores-sign": Categorical(logits=-scores),
    }
    key = first_fit(known, lambda wrong: same(dist.probs, wrong.probs), "not-of-actor")
    seen = f"{numbers(dist.probs[0])}  (probabilities of the first observation)"
    raise FORWARD.error(key, seen=seen, expected=numbers(right[0]))


def _check_gradients(model: Any, dist: Categorical, value: Tensor, x: Tensor) -> None:
    """See that all of the gradient reaches both networks."""
    scores = model.actor(x)
    probabilities = same(scores.detach(), dist.probs)  # the networks end in a softmax already
    for part, seen, right in (
        ("actor", dist.probs, scores if probabilities else scores.softmax(-1)),
        ("critic", value, model.critic(x)),
    ):
        parameters = dict(getattr(model, part).named_parameters())
        found, truth = (
            torch.cat([gradient.flatten() for gradient in gradients(y, parameters).values()])
            for y in (seen, right)
        )
        FORWARD.refuse(not found.any(), "no-gradient", argument=part)
        if (found - truth).norm() > 1e-2 * truth.norm():
            raise FORWARD.error("part-of-gradient", argument=part)


def _check_optimizer(model_class: type[Any], model: Any, case: Case) -> None:
    result = chosen = call_method(OPTIMIZER, model_class, model)
    if isinstance(result, tuple) and [type(part) for part in result] == [list, list]:
        chosen, _schedulers = result  # as Lightning allows
    if isinstance(chosen, list | tuple) and len(chosen) == 1:
        (chosen,) = chosen
    if isinstance(chosen, dict):
        chosen = chosen.get("optimizer")
    mistake = None
    if not isinstance(chosen, torch.optim.Optimizer):
        mistake = "several" if isinstance(chosen, list | tuple) else "no-optimiser"
    OPTIMIZER.expect(result, mistake, "an optimiser of torch.optim")
    if type(chosen) is not torch.optim.Adam:
        raise OPTIMIZER.error("not-adam", kind=type(chosen).__name__)
    learned = {id(p) for group in chosen.param_groups for p in group["params"]}
    for part in ("actor", "critic"):
        if any(id(parameter) not in learned for parameter in getattr(model, part).parameters()):
            raise OPTIMIZER.error("never-learns", part=part)
    rates = {float(group["lr"]) for group in chosen.param_groups}
    if rates != {case.lr}:
        seen = ", ".join(f"{rate:g}" for rate in sorted(rates))
        expected = f"{case.lr:g}, as in {EXERCISE.name}(lr={case.lr:g}, …)"
        raise OPTIMIZER.error("other-rate", seen=seen, expected=expected)
    OPTIMIZER.refuse(any(group["maximize"] for group in chosen.param_groups), "maximises")
    OPTIMIZER.refuse(any(group["weight_decay"] for group in chosen.param_groups), "weight-decay")
