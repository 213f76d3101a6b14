"""What opening a file may cost: no more than a few times its size.

A file of kilobytes can stand for gigabytes: compressed, by views that repeat a number, by lists
that hold one another, by sizes of layers. Files may come from strangers, so that is measured before
anything of this size is made.
"""

import io
import math
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ppo_bbrl.system.seals import DamagedError

_LARGEST_FILE = 4 * 2**30
_TIMES = 8  # the size of the file: for values and tensors that are in several places
_LEAST = 100_000  # values, whatever the size
_DEEPEST = 100
_SCALARS = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)


def check_file(path: Path) -> None:
    """Refuse a file that is too large to read, or is none.

    Raises:
        DamagedError: saying which.
        OSError: if it cannot be found.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise DamagedError("it is not a regular file")
    if size > _LARGEST_FILE:
        raise DamagedError(f"it is larger than {_LARGEST_FILE // 2**30} GiB")


def check_records(content: bytes) -> None:
    """Refuse a zip file whose records are compressed, or overlap: torch writes none like that.

    Raises:
        DamagedError: if some are.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        check_stored(archive, len(content))


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """As `check_records`, of an open zip file of this size."""
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise DamagedError("its records are compressed")
    if sum(record.file_size for record in records) > size:
        raise DamagedError("its records are larger than the file")


def check_values(read: Any, size: int) -> None:
    """Refuse what is more than a file of this size should hold, or of a kind that none has.

    Args:
        read: tensors, numbers, texts, in dicts, lists and tuples.
        size: of the file, in bytes.

    Raises:
        DamagedError: naming what is wrong.
    """
    values, numbers = _LEAST + _TIMES * size, _TIMES * size
    todo: list[tuple[Any, int]] = [(read, 0)]
    while todo:
        value, depth = todo.pop()
        values -= 1
        if values < 0 or depth > _DEEPEST:
            raise DamagedError("it holds more values than a file of its size, or itself")
        if isinstance(value, dict):
            todo += [(item, depth + 1) for pair in value.items() for item in pair]
            values -= len(value)
        elif isinstance(value, list | tuple | set | frozenset):
            todo += [(item, depth + 1) for item in value]
        elif isinstance(value, Tensor):
            numbers -= _bytes_of(value)
            if numbers < 0:
                raise DamagedError("its tensors are larger than the file")
        elif not isinstance(value, _SCALARS):
            raise DamagedError(f"it holds a {type(value).__name__}")


def _bytes_of(tensor: Tensor) -> int:
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        raise DamagedError(f"it holds a tensor of another kind ({tensor.dtype}, {tensor.layout})")
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise DamagedError("a tensor of it repeats its numbers")
    return size


class BoundedLayers(TorchFunctionMode):
    """Inside the `with` block, layers may have a few times as many weights as were saved.

    Args:
        state: the saved weights, by name.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._left = _LEAST + _TIMES * sum(tensor.numel() for tensor in state.values())

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count what `torch.empty` makes: every layer of torch begins with it.

        Raises:
            DamagedError: if it would be too much.
        """
        if func is torch.empty:
            sizes = args[0] if args and not isinstance(args[0], int) else args
            self._left -= math.prod(sizes or (kwargs or {}).get("size", ()))
            if self._left < 0:
                raise DamagedError("its layers are larger than all that was saved")
        return func(*args, **(kwargs or {}))


def check_layers(architecture: Any, state: Any) -> None:
    """Refuse hidden layers that have more weights than all that was saved.

    Args:
        architecture: `algorithm.architecture` of a configuration.
        state: what was saved: tensors in dicts, lists and tuples.

    Raises:
        DamagedError: if they have.
    """
    saved, todo = 0, [state]
    while todo:
        value = todo.pop()
        if isinstance(value, Tensor):
            saved += value.numel()
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value
    for sizes in (architecture.actor_hidden_size, architecture.critic_hidden_size):
        if sum(n * m for n, m in pairwise(sizes)) > saved:
            raise DamagedError("its hidden layers are larger than all that was saved")
