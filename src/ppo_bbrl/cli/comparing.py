"""`ppo-bbrl compare`: two groups of runs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ppo_bbrl.cli.paths import near
from ppo_bbrl.system.console import say

_AGAINST = "--against"


class WithSides(TyperCommand):
    """A command in which `--against A B C` takes all three."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat `--against` in front of each of its values, as click wants it."""
        words: list[str] = []
        inside = False
        for word in args:
            if word == _AGAINST:
                inside = True
            elif word.startswith("-"):
                inside = False
                words.append(word)
            else:
                words += [_AGAINST, word] if inside else [word]
        if args and args[-1] == _AGAINST:
            words.append(_AGAINST)  # its value is missing, which click says
        return super().parse_args(ctx, words)


def compare_runs(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, or of seeds (train --seeds).", show_default=False),
    ],
    *,
    against: Annotated[
        list[Path],
        typer.Option(
            _AGAINST, metavar="RUN…", help="The runs to compare them with.", show_default=False
        ),
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="A key in which the two sides may differ; repeat it for more. Default: any one.",
            show_default=False,
        ),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare them whatever they differ in.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="A .png, .svg or .pdf file; default: comparison.png here."),
    ] = None,
) -> None:
    """Compare two groups of runs: interquartile means, probability of improvement, curves."""
    from ppo_bbrl.experiments.compare import compare
    from ppo_bbrl.plots.figures import picture_format, save_figure

    path = out or Path("comparison.png")
    picture_format(path)  # before the work
    result = compare(runs, against, by=by or (), anyway=anyway)
    say(result.table())
    for key, (ours, theirs) in result.differences.items():
        say(f"{key}: {ours} against {theirs}")
    for warning in result.warnings:
        say(f"ppo-bbrl: warning: {warning}", error=True)
    save_figure(result.figure(), path)
    say(f"picture  {near(path.absolute())}")
