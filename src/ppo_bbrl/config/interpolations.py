"""A limit on what interpolations (`${key}`) expand to: each may stand for many others."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ppo_bbrl.errors import ConfigError

_MAX_VALUES = 10_000
_CHARACTERS = 64  # this much of a string counts as one value
_MAX_COMPUTED = 10
_REFERENCE = re.compile(r"\$\{\s*(?:oc\.[a-z.]+:\s*)?(\.*)([^${}:,\s]+)")
_COMPUTED_KEY = re.compile(r"\$\{[^{}:]*\$\{")
_PART = re.compile(r"[^.\[\]]+")

_Key = tuple[str, ...]


def check_extent(tree: Any, keys: tuple[Any, ...] = ()) -> None:
    """Refuse interpolations that expand to more than any configuration needs.

    Thirty lines can double a value thirty times. This measures before anything is resolved.

    Args:
        tree: a whole configuration as plain Python values, unresolved.
        keys: path of the part that will be resolved.

    Raises:
        ConfigError: naming the key.
        RecursionError: if references form a chain hundreds of links long.
    """
    leaves = dict(_leaves(tree))
    extents: dict[_Key, int] = {}

    def extent(key: _Key) -> int:
        """The extent at a key and below; 0 for a reference to itself, which OmegaConf reports."""
        if key not in extents:
            extents[key] = 0
            below = [key] if key in leaves else [leaf for leaf in leaves if leaf[: len(key)] == key]
            extents[key] = total = sum(map(grown, below))
            if total > _MAX_VALUES:
                named = ".".join(key) or "the configuration"
                raise ConfigError(
                    f"{named}: its interpolations expand to more than {_MAX_VALUES:,} values"
                )
        return extents[key]

    def grown(key: _Key) -> int:
        size = 1 + len(leaves[key]) // _CHARACTERS
        for dots, name in _REFERENCE.findall(leaves[key]):
            above = key[: -len(dots)] if dots else ()
            size += extent((*above, *_PART.findall(name)))
        return size

    computed = sum(len(_COMPUTED_KEY.findall(value)) for value in leaves.values())
    if computed > _MAX_COMPUTED:
        raise ConfigError(
            f"{computed} interpolations have computed keys (${{a.${{b}}}}): at most "
            f"{_MAX_COMPUTED} are allowed"
        )
    extent(tuple(map(str, keys)))


def _leaves(node: Any, key: _Key = ()) -> Iterator[tuple[_Key, str]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, (*key, str(name)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*key, str(index)))
    else:
        yield key, str(node)
