"""What `ppo-bbrl train` tells after a run: how good its policies are, and what it left where."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ppo_bbrl.envs.vector import longest_episode
from ppo_bbrl.errors import one_line
from ppo_bbrl.evaluation import EvalReport
from ppo_bbrl.plots import learning_curve, save_figure
from ppo_bbrl.runs.notebook import tensorboard_command
from ppo_bbrl.system.console import say

if TYPE_CHECKING:
    from ppo_bbrl.ppo import PPOClip

EPISODES = 20
_FIRST = 4  # episodes, from which we see how long the others will take
_PATIENCE = 30.0  # seconds for the others
_LONGEST_VIDEO = 2000  # steps


def summarise(algo: "PPOClip", seconds: float) -> None:
    """Evaluate the last and the best policy, draw the curve, record a video, and tell all that.

    Each step that may take long is announced with its bound.

    Args:
        algo: after its run.
        seconds: that the run has taken.
    """
    assert algo.best_policy is not None  # `run` has evaluated
    limit = longest_episode(algo.cfg)
    say(f"Evaluating the last policy: up to {EPISODES} episodes of at most {limit:,} steps.")
    last = _evaluate(algo, algo.eval_policy)
    say("Evaluating the best policy in the same way.")
    best = _evaluate(algo, algo.best_policy)
    algo.logger.flush()
    # The results first: what fails below takes nothing from them.
    say("")
    _tell("steps", f"{algo.nb_steps:,} in {seconds:.1f} s: {algo.nb_steps / seconds:,.0f} steps/s")
    _tell("last policy", told(last))
    _tell("best policy", f"{told(best)} (chosen for an evaluation of {algo.best_reward:.1f})")
    _tell("curve", _attempt(lambda: _curve(algo)))
    length = min(limit, _LONGEST_VIDEO)
    say(f"Recording a video of the best policy: one episode, at most {length:,} steps of it.")
    _tell("video", _attempt(lambda: algo.record_best(max_steps=length)))
    _tell("policies", ", ".join(map(_near, algo.keep())) or "none")
    _tell("TensorBoard", tensorboard_command(algo.folder.events))


def tell_what_is_kept(algo: "PPOClip", error: BaseException) -> None:
    """Keep what a run has that was ended early, its policies and the curve; tell it."""
    kept = [_near(path) for path in algo.keep()]
    if kept:
        kept.append(_attempt(lambda: _curve(algo)))
    how = "Interrupted" if isinstance(error, KeyboardInterrupt) else "Ended by an error"
    say(f"\n{how} after {algo.nb_steps:,} steps. Kept: {', '.join(kept) or 'nothing'}")


def told(report: EvalReport) -> str:
    """An evaluation in words."""
    return f"{report.mean:.1f} ± {report.std:.1f} over {len(report.returns)} episodes"


def _evaluate(algo: "PPOClip", policy: nn.Module) -> EvalReport:
    """On `EPISODES` episodes, or on the first few where environments are too slow for more."""
    start = time.monotonic()
    first = algo.evaluate_policy(policy, _FIRST)
    others = EPISODES - _FIRST
    if (time.monotonic() - start) * others / _FIRST > _PATIENCE:
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


def _attempt(make: Callable[[], Path]) -> str:
    """The path that `make` returns, or why there is none: no screen library, a full disk."""
    try:
        return _near(make())
    except Exception as error:  # noqa: BLE001 - renderers fail in any way; the results stay
        return f"none: {one_line(error, 200)}"


def _near(path: Path) -> str:
    """The path as seen from the current folder, if it lies below."""
    with suppress(OSError, ValueError):  # the current folder may be gone, or be another one
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _tell(name: str, text: str) -> None:
    say(f"{name:<13} {text}")
