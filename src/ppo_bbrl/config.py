"""The configuration of a run: read, merged, resolved, checked. What may be in it: `schema.py`.

A dict, an OmegaConf object or a YAML file, and `key=value` overrides merge in this order. What
does not fit is one `ConfigError` that names the key, the value and what is allowed, and it comes
before any file is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from time import strftime
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ppo_bbrl.errors import ConfigError, one_line
from ppo_bbrl.files import write_file
from ppo_bbrl.schema import EpisodicConfig, PPOConfig, Rule, known_keys, nested

__all__ = [
    "ConfigError",
    "EpisodicConfig",
    "PPOConfig",
    "known_keys",
    "load_config",
    "load_episodic_config",
    "run_name",
    "save_config",
]

Source = Mapping[str, Any] | DictConfig | str | Path

_LONGEST_NAME = 200  # bytes; file systems take 255, and a name may get a number
_LONGEST_PATH = 1000  # characters
_RESERVED = ("tblogs", "best", "last", "video")  # the first beside the runs, the others in each


def load_config(source: Source, overrides: Sequence[str] = ()) -> DictConfig:
    """Read, merge, resolve and check the configuration of a PPO run.

    Args:
        source: a dict, a DictConfig (neither is changed) or the path of a YAML file.
        overrides: `key=value` texts such as `algorithm.seed=3`; they win.

    Returns:
        A typed DictConfig with every default filled in and every interpolation resolved.

    Raises:
        ConfigError: for a file that cannot be read, an unknown key, a wrong type or an
            impossible value.
    """
    return _load(source, overrides, PPOConfig, free=False)


def load_episodic_config(source: Source) -> DictConfig:
    """Like `load_config`, for `EpisodicAlgo`: its own keys are checked, all others are left."""
    return _load(source, (), EpisodicConfig, free=True)


def save_config(cfg: DictConfig, path: Path) -> None:
    """Write a configuration as YAML, with everything resolved; the same one is not written again.

    Raises:
        OSError: if it cannot be written.
    """
    text = OmegaConf.to_yaml(cfg, resolve=True)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_file(path, text)


def run_name(base_dir: str) -> str:
    """The folder below outputs/ that a run is to have, without ends that mean nothing.

    Raises:
        ConfigError: if it leaves outputs/, or would lie in what belongs to another run.
    """
    _check_path("base_dir", base_dir)
    parts = [part.strip() for part in PurePosixPath(base_dir).parts]
    if base_dir.startswith(("/", "~")) or ".." in parts or "\\" in base_dir:
        why = "must be a folder below outputs/: no absolute path, no .., no ~"
    elif not all(part.strip(".") for part in parts) or not parts:
        why = "must be the name of a folder below outputs/"
    elif parts[0].lower() in _RESERVED[:1] or {*parts[1:]} & {*_RESERVED}:
        why = f"must not be in the way of what runs write: {', '.join(_RESERVED)}"
    else:
        return "/".join(part.rstrip(".") for part in parts)
    raise ConfigError(f"base_dir = {one_line(repr(base_dir))}: {why}")


def _load(source: Source, overrides: Sequence[str], schema: type, *, free: bool) -> DictConfig:
    if not OmegaConf.has_resolver("current_time"):
        OmegaConf.register_new_resolver("current_time", lambda: strftime("%Y%m%d-%H%M%S"))
    given = _read(source)
    for override in overrides:
        given = _override(given, override)
    try:
        unresolved = cast("dict[str, Any]", OmegaConf.to_container(given, resolve=False))
        _check_keys(unresolved, schema, "", free=free)
        merged = OmegaConf.merge(OmegaConf.create(_defaults(schema, unresolved)), given)
        for name in _missing(OmegaConf.to_container(merged, resolve=False)):
            raise ConfigError(f"{name} is missing: give it a value")
        values = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    _check(values, schema, "")
    if values["gym_env"]["wrappers"]:
        from ppo_bbrl.wrappers import parse  # noqa: PLC0415 - Gymnasium takes a while

        for index, entry in enumerate(values["gym_env"]["wrappers"]):
            parse(entry, f"gym_env.wrappers[{index}]")
    values["base_dir"] = run_name(values["base_dir"])
    _check_path("logger.log_dir", values["logger"]["log_dir"])
    if "optimizer" in values and not free:
        _check_optimizer(values["optimizer"])
    if free:
        return OmegaConf.create(values)
    try:
        typed = cast("DictConfig", OmegaConf.merge(OmegaConf.structured(schema), values))
        typed.optimizer = values["optimizer"]  # without the default's arguments
        return typed
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error


def _read(source: Source) -> DictConfig:
    try:
        if isinstance(source, str | Path):
            path = Path(source)
            if not path.is_file():
                raise ConfigError(f"{path}: there is no such configuration file")
            loaded = OmegaConf.load(path)
        elif isinstance(source, DictConfig):
            loaded = OmegaConf.create(OmegaConf.to_container(source, resolve=False))
        else:
            loaded = OmegaConf.create(cast("dict[str, Any]", source))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{_name(source)}: not a configuration: {one_line(error)}") from error
    if not isinstance(loaded, DictConfig) or loaded._is_none():
        raise ConfigError(f"{_name(source)}: not a configuration: `key: value` lines are expected")
    return loaded


def _missing(node: Any, prefix: str = "") -> list[str]:
    """The keys whose value is the `???` of OmegaConf."""
    if not isinstance(node, Mapping):
        return [prefix.rstrip(".")] if node == "???" else []
    return [name for key, value in node.items() for name in _missing(value, f"{prefix}{key}.")]


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else "the configuration"


def _override(given: DictConfig, override: str) -> DictConfig:
    key, equals, _ = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r}: must be key=value, as in algorithm.seed=3")
    try:
        return cast("DictConfig", OmegaConf.merge(given, OmegaConf.from_dotlist([override])))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"override {override!r}: {one_line(error)}") from error


def _defaults(schema: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The schema's defaults as a plain dict, interpolations unresolved."""
    defaults = cast("dict[str, Any]", _plain(schema()))
    chosen = given.get("optimizer")
    if isinstance(chosen, Mapping) and "classname" in chosen:
        defaults["optimizer"] = {}  # another optimiser takes other arguments
    return defaults


