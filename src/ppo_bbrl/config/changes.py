"""Changes to a configuration after it was read: each takes effect or is refused by name.

The loop reads plain values that were copied from the configuration once, because looking up a key
there takes ten times as long. All values are compared before each use, so that no change is missed.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from operator import getitem, is_
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ppo_bbrl.errors import ConfigError

# What environments, agents and random streams were made from.
_AT_CONSTRUCTION = (
    "algorithm.seed",
    "algorithm.n_envs",
    "algorithm.architecture",
    "algorithm.policy_type",
    "algorithm.policy_keys",
    "algorithm.critic_keys",
    "algorithm.normalize_observation",
    "algorithm.clip_observation",
    "algorithm.normalize_reward",
    "algorithm.normalize_value",
    "algorithm.curiosity",
    "algorithm.squash_actions",
    "algorithm.use_sde",
    "algorithm.sde_sample_freq",
    "gym_env",
    "compute.device",
)
# Of these, what may be others when a run goes on.
AT_ANY_TIME = ("gym_env.step_timeout", "gym_env.on_failure")
_OF_A_LOOP = ("algorithm.n_steps", "algorithm.max_epochs")


class ConfigChanges:
    """Compares a configuration with its values when it was last read.

    Args:
        cfg: the configuration.

    Attributes:
        known: the values when it was last read.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.accept(cfg)

    def accept(self, cfg: DictConfig) -> None:
        """Remember the current values as read."""
        self.known, self._nodes = _values(cfg), _Nodes(cfg)

    def find(
        self, cfg: object, *, in_a_loop: bool = False, written: Collection[str] = ()
    ) -> dict[str, Any]:
        """The changed values by their dotted keys.

        Args:
            cfg: the configuration.
            in_a_loop: whether a loop is running; it read its own keys when it started.
            written: keys and sections that files already depend on.

        Raises:
            ConfigError: for a change that comes too late; the message says what to do.
        """
        if self._nodes.same(cfg):
            return {}
        if not isinstance(cfg, DictConfig):
            kind = type(cfg).__name__
            raise ConfigError(
                f"cfg is a {kind}: must stay the DictConfig that the algorithm made: change its "
                "keys instead"
            )
        values = _values(cfg)
        if values == self.known:
            self._nodes = _Nodes(cfg)
            return {}
        changes = dict(_differences(self.known, values))
        for keys, what, remedy in (
            (_AT_CONSTRUCTION, "the algorithm was made", "make a new one"),
            (written, "the run already writes files", "change it before the run"),
            (_OF_A_LOOP if in_a_loop else (), "the loop started", "change it between loops"),
        ):
            for name, (then, now) in changes.items():
                if any(name == key or name.startswith(f"{key}.") for key in keys):
                    raise ConfigError(f"{name} = {now!r}: {what} {_with(then)}; {remedy}")
        for name, (then, now) in changes.items():
            if name.startswith("optimizer.") and (name != "optimizer.lr" or now is None):
                raise ConfigError(
                    f"{name} = {now!r}: the optimisers were made {_with(then)}; change the "
                    "param_groups of policy_optimizer and critic_optimizer, or replace both"
                )
        return {name: now for name, (_, now) in changes.items()}


class _Nodes:
    """The nodes of a configuration and their values, whose identity is cheap to compare."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg, self._comparable = cfg, True
        # In columns, so that no Python runs for an entry: its place, its name there, and itself.
        self._places: list[Any] = []
        self._names: list[Any] = []
        self._entries: list[Any] = []
        self._sized: list[Any] = []
        self._look(cfg)
        self._sizes = [*map(len, self._sized)]

    def same(self, cfg: object) -> bool:
        """Whether nothing has changed; False also where a value was set that is equal."""
        if cfg is not self._cfg or not self._comparable or [*map(len, self._sized)] != self._sizes:
            return False
        with suppress(KeyError):  # one key came for another
            return all(map(is_, map(getitem, self._places, self._names), self._entries))
        return False

    def _look(self, node: Any) -> None:
        attributes = vars(node)
        name = next((name for name in ("_val", "_content") if name in attributes), None)
        if name is None:  # another version of OmegaConf
            self._comparable = False
            return
        content = attributes[name]
        self._keep(attributes, name, content)
        if name == "_content" and isinstance(content, dict | list):
            self._sized.append(content)
            for key, inner in content.items() if isinstance(content, dict) else enumerate(content):
                self._keep(content, key, inner)
                self._look(inner)

    def _keep(self, place: Any, name: Any, entry: Any) -> None:
        for column, value in ((self._places, place), (self._names, name), (self._entries, entry)):
            column.append(value)


def _with(then: Any) -> str:
    return "without it" if then is None else f"with {then!r}"


def fixed_values(cfg: DictConfig) -> dict[str, Any]:
    """By dotted keys, what must be the same where a state of the algorithm is loaded."""
    fixed = (*_AT_CONSTRUCTION, "optimizer")
    free = ("compute.device", "optimizer.lr", *AT_ANY_TIME)
    return {
        name: value
        for name, value in _flat(_values(cfg))
        if any(name == key or name.startswith(f"{key}.") for key in fixed) and name not in free
    }


def _flat(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _differences(then: Any, now: Any, prefix: str = "") -> Iterable[tuple[str, tuple[Any, Any]]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in {**then, **now}:
            inner = f"{prefix}.{name}" if prefix else str(name)
            yield from _differences(then.get(name), now.get(name), inner)
    elif then != now:
        yield prefix, (then, now)


def _values(node: Any) -> Any:
    """The values of a configuration, as dicts and lists.

    `OmegaConf.to_container` does the same and takes 0.3 ms, as long as a minibatch.
    """
    attributes = vars(node)
    if "_val" in attributes:
        return attributes["_val"]
    content = attributes.get("_content", node)
    if isinstance(content, dict):
        return {name: _values(inner) for name, inner in content.items()}
    if isinstance(content, list):
        return [_values(inner) for inner in content]
    if content is node:  # another version of OmegaConf
        return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node._value()
    return content
