"""YAML within limits: a few lines of it can mean gigabytes, or have no end."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo_bbrl.errors import ConfigError, one_line, shown

# Some hundred times what a configuration needs, and read in a fraction of a second.
_MOST_BYTES = 200_000
_MOST_VALUES = 5_000  # with every alias (`*name`) written out
_DEEPEST = 50
_CHARACTERS = 64  # of a string that count as much as a value

_FAULTS = (OmegaConfBaseException, yaml.YAMLError, ValueError)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, as dicts, lists and plain values; interpolations stay strings.

    Raises:
        ConfigError: for a file that cannot be read, is no YAML, or too large; it names the file.
    """
    text = ""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"more than {_MOST_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        _check_extent(text)
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 from byte {error.start} on"
    except OSError as error:
        reason = error.strerror or "`key: value` lines are expected"  # OmegaConf's, of a number
    except _FAULTS as error:
        reason = _told(error, text)
    raise ConfigError(f"{path}: not a configuration: {reason}")


def read_resolved_yaml(path: Path) -> Any:
    """Like `read_yaml`, for a file that a run has left, which may be a stranger's.

    It was resolved when it was written, so nothing in it may ask for the values of this machine,
    as `${oc.env:...}` does.

    Raises:
        ConfigError: as by `read_yaml`, and for an interpolation.
    """
    if path.exists() and not path.is_file():  # who opens a named pipe waits
        raise ConfigError(f"{path}: not a configuration: it is no file")
    tree = read_yaml(path)
    for value in _strings(tree):
        if "${" in value:
            raise ConfigError(
                f"{path}: not a configuration: {shown(value)}, and a saved one has no ${{"
            )
    return tree


def _strings(node: Any) -> Iterator[str]:
    """All strings of a tree, those of keys too."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _strings(key)
            yield from _strings(value)
    elif isinstance(node, list):
        for item in node:
            yield from _strings(item)
    elif isinstance(node, str):
        yield node


def parse_value(text: str) -> Any:
    """What a YAML file would mean by `text`: a number, a truth value, null, a list, a string.

    Raises:
        ConfigError: if it would be no YAML, or too large.
    """
    try:
        _check_extent(text)
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index, call-overload]
    except _FAULTS as error:
        raise ConfigError(_told(error, text)) from error


def _check_extent(text: str) -> None:
    """Refuse what would take long to read, before anything is built of it."""
    extent: dict[str, int] = {}  # of what has an anchor (`&name`) and is read to its end
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
        if len(begun) > _DEEPEST:
            raise ConfigError(f"nested more than {_DEEPEST} levels deep")
        if total > _MOST_VALUES:
            raise ConfigError(f"more than {_MOST_VALUES:,} values")


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _told(error: Exception, text: str) -> str:
    """What is wrong, and in which line of the text."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark) is not None:
        line = text.splitlines()[mark.line : mark.line + 1]
        if line and line[0][mark.column : mark.column + 1] == "\t":
            return f"line {mark.line + 1}: a tab; YAML is indented with spaces"
        words = ", ".join(part for part in (error.context, error.problem) if part)
        return f"line {mark.line + 1}: {one_line(words)}"
    if isinstance(error, OmegaConfBaseException):
        return one_line(str(error).partition("\n    full_key:")[0])
    return one_line(str(error).partition(";")[0])
