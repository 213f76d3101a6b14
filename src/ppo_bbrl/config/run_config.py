"""A configuration that shows itself in a notebook: each key with its value and its meaning."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ppo_bbrl.config.schema import PPOConfig, known_keys, nested
from ppo_bbrl.system.html import Markup, table


class RunConfig(DictConfig):
    """The configuration of a run: an OmegaConf `DictConfig` that shows itself in notebooks."""

    def _repr_html_(self) -> str:
        """A table for notebooks: keys, values and meanings; keys without their default in bold."""
        rules, defaults = known_keys(), dict(_leaves(OmegaConf.structured(PPOConfig)))
        rows = []
        for name, value in _leaves(self):
            rule, meaning = rules.get(name, (None, ""))
            allowed = rule.describe() if rule else ""
            changed = name in defaults and defaults[name] != value
            rows.append((_bold(name) if changed else name, value, allowed, meaning))
        return table(("key", "value", "allowed", "meaning"), rows)


def typed(values: Mapping[str, Any], schema: type) -> RunConfig:
    """The values, complete and checked, with the types of the schema.

    Raises:
        OmegaConfBaseException: if one is of another type.
    """
    made = cast("RunConfig", pickle.loads(_defaults(schema)))
    _set_changed(made, values, schema)
    return made


@cache
def _defaults(schema: type) -> bytes:
    """Types and defaults, pickled here: OmegaConf takes ten times as long to copy or merge them."""
    return pickle.dumps(RunConfig(OmegaConf.structured(schema(base_dir=""))))  # no interpolation


def _set_changed(node: DictConfig, values: Mapping[str, Any], schema: type) -> None:
    """Set what is not the default; each takes OmegaConf a twentieth of a millisecond."""
    defaults = schema()
    for key in fields(schema):
        section, value = nested(key), values[key.name]
        if section is not None:
            _set_changed(node[key.name], value, section)
        elif repr(value) != repr(getattr(defaults, key.name)):  # 1 is neither True nor 1.0
            node[key.name] = value


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; only sections of the schema are flattened."""
    content: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    known = known_keys()
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and any(key.startswith(f"{path}.") for key in known):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _bold(name: str) -> Markup:
    return Markup(f"<b>{name}</b>")
