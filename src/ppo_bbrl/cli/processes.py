"""`torchrun … -m ppo_bbrl train CONFIG`: one of several processes that train together."""

import json
import os
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ppo_bbrl.cli.options import typed
from ppo_bbrl.cli.startup import quick_start
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.system.console import say
from ppo_bbrl.system.signals import exit_on_signals

if TYPE_CHECKING:
    from ppo_bbrl.distributed import DistributedPPO

# Seconds in which torchrun notices which process ended first, and ends this one without its words.
_AFTER_OTHERS = 1.0


def train_with_others(
    config: Path | None, overrides: list[str], resume: Path | None, *, trust: bool
) -> int:
    """Train; the first process prints, evaluates and saves.

    Args:
        config: of a new run; with `resume` a first `key=value`, or None.
        overrides: `key=value`.
        resume: the folder of a run to go on with, where the first process is.
        trust: as for `PPOClip.resume`.

    Raises:
        UserError: for whatever ends this process, with its rank.
    """
    rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    if rank:  # only the first process speaks, but for what ends another one
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
        warnings.simplefilter("ignore")
    try:
        with exit_on_signals():
            _train(config, overrides, resume, trust=trust)
    except Exception as error:
        from ppo_bbrl.distributed import ProcessLostError

        if isinstance(error, ProcessLostError):
            time.sleep(_AFTER_OTHERS)
        known = isinstance(error, UserError | OSError)
        why = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
        if not isinstance(error, ProcessLostError):
            _tell_torchrun(why)
        raise UserError(f"process {rank} of {size}: {why}") from error
    return 0


def _train(config: Path | None, overrides: list[str], resume: Path | None, *, trust: bool) -> None:
    with quick_start():
        import torch.distributed as dist

        from ppo_bbrl.ppo import run

        algo = _made(config, overrides, resume, trust=trust)
        processes = algo.processes
    start, before = time.monotonic(), algo.nb_steps
    try:
        n_envs = algo.cfg.algorithm.n_envs
        share = n_envs // processes.size
        say(f"{processes.size} processes, each with {share} of {n_envs} environments")
        run(algo)
        seconds = time.monotonic() - start
        if processes.rank == 0:
            from ppo_bbrl.cli.summary import summarise

            summarise(algo, seconds, algo.nb_steps - before)
    finally:
        algo.close()
    dist.destroy_process_group()


def _made(
    config: Path | None, overrides: list[str], resume: Path | None, *, trust: bool
) -> "DistributedPPO":
    from ppo_bbrl.config.loading import load_config
    from ppo_bbrl.distributed import DistributedPPO, Processes
    from ppo_bbrl.envs.names import look_also_in

    if resume is None:
        assert config is not None
        cfg = load_config(*typed(config, overrides))
        return DistributedPPO.start(cfg, Processes.join())
    if trust:
        look_also_in([Path.cwd()])
    words = [] if config is None else [str(config)]
    algo = DistributedPPO.resume(
        resume, [*words, *overrides], trust=trust, processes=Processes.join()
    )
    done, wanted = algo.next_iteration, algo.cfg.algorithm.max_epochs
    say(f"Going on after {done:,} of {wanted:,} rollouts, {algo.nb_steps:,} steps.")
    return algo


def _tell_torchrun(why: str) -> None:
    """Write the file from which torchrun's own report takes the reason."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        content = {"message": why, "extraInfo": {"timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": content}), encoding="utf-8")
