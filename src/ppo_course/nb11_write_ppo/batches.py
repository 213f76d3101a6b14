"""The check of notebook 11's fourth step: the transitions of a rollout, and minibatches of them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ppo_course.drawing import source_of
from ppo_course.feedback import describe, same
from ppo_course.formulas import first_fit
from ppo_course.instruments.rollouts import TARGETS, Factors, draw_rollout
from ppo_course.mistakes import StudentCode
from ppo_course.nb11_write_ppo.cases import SmallCritic, SmallPolicy, config, recorded, settings_of
from ppo_course.nb11_write_ppo.exercise import OwnCode, lent

EXERCISE = OwnCode("transitions", ("workspace", "critic", "cfg"))
STREAM = OwnCode("minibatches", ("n", "batch_size"))
NAMES = ("obs", "action", "log_prob", "advantage", "target")
SIZES = ((12, 4), (13, 4), (14, 4), (5, 8))  # one divides, one leaves a single index, one two


@torch.enable_grad()
@EXERCISE.check
def check_batches(
    transitions: StudentCode, minibatches: StudentCode, *, seed: int | None = None
) -> None:
    """Check a student's `transitions(workspace, critic, cfg)` and `minibatches(n, batch_size)`.

    The first returns a dict of tensors `[N, …]`, one entry for each of the N transitions; the
    second index tensors of an epoch.
    """
    EXERCISE.own(transitions)
    STREAM.own(minibatches)
    first = 0 if seed is None else 7 * seed

    def see_transitions() -> None:
        with lent(transitions, besides=("transitions",)):
            _check_transitions(transitions, seed)

    def see_minibatches() -> None:
        for n, batch_size in ((n + first % 5 * batch_size, batch_size) for n, batch_size in SIZES):
            _check_epoch(minibatches, n, batch_size)

    with EXERCISE.partly(transitions=see_transitions, minibatches=see_minibatches):
        see_transitions()
        see_minibatches()


def _check_transitions(function: StudentCode, seed: int | None) -> None:
    source, settings = source_of(seed), settings_of(seed)
    rollout = draw_rollout(source)
    policy, critic = SmallPolicy(source), SmallCritic(source)
    workspace, log_prob = recorded(rollout, policy)
    rollout = rollout._replace(value=critic(rollout.obs).detach())
    before = {name: workspace.get_full(name).clone() for name in workspace.variables}
    result = EXERCISE.call(function, workspace, critic, config(settings))
    for name, tensor in before.items():
        changed = not torch.equal(workspace.get_full(name), tensor)
        EXERCISE.refuse(changed, "changes-variable", variable=name)
    right_form = isinstance(result, dict) and set(NAMES) <= set(result)
    seen = f"a dict with {', '.join(map(str, result))}" if isinstance(result, dict) else ""
    EXERCISE.expect(
        result, None if right_form else "no-dict", f"a dict with {', '.join(NAMES)}", seen=seen
    )
    valid = rollout.valid.flatten()
    n = int(valid.sum())
    flat = {"obs": rollout.obs, "action": rollout.action, "log_prob": log_prob}
    truth = {name: tensor[:-1].flatten(0, 1)[valid] for name, tensor in flat.items()}
    for name in NAMES:
        tensor, shape = result[name], [n, *truth["obs"].shape[1:]] if name == "obs" else [n]
        if not isinstance(tensor, Tensor) or list(tensor.shape) != shape:
            _refuse_shape(tensor, name, shape, rollout.valid.numel())
        EXERCISE.refuse(tensor.requires_grad, "carries-gradient", variable=name)
    EXERCISE.refuse(result["action"].is_floating_point(), "entry-decimals", variable="action")
    _check_numbers(result, truth, rollout, Factors(settings.discount_factor, settings.gae), valid)


def _refuse_shape(tensor: Any, name: str, shape: list[int], all_steps: int) -> None:
    sizes = list(tensor.shape) if isinstance(tensor, Tensor) else []
    key = "entry-shape"
    if sizes[:1] == [all_steps]:
        key = "resets-kept"
    elif len(sizes) == len(shape) + 1:
        key = "not-flat"
    raise EXERCISE.error(
        key, seen=describe(tensor), expected=f"a tensor of shape {shape}", variable=name
    )


def _check_numbers(result: Any, truth: Any, rollout: Any, factors: Factors, valid: Tensor) -> None:
    """Compare, whatever the order of the transitions: the observations say which is which."""
    match = torch.isclose(result["obs"][:, None], truth["obs"][None], atol=1e-6).all(-1)
    EXERCISE.refuse(not (match.any(0).all() and match.any(1).all()), "other-observations")
    order = match.float().argmax(1)
    for name in ("action", "log_prob"):
        if not same(result[name], truth[name][order]):
            raise EXERCISE.error("entry", variable=name)
    pairs = {
        key: [part.flatten()[valid][order] for part in way(rollout, factors)]
        for key, way in {"": TARGETS.right, **TARGETS.wrong}.items()
    }
    seen = [result["advantage"], result["target"]]
    if not all(map(same, seen, pairs[""])):
        key = first_fit(pairs, lambda pair: all(map(same, seen, pair)), "wrong-targets")
        worst = int(((seen[0] - pairs[""][0]).abs() + (seen[1] - pairs[""][1]).abs()).argmax())
        told = [f"advantage {a[worst]:.4g}, target {t[worst]:.4g}" for a, t in (seen, pairs[""])]
        raise EXERCISE.error(key, seen=told[0], expected=told[1])


def _is_index(thing: Any) -> bool:
    plain = isinstance(thing, Tensor) and thing.dim() == 1
    return plain and thing.dtype in (torch.int64, torch.int32)


def _check_epoch(function: StudentCode, n: int, batch_size: int) -> None:
    facts = [f"  Example: {n} transitions, batch_size = {batch_size}."]

    def ask() -> list[Tensor]:
        result: Any = function(n, batch_size)
        STREAM.expect(result, None if isinstance(result, Iterable) else "no-list", "index tensors")
        return list(result)

    epochs: list[list[Tensor]] = [STREAM.run("minibatches", ask, function) for _ in range(2)]
    for epoch in epochs:
        for index in epoch:
            if not _is_index(index):
                raise STREAM.error("no-index", facts=facts, seen=describe(index))
            too_large = len(index) > batch_size
            STREAM.refuse(too_large, "too-many", facts=facts, seen=len(index))
        used = torch.cat(epoch) if epoch else torch.empty(0, dtype=torch.int64)
        STREAM.refuse(((used < 0) | (used >= n)).any(), "no-such", facts=facts)
        times = used.bincount(minlength=n)
        missing = int((times == 0).sum())
        STREAM.refuse((times > 1).any(), "repeated", facts=facts, missing=missing)
        STREAM.refuse(missing, "rest-dropped", facts=facts, missing=missing)
        STREAM.refuse(len(epoch) > -(-n // batch_size), "too-small", facts=facts, seen=len(epoch))
    first, second = (torch.cat(epoch) for epoch in epochs)
    in_order = torch.equal(first, torch.arange(n))
    STREAM.refuse(in_order or torch.equal(first, second), "in-order", facts=facts)
