"""The folder of a run: what lies where, and that no two runs share one."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppo_bbrl.errors import UserError

CONFIG_FILE = "config.yaml"


def outputs_dir() -> Path:
    """`outputs/` in the current folder; `outputs-testing/` when TESTING_MODE is on, as in BBRL."""
    testing = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")
    return Path("outputs-testing" if testing else "outputs")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    name: str
    path: Path
    tensorboard: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG_FILE

    @property
    def metrics(self) -> Path:
        """Every logged number."""
        return self.path / "metrics.csv"

    @property
    def best(self) -> Path:
        """The best policy and its configuration (with `save_best: true`)."""
        return self.path / "best"

    @property
    def video(self) -> Path:
        """Replays."""
        return self.path / "video"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"


def claim_folder(base_dir: str) -> RunFolder:
    """Make the folder of a new run: `outputs/<base_dir>`, or with `_2`, `_3` … if that is taken.

    Two runs that start in the same second get two folders, in one process or in several.
    """
    root = outputs_dir()
    attempt = 1
    while True:
        name = base_dir if attempt == 1 else f"{base_dir}_{attempt}"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tensorboard = root / "tblogs" / name
        if not tensorboard.exists():  # events of a run whose folder was deleted stay apart
            with suppress(FileExistsError):
                path.mkdir()
                return RunFolder(name, path, tensorboard)
        attempt += 1


def open_folder(path: str | Path) -> RunFolder:
    """The folder of an earlier run.

    Raises:
        UserError: if it is not the folder of a run.
    """
    path = Path(path)
    if not (path / CONFIG_FILE).is_file():
        what = (
            "has no config.yaml"
            if path.is_dir()
            else "is a file"
            if path.exists()
            else "does not exist"
        )
        raise UserError(f"{path}: not the folder of a run: it {what}")
    return RunFolder(path.name, path, path)
