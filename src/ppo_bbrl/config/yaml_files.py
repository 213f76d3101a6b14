"""Reads YAML within limits: a few lines of it can expand to gigabytes, or never end."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo_bbrl.errors import ConfigError, UserError, one_line, shown
from ppo_bbrl.system.seals import check_text

# About a hundred times what a configuration needs, and still read in a fraction of a second.
_MAX_BYTES = 200_000
_MAX_VALUES = 5_000  # with every alias (`*name`) expanded
_MAX_DEPTH = 50
_CHARACTERS = 64  # this much of a string counts as one value

_FAULTS = (OmegaConfBaseException, yaml.YAMLError, ValueError)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, *, sealed: bool = False) -> Any:
    """Read a YAML file as dicts, lists and plain values; interpolations stay strings.

    Args:
        path: the file.
        sealed: whether its seal, if it has one, must fit.

    Raises:
        ConfigError: if the file cannot be read, is not YAML, or is too large; names the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: not a configuration: {error.strerror}") from error
    return parse_yaml(content, str(path), sealed=sealed)


def parse_yaml(content: bytes, name: str, *, sealed: bool = False) -> Any:
    """Like `read_yaml`, for what has been read; `name` stands for it in messages."""
    text = ""
    try:
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"more than {_MAX_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        if sealed:
            check_text(text)
        _check_extent(text)
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 from byte {error.start} on"
    except OSError:  # OmegaConf's, for a file that contains just a number
        reason = "`key: value` lines are expected"
    except UserError as error:
        reason = str(error)
    except _FAULTS as error:
        reason = _describe(error, text)
    raise ConfigError(f"{name}: not a configuration: {reason}")


def read_resolved_yaml(path: Path) -> Any:
    """Like `read_yaml`, for a file that a run wrote, which may come from someone else.

    Such files are written fully resolved. An interpolation in one could only read values of this
    machine, as `${oc.env:...}` does.

    Raises:
        ConfigError: as `read_yaml` does, for any interpolation, and if the file has changed since
            it was written.
    """
    if path.exists() and not path.is_file():  # opening a named pipe would block
        raise ConfigError(f"{path}: not a configuration: it is not a regular file")
    return without_interpolations(read_yaml(path, sealed=True), str(path))


def without_interpolations(tree: Any, name: str) -> Any:
    """A tree, which is refused if it has one: see `read_resolved_yaml`."""
    for value in strings(tree):
        if "${" in value:
            raise ConfigError(
                f"{name}: not a configuration: {shown(value)}: a saved one must not contain ${{"
            )
    return tree


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries, by dotted key; lists are values."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def strings(node: Any) -> Iterator[str]:
    """All strings of a tree, including its keys."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(node, list):
        for item in node:
            yield from strings(item)
    elif isinstance(node, str):
        yield node


def parse_value(text: str) -> Any:
    """Parse `text` as a YAML value: a number, a boolean, null, a list or a string.

    Raises:
        ConfigError: if it is not valid YAML, or is too large.
    """
    try:
        _check_extent(text)
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index, call-overload]
    except _FAULTS as error:
        raise ConfigError(_describe(error, text)) from error


def _check_extent(text: str) -> None:
    """Refuse text that would take long to read, before anything is built from it."""
    extent: dict[str, int] = {}  # sizes of the complete nodes that have an anchor (`&name`)
    begun: list[tuple[str | None, int]] = []
    total = 0
    for event in _events(text):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in begun):
                line = event.start_mark.line + 1
                raise ConfigError(f"line {line}: *{event.anchor} is part of itself")
            total += extent.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            extent[anchor or ""] = total - before
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.ScalarEvent):
            extent[event.anchor or ""] = size = 1 + len(event.value) // _CHARACTERS
            total += size
        if len(begun) > _MAX_DEPTH:
            raise ConfigError(f"nested more than {_MAX_DEPTH} levels deep")
        if total > _MAX_VALUES:
            raise ConfigError(f"more than {_MAX_VALUES:,} values")


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _describe(error: Exception, text: str) -> str:
    """The reason of an error, with its line in the text."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        line = text.splitlines()[mark.line : mark.line + 1]
        if line and line[0][mark.column : mark.column + 1] == "\t":
            return f"line {mark.line + 1}: found a tab; YAML must be indented with spaces"
        words = ", ".join(part for part in (error.context, error.problem) if part)
        return f"line {mark.line + 1}: {one_line(words)}"
    if isinstance(error, OmegaConfBaseException):
        return one_line(str(error).partition("\n    full_key:")[0])
    return one_line(str(error).partition(";")[0])
