"""Writes the policy of a run into a file for programs without ppo-bbrl: ONNX, torch.export."""

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.envs.actions import is_own
from ppo_bbrl.envs.masks import KEY, NONE
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.runs.best_policy import find_policy, load_policy
from ppo_bbrl.runs.policy_module import PolicyModule, Port, action_names
from ppo_bbrl.runs.trained_policy import TrainedPolicy
from ppo_bbrl.system.files import write_file

#: the file in a torch.export archive that says what is in it
ABOUT = "ppo_bbrl.json"
_NAMES_OF_OTHERS = {"onnx": (".pt2", ".pt", ".pth"), "torch_export": (".onnx",)}
_ROWS = 3  # of the inputs that are traced: a number that is no other size's


@dataclass(frozen=True)
class Exported:
    """What has been written.

    Attributes:
        files: their paths.
        inputs, outputs: of the policy, in order.
        about: what the files say of themselves.
    """

    files: list[Path]
    inputs: list[Port]
    outputs: list[Port]
    about: dict[str, Any]


def export_policy(
    run: str | Path,
    *,
    onnx: str | Path | None = None,
    torch_export: str | Path | None = None,
    which: str = "best",
    env_wrappers: Iterable[Wrapper] = (),
    trust: bool = False,
) -> Exported:
    """Write the greedy policy of a run, with its normalisation and memory, into a file.

    `export_policy(run, onnx="policy.onnx")`; see docs/export.md for what is in it.

    Args:
        run: the folder of a run, or of one of its policies, such as `RUN/last`.
        onnx: the ONNX file to write, or None.
        torch_export: the torch.export archive (.pt2) to write, or None.
        which: best or last.
        env_wrappers: the wrappers of your own, which the run's files record only by name.
        trust: whether a module that the run's files name (`module:Name-v0`) may be imported.

    Raises:
        UserError: if there is no such policy, if it cannot be exported, or a package is missing.
        OSError: if a file cannot be written.
    """
    wanted = {
        kind: Path(path)
        for kind, path in (("onnx", onnx), ("torch_export", torch_export))
        if path is not None
    }
    _check(wanted)
    saved = load_policy(find_policy(run, which))
    policy = TrainedPolicy(saved, env_wrappers, trust=trust)
    if is_own(policy.action_space):
        raise UserError(
            f"the action space {one_line(policy.action_space, 200)} is one of your own: what its "
            "Python code does to actions cannot be exported"
        )
    masks = saved.cfg.gym_env.action_mask != NONE
    module = PolicyModule(policy.agent.wrapped, policy.seen, policy.action_space, masks=masks)
    about = _about(policy, module)
    makers = {"onnx": _onnx, "torch_export": _archive}
    for kind, path in wanted.items():
        try:
            content = makers[kind](module, about)
        except (OSError, UserError):
            raise
        except Exception as error:
            raise UserError(
                f"{path}: {type(module.head).__name__} cannot be exported: {one_line(error, 300)}"
            ) from error
        write_file(path, content)
    return Exported([*wanted.values()], module.inputs, module.outputs, about)


def _check(wanted: dict[str, Path]) -> None:
    """Refuse what can be seen before the work."""
    if not wanted:
        raise UserError("nothing to export: give onnx=FILE or torch_export=FILE")
    if len({path.absolute() for path in wanted.values()}) < len(wanted):
        raise UserError(f"{next(iter(wanted.values()))}: both formats cannot be in one file")
    for kind, path in wanted.items():
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the name of a file")
        if path.suffix in _NAMES_OF_OTHERS[kind]:
            raise UserError(
                f"{path}: {path.suffix} promises another format; choose a name that ends in "
                f"{'.onnx' if kind == 'onnx' else '.pt2'}"
            )
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if "onnx" in wanted and missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: pip install 'ppo-bbrl[export]'"
        )


def _about(policy: TrainedPolicy, module: PolicyModule) -> dict[str, Any]:
    """What a file says of itself: words and lists of words."""
    saved = policy.saved
    return {
        "ppo_bbrl_version": version("ppo-bbrl"),
        "env_name": str(saved.cfg.gym_env.env_name),
        "observation_space": str(policy.observation_space),
        "action_space": str(policy.action_space),
        "inputs": [port.as_dict() for port in module.inputs],
        "outputs": [port.as_dict() for port in module.outputs],
        "action_names": action_names(policy.action_space),
        "steps": int(saved.steps),
        "reward": float(saved.reward),
    }


def _program(module: PolicyModule) -> Any:
    """The traced policy, for any number of rows."""
    examples = module.examples(_ROWS)
    rows = torch.export.Dim("N", min=1)
    shapes = (tuple({0: rows} for _ in examples),)
    with torch.no_grad():
        return torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)


def _archive(module: PolicyModule, about: dict[str, Any]) -> bytes:
    content = BytesIO()
    torch.export.save(_program(module), content, extra_files={ABOUT: json.dumps(about)})
    return content.getvalue()


def _onnx(module: PolicyModule, about: dict[str, Any]) -> bytes:
    import onnx  # noqa: PLC0415 - takes long
    from onnx import TensorProto, helper  # noqa: PLC0415 - an extra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own code
        exported = torch.onnx.export(
            _program(module),
            dynamo=True,
            input_names=[port.name for port in module.inputs],
            output_names=[port.name for port in module.outputs],
            external_data=False,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    model.producer_name, model.doc_string = "ppo_bbrl", ""
    for node in model.graph.node:  # where in torch's and our files each comes from
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for value in model.graph.input:
        if value.name == KEY:  # a default makes an input optional
            n_values = value.type.tensor_type.shape.dim[1].dim_value
            value.type.tensor_type.shape.dim[0].dim_param = "N_or_1"
            default = helper.make_tensor(KEY, TensorProto.BOOL, [1, n_values], [True] * n_values)
            model.graph.initializer.append(default)
    del model.graph.value_info[:]  # shapes in between, which a mask of one row changes
    del model.metadata_props[:]
    words = {key: one if isinstance(one, str) else json.dumps(one) for key, one in about.items()}
    helper.set_model_props(model, words)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
