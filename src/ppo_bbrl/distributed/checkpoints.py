"""Checkpoints of processes that train together: the first writes and reads them for all."""

from pathlib import Path
from typing import Any

from ppo_bbrl.distributed.processes import Processes
from ppo_bbrl.runs.checkpoints import Checkpoint, Checkpoints


class SharedCheckpoints(Checkpoints):
    """As `Checkpoints`, in each process; the folder needs to be where the first one is.

    Args:
        run: the folder of the run.
        processes: all of them.
    """

    def __init__(self, run: Path, processes: Processes) -> None:
        super().__init__(run)
        self._processes, self.writes = processes, processes.rank == 0

    def newest(self) -> Checkpoint:
        """The one that the first process has found."""
        content: dict[str, Any] | None = None
        if self.writes:
            found = super().newest()
            content = {**vars(found), "path": str(found.path)}
        content = self._processes.told(content)
        return Checkpoint(**{**content, "path": Path(content["path"])})

    def remove_after(self, checkpoint: Checkpoint) -> None:
        """As in `Checkpoints`, by the first process."""
        if self.writes:
            super().remove_after(checkpoint)
