"""The check of notebook 10's fourth instrument: which weights of a network a loss moves."""

from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from ppo_course.feedback import call, describe, not_right, untouched_randomness
from ppo_course.nb10_bug_hunt.gradients_into_cases import BODY, HEAD, Case, cases

#: (loss, module) → names of parameters
GradientsInto = Callable[[Tensor, nn.Module], Any]

NAME = "gradients_into"

_IN_THE_LOOP = "return stands after the loop, and not inside it: it ends the function at once"

#: What a function names that leaves off too early: of a case its names; the mistake; where to look.
LEFT_OFF: tuple[tuple[Callable[[Case], Iterable[str]], str, str], ...] = (
    (lambda case: case.expected[:1], "only the first name is returned", _IN_THE_LOOP),
    (
        lambda case: case.expected[-1:],
        "only the last name is returned",
        "the list is made before the loop, and each name is appended to it",
    ),
    (
        lambda case: set(case.expected) & {BODY[0]},
        "only the first parameter is looked at",
        _IN_THE_LOOP,
    ),
    (
        lambda case: case.expected if case.expected == BODY + HEAD else (),
        "one parameter that the loss does not reach hides all others",
        "no try: with allow_unused=True its gradient is None, and the others have theirs",
    ),
    (
        lambda case: takewhile(case.expected.__contains__, BODY + HEAD),
        "it leaves off at the first parameter that the loss does not reach",
        "no return, break or except there: with allow_unused=True its gradient is None",
    ),
)


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
    pairs = list(zip(asked, answers, strict=True))
    wrong = [(case, seen) for case, seen in pairs if set(seen) != set(case.expected)]
    if not wrong:
        return
    # What is wrong with usual losses is no matter of unusual gradients.
    wrong.sort(key=lambda pair: pair[0].overlooked is not None)
    for case, seen in (wrong[0], *(pair for pair in wrong if pair[0].overlooked)):
        known = _mistake(case, seen, pairs)
        if known is not None:
            raise not_right(NAME, *known, *_facts(case, seen))
    raise not_right(
        NAME,
        "some names are wrong, in a way that this check does not know",
        "follow the example through your function, parameter by parameter",
        *_facts(*wrong[0]),
    )


def _facts(case: Case, seen: Sequence[str]) -> list[str]:
    return [
        f"  Example: {case.told}.",
        f"  seen      {', '.join(seen) or 'no names'}",
        f"  expected  {', '.join(case.expected) or 'no names'}",
    ]


def _check_traces(function: GradientsInto, case: Case) -> None:
    """Raise if weights, gradients or the graph are not what they were."""
    everything = [*case.module.parameters(), *case.others.parameters()]
    weights = [parameter.detach().clone() for parameter in everything]
    before = [None if p.grad is None else p.grad.clone() for p in everything]
    modules = [*case.module.modules(), *case.others.modules()]
    training = [module.training for module in modules]
    loss = case.loss.detach().clone()
    call(function, case.loss, case.module, hint=_hint)
    facts = [f"  Example: {case.told}."]
    if not torch.equal(case.loss.detach(), loss):
        raise not_right(NAME, "it changes the loss", "an instrument only looks", *facts)
    if not all(parameter.requires_grad for parameter in everything):
        raise not_right(
            NAME,
            "its names are right, but it leaves parameters that cannot learn any more: their "
            "requires_grad is False",
            "an instrument only looks: no requires_grad_(False)",
            *facts,
        )
    if training != [module.training for module in modules]:
        raise not_right(
            NAME,
            "its names are right, but it leaves the network in another mode",
            "an instrument only looks: no .eval() and no .train(), which change what layers such "
            "as dropout do",
            *facts,
        )
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
    if result is None and not case.expected:
        raise not_right(
            NAME,
            "where the loss reaches no parameter, it returns None",
            f"an empty list, []; {_IN_THE_LOOP}",
            f"  Example: {case.told}.",
            facts[0],
        )
    if result is None:
        raise not_right(NAME, "it returns nothing", "the last line: return …", *facts)
    if isinstance(result, bool | int | float) or (isinstance(result, Tensor) and not result.dim()):
        raise not_right(
            NAME,
            "it returns a number or a truth value",
            "we want to know which parameters: a list of their names",
            *facts,
        )
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise not_right(NAME, "it does not return a list", "the last line", *facts)
    if not isinstance(result, Sized):
        raise not_right(
            NAME,
            "what it returns gives its names only once, and has no len()",
            "a list: square brackets, list(…), or return a list in place of yield",
            *facts,
        )
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
            f"  seen      {', '.join(items)}",
            f"  the parameters  {', '.join(known)}",
        )
    return list(dict.fromkeys(items))


def _mistake(
    case: Case, seen: Sequence[str], pairs: Sequence[tuple[Case, Sequence[str]]]
) -> tuple[str, str] | None:
    """What is wrong with the names of a case, and where to look; None if it is not known."""
    every = set(BODY + HEAD)
    if all(set(names) == every - set(one.expected) for one, names in pairs):
        return (
            "it is upside down: it names the parameters that the loss does not move",
            "those whose gradient is there (not None) and not zero",
        )
    if case.stale and seen:
        return (
            "it takes what an earlier step has left in .grad for a gradient of this loss",
            "torch.autograd.grad computes the gradients of this loss alone, and reads no .grad",
        )
    usual = [(one, set(names)) for one, names in pairs if not one.zeros]
    for names_of, wrong, look in LEFT_OFF:
        if all(names == set(names_of(one)) for one, names in usual):
            return wrong, look
    if case.zeros and set(seen) == every:
        return (
            "a gradient of zeros is counted: the head has one, but nothing moves it",
            "gradient.any() is false where all entries are 0",
        )
    if set(seen) == every:
        return (
            "it names every parameter of the network, whether or not the loss reaches it",
            "with allow_unused=True the gradient is None where there is no path: ask for this",
        )
    found = {name for one, names in pairs if not one.stale for name in names}
    if not found:
        return (
            "it finds nothing, though the loss reaches some parameters",
            "torch.autograd.grad returns gradients; .grad is None until somebody calls backward()",
        )
    if not any(name.endswith("bias") for name in found):
        return "the biases are missing", "they are parameters, too: all of them"
    return case.overlooked if set(seen) < set(case.expected) else None


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(loss, module)"
    if "ambiguous" in text:
        return (
            "`if` and any(…) want one truth value, and a gradient x has many entries: "
            "(x != 0).any() says whether one of them is not 0"
        )
    if "have to be Tensors" in text or "'Actor' object is not iterable" in text:
        return (
            "torch.autograd.grad takes parameters, without their names: module.parameters(), or "
            "the second of each pair in module.named_parameters()"
        )
    if "does not require grad" in text:
        return "the parameters keep requires_grad = True: an instrument only looks"
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
