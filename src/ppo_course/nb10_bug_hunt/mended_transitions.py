"""The check of notebook 10's last exercise: a rollout as transitions whose entries fit together."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer
from ppo_course.feedback import ExerciseError, describe
from ppo_course.mistakes import Exercise, StudentCode, read_words

NAMES = ("obs", "action", "log_prob", "value", "advantage", "target")
EXERCISE = Exercise("mended_transitions", ("rows",), read_words(__file__))


class Rows(NamedTuple):
    """A rollout in which every entry says where it comes from."""

    done: Tensor  # `[T+1, B]`
    n_features: int  # of an observation

    @property
    def places(self) -> Tensor:
        """A number of its own for each row of each environment, `[T+1, B]`."""
        return torch.arange(self.done.numel()).reshape(self.done.shape)

    def variables(self) -> dict[str, Tensor]:
        """What the function gets."""
        places = self.places
        told: dict[str, Tensor] = {
            name: places + 0.5 * k for k, name in enumerate(NAMES[2:], start=1)
        }
        features = torch.arange(self.n_features) / 10
        told["obs"] = places[..., None] + features
        told["action"] = places.clone()
        told["done"] = self.done.clone()
        return told

    def where(self, place: int) -> str:
        """A place in words."""
        row, env = divmod(place, self.done.shape[1])
        return f"row {row} of environment {env}"

    @property
    def starts(self) -> set[int]:
        """The places in which a transition starts."""
        return set(self.places[:-1][~self.done[:-1]].tolist())

    @property
    def ends(self) -> set[int]:
        """The places in which an episode is over, those of the last row left out."""
        return set(self.places[:-1][self.done[:-1]].tolist())

    @property
    def starts_transposed(self) -> set[int]:
        """What the mask of the starts picks if it alone is transposed; nothing if it cannot be."""
        places, mask = self.places[:-1], ~self.done[:-1].T
        return set(places[mask].tolist()) if places.shape == mask.shape else set()


def cases(seed: int | None) -> list[Rows]:
    """Rollouts with ends; as many steps as environments, then fewer, then more."""
    if seed is None:
        done = torch.zeros(5, 4, dtype=torch.bool)
        done[1, 0] = done[2, 3] = done[4, 1] = True
        other = torch.zeros(4, 5, dtype=torch.bool)
        other[0, 1] = other[2, 2] = other[3, 4] = True
        return [Rows(done, 3), Rows(other, 1)]
    generator = torch.Generator().manual_seed(seed)
    result = []
    n = integer(generator, 4, 7)
    for n_steps, n_envs in ((n, n), (n, n + 2), (n + 3, n)):
        done = torch.zeros(n_steps + 1, n_envs, dtype=torch.bool)
        # One end in the first row, one in the last. Where there are as many steps as environments,
        # the mask may be symmetric by chance; in the other rollouts it cannot be.
        done[0, integer(generator, 1, n_envs)] = True
        done[integer(generator, 1, n_steps - 1), 0] = True
        done[n_steps, integer(generator, 1, n_envs)] = True
        # One feature is a dimension of its own, too: [N, 1].
        result.append(Rows(done, integer(generator, 2, 5) if n_steps == n_envs else 1))
    return result


@EXERCISE.check
def check_mended_transitions(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `mended_transitions(rows)`.

    It gets a dict of `[T+1, B, …]` tensors: obs, action, log_prob, value, advantage, target, and
    done. It returns a dict of the first six, `[N, …]`, in which entry i of all of them belongs to
    the same transition, and each valid transition comes once, in any order.
    """
    for rows in cases(seed):
        _check(rows, EXERCISE.call(function, rows.variables()))


def _check(rows: Rows, result: Any) -> None:
    """Raise unless the transitions are complete, and fit together."""
    n = len(rows.starts)
    steps, envs = rows.done.shape
    facts = [f"  Example: {steps} rows of {envs} environments, so that {n} transitions are valid."]
    _check_form(rows, result, facts)
    places = {name: _places(rows, name, result[name]) for name in NAMES}
    obs = places["obs"]
    if any(places[name] != obs for name in NAMES):
        raise _apart(rows, places, facts)
    _check_chosen(rows, obs, facts)
    for name in NAMES:
        tensor = rows.variables()[name]
        expected = tensor.flatten(0, 1)[torch.tensor(obs)]
        same = torch.equal(result[name].double(), expected.double())
        if same and result[name].dtype != tensor.dtype:
            kinds = {"seen": result[name].dtype, "expected": tensor.dtype}
            raise EXERCISE.error("other-dtype", facts=facts, variable=name, **kinds)
        EXERCISE.refuse(not same, "changed", facts=facts, variable=name)


