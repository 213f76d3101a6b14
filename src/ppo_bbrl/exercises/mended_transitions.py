"""The check of notebook 10's last exercise: a rollout as transitions whose entries fit together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.exercises.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    untouched_randomness,
)

#: rows by name, [T+1, B, …] → transitions by the same names, [N, …]
MendedTransitions = Callable[[dict[str, Tensor]], Any]

NAME = "mended_transitions"
NAMES = ("obs", "action", "log_prob", "value", "advantage", "target")


class Rows(NamedTuple):
    """A rollout in which every entry says where it comes from.

    Attributes:
        done: `[T+1, B]`.
        n_features: of an observation.
    """

    done: Tensor
    n_features: int

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


def cases(seed: int | None) -> list[Rows]:
    """Rollouts with ends; as many steps as environments, then fewer, then more."""
    if seed is None:
        done = torch.zeros(5, 4, dtype=torch.bool)
        done[1, 0] = done[2, 3] = done[4, 1] = True
        other = torch.zeros(4, 5, dtype=torch.bool)
        other[0, 1] = other[2, 2] = other[3, 4] = True
        return [Rows(done, 3), Rows(other, 1)]
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    result = []
    n = number(4, 7)
    for n_steps, n_envs in ((n, n), (n, n + 2), (n + 3, n)):
        done = torch.zeros(n_steps + 1, n_envs, dtype=torch.bool)
        # Never symmetric; one in the last row and one in the first.
        done[0, number(1, n_envs)] = True
        done[number(1, n_steps - 1), 0] = True
        done[n_steps, number(1, n_envs)] = True
        # One feature is a dimension of its own, too: [N, 1].
        result.append(Rows(done, number(2, 5) if n_steps == n_envs else 1))
    return result


def check_mended_transitions(function: MendedTransitions, *, seed: int | None = None) -> None:
    """Check a student's `mended_transitions(rows)`.

    It gets a dict of `[T+1, B, …]` tensors: obs, action, log_prob, value, advantage, target, and
    done. It returns a dict of the first six, `[N, …]`, in which entry i of all of them belongs to
    the same transition, and each valid transition comes once, in any order.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other rollouts from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness():
        for rows in cases(seed):
            given = rows.variables()
            result = call(function, given, hint=_hint)
            untouched = rows.variables()
            if set(given) != set(untouched) or not all(
                torch.equal(given[name], tensor) for name, tensor in untouched.items()
            ):
                raise not_right(
                    NAME,
                    "it changes the rows that it was given",
                    "make a new dict of new tensors: others still need the rows",
                )
            _check(rows, result)
    if seed is None:
        print("Well done! Every action is back at the observation that it was taken in.")


def _check(rows: Rows, result: Any) -> None:
    """Raise unless the transitions are complete, and fit together."""
    n = len(rows.starts)
    steps, envs = rows.done.shape
    facts = [f"  Example: {steps} rows of {envs} environments, so that {n} transitions are valid."]
    _check_form(rows, result, facts)
    places = {name: _places(rows, name, result[name]) for name in NAMES}
    obs = places["obs"]
    for name in NAMES[1:]:
        if places[name] != obs:
            raise _apart(rows, name, places, facts)
    _check_chosen(rows, obs, facts)
    for name in NAMES:
        tensor = rows.variables()[name]
        expected = tensor.flatten(0, 1)[torch.tensor(obs)]
        same = torch.equal(result[name].double(), expected.double())
        if same and result[name].dtype != tensor.dtype:
            raise not_right(
                NAME,
                f"'{name}' has another dtype than its rows",
                "the entries stay what they are: networks of float32 take no float64, and an "
                "action is an index",
                *facts,
                f"  seen      {result[name].dtype}",
                f"  expected  {tensor.dtype}",
            )
        if not same:
            raise not_right(
                NAME,
                f"'{name}' has been changed on the way",
                "its entries are to be chosen, and to stay as they are",
                *facts,
            )


