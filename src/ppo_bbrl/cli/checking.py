"""`ppo-bbrl check`: what is wrong with an environment."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ppo_bbrl.cli.options import Overrides, typed
from ppo_bbrl.cli.startup import insistent_interrupts, quick_start
from ppo_bbrl.system.console import say


def check(
    env: Annotated[
        str,
        typer.Argument(
            metavar="ENV",
            help="A registered environment, module:Name-v0 (imports the module), a YAML file, or "
            "the name of a shipped one.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps with random actions.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the actions.")] = 0,
) -> None:
    """Check an environment: Gymnasium's own rules, and what PPO needs besides.

    One line for each fault (with its remedy) or note. The status is 1 if there are faults.
    """
    with insistent_interrupts() as calm, quick_start():
        from ppo_bbrl.checking.apart import check_apart
        from ppo_bbrl.config.loading import load_config
        from ppo_bbrl.envs.names import look_also_in
        from ppo_bbrl.envs.vector import own_copy

        path = Path(env)
        source: Any
        is_file = path.suffix in (".yaml", ".yml") or path.exists()
        if is_file or "=" in env or _is_meant_as_shipped(env):
            source, words = typed(path, overrides)
        else:
            look_also_in([Path.cwd()])
            source, words = {"gym_env": {"env_name": env}}, list(overrides or ())
        cfg = load_config(source, words)
        gym_env, algorithm = cfg.gym_env, cfg.algorithm
        wrappers: list[Any] = []
        if gym_env.wrappers or gym_env.training_wrappers:
            from ppo_bbrl.config.training_wrappers import in_training
            from ppo_bbrl.config.wrappers import combine

            _, wrappers = combine(gym_env.wrappers, ())
            wrappers = in_training(wrappers, gym_env.training_wrappers)
        arguments = {
            "env_args": own_copy(dict(gym_env.env_args)),
            "wrappers": wrappers,
            "action_mask": gym_env.action_mask,
            "steps": steps,
            "seed": seed,
            "scaled": (
                algorithm.normalize_reward or algorithm.clip_reward is not None,
                algorithm.normalize_observation,
            ),
        }
        report = check_apart(gym_env.env_name, arguments)
        calm()
    say(str(report))
    if not report.ok:
        raise typer.Exit(1)


def _is_meant_as_shipped(name: str) -> bool:
    """Whether it is the name of a shipped configuration, or a misspelling of one."""
    from gymnasium import registry

    from ppo_bbrl.config.shipped import nearest_shipped, shipped_configs

    if name in shipped_configs():
        return True
    return name.islower() and name not in registry and bool(nearest_shipped(name))
