"""The folder of a run: the paths of its files; no two runs share a folder."""

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ppo_bbrl.config.loading import run_name
from ppo_bbrl.errors import ConfigError, UserError, one_line, shown

CONFIG_FILE = "config.yaml"
TENSORBOARD = "tblogs"


def outputs_dir() -> Path:
    """`outputs/` in the current folder; `outputs-testing/` when TESTING_MODE is on, as in BBRL."""
    testing = os.environ.get("TESTING_MODE", "").lower() in ("on", "1")
    return Path("outputs-testing" if testing else "outputs")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run; absolute, because the current folder may change during the run."""

    name: str
    path: Path
    tensorboard: Path
    events: Path  # contains the TensorBoard folders of all runs, for comparing them

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG_FILE

    @property
    def metrics(self) -> Path:
        """All logged numbers."""
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
        """The videos."""
        return self.path / "video"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.path / "curve.png"


def claim_folder(
    base_dir: str, outputs: Path | None = None, events: Path | None = None
) -> RunFolder:
    """Create the folder of a new run: `outputs/<base_dir>`, with `_2`, `_3` … if it is taken.

    Two runs that start in the same second get different folders, also for their TensorBoard
    events, whether they are in one process or in several.

    Args:
        base_dir: name of the folder below `outputs`.
        outputs: default: `outputs_dir()`.
        events: contains the TensorBoard folder of each run, under the run's name; default:
            `outputs/tblogs`.

    Raises:
        ConfigError: if `base_dir` is outside `outputs`.
        UserError: if the folder cannot be created.
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
                f"{folder.path}: cannot create the folder of the run: {one_line(error)}"
            ) from error
    raise AssertionError("there is always another number")


def check_events(folder: Path) -> None:
    """Refuse a TensorBoard folder that is not writable or cannot be created.

    Leaves nothing behind.

    Raises:
        ConfigError: naming the folder.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        why = error.strerror or one_line(error)
        raise ConfigError(
            f"logger.log_dir = {str(folder)!r}: must be a writable folder, or one that can be "
            f"created; in {there}: {why}"
        ) from error


def _claim(folder: RunFolder) -> bool:
    """Create the folders of a run and of its events, unless one of them already exists."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    claimed = False
    with suppress(OSError):  # a run works without events; the logger will say why
        folder.tensorboard.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.tensorboard.mkdir()
            claimed = True
        except FileExistsError:
            return False  # it belongs to a run whose folder was deleted, or is elsewhere
    try:
        folder.path.mkdir()
    except OSError as error:
        if claimed:
            folder.tensorboard.rmdir()
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def folder_to_go_on_in(path: Path, base_dir: str, log_dir: str | None) -> RunFolder:
    """The folder of an earlier run that goes on, with its events where they were.

    Args:
        path: the folder, absolute; it may have been moved, alone or with those beside it.
        base_dir: its name in the configuration: the last parts of the path, unless it was moved.
        log_dir: `logger.log_dir` of the run; relative to the current folder.
    """
    parts = PurePosixPath(base_dir).parts
    name = base_dir if path.parts[-len(parts) :] == parts else path.name
    outputs = path.parents[len(PurePosixPath(name).parts) - 1]
    events = Path(log_dir).absolute() if log_dir else outputs / TENSORBOARD
    return RunFolder(name, path, events / name, events)


def run_path(path: str | os.PathLike[str]) -> Path:
    """Where a run is, as users say it.

    Raises:
        UserError: if it is something else than a path, such as the algorithm itself.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(
            f"{shown(path)}: must be the folder of a run, as 'outputs/CartPole-v1/…' or a Path"
        )
    return Path(path)


def open_folder(path: str | Path) -> RunFolder:
    """The folder of an earlier run.

    Raises:
        UserError: if it is not the folder of a run.
    """
    path = run_path(path)
    if not (path / CONFIG_FILE).is_file():
        raise UserError(f"{path}: not the folder of a run: it {_what_it_is(path)}")
    return RunFolder(path.name, path, path, path)


def _what_it_is(path: Path) -> str:
    if not path.exists():
        return "does not exist"
    if not path.is_dir():
        return "is a file"
    seeds = sorted(path.glob(f"seed_*/{CONFIG_FILE}"))
    if seeds:
        return f"has the runs of several seeds, such as {seeds[0].parent}"
    return f"has no {CONFIG_FILE}"
