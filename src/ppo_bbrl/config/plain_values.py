"""Converts other libraries' values to plain ones: numbers, strings, lists, dicts, None."""

import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo_bbrl.errors import ConfigError, one_line, shown

_MAX_DEPTH = 50
_MAX_BITS = 10_000  # of an integer that Python can still write in digits
_PLAIN = (bool, int, float, bytes, type(None))


def plain(value: Any, key: str = "", depth: int = 0) -> Any:
    """Copy a value as plain Python values. Interpolations (`${...}`) stay strings.

    NumPy and torch numbers become Python numbers, fractions and decimals floats, arrays and tuples
    lists, paths strings. A nested part of another OmegaConf configuration is resolved in that
    configuration.

    Args:
        value: a dict with any content.
        key: its dotted name, for messages.
        depth: its nesting depth.

    Raises:
        ConfigError: for a value that contains itself, any other object, a string that is not
            valid Unicode, or a part of another configuration that cannot be resolved.
    """
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{key[:100]} …: nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, DictConfig | ListConfig):
        return _of_omegaconf(value, key, depth)
    if key == "gym_env.env_name" and (callable(value) or hasattr(value, "spec") or _id_of(value)):
        known = f", here {_id_of(value)!r}" if _id_of(value) else ""
        raise ConfigError(
            f"{key} = {shown(value)}: must be the name of a registered environment{known}; "
            "gymnasium.register(id='Mine-v0', entry_point=Mine) gives one to a class of yours"
        )
    if is_dataclass(value):
        try:
            return OmegaConf.to_container(OmegaConf.structured(value), resolve=False)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key or 'the configuration'}: {one_line(error)}") from error
    if isinstance(value, Mapping):
        return {
            str.__str__(name) if isinstance(name, str) else name: plain(
                item, f"{key}.{name}" if key else str(name), depth + 1
            )
            for name, item in value.items()
        }
    if isinstance(value, np.ndarray) and value.ndim:
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item, f"{key}[{index}]", depth + 1) for index, item in enumerate(value)]
    value = _number(value)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ConfigError(f"{key} = {shown(value)}: must be a smaller number")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return _string(value, key)
    # OmegaConf accepts classes and Enums too, but what it writes for them cannot be read without
    # running code.
    if type(value) not in _PLAIN:
        raise ConfigError(
            f"{key or 'the configuration'} = {shown(value)}: must be a number, a string, true or "
            "false, a list or a dict"
        )
    return value


def _id_of(env: Any) -> Any:
    """The name by which an environment, or its specification, is registered; None if it is none."""
    found = getattr(getattr(env, "spec", None) or env, "id", None)
    return found if isinstance(found, str) else None


def _number(value: Any) -> Any:
    """A number of Python's own for one of another kind; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # NumPy, torch, JAX
        return value.item()
    return float(value) if isinstance(value, Decimal | Fraction) else value


def _string(value: str, key: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{key} = {shown(value)}: must be valid Unicode") from error
    return str.__str__(value)


def _of_omegaconf(value: DictConfig | ListConfig, key: str, depth: int) -> Any:
    part = value._get_parent() is not None
    try:
        return plain(OmegaConf.to_container(value, resolve=part), key, depth + 1)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {one_line(error)}") from error
