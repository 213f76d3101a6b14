"""Display of a workspace: its variables, who writes them, and the T × B grid."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ppo_bbrl.system.html import Markup, grid, number, table

_MOST_ROWS, _MOST_COLUMNS = 24, 12
_RUNNING, _ENDED, _BEGINS = "#eef3f8", "#f3c6b8", "#cfe8cf"
#: last part of a variable's name → who writes it in the package's own run
_WRITERS = {
    "action": "policy", "logprob": "policy", "logprob_predict": "policy", "entropy": "policy",
    "v_values": "critic", "advantage": "algorithm", "return": "algorithm",
}  # fmt: skip


def writer_of(name: str) -> str:
    """Who writes a variable of this name: environment, policy, critic or algorithm."""
    if name.startswith("env/"):
        return "environment"
    return _WRITERS.get(name.rpartition("/")[2], "another agent")


def as_text(variables: Mapping[str, Tensor]) -> str:
    """The variables of a workspace with their shapes and types, in one line."""
    parts = [f"{name} {list(value.shape)} {_dtype(value)}" for name, value in variables.items()]
    return f"Workspace({', '.join(parts)})"


def as_html(variables: Mapping[str, Tensor]) -> str:
    """A grid of the episodes, and a table of the variables, `[T, B, …]` each."""
    if not variables:
        return "<p>An empty workspace: no agent has written anything yet.</p>"
    rows = [
        (name, list(value.shape), _dtype(value), writer_of(name))
        for name, value in variables.items()
    ]
    shapes = table(("variable", "[T, B, …]", "type", "who writes it"), rows)
    return (_episodes(variables) or "") + shapes


def _episodes(variables: Mapping[str, Tensor]) -> Markup | None:
    """Rewards by row and environment, with the starts and ends of episodes in colour."""
    if not {"env/reward", "env/done", "env/timestep"} <= variables.keys():
        return None
    n_rows, n_envs = variables["env/reward"].shape
    shown = {
        name: variables[f"env/{name}"][:_MOST_ROWS, :_MOST_COLUMNS].tolist()
        for name in ("reward", "done", "timestep")
    }
    cells = [
        [
            (number(reward), _ENDED if done else _BEGINS if step == 0 else _RUNNING)
            for reward, done, step in zip(*row, strict=True)
        ]
        for row in zip(shown["reward"], shown["done"], shown["timestep"], strict=True)
    ]
    larger = n_rows > _MOST_ROWS or n_envs > _MOST_COLUMNS
    return grid(
        cells,
        f"T = {n_rows} rows × B = {n_envs} environments{' (first part)' if larger else ''}: the "
        "reward in each row; green where an episode begins, red where it has ended",
    )


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def summary(tensor: Tensor) -> tuple[str, str, str]:
    """Mean, minimum and maximum of a tensor, as text."""
    if tensor.numel() == 0:
        return "", "", ""
    numbers = tensor.detach().to(torch.float64)
    return number(numbers.mean()), number(numbers.min()), number(numbers.max())
