"""Sources of a configuration: a dict, a file, a part of a larger configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from omegaconf import DictConfig, OmegaConf

from ppo_bbrl.config.interpolations import check_extent
from ppo_bbrl.config.plain_values import plain
from ppo_bbrl.config.shipped import config_file
from ppo_bbrl.config.yaml_files import read_yaml
from ppo_bbrl.errors import ConfigError

Source = Mapping[str, Any] | DictConfig | str | Path


@dataclass(frozen=True)
class Section:
    """The unresolved configuration of a run, and the larger one that it may be part of."""

    given: dict[str, Any]
    whole: Any = None
    keys: tuple[Any, ...] = ()  # its path in the whole

    @classmethod
    def of(cls, given: Any, name: str, whole: Any = None, keys: tuple[Any, ...] = ()) -> Self:
        """Make a section from a user's value; errors call it `name`.

        Raises:
            ConfigError: if it is not a configuration.
        """
        values = plain(given)
        if not isinstance(values, dict):
            raise ConfigError(f"{name}: not a configuration: `key: value` lines are expected")
        values.pop("hydra", None)  # Hydra's own settings, which Hydra hides from programs too
        return cls(values, whole, keys)

    def placed(self, values: Mapping[str, Any]) -> DictConfig:
        """Put `values` where the section was, so that its interpolations see the whole.

        Keys that the whole lacks are looked up in `values`, as if it stood alone.

        Raises:
            ConfigError: if the interpolations expand to too much.
        """
        if not self.keys:
            check_extent(values)
            return OmegaConf.create(dict(values))
        is_list = isinstance(self.whole, list)
        node: Any = OmegaConf.create(self.whole if is_list else {**values, **self.whole})
        for key in self.keys[:-1]:
            node = node[key]
        node[self.keys[-1]] = dict(values)
        check_extent(OmegaConf.to_container(node._get_root(), resolve=False), self.keys)
        return cast("DictConfig", node[self.keys[-1]])


def read(source: Source) -> Section:
    """Read the configuration of a run, without defaults.

    Raises:
        ConfigError: if the file does not exist, or does not contain a configuration.
    """
    if isinstance(source, str | Path):
        return Section.of(read_yaml(config_file(source)), str(source))
    if isinstance(source, DictConfig) and not source._is_none():
        root, keys = _root(source)
        given, whole = (OmegaConf.to_container(node, resolve=False) for node in (source, root))
        return Section.of(given, "the configuration", whole, keys)
    return Section.of(source, "the configuration")


def _root(node: Any) -> tuple[Any, tuple[Any, ...]]:
    """The configuration that a part belongs to, and the path of keys to the part."""
    keys: list[Any] = []
    while (parent := node._get_parent()) is not None:
        keys.insert(0, node._key())
        node = parent
    return node, tuple(keys)
