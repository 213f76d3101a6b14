"""The folder of a run: what lies where, and that no two runs share one."""

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from ppo_bbrl.config.loading import run_name
from ppo_bbrl.errors import ConfigError, UserError, one_line

CONFIG_FILE = "config.yaml"
TENSORBOARD = "tblogs"


def outputs_dir() -> Path:
    """`outputs/` in the current folder; `outputs-testing/` when TESTING_MODE is on, as in BBRL."""
    testing = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")
    return Path("outputs-testing" if testing else "outputs")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run: absolute, as the current folder may change while it goes on."""

    name: str
    path: Path
    tensorboard: Path
    events: Path  # with the TensorBoard folders of several runs, which show side by side

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
        """The policy with the best evaluation, and the configuration."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The policy with which the run ended, and the configuration."""
        return self.path / "last"

    @property
    def video(self) -> Path:
        """Replays."""
        return self.path / "video"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"


def claim_folder(
    base_dir: str, outputs: Path | None = None, events: Path | None = None
) -> RunFolder:
    """Make the folder of a new run: `outputs/<base_dir>`, or with `_2`, `_3` … if that is taken.

    Two runs that start in the same second get two folders, in one process or in several; and so
    do their TensorBoard events.

    Args:
        base_dir: below `outputs`.
        outputs: default: `outputs_dir()`.
        events: below it each run has its TensorBoard folder, of the same name as the run's;
            default: `outputs/tblogs`.

    Raises:
        ConfigError: if `base_dir` leads elsewhere.
        UserError: if the folder cannot be made.
    """
    base_dir = run_name(base_dir)
    outputs = (outputs or outputs_dir()).absolute()
    events = (events or outputs / TENSORBOARD).absolute()
    for attempt in count(1):
        name = base_dir if attempt == 1 else f"{base_dir}_{attempt}"
        folder = RunFolder(name, outputs / name, events / name, events)
        try:
            if _claim(folder):
                return folder
        except OSError as error:
            raise UserError(
                f"{folder.path}: this folder of the run cannot be made: {one_line(error)}"
            ) from error
    raise AssertionError("there is always another number")


def check_events(folder: Path) -> None:
    """Refuse a folder for events in which, or in the place of which, nothing can be made.

    Nothing is left there.

    Raises:
        ConfigError: naming it.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        why = error.strerror or one_line(error)
        raise ConfigError(
            f"logger.log_dir = {str(folder)!r}: must be a folder, there or to be made, in which "
            f"files can be written; in {there}: {why}"
        ) from error


def _claim(folder: RunFolder) -> bool:
    """Make the folder of a run and that of its events, unless one of them is there already."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    claimed = False
    with suppress(OSError):  # without events a run goes on; the logger will say why
        folder.tensorboard.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.tensorboard.mkdir()
            claimed = True
        except FileExistsError:
            return False  # of a run whose folder was deleted, or lies elsewhere
    try:
        folder.path.mkdir()
    except OSError as error:
        if claimed:
            folder.tensorboard.rmdir()
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


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
    return RunFolder(path.name, path, path, path)
