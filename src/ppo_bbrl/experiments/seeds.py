"""One configuration with many seeds, a process for each core."""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, fields
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.config.sources import Source
from ppo_bbrl.envs.names import find_spec
from ppo_bbrl.errors import UserError, shown
from ppo_bbrl.experiments.pool import Event, Pool
from ppo_bbrl.plots.figures import save_figure
from ppo_bbrl.plots.statistics import Estimate, interquartile_mean
from ppo_bbrl.runs.folder import claim_folder
from ppo_bbrl.runs.progress import Progress
from ppo_bbrl.system.compute import available_cores, check_compute, decide
from ppo_bbrl.system.console import as_return, say
from ppo_bbrl.system.files import write_file
from ppo_bbrl.system.signals import exit_on_signals

TABLE, PICTURE = "seeds.csv", "seeds.png"
_MARK = 987_654_321  # a seed that shows where the name of a folder has the seed in it


@dataclass(frozen=True)
class SeedRun:
    """The run of one seed that came to its end.

    Attributes:
        folder: of the run.
        steps: of the environments.
        seconds: of training, without the start of the process.
        last, best: the mean return of 20 new episodes, greedy, of the last policy and of the best.
    """

    seed: int
    folder: Path
    steps: int
    seconds: float
    last: float
    best: float


@dataclass(frozen=True)
class SeedsReport:
    """What became of several seeds.

    Attributes:
        folder: with the runs, `seeds.csv` and `seeds.png`.
        runs: those that came to their end, by seed.
        failed: why the others did not, by seed.
    """

    folder: Path
    runs: Mapping[int, SeedRun]
    failed: Mapping[int, str] = field(default_factory=dict)

    @property
    def last(self) -> Estimate:
        """The interquartile mean of the last policies' returns, with its interval."""
        return interquartile_mean([run.last for run in self.runs.values()])

    @property
    def best(self) -> Estimate:
        """The interquartile mean of the best policies' returns, with its interval."""
        return interquartile_mean([run.best for run in self.runs.values()])

    def figure(self) -> Any:
        """The learning curves with their interquartile mean and its interval: a Figure."""
        from ppo_bbrl.plots.seeds import seed_curves

        return seed_curves([run.folder for run in self.runs.values()])


def _listed(seeds: Any) -> list[int]:
    """The seeds that are meant: a number of them, or each of them."""
    found: list[int] = []
    if not isinstance(seeds, bool | str | bytes | Mapping):  # a text would count digit by digit
        with suppress(TypeError):
            found = [*map(index, seeds)] if np.iterable(seeds) else [*range(index(seeds))]
    if not found or len(set(found)) < len(found):
        raise UserError(
            f"seeds = {shown(seeds)}: must be a number of seeds, or a list of integers, each once"
        )
    return found


