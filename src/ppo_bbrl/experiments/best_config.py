"""What a study found, as a configuration whose lines say why."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.config.yaml_files import leaves
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.experiments.space import EPOCHS, NOT_LEARNED, Space, as_override, overrides_for
from ppo_bbrl.experiments.tune import completed, score_of
from ppo_bbrl.system.console import as_return

if TYPE_CHECKING:
    from optuna.study import Study

_SHOWN = 5  # trials that show how sharply a value is determined


def best_config(
    study: "Study", space: Space, config: Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> str:
    """The best trial's configuration as YAML: what differs from the defaults, with its reason.

    Raises:
        UserError: if no trial has come to its end.
    """
    trials = sorted(completed(study), key=score_of, reverse=True)
    if not trials:
        raise UserError(f"{study.study_name}: no trial has come to its end yet")
    best = trials[0]
    values = {key: one.value(best.params[key]) for key, one in space.items()}
    chosen = overrides_for(values, config, overrides)
    found = dict(leaves(OmegaConf.to_container(load_config(config, [*overrides, *chosen]))))
    task = {"gym_env": {"env_name": found["gym_env.env_name"]}}
    usual = dict(leaves(OmegaConf.to_container(load_config(task))))
    given = config.name if isinstance(config, Path) else "the given configuration"
    overridden = {one.partition("=")[0].strip() for one in overrides}
    lines = [
        f"# {found['gym_env.env_name']}: trial {best.number} of {len(study.trials)}, with a mean",
        f"# return over its steps of {as_return(score_of(best))}.",
    ]
    section: tuple[str, ...] = ()
    for key, value in found.items():
        as_usual = key in usual and usual[key] == value and key != "gym_env.env_name"
        if as_usual or key.startswith(NOT_LEARNED):
            continue
        *parents, name = key.split(".")
        for depth, parent in enumerate(parents):
            if section[: depth + 1] != tuple(parents[: depth + 1]):
                lines += ["", f"{parent}:"] if depth == 0 else [f"{'  ' * depth}{parent}:"]
        section = tuple(parents)
        text = yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]
        if key in space:
            among = [space[key].value(trial.params[key]) for trial in trials[:_SHOWN]]
            why = f"tuned, {space[key]}; the best {len(among)}: {_listed(among)}"
        elif key == EPOCHS and chosen[-1].startswith(f"{EPOCHS}="):
            of = "the study's override" if key in overridden else given
            why = f"as many steps as {of} has, by the size of rollouts"
        elif key in overridden:
            why = "an override of the study"
        else:
            why = "the task" if key == "gym_env.env_name" else f"as in {given}"
        lines.append(f"{'  ' * len(parents)}{name}: {text} # {one_line(why, 200)}")
    return "\n".join(lines) + "\n"


def _listed(values: Sequence[Any]) -> str:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = min(values), max(values)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return ", ".join(dict.fromkeys(map(as_override, values)))
