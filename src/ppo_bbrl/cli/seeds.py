"""`ppo-bbrl train CONFIG --seeds 10`: the same training with many seeds."""

import re
import time
from pathlib import Path

import typer

from ppo_bbrl.cli.options import typed
from ppo_bbrl.cli.paths import near
from ppo_bbrl.cli.startup import Stopped, quick_start
from ppo_bbrl.errors import Terminated
from ppo_bbrl.system.console import say

_SEEDS = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 10_000


def chosen_seeds(text: str) -> list[int]:
    """The seeds of `10` (0 to 9), `3,7,11`, `100-109`, or a mixture of the last two.

    Raises:
        BadParameter: for anything else.
    """
    parts = [_SEEDS.fullmatch(part.strip()) for part in text.split(",")]
    if None in parts:
        raise typer.BadParameter(
            f"--seeds {text}: must be a number of seeds such as 10, seeds such as 3,7,11, "
            "or a range such as 100-109"
        )
    ends = [(int(part[1]), int(part[2] or part[1])) for part in parts if part is not None]
    if len(ends) == 1 and "-" not in text:
        ends = [(0, ends[0][0] - 1)]
    if sum(max(0, last - first + 1) for first, last in ends) > _MOST:
        raise typer.BadParameter(f"--seeds {text}: must be at most {_MOST:,} seeds")
    seeds = [seed for first, last in ends for seed in range(first, last + 1)]
    if not seeds or any(first > last for first, last in ends):
        raise typer.BadParameter(f"--seeds {text}: must be at least one seed")
    if len(set(seeds)) < len(seeds):
        raise typer.BadParameter(f"--seeds {text}: each seed at most once")
    return seeds


def train_with_seeds(config: Path, overrides: list[str], seeds: list[int], jobs: int | None) -> int:
    """Train, print the results; the exit status: 0 if no seed failed."""
    if any(word.strip().startswith("algorithm.seed=") for word in (str(config), *overrides)):
        raise typer.BadParameter("--seeds sets algorithm.seed; leave one of the two out")
    with quick_start():
        from ppo_bbrl.config.loading import load_config
        from ppo_bbrl.experiments.seeds import PICTURE, TABLE, default_jobs, train_seeds

        source, words = typed(config, overrides)
        beside = (Path.cwd(), config.parent)
        cfg = load_config(source, words)
    jobs = min(jobs or default_jobs(cfg), len(seeds))
    say(f"{len(seeds)} seeds of {cfg.gym_env.env_name}, {jobs} at a time.")
    start = time.monotonic()
    try:
        report = train_seeds(source, seeds, jobs, overrides=words, import_from=beside)
    except Terminated as error:
        raise Stopped.by(error) from error
    say("")
    steps = sum(run.steps for run in report.runs.values())
    seconds = time.monotonic() - start
    over = f"{len(report.runs)} of {len(seeds)}"
    facts = {
        "seeds": f"{over} in {seconds:.1f} s; {steps:,} steps, {steps / seconds:,.0f} steps/s",
        "last policies": f"interquartile mean {report.last}",
        "best policies": f"interquartile mean {report.best}",
        "picture": near(report.folder / PICTURE),
        "table": near(report.folder / TABLE),
        "runs": near(report.folder / "seed_…"),
    }
    for name, text in facts.items():
        say(f"{name:<13} {text}")
    for seed, why in report.failed.items():
        say(f"seed {seed} failed: {why}", error=True)
    return 1 if report.failed else 0
