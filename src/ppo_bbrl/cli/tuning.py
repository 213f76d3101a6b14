"""`ppo-bbrl tune`: search for better values of some keys."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ppo_bbrl.cli.options import Overrides
from ppo_bbrl.cli.paths import near
from ppo_bbrl.cli.startup import Stopped, quick_start
from ppo_bbrl.errors import Terminated, UserError
from ppo_bbrl.system.console import say

BEST, PICTURE = "best.yaml", "study.png"


def tune(
    config: Annotated[
        Path,
        typer.Argument(
            help="A YAML file, or the name of a shipped one, such as cartpole.", show_default=False
        ),
    ],
    space: Annotated[
        Path,
        typer.Argument(
            help="A YAML file: `optimizer.lr: {low: 1e-4, high: 1e-2, log: true}` or "
            "`algorithm.n_steps: [32, 64]` for each key to tune; or the name of a shipped one, "
            "such as cartpole.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    *,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials to make now.")] = 40,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Seeds in each trial, from 1000 on.")
    ] = 1,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many runs train at the same time.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Name of the study, which goes on if it is there; default: of the two files."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="An Optuna storage to share; default: a journal in the folder."
        ),
    ] = None,
) -> None:
    """Tune keys of a configuration with Optuna.

    The folder outputs/tune/<study> will contain best.yaml, study.png, the journal of the study
    and the runs. The same command goes on with a study; several at once share the work.
    """
    with quick_start():
        from ppo_bbrl.config.loading import load_config, run_name
        from ppo_bbrl.config.shipped import space_file
        from ppo_bbrl.envs.names import look_also_in
        from ppo_bbrl.experiments.best_config import best_config
        from ppo_bbrl.experiments.seeds import default_jobs
        from ppo_bbrl.experiments.space import read_space
        from ppo_bbrl.experiments.tune import Tuning, reading
        from ppo_bbrl.runs.folder import outputs_dir
        from ppo_bbrl.system.files import write_file

        given, beside = overrides or [], (Path.cwd(), config.parent)
        look_also_in(beside)
        dimensions = read_space(space_file(space), config, given)
        cfg = load_config(config, given)
        name = run_name(study or f"{config.stem}-{space.stem}")
        folder = (outputs_dir() / "tune" / name).absolute()
        jobs = jobs or default_jobs(cfg)
        tuning = Tuning(
            config,
            dimensions,
            folder,
            overrides=given,
            storage=storage,
            seeds=seeds,
            jobs=jobs,
            import_from=beside,
        )
    known = len(tuning.study.trials)
    going_on = f", after {known} before" if known else ""
    counted = [_count(trials, "trial") + going_on, _count(len(dimensions), "key")]
    say(f"Study {name}: {', '.join(counted)}, {_count(jobs, 'run')} at a time.")
    try:
        tuning.run(trials, say)
    except (KeyboardInterrupt, Terminated) as error:
        options = ["--study", name, "--seeds", str(seeds)]
        options += [] if storage is None else ["--storage", storage]
        command = shlex.join(["ppo-bbrl", "tune", str(config), str(space), *given, *options])
        error.add_note(f"Study: {near(folder)}; go on with: {command}")
        if isinstance(error, Terminated):
            raise Stopped.by(error) from error
        raise
    try:
        with reading(tuning.study):
            text = best_config(tuning.study, dimensions, config, given)
    except UserError as error:
        say(str(error), error=True)
        raise typer.Exit(1) from error
    write_file(folder / BEST, text)
    say(f"\n{text}\nbest     {near(folder / BEST)}")
    with reading(tuning.study):
        tuning.save_picture(folder / PICTURE)
    say(f"picture  {near(folder / PICTURE)}")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
