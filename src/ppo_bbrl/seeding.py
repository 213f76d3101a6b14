"""Random streams: one seed, and for each use of chance a stream of its own.

Weights, actions, minibatches, training environments and every single evaluation draw from
streams that `numpy.random.SeedSequence` keeps independent. So an evaluation more or less, another
user of torch's global generator, or another run in another thread changes nothing in training.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

_STREAMS = ("weights", "actions", "minibatches", "train_env", "evaluation", "replay", "learning")

# From which this thread draws directly, if it does.
_DIRECT: ContextVar[torch.Generator | None] = ContextVar("_DIRECT", default=None)
# Of torch's global generator, which a process has once. One for each process: a fork would inherit
# a lock that nobody in it can release.
_LOCKS: dict[int, Any] = {}


class RandomStream:
    """A stream of random numbers, from which one draws in one of two ways.

    Inside `with stream.active():` torch's global generator continues it, for agents that know no
    other (`Categorical.sample()` does not). Inside `with stream.direct():` whoever asks for
    `generator()` draws from it, and nobody else.
    """

    def __init__(self, seed: int) -> None:
        self._own = torch.Generator().manual_seed(seed)
        other = np.random.SeedSequence(seed, spawn_key=(1,))
        self._others = torch.Generator().manual_seed(_to_int(other))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch's global CPU generator continue this stream inside the `with` block.

        Outside it is untouched. One thread at a time: others wait for the end of its block.
        """
        before = _DIRECT.set(None)
        try:
            with _lent(self._own):
                yield
        finally:
            _DIRECT.reset(before)

    @contextmanager
    def direct(self) -> Iterator[None]:
        """Let `generator()` be this stream inside the `with` block, in this thread.

        It waits for no other thread, and what others draw from the global generator changes
        nothing. In the main thread the global generator continues a second stream meanwhile, for
        environments that draw from it.
        """
        in_main = threading.current_thread() is threading.main_thread()
        before = _DIRECT.set(self._own)
        try:
            with _lent(self._others) if in_main else nullcontext():
                yield
        finally:
            _DIRECT.reset(before)


def generator() -> torch.Generator | None:
    """What this thread is to draw from, for `torch.randn(…, generator=generator())`.

    None stands for torch's global generator.
    """
    return _DIRECT.get()


@contextmanager
def _lent(generator: torch.Generator) -> Iterator[None]:
    """Let torch's global CPU generator continue another one, and then go on as if nothing was."""
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
        #: of agents that users make: nothing that the package's own draw is drawn again
        self.own_weights = RandomStream(_to_int(self.sequence("weights", 1)))
        self.actions = RandomStream(_to_int(self.sequence("actions")))
        self.learning = RandomStream(_to_int(self.sequence("learning")))
        self.minibatches = torch.Generator().manual_seed(_to_int(self.sequence("minibatches")))

    def sequence(self, stream: str, index: int = 0) -> np.random.SeedSequence:
        """The seed sequence of use `index` of a stream, for example of the third evaluation."""
        return np.random.SeedSequence(self.seed, spawn_key=(_STREAMS.index(stream), index))


def env_seeds(sequence: np.random.SeedSequence, n_envs: int) -> list[int | None]:
    """One seed below 2^31 for each of `n_envs` environments."""
    return [int(word) & 0x7FFFFFFF for word in sequence.generate_state(n_envs)]


def action_stream(sequence: np.random.SeedSequence) -> RandomStream:
    """The stream from which a policy draws while the environments use `sequence`."""
    return RandomStream(
        _to_int(np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, 1)))
    )


def _to_int(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
