"""The command line: train, eval, replay, plot, profile.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from ppo_bbrl.agents import KWAgentWrapper
    from ppo_bbrl.checkpoint import SavedPolicy
    from ppo_bbrl.evaluation import EvalReport
    from ppo_bbrl.ppo import PPOClip

SUMMARY_EPISODES = 20
INTERRUPTED = 130
TRACEBACK = "PPO_BBRL_TRACEBACK"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="PPO on BBRL's agents and workspace: train, evaluate, replay, plot, profile.",
)

Run = Annotated[
    Path, typer.Argument(help="Folder of a run, as in outputs/CartPole-v1/…", show_default=False)
]


def _print_keys(wanted: bool) -> None:
    if not wanted:
        return
    from ppo_bbrl.schema import describe_keys

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
    with _insistent_interrupts() as calm:
        with _quick_start():
            from ppo_bbrl.config import load_config
            from ppo_bbrl.ppo import PPOClip, run

            algo = PPOClip(load_config(config, overrides or ()))
        start = time.monotonic()
        try:
            run(algo)
            seconds = time.monotonic() - start
            _summarise(algo, seconds)
        except KeyboardInterrupt:
            calm()
            _keep(algo)
            raise
        finally:
            calm()
            algo.close()


@contextmanager
def _insistent_interrupts() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C, and a polite kill (SIGTERM) likewise, interrupt again every second until heard.

    Some libraries swallow an interrupt that meets them while they are being imported.

    Yields:
        What ends the insisting, for who has heard.
    """
    alarm = getattr(signal, "SIGALRM", None)  # not on Windows

    def calm() -> None:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def interrupt(*_: object) -> None:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 1.0)
        raise KeyboardInterrupt

    wanted = [number for number in (signal.SIGINT, signal.SIGTERM, alarm) if number is not None]
    before = [(number, signal.signal(number, interrupt)) for number in wanted]
    try:
        yield calm
    finally:
        calm()
        for number, handler in before:
            signal.signal(number, handler)


@app.command("eval", epilog="Example:  ppo-bbrl eval outputs/CartPole-v1/… --episodes 100")
def evaluate_run(
    run: Run,
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes.")] = SUMMARY_EPISODES,
    seed: Annotated[int, typer.Option(min=0, help="Of the episodes.")] = 0,
) -> None:
    """Evaluate the best policy of a run on fresh episodes."""
    with _quick_start():
        saved, policy = _load_best(run)
    from ppo_bbrl.envs import EnvAgent
    from ppo_bbrl.evaluation import evaluate
    from ppo_bbrl.seeding import Seeds
    from ppo_bbrl.vector_envs import longest_episode

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
    with _quick_start():
        saved, policy = _load_best(run)
    from ppo_bbrl.replay import record_video, watch
    from ppo_bbrl.seeding import Seeds
    from ppo_bbrl.vector_envs import longest_episode

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
        root=run if out is None else None,
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
    out: Annotated[
        Path | None, typer.Option(help="The PNG; default: curve.png in the folder of the runs.")
    ] = None,
) -> None:
    """Draw learning curves of runs in one picture; seeds are grouped, with an interval."""
    from ppo_bbrl.plots import learning_curve, save_figure

    path = out or Path(os.path.commonpath(runs)) / "curve.png"
    save_figure(learning_curve(runs, metric=metric, by=by), path)
    typer.echo(f"curve  {path}")


@app.command(epilog="Example:  ppo-bbrl profile configs/cartpole.yaml compute.compile=always")
def profile(
    config: Annotated[Path, typer.Argument(help="A YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Override keys of the file."),
    ] = None,
    rollouts: Annotated[
        int | None,
        typer.Option(min=1, help="How many are measured; default: enough for about 5 s."),
    ] = None,
) -> None:
    """Show where the time of a run goes, by training for a few seconds. Leaves no files."""
    with _quick_start():
        from ppo_bbrl.config import load_config
        from ppo_bbrl.ppo import PPOClip
        from ppo_bbrl.profiling import profile as take_profile

        quiet = ["save_best=false", "logger.log_dir=null", "logger.verbose=false"]
        algo = PPOClip(load_config(config, [*(overrides or ()), *quiet]))
    try:
        result = take_profile(algo, rollouts)
    finally:
        algo.close()
    settings, compute = algo.cfg.algorithm, algo.cfg.compute
    update = "compiled" if compute.compile == "always" else "not compiled"
    typer.echo(
        f"{algo.cfg.gym_env.env_name}, {settings.n_envs} environments × {settings.n_steps} steps, "
        f"threads: {compute.threads}, update {update}\n"
        f"{result.rollouts} rollouts, {result.steps:,} steps\n\n{result.table()}\n\n"
        f"Not counted: the first rollout, {result.first_rollout:.2f} s with what happens once.\n"
        f"Evaluation: {settings.nb_evals} episodes in {1000 * result.evaluation:.1f} ms, counted "
        f"for every {result.rollouts_per_evaluation} rollouts, as the run evaluates.\n"
        "It takes the longer the longer the episodes of the policy become."
    )


