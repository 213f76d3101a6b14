"""The check of notebook 09's first exercise: a policy, a value and an optimiser for Lightning."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from ppo_course.feedback import describe, not_right, numbers, same, untouched_randomness
from ppo_course.student_code import InertEnv, call_method, made

NAME = "ActorCritic"
FORWARD, OPTIMIZER = "forward", "configure_optimizers"


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

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=source))

    return [
        Case(between(5, 8), between(3, 6), between(7, 12), between(3, 80) / 1000, 2 * seed + k)
        for k in (0, 1)
    ]


def check_actor_critic(model_class: type[Any], *, seed: int | None = None) -> None:
    """Check a student's class `ActorCritic(PPO)` with networks `actor` and `critic`.

    `forward(x)` of observations `[N, D]` returns a Categorical over K actions and values `[N]`;
    `configure_optimizers()` returns one optimiser of all parameters, with learning rate `lr`.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        model_class: the student's.
        seed: draw other sizes and weights from it than those of CartPole; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        for case in cases(seed):
            _check(model_class, case)
    if seed is None:
        print("Well done! A distribution over actions, values [N], and an optimiser for both.")


def _check(model_class: type[Any], case: Case) -> None:
    torch.manual_seed(case.seed)
    env = InertEnv(case.n_inputs, case.n_actions)
    model = made(model_class, NAME, env=env, eval_env=None, lr=case.lr)
    for part in ("actor", "critic"):
        if not isinstance(getattr(model, part, None), torch.nn.Module):
            raise not_right(NAME, f"it has no network self.{part}", "__init__ is given")
    source = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=source))
    x = torch.randn(case.n, case.n_inputs, generator=source)
    answer = call_method(model, FORWARD, x.clone(), hint=_hint, check_in=model_class)
    dist, value = _read(answer, case)
    _check_policy(model, dist, x)
    _check_value(model, value, x)
    _check_gradients(model, dist, value, x)
    _check_one_observation(model_class, model, x[:1])
    _check_optimizer(model_class, model, case)


def _read(answer: Any, case: Case) -> tuple[Categorical, Tensor]:
    """The distribution and the values that `forward` returned.

    Raises:
        ExerciseError: if it returned something else.
    """
    expected = f"  expected  2 values: a Categorical, a tensor of shape [{case.n}]"
    facts = (f"  seen      {describe(answer)}", expected)
    last_line = "the last line: return the distribution, then the values"
    if answer is None:
        raise not_right(FORWARD, "it returns nothing", last_line, *facts)
    if isinstance(answer, list) and len(answer) == 2:
        look = "the last line, without brackets: return …, …"
        raise not_right(FORWARD, "it returns a list; PPO wants a tuple of two", look, *facts)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise not_right(FORWARD, "it does not return two things", last_line, *facts)
    dist, value = answer
    if isinstance(value, Distribution):
        raise not_right(FORWARD, "the two come in the wrong order", last_line, *facts)
    if isinstance(dist, Tensor):
        look = "Categorical(logits=…) makes a distribution of the actor's scores"
        raise not_right(FORWARD, "what comes first is a tensor, no distribution", look, *facts)
    if type(dist) is not Categorical:
        look = "a choice between a few actions is a torch.distributions.Categorical"
        raise not_right(FORWARD, "what comes first is no Categorical", look, *facts)
    if not isinstance(value, Tensor):
        raise not_right(FORWARD, "the values are no tensor", "what self.critic(x) gives", *facts)
    shape, n_actions = list(dist.batch_shape), dist.logits.shape[-1]
    if shape != [case.n] or n_actions != case.n_actions:
        raise not_right(
            FORWARD,
            "the distribution has the wrong size",
            "its scores are self.actor(x), as they are: [N, K]",
            f"  seen      {shape} choices between {n_actions} actions",
            f"  expected  [{case.n}] choices between {case.n_actions} actions",
        )
    if list(value.shape) != [case.n]:
        column = list(value.shape) == [case.n, 1]
        raise not_right(
            FORWARD,
            "the values are a column, [N, 1]: minus returns, [N], they would become [N, N]"
            if column
            else "the values have the wrong shape",
            ".squeeze(-1) takes the last dimension away"
            if column
            else "one value for each observation: self.critic(x).squeeze(-1)",
            *facts,
        )
    return dist, value


@torch.no_grad()
def _check_policy(model: Any, dist: Categorical, x: Tensor) -> None:
    scores = model.actor(x)
    probabilities = bool((scores >= 0).all()) and same(scores.sum(-1), torch.ones(len(x)))
    right = scores if probabilities else scores.softmax(-1)
    if same(dist.probs, right):
        return
    facts = (
        f"  seen      {numbers(dist.probs[0])}  (probabilities of the first observation)",
        f"  expected  {numbers(right[0])}",
    )
    twice = Categorical(logits=right).probs
    columns = Categorical(probs=scores.softmax(0)).probs
    for seen, wrong, look in (
        (twice, "softmax is taken twice", "Categorical(logits=…) takes the scores themselves"),
        (
            columns,
            "softmax is taken over the observations, not over the actions",
            "Categorical(logits=…) takes the scores themselves, without any softmax",
        ),
        (
            Categorical(logits=-scores).probs,
            "the scores have the wrong sign",
            "Categorical(logits=…) takes the scores as they are",
        ),
    ):
        if same(dist.probs, seen):
            raise not_right(FORWARD, wrong, look, *facts)
    raise not_right(
        FORWARD,
        "the probabilities are not those of the actor",
        "Categorical(logits=self.actor(x))",
        *facts,
    )


