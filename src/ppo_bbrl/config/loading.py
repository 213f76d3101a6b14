"""Reads, merges, resolves and checks the configuration of a run; `schema.py` lists its keys.

Defaults, the source (a dict, an OmegaConf object or a YAML file) and `key=value` overrides are
merged in this order. An invalid configuration raises one `ConfigError` that names the key, the
value and what is allowed, before any file is written.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path, PurePosixPath
from time import strftime
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ppo_bbrl.config.combinations import check_combinations
from ppo_bbrl.config.resolving import refuse_missing, resolved
from ppo_bbrl.config.rules import Rule
from ppo_bbrl.config.run_config import typed
from ppo_bbrl.config.schema import EpisodicConfig, PPOConfig, known_keys, nested
from ppo_bbrl.config.sources import Section, Source, read
from ppo_bbrl.config.yaml_files import (
    parse_value,
    parse_yaml,
    read_resolved_yaml,
    without_interpolations,
)
from ppo_bbrl.errors import ConfigError, one_line, shown
from ppo_bbrl.system.files import write_file
from ppo_bbrl.system.seals import seal_text

__all__ = [
    "ConfigError",
    "EpisodicConfig",
    "PPOConfig",
    "known_keys",
    "load_config",
    "load_episodic_config",
    "load_saved_config",
    "read_saved_config",
    "run_name",
    "save_config",
]

_MAX_NAME = 200  # bytes; file systems allow 255, and a number may be added to a name
_MAX_PATH = 1000  # characters
_SHOWN = 12  # keys of a section that an error lists
_RESERVED = (
    "tblogs",
    "best",
    "last",
    "video",
    "checkpoints",
)  # the first next to the runs, the others in each


def load_config(source: Source, overrides: Sequence[str] = ()) -> DictConfig:
    """Read, merge, resolve and check the configuration of a PPO run.

    Args:
        source: a dict, a DictConfig (neither is changed), the path of a YAML file, or the name of
            a shipped configuration such as `cartpole`. If it is part of a larger DictConfig, its
            interpolations see the whole. Numbers may also be NumPy or torch numbers, or strings
            that YAML reads as numbers.
        overrides: `key=value` strings such as `algorithm.seed=3`; they take precedence.

    Returns:
        A typed DictConfig with all defaults filled in and all interpolations resolved.

    Raises:
        ConfigError: for a file that cannot be read, an unknown key, a wrong type or an invalid
            value.
    """
    return _load(read(source), overrides, PPOConfig, free=False)


def load_episodic_config(source: Source, overrides: Sequence[str] = ()) -> DictConfig:
    """Like `load_config`, for `EpisodicAlgo`: checks its own keys and keeps all others."""
    return _load(read(source), overrides, EpisodicConfig, free=True)


def load_saved_config(path: Path, *, own_keys: bool = False) -> DictConfig:
    """Read the configuration in the folder of a run, which may come from someone else.

    Args:
        path: the file.
        own_keys: read it as `load_episodic_config` does.

    Raises:
        ConfigError: as `load_config` does, and for any interpolation.
    """
    section = Section.of(read_resolved_yaml(path), str(path))
    schema = EpisodicConfig if own_keys else PPOConfig
    return _load_of(str(path), section, schema, free=own_keys)


def read_saved_config(text: str, name: str, *, own_keys: bool = False) -> DictConfig:
    """Like `load_saved_config`, for the text of a file; `name` stands for it in messages."""
    tree = without_interpolations(parse_yaml(text.encode(), name), name)
    schema = EpisodicConfig if own_keys else PPOConfig
    return _load_of(name, Section.of(tree, name), schema, free=own_keys)


def _load_of(name: str, section: Section, schema: type, *, free: bool) -> DictConfig:
    """The configuration of a run's file, which errors name."""
    try:
        return _load(section, (), schema, free=free, saved=True)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def save_config(cfg: DictConfig, path: Path) -> None:
    """Write a configuration as YAML, fully resolved, unless the file already contains it.

    Raises:
        OSError: if it cannot be written.
    """
    text = _sealed_yaml(pickle.dumps(OmegaConf.to_container(cfg, resolve=True)))
    if not path.is_file() or path.read_bytes() != text.encode():
        write_file(path, text)


@lru_cache(maxsize=4)
def _sealed_yaml(values: bytes) -> str:
    """The text of pickled values: a run writes it with each policy that it keeps.

    They are pickled here, as a dict cannot be what a cache looks up.
    """
    return seal_text(OmegaConf.to_yaml(OmegaConf.create(pickle.loads(values))))


