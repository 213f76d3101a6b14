"""Saving a policy with its configuration, and loading it again without running foreign code."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from ppo_bbrl.config import load_config, save_config
from ppo_bbrl.errors import UserError

POLICY_FILE = "policy.pt"


@dataclass(frozen=True)
class SavedPolicy:
    """A saved policy.

    Attributes:
        state: its weights and buffers by name.
        cfg: the configuration of its run.
        reward: the mean return of the evaluation for which it was kept.
        steps: environment steps it had learned from.
        agent: the class of the policy.
    """

    state: dict[str, torch.Tensor]
    cfg: DictConfig
    reward: float
    steps: int
    agent: str


def agent_name(policy: nn.Module) -> str:
    """The class of a policy; of the wrapped one if it is wrapped."""
    kind = type(getattr(policy, "wrapped", policy))
    return f"{kind.__module__}.{kind.__qualname__}"


def save_policy(
    folder: Path, policy: nn.Module, cfg: DictConfig, reward: float, steps: int
) -> None:
    """Write weights and configuration into a folder.

    An earlier policy there is replaced in one stroke: a reader sees the old one or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        save_config(cfg, folder / "config.yaml")
    # Cloned, as weights may be views of a larger tensor that would be saved with them.
    state = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    saved = {"policy": state, "reward": reward, "steps": steps, "agent": agent_name(policy)}
    unfinished = folder / f"{POLICY_FILE}.tmp"
    torch.save(saved, unfinished)
    unfinished.replace(folder / POLICY_FILE)


def load_policy(folder: Path) -> SavedPolicy:
    """Read what `save_policy` wrote. Tensors and numbers are read, never code.

    Raises:
        UserError: if there is no policy in the folder, or the file is damaged.
        ConfigError: if its configuration cannot be read.
    """
    path = folder / POLICY_FILE
    if not path.is_file():
        raise UserError(f"{folder}: no saved policy here (it is kept with save_best: true)")
    try:
        saved = _read(path)
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path}: not a policy of ppo-bbrl, or damaged") from error
    return SavedPolicy(cfg=load_config(folder / "config.yaml"), **saved)


def _read(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise TypeError("torch.save writes a zip file")
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(saved, dict) or not isinstance(saved["policy"], dict):
        raise TypeError(f"{type(saved)} instead of a dict with weights by name")
    state: dict[str, torch.Tensor] = dict(**saved["policy"])
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise ValueError("weights that are not numbers")
    return {
        "state": state,
        "reward": float(saved["reward"]),
        "steps": int(saved["steps"]),
        "agent": str(saved["agent"]),
    }


def restore(policy: nn.Module, saved: SavedPolicy) -> None:
    """Give a policy the saved weights.

    Raises:
        UserError: if it is of another class or another architecture.
    """
    if agent_name(policy) != saved.agent:
        raise UserError(
            f"the saved policy is a {saved.agent}; from its configuration only the package's own "
            "policies can be made again"
        )
    try:
        policy.load_state_dict(saved.state)
    except RuntimeError as error:
        raise UserError(
            "the saved weights do not fit the policy of the configuration: was the run made "
            "with agents of your own?"
        ) from error
