"""`ppo-bbrl train`: a new run, or one that goes on."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppo_bbrl.cli.options import Overrides, Trust, typed
from ppo_bbrl.cli.startup import insistent_interrupts, quick_start
from ppo_bbrl.system.console import say

if TYPE_CHECKING:
    from ppo_bbrl.ppo import PPOClip


def _print_keys(wanted: bool) -> None:
    if wanted:
        from ppo_bbrl.config.schema import describe_keys

        say(describe_keys())
        raise typer.Exit


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="A YAML file, or the name of a shipped one such as cartpole (or KEY=VALUE alone); "
            "not with --resume.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    *,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with the run in this folder, from its last checkpoint.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="N",
            help="Train with N seeds (0 to N-1), a process for each core; or 3,7,11 or 100-109.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="With --seeds: how many to train at the same time."),
    ] = None,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys",
            help="List every key with its default, meaning and allowed values.",
            callback=_print_keys,
            is_eager=True,
        ),
    ] = False,
    trust: Trust = False,
) -> int:
    """Train PPO, then evaluate the last and the best policy.

    The run's folder, outputs/<base_dir>, will contain config.yaml, metrics.csv, curve.png, a video,
    the best policy and the last one, and the checkpoints from which --resume goes on.

    With --seeds, it will contain a folder for each seed, seeds.csv, and seeds.png with the
    interquartile mean and its 95 % interval.
    """
    del keys
    words = [] if config is None else [str(config)]
    if resume is None and config is None:
        raise typer.BadParameter("give a configuration, or --resume RUN")
    if resume is not None and words and "=" not in words[0]:
        raise typer.BadParameter(f"--resume takes the run's own configuration, not {words[0]}")
    if jobs is not None and seeds is None:
        raise typer.BadParameter("--jobs goes with --seeds")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1  # torchrun has started them
    if seeds is not None:
        if several:
            raise typer.BadParameter("--seeds does not go with torchrun")
        if resume is not None or config is None:
            raise typer.BadParameter("--seeds does not go with --resume")
        from ppo_bbrl.cli.seeds import chosen_seeds, train_with_seeds

        return train_with_seeds(config, overrides or [], chosen_seeds(seeds), jobs)
    if several:
        from ppo_bbrl.cli.processes import train_with_others

        return train_with_others(config, overrides or [], resume, trust=trust)
    with insistent_interrupts() as calm:
        with quick_start():
            from ppo_bbrl.ppo import run

            if resume is None:
                assert config is not None
                algo = _new(config, overrides or [])
            else:
                algo = _resumed(resume, [*words, *(overrides or [])], trust)
        start, before = time.monotonic(), algo.nb_steps
        try:
            run(algo)
            if algo.best_policy is None:  # a run that is over, but was never evaluated
                algo.evaluate(force=True)
            seconds = time.monotonic() - start
            from ppo_bbrl.cli.summary import summarise

            summarise(algo, seconds, algo.nb_steps - before)
        except BaseException as error:
            calm()
            from ppo_bbrl.cli.summary import report_what_is_kept

            report_what_is_kept(algo, error)
            raise
        finally:
            calm()
            algo.close()
    return 0


def _new(config: Path, overrides: list[str]) -> "PPOClip":
    from ppo_bbrl.config.loading import load_config
    from ppo_bbrl.ppo import PPOClip

    return PPOClip(load_config(*typed(config, overrides)))


def _resumed(run: Path, overrides: list[str], trust: bool) -> "PPOClip":
    from ppo_bbrl.envs.names import look_also_in
    from ppo_bbrl.ppo import PPOClip

    if trust:
        look_also_in([Path.cwd()])
    algo = PPOClip.resume(run, overrides, trust=trust)
    done, wanted = algo.next_iteration, algo.cfg.algorithm.max_epochs
    say(f"Going on after {done:,} of {wanted:,} rollouts, {algo.nb_steps:,} steps.")
    if done >= wanted:
        say("The run is over; to train further, give a larger algorithm.max_epochs.")
    return algo
