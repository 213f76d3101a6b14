"""Saves a policy with its configuration, and loads it without running code from the file."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from ppo_bbrl.agents.layers import check_same_layers, layers_of
from ppo_bbrl.agents.networks import no_numbers
from ppo_bbrl.config.loading import load_saved_config, save_config
from ppo_bbrl.envs.space_data import both_as_data, both_from_data
from ppo_bbrl.envs.spaces import HasSpaces, Spaces
from ppo_bbrl.errors import ConfigError, UserError, printable
from ppo_bbrl.runs.archives import read_archive, write_archive
from ppo_bbrl.runs.folder import open_folder, run_path
from ppo_bbrl.system.files import make_folder
from ppo_bbrl.system.seals import NewerFormatError

POLICY_FILE = "policy.pt"
POLICIES = ("best", "last")  # folders of a run
_MOST_STEPS = 2**63


_KNOWN_AS = {
    "ppo_bbrl.agents.policies": "ppo_bbrl.agents",
    "ppo_bbrl.agents.shared": "ppo_bbrl.shared_trunk",
}


@dataclass(frozen=True)
class SavedPolicy:
    """A saved policy.

    Attributes:
        state: its weights and buffers by name.
        cfg: the configuration of its run.
        reward: the mean return of its evaluation; -∞ if it was never evaluated.
        steps: number of environment steps it had learned from.
        agent: the class of the policy.
        own_agent: whether the user's program made this policy; None if the file is too old to say.
        spaces: the spaces of its environments; None in old files.
        layers: its layers by name, which weights do not tell apart; None in old files.
    """

    state: dict[str, torch.Tensor]
    cfg: DictConfig
    reward: float
    steps: int
    agent: str
    own_agent: bool | None = None
    spaces: Spaces | None = None
    layers: Any = None


def agent_name(policy: nn.Module) -> str:
    """The name of a policy's class; of the wrapped policy if it is wrapped."""
    return class_name(type(getattr(policy, "wrapped", policy)))


def class_name(kind: type) -> str:
    """The full name of a class; for the package's own, the name that saved runs use."""
    module = _KNOWN_AS.get(kind.__module__, kind.__module__)
    return f"{module}.{kind.__qualname__}"


def save_policy(
    folder: Path,
    policy: nn.Module,
    cfg: DictConfig,
    reward: float,
    steps: int,
    *,
    own_agent: bool = False,
    env: HasSpaces | None = None,
) -> None:
    """Write weights and configuration to a folder of a run.

    An earlier policy there is replaced atomically: readers see the old one or the new one.

    Args:
        folder: created if it does not exist.
        policy: the policy with its weights.
        cfg: the configuration of its run.
        reward: the mean return of its evaluation; -∞ if it was never evaluated.
        steps: number of environment steps it has learned from.
        own_agent: whether the user's program made the policy, so that `cfg` cannot.
        env: an object with the spaces, which are saved so that loading needs no environment.

    Raises:
        OSError: if the files cannot be written, or the folder is a symbolic link.
    """
    make_folder(folder, root=folder.parent)
    save_config(cfg, folder / "config.yaml")
    # Cloned, as weights may be views of a larger tensor that would be saved with them.
    state = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    saved = {
        "policy": state,
        "reward": reward,
        "steps": steps,
        "agent": agent_name(policy),
        "own_agent": own_agent,
        "layers": layers_of(policy),
    }
    if env is not None:
        saved |= both_as_data(env)
    write_archive(folder / POLICY_FILE, saved)


def find_policy(path: str | Path, which: str = "best") -> Path:
    """The folder of a saved policy.

    Args:
        path: the folder of a run, or of one of its policies, such as `RUN/best`.
        which: policy of the run: best or last.

    Raises:
        UserError: if it is neither.
    """
    if which not in POLICIES:
        raise UserError(f"which = {which!r}: must be one of {', '.join(POLICIES)}")
    path = run_path(path)
    if (path / POLICY_FILE).is_file():
        return path if path.name else path.absolute()  # gives `.` a name
    return open_folder(path).path / which


def load_policy(folder: str | Path) -> SavedPolicy:
    """Read what `save_policy` wrote. It reads tensors and numbers, never code.

    Raises:
        UserError: if there is no policy in the folder, or the file is damaged.
        ConfigError: if its configuration cannot be read.
    """
    folder = run_path(folder)
    path = folder / POLICY_FILE
    if not path.is_file():
        raise UserError(
            f"{folder}: no saved policy here; a run saves one after each better evaluation, or, "
            "with save_best: false, when it ends"
        )
    try:
        saved = _read(path)
    except NewerFormatError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path}: not a policy of ppo-bbrl, or a damaged file") from error
    return SavedPolicy(cfg=_config(folder / "config.yaml", saved["own_agent"]), **saved)


def _config(path: Path, own_agent: bool | None) -> DictConfig:
    try:
        return load_saved_config(path)
    except ConfigError:
        if not own_agent:
            raise
        return load_saved_config(path, own_keys=True)  # the user's own algorithm


def _read(path: Path) -> dict[str, Any]:
    saved = read_archive(path)
    if not isinstance(saved["policy"], dict):
        raise TypeError(f"{type(saved['policy'])} instead of weights by name")
    state: dict[str, torch.Tensor] = dict(**saved["policy"])
    if any(tensor.isnan().any() for tensor in state.values()):
        raise ValueError("weights that are not numbers")
    reward, steps = float(saved["reward"]), int(saved["steps"])
    if math.isnan(reward) or not 0 <= steps < _MOST_STEPS:
        raise ValueError("an evaluation or a number of steps that is none")
    return {
        "state": state,
        "reward": reward,
        "steps": steps,
        "agent": str(saved["agent"]),
        "own_agent": bool(saved["own_agent"]) if "own_agent" in saved else None,
        "spaces": both_from_data(saved),
        "layers": saved.get("layers"),
    }


def restore(policy: nn.Module, saved: SavedPolicy) -> None:
    """Load the saved weights into a policy.

    Raises:
        UserError: if it has a different class or architecture.
    """
    made = agent_name(policy)
    if made != saved.agent:
        raise UserError(f"the saved policy is a {printable(saved.agent)}, not a {made}")
    settings = check_same_layers("the policy", saved.layers, policy)
    inner = getattr(policy, "wrapped", policy)  # either of the two may have been saved
    names = inner.state_dict().keys()
    state = {
        name if name in names else name.removeprefix("wrapped."): value
        for name, value in saved.state.items()
    }
    try:
        inner.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"the saved weights do not fit the policy of the configuration, a {made}: one of the "
            "two files was changed, or comes from another run"
        ) from error
    if no_numbers(policy):
        raise UserError("the saved weights are NaN or infinite: their run has diverged")
    for differs in settings:
        warnings.warn(differs, stacklevel=2)