def _check_form(rows: Rows, result: Any, facts: list[str]) -> None:
    """A dict of tensors, as many entries in each."""
    EXERCISE.expect(
        result, None if isinstance(result, dict) else "no-dict", f"a dict of {', '.join(NAMES)}"
    )
    missing = [name for name in NAMES if name not in result]
    if missing:
        told = ", ".join(map(str, result))
        raise EXERCISE.error("name-missing", seen=told, variable=missing[0])
    for name in NAMES:
        tensor = result[name]
        inner = list(rows.variables()[name].shape[2:])
        if not isinstance(tensor, Tensor) or list(tensor.shape[1:]) != inner:
            kinds = {"seen": describe(tensor)}
            kinds["expected"] = f"a tensor of shape {[len(rows.starts), *inner]}"
            raise EXERCISE.error("wrong-shape", facts=facts, variable=name, **kinds)
    lengths = {name: len(result[name]) for name in NAMES}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EXERCISE.error("lengths", facts=facts, seen=told)


def _places(rows: Rows, name: str, tensor: Tensor) -> list[int]:
    """Where each entry comes from."""
    numbers = tensor.double()
    if name == "obs":
        numbers = numbers[:, 0]
    elif name != "action":
        numbers = numbers - 0.5 * NAMES[1:].index(name)
    places = [round(x) for x in numbers.tolist()]
    if any(not 0 <= place < rows.done.numel() for place in places):
        raise EXERCISE.error("strange-numbers", variable=name)
    return places


def _apart(rows: Rows, places: dict[str, list[int]], facts: list[str]) -> ExerciseError:
    """The error about variables that do not fit to the others."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name in NAMES:
        alike.setdefault(tuple(places[name]), []).append(name)
    most = max(alike.values(), key=len)  # those of obs, if no others are more
    odd = [name for name in NAMES if name not in most]
    name, other = odd[0], most[0]
    i = next(i for i, (a, b) in enumerate(zip(places[other], places[name], strict=True)) if a != b)
    facts = [
        *facts,
        f"  seen      in entry {i} {other} is that of {rows.where(places[other][i])},",
        f"            {name} that of {rows.where(places[name][i])}",
        "  expected  the same place",
    ]
    envs = rows.done.shape[1]
    apart = {b - a for a, b in zip(places[other], places[name], strict=True)}
    key = "does-not-belong"
    if all(sorted(where) == sorted(places["obs"]) for where in alike):
        key = "another-order" if len(alike) == 2 else "different-orders"
    elif apart in ({envs}, {-envs}):
        key = "row-after" if apart == {envs} else "row-before"
    return EXERCISE.error(
        key,
        facts=facts,
        n_orders=len(alike),
        variables=" and ".join(f"'{one}'" for one in odd),
        variable=name,
        other=other,
        others="others" if name == "obs" else "observations",
    )


def _check_chosen(rows: Rows, obs: list[int], facts: list[str]) -> None:
    """Raise unless exactly the valid transitions are there."""
    n_rows, envs = rows.done.shape
    over = rows.places[rows.done].tolist()
    last = [place for place in obs if place >= (n_rows - 1) * envs]
    resets = [place for place in obs if place not in rows.starts]
    lost = sorted(rows.starts - set(obs))
    key, seen = "", ""
    if sorted(obs) in (sorted(over), sorted(rows.ends)):
        key = "exactly-the-others"
    elif len(set(obs)) < len(obs):
        key = "repeated"
        seen = f"{rows.where(next(x for x in obs if obs.count(x) > 1))} twice or more"
    elif last:
        key, seen = "last-row", f"a transition that starts in {rows.where(last[0])}"
    elif resets and set(obs) == rows.starts_transposed:
        key = "mask-transposed"
    elif resets:
        key = "mask-of-other-rows" if lost else "resets-kept"
    elif lost:
        key = "transitions-missing"
    if not key:
        return
    if resets and not seen:
        seen = f"a step that starts in {rows.where(resets[0])}, where an episode is over"
    if seen:
        facts = [*facts, f"  seen      {seen}"]
    if key in {"mask-of-other-rows", "transitions-missing"}:
        facts = [*facts, f"  missing   the transition that starts in {rows.where(lost[0])}"]
    raise EXERCISE.error(key, facts=facts, n_lost=len(lost))
