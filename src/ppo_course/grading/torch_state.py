"""What changes torch without replacing a function: modes, operators, hooks that act on all."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

HOOKED = ("torch.nn.modules.module", "torch.optim.optimizer")
#: of the kinds of tensors for which torch itself adds to its operators when it first needs it
ADDED_LATER = ("FuncTorch", "Meta", "Sparse")


def hooks() -> Iterator[tuple[str, dict[str, Any], str]]:
    """The tables of hooks that act on every module or optimiser: module, its namespace, name."""
    for module in HOOKED:
        names = vars(sys.modules[module]) if module in sys.modules else {}
        for name, table in names.items():
            if name.startswith("_global_") and isinstance(table, dict):
                yield module, names, name


def modes() -> Callable[[], tuple[Any, ...]]:
    """What tells the modes that are active now: they see, and may change, each call of torch."""
    if "torch" not in sys.modules:
        return tuple
    core: Any = sys.modules["torch"]._C
    functions, dispatches = core._len_torch_function_stack, core._len_torch_dispatch_stack
    saving = core._autograd._top_saved_tensors_default_hooks
    return lambda: (functions(), dispatches(), saving(True))


def refuse_operators(error: type[Exception]) -> None:
    """Let nobody in this process give torch's own operators another meaning, for good."""
    if "torch" not in sys.modules:
        return
    core: Any = sys.modules["torch"]._C
    library, later = core._dispatch_library, ADDED_LATER

    def checked(kind: str, namespace: str, key: str = "", *more: Any) -> Any:
        if namespace == "aten" and not key.startswith(later):
            raise error("not allowed while the notebook is graded: replacing an operator of torch")
        return library(kind, namespace, key, *more)

    core._dispatch_library = checked
