"""The check of notebook 10's last exercise: a rollout as transitions whose entries fit together."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    untouched_randomness,
)
from ppo_course.nb10_bug_hunt.mended_transitions_cases import NAMES, Rows, cases

#: rows by name, [T+1, B, …] → transitions by the same names, [N, …]
MendedTransitions = Callable[[dict[str, Tensor]], Any]

NAME = "mended_transitions"


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
    if any(places[name] != obs for name in NAMES):
        raise _apart(rows, places, facts)
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
    if all(sorted(where) == sorted(places["obs"]) for where in alike):
        if len(alike) > 2:
            wrong = f"the six come in {len(alike)} different orders"
            look = "one order for all of them; if you shuffle, draw one permutation for all six"
        else:
            words = " and ".join(f"'{one}'" for one in odd)
            wrong = f"the entries of {words} are those of the others, but in another order"
            look = (
                "where it is transposed (.T): a mask picks entries row by row of what it is given, "
                "so that the transposed gives environment after environment"
            )
    elif apart in ({envs}, {-envs}):
        wrong = f"'{name}' comes from the row {'after' if apart == {envs} else 'before'} that of "
        wrong += other
        look = "row t has the observation and the action that was taken in it: [:-1] for both"
    else:
        of = "others" if name == "obs" else "observations"
        wrong = f"'{name}' does not belong to the {of}"
        look = "the same rows, and the same mask, for all six"
    return not_right(NAME, wrong, look, *facts)


def _check_chosen(rows: Rows, obs: list[int], facts: list[str]) -> None:
    """Raise unless exactly the valid transitions are there."""
    n_rows, envs = rows.done.shape
    starts = rows.starts
    over = rows.places[rows.done].tolist()
    if sorted(obs) in (sorted(over), sorted(rows.ends)):
        raise not_right(
            NAME,
            "it keeps exactly the steps that are to be left out: `~` is missing",
            "done is True where an episode is over; the mask of the others is ~done[:-1]",
            *facts,
            f"  seen      a step that starts in {rows.where(obs[0])}, where an episode is over",
        )
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
    if resets and set(obs) == rows.starts_transposed:
        raise not_right(
            NAME,
            "the mask alone is transposed, and picks other steps than it should",
            "rows and mask as they are, [T, B] both, or both transposed",
            *facts,
            f"  seen      a step that starts in {rows.where(resets[0])}, where an episode is over",
        )
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
    if isinstance(error, RuntimeError) and "must match the size" in text:
        return (
            "the shapes do not fit; and to choose entries a mask stands in brackets, x[mask]: a "
            "product keeps them all"
        )
    return ""