def run_name(base_dir: str) -> str:
    """The folder of a run below outputs/, without meaningless trailing dots and spaces.

    Raises:
        ConfigError: if it is outside outputs/, or in a folder that runs write to.
    """
    _check_path("base_dir", base_dir)
    parts = [part.strip() for part in PurePosixPath(base_dir).parts]
    if base_dir.startswith(("/", "~")) or ".." in parts or "\\" in base_dir:
        why = "must be a folder below outputs/: no absolute path, no .., no ~"
    elif not all(part.strip(".") for part in parts) or not parts:
        why = "must be the name of a folder below outputs/"
    elif parts[0].lower() in _RESERVED[:1] or {*parts[1:]} & {*_RESERVED}:
        why = f"must not use a folder name that runs need: {', '.join(_RESERVED)}"
    else:
        return "/".join(part.rstrip(".") for part in parts)
    raise ConfigError(f"base_dir = {shown(base_dir)}: {why}")


def _load(
    section: Section,
    overrides: Sequence[str],
    schema: type,
    *,
    free: bool,
    saved: bool = False,
) -> DictConfig:
    if not OmegaConf.has_resolver("current_time"):
        OmegaConf.register_new_resolver("current_time", lambda: strftime("%Y%m%d-%H%M%S"))
    try:
        unresolved = _unresolved(section, overrides, schema)
        _check_keys(unresolved, schema, "", free=free)
        values = _merged(_defaults(schema, unresolved), unresolved)
        refuse_missing(values)
        values = resolved(section, values)
    except OmegaConfBaseException as error:
        raise ConfigError(_describe(error)) from error
    except RecursionError as error:
        raise ConfigError("the configuration is nested too deeply, or refers to itself") from error
    _fit(values, schema, "")
    if values["gym_env"]["wrappers"] or values["gym_env"]["training_wrappers"]:
        from ppo_bbrl.config.training_wrappers import check_wrappers  # noqa: PLC0415 - Gymnasium imports slowly

        check_wrappers(values["gym_env"])
    if saved:  # an old run may be anywhere: nothing more is written there
        _check_path("base_dir", values["base_dir"])
    else:
        values["base_dir"] = run_name(values["base_dir"])
    _check_path("logger.log_dir", values["logger"]["log_dir"])
    if "optimizer" in values and not free:
        from ppo_bbrl.config.optimizers import optimizer_section  # noqa: PLC0415 - torch takes a second

        values["optimizer"] = optimizer_section(values["optimizer"])
        check_combinations(values["algorithm"])
    try:
        if free:
            return OmegaConf.create(values)
        return typed(values, schema)
    except OmegaConfBaseException as error:
        raise ConfigError(_describe(error)) from error


def _describe(error: OmegaConfBaseException) -> str:
    """The key and OmegaConf's reason."""
    key, reason = getattr(error, "full_key", None), str(error).partition("\n    full_key:")[0]
    return one_line(f"{key}: {reason}" if key else reason)


def _override(given: DictConfig, overrides: Sequence[str]) -> DictConfig:
    for override in [overrides] if isinstance(overrides, str) else overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"override {shown(override)}: must be key=value, as in algorithm.seed=3"
            )
        try:
            parse_value(value)  # within limits
            given.merge_with(OmegaConf.from_dotlist([override]))
        except (ConfigError, OmegaConfBaseException, YAMLError) as error:
            reason = _describe(error) if isinstance(error, OmegaConfBaseException) else error
            raise ConfigError(f"override {shown(override)}: {reason}") from error
    return given


def _unresolved(section: Section, overrides: Sequence[str], schema: type) -> dict[str, Any]:
    """The given values, with overrides; OmegaConf is asked only where it has something to do."""
    if not overrides and not section.keys and not _asks_for_sections(section.given, schema):
        return section.given
    return _with_whole_sections(_override(section.placed(section.given), overrides), schema)


def _asks_for_sections(given: Mapping[str, Any], schema: type) -> bool:
    """Whether text stands for a whole section, which gets its defaults once that is resolved."""
    for key in fields(schema):
        section, value = nested(key), given.get(key.name)
        if isinstance(value, str) and (section or _is_dict(key)):
            return True
        if section and isinstance(value, Mapping) and _asks_for_sections(value, section):
            return True
    return False


