"""Two groups of runs, compared with the statistics that the field recommends.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import UserError, one_line, shown
from ppo_bbrl.plots.curves import EVALUATION, curve_of, names_the_run
from ppo_bbrl.plots.run_files import Run, as_texts, read_runs
from ppo_bbrl.plots.statistics import Estimate, improvement, interquartile_mean
from ppo_bbrl.runs.folder import CONFIG_FILE

Floats = NDArray[np.float64]
_SHORT = 0.9  # of the steps of the longest run: less is a run that ended early
_LISTED = 6  # keys
_WIDE = 60  # letters of a name
_TASK = "gym_env.env_name"


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed.

    Attributes:
        name: what tells it from the other.
        runs: S of them.
        last: `[S]`, the mean return of each run's last evaluation.
        peak: `[S]`, that of its best evaluation, which the field's tables often report.
    """

    name: str
    runs: Sequence[Run]
    last: Floats
    peak: Floats


@dataclass(frozen=True)
class Comparison:
    """A group of runs beside another.

    Attributes:
        group, against: the two.
        differences: the keys of the configuration in which they differ, with both values.
        warnings: what makes the comparison weaker, in words.
    """

    group: Group
    against: Group
    differences: dict[str, tuple[str, str]]
    warnings: Sequence[str] = ()

    @property
    def probability_of_improvement(self) -> Estimate:
        """How probable it is that a run of the group ends better than one of the other."""
        return improvement(self.group.last, self.against.last)

    def table(self) -> str:
        """The result in words and numbers, for a console."""
        both = (self.group, self.against)
        width = max(12, *(len(group.name) for group in both))
        lines = [f"{'':{width}}  seeds  last evaluation (IQM, 95 %)       best evaluation"]
        for group in both:
            last, peak = interquartile_mean(group.last), interquartile_mean(group.peak)
            lines.append(
                f"{group.name:{width}}  {len(group.runs):5}  {last.short():32}  {peak.short()}"
            )
        found = self.probability_of_improvement
        lines.append(
            f"A run of {self.group.name} ends better than one of {self.against.name} with "
            f"probability {found.value:.2f} (95 %: {found.low:.2f} to {found.high:.2f})."
        )
        return "\n".join(lines)

    def figure(self) -> Any:
        """Curves, performance profiles and the probability of improvement: a Figure."""
        from ppo_bbrl.plots.comparison import draw

        groups = {
            each.name: ([curve_of(run, EVALUATION) for run in each.runs], each.last)
            for each in (self.group, self.against)
        }
        task = self.group.runs[0].config.get("gym_env.env_name", "")
        return draw(groups, self.probability_of_improvement, task)


def compare(
    runs: Iterable[Path],
    against: Iterable[Path],
    *,
    by: Sequence[str] = (),
    anyway: bool = False,
) -> Comparison:
    """Compare two groups of runs.

    Args:
        runs: folders of runs, or folders that `train_seeds` made.
        against: likewise.
        by: the keys of the configuration in which the groups may differ; default: one key, any.
        anyway: compare whatever they differ in, and say so.

    Raises:
        UserError: if a run is in both groups or has no evaluation, if the runs differ in more than
            is asked or in their task, or if two of a group have the same seed.
    """
    ours, theirs = _read(runs), _read(against)
    twice = {run.folder.resolve() for run in ours} & {run.folder.resolve() for run in theirs}
    if twice:
        raise UserError(f"{min(twice)}: this run is on both sides")
    warnings = []
    for side in (ours, theirs):
        if within := _differing(side):
            why = f"the runs beside {side[0].folder} differ in {_listed(within)}, not only in seeds"
            if not anyway:
                raise UserError(f"{why}; compare them anyway with --anyway")
            warnings.append(why)
        if why := _same_seed(side):
            if not anyway:
                raise UserError(f"{why}; leave one out, or compare them anyway with --anyway")
            warnings.append(why)
    keys = _differing([ours[0], theirs[0]])
    if unknown := [key for key in by if not any(key in run.config for run in (*ours, *theirs))]:
        raise UserError(f"--by {unknown[0]}: no run has this key")
    more = [key for key in keys if key not in by] if by else keys if len(keys) > 1 else []
    if _TASK in keys and _TASK not in by:
        tasks = " and ".join(side[0].config.get(_TASK, "none") for side in (ours, theirs))
        why = f"the two sides have different tasks, {tasks}, whose returns are not comparable"
        if not anyway:
            raise UserError(f"{why}; to allow it: --by {_TASK}, or --anyway")
        warnings.append(why)
    elif more:
        why = f"the two sides differ in {_listed(more)}"
        if not anyway:
            asked = "".join(f" --by {key}" for key in keys)
            raise UserError(f"{why}; to allow it:{asked}, or --anyway")
        warnings.append(why)
    differences = {
        key: (ours[0].config.get(key, "not set"), theirs[0].config.get(key, "not set"))
        for key in keys
    }
    name, other = _names(differences, ours, theirs)
    warnings += _ended_early([*ours, *theirs])
    few = min(len(ours), len(theirs))
    if few < 3:
        warnings.append(f"{few} run{'s' * (few > 1)} on a side: the interval means little")
    return Comparison(_group(name, ours), _group(other, theirs), differences, warnings)


