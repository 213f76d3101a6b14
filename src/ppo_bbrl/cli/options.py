"""Arguments and options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ppo_bbrl.errors import ConfigError

Run = Annotated[
    Path,
    typer.Argument(help="Folder of a run, such as outputs/CartPole-v1/…", show_default=False),
]

Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Import the environment's module if the run's files name one (`module:Name-v0`).",
    ),
]

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Override keys of the file."),
]


def typed(config: Path, overrides: Sequence[str] | None) -> tuple[Path | dict[str, str], list[str]]:
    """What was typed as a configuration: a file or a name and `key=value` words, or words alone.

    From here on modules are also looked for in the current folder, and beside the file.

    Raises:
        ConfigError: if it is neither.
    """
    from ppo_bbrl.config.shipped import config_file
    from ppo_bbrl.envs.names import look_also_in

    words = list(overrides or ())
    if "=" in str(config) and not config.exists():
        look_also_in([Path.cwd()])
        return {}, [str(config), *words]
    try:
        config = config_file(config)
    except ConfigError as error:
        if config.suffix or config.exists():
            raise
        raise ConfigError(
            f"{error}; to train on a task with the defaults, write gym_env.env_name={config}"
        ) from None
    look_also_in((Path.cwd(), config.parent))
    return config, words