def _plain(node: Any) -> Any:
    if is_dataclass(node):
        return {key.name: _plain(getattr(node, key.name)) for key in fields(node)}
    return node


def _check_keys(values: Mapping[str, Any], schema: type, prefix: str, *, free: bool) -> None:
    """Refuse unknown keys (unless free) and plain values where a section is expected."""
    known = {key.name: key for key in fields(schema)}
    for name, value in values.items():
        if name not in known:
            if free:
                continue
            hint = _suggestion(str(name), list(known), prefix)
            raise ConfigError(f"{prefix}{name} = {value!r}: unknown key{hint}")
        section = nested(known[name])
        if section is None:
            rule: Rule = known[name].metadata["rule"]
            interpolated = isinstance(value, str) and "${" in value
            if isinstance(value, Mapping) != (rule.kind is dict) and not interpolated:
                raise ConfigError(f"{prefix}{name} = {value!r}: must be {rule.describe()}")
            continue
        if not isinstance(value, Mapping):
            allowed = ", ".join(key.name for key in fields(section))
            raise ConfigError(
                f"{prefix}{name} = {value!r}: must be a mapping with the keys {allowed}"
            )
        _check_keys(value, section, f"{prefix}{name}.", free=free)


def _suggestion(name: str, siblings: list[str], prefix: str) -> str:
    near = [key for key in known_keys() if key.rpartition(".")[2] == name]
    near += [prefix + key for key in get_close_matches(name, siblings, n=1)]
    if near:
        return f"; did you mean {near[0]}?"
    here = f"{prefix}: " if prefix else ""
    return f"; allowed are {here}{', '.join(siblings)} (other information goes under extra:)"


def _check(values: Mapping[str, Any], schema: type, prefix: str) -> None:
    """Check the resolved values against their rules."""
    for key in fields(schema):
        name, value = prefix + key.name, values.get(key.name)
        section = nested(key)
        if section is not None:
            _check(value or {}, section, f"{name}.")
        elif not key.metadata["rule"].allows(value):
            allowed = key.metadata["rule"].describe()
            raise ConfigError(f"{name} = {value!r}: must be {allowed}")


def _check_path(key: str, path: str | None) -> None:
    """Refuse what no file system takes, or no terminal shows."""
    if path is None:
        return
    longest = max(len(part.encode(errors="replace")) for part in path.split("/"))
    if not path.isprintable() or longest > _LONGEST_NAME or len(path) > _LONGEST_PATH:
        raise ConfigError(
            f"{key} = {one_line(repr(path), 100)}: must be printable, with at most {_LONGEST_NAME} "
            f"bytes between two slashes and {_LONGEST_PATH} characters in all"
        )


def _check_optimizer(optimizer: Mapping[str, Any]) -> None:
    from ppo_bbrl.optimizers import optimizer_class  # noqa: PLC0415 - torch takes a second

    try:
        optimizer_class(optimizer)
    except ValueError as error:
        raise ConfigError(f"optimizer.{error}") from error
