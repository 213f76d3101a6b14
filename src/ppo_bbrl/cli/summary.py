"""What `ppo-bbrl train` reports after a run: how good its policies are, and where its files are."""

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ppo_bbrl.cli.paths import near
from ppo_bbrl.envs.vector import longest_episode
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.evaluation import EvalReport
from ppo_bbrl.plots import learning_curve, save_figure
from ppo_bbrl.runs.best_policy import POLICY_FILE
from ppo_bbrl.runs.notebook import tensorboard_command
from ppo_bbrl.system.console import as_return, say

if TYPE_CHECKING:
    from ppo_bbrl.ppo import PPOClip

EPISODES = 20
_FIRST_EPISODES = 4  # they show how long the others will take
_MAX_SECONDS = 30.0  # for the other episodes
_MAX_VIDEO_STEPS = 2000


def summarise(algo: "PPOClip", seconds: float, steps: int) -> None:
    """Evaluate the last and the best policy, draw the curve, record a video; print the results.

    Each step that may take long is announced with its upper bound.

    Args:
        algo: the algorithm after its run.
        seconds: duration of the run, since it was resumed if it was.
        steps: those in this time.
    """
    assert algo.best_policy is not None  # `run` has evaluated
    limit = longest_episode(algo.cfg)
    say(f"Evaluating the last policy: up to {EPISODES} episodes of at most {limit:,} steps.")
    last = _evaluate(algo, algo.eval_policy)
    say("Evaluating the best policy the same way.")
    best = _evaluate(algo, algo.best_policy)
    algo.logger.flush()
    # The results come first: they are printed even if something below fails.
    say("")
    before = f" (and {algo.nb_steps - steps:,} before)" if steps < algo.nb_steps else ""
    _print("steps", f"{steps:,} in {seconds:.1f} s: {steps / seconds:,.0f} steps/s{before}")
    _print("last policy", describe(last))
    _print(
        "best policy",
        f"{describe(best)} (saved after an evaluation of {as_return(algo.best_reward)})",
    )
    _print("curve", _attempt(lambda: _curve(algo)))
    length = min(limit, _MAX_VIDEO_STEPS)
    say(f"Recording a video of the best policy: one episode, at most {length:,} steps.")
    _print("video", _attempt(lambda: algo.record_best(max_steps=length)))
    _print("policies", ", ".join(_policies(algo)) or "none")
    _print("TensorBoard", tensorboard_command(algo.folder.events))


def report_what_is_kept(algo: "PPOClip", error: BaseException) -> None:
    """Save the policies and the curve of a run that ended early, and print where they are."""
    kept = _policies(algo)
    if kept:
        kept.append(_attempt(lambda: _curve(algo), missing="no curve"))
    how = "Interrupted" if isinstance(error, KeyboardInterrupt) else "Stopped by an error"
    say(f"\n{how} after {algo.nb_steps:,} steps. Kept: {', '.join(kept) or 'nothing'}")
    if algo.last_checkpoint is None:
        say("No checkpoint: the run cannot be resumed.")
    else:
        trust = " --trust" if ":" in algo.cfg.gym_env.env_name else ""
        command = f"ppo-bbrl train --resume {shlex.quote(near(algo.base_dir))}{trust}"
        error.add_note(f"Checkpoint: {near(algo.last_checkpoint)}; go on with: {command}")


def describe(report: EvalReport) -> str:
    """The mean and standard deviation of an evaluation, with its number of episodes."""
    n = len(report.returns)
    episodes = f"{n} episode{'s' * (n != 1)}"
    return f"{as_return(report.mean)} ± {as_return(report.std)} over {episodes}"


def _evaluate(algo: "PPOClip", policy: nn.Module) -> EvalReport:
    """Evaluate on `EPISODES` episodes, or on a few if the environment is too slow for more."""
    start = time.monotonic()
    first = algo.evaluate_policy(policy, _FIRST_EPISODES)
    others = EPISODES - _FIRST_EPISODES
    if (time.monotonic() - start) * others / _FIRST_EPISODES > _MAX_SECONDS:
        return first
    more = algo.evaluate_policy(policy, others)
    return EvalReport(
        returns=torch.cat([first.returns, more.returns]),
        lengths=torch.cat([first.lengths, more.lengths]),
        unfinished=first.unfinished + more.unfinished,
    )


def _curve(algo: "PPOClip") -> Path:
    save_figure(learning_curve([algo.base_dir]), algo.folder.curve)
    return algo.folder.curve


def _attempt(make: Callable[[], Path], missing: str = "none") -> str:
    """The path that `make` returns, or `missing` and why: no rendering library, a full disk."""
    try:
        return near(make())
    except Exception as error:  # noqa: BLE001 - renderers fail in any way; the results stay
        return f"{missing}: {one_line(error, 200)}"


def _print(name: str, text: str) -> None:
    say(f"{name:<13} {text}")


def _policies(algo: "PPOClip") -> list[str]:
    """Save both policies; where they are, and which of them could not be saved anew."""
    saved = algo.keep()
    with suppress(UserError):  # the folder cannot be made
        both = (algo.folder.best, algo.folder.last)
        folders = [each for each in both if (each / POLICY_FILE).is_file()]
        return [near(each) + ("" if each in saved else " (saved earlier)") for each in folders]
    return []
