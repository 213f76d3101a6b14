"""Saving a policy with its configuration, and loading it again without running foreign code."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

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
    """

    state: dict[str, torch.Tensor]
    cfg: DictConfig
    reward: float
    steps: int


def save_policy(
    folder: Path, policy: nn.Module, cfg: DictConfig, reward: float, steps: int
) -> None:
    """Write weights and configuration into a folder.

    An earlier policy there is replaced in one stroke: a reader sees the old one or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        save_config(cfg, folder / "config.yaml")
    saved = {"policy": policy.state_dict(), "reward": reward, "steps": steps}
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
        state, reward, steps = _read(path)
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path}: not a policy of ppo-bbrl, or damaged") from error
    return SavedPolicy(state, load_config(folder / "config.yaml"), reward, steps)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], float, int]:
    if not zipfile.is_zipfile(path):
        raise TypeError("torch.save writes a zip file")
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(saved, dict) or not isinstance(saved["policy"], dict):
        raise TypeError(f"{type(saved)} instead of a dict with weights by name")
    return dict(**saved["policy"]), float(saved["reward"]), int(saved["steps"])


def restore(policy: nn.Module, saved: SavedPolicy) -> None:
    """Give a policy the saved weights.

    Raises:
        UserError: if it has another architecture.
    """
    try:
        policy.load_state_dict(saved.state)
    except RuntimeError as error:
        raise UserError(
            "the saved weights do not fit the policy of the configuration: was the run made "
            "with agents of your own?"
        ) from error
