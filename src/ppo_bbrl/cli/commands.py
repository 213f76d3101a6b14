"""The command line: train, check, eval, replay, plot, profile, init, course.

Heavy imports are inside the commands, so that `--help` is fast.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ppo_bbrl.cli.checking import check
from ppo_bbrl.cli.comparing import WithSides, compare_runs
from ppo_bbrl.cli.copies import copy_configs, make_course
from ppo_bbrl.cli.exporting import export
from ppo_bbrl.cli.faults import replay_fault
from ppo_bbrl.cli.options import Overrides, Run, Trust, typed
from ppo_bbrl.cli.startup import (
    INTERRUPTED,
    end_with,
    interrupts_that_last,
    quick_start,
    warnings_in_one_line,
)
from ppo_bbrl.cli.training import train
from ppo_bbrl.cli.tuning import tune
from ppo_bbrl.errors import UserError
from ppo_bbrl.system.console import lasting_output, say

if TYPE_CHECKING:
    from ppo_bbrl.runs.trained_policy import TrainedPolicy

_RETURN = "reward/mean"  # what `plot` draws

EXIT_STATUS = """Exit status: 0: success; 1: an error, reported in one line, or faults \
that `check` found; 2: wrong usage; 130, 143 or 129: stopped by Ctrl-C, SIGTERM or SIGHUP (a \
closed terminal); 128 + its number: by a batch system's SIGUSR1, SIGUSR2 or SIGXCPU. A run that is \
stopped keeps its files."""


class _Ended(Exception):  # noqa: N818 - its cause is the error
    """Wraps an exception on which typer would exit without our message."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise _Ended from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help shows a type after each flag, and takes twice as long
    epilog=EXIT_STATUS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from ppo_bbrl import __version__

        say(f"ppo-bbrl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """PPO on BBRL's agents and workspace: train, check, evaluate, replay, plot, profile."""
    del version


app.command(
    epilog="Example:  ppo-bbrl train cartpole algorithm.seed=3 optimizer.lr=5e-4",
)(train)


app.command("init", epilog="Example:  ppo-bbrl init configs")(copy_configs)


app.command("course", epilog="Example:  ppo-bbrl course my-course --only 01,02")(make_course)


app.command(
    "replay-fault", epilog="Example:  ppo-bbrl replay-fault outputs/CartPole-v1/…/fault.pt"
)(replay_fault)


app.command(epilog="Example:  ppo-bbrl check my_envs:Mine-v0 gym_env.env_args.size=4")(check)


app.command(
    "compare",
    cls=WithSides,
    epilog="Example:  ppo-bbrl compare outputs/CartPole-v1/new --against outputs/CartPole-v1/old",
)(compare_runs)


app.command(
    epilog="Example:  ppo-bbrl tune configs/cartpole.yaml configs/spaces/cartpole.yaml --trials 60",
)(tune)


app.command(epilog="Example:  ppo-bbrl export outputs/CartPole-v1/… --onnx policy.onnx")(export)


@app.command("eval", epilog="Example:  ppo-bbrl eval outputs/CartPole-v1/… --episodes 100")
def evaluate_run(
    run: Run,
    episodes: Annotated[int, typer.Option(min=1, max=100_000, help="Number of episodes.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episodes.")] = 0,
    trust: Trust = False,
) -> None:
    """Evaluate the best policy of a run on new episodes (the last policy: RUN/last)."""
    with quick_start():
        folder, policy = _open(run, trust)
    from ppo_bbrl.cli.summary import describe
    from ppo_bbrl.config.wrappers import warn_of_statistics
    from ppo_bbrl.envs.configured import configured_env
    from ppo_bbrl.envs.spaces import check_same_spaces
    from ppo_bbrl.envs.vector import longest_episode
    from ppo_bbrl.evaluation import evaluate
    from ppo_bbrl.seeding import Seeds

    saved, gym_env = policy.saved, policy.saved.cfg.gym_env
    env = configured_env(
        gym_env, episodes, wrappers=policy.wrappers, autoreset=False, env_name=policy.env_name
    )
    try:
        check_same_spaces(gym_env.env_name, env, policy)
        warn_of_statistics(env.envs)
        report = evaluate(
            policy.agent,
            env,
            Seeds(seed).sequence("replay"),
            max_steps=longest_episode(saved.cfg),
        )
    finally:
        env.close()
    say(f"{gym_env.env_name}, {folder.name} policy after {saved.steps:,} steps")
    say(f"greedy return   {describe(report)}")
    say(f"episode length  {float(report.lengths.double().mean()):.1f} steps")


