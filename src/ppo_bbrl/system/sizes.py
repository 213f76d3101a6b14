"""Sizes as people give them: integers of Python, of NumPy and of torch, and shapes of these."""

import operator
from typing import Any

from ppo_bbrl.errors import UserError, one_line


def size_of(name: str, size: Any, told: str = "must be an integer ≥ 1") -> int:
    """A number of neurons, features or actions as Python's int.

    Args:
        name: of the argument.
        size: such as 64, `space.n` or `np.prod(space.shape)`.
        told: what is allowed, in the words of the error.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    number = _index(size)
    if number is None or number < 1:
        raise UserError(f"{name} = {one_line(repr(size))}: {told}")
    return number


def shape_of(
    name: str, shape: Any, told: str = "must be a list of integers ≥ 1"
) -> tuple[int, ...]:
    """A shape, or the sizes of several layers, as a tuple of Python's ints.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    try:
        sizes = [_index(size) for size in shape]
    except TypeError:  # a number, None, an array without dimensions
        sizes = [None]
    found = tuple(size for size in sizes if size is not None and size >= 1)
    if len(found) < len(sizes):
        raise UserError(f"{name} = {one_line(repr(shape))}: {told}")
    return found


def size_or_shape(
    name: str, value: Any, told: str = "must be an integer ≥ 1, or a shape"
) -> int | tuple[int, ...]:
    """One of both, as the length or the shape of an action."""
    if _index(value) is None:
        return shape_of(name, value, told)
    return size_of(name, value, told)


def _index(value: Any) -> int | None:
    """Python's int of an integer; None for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
