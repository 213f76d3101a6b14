"""Profiling: a run's own loop, with timers around the functions that it calls.

The timers exist only during a profile, on this one algorithm: other runs are not affected.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ppo_bbrl import rollout
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.ppo import PPOClip, run
from ppo_bbrl.runs.folder import RunFolder
from ppo_bbrl.system.compute import threads

ENVIRONMENT = "environment"
POLICY = "policy (acting)"
VALUES = "values and log-probabilities"
ADVANTAGES = "advantages"
UPDATE = "update"
EVALUATION = "evaluation"
LOGGING = "logging"
OTHER = "other"
SECTIONS = (ENVIRONMENT, POLICY, VALUES, ADVANTAGES, UPDATE, EVALUATION, LOGGING, OTHER)


@dataclass(frozen=True)
class Profile:
    """Where the time of some rollouts went.

    Attributes:
        seconds: seconds in each of SECTIONS; for evaluations, what a run spends during as many
            rollouts.
        rollouts: number of rollouts measured.
        steps: number of environment steps in them.
        first_rollout: seconds of the first rollout, which is not counted.
        evaluation: seconds of one evaluation.
        rollouts_per_evaluation: number of rollouts between two evaluations of a run.
    """

    seconds: dict[str, float]
    rollouts: int
    steps: int
    first_rollout: float
    evaluation: float
    rollouts_per_evaluation: int

    @property
    def total(self) -> float:
        """Total seconds of all sections."""
        return sum(self.seconds.values())

    def table(self) -> str:
        """A line for each section: seconds, share of the total, milliseconds per rollout."""
        rows = [("", "seconds", "share", "per rollout")]
        shares = _tenths(list(self.seconds.values()))
        for (name, seconds), share in zip(self.seconds.items(), shares, strict=True):
            rows.append(self._row(name, seconds, share))
        rows.append(self._row("total", self.total, sum(shares)))
        return "\n".join(f"{name:<29}{a:>9}{b:>10}{c:>14}" for name, a, b, c in rows)

    def _row(self, name: str, seconds: float, share: int) -> tuple[str, str, str, str]:
        per_rollout = 1000 * seconds / self.rollouts
        return name, f"{seconds:.3f}", f"{share / 10:.1f} %", f"{per_rollout:.2f} ms"


class _Clock:
    """Adds up the time of sections; a section inside another counts as part of the outer one."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.seconds = dict.fromkeys(SECTIONS, 0.0)
        self._synchronise = synchronise  # a GPU returns before its work is done
        self._busy = False

    def around(self, section: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._busy:
                return function(*args, **kwargs)
            self._busy = True
            start = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._synchronise()
                self.seconds[section] += perf_counter() - start
                self._busy = False

        return timed


def profile(algo: PPOClip, rollouts: int | None = None, *, at_least: float = 5.0) -> Profile:
    """Train for some rollouts and measure where the time goes. Do not use the algorithm afterwards.

    The first rollout is not counted, because it includes one-time costs such as compiling and
    opening files. The loop does not evaluate; instead there is one evaluation at the end, which
    counts as often as a run would evaluate.

    Args:
        algo: an algorithm that has not trained yet. Its logs are deleted.
        rollouts: number of rollouts; default: as many as take `at_least` seconds.
        at_least: minimum duration in seconds.
    """
    settings = algo.cfg.algorithm
    cuda = algo.cfg.compute.device == "cuda"
    clock = _Clock(torch.cuda.synchronize if cuda else lambda: None)
    with (
        tempfile.TemporaryDirectory() as scratch,
        threads(algo.cfg.compute.threads),
    ):
        algo.__dict__["folder"] = RunFolder(algo.cfg.base_dir, *[Path(scratch)] * 3)
        with ExitStack() as patches:

            def patch(owner: object, name: str, replacement: Any) -> None:
                patches.enter_context(_replaced(owner, name, replacement))

            def time(owner: Any, name: str, section: str) -> None:
                patch(owner, name, clock.around(section, getattr(owner, name)))

            time(algo.train_env, "forward", ENVIRONMENT)
            patch(rollout, "row_actor", lambda *how: clock.around(POLICY, row_actor(*how)))
            time(rollout, "evaluate_both", VALUES)
            time(rollout, "gae", ADVANTAGES)
            time(rollout, "lambda_returns", ADVANTAGES)
            time(algo, "update", UPDATE)
            time(algo, "log", LOGGING)
            patch(algo, "evaluate", lambda **_: False)
            watch = _Watch(clock, algo, rollouts, at_least)
            patch(algo, "_progress", watch.epochs)
            run(algo)
        start = perf_counter()
        algo.evaluate(force=True)
        evaluation = perf_counter() - start
        algo.close()
    between = settings.eval_interval // (settings.n_envs * settings.n_steps) + 1
    seconds = dict(clock.seconds)
    seconds[OTHER] = max(0.0, watch.seconds - sum(seconds.values()))
    seconds[EVALUATION] = evaluation * watch.rollouts / between
    return Profile(
        seconds=seconds,
        rollouts=watch.rollouts,
        steps=watch.steps,
        first_rollout=watch.first,
        evaluation=evaluation,
        rollouts_per_evaluation=between,
    )


class _Watch:
    """Counts the rollouts of a profile; replaces the run's progress."""

    def __init__(self, clock: _Clock, algo: PPOClip, rollouts: int | None, at_least: float) -> None:
        self._clock, self._algo = clock, algo
        self._wanted, self._at_least = rollouts, at_least
        self.first = self.seconds = 0.0
        self.rollouts = self.steps = 0

    def epochs(self) -> Iterator[int]:
        """Yield for each rollout: the first one, which is not counted, then those measured."""
        start = perf_counter()
        yield 0
        self.first = perf_counter() - start
        self._clock.seconds.update(dict.fromkeys(SECTIONS, 0.0))
        steps, start = self._algo.nb_steps, perf_counter()
        while not self._enough():
            self.rollouts += 1
            yield self.rollouts
            self.seconds = perf_counter() - start
            self.steps = self._algo.nb_steps - steps

    def _enough(self) -> bool:
        if self._wanted is None:
            return self.rollouts > 0 and self.seconds >= self._at_least
        return self.rollouts >= self._wanted


@contextmanager
def _replaced(owner: object, name: str, replacement: Any) -> Iterator[None]:
    """Replace an attribute of an instance or a module inside the `with` block."""
    own = vars(owner)
    before = own.get(name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)  # the class still has it
        else:
            setattr(owner, name, before)


def _tenths(seconds: list[float]) -> list[int]:
    """Shares in tenths of a percent that add up to 1000: the largest remainders are rounded up."""
    total = sum(seconds)
    if total <= 0:
        return [0] * len(seconds)
    exact = [1000 * part / total for part in seconds]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: 1000 - sum(shares)]:
        shares[i] += 1
    return shares
