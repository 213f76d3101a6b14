"""What interpolations (`${key}`) would grow to: each may stand for many others."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ppo_bbrl.errors import ConfigError

_MOST_VALUES = 10_000
_CHARACTERS = 64  # of a string that count as much as a value
_MOST_COMPUTED = 10
_REFERENCE = re.compile(r"\$\{\s*(?:oc\.[a-z.]+:\s*)?(\.*)([^${}:,\s]+)")
_COMPUTED_KEY = re.compile(r"\$\{[^{}:]*\$\{")
_PART = re.compile(r"[^.\[\]]+")

_Key = tuple[str, ...]


def check_extent(tree: Any, keys: tuple[Any, ...] = ()) -> None:
    """Refuse interpolations that would stand for more than a configuration needs.

    Thirty lines can double a value thirty times. It is measured before anything is resolved.

    Args:
        tree: a whole configuration, of plain Python, unresolved.
        keys: where in it that lies which will be resolved.

    Raises:
        ConfigError: naming the key.
        RecursionError: if one refers to another, and that to another, hundreds of times.
    """
    leaves = dict(_leaves(tree))
    extents: dict[_Key, int] = {}

    def extent(key: _Key) -> int:
        """Of what lies at a key or below; 0 where it refers to itself, which OmegaConf tells."""
        if key not in extents:
            extents[key] = 0
            below = [key] if key in leaves else [leaf for leaf in leaves if leaf[: len(key)] == key]
            extents[key] = total = sum(map(grown, below))
            if total > _MOST_VALUES:
                named = ".".join(key) or "the configuration"
                raise ConfigError(f"{named}: its interpolations stand for too many values")
        return extents[key]

    def grown(key: _Key) -> int:
        size = 1 + len(leaves[key]) // _CHARACTERS
        for dots, name in _REFERENCE.findall(leaves[key]):
            above = key[: -len(dots)] if dots else ()
            size += extent((*above, *_PART.findall(name)))
        return size

    computed = sum(len(_COMPUTED_KEY.findall(value)) for value in leaves.values())
    if computed > _MOST_COMPUTED:
        raise ConfigError(f"{computed} keys are computed (${{a.${{b}}}}): at most {_MOST_COMPUTED}")
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
