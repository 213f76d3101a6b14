"""Random streams: one seed, and a separate stream for each use of randomness.

Weights, actions, minibatches, training environments and each evaluation draw from independent
streams, derived with `numpy.random.SeedSequence`. So an additional evaluation, other code that
uses torch's global generator, or a run in another thread does not change training.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppo_bbrl.errors import StateError, shown
from ppo_bbrl.system.state import State, check_names, load_state, state_of

_STREAMS = ("weights", "actions", "minibatches", "train_env", "evaluation", "replay", "learning")

_LARGEST_POOL = 64  # of a seed's entropy, whose mixing takes the square of it

# The generator from which this thread draws directly, if any.
_DIRECT: ContextVar[torch.Generator | None] = ContextVar("_DIRECT", default=None)
# Locks of torch's global generator, of which a process has one. They are kept by process, because
# a fork would inherit a lock that nothing in it can release.
_LOCKS: dict[int, Any] = {}


class RandomStream:
    """A stream of random numbers, which can be drawn from in two ways.

    Inside `with stream.active():` torch's global generator continues the stream, for code that
    uses only that generator, such as `Categorical.sample()`. Inside `with stream.direct():` only
    code that calls `generator()` draws from it.
    """

    def __init__(self, seed: int) -> None:
        self._own = torch.Generator().manual_seed(seed)
        other = np.random.SeedSequence(seed, spawn_key=(1,))
        self._others = torch.Generator().manual_seed(_to_int(other))

    def state_dict(self) -> State:
        """The position in the stream; not to be called inside `active` or `direct`."""
        return {"own": self._own.get_state(), "others": self._others.get_state()}

    def load_state_dict(self, state: State) -> None:
        """Continue from the position of another stream."""
        check_names(state, ("own", "others"), "a random stream")
        self._own.set_state(state["own"])
        self._others.set_state(state["others"])

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch's global CPU generator continue this stream inside the `with` block.

        Outside the block, that generator is as it was. Only one thread can be in such a block;
        others wait.
        """
        before = _DIRECT.set(None)
        try:
            with _lent(self._own):
                yield
        finally:
            _DIRECT.reset(before)

    @contextmanager
    def direct(self, *, lends: bool | None = None) -> Iterator[None]:
        """Let `generator()` return this stream inside the `with` block, in this thread.

        Draws from the global generator do not affect it.

        Args:
            lends: whether the global generator meanwhile continues a second stream, for
                environments and layers that draw from it, and other threads wait as in `active`.
                None: in the main thread only.
        """
        if lends is None:
            lends = threading.current_thread() is threading.main_thread()
        before = _DIRECT.set(self._own)
        try:
            with _lent(self._others) if lends else nullcontext():
                yield
        finally:
            _DIRECT.reset(before)


def generator() -> torch.Generator | None:
    """The generator that this thread should use, as in `torch.randn(…, generator=generator())`.

    None stands for torch's global generator.
    """
    return _DIRECT.get()


class DirectDraws(TorchFunctionMode):
    """Lets torch's own functions that draw use `generator()` inside the `with` block.

    It is for code that passes no generator, such as `Categorical.sample()`. `active` serves it,
    too, unless another thread sets the global generator meanwhile, as each start of Lightning's
    Trainer does. Every call of a function of torch inside the block takes a microsecond more.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function, with the generator if it draws on the CPU without one."""
        del types
        kwargs = kwargs or {}
        if func in _draws() and kwargs.get("generator") is None:
            tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
            device = tensors[0].device if tensors else kwargs.get("device")
            if torch.device(device or "cpu").type == "cpu":
                kwargs = kwargs | {"generator": generator()}
        return func(*args, **kwargs)


@cache
def _draws() -> frozenset[Callable[..., Any]]:
    """The functions and methods of torch that take a generator, which distributions draw by."""
    functions = (
        "bernoulli binomial multinomial normal poisson rand randint randn randperm "
        "_standard_gamma _sample_dirichlet"
    )
    with suppress(TypeError):  # those of older versions take none
        torch.rand_like(torch.zeros(1), generator=torch.Generator())
        functions += " rand_like randn_like randint_like"
    methods = (
        "bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ "
        "random_ uniform_"
    )
    return frozenset(
        getattr(owner, name)
        for owner, names in ((torch, functions), (Tensor, methods))
        for name in names.split()
    )


