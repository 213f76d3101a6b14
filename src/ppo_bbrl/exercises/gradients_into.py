"""The check of notebook 10's fourth instrument: which weights of a network a loss moves."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppo_bbrl.exercises.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    untouched_randomness,
)

#: (loss, module) → names of parameters
GradientsInto = Callable[[Tensor, nn.Module], Any]

NAME = "gradients_into"


class Actor(nn.Module):
    """A network of a body and a head.

    Args:
        sizes: inputs, features and outputs.
        generator: of the weights.
    """

    def __init__(self, sizes: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        n_inputs, n_features, n_outputs = sizes
        self.body = nn.Linear(n_inputs, n_features)
        self.head = nn.Linear(n_features, n_outputs)
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Case(NamedTuple):
    """A loss, the network that is asked about, and what else is there.

    Attributes:
        told: what it is, in words.
        loss: with its graph.
        module: of which the parameters are asked.
        others: a network that `loss` may reach, too.
        expected: names of parameters of `module`.
        stale: whether an earlier step has left something in `.grad`.
        zeros: whether `loss` reaches all parameters, but some with a gradient of 0.
    """

    told: str
    loss: Tensor
    module: nn.Module
    others: nn.Module
    expected: tuple[str, ...]
    stale: bool = False
    zeros: bool = False


BODY = ("body.weight", "body.bias")
HEAD = ("head.weight", "head.bias")


def cases(seed: int | None) -> list[Case]:
    """Losses that reach all, nothing, a part, and one with a gradient of zeros."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)

    def size(low: int) -> int:
        return int(torch.randint(low, low + 3, (), generator=generator))

    sizes = (size(2), size(3), size(2))
    obs = torch.randn(size(4), sizes[0], generator=generator)

    def networks() -> tuple[Actor, nn.Linear]:
        actor = Actor(sizes, generator)
        critic = nn.Linear(sizes[1], 1)
        with torch.no_grad():
            critic.weight.fill_(0.5)
            critic.bias.fill_(0.1)
        return actor, critic

    def case(
        told: str,
        loss_of: Callable[[Actor, nn.Linear], Tensor],
        expected: tuple[str, ...],
        **facts: bool,
    ) -> Case:
        actor, critic = networks()
        told = f"{told}, asked about the actor"
        return Case(told, loss_of(actor, critic), actor, critic, expected, **facts)

    def features(actor: Actor) -> Tensor:
        return actor.body(obs).tanh()  # type: ignore[no-any-return]

    result = [
        case(
            "the loss of an actor",
            lambda actor, _: actor.head(features(actor)).log_softmax(-1)[:, 0].mean(),
            BODY + HEAD,
        ),
        case(
            "the loss of a critic that reads the actor's features",
            lambda actor, critic: critic(features(actor)).square().mean(),
            BODY,
        ),
        case(
            "the loss of a critic that reads the detached features of the actor",
            lambda actor, critic: critic(features(actor).detach()).square().mean(),
            (),
            stale=True,
        ),
        case(
            "a loss in which the head has the weight 0",
            lambda actor, _: (features(actor).sum() + 0 * actor.head(features(actor)).sum()) ** 2,
            BODY,
            zeros=True,
        ),
    ]
    for parameter in result[2].module.parameters():
        parameter.grad = torch.ones_like(parameter)
    return result


