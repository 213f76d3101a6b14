"""The check of `gradients_into`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from bug_hunt_testing import notebooks_own
from details_testing import (
    assert_passes_with_one_line,
    assert_seeds_grade,
    assert_streams_stay,
    assert_told_apart,
    complaint,
    stub,
)
from seeds import SEEDS

from ppo_course import check_gradients_into
from ppo_course.nb10_bug_hunt.gradients_into import BODY, cases


def found(loss, module, **options):
    options = {"retain_graph": True, "allow_unused": True} | options
    names, parameters = zip(*module.named_parameters(), strict=True)
    return names, torch.autograd.grad(loss, parameters, **options)


def by_grad(loss, module):
    names, gradients = found(loss, module)
    return [n for n, g in zip(names, gradients, strict=True) if g is not None and g.any()]


def one_by_one(loss, module):
    result = set()
    for name, parameter in module.named_parameters():
        (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)
        if gradient is not None and gradient.abs().sum() > 0:
            result.add(name)
    return result


def materialized(loss, module):
    names, gradients = found(loss, module, allow_unused=None, materialize_grads=True)
    return tuple(n for n, g in zip(names, gradients, strict=True) if torch.count_nonzero(g))


def by_trying(loss, module):
    """One parameter at a time; returns a dict's keys."""
    result = {}
    for name, parameter in module.named_parameters():
        try:
            (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        except RuntimeError:
            continue
        if gradient.any():
            result[name] = gradient
    return result.keys()


def by_restoring(loss, module):
    """backward() into the module's parameters alone, and everything put back."""
    before = [parameter.grad for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = None
    loss.backward(retain_graph=True, inputs=list(module.parameters()))
    result = [n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()]
    for parameter, gradient in zip(module.parameters(), before, strict=True):
        parameter.grad = gradient
    return result


@pytest.mark.parametrize("function", [by_grad, one_by_one, materialized, by_trying, by_restoring])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_gradients_into, function, capsys)
    for seed in range(5):
        check_gradients_into(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_gradients_into, notebooks_own("gradients_into"), capsys)


def test_what_is_expected_is_what_autograd_finds():
    for seed in (None, *SEEDS):
        for case in cases(seed):
            assert tuple(by_grad(case.loss, case.module)) == case.expected


def backward(loss, module):
    loss.backward(retain_graph=True)
    return [n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()]


def cleared(loss, module):
    module.zero_grad()
    return backward(loss, module)


def learned(loss, module):
    result = by_grad(loss, module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.sub_(0.1)
    return result


def unused(loss, module):
    return found(loss, module, allow_unused=False)[0]


def no_none(loss, module):
    names, gradients = found(loss, module)
    return [n for n, g in zip(names, gradients, strict=True) if g.any()]


def with_zeros(loss, module):
    names, gradients = found(loss, module)
    return [n for n, g in zip(names, gradients, strict=True) if g is not None]


def where(condition):
    """Names the parameters whose gradient fulfils a condition."""

    def function(loss, module):
        names, gradients = found(loss, module)
        pairs = zip(names, gradients, strict=True)
        return [n for n, g in pairs if g is not None and condition(g)]

    return function


def frozen(loss, module):
    result = by_grad(loss, module)
    module.requires_grad_(False)
    return result


def in_eval_mode(loss, module):
    result = by_grad(loss, module)
    module.eval()
    return result


def one_truth(loss, module):
    _, gradients = found(loss, module, allow_unused=None, materialize_grads=True)
    return gradients[0].any()


def upside_down(loss, module):
    return [n for n, _ in module.named_parameters() if n not in by_grad(loss, module)]


def generated(loss, module):
    yield from by_grad(loss, module)


def one_in_the_loop(loss, module):
    for name in by_grad(loss, module):
        return [name]
    return []


def nothing_after_the_loop(loss, module):  # noqa: RET503 - as students write
    for name in by_grad(loss, module):
        return [name]


def list_in_the_loop(loss, module):  # noqa: RET503 - as students write
    result = []
    for name, parameter in module.named_parameters():
        (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)
        if gradient is not None and gradient.any():
            result.append(name)
        return result


def new_in_the_loop(loss, module):
    result = []
    for name in by_grad(loss, module):
        result = [name]
    return result


def tried(loss, module):
    try:
        names, gradients = found(loss, module, allow_unused=False)
    except RuntimeError:
        return []
    return [n for n, g in zip(names, gradients, strict=True) if g.any()]


def tried_with_zeros(loss, module):
    try:
        names, _ = found(loss, module, allow_unused=False)
    except RuntimeError:
        return []
    return names


def loop_tried(loss, module):
    result = []
    try:
        for name, parameter in module.named_parameters():
            (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            if gradient.any():
                result.append(name)
    except RuntimeError:
        pass
    return result


def stopped(loss, module):
    result = []
    for name, gradient in zip(*found(loss, module), strict=True):
        if gradient is None:
            break
        if gradient.any():
            result.append(name)
    return result


def any_of_the_gradients(loss, module):
    return [
        name
        for name, parameter in module.named_parameters()
        if any(torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True))
    ]


# The words of an error stand in lines of their own: the message quotes the function's line.
WRONG_ANSWERS = {
    "generator": (generated, "no-length"),
    "map": (
        lambda loss, m: map(str, by_grad(loss, m)),
        "no-length",
    ),
    "one in the loop": (one_in_the_loop, "first-name"),
    "nothing after": (
        nothing_after_the_loop,
        "none-for-empty",
    ),
    "list in the loop": (list_in_the_loop, "first-parameter"),
    "new in the loop": (new_in_the_loop, "last-name"),
    "tried": (tried, "one-hides-all"),
    "tried, with zeros": (tried_with_zeros, "one-hides-all"),
    "loop tried": (loop_tried, "leaves-off"),
    "stopped": (stopped, "leaves-off"),
    "truth of many": (
        where(lambda g: bool(g != 0)),
        "one-entry-not-0",
    ),
    "any of them": (any_of_the_gradients, "one-entry-not-0"),
    "gradients of pairs": (
        lambda loss, m: torch.autograd.grad(loss, m.named_parameters()),
        "parameters-not-pairs",
    ),
    "gradients of a module": (
        lambda loss, m: torch.autograd.grad(loss, m, allow_unused=True),
        "parameters-not-pairs",
    ),
    "stale": (backward, "reads-grad"),
    "left behind": (cleared, "leaves-gradients"),
    "freed": (
        lambda loss, m: [
            n
            for n, g in zip(*found(loss, m, retain_graph=False), strict=True)
            if g is not None and g.any()
        ],
        "graph-freed",
    ),
    "all": (lambda loss, m: [n for n, _ in m.named_parameters()], "every-parameter"),
    "requires": (
        lambda loss, m: [n for n, p in m.named_parameters() if p.requires_grad],
        "every-parameter",
    ),
    "summed": (where(lambda g: g.sum() != 0), "adds-entries"),
    "above 0": (where(lambda g: (g > 0).any()), "above-0-only"),
    "largest": (where(lambda g: g.max() > 0), "above-0-only"),
    "all entries": (where(lambda g: g.all()), "all-entries"),
    "first entry": (where(lambda g: g.flatten()[0] != 0), "first-entry"),
    "threshold": (where(lambda g: g.norm() > 1e-3), "small-left-out"),
    "frozen": (frozen, "cannot-learn"),
    "eval": (in_eval_mode, "changes-mode"),
    "zeros": (with_zeros, "zeros-counted"),
    "upside down": (upside_down, "upside-down"),
    "strange": (lambda loss, m: ["head.bias"], "unknown"),
    "none": (lambda loss, m: [], "finds-nothing"),
    "no backward": (
        lambda loss, m: [n for n, p in m.named_parameters() if p.grad is not None],
        "finds-nothing",
    ),
    "weights": (
        lambda loss, m: [n for n in by_grad(loss, m) if n.endswith("weight")],
        "no-biases",
    ),
    "step": (learned, "changes-weights"),
    "tensors": (lambda loss, m: list(m.parameters()), "tensors"),
    "pairs": (lambda loss, m: list(m.named_parameters()), "no-names"),
    "modules": (lambda loss, m: ["body"], "the network has no parameter 'body'"),
    "truth": (lambda loss, m: bool(by_grad(loss, m)), "number"),
    "number": (lambda loss, m: len(by_grad(loss, m)), "number"),
    "one truth": (one_truth, "number"),
    "text": (lambda loss, m: "body.weight", "no-list"),
    "unused": (unused, "allow-unused"),
    "None": (no_none, "gradient-none"),
    "nothing": (lambda loss, m: None, "returns-nothing"),
    "signature": (lambda loss: [], "is called as gradients_into(loss, module)"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_gradients_into, WRONG_ANSWERS, name)


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_gradients_into, by_grad, WRONG_ANSWERS, capsys)


def test_a_guess_by_the_names_fails():
    complaint(check_gradients_into, lambda loss, m: list(BODY))


def test_the_streams_of_chance_stay_as_they_were():
    assert_streams_stay(check_gradients_into, by_grad)
