"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
