"""The checkpoints of a run: files with all that it needs to go on, of which the last two stay.

Each is written aside, brought to the disk and renamed, and has a seal. So a run that is killed at
any moment leaves a whole one; if one is damaged later, the one before it is used.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.runs.archives import read_archive, write_archive
from ppo_bbrl.runs.run_lock import RunLock
from ppo_bbrl.system.files import make_folder
from ppo_bbrl.system.seals import NewerFormatError

KEPT = 2
_NAME = re.compile(r"iteration-(\d{1,12})\.pt")
_PARTS = {"config": str, "state": dict, "fresh": dict, "files": dict}
# Of processes that train together, each has its own episodes, and statistics that carry a part of
# these on; only the first one has a policy to keep, evaluations and a log.
_EPISODES = ("seeds", "train_env", "workspace")
_CARRIED = ("reward_scale", "curiosity")
_OWN = (*_EPISODES, *_CARRIED)
_OF_THE_FIRST = ("best_policy", "eval_env", "evaluations", "log")


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a checkpoint.

    Attributes:
        path: its file.
        iterations: how many the run had made.
        config: the run's configuration, as YAML.
        state: of the algorithm's parts, by name.
        fresh: of parts whose state could not be saved: the reason by name.
        files: where metrics and events ended.
        others: of processes that trained together, what each but the first had of its own: its
            "state" and what is "fresh".
        own: what the program gave that no file contains: the names of its schedules, the classes
            of its agents, what was evaluated, and its methods that replace the algorithm's.
    """

    path: Path
    iterations: int
    config: str
    state: dict[str, Any]
    fresh: dict[str, str]
    files: dict[str, Any]
    others: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)

    def of(self, rank: int, size: int) -> "Checkpoint":
        """What one of `size` processes goes on with.

        With the number of processes that there were, that is what it had; with another one,
        episodes and random streams begin anew, and statistics stay.
        """
        state, fresh, before = dict(self.state), dict(self.fresh), 1 + len(self.others)
        if before != size:
            why = f"the run had {before} process{'es' * (before > 1)}, and now has {size}"
            fresh |= {"train_env": why, "seeds": why}
            state = {name: one for name, one in state.items() if name not in _EPISODES}
            for name in _CARRIED:  # returns of episodes that do not go on
                if name in state:
                    state[name] = {**state[name], "carried": torch.zeros(0, dtype=torch.float64)}
        elif rank:
            own = self.others[rank - 1]
            state = {name: one for name, one in state.items() if name not in _OWN} | own["state"]
            fresh = own["fresh"]
        if rank:
            state = {name: one for name, one in state.items() if name not in _OF_THE_FIRST}
            fresh = {name: why for name, why in fresh.items() if name not in _OF_THE_FIRST}
        return replace(self, state=state, fresh=fresh)


def own_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Those parts of an algorithm that each of several processes has for itself."""
    return {name: one for name, one in parts.items() if name in _OWN}


def shared_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Those parts of an algorithm that not only the first of several processes has."""
    return {name: one for name, one in parts.items() if name not in _OF_THE_FIRST}


class Checkpoints:
    """The folder `RUN/checkpoints`.

    Args:
        run: the folder of the run.

    Attributes:
        writes: whether it is this process that writes.
        lock: keeps others from going on with this run; for the process that writes.
    """

    writes = True

    def __init__(self, run: Path) -> None:
        self._run, self.folder = run, run / "checkpoints"
        self.lock = RunLock(run)

    def write(self, iterations: int, content: dict[str, Any]) -> Path:
        """Write a checkpoint, and remove those before the one before it.

        Raises:
            OSError: if it cannot be written; those that are there stay.
        """
        make_folder(self.folder, root=self._run)
        path = self.folder / f"iteration-{iterations:09d}.pt"
        write_archive(path, content, root=self._run)
        self._remove(self._until(iterations)[:-KEPT])
        return path

    def newest(self) -> Checkpoint:
        """The newest one that is as it was written; a warning names those that are not.

        Raises:
            UserError: if there is none.
        """
        found = list(self._found())
        for iterations, path in reversed(found):
            try:
                return _checkpoint(path, iterations)
            except NewerFormatError as error:
                raise UserError(f"{path}: {error}") from error
            except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
                warnings.warn(f"{path}: a damaged checkpoint: {one_line(error)}", stacklevel=3)
        if found:
            raise UserError(f"{self.folder}: every checkpoint is damaged")
        within = self._run.is_file() or self._run.name in {"best", "last", "checkpoints"}
        for outer in self._run.parents[:2]:
            if within and (outer / "checkpoints").is_dir():
                raise UserError(f"{self._run}: a part of a run; go on with the run, {outer}")
        if not self._run.is_dir():
            raise UserError(f"{self._run}: not the folder of a run: it does not exist")
        if inside := sorted(self._run.glob("seed_*/checkpoints")):
            raise UserError(
                f"{self._run}: has the runs of several seeds; go on with one, such as "
                f"{inside[0].parent}"
            )
        raise UserError(
            f"{self._run}: no checkpoint to go on from; a run writes them every save_every "
            "iterations and when it ends (not with save_every: 0)"
        )

    def remove_after(self, checkpoint: Checkpoint) -> None:
        """Remove what is newer than a checkpoint, too old, or was never finished."""
        self._remove(self._until(checkpoint.iterations)[:-KEPT])
        self._remove(path for number, path in self._found() if number > checkpoint.iterations)
        self._remove(self.folder.glob(".*.tmp.pt"))

    def _until(self, iterations: int) -> list[Path]:
        return [path for number, path in self._found() if number <= iterations]

    def _found(self) -> Iterator[tuple[int, Path]]:
        with suppress(OSError):
            names = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
            yield from sorted((int(name[1]), path) for name, path in names if name)

    @staticmethod
    def _remove(paths: Any) -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink()


def _checkpoint(path: Path, iterations: int) -> Checkpoint:
    return checkpoint_of(read_archive(path), path, iterations)


def checkpoint_of(read: Mapping[str, Any], path: Path, iterations: int) -> Checkpoint:
    """The checkpoint that a file holds.

    Raises:
        TypeError: if it holds something else.
    """
    for name, kind in _PARTS.items():
        if not isinstance(read.get(name), kind):
            raise TypeError(f"{name} is no {kind.__name__}")
    others = read.get("others", [])
    if not isinstance(others, list) or not all(map(_is_own, others)):
        raise TypeError("others is no list of states")
    own = read.get("own", {})
    kinds = {"schedules": list, "agents": dict, "evaluated": dict}
    if not isinstance(own, dict) or not all(
        isinstance(own.get(name, kind()), kind) for name, kind in kinds.items()
    ):
        raise TypeError("own is no dict of names")
    for fresh in (read["fresh"], *(other["fresh"] for other in others)):
        for part, why in fresh.items():
            if part not in {"train_env", "eval_env"} or not isinstance(why, str):
                raise TypeError(f"{part} cannot begin anew")
    rows, events = read["files"].get("rows", 0), read["files"].get("events", {})
    sizes = [rows, *events.values()] if isinstance(events, dict) else [events]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise TypeError("files end at no number")
    return Checkpoint(
        path, iterations, **{name: read[name] for name in _PARTS}, others=others, own=own
    )


def _is_own(read: Any) -> bool:
    return isinstance(read, dict) and all(
        isinstance(read.get(name), dict) for name in ("state", "fresh")
    )
