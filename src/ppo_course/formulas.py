"""Formulas made of parts, each with its right way and wrong ones: which of them give a result.

A check names a mistake because a formula with it gives what the student's function gave.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ppo_course.feedback import same

MOST_MISTAKES = 2  # with more, a match would be chance


class Part(NamedTuple):
    """The ways to write a part of a formula: the right one, and wrong ones by their keys.

    A key may have several ways, "key~one" and "key~two"; its words can name it, as `{way}`.
    """

    right: Any
    wrong: Mapping[str, Any]


def combinations(
    parts: Sequence[Part], most: int = MOST_MISTAKES
) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Every combination of at most so many mistakes, those with fewest first: keys and values."""
    for n_mistakes in range(most + 1):
        for places in itertools.combinations(range(len(parts)), n_mistakes):
            for keys in itertools.product(*(parts[place].wrong for place in places)):
                values = [part.right for part in parts]
                for place, key in zip(places, keys, strict=True):
                    values[place] = parts[place].wrong[key]
                yield keys, values


def explain(
    parts: Sequence[Part], fits: Callable[[Sequence[Any]], bool], most: int = MOST_MISTAKES
) -> tuple[str, ...]:
    """The keys of the fewest mistakes with which a formula fits; empty if it fits with none.

    It fits if a value of each part gives what was seen, in all cases; at most so many mistakes are
    put together.
    """
    found = (keys for keys, values in combinations(parts, most) if fits(values))
    return next(found, ())


def first_fit(known: Mapping[str, Any], fits: Callable[[Any], bool], otherwise: str) -> str:
    """The key of the first known wrong result that fits what was seen, or else another key."""
    return next((key for key, wrong in known.items() if fits(wrong)), otherwise)


def alone(case: Any, values: Sequence[Any]) -> Any:
    """The formula of a single part: its value, a function, of the case."""
    return values[0](case)


def agree(_case: Any, one: Tensor, other: Tensor) -> bool:
    """Whether two results of a case hold the same numbers, up to rounding."""
    return same(one, other)
