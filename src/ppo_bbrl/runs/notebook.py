"""Detects notebooks, and shows TensorBoard."""

import shlex
import sys
from pathlib import Path

from ppo_bbrl.system.console import say


def in_notebook() -> bool:
    """Whether this code runs in a notebook, which displays what a cell returns."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def setup_tensorboard(path: str | Path) -> None:
    """Show TensorBoard on Colab; elsewhere print the command that starts it. Never prompts.

    Args:
        path: the folder with the events, such as outputs/tblogs.
    """
    folder = Path(path).absolute()
    if "google.colab" in sys.modules:
        from IPython import get_ipython  # noqa: PLC0415 - there only in a notebook

        shell = get_ipython()
        shell.run_line_magic("load_ext", "tensorboard")
        shell.run_line_magic("tensorboard", f"--logdir {shlex.quote(str(folder))}")
        return
    say(f"To see the curves, start TensorBoard:\n{tensorboard_command(folder)}")


def tensorboard_command(folder: Path) -> str:
    """The shell command that starts TensorBoard on a folder."""
    return shlex.join([sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)])
