"""The check of notebook 10's fourth instrument: which weights of a network a loss moves."""

from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_course.drawing import draw_weights, integer, source_of
from ppo_course.feedback import describe
from ppo_course.mistakes import Exercise, StudentCode, read_words

EXERCISE = Exercise("gradients_into", ("loss", "module"), read_words(__file__))
BODY = ("body.weight", "body.bias")
HEAD = ("head.weight", "head.bias")


class Actor(nn.Module):
    """A network of a body and a head; its sizes are those of inputs, features and outputs."""

    def __init__(self, sizes: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        n_inputs, n_features, n_outputs = sizes
        self.body = nn.Linear(n_inputs, n_features)
        self.head = nn.Linear(n_features, n_outputs)
        draw_weights(self, generator)


class Case(NamedTuple):
    """A loss, the network that is asked about, and what else is there."""

    told: str  # what it is, in words
    loss: Tensor  # with its graph
    module: nn.Module  # of which the parameters are asked
    others: nn.Module  # a network that `loss` may reach, too
    expected: tuple[str, ...]  # names of parameters of `module`
    stale: bool = False  # whether an earlier step has left something in `.grad`
    zeros: bool = False  # whether `loss` reaches all parameters, but some with a gradient of 0
    overlooked: str | None = None  # the key of what a function does that misses parameters here


def cases(seed: int | None) -> list[Case]:
    """Losses with unusual gradients; then some that reach all, nothing, a part, and zeros."""
    generator = source_of(seed)
    sizes = (integer(generator, 2, 5), integer(generator, 3, 6), integer(generator, 2, 5))
    obs = torch.randn(integer(generator, 4, 7), sizes[0], generator=generator)
    one_each = torch.ones(sizes[2])
    one_each[-1] = 1 - sizes[2]  # adds up to 0, and no entry is 0

    def features(actor: Actor) -> Tensor:
        hidden: Tensor = actor.body(obs).tanh()
        return hidden

    # The words, the loss of actor and critic, what it reaches, and what else is to say.
    losses: tuple[tuple[str, Callable[..., Tensor], tuple[str, ...], dict[str, Any]], ...] = (
        (
            "a loss that rises with some biases of the head, and falls as much with another",
            lambda actor, _: (one_each * actor.head.bias).sum(),
            HEAD[1:],
            {"overlooked": "adds-entries"},
        ),
        (
            "a loss that falls with the biases of the head",
            lambda actor, _: -actor.head.bias.sum(),
            HEAD[1:],
            {"overlooked": "above-0-only"},
        ),
        (
            "a loss of the first feature alone",
            lambda actor, _: features(actor)[:, 0].square().mean(),
            BODY,
            {"overlooked": "all-entries"},
        ),
        (
            "a loss of the last feature alone",
            lambda actor, _: features(actor)[:, -1].square().mean(),
            BODY,
            {"overlooked": "first-entry"},
        ),
        (
            "a millionth of the biases of the head",
            lambda actor, _: 1e-6 * actor.head.bias.sum(),
            HEAD[1:],
            {"overlooked": "small-left-out"},
        ),
        (
            "the loss of an actor",
            lambda actor, _: actor.head(features(actor)).log_softmax(-1)[:, 0].mean(),
            BODY + HEAD,
            {},
        ),
        (
            "the loss of a critic that reads the actor's features",
            lambda actor, critic: critic(features(actor)).square().mean(),
            BODY,
            {},
        ),
        (
            "the loss of a critic that reads the detached features of the actor",
            lambda actor, critic: critic(features(actor).detach()).square().mean(),
            (),
            {"stale": True},
        ),
        (
            "a loss in which the head has the weight 0",
            lambda actor, _: (features(actor).sum() + 0 * actor.head(features(actor)).sum()) ** 2,
            BODY,
            {"zeros": True},
        ),
    )
    result = []
    for told, loss_of, expected, facts in losses:
        actor, critic = Actor(sizes, generator), nn.Linear(sizes[1], 1)
        nn.init.constant_(critic.weight, 0.5)
        nn.init.constant_(critic.bias, 0.1)
        loss = loss_of(actor, critic)
        asked = f"{told}, asked about the actor"
        result.append(Case(asked, loss, actor, critic, expected, **facts))
        for parameter in actor.parameters() if "stale" in facts else ():
            parameter.grad = torch.ones_like(parameter)
    return result


# What a function names of a case that leaves off too early.
LEFT_OFF: dict[str, Callable[[Case], Iterable[str]]] = {
    "first-name": lambda case: case.expected[:1],
    "last-name": lambda case: case.expected[-1:],
    "first-parameter": lambda case: set(case.expected) & {BODY[0]},
    "one-hides-all": lambda case: case.expected if case.expected == BODY + HEAD else (),
    "leaves-off": lambda case: takewhile(case.expected.__contains__, BODY + HEAD),
}


@torch.enable_grad()
@EXERCISE.check
def check_gradients_into(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `gradients_into(loss, module)`.

    It gets a scalar with its graph and a network, and returns the names of the network's
    parameters that have a gradient of the loss other than 0. It leaves `.grad` and the graph as
    they were.
    """
    asked = cases(seed)
    answers = [_names(EXERCISE.call(function, case.loss, case.module), case) for case in asked]
    _check_names(asked, answers)
    for case in cases(seed):
        _check_traces(function, case)


def _check_names(asked: Sequence[Case], answers: Sequence[Sequence[str]]) -> None:
    """Raise unless the names are right in all cases."""
    pairs = list(zip(asked, answers, strict=True))
    wrong = [(case, seen) for case, seen in pairs if set(seen) != set(case.expected)]
    if not wrong:
        return
    # What is wrong with usual losses is no matter of unusual gradients.
    wrong.sort(key=lambda pair: pair[0].overlooked is not None)
    for case, seen in (wrong[0], *(pair for pair in wrong if pair[0].overlooked)):
        known = _mistake(case, seen, pairs)
        if known is not None:
            raise EXERCISE.error(known, facts=_facts(case, seen))
    raise EXERCISE.error("unknown", facts=_facts(*wrong[0]))


def _facts(case: Case, seen: Sequence[str]) -> list[str]:
    return [
        f"  Example: {case.told}.",
        f"  seen      {', '.join(seen) or 'no names'}",
        f"  expected  {', '.join(case.expected) or 'no names'}",
    ]


def _check_traces(function: StudentCode, case: Case) -> None:
    """Raise if weights, gradients or the graph are not what they were."""
    everything = [*case.module.parameters(), *case.others.parameters()]
    weights = [parameter.detach().clone() for parameter in everything]
    before = [None if p.grad is None else p.grad.clone() for p in everything]
    modules = [*case.module.modules(), *case.others.modules()]
    training = [module.training for module in modules]
    EXERCISE.call(function, case.loss, case.module)
    facts = [f"  Example: {case.told}."]
    if not all(parameter.requires_grad for parameter in everything):
        raise EXERCISE.error("cannot-learn", facts=facts)
    if training != [module.training for module in modules]:
        raise EXERCISE.error("changes-mode", facts=facts)
    if not all(map(torch.equal, weights, [p.detach() for p in everything])):
        raise EXERCISE.error("changes-weights", facts=facts)
    for parameter, old in zip(everything, before, strict=True):
        new = parameter.grad
        if new is not old and (new is None or old is None or not torch.equal(new, old)):
            raise EXERCISE.error("leaves-gradients", facts=facts)
    try:
        case.loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise EXERCISE.error("graph-freed", facts=facts) from error


def _names(result: Any, case: Case) -> list[str]:
    """The names that were returned, if they are names."""
    expected = 'a list of names, such as ["body.weight", "body.bias"]'
    if result is None and not case.expected:
        raise EXERCISE.error("none-for-empty", facts=[f"  Example: {case.told}."], seen="None")
    mistake = None
    if isinstance(result, bool | int | float) or (isinstance(result, Tensor) and not result.dim()):
        mistake = "number"
    elif isinstance(result, str) or not isinstance(result, Iterable):
        mistake = "no-list"
    elif not isinstance(result, Sized):
        mistake = "no-length"
    EXERCISE.expect(result, mistake, expected)
    items = list(result)
    if any(isinstance(item, Tensor) for item in items):
        EXERCISE.expect(result, "tensors", expected)
    other = [item for item in items if not isinstance(item, str)]
    if other:
        EXERCISE.expect(result, "no-names", expected, seen=f"a list with {describe(other[0])}")
    known = dict(case.module.named_parameters())
    strange = [item for item in items if item not in known]
    if strange:
        facts = (f"  seen      {', '.join(items)}", f"  the parameters  {', '.join(known)}")
        raise EXERCISE.error("strange", facts=facts, parameter=strange[0])
    return list(dict.fromkeys(items))


def _mistake(
    case: Case, seen: Sequence[str], pairs: Sequence[tuple[Case, Sequence[str]]]
) -> str | None:
    """The key of what is wrong with the names of a case; None if it is not known."""
    every = set(BODY + HEAD)
    if all(set(names) == every - set(one.expected) for one, names in pairs):
        return "upside-down"
    if case.stale and seen:
        return "reads-grad"
    usual = [(one, set(names)) for one, names in pairs if not one.zeros]
    for key, names_of in LEFT_OFF.items():
        if all(names == set(names_of(one)) for one, names in usual):
            return key
    if set(seen) == every:
        return "zeros-counted" if case.zeros else "every-parameter"
    found = {name for one, names in pairs if not one.stale for name in names}
    if not found:
        return "finds-nothing"
    if not any(name.endswith("bias") for name in found):
        return "no-biases"
    return case.overlooked if set(seen) < set(case.expected) else None
