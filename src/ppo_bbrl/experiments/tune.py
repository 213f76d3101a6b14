"""Tuning: trials of a configuration, chosen and pruned by Optuna, in a study that others may share.

A study lives in a storage, a journal file by default. Several processes or machines that name the
same storage work on it together; one that was killed leaves trials that the next one begins again.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.config.yaml_files import leaves
from ppo_bbrl.errors import ConfigError, UserError, one_line, shown
from ppo_bbrl.experiments.pool import Event, Pool
from ppo_bbrl.experiments.space import NOT_LEARNED, Space, as_override, overrides_for
from ppo_bbrl.plots.figures import save_figure
from ppo_bbrl.system.console import as_return
from ppo_bbrl.system.signals import exit_on_signals

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "study.journal"
FIRST_SEED = 1000  # those below are for reporting: a configuration is not tuned on them
_ALIVE = 10.0  # seconds between two signs of life of a trial
_DEAD = 120.0  # seconds without one after which a trial has been left
_FIRST_TRIALS = 8  # at random, and never pruned


@dataclass
class _Running:
    """A trial whose seeds train.

    Attributes:
        returns: of each seed, the evaluations so far: pairs of steps and mean return.
        left: the seeds that still train.
        reported: how many evaluations of all seeds together Optuna has heard of.
    """

    trial: "Trial"
    returns: dict[int, list[tuple[int, float]]]
    left: set[int]
    reported: int = 0
    seen: float = field(default_factory=time.time)


class Tuning:
    """Runs trials of a study in processes.

    Args:
        config: a file or mapping, as for `load_config`.
        space: what to vary, from `read_space`.
        folder: for the journal and the runs of the trials.
        overrides: `key=value` that hold for every trial.
        storage: the URL of an Optuna storage; default: a journal in the folder.
        seeds: number of seeds in each trial, from `FIRST_SEED`.
        jobs: how many runs train at the same time.
        import_from: folders in which the modules of `module:Name-v0` are looked for.
    """

    def __init__(
        self,
        config: Path | Mapping[str, Any],
        space: Space,
        folder: Path,
        *,
        overrides: Sequence[str] = (),
        storage: str | None = None,
        seeds: int = 1,
        jobs: int = 1,
        import_from: Sequence[Path] = (),
    ) -> None:
        self.space, self.folder, self.seeds = space, folder, seeds
        self._config, self._overrides = config, list(overrides)
        self._jobs, self._import_from = jobs, import_from
        self.study = open_study(folder, storage, seed_of=folder.name)
        self._running: dict[int, _Running] = {}
        self._to_start = 0

    def run(self, n_trials: int, tell: Callable[[str], None]) -> None:
        """Make trials; `tell` gets a line about each that ends.

        Raises:
            UserError: if the first trials all fail, the message says why; or if the study began
                with other keys or another configuration.
        """
        with reading(self.study):
            self._check_belongs()
            take_over(self.study)
        self._to_start = n_trials
        failures: list[str] = []
        done = 0
        with exit_on_signals(), Pool([], self._jobs, self._import_from) as pool:
            try:
                self._fill(pool, failures)
                for event in pool.events():
                    ended = self._see(event, pool, failures)
                    if ended:
                        done += 1
                        tell(f"{done:3} of {n_trials}  {ended}  {self._best()}")
                    if len(failures) >= _FIRST_TRIALS and len(failures) == done:
                        raise UserError(f"the first {done} trials all failed: {failures[-1]}")
                    self._fill(pool, failures)
            finally:
                self._give_back()

    def _check_belongs(self) -> None:
        """Refuse to mix trials that cannot be compared."""
        name = self.study.study_name
        for trial in completed(self.study):
            if other := sorted(trial.params.keys() ^ self.space.keys()):
                raise UserError(
                    f"{name}: this study began with other keys ({other[0]}); give another --study"
                )
        now = {
            key: value
            for key, value in leaves(
                OmegaConf.to_container(load_config(self._config, self._overrides))
            )
            if key not in self.space and not key.startswith(NOT_LEARNED)
        }
        before = self.study.user_attrs.get("config")
        if before is None:
            self.study.set_user_attr("config", now)
            return
        for key in before.keys() & now.keys():
            if before[key] != now[key]:
                raise UserError(
                    f"{name}: this study began with {key} = {shown(before[key])}, not "
                    f"{shown(now[key])}; give another --study"
                )

    def save_picture(self, path: Path) -> None:
        """Draw the trials that came to their end, and the values of each key."""
        from ppo_bbrl.plots.study import study_figure

        trials = completed(self.study)
        values = {
            key: [_drawn(one.value(trial.params[key])) for trial in trials]
            for key, one in self.space.items()
        }
        scores = {trial.number: score_of(trial) for trial in trials}
        logarithmic = {key for key, one in self.space.items() if getattr(one, "log", False)}
        save_figure(study_figure(scores, values, logarithmic), path)

    def _fill(self, pool: Pool, failures: list[str]) -> None:
        """Start trials while there are processes for their seeds."""
        while self._to_start and sum(len(one.left) for one in self._running.values()) < self._jobs:
            self._to_start -= 1
            trial = self.study.ask()
            try:
                values = {key: one.suggest(trial, key) for key, one in self.space.items()}
            except ValueError as error:
                self._fail(trial, one_line(error))
                raise UserError(
                    f"{self.study.study_name}: the choices of the space are not those with which "
                    "this study began; give another --study"
                ) from error
            trial.set_user_attr("alive", time.time())
            seeds = range(FIRST_SEED, FIRST_SEED + self.seeds)
            try:
                configs = {seed: self._with(values, trial.number, seed) for seed in seeds}
            except ConfigError as error:  # values that do not go together
                failures.append(one_line(error))
                self._fail(trial, failures[-1])
                continue
            self._running[trial.number] = _Running(trial, {seed: [] for seed in seeds}, set(seeds))
            for seed, config in configs.items():
                pool.add(trial.number * self.seeds + seed - FIRST_SEED, config)

    def _with(self, values: Mapping[str, Any], number: int, seed: int) -> dict[str, Any]:
        chosen = overrides_for(values, self._config, self._overrides)
        own = [f"algorithm.seed={seed}", "save_every=0"]
        cfg = load_config(self._config, [*self._overrides, *chosen, *own])
        cfg.base_dir = f"tune/{self.folder.name}/trial_{number}/seed_{seed}"
        plain: Any = OmegaConf.to_container(cfg)
        return dict(plain)

    def _see(self, event: Event, pool: Pool, failures: list[str]) -> str:
        """Take note of an event; a line about the trial if it ended."""
        number, index = divmod(event.number, self.seeds)
        running = self._running.get(number)
        if running is None:  # pruned, or failed with another seed
            return ""
        seed, trial = FIRST_SEED + index, running.trial
        if time.time() - running.seen > _ALIVE:
            running.seen = time.time()
            trial.set_user_attr("alive", running.seen)
        if event.kind == "failed":
            failures.append(f"seed {seed}: {event.facts['why']}")
            self._end(pool, number)
            self._fail(trial, failures[-1])
            return f"trial {number} failed: {failures[-1]}"
        if event.kind == "evaluated":
            running.returns[seed].append((event.facts["steps"], event.facts["reward"]))
            while (values := self._next_report(running)) is not None:
                trial.report(values, running.reported)
                running.reported += 1
            if trial.should_prune():
                from optuna.trial import TrialState

                self._end(pool, number)
                self.study.tell(trial, state=TrialState.PRUNED)
                return f"trial {number} pruned after {event.facts['steps']:,} steps"
        if event.kind == "done":
            running.left.discard(seed)
            if not running.left:
                del self._running[number]
                value = sum(map(score, running.returns.values())) / len(running.returns)
                self.study.tell(trial, value)
                return f"trial {number}: {as_return(value)}"
        return ""

    def _next_report(self, running: _Running) -> float | None:
        """The mean over all seeds of the score so far, once each has one evaluation more."""
        n = running.reported + 1
        if any(len(returns) < n for returns in running.returns.values()):
            return None
        return sum(score(returns[:n]) for returns in running.returns.values()) / self.seeds

    def _end(self, pool: Pool, number: int) -> None:
        """Stop the runs of a trial."""
        del self._running[number]
        for index in range(self.seeds):
            pool.stop(number * self.seeds + index)

    def _fail(self, trial: "Trial", why: str) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr("why", why)
        self.study.tell(trial, state=TrialState.FAIL)

    def _give_back(self) -> None:
        """When the work is interrupted: somebody else, or a later call, makes these trials."""
        for running in self._running.values():
            _begin_again(self.study, running.trial.number, running.trial.params)
        self._running.clear()

    def _best(self) -> str:
        scores = [*map(score_of, completed(self.study))]
        return f"(best {as_return(max(scores))})" if scores else ""


def _drawn(value: Any) -> Any:
    """Numbers as they are; anything else as it stands in a configuration."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else as_override(value)


