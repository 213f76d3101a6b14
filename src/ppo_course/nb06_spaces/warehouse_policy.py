"""The check of notebook 06's last exercise: a policy for Dict observations, with a mask."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import one_hot

from ppo_bbrl.distributions import masked, mode_of
from ppo_bbrl.errors import UserError
from ppo_bbrl.joint_distributions import MultiCategorical
from ppo_course.feedback import Named, describe, numbers, same
from ppo_course.gradients import check_gradients, gradients
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, read_words
from ppo_course.nb06_spaces.warehouse import KINDS, PLACES, SIDE, SIZES

PARTS = {"kind": KINDS, "parcel": len(PLACES) + 1, "row": SIDE, "column": SIDE}
N_FEATURES = sum(PARTS.values())
MANY = 200  # actions in each state, to see whether a forbidden one is among them
EXERCISE = Exercise(
    "WarehousePolicy",
    (),
    read_words(__file__),
    (
        Hint("flatten-robot", "same number of dimensions", "Sizes of tensors must match"),
        Hint("one-hot-of-floats", "one_hot is only applicable", "index tensor"),
        Hint("n-classes", "Class values must be smaller"),
        Hint("integers-into-network", "must have the same dtype", "to have the same dtype"),
        Hint("sizes-of-network", "shapes cannot be multiplied"),
        Hint("none-inverted", "bad operand type for unary ~", "masked_fill", error=TypeError),
        Hint("parts-by-name", "'robot'", "'kind'", "'parcel'", error=(KeyError, AttributeError)),
        Hint("no-such-part", error=KeyError),
        Hint("forgets-self", "name 'features'", "name 'dist'", "name 'model'", error=NameError),
        Hint("mask-argument", "unexpected keyword", "positional argument", error=TypeError),
        Hint("dict-given", "not dict", "dict object", "'dict'"),
        Hint("logits-wanted", "needs 14 logits"),
        Hint("mask-shape", "must match the size", "shape mismatch"),
    ),
)


class Case(NamedTuple):
    """Observations of the warehouse, actions and masks.

    Attributes:
        weights_seed: of the weights.
        obs: `[N]` int64, `[N]` int64 and `[N, 2]` int64.
        mask: `[N, 14]` bool.
        action: allowed ones, `[N, 2]`.
    """

    weights_seed: int
    obs: dict[str, Tensor]
    mask: Tensor
    action: Tensor


def cases(seed: int | None) -> list[Case]:
    """Two policies in made-up states."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    result = []
    for n in (6, 10):
        if seed is not None:
            n += 2 * int(integers(3))  # noqa: PLW2901
        obs = {
            "kind": integers(KINDS, n),
            "parcel": integers(PARTS["parcel"], n),
            "robot": integers(SIDE, n, 2),
        }
        action = torch.stack([integers(size, n) for size in SIZES], -1)
        mask = torch.rand(n, sum(SIZES), generator=generator) < 0.4
        mask.scatter_(-1, action + torch.tensor([0, SIZES[0]]), True)
        result.append(Case(int(integers(2**31)), obs, mask, action))
    return result


def blocks(obs: dict[str, Tensor]) -> list[Tensor]:
    """The one-hot codes of the parts, `[..., n]` floats each."""
    row, column = obs["robot"].unbind(-1)
    given = obs["kind"], obs["parcel"], row, column
    return [one_hot(x, n).float() for x, n in zip(given, PARTS.values(), strict=True)]


@torch.enable_grad()
@EXERCISE.check
def check_warehouse_policy(policy_class: Callable[..., Any], *, seed: int | None = None) -> None:
    """Check a student's agent `WarehousePolicy(hidden_size)`.

    It has a network `model`. `features(obs)` makes `[..., 23]` floats of a Dict observation;
    `dist(obs, mask=None)` gives π(·|s) over `[move, hand]`, batch shape `[B]`, event shape `[2]`.
    """
    drawn = cases(seed)

    def see_dist(*, masked: bool) -> None:
        for case in drawn:
            _check_dist(_made(policy_class, case), case, case.mask if masked else None)

    def see_features() -> None:
        for case in drawn:
            _check_features(_made(policy_class, case), case)

    with EXERCISE.partly(
        features=see_features,
        dist_without_a_mask=lambda: see_dist(masked=False),
        dist_with_a_mask=lambda: see_dist(masked=True),
    ):
        for case in drawn:
            policy = _made(policy_class, case)
            _check_features(policy, case)
            for mask in (None, case.mask):
                _check_dist(policy, case, mask)


def _made(policy_class: Callable[..., Any], case: Case) -> Any:
    """A student's policy with known weights."""
    policy = EXERCISE.call(_method(lambda: policy_class([8]), policy_class, "__init__"))
    model = getattr(policy, "model", None)
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    ends = [weights[0].shape[-1], weights[-1].shape[0]] if weights else []
    if ends != [N_FEATURES, sum(SIZES)]:
        raise EXERCISE.error("network")
    if not getattr(policy, "takes_mask", False):
        raise EXERCISE.error("takes-mask")
    generator = torch.Generator().manual_seed(case.weights_seed)
    with torch.no_grad():
        # A fresh network gives about 0 everywhere, and mistakes with logits would not be seen.
        for weight in weights:
            weight.copy_(0.6 * torch.randn(weight.shape, generator=generator))
    return policy


