"""The workspace: the table of variables that all agents share."""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from ppo_bbrl.workspace.table import Workspace as Workspace
    from ppo_bbrl.workspace.table import one_row as one_row

_HOME = {
    "Workspace": "ppo_bbrl.workspace.table",
    "one_row": "ppo_bbrl.workspace.table",
}
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
