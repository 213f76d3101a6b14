"""`ppo-bbrl replay-fault`: the end of a run that met numbers which are not finite, once more."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ppo_bbrl.cli.options import Trust
from ppo_bbrl.cli.startup import quick_start
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.system.console import say

if TYPE_CHECKING:
    from ppo_bbrl.runs.failing import SavedFault

_SHOWN = 300  # characters of a variable


def replay_fault(
    file: Annotated[Path, typer.Argument(help="The file fault.pt of a run.", show_default=False)],
    trust: Trust = False,
) -> None:
    """Run once more what led to a NaN or an infinity, and tell whether it comes again.

    It begins with the run's last checkpoint before it, or with its start, and writes nothing.
    """
    with quick_start():
        from ppo_bbrl.envs.names import look_also_in
        from ppo_bbrl.ppo import PPOClip, run
        from ppo_bbrl.runs.failing import TrainingFailedError, read_fault

        if trust:
            look_also_in([Path.cwd()])
        fault = read_fault(file)
        _describe(fault)
        with TemporaryDirectory() as place:
            algo = PPOClip.at_fault(fault, Path(place), trust=trust)
            begun = time.monotonic()
            try:
                run(algo)
            except TrainingFailedError as error:
                again = str(error)
            else:
                again = "no error"
            finally:
                algo.close()
    seconds = time.monotonic() - begun
    if again != fault.message:
        raise UserError(
            f"the fault did not occur again: {again} (does the environment use its seed?)"
        )
    say(f"The fault occurred again, after {seconds:.1f} s: {again}")


def _describe(fault: "SavedFault") -> None:
    say(fault.message)
    for name, rows in fault.rows.items():
        values = [one_line(row.tolist(), _SHOWN) for row in rows]
        say(f"  {name}: {' → '.join(values)}")
    after = fault.before.iterations if fault.before else 0
    say(f"Once more, from the state after {after:,} rollouts.")