def _method(run: Callable[..., Any], policy_class: Any, method: str) -> Named:
    return Named(f"{EXERCISE.name}.{method}", run, getattr(policy_class, method, None))


def _copied(obs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part.clone() for name, part in obs.items()}


def _check_features(policy: Any, case: Case) -> None:
    """One observation for each environment; then rows of several environments, `[T, B]`."""
    n = len(case.mask)
    rows = {name: part.reshape(2, n // 2, *part.shape[1:]) for name, part in case.obs.items()}
    for obs, leading in ((case.obs, [n]), (rows, [2, n // 2])):
        given = _copied(obs)
        seen: Any = EXERCISE.call(_method(policy.features, type(policy), "features"), given)
        if given.keys() != obs.keys() or not all(torch.equal(given[k], obs[k]) for k in obs):
            raise EXERCISE.error("changes-argument", argument="obs")
        if seen is None:
            raise EXERCISE.error("features-nothing")
        if not isinstance(seen, Tensor):
            raise EXERCISE.error("features-no-tensor", seen=describe(seen))
        shape = [*leading, N_FEATURES]
        if list(seen.shape) != shape:
            known = {4: "raw-numbers", 2 * SIDE: "robot-alone"}
            key = known.get(seen.shape[-1] if seen.dim() else 0, "features-shape")
            key = key if len(leading) == 1 else "leading"
            raise EXERCISE.error(key, seen=list(seen.shape), expected=shape)
        parts = blocks(obs)
        if not same(seen, torch.cat(parts, -1)):
            orders = (torch.cat(order, -1) for order in itertools.permutations(parts))
            key = "features-order" if any(same(seen, one) for one in orders) else "features"
            expected = numbers(torch.cat(parts, -1).flatten(0, -2)[0])
            raise EXERCISE.error(key, seen=numbers(seen.flatten(0, -2)[0]), expected=expected)
        if not seen.is_floating_point():
            raise EXERCISE.error("integers", seen=seen.dtype, expected=torch.float32)


def _check_dist(policy: Any, case: Case, mask: Tensor | None) -> None:
    """The distribution without a mask or with it: shapes, numbers, samples, gradients."""
    given = () if mask is None else (mask.clone(),)
    told = "without a mask" if mask is None else "with a mask"
    dist = EXERCISE.call(_method(policy.dist, type(policy), "dist"), _copied(case.obs), *given)
    if dist is None:
        raise EXERCISE.error("dist-nothing")
    if not isinstance(dist, Distribution):
        raise EXERCISE.error("no-distribution", seen=describe(dist))
    n, k = case.action.shape
    shapes = list(dist.batch_shape), list(dist.event_shape)
    if shapes != ([n], [k]):
        key = "separate-components" if shapes == ([n, k], []) else "dist-shapes"
        key = "one-choice" if shapes == ([n], []) else key
        seen = "batch shape {}, event shape {}".format(*shapes)
        raise EXERCISE.error(key, seen=seen, expected=f"batch shape [{n}], event shape [{k}]")
    logits: Tensor = policy.model(torch.cat(blocks(case.obs), -1))
    allowed = torch.ones_like(case.mask) if mask is None else mask
    truth = MultiCategorical(masked(logits, mask), SIZES).evaluate(case.action)
    each: Any = dist
    seen_log_prob = EXERCISE.call(_method(each.log_prob, type(policy), "dist"), case.action)
    if not same(seen_log_prob, truth[0]):
        known = {
            "mask-ignored": logits,
            "mask-inverted": masked(logits, ~allowed),
            "zero-logits": logits * allowed,
            "mask-for-features": masked(logits, allowed[:, :1].expand_as(allowed)),
        }
        fits = (
            key
            for key, value in known.items()
            if same(MultiCategorical(value, SIZES).evaluate(case.action)[0], seen_log_prob)
        )
        key = next(fits, "log-prob") if mask is not None else "log-prob"
        expected = numbers(truth[0])
        raise EXERCISE.error(key, seen=numbers(seen_log_prob), expected=expected, told=told)
    seen_entropy = EXERCISE.call(_method(each.entropy, type(policy), "dist"))
    if not same(seen_entropy, truth[1]):
        seen = numbers(seen_entropy)
        raise EXERCISE.error("entropy", seen=seen, expected=numbers(truth[1]), told=told)
    _check_actions(each, allowed)
    weights = dict(policy.named_parameters())
    for found, right in zip((seen_log_prob, seen_entropy), truth, strict=True):
        # Torch's entropy has the lowest float32 where an action is forbidden: not to be enlarged.
        small = gradients(found / 10, weights), gradients(right / 10, weights)
        check_gradients(EXERCISE, *small)


def _check_actions(dist: Any, allowed: Tensor) -> None:
    """Whether what is sampled, and the most likely action, are allowed."""
    try:
        most_likely = mode_of(dist)
    except UserError:
        raise EXERCISE.error("no-mode") from None
    drawn = dist.sample(torch.Size([MANY]))
    offsets = torch.tensor([0, SIZES[0]])
    for action in (*drawn, most_likely):
        if not allowed.gather(-1, action.long() + offsets).all():
            raise EXERCISE.error("samples-forbidden")
