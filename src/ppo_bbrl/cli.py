"""The command line: train, eval, replay, plot.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ppo_bbrl.agents import KWAgentWrapper
    from ppo_bbrl.checkpoint import SavedPolicy
    from ppo_bbrl.evaluation import EvalReport
    from ppo_bbrl.ppo import PPOClip

SUMMARY_EPISODES = 20

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="PPO on BBRL's agents and workspace: train, evaluate, replay, plot.",
)

Run = Annotated[
    Path, typer.Argument(help="Folder of a run, as in outputs/CartPole-v1/…", show_default=False)
]


def _print_keys(wanted: bool) -> None:
    if not wanted:
        return
    from ppo_bbrl.config import describe_keys  # noqa: PLC0415

    typer.echo(describe_keys())
    raise typer.Exit


@app.command(
    epilog="Example:  ppo-bbrl train configs/cartpole.yaml algorithm.seed=3 optimizer.lr=5e-4",
)
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Override keys of the file."),
    ] = None,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys",
            help="List every key with its default, range and meaning.",
            callback=_print_keys,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Train PPO, then report how good the last and the best policy are.

    The run's folder, outputs/<base_dir>, receives config.yaml, metrics.csv, curve.png, a video
    and, with save_best=true, the best policy.
    """
    del keys
    _one_thread()
    from ppo_bbrl.config import load_config  # noqa: PLC0415
    from ppo_bbrl.ppo import PPOClip, run  # noqa: PLC0415

    algo = PPOClip(load_config(config, overrides or ()))
    start = time.monotonic()
    try:
        run(algo)
        seconds = time.monotonic() - start
        _summarise(algo, seconds)
    except KeyboardInterrupt:
        typer.echo(f"\nInterrupted after {algo.nb_steps:,} steps; kept: {algo.base_dir}", err=True)
        raise typer.Exit(130) from None
    finally:
        algo.close()


@app.command("eval", epilog="Example:  ppo-bbrl eval outputs/CartPole-v1/… --episodes 100")
def evaluate_run(
    run: Run,
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes.")] = SUMMARY_EPISODES,
    seed: Annotated[int, typer.Option(min=0, help="Of the episodes.")] = 0,
) -> None:
    """Evaluate the best policy of a run on fresh episodes."""
    _one_thread()
    saved, policy = _load_best(run)
    from ppo_bbrl.envs import EnvAgent, longest_episode  # noqa: PLC0415
    from ppo_bbrl.evaluation import evaluate  # noqa: PLC0415
    from ppo_bbrl.seeding import Seeds  # noqa: PLC0415

    gym_env = saved.cfg.gym_env
    env = EnvAgent(
        gym_env.env_name,
        episodes,
        autoreset=False,
        env_args=gym_env.env_args,
        vectorization=gym_env.vectorization,
    )
    try:
        report = evaluate(
            policy,
            env,
            Seeds(seed).sequence("replay"),
            max_steps=longest_episode(saved.cfg),
        )
    finally:
        env.close()
    typer.echo(f"{gym_env.env_name}, best policy after {saved.steps:,} steps")
    typer.echo(f"greedy return   {_told(report)}")
    typer.echo(f"episode length  {float(report.lengths.double().mean()):.1f} steps")


@app.command(epilog="Example:  ppo-bbrl replay outputs/CartPole-v1/… --seed 4")
def replay(
    run: Run,
    human: Annotated[bool, typer.Option("--human", help="Show it in a window instead.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the episode.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The MP4; default: RUN/video/replay.mp4")] = None,
) -> None:
    """Write a video of the best policy of a run, or show it in a window."""
    _one_thread()
    saved, policy = _load_best(run)
    from ppo_bbrl.envs import longest_episode  # noqa: PLC0415
    from ppo_bbrl.replay import record_video, watch  # noqa: PLC0415
    from ppo_bbrl.seeding import Seeds  # noqa: PLC0415

    gym_env = saved.cfg.gym_env
    seeds, limit = Seeds(seed).sequence("replay"), longest_episode(saved.cfg)
    if human:
        total = watch(
            policy, gym_env.env_name, seeds=seeds, env_args=gym_env.env_args, max_steps=limit
        )
        typer.echo(f"return {total:g}")
        return
    path = record_video(
        policy,
        gym_env.env_name,
        out or run / "video" / "replay.mp4",
        seeds=seeds,
        env_args=gym_env.env_args,
        max_steps=limit,
    )
    typer.echo(f"video  {path}")


