"""`ppo-bbrl init` and `ppo-bbrl course`: files that come with the package, to be changed."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ppo_bbrl.cli.paths import near
from ppo_bbrl.system.console import say

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that were edited.")]


def copy_configs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where; made when it is missing.")
    ] = Path("configs"),
    *,
    overwrite: Overwrite = False,
) -> None:
    """Copy the shipped configurations, to read and to change.

    A file that is there and says something else is kept and named; the status is 1 then.
    """
    from ppo_bbrl.config.shipped import shipped_files
    from ppo_bbrl.system.copies import write_unless_edited

    files = {folder / name: text for name, text in shipped_files().items()}
    kept = write_unless_edited(files, overwrite=overwrite)
    say(f"Next: ppo-bbrl train {near(folder / 'cartpole.yaml')}")
    if kept:
        raise typer.Exit(1)


def make_course(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where; made when it is missing.", show_default=False),
    ],
    *,
    graded: Annotated[
        bool, typer.Option("--graded", help="A course that nbgrader releases and grades.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NN", help="Some of the notebooks, such as 03 or 01,02.", show_default=False
        ),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="What setup cells install ppo-bbrl from, as on Colab: git+https://… or a wheel.",
            show_default=False,
        ),
    ] = "",
    overwrite: Overwrite = False,
) -> None:
    """Make the notebooks of the course: to fill in, or with --graded for a class.

    A file that is there and says something else is kept and named; the status is 1 then.
    """
    # The course stands on the library, which knows of it by this name alone.
    course = import_module("ppo_course.course")
    words = [] if only is None else [word.strip() for word in only.split(",")]
    if course.write_course(folder, graded=graded, only=words, overwrite=overwrite, address=address):
        raise typer.Exit(1)