@app.command(epilog="Example:  ppo-bbrl replay outputs/CartPole-v1/… --seed 4")
def replay(
    run: Run,
    human: Annotated[
        bool, typer.Option("--human", help="Show the episode in a window instead.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episode.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="MP4 file to write; default: RUN/video/replay.mp4, or replay-last.mp4."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Record a video of the best policy of a run, or show it live (the last policy: RUN/last)."""
    with quick_start():
        folder, policy = _open(run, trust)
    from ppo_bbrl.envs.vector import longest_episode
    from ppo_bbrl.runs.best_policy import POLICIES
    from ppo_bbrl.runs.replay import record_video, watch
    from ppo_bbrl.seeding import Seeds

    gym_env, env_name = policy.saved.cfg.gym_env, policy.env_name
    task = {
        "env_args": gym_env.env_args,
        "wrappers": policy.wrappers,
        "action_mask": gym_env.action_mask,
        "trained_on": policy,
        "step_timeout": gym_env.step_timeout,
    }
    seeds, limit = Seeds(seed).sequence("replay"), longest_episode(policy.saved.cfg)
    if human:
        total = watch(policy.agent, env_name, seeds=seeds, max_steps=limit, **task)
        say(f"return {total:g}")
        return
    home = folder.parent if folder.name in POLICIES else folder
    name = "replay-last.mp4" if folder.name == "last" else "replay.mp4"
    path = record_video(
        policy.agent,
        env_name,
        out or home / "video" / name,
        root=home if out is None else None,
        seeds=seeds,
        max_steps=limit,
        **task,
    )
    say(f"video  {path}")


@app.command(
    epilog="Example:  ppo-bbrl plot outputs/CartPole-v1/* --metric episode/return --out seeds.png"
)
def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of one or more runs.", show_default=False)
    ],
    metric: Annotated[
        str, typer.Option(help="Metric to draw, by any of its names in docs/metrics.md.")
    ] = _RETURN,
    by: Annotated[
        str | None,
        typer.Option(
            help="Group the runs by this configuration key; default: by every key that differs.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .png, .svg or .pdf file; default: curve.png in the folder of the runs, of "
            "another metric than the return curve-METRIC.png."
        ),
    ] = None,
) -> None:
    """Draw the learning curves of one or more runs in one figure."""
    from ppo_bbrl.plots import learning_curve, save_figure
    from ppo_bbrl.plots.figures import picture_format
    from ppo_bbrl.plots.run_files import common_folder
    from ppo_bbrl.runs.metric_names import metric_name

    # That of returns stays, which `train` has drawn.
    drawn = metric_name(metric)
    name = "curve" if drawn == _RETURN else f"curve-{drawn.replace('/', '-')}"
    path = out or common_folder(runs) / f"{name}.png"
    picture_format(path)  # before the work
    save_figure(learning_curve(runs, metric=metric, by=by), path)
    say(f"curve  {path}")


@app.command(epilog="Example:  ppo-bbrl profile cartpole compute.compile=always")
def profile(
    config: Annotated[
        Path,
        typer.Argument(
            help="A YAML file, or the name of a shipped one, such as cartpole.", show_default=False
        ),
    ],
    overrides: Overrides = None,
    rollouts: Annotated[
        int | None,
        typer.Option(min=1, help="Rollouts to measure; default: as many as take about 5 s."),
    ] = None,
) -> None:
    """Train for a few seconds and show where the time goes. Writes no files."""
    with quick_start():
        from ppo_bbrl.config.loading import load_config
        from ppo_bbrl.ppo import PPOClip
        from ppo_bbrl.profiling import profile as take_profile

        source, words = typed(config, overrides)
        quiet = ["save_best=false", "logger.log_dir=null", "logger.verbose=false"]
        algo = PPOClip(load_config(source, [*words, *quiet]))
    try:
        result = take_profile(algo, rollouts)
    finally:
        algo.close()
    settings, compute = algo.cfg.algorithm, algo.cfg.compute
    update = "compiled" if compute.compile == "always" else "not compiled"
    say(
        f"{algo.cfg.gym_env.env_name}, {settings.n_envs} environments × {settings.n_steps} steps, "
        f"threads: {compute.threads}, update {update}\n"
        f"{result.rollouts} rollouts, {result.steps:,} steps\n\n{result.table()}\n\n"
        f"Not counted: the first rollout, {result.first_rollout:.2f} s including one-time costs.\n"
        f"Evaluation: {settings.nb_evals} episodes in {1000 * result.evaluation:.1f} ms, counted "
        f"every {result.rollouts_per_evaluation} rollouts, as in a run.\n"
        "It takes longer as the policy's episodes become longer."
    )


def _open(run: Path, trust: bool) -> "tuple[Path, TrainedPolicy]":
    from ppo_bbrl.envs.names import look_also_in
    from ppo_bbrl.runs.best_policy import find_policy, load_policy
    from ppo_bbrl.runs.trained_policy import TrainedPolicy

    if trust:
        look_also_in([Path.cwd()])
    folder = find_policy(run)
    return folder, TrainedPolicy(load_policy(folder), trust=trust)


def _writes_files(words: list[str]) -> bool:
    """Whether a command is for its files, so that it succeeds without its output."""
    return words[:1] == ["train"] and not {"--keys", "--help"} & set(words)


def main() -> None:
    """Run the command line and exit: with status 0, or with one line that says what is wrong.

    If the environment variable PPO_BBRL_TRACEBACK is set, unexpected errors show a traceback.
    """
    with lasting_output() as loss, warnings_in_one_line(), interrupts_that_last():
        try:
            status = app(standalone_mode=False) or 0
            if status == INTERRUPTED:  # before a command began: typer has caught Ctrl-C
                raise _Ended from KeyboardInterrupt()
            if status == 0 and loss():
                incomplete = f"what it printed is incomplete: {loss()}"
                if not _writes_files(sys.argv[1:]):
                    raise UserError(incomplete)
                say(f"ppo-bbrl: warning: {incomplete}", error=True)
            sys.exit(status)
        except _Ended as end:
            error = end.__cause__
        except Exception as other:  # noqa: BLE001 - all are reported below
            error = other
        end_with(error)


if __name__ == "__main__":
    main()