@torch.no_grad()
def _check_value(model: Any, value: Tensor, x: Tensor) -> None:
    right = model.critic(x)
    if not same(value, right):
        raise not_right(
            FORWARD,
            "the values are not those of the critic",
            "self.critic(x), with its last dimension taken away",
            f"  seen      {numbers(value[:4])} …",
            f"  expected  {numbers(right[:4])} …",
        )


def _check_gradients(model: Any, dist: Categorical, value: Tensor, x: Tensor) -> None:
    """See that all of the gradient reaches both networks."""
    scores = model.actor(x)
    probabilities = same(scores.detach(), dist.probs)  # the networks end in a softmax already
    weights = torch.linspace(-1, 1, scores.numel()).reshape(scores.shape)
    for part, scalar, truth in (
        ("actor", dist.probs, scores if probabilities else scores.softmax(-1)),
        ("critic", value[:, None].expand_as(weights), model.critic(x).expand_as(weights)),
    ):
        parameters = list(getattr(model, part).parameters())
        found, right = (
            torch.cat(
                [
                    gradient.flatten()
                    for gradient in torch.autograd.grad(
                        (weights * tensor).sum(),
                        parameters,
                        allow_unused=True,
                        materialize_grads=True,
                        retain_graph=True,
                    )
                ]
            )
            if tensor.requires_grad
            else torch.zeros(1)
            for tensor in (scalar, truth)
        )
        look = "forward is for training, too: no torch.no_grad(), .detach() or .item() in it"
        if not found.any():
            raise not_right(FORWARD, f"no gradient reaches the {part}", look)
        if (found - right).norm() > 1e-2 * right.norm():
            raise not_right(FORWARD, f"only a part of the gradient reaches the {part}", look)


def _check_one_observation(model_class: type[Any], model: Any, x: Tensor) -> None:
    """See that `[1, D]` gives values `[1]`, which a squeeze of all dimensions would not."""
    answer = call_method(model, FORWARD, x.clone(), hint=_hint, check_in=model_class)
    if list(answer[1].shape) != [1]:
        raise not_right(
            FORWARD,
            "for one observation, [1, D], the values lose their only dimension",
            ".squeeze() takes away every dimension of length 1, .squeeze(-1) the last one alone",
            f"  seen      {list(answer[1].shape)}",
            "  expected  [1]",
        )


def _check_optimizer(model_class: type[Any], model: Any, case: Case) -> None:
    result = call_method(model, OPTIMIZER, hint=_hint, check_in=model_class)
    facts = (f"  seen      {describe(result)}", "  expected  an optimiser of torch.optim")
    if result is None:
        raise not_right(OPTIMIZER, "it returns nothing", "return torch.optim.Adam(…)", *facts)
    chosen = result
    if isinstance(result, tuple) and [type(part) for part in result] == [list, list]:
        chosen, _schedulers = result  # as Lightning allows
    if isinstance(chosen, list | tuple) and len(chosen) == 1:
        (chosen,) = chosen
    if isinstance(chosen, dict):
        chosen = chosen.get("optimizer")
    if isinstance(chosen, list | tuple):
        look = "one optimiser for the actor and the critic: self.parameters() has both"
        raise not_right(OPTIMIZER, "it returns several optimisers", look, *facts)
    if not isinstance(chosen, torch.optim.Optimizer):
        look = "return torch.optim.Adam(self.parameters(), lr=self.lr)"
        raise not_right(OPTIMIZER, "it returns no optimiser", look, *facts)
    if type(chosen) is not torch.optim.Adam:
        kind = type(chosen).__name__
        look = "torch.optim.Adam"
        raise not_right(OPTIMIZER, f"the optimiser is {kind}, not Adam", look)
    learned = {id(p) for group in chosen.param_groups for p in group["params"]}
    for part in ("actor", "critic"):
        if any(id(parameter) not in learned for parameter in getattr(model, part).parameters()):
            raise not_right(
                OPTIMIZER,
                f"the {part} would never learn: its parameters are not with the optimiser",
                "self.parameters() has those of both networks",
            )
    rates = {float(group["lr"]) for group in chosen.param_groups}
    if rates != {case.lr}:
        raise not_right(
            OPTIMIZER,
            "the learning rate is not that of the model",
            "lr=self.lr: then it can be chosen when the model is made, and is in its checkpoint",
            f"  seen      {', '.join(f'{rate:g}' for rate in sorted(rates))}",
            f"  expected  {case.lr:g}, as in {NAME}(lr={case.lr:g}, …)",
        )
    if any(group["maximize"] for group in chosen.param_groups):
        look = "what it minimises is a loss; leave maximize as it is"
        raise not_right(OPTIMIZER, "the optimiser maximises", look)
    if any(group["weight_decay"] for group in chosen.param_groups):
        look = "the loss alone says where the weights go; leave weight_decay as it is"
        raise not_right(OPTIMIZER, "weight_decay pulls the weights towards 0", look)


def _hint(error: Exception) -> str:
    text = str(error)
    if "probs" in text and isinstance(error, ValueError):
        return "the actor gives scores, of any sign, no probabilities: Categorical(logits=…)"
    if "positional argument" in text:
        return "the methods are forward(self, x) and configure_optimizers(self)"
    if "must define forward" in text:
        return "the method's name is forward, and it is indented below class ActorCritic(PPO):"
    if isinstance(error, NameError):
        return "networks belong to the model: self.actor, self.critic"
    return ""