def completed(study: "Study") -> "list[FrozenTrial]":
    """The trials that trained to the end."""
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def score_of(trial: "FrozenTrial") -> float:
    """What a completed trial has reached; trials of another kind may have no value."""
    assert trial.value is not None
    return trial.value


def score(returns: Sequence[tuple[int, float]]) -> float:
    """The mean return over the steps of a run: how well it learns, and how soon.

    The area under the evaluation curve, from step 0 on, divided by the steps. Before the first
    evaluation, the return counts as what that found.
    """
    area, last = 0.0, 0
    for steps, value in returns:
        area += (steps - last) * value
        last = steps
    return area / last if last else float("nan")


@contextmanager
def reading(study: "Study") -> Iterator[None]:
    """Within this block, whatever fails is blamed on what the study's storage holds.

    Raises:
        UserError: naming the study.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{study.study_name}: what is stored of this study does not fit: {one_line(error)}; "
            "give another --study"
        ) from error


def open_study(folder: Path, storage: str | None, *, seed_of: str) -> "Study":
    """Open the study of a folder, or begin it.

    Raises:
        UserError: if the storage cannot be used.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        where: Any = storage
        if storage is None:
            backend = JournalFileBackend(str(folder / JOURNAL))
            where = optuna.storages.JournalStorage(backend)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=_FIRST_TRIALS, multivariate=True, constant_liar=True
            )
        return optuna.create_study(
            study_name=seed_of,
            storage=where,
            direction="maximize",
            load_if_exists=True,
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_FIRST_TRIALS, n_warmup_steps=2),
        )
    except Exception as error:
        raise UserError(
            f"{storage or folder / JOURNAL}: cannot be used: {one_line(error)}"
        ) from error


def take_over(study: "Study") -> None:
    """Begin trials again that were left: their process gave no sign of life for two minutes."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if time.time() - trial.user_attrs.get("alive", 0.0) > _DEAD:
            _begin_again(study, trial.number, trial.params)


def _begin_again(study: "Study", number: int, params: Mapping[str, Any]) -> None:
    from optuna.trial import TrialState

    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
    study.enqueue_trial(dict(params), user_attrs={"again": number})
