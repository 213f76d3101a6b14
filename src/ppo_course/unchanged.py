"""Whether a student's function leaves its arguments as they were."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def copied(thing: Any) -> Any:
    """A copy of what a function could change, however deep its tensors lie in lists."""
    if isinstance(thing, Tensor):
        return thing.detach().clone()
    if isinstance(thing, np.ndarray):
        return thing.copy()
    if type(thing) in {list, tuple}:
        return [copied(item) for item in thing]
    if type(thing) is dict:
        return {key: copied(value) for key, value in thing.items()}
    return thing


def unchanged(thing: Any, copy: Any) -> bool:
    """Whether a thing is what it was when it was copied."""
    if isinstance(thing, Tensor):
        return thing.shape == copy.shape and torch.equal(thing.detach(), copy)
    if isinstance(thing, np.ndarray):
        return np.array_equal(thing, copy)
    if type(thing) in {list, tuple}:
        return len(thing) == len(copy) and all(map(unchanged, thing, copy))
    if type(thing) is dict:
        return thing.keys() == copy.keys() and all(unchanged(thing[key], copy[key]) for key in copy)
    return thing is copy
