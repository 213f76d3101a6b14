"""A configuration key: its default, its meaning, and the values it allows, in code and words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppo_bbrl.config.yaml_files import parse_value
from ppo_bbrl.errors import ConfigError, shown

_LARGEST = 3.4028234663852886e38  # of float32, in which networks compute


@dataclass(frozen=True)
class Rule:
    """The allowed values: their type, range or choices."""

    kind: type
    low: float = -math.inf
    high: float = math.inf
    low_allowed: bool = True
    choices: Sequence[str] = ()
    optional: bool = False
    items: bool = False
    length: int | None = None  # how many items
    least: int = 0  # items
    words: Sequence[str | int] = ()  # values allowed besides the range

    def describe(self, nothing: str = "null") -> str:
        """The allowed values, in words; `nothing` is the word for None."""
        kinds = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
        words = (kinds | {list: "a list"}).get(self.kind, "a mapping")
        if self.choices:
            words = "one of " + ", ".join(self.choices)
        elif math.isfinite(self.low) and math.isfinite(self.high):
            left, right = ("[" if self.low_allowed else "("), "]"
            words += f" in {left}{_brief(self.low)}, {_brief(self.high)}{right}"
        elif math.isfinite(self.low):
            words += f" {'≥' if self.low_allowed else '>'} {self.low:g}"
        if self.items:
            count = "" if self.length is None else f" of {self.length}"
            count = f" of {self.least} or more" if self.least else count
            words = f"a list{count}, each {words}"
        elif self.kind is str and not self.choices:
            words += ", not empty"
        words = " or ".join([words, *map(str, self.words)])
        return words + (f" or {nothing}" if self.optional else "")

    def allows(self, value: object) -> bool:
        """Whether the rule allows a value."""
        if value is None:
            return self.optional
        if isinstance(value, str | int) and value in self.words:
            return True
        if self.items:
            one = Rule(self.kind, self.low, self.high, self.low_allowed, self.choices)
            if not isinstance(value, list) or self.length not in (None, len(value)):
                return False
            if len(value) < self.least:
                return False
            return all(one.allows(item) for item in value)
        if self.kind is dict:
            return isinstance(value, Mapping)
        if self.kind in (int, float):
            numeric = (int,) if self.kind is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, numeric):
                return False
            if self.kind is float and not abs(value) <= _LARGEST:  # NaN too
                return False
            above = value >= self.low if self.low_allowed else value > self.low
            return above and value <= self.high
        if self.kind is str and value == "":
            return False
        return isinstance(value, self.kind) and (not self.choices or value in self.choices)

    def fit(self, name: str, value: object) -> Any:
        """The value; a string is parsed as YAML if needed, since environment variables are strings.

        Raises:
            ConfigError: if the value is not allowed; the message names the key.
        """
        if self.allows(value):
            return value
        read = self._read(value)
        if not self.allows(read):
            large = "; beyond ±3.4e+38, a float32 is infinite" if self._is_too_large(read) else ""
            raise ConfigError(f"{name} = {shown(value)}: must be {self.describe()}{large}")
        return read

    def _is_too_large(self, value: object) -> bool:
        if self.kind is not float or self.high < math.inf or not isinstance(value, int | float):
            return False
        return _LARGEST < abs(value) < math.inf

    def _read(self, value: object) -> object:
        if self.items and isinstance(value, list):
            return [Rule(self.kind)._read(item) for item in value]
        if self.kind in (str, dict) or not isinstance(value, str):
            return value
        try:
            return parse_value(value)
        except ConfigError:
            return value


def key(default: Any, rule: Rule, doc: str) -> Any:
    """A configuration key, as a field of a dataclass: default, allowed values and meaning."""
    metadata = {"rule": rule, "doc": doc}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _brief(number: float) -> str:
    """A bound as people write it: 2^63 - 1 for the largest seed."""
    return f"{number:g}" if abs(number) < 2**62 else "2^63 - 1"