def _read(folders: Iterable[Path]) -> list[Run]:
    """The runs in these folders; those of a folder of seeds one by one."""
    found: list[Path] = []
    for folder in map(Path, folders):
        inside = sorted(folder.glob(f"seed_*/{CONFIG_FILE}"))
        if (folder / CONFIG_FILE).is_file() or not inside:
            found.append(folder)
        else:
            found += [path.parent for path in inside]
    if not found:
        raise UserError("no run to compare: give the folder of at least one run on each side")
    runs = read_runs(found)
    for run in runs:
        if not len(curve_of(run, EVALUATION).steps):
            raise UserError(f"{run.folder}: this run has no evaluation in metrics.csv")
    return runs


def _differing(runs: Sequence[Run]) -> list[str]:
    """The keys in which runs differ, other than the seed, files, and how fast they are."""
    every = dict.fromkeys(key for run in runs for key in run.config)
    usual = _defaults()
    return [
        key
        for key in every
        if not (names_the_run(key) or key.startswith(("compute.", "save_")))
        and len({run.config.get(key, usual.get(key)) for run in runs}) > 1
    ]


def _defaults() -> dict[str, str]:
    """What a key means that an older version did not have: its default is what was done then."""
    cfg = load_config({"gym_env": {"env_name": "none"}})
    return as_texts(OmegaConf.to_container(cfg))


def _same_seed(runs: Sequence[Run]) -> str:
    """What says that two runs of a side are the same training twice; empty if none are."""
    known: dict[str, Run] = {}
    for run in runs:
        seed = run.config.get("algorithm.seed", "")
        if (before := known.setdefault(seed, run)) is not run:
            return f"{before.folder} and {run.folder} both have algorithm.seed = {seed}"
    return ""


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(shown(key) for key in keys[:_LISTED]) + more


def _names(
    differences: dict[str, tuple[str, str]], ours: Sequence[Run], theirs: Sequence[Run]
) -> tuple[str, str]:
    """Names that tell the groups apart: what differs, or else their folders."""
    if differences:
        key, values = next(iter(differences.items()))
        short = key.rpartition(".")[2]
        one, other = (one_line(f"{short}={value}", _WIDE) for value in values)
        if one != other:  # where they are cut, they may be the same
            return one, other
    places = [_place(side).parts for side in (ours, theirs)]
    depth = 2
    while depth < max(map(len, places)) and places[0][-depth:] == places[1][-depth:]:
        depth += 1
    one, other = ("/".join(parts[-depth:]) for parts in places)
    return one, other


def _place(side: Sequence[Run]) -> Path:
    """The folder that the runs of a side are in, or that of the first one."""
    inside = {run.folder.absolute().parent for run in side}
    return inside.pop() if len(inside) == 1 < len(side) else side[0].folder.absolute()


def _group(name: str, runs: Sequence[Run]) -> Group:
    curves = [curve_of(run, EVALUATION).values for run in runs]
    last = np.array([values[-1] for values in curves])
    return Group(name, runs, last, np.array([values.max() for values in curves]))


def _ended_early(runs: Sequence[Run]) -> list[str]:
    steps = {run.folder: float(curve_of(run, EVALUATION).steps[-1]) for run in runs}
    longest = max(steps.values())
    short = [folder for folder, last in steps.items() if last < _SHORT * longest]
    return [
        f"{folder}: ended after {steps[folder]:,.0f} of {longest:,.0f} steps" for folder in short
    ]