def check_gradients_into(function: GradientsInto, *, seed: int | None = None) -> None:
    """Check a student's `gradients_into(loss, module)`.

    It gets a scalar with its graph and a network, and returns the names of the network's
    parameters that have a gradient of the loss other than 0. It leaves `.grad` and the graph as
    they were.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other networks from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        asked = cases(seed)
        answers = [
            _names(call(function, case.loss, case.module, hint=_hint), case) for case in asked
        ]
        _check_names(asked, answers)
        for case in cases(seed):
            _check_traces(function, case)
    if seed is None:
        print("Well done! It finds a path that nobody wanted, and leaves no trace of its own.")


def _check_names(asked: Sequence[Case], answers: Sequence[Sequence[str]]) -> None:
    """Raise unless the names are right in all cases."""
    every = [name for name, _ in asked[0].module.named_parameters()]
    turned = all(
        set(seen) == set(every) - set(case.expected)
        for case, seen in zip(asked, answers, strict=True)
    )
    for case, seen in zip(asked, answers, strict=True):
        if set(seen) == set(case.expected):
            continue
        facts = [
            f"  Example: {case.told}.",
            f"  seen      {_listed(seen)}",
            f"  expected  {_listed(case.expected)}",
        ]
        if turned:
            raise not_right(
                NAME,
                "it is upside down: it names the parameters that the loss does not move",
                "those whose gradient is there (not None) and not zero",
                *facts,
            )
        raise _explained(case, seen, every, facts)


def _check_traces(function: GradientsInto, case: Case) -> None:
    """Raise if weights, gradients or the graph are not what they were."""
    everything = [*case.module.parameters(), *case.others.parameters()]
    weights = [parameter.detach().clone() for parameter in everything]
    before = [None if p.grad is None else p.grad.clone() for p in everything]
    call(function, case.loss, case.module, hint=_hint)
    facts = [f"  Example: {case.told}."]
    if not all(map(torch.equal, weights, [p.detach() for p in everything])):
        raise not_right(NAME, "it changes weights", "an instrument only looks: no step", *facts)
    for parameter, old in zip(everything, before, strict=True):
        new = parameter.grad
        if (new is None) != (old is None) or (
            new is not None and old is not None and not torch.equal(new, old)
        ):
            raise not_right(
                NAME,
                "its names are right, but it leaves gradients behind: the next step of an "
                "optimiser would use what .grad of some parameters now holds",
                "loss.backward() writes .grad, and zero_grad() clears it; torch.autograd.grad "
                "returns gradients and writes nowhere",
                *facts,
            )
    try:
        case.loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise not_right(
            NAME,
            "its names are right, but afterwards nobody can call loss.backward() any more: the "
            "graph has been freed",
            "torch.autograd.grad(…, retain_graph=True) keeps the graph",
            *facts,
        ) from error


def _names(result: Any, case: Case) -> list[str]:
    """The names that were returned, if they are names."""
    expected = '  expected  a list of names, such as ["body.weight", "body.bias"]'
    facts = (f"  seen      {describe(result)}", expected)
    if result is None:
        raise not_right(NAME, "it returns nothing", "the last line: return …", *facts)
    if isinstance(result, bool | int | float):
        raise not_right(
            NAME,
            "it returns a number or a truth value",
            "we want to know which parameters: a list of their names",
            *facts,
        )
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise not_right(NAME, "it does not return a list", "the last line", *facts)
    items = list(result)
    if any(isinstance(item, Tensor) for item in items):
        raise not_right(
            NAME,
            "it returns tensors, and not names",
            "module.named_parameters() gives pairs of a name and a parameter",
            *facts,
        )
    if not all(isinstance(item, str) for item in items):
        raise not_right(
            NAME,
            "what is in the list are no names",
            "module.named_parameters() gives pairs: take the name alone",
            f"  seen      a list with {describe(next(x for x in items if type(x) is not str))}",
            expected,
        )
    known = dict(case.module.named_parameters())
    strange = [item for item in items if item not in known]
    if strange:
        raise not_right(
            NAME,
            f"the network has no parameter '{strange[0]}'",
            "the names are those of module.named_parameters()",
            f"  seen      {_listed(items)}",
            f"  the parameters  {', '.join(known)}",
        )
    return list(dict.fromkeys(items))


def _explained(
    case: Case, seen: Sequence[str], every: Sequence[str], facts: Sequence[str]
) -> ExerciseError:
    """The error about wrong names."""
    if case.stale and seen:
        return not_right(
            NAME,
            "it takes what an earlier step has left in .grad for a gradient of this loss",
            "torch.autograd.grad computes the gradients of this loss alone, and reads no .grad",
            *facts,
        )
    if case.zeros and set(seen) == set(every):
        return not_right(
            NAME,
            "a gradient of zeros is counted: the head has one, but nothing moves it",
            "gradient.any() is false where all entries are 0",
            *facts,
        )
    if set(seen) == set(every):
        return not_right(
            NAME,
            "it names every parameter of the network, whether or not the loss reaches it",
            "torch.autograd.grad(…, allow_unused=True) gives None where there is no path; "
            "requires_grad only says that a parameter can learn",
            *facts,
        )
    if not seen:
        return not_right(
            NAME,
            "it finds nothing, though the loss reaches some parameters",
            "whether gradients are computed at all: .grad stays None until somebody calls "
            "backward(); torch.autograd.grad returns them",
            *facts,
        )
    if any(name.endswith("bias") for name in case.expected) and all(
        n.endswith("weight") for n in seen
    ):
        return not_right(
            NAME, "the biases are missing", "they are parameters, too: all of them", *facts
        )
    return not_right(
        NAME,
        "some names are wrong, in a way that this check does not know",
        "follow the example through your function, parameter by parameter",
        *facts,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "no names"


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(loss, module)"
    if "not have been used in the graph" in text:
        return (
            "a parameter that the loss does not reach is an error to torch.autograd.grad, unless "
            "you say allow_unused=True: then its gradient is None"
        )
    if "backward through the graph a second time" in text:
        return (
            "torch frees the graph after the first gradient: one call for all parameters, or "
            "retain_graph=True"
        )
    if isinstance(error, AttributeError) and "NoneType" in text:
        return "where there is no path the gradient is None: ask for this first"
    if isinstance(error, TypeError) and "NoneType" in text:
        return "where there is no path the gradient is None: ask for this first"
    return ""