def main() -> None:
    """Run the command line: exit status 0, or one line that says what is wrong.

    With the environment variable PPO_BBRL_TRACEBACK set, an unexpected error shows its traceback.
    """
    from ppo_bbrl.errors import UserError

    try:
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", INTERRUPTED)
    except (UserError, OSError) as error:
        _fail(str(error), 1)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # of the errors in calling a command
        if usage is not None:
            if not usage():  # the help was shown
                sys.exit(2)
            _fail(f"{usage()} (see --help)", 2)
        if TRACEBACK in os.environ:
            raise
        _fail(f"{type(error).__name__}: {error} (with {TRACEBACK}=1 more is shown)", 1)
    if status == INTERRUPTED:  # typer has caught Ctrl-C
        _fail("interrupted", INTERRUPTED)
    sys.exit(status or 0)


def _fail(told: str, status: int) -> NoReturn:
    from ppo_bbrl.errors import one_line

    typer.echo(f"ppo-bbrl: {one_line(told)}", err=True)
    sys.exit(status)


@contextmanager
def _quick_start() -> Iterator[None]:
    """Around imports and construction: no garbage collection; and torch on one thread.

    While thousands of modules are imported the collector looks at everything again and again and
    finds nothing: a fifth of the time. What is there at the end stays for good, and later
    collections need not look at it.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import torch

        # At the sizes of classic control a second thread costs more than it brings.
        torch.set_num_threads(1)
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _load_best(run: Path) -> "tuple[SavedPolicy, KWAgentWrapper]":
    from ppo_bbrl.checkpoint import load_policy
    from ppo_bbrl.ppo import restore_policy
    from ppo_bbrl.runs import open_folder

    saved = load_policy(open_folder(run).best)
    return saved, restore_policy(saved)


def _summarise(algo: "PPOClip", seconds: float) -> None:
    from ppo_bbrl.notebook import tensorboard_command
    from ppo_bbrl.runs import outputs_dir

    if algo.best_policy is None:
        algo.evaluate(force=True)
    assert algo.best_policy is not None
    last = algo.evaluate_policy(algo.eval_policy, SUMMARY_EPISODES)
    best = algo.evaluate_policy(algo.best_policy, SUMMARY_EPISODES)
    algo.logger.flush()
    events = algo.cfg.logger.log_dir or outputs_dir() / "tblogs"
    saved = str(algo.folder.best) if algo.cfg.save_best else "none (save_best=false)"
    # The results first: what fails below takes nothing from them.
    typer.echo("")
    _tell("steps", f"{algo.nb_steps:,} in {seconds:.1f} s: {algo.nb_steps / seconds:,.0f} steps/s")
    _tell("last policy", _told(last))
    _tell("best policy", f"{_told(best)} (chosen for an evaluation of {algo.best_reward:.1f})")
    _tell("curve", _attempt(lambda: _curve(algo)))
    _tell("video", _attempt(algo.record_best))
    _tell("saved policy", saved)
    _tell("TensorBoard", tensorboard_command(Path(events)))


def _keep(algo: "PPOClip") -> None:
    """What an interrupted run leaves: the best policy so far, the curve."""
    kept = []
    if algo.best_policy is not None:
        kept.append(_attempt(algo.save_best))
        algo.logger.flush()
        kept.append(_attempt(lambda: _curve(algo)))
    typer.echo(f"\nInterrupted after {algo.nb_steps:,} steps. Kept: {', '.join(kept) or 'nothing'}")


def _curve(algo: "PPOClip") -> Path:
    from ppo_bbrl.plots import learning_curve, save_figure

    save_figure(learning_curve([algo.base_dir]), algo.folder.curve)
    return algo.folder.curve


def _attempt(make: Callable[[], Path]) -> str:
    """The path that `make` returns, or why there is none: no screen library, a full disk."""
    from ppo_bbrl.errors import one_line

    try:
        return str(make())
    except Exception as error:  # noqa: BLE001 - renderers fail in any way; the results stay
        return f"none: {one_line(error, 200)}"


def _tell(name: str, text: str) -> None:
    typer.echo(f"{name:<13} {text}")


def _told(report: "EvalReport") -> str:
    return f"{report.mean:.1f} ± {report.std:.1f} over {len(report.returns)} episodes"
