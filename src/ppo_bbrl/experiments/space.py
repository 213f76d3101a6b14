"""Search spaces: which keys of a configuration to tune, and within what limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.config.yaml_files import read_yaml
from ppo_bbrl.errors import ConfigError, shown

if TYPE_CHECKING:
    from optuna.trial import Trial

#: how the keys begin that do not change what a policy learns
NOT_LEARNED = ("base_dir", "algorithm.seed", "save_", "compute.", "logger.", "extra")
#: follows the size of rollouts, so that all trials have as many steps
EPOCHS = "algorithm.max_epochs"
_NEVER = ("algorithm.seed", "base_dir", "save_every", "gym_env.env_name", EPOCHS)
_STEPS_BY = ("algorithm.n_envs", "algorithm.n_steps")
_FORM = "must be a list of choices, or low and high with `log: true` or `step` if wanted"


@dataclass(frozen=True)
class Choices:
    """One of several values.

    Attributes:
        labels: of each value, since Optuna takes only texts and numbers.
    """

    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as text, by which a study knows them."""
        return tuple(as_override(value) for value in self.values)

    def ends(self) -> tuple[Any, ...]:
        """Values to try whether a configuration takes them."""
        return self.values

    def suggest(self, trial: "Trial", key: str) -> Any:
        """A value for a trial."""
        return self.value(trial.suggest_categorical(key, self.labels))

    def value(self, suggested: Any) -> Any:
        """The value of the configuration for what a study knows."""
        return self.values[self.labels.index(suggested)]

    def __str__(self) -> str:
        return f"one of {', '.join(self.labels)}"


@dataclass(frozen=True)
class Range:
    """A number between two; an integer if both are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def ends(self) -> tuple[Any, ...]:
        """Values to try whether a configuration takes them."""
        return self.low, self.high

    def suggest(self, trial: "Trial", key: str) -> Any:
        """A value for a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(key, self.low, self.high, step=step, log=self.log)
        return self.value(
            trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)
        )

    def value(self, suggested: Any) -> Any:
        """The value of the configuration for what a study knows."""
        if isinstance(suggested, int):
            return suggested
        if self.step:
            return float(f"{suggested:.12g}")  # three steps of 0.1 are 0.30000000000000004
        # Three digits: more would claim a precision that no tuning has.
        return min(max(float(f"{suggested:.3g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


Space = Mapping[str, Choices | Range]


def read_space(
    path: Path, config: Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Space:
    """Read a search space, and check it against the configuration that it is for.

    Args:
        path: a YAML file: `optimizer.lr: {low: 1e-4, high: 1e-2, log: true}` or
            `algorithm.n_steps: [32, 64]` for each key.
        config: of which the other keys are.
        overrides: `key=value` for it.

    Raises:
        ConfigError: naming the key at fault, the value and what is allowed.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{path}: must have a key of the configuration in each line")
    space = {str(key): _dimension(str(key), given) for key, given in tree.items()}
    for key, dimension in space.items():
        for value in dimension.ends():
            load_config(config, [*overrides, f"{key}={as_override(value)}"])
    return space


def overrides_for(
    values: Mapping[str, Any],
    config: Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> list[str]:
    """A trial's `key=value`, on top of those that hold for every trial.

    All trials make as many steps of the environment as the configuration does: a longer run would
    score higher for its length alone. So `algorithm.max_epochs` follows the size of rollouts.

    Args:
        values: of the keys of the space.
        config: of which the other keys are.
        overrides: `key=value` that hold for every trial.
    """
    chosen = [f"{key}={as_override(value)}" for key, value in values.items()]
    if not any(key in values for key in _STEPS_BY):
        return chosen
    usual = load_config(config, overrides).algorithm
    now = load_config(config, [*overrides, *chosen]).algorithm
    steps = usual.n_envs * usual.n_steps * usual.max_epochs
    return [*chosen, f"{EPOCHS}={max(1, round(steps / (now.n_envs * now.n_steps)))}"]


def as_override(value: Any) -> str:
    """A value as the right side of `key=value`."""
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _dimension(key: str, given: Any) -> Choices | Range:
    if key in _NEVER:
        raise ConfigError(f"{key}: is not to be tuned")
    if isinstance(given, list):
        values = tuple(given)
        if len(values) < 2 or len(set(map(str, values))) < len(values):
            raise ConfigError(f"{key} = {shown(given)}: must be at least two choices, each once")
        return Choices(values)
    if not isinstance(given, dict) or not {"low", "high"} <= given.keys():
        raise ConfigError(f"{key} = {shown(given)}: {_FORM}")
    if unknown := given.keys() - {"low", "high", "log", "step"}:
        raise ConfigError(f"{key}.{min(map(str, unknown))}: unknown; {_FORM}")
    low, high = (_number(key, name, given[name]) for name in ("low", "high"))
    log, step = given.get("log", False), given.get("step")
    step = None if step is None else _number(key, "step", step)
    if not isinstance(log, bool):
        raise ConfigError(f"{key}.log = {shown(log)}: must be true or false")
    if step is not None and (step <= 0 or log):
        raise ConfigError(f"{key}.step = {step:g}: must be above 0, and goes without log")
    whole = isinstance(low, int) and isinstance(high, int)
    if step is not None and whole and step % 1:
        raise ConfigError(
            f"{key}.step = {step:g}: must be a whole number, since low and high are; "
            "for other numbers write low as 1.0"
        )
    if not low < high or (log and low <= 0):
        above = " and above 0, since log is true" if log else ""
        raise ConfigError(f"{key}.low = {low:g}: must be below high = {high:g}{above}")
    return Range(low, high, log, step)


def _number(key: str, name: str, value: Any) -> float:
    """YAML 1.1 reads 1e-3 as a string; whole numbers stay integers."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{key}.{name} = {shown(value)}: must be a number")
    return value
