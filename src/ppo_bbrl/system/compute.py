"""Threads, device and compiler of a run. Decides what `auto` means, from sizes alone."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch

from ppo_bbrl.errors import ConfigError

# Multiplications in the widest layer, per minibatch, from which a second thread pays off.
_WORK_PER_THREAD = 2 * 1024 * 64 * 64
# Compiling takes about ten seconds and saves about half a millisecond per minibatch.
_MINIBATCHES_TO_REPAY = 25_000
_THREADS_PER_CORE = 8
_TRANSITION_BYTES = 60  # without the observation: action, reward, flags, returns, log-probability
_WEIGHT_BYTES = 20  # its value, gradient, two moments of the optimiser, and its old value


def choose_threads(*, batch_size: int, width: int, cores: int) -> int:
    """The number of threads that torch should use.

    For small tensors, handing work to a second thread costs more than it saves; and two programs
    whose threads compete for the same cores can be twenty times slower than with one thread each.

    Args:
        batch_size: transitions per minibatch.
        width: size of the widest layer.
        cores: number of cores that we may use.
    """
    return max(1, min(cores, batch_size * width * width // _WORK_PER_THREAD))


def core_numbers() -> list[int]:
    """The cores that this process may use; empty if the system does not say.

    Of several processes that torchrun has started on this machine, each has its share.
    """
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    rank, size = _of_torchrun()
    return numbers[rank::size] or numbers


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(core_numbers()) or max(1, (os.cpu_count() or 1) // _of_torchrun()[1])


def _of_torchrun() -> tuple[int, int]:
    """The number of this process on this machine, and how many torchrun has started here."""
    rank, size = (os.environ.get(f"LOCAL_{name}", "") for name in ("RANK", "WORLD_SIZE"))
    return (int(rank), int(size)) if rank.isdigit() and size.isdigit() else (0, 1)


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


def check_defaults() -> None:
    """Refuse what training does not support: half precision, other devices, inference mode.

    Autocast is half precision, too, of which the weights do not tell.

    Raises:
        ConfigError: naming the default.
    """
    if torch.is_inference_mode_enabled():
        raise ConfigError(
            "torch's gradients are turned off (inference_mode), so that nothing would be learned: "
            "leave it to the training to do so where none are needed"
        )
    check_autocast()
    dtype = torch.get_default_dtype()
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"torch.set_default_dtype({dtype}): must be torch.float32 or torch.float64"
        )
    device = torch.empty(0).device
    if device.type != "cpu":
        raise ConfigError(
            f"torch's default device is {str(device)!r}: must be 'cpu', where the environments "
            "are; use compute.device to choose the device of the networks"
        )


def check_autocast() -> None:
    """Refuse half precision that a block around the training asks for.

    Raises:
        ConfigError: naming it.
    """
    if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
        raise ConfigError(
            "torch.autocast is on: networks would act and learn in half precision; leave the `with "
            "torch.autocast(…)` block, or train with Lightning and its precision"
        )


def on_cpu() -> AbstractContextManager[Any]:
    """Inside the `with` block tensors are on the CPU, whatever torch's default device is."""
    is_cpu = torch.get_default_device().type == "cpu"
    return nullcontext() if is_cpu else torch.device("cpu")


def check_rollout(settings: Any, observation_space: Any = None) -> None:
    """Refuse rollouts that do not fit in this machine's memory, before it is allocated.

    Args:
        settings: the `algorithm` section of a configuration.
        observation_space: of one environment, if known.

    Raises:
        ConfigError: naming the keys, the memory needed and the machine's memory.
    """
    shape = getattr(observation_space, "shape", None) or ()
    itemsize = getattr(getattr(observation_space, "dtype", None), "itemsize", 1)
    _check_memory(
        f"algorithm.n_envs × algorithm.n_steps = {settings.n_envs:,} × {settings.n_steps:,}",
        "a rollout takes",
        settings.n_envs * settings.n_steps * (_TRANSITION_BYTES + math.prod(shape) * itemsize),
    )


def check_compute(cfg: Any) -> None:
    """Refuse thread counts that would crash the process, and networks too large for the memory.

    Args:
        cfg: the configuration of a PPO run.

    Raises:
        ConfigError: naming the key, the value and what the machine has.
    """
    number, cores = cfg.compute.threads, os.cpu_count() or 1
    if number != "auto" and number > _THREADS_PER_CORE * cores:
        raise ConfigError(
            f"compute.threads = {number}: must be at most {_THREADS_PER_CORE * cores} on the "
            f"{cores} cores of this machine"
        )
    for name in ("actor_hidden_size", "critic_hidden_size"):
        sizes = list(cfg.algorithm.architecture[name])
        _check_memory(
            f"algorithm.architecture.{name} = {sizes}",
            "training such a network takes",
            sum(fan_in * fan_out for fan_in, fan_out in pairwise([1, *sizes])) * _WEIGHT_BYTES,
        )


def check_layer(key: str, what: str, n_weights: int) -> None:
    """Refuse a layer too large for the memory, as one for millions of states is.

    Args:
        key: which key it comes from, with its value.
        what: what takes so much.
        n_weights: of the layer.

    Raises:
        ConfigError: naming the key, what it takes and what the machine has.
    """
    _check_memory(key, what, n_weights * _WEIGHT_BYTES)


def _check_memory(key: str, what: str, needed: int) -> None:
    if not hasattr(os, "sysconf"):  # on Windows
        return
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ConfigError(
            f"{key}: {what} at least {needed / 1e9:,.0f} GB, but this machine has "
            f"{there / 1e9:,.0f} GB of memory"
        )


def choose_compile(n_minibatches: int) -> tuple[bool, str]:
    """Whether to compile the update, and the reason in words.

    Args:
        n_minibatches: optimiser steps in the whole run.
    """
    if n_minibatches < _MINIBATCHES_TO_REPAY:
        return False, f"{n_minibatches:,} optimiser steps are too few to make compiling worthwhile"
    if compiler() is None:
        return False, "there is no C++ compiler (g++ or clang++)"
    return True, f"{n_minibatches:,} optimiser steps make compiling worthwhile"


def choose_device(device: str) -> str:
    """`cpu` or `cuda`; auto is `cpu`, as environments on the CPU leave a GPU mostly idle.

    Raises:
        ConfigError: if CUDA is requested but not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device = 'cuda': torch finds no CUDA device; must be cpu")
    return "cpu" if device == "auto" else device


def decide(cfg: Any) -> str:
    """Replace every `auto` in `compute` by a decision, in the configuration itself.

    Returns:
        Why the update is compiled or not, if that was decided here.
    """
    settings, chosen = cfg.algorithm, cfg.compute
    chosen.device = choose_device(chosen.device)
    size = settings.n_envs * settings.n_steps
    batch_size = min(settings.batch_size or size, size)
    if chosen.threads == "auto":
        architecture = settings.architecture
        hidden = (*architecture.actor_hidden_size, *architecture.critic_hidden_size, 1)
        chosen.threads = choose_threads(
            batch_size=batch_size, width=max(hidden), cores=available_cores()
        )
    if chosen.compile != "auto":
        return ""
    if settings.architecture.memory != "none":
        chosen.compile = "never"
        return "agents with memory learn from sequences, which are split where episodes begin"
    n_minibatches = -(-size // batch_size)
    compile_it, why = choose_compile(settings.max_epochs * settings.opt_epochs * n_minibatches)
    chosen.compile = "always" if compile_it else "never"
    return why
