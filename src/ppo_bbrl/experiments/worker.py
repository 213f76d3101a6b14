"""A process that trains one configuration after the other, for `experiments.pool`.

It reads one line of JSON per run from its standard input, and answers with lines of JSON. What
runs print goes to a file in the folder of the run. It ends when its input does, or when nobody
reads its answers any more.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ppo_bbrl.errors import UserError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppo_bbrl.ppo import PPOClip

CONSOLE = "console.txt"  # in the folder of the run
EPISODES = 20  # of the last policy and of the best, when a run is over
_PAUSE = 0.2  # seconds between two lines about the progress

Tell = Callable[..., None]


def main() -> None:
    """Train what standard input asks for."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _print_into(os.devnull)

    def tell(kind: str, **facts: Any) -> None:
        answers.write(json.dumps({"kind": kind, **facts}) + "\n")
        answers.flush()

    with suppress(BrokenPipeError):  # the other side has gone
        for line in sys.stdin:
            _answer(json.loads(line), tell)
            _print_into(os.devnull)


def _answer(task: dict[str, Any], tell: Tell) -> None:
    try:
        tell("done", **_train(task, tell))
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:
        tell("failed", why=one_line(error))
    except KeyboardInterrupt:
        tell("failed", why="interrupted")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other runs go on
        tell("failed", why=f"{type(error).__name__}: {one_line(error)}")


def _train(task: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Train one configuration, as `ppo-bbrl train` does; what came of it."""
    import torch

    from ppo_bbrl.config.loading import load_config
    from ppo_bbrl.envs.names import look_also_in
    from ppo_bbrl.ppo import run

    torch.set_num_threads(1)  # outside of the loop, as on the command line
    look_also_in([Path(folder) for folder in task["import_from"]])
    algo = _reporting(load_config(task["config"]), tell)
    try:
        folder = algo.base_dir
        tell("begun", folder=str(folder))
        with _printing_into(folder / CONSOLE):
            start = time.monotonic()
            run(algo)
            seconds = time.monotonic() - start
            # Not what training needs: the streams of these episodes are nobody else's.
            last = algo.evaluate_policy(algo.eval_policy, EPISODES)
            best = algo.evaluate_policy(algo.best_policy, EPISODES)
        return {
            "folder": str(folder),
            "steps": algo.nb_steps,
            "seconds": seconds,
            "last": last.returns.tolist(),
            "best": best.returns.tolist(),
        }
    finally:
        algo.close()


def _reporting(cfg: Any, tell: Tell) -> "PPOClip":
    """PPO that tells how far it is."""
    from ppo_bbrl.ppo import PPOClip

    class Reporting(PPOClip):
        _told = 0.0

        def log(self, *args: Any, **kwargs: Any) -> None:
            super().log(*args, **kwargs)
            now = time.monotonic()
            if now - self._told > _PAUSE:
                self._told = now
                done = (self.epoch + 1) / self.cfg.algorithm.max_epochs
                tell("progress", done=done, steps=self.nb_steps)

        def register_evaluation(self, rewards: Any, policy: Any = None) -> bool:
            is_best = super().register_evaluation(rewards, policy)
            tell("evaluated", steps=self.nb_steps, reward=float(rewards.mean()))
            return is_best

    return Reporting(cfg)


@contextmanager
def _printing_into(path: Path) -> "Iterator[None]":
    _print_into(path)
    try:
        yield
    finally:
        _print_into(os.devnull)


def _print_into(path: Path | str) -> None:
    """Send standard output and standard error, of libraries in C too, into a file."""
    with suppress(OSError):  # a full disk: the run goes on without
        file: IO[bytes]
        with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - a device too
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)


if __name__ == "__main__":
    main()
