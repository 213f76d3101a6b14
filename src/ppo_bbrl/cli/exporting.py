"""`ppo-bbrl export`: the policy of a run as a file for other programs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ppo_bbrl.cli.options import Run, Trust
from ppo_bbrl.cli.startup import quick_start
from ppo_bbrl.system.console import say


def export(
    run: Run,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="FILE", help="Write ONNX (needs ppo-bbrl[export])."),
    ] = None,
    torch_export: Annotated[
        Path | None,
        typer.Option("--torch-export", metavar="FILE", help="Write a torch.export archive, .pt2."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Write the best policy of a run for programs without ppo-bbrl (the last policy: RUN/last).

    The file turns observations, as the environment gives them, into greedy actions, as it takes
    them. Normalisation and memory are inside.
    """
    if onnx is None and torch_export is None:
        raise typer.BadParameter("give --onnx FILE or --torch-export FILE")
    with quick_start():
        from ppo_bbrl.envs.names import look_also_in
        from ppo_bbrl.runs.export import export_policy

        if trust:
            look_also_in([Path.cwd()])
    made = export_policy(run, onnx=onnx, torch_export=torch_export, trust=trust)
    about = made.about
    say(f"{about['env_name']}, the policy after {about['steps']:,} steps")
    for port in made.inputs:
        say(f"input    {port}")
    for port in made.outputs:
        say(f"output   {port}")
    if about["action_names"][1:] and made.outputs[0].dtype.startswith("float"):
        say(f"actions  {', '.join(about['action_names'])}")
    needed = [port for port in made.inputs if not port.optional]
    if onnx is not None:
        given = ", ".join(f"{json.dumps(port.name)}: …" for port in needed)
        say(f"ONNX     {onnx}; use it with")
        say(f"         onnxruntime.InferenceSession({str(onnx)!r}).run(None, {{{given}}})")
    if torch_export is not None:
        names = ", ".join(port.name for port in made.inputs)
        say(f"torch    {torch_export}; use it with")
        say(f"         torch.export.load({str(torch_export)!r}).module()({names})")