@contextmanager
def _lent(generator: torch.Generator) -> Iterator[None]:
    """Let torch's global CPU generator continue another one, and restore it afterwards."""
    with _LOCKS.setdefault(os.getpid(), threading.RLock()):
        outside = torch.get_rng_state()
        torch.set_rng_state(generator.get_state())
        try:
            yield
        finally:
            generator.set_state(torch.get_rng_state())
            torch.set_rng_state(outside)


class Seeds:
    """The streams of one run, all derived from `algorithm.seed`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.weights = RandomStream(_to_int(self.sequence("weights")))
        #: weights of agents that users make: numbers that the package's own agents do not draw
        self.own_weights = RandomStream(_to_int(self.sequence("weights", 1)))
        self.actions = RandomStream(_to_int(self.sequence("actions")))
        self.learning = RandomStream(_to_int(self.sequence("learning")))
        self.minibatches = torch.Generator().manual_seed(_to_int(self.sequence("minibatches")))

    def state_dict(self) -> State:
        """The seed, and the position of each stream."""
        return {
            "seed": self.seed,
            "minibatches": self.minibatches.get_state(),
            "streams": state_of(self._streams()),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from the positions of other streams with the same seed.

        Raises:
            StateError: if the seed differs; nothing has been changed then.
        """
        check_names(state, ("seed", "minibatches", "streams"), "the random streams")
        if state["seed"] != self.seed:
            raise StateError(f"the state has algorithm.seed = {state['seed']}, not {self.seed}")
        load_state(self._streams(), state["streams"], "the random streams")
        self.minibatches.set_state(state["minibatches"])

    def begin_anew(self, index: int) -> None:
        """Replace the streams that training draws from by those of use number `index`."""
        self.actions = RandomStream(_to_int(self.sequence("actions", index)))
        self.learning = RandomStream(_to_int(self.sequence("learning", index)))
        self.minibatches.manual_seed(_to_int(self.sequence("minibatches", index)))

    def _streams(self) -> dict[str, RandomStream]:
        return {name: one for name, one in vars(self).items() if isinstance(one, RandomStream)}

    def sequence(self, stream: str, index: int = 0) -> np.random.SeedSequence:
        """The seed sequence of a stream's use number `index`, such as one evaluation."""
        return np.random.SeedSequence(self.seed, spawn_key=(_STREAMS.index(stream), index))


def sequence_state(sequence: np.random.SeedSequence) -> State:
    """Describe a seed sequence as plain data."""
    entropy = sequence.entropy
    return {
        "entropy": entropy if entropy is None or isinstance(entropy, int) else list(entropy),
        "spawn_key": list(sequence.spawn_key),
        "pool_size": sequence.pool_size,
        "n_children_spawned": sequence.n_children_spawned,
    }


def sequence_from_state(state: State) -> np.random.SeedSequence:
    """Rebuild the seed sequence that `sequence_state` described.

    Raises:
        StateError: if it would take long.
    """
    check_names(state, ("entropy", "spawn_key", "pool_size", "n_children_spawned"), "a seed")
    if not isinstance(state["pool_size"], int) or not 4 <= state["pool_size"] <= _LARGEST_POOL:
        raise StateError(f"pool_size = {shown(state['pool_size'])}: must be 4 to {_LARGEST_POOL}")
    return np.random.SeedSequence(**state)


def env_seeds(sequence: np.random.SeedSequence, n_envs: int) -> list[int | None]:
    """One seed below 2^31 for each of `n_envs` environments."""
    return [int(word) & 0x7FFFFFFF for word in sequence.generate_state(n_envs)]


def action_stream(sequence: np.random.SeedSequence) -> RandomStream:
    """The stream from which a policy draws when its environments are seeded by `sequence`."""
    return RandomStream(
        _to_int(np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, 1)))
    )


def _to_int(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
