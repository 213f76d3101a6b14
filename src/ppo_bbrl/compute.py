"""What a run computes with: threads, device, compiler. `auto` is decided here, by sizes alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ppo_bbrl.errors import ConfigError

# Multiplications of the widest layer in one minibatch from which a second thread pays.
_WORK_PER_THREAD = 2 * 1024 * 64 * 64
# Compiling takes some ten seconds and saves about half a millisecond a minibatch.
_MINIBATCHES_TO_REPAY = 25_000


def choose_threads(*, batch_size: int, width: int, cores: int) -> int:
    """How many threads torch should use.

    Small tensors do not repay the hand-over to a second thread, and two programs whose threads
    wait for each other on the same cores can be twenty times slower than with one thread each.

    Args:
        batch_size: transitions of a minibatch.
        width: neurons of the widest layer.
        cores: what the machine has for us.
    """
    return max(1, min(cores, batch_size * width * width // _WORK_PER_THREAD))


def core_numbers() -> list[int]:
    """The cores that this process may use; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def available_cores() -> int:
    """How many cores this process may use."""
    return len(core_numbers()) or os.cpu_count() or 1


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch use this many threads inside the `with` block."""
    before = torch.get_num_threads()
    if before == number:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compiler() -> str | None:
    """The C++ compiler that torch.compile would use on the CPU; None if there is none."""
    names = [os.environ.get("CXX", ""), "g++", "clang++"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def choose_compile(n_minibatches: int) -> tuple[bool, str]:
    """Whether to compile the update, and the reason in words.

    Args:
        n_minibatches: optimiser steps of the whole run.
    """
    if n_minibatches < _MINIBATCHES_TO_REPAY:
        return False, f"{n_minibatches:,} optimiser steps would not repay the compilation"
    if compiler() is None:
        return False, "there is no C++ compiler (g++ or clang++)"
    return True, f"{n_minibatches:,} optimiser steps repay the compilation"


def choose_device(device: str) -> str:
    """`cpu` or `cuda`; auto is `cpu`, as environments on the CPU leave a GPU little to do.

    Raises:
        ConfigError: if CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device = 'cuda': torch finds no CUDA device; allowed is cpu")
    return "cpu" if device == "auto" else device
