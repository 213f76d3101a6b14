"""Sizes as users give them: Python, NumPy and torch integers, and shapes made of these."""

import operator
from typing import Any

from ppo_bbrl.errors import UserError, one_line


def size_of(
    name: str,
    size: Any,
    allowed: str = "must be an integer ≥ 1",
    *,
    least: int = 1,
    error: type[UserError] = UserError,
) -> int:
    """A number of neurons, features or actions as a Python int.

    Args:
        name: the name of the argument.
        size: such as 64, `space.n` or `np.prod(space.shape)`.
        allowed: what is allowed, as the error says it.
        least: the smallest that is allowed.
        error: what is raised.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    number = _index(size)
    if number is None or number < least:
        raise error(f"{name} = {one_line(repr(size))}: {allowed}")
    return number


def shape_of(
    name: str, shape: Any, allowed: str = "must be a list of integers ≥ 1"
) -> tuple[int, ...]:
    """A shape, or the sizes of several layers, as a tuple of Python ints.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    try:
        sizes = [_index(size) for size in shape]
    except TypeError:  # a number, None, an array without dimensions
        sizes = [None]
    found = tuple(size for size in sizes if size is not None and size >= 1)
    if len(found) < len(sizes):
        raise UserError(f"{name} = {one_line(repr(shape))}: {allowed}")
    return found


def size_or_shape(
    name: str, value: Any, allowed: str = "must be an integer ≥ 1, or a shape"
) -> int | tuple[int, ...]:
    """A size or a shape, such as that of an action."""
    if _index(value) is None:
        return shape_of(name, value, allowed)
    return size_of(name, value, allowed)


def _index(value: Any) -> int | None:
    """An integer as a Python int; None for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
