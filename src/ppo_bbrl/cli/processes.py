"""`torchrun … -m ppo_bbrl train CONFIG`: one of several processes that train together."""

import os
import sys
import time
from pathlib import Path

from ppo_bbrl.cli.options import typed
from ppo_bbrl.cli.startup import quick_start
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.system.console import say
from ppo_bbrl.system.signals import exit_on_signals


def train_with_others(config: Path, overrides: list[str]) -> int:
    """Train; the first process prints, evaluates and saves.

    Raises:
        UserError: for whatever ends this process, with its rank.
    """
    rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    if rank:  # only the first process speaks
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
    try:
        with exit_on_signals():
            _train(config, overrides)
    except Exception as error:
        why = one_line(error)
        # gloo tells it in these words alone: "Connection closed by peer", "… connection reset".
        if "onnection" in why and not isinstance(error, UserError):
            why = f"another process has ended ({why})"
        raise UserError(f"process {rank} of {size}: {why}") from error
    return 0


def _train(config: Path, overrides: list[str]) -> None:
    with quick_start():
        import torch.distributed as dist

        from ppo_bbrl.config.loading import load_config
        from ppo_bbrl.distributed import DistributedPPO, Processes
        from ppo_bbrl.ppo import run

        cfg = load_config(*typed(config, overrides))
        processes = Processes.join(cfg.compute.device)
        algo = DistributedPPO(cfg, processes)
    start = time.monotonic()
    try:
        share = cfg.algorithm.n_envs // processes.size
        say(f"{processes.size} processes, each with {share} of {cfg.algorithm.n_envs} environments")
        run(algo)
        seconds = time.monotonic() - start
        if processes.rank == 0:
            from ppo_bbrl.cli.summary import summarise

            summarise(algo, seconds, algo.nb_steps)
    finally:
        algo.close()
    dist.destroy_process_group()