def _check_form(rows: Rows, result: Any, facts: list[str]) -> None:
    """A dict of tensors, as many entries in each."""
    seen = f"  seen      {describe(result)}"
    if result is None:
        raise not_right(NAME, "it returns nothing", "the last line: return …", seen)
    if not isinstance(result, dict):
        look = "a dict by the names of the rows"
        raise not_right(NAME, "it does not return a dict", look, seen)
    missing = [name for name in NAMES if name not in result]
    if missing:
        raise not_right(
            NAME,
            f"'{missing[0]}' is missing",
            f"the names of the dict are {', '.join(NAMES)}",
            f"  seen      {', '.join(map(str, result))}",
        )
    for name in NAMES:
        tensor = result[name]
        inner = list(rows.variables()[name].shape[2:])
        if not isinstance(tensor, Tensor) or list(tensor.shape[1:]) != inner:
            raise not_right(
                NAME,
                f"'{name}' has the wrong shape",
                "the first two dimensions, time and environments, become one; the others stay: "
                "x[mask] does this, and x.flatten(0, 1)",
                *facts,
                f"  seen      {describe(tensor)}",
                f"  expected  a tensor of shape {[len(rows.starts), *inner]}",
            )
    lengths = {name: len(result[name]) for name in NAMES}
    if len(set(lengths.values())) > 1:
        raise not_right(
            NAME,
            "the six have not the same number of entries",
            "the same mask for all of them",
            *facts,
            f"  seen      {', '.join(f'{name} {length}' for name, length in lengths.items())}",
        )


def _places(rows: Rows, name: str, tensor: Tensor) -> list[int]:
    """Where each entry comes from."""
    numbers = tensor.double()
    if name == "obs":
        numbers = numbers[:, 0]
    elif name != "action":
        numbers = numbers - 0.5 * NAMES[1:].index(name)
    places = [round(x) for x in numbers.tolist()]
    if any(not 0 <= place < rows.done.numel() for place in places):
        raise not_right(
            NAME,
            f"'{name}' has numbers that are in no row",
            "the entries are to be chosen, and to stay as they are",
        )
    return places


def _apart(rows: Rows, name: str, places: dict[str, list[int]], facts: list[str]) -> ExerciseError:
    """The error about a variable that does not fit to the observations."""
    obs, other = places["obs"], places[name]
    i = next(i for i, (a, b) in enumerate(zip(obs, other, strict=True)) if a != b)
    facts = [
        *facts,
        f"  seen      in entry {i} obs is that of {rows.where(obs[i])},",
        f"            {name} that of {rows.where(other[i])}",
        "  expected  the same place",
    ]
    envs = rows.done.shape[1]
    if sorted(obs) == sorted(other):
        wrong = (
            f"the entries of '{name}' are those of obs, but in another order"
            if name != "action" or places["log_prob"] == obs
            else "the action is mended into an order that the others do not have"
        )
        look = (
            "where it is transposed (.T): a mask picks entries row by row of what it is given, so "
            "that the transposed gives environment after environment"
        )
    elif all(b - a == envs for a, b in zip(obs, other, strict=True)):
        wrong = f"'{name}' comes from the row after that of obs"
        look = "row t has the observation and the action that was taken in it: [:-1] for both"
    else:
        wrong = f"'{name}' does not belong to the observations"
        look = "the same rows, and the same mask, for all six"
    return not_right(NAME, wrong, look, *facts)


def _check_chosen(rows: Rows, obs: list[int], facts: list[str]) -> None:
    """Raise unless exactly the valid transitions are there."""
    n_rows, envs = rows.done.shape
    starts = rows.starts
    if len(set(obs)) < len(obs):
        raise not_right(
            NAME,
            "a transition comes more than once",
            "every valid transition once, in any order",
            *facts,
            f"  seen      {rows.where(next(x for x in obs if obs.count(x) > 1))} twice or more",
        )
    last = [place for place in obs if place >= (n_rows - 1) * envs]
    if last:
        raise not_right(
            NAME,
            "transitions start in the last row",
            "nothing is known of what comes after it: leave it out with [:-1], of the mask, too",
            *facts,
            f"  seen      a transition that starts in {rows.where(last[0])}",
        )
    resets = [place for place in obs if place not in starts]
    lost = sorted(starts - set(obs))
    if resets and lost:
        raise not_right(
            NAME,
            "the mask belongs to other rows",
            "a step is no transition if it *starts* in a row that is done: ~done[:-1]",
            *facts,
            f"  seen      a step that starts in {rows.where(resets[0])}, where an episode is over",
            f"  missing   the transition that starts in {rows.where(lost[0])}",
        )
    if resets:
        raise not_right(
            NAME,
            "steps from the end of an episode to the next one are among the transitions",
            "nothing was decided there: the mask ~done[:-1] leaves them out",
            *facts,
            f"  seen      a step that starts in {rows.where(resets[0])}, where an episode is over",
        )
    if lost:
        raise not_right(
            NAME,
            f"{len(lost)} transitions are missing",
            "only the steps that start in a done row are left out",
            *facts,
            f"  missing   the transition that starts in {rows.where(lost[0])}",
        )


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(rows)"
    if isinstance(error, KeyError):
        return f"the names of the rows are {', '.join(NAMES)} and done"
    if isinstance(error, IndexError) and "mask" in text:
        return (
            "mask and tensor must have the same first two dimensions: both without the last row, "
            "neither transposed"
        )
    return ""