@app.command(
    epilog="Example:  ppo-bbrl plot outputs/CartPole-v1/* --metric episode/return --out seeds.png"
)
def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of one or several runs.", show_default=False)
    ],
    metric: Annotated[
        str, typer.Option(help="A column of metrics.csv; see docs/metrics.md.")
    ] = "reward/mean",
    by: Annotated[
        str | None,
        typer.Option(
            help="Group the runs by this key of their configs; default: whatever differs.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The PNG; default: curve.png.")] = None,
) -> None:
    """Draw learning curves of runs in one picture; seeds are grouped, with an interval."""
    from ppo_bbrl.plots import learning_curve, save_figure  # noqa: PLC0415

    path = out or (runs[0] / "curve.png" if len(runs) == 1 else Path("curve.png"))
    save_figure(learning_curve(runs, metric=metric, by=by), path)
    typer.echo(f"curve  {path}")


def main() -> None:
    """Run the command line: exit status 0, or one line that says what is wrong."""
    from ppo_bbrl.errors import UserError  # noqa: PLC0415

    try:
        app()
    except (UserError, OSError) as error:
        typer.echo(f"ppo-bbrl: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


def _one_thread() -> None:
    import torch  # noqa: PLC0415

    # At the sizes of classic control a second thread costs more than it brings.
    torch.set_num_threads(1)


def _load_best(run: Path) -> "tuple[SavedPolicy, KWAgentWrapper]":
    from ppo_bbrl.checkpoint import load_policy  # noqa: PLC0415
    from ppo_bbrl.ppo import restore_policy  # noqa: PLC0415
    from ppo_bbrl.runs import open_folder  # noqa: PLC0415

    saved = load_policy(open_folder(run).best)
    return saved, restore_policy(saved)


def _summarise(algo: "PPOClip", seconds: float) -> None:
    from ppo_bbrl.notebook import tensorboard_command  # noqa: PLC0415
    from ppo_bbrl.plots import learning_curve, save_figure  # noqa: PLC0415
    from ppo_bbrl.runs import outputs_dir  # noqa: PLC0415

    if algo.best_policy is None:
        algo.evaluate(force=True)
    assert algo.best_policy is not None
    last = algo.evaluate_policy(algo.eval_policy, SUMMARY_EPISODES)
    best = algo.evaluate_policy(algo.best_policy, SUMMARY_EPISODES)
    algo.logger.flush()
    save_figure(learning_curve([algo.base_dir]), algo.folder.curve)
    lines = {
        "steps": f"{algo.nb_steps:,} in {seconds:.1f} s: {algo.nb_steps / seconds:,.0f} steps/s",
        "last policy": _told(last),
        "best policy": _told(best),
        "curve": str(algo.folder.curve),
        "video": _video(algo),
        "saved policy": str(algo.folder.best) if algo.cfg.save_best else "none (save_best=false)",
        "TensorBoard": tensorboard_command(outputs_dir() / "tblogs"),
    }
    typer.echo("")
    for name, text in lines.items():
        typer.echo(f"{name:<13} {text}")


def _video(algo: "PPOClip") -> str:
    from ppo_bbrl.replay import NoPicturesError  # noqa: PLC0415

    try:
        return str(algo.record_best())
    except NoPicturesError as error:
        return f"none: {error}"


def _told(report: "EvalReport") -> str:
    return f"{report.mean:.1f} ± {report.std:.1f} over {len(report.returns)} episodes"