def train_seeds(
    cfg: Source,
    seeds: Sequence[int] | int,
    jobs: int | None = None,
    *,
    overrides: Sequence[str] = (),
    import_from: Sequence[Path] = (),
) -> SeedsReport:
    """Train a configuration with each seed, in processes of their own, and show the progress.

    The weights of a seed are those of its own single run. One that fails does not stop the others.
    Ctrl-C ends all; each saves what it has, and `PPOClip.resume` goes on with it.

    Args:
        cfg: as for `load_config`; never changed. Its `algorithm.seed` does not count.
        seeds: each one once; a number S means 0 to S - 1.
        jobs: how many train at the same time; default: one for each core, or fewer if a run uses
            several threads.
        overrides: `key=value`, as on the command line.
        import_from: folders in which the modules of `module:Name-v0` are looked for, besides those
            where this process looks.

    Returns:
        The report; the folder `outputs/<base_dir>` has the runs, a table and a picture.

    Raises:
        ConfigError: for a configuration that cannot be run; no file has been made then.
        UserError: for no seed, the same seed twice, or if every seed fails.
    """
    seeds = _listed(seeds)
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs = {jobs}: must be at least 1")
    configs = [load_config(cfg, [*overrides, f"algorithm.seed={seed}"]) for seed in seeds]
    jobs = jobs or default_jobs(configs[0])
    if ":" not in configs[0].gym_env.env_name:
        find_spec(configs[0].gym_env.env_name)  # a typo is one error, not one for each seed
    marked = load_config(cfg, [*overrides, f"algorithm.seed={_MARK}"]).base_dir
    span = f"{min(seeds)}-{max(seeds)}" if len(seeds) > 1 else str(seeds[0])
    folder = claim_folder(marked.replace(str(_MARK), span), events=_events(configs[0]))
    for seed, config in zip(seeds, configs, strict=True):
        config.base_dir = f"{folder.name}/seed_{seed}"
    plain: list[Any] = [OmegaConf.to_container(config) for config in configs]
    runs: dict[int, SeedRun] = {}
    failed: dict[int, str] = {}
    watch = _Watch(seeds, configs[0].algorithm.max_epochs)
    try:
        with exit_on_signals(), Pool(plain, jobs, import_from) as pool:
            for event in pool.events():
                seed = seeds[event.number]
                if event.kind == "done":
                    runs[seed] = _as_run(seed, event.facts)
                elif event.kind == "failed":
                    failed[seed] = event.facts["why"]
                    say(f"seed {seed} failed: {failed[seed]}", error=True)
                watch.see(event)
    except BaseException as error:
        error.add_note(f"Runs so far: {folder.path}; go on with one: ppo-bbrl train --resume RUN")
        raise
    report = SeedsReport(folder.path, dict(sorted(runs.items())), dict(sorted(failed.items())))
    if not runs:
        seed, why = next(iter(report.failed.items()))
        raise UserError(f"all {len(seeds)} seeds failed; seed {seed}: {why}")
    write_file(folder.path / TABLE, _table(report))
    save_figure(report.figure(), folder.path / PICTURE)
    return report


def default_jobs(cfg: DictConfig) -> int:
    """How many runs of a configuration fit on the cores of this machine at the same time.

    A run keeps the number of threads that it has alone, on which its rounding depends.
    """
    cfg = cfg.copy()
    check_compute(cfg)
    decide(cfg)
    return max(1, available_cores() // int(cfg.compute.threads))


def _events(cfg: DictConfig) -> Path | None:
    return Path(cfg.logger.log_dir).absolute() if cfg.logger.log_dir else None


def _as_run(seed: int, facts: Mapping[str, Any]) -> SeedRun:
    means = {name: sum(facts[name]) / len(facts[name]) for name in ("last", "best")}
    return SeedRun(
        seed=seed,
        folder=Path(facts["folder"]),
        steps=facts["steps"],
        seconds=facts["seconds"],
        **means,
    )


def _table(report: SeedsReport) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([column.name for column in fields(SeedRun)])
    rows.writerows(astuple(run) for run in report.runs.values())
    return text.getvalue()


class _Watch:
    """Shows how far all runs are together, and what the latest evaluations gave."""

    def __init__(self, seeds: Sequence[int], max_epochs: int) -> None:
        self._n_seeds, self._max_epochs = len(seeds), max_epochs
        self._progress = Progress(len(seeds) * max_epochs)
        self._share: dict[int, float] = {}
        self._steps: dict[int, int] = {}
        self._rewards: dict[int, float] = {}
        self._over: set[int] = set()

    def see(self, event: Event) -> None:
        """Take note of an event, and show the progress if it is time to."""
        if event.kind in {"done", "failed"}:
            self._over.add(event.number)
            self._share[event.number] = 1.0
        elif event.kind == "progress":
            self._share[event.number] = event.facts["done"]
            self._steps[event.number] = event.facts["steps"]
        elif event.kind == "evaluated":
            self._rewards[event.number] = event.facts["reward"]
        elif event.kind == "begun" and not self._share:
            self._progress.started_up(0)  # the processes are there
        done = round(sum(self._share.values()) * self._max_epochs)
        if self._progress.due(done) and done:
            self._progress.show(done, self._facts())

    def _facts(self) -> dict[str, str]:
        steps = sum(self._steps.values())
        facts = {
            "seeds": f"{len(self._over)} of {self._n_seeds}",
            "steps": f"{steps:,}",
            "steps/s": f"{steps / self._progress.seconds():,.0f}",
        }
        if self._rewards:
            rewards = sorted(self._rewards.values())
            facts["reward"] = as_return(rewards[len(rewards) // 2])
        return facts