def _is_dict(key: "Field[Any]") -> bool:
    return bool(key.metadata["rule"].kind is dict)


def _with_whole_sections(given: DictConfig, schema: type) -> dict[str, Any]:
    """The given values, unresolved except for whole sections: those must get defaults."""
    values = cast("dict[str, Any]", OmegaConf.to_container(given, resolve=False))
    for key in fields(schema):
        section, value = nested(key), values.get(key.name)
        if (section or _is_dict(key)) and isinstance(value, str) and "${" in value:
            found = given[key.name]
            if isinstance(found, DictConfig):
                values[key.name] = OmegaConf.to_container(found, resolve=True)
        elif section is not None and isinstance(value, dict):
            values[key.name] = _with_whole_sections(given[key.name], section)
    return values


def _defaults(schema: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The schema's defaults as a plain dict, interpolations unresolved."""
    defaults = cast("dict[str, Any]", _plain(schema()))
    # Last, so that an error names the key that they refer to.
    for last in ("base_dir", "extra"):
        if last in defaults:
            defaults[last] = defaults.pop(last)
    chosen = given.get("optimizer")
    if isinstance(chosen, Mapping) and "classname" in chosen:
        defaults["optimizer"] = {}  # another optimiser takes other arguments
    return defaults


def _merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in given.items():
        default = merged.get(key)
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            value = _merged(default, value)  # noqa: PLW2901 - the same value, completed
        merged[key] = value
    return merged


def _plain(node: Any) -> Any:
    if is_dataclass(node):
        return {key.name: _plain(getattr(node, key.name)) for key in fields(node)}
    return node


def _check_keys(values: Mapping[str, Any], schema: type, prefix: str, *, free: bool) -> None:
    """Refuse unknown keys (unless `free`), and plain values where a section is expected."""
    known = {key.name: key for key in fields(schema)}
    for name, value in values.items():
        if name not in known:
            if free:
                continue
            hint = _suggestion(str(name), list(known), prefix)
            raise ConfigError(f"{prefix}{name} = {shown(value)}: unknown key{hint}")
        section = nested(known[name])
        if section is None:
            rule: Rule = known[name].metadata["rule"]
            interpolated = isinstance(value, str) and ("${" in value or value == "???")
            if isinstance(value, Mapping) != (rule.kind is dict) and not interpolated:
                raise ConfigError(f"{prefix}{name} = {shown(value)}: must be {rule.describe()}")
            continue
        if value == "???":
            raise ConfigError(f"{prefix}{name} is missing: give it a value")
        if not isinstance(value, Mapping):
            names = [key.name for key in fields(section)]
            more = " and more (`ppo-bbrl train --keys` lists them)" if len(names) > _SHOWN else ""
            allowed = f"{', '.join(names[:_SHOWN])}{more}"
            raise ConfigError(
                f"{prefix}{name} = {shown(value)}: must be a mapping with the keys {allowed}"
            )
        _check_keys(value, section, f"{prefix}{name}.", free=free)


def _suggestion(name: str, siblings: list[str], prefix: str) -> str:
    near = [key for key in known_keys() if key.rpartition(".")[2] == name]
    near += [prefix + key for key in get_close_matches(name, siblings, n=1)]
    if near:
        return f"; did you mean {near[0]}?"
    here = f"{prefix}: " if prefix else ""
    return f"; allowed are {here}{', '.join(siblings)} (put anything else under extra:)"


def _fit(values: dict[str, Any], schema: type, prefix: str) -> None:
    """Check the resolved values against their rules; strings of numbers become numbers."""
    # base_dir is last: it refers to other keys, and the error must name the one at fault.
    for key in sorted(fields(schema), key=lambda key: key.name == "base_dir"):
        name, value = prefix + key.name, values.get(key.name)
        section = nested(key)
        if section is not None:
            _fit(value or {}, section, f"{name}.")
            continue
        read = key.metadata["rule"].fit(name, value)
        if key.name in values:
            values[key.name] = read


def _check_path(key: str, path: str | None) -> None:
    """Refuse paths that file systems do not accept or terminals cannot show."""
    if path is None:
        return
    longest = max(len(part.encode(errors="replace")) for part in path.split("/"))
    if not path.isprintable() or longest > _MAX_NAME or len(path) > _MAX_PATH:
        raise ConfigError(
            f"{key} = {shown(path)}: must be printable, with at most {_MAX_NAME} bytes between "
            f"slashes and {_MAX_PATH} characters in total"
        )
