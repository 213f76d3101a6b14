"""Resolves the interpolations (`${key}`) of a configuration; missing values (`???`) are refused."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from omegaconf import OmegaConf

from ppo_bbrl.config.interpolations import check_extent
from ppo_bbrl.config.sources import Section
from ppo_bbrl.config.yaml_files import strings
from ppo_bbrl.errors import ConfigError

#: `${section.key}` or `${.section.key}`, and the time
_PLAIN = re.compile(r"\$\{(?:\.?((?:[a-z_]+\.)?[a-z_]+)|current_time:)\}")


def refuse_missing(values: Mapping[str, Any]) -> None:
    """Raise a `ConfigError` that names a value which is still to be given."""
    for name, value in _leaves(values):
        if value == "???":
            raise ConfigError(f"{name} is missing: give it a value")


def resolved(section: Section, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values where the section stood, as plain Python values without interpolations.

    Raises:
        ConfigError: if the interpolations expand to too much.
        OmegaConfBaseException: if one cannot be resolved.
    """
    enough = None if section.keys else _enough(values)
    if enough is None:
        return cast("dict[str, Any]", OmegaConf.to_container(section.placed(values), resolve=True))
    check_extent(values)
    found: Any = OmegaConf.to_container(OmegaConf.create(enough), resolve=True)
    return {**values, **{key: one for key, one in found.items() if not isinstance(one, dict)}}


def _enough(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The plain interpolations at the top, beside what they name; None if there are others.

    OmegaConf takes 10 ms to build a whole configuration, of which two names are asked for.
    """
    asked = {key: one for key, one in values.items() if isinstance(one, str) and "${" in one}
    others = {key: one for key, one in values.items() if key not in asked}
    texts = " ".join(asked.values())
    if (
        any("${" in one for one in strings(others))
        or "\\" in texts
        or "${" in _PLAIN.sub("", texts)
    ):
        return None
    tree: dict[str, Any] = dict(asked)
    for path in filter(None, _PLAIN.findall(texts)):
        name, _, below = path.rpartition(".")
        value = others.get(name, {}).get(below) if name else others.get(below)
        if value is None or isinstance(value, dict | list):
            return None
        (tree.setdefault(name, {}) if name else tree)[below] = value
    return tree


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree by dotted name, those of lists too."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{key}[{index}]")
    else:
        yield key, node
