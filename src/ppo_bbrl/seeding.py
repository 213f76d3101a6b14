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

from ppo_bbrl.errors import StateError
from ppo_bbrl.system.state import State, check_names, load_state, state_of

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

    def state_dict(self) -> State:
        """Where the stream is; not to be asked for inside of `active` and `direct`."""
        return {"own": self._own.get_state(), "others": self._others.get_state()}

    def load_state_dict(self, state: State) -> None:
        """Go on from where another stream was."""
        check_names(state, ("own", "others"), "a random stream")
        self._own.set_state(state["own"])
        self._others.set_state(state["others"])

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

    def state_dict(self) -> State:
        """The seed, and where each stream is."""
        return {
            "seed": self.seed,
            "minibatches": self.minibatches.get_state(),
            "streams": state_of(self._streams()),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where the streams of the same seed were.

        Raises:
            StateError: if they are those of another seed; nothing has been changed then.
        """
        check_names(state, ("seed", "minibatches", "streams"), "the random streams")
        if state["seed"] != self.seed:
            raise StateError(f"the state is of algorithm.seed = {state['seed']}, not {self.seed}")
        load_state(self._streams(), state["streams"], "the random streams")
        self.minibatches.set_state(state["minibatches"])

    def _streams(self) -> dict[str, RandomStream]:
        return {name: one for name, one in vars(self).items() if isinstance(one, RandomStream)}

    def sequence(self, stream: str, index: int = 0) -> np.random.SeedSequence:
        """The seed sequence of use `index` of a stream, for example of the third evaluation."""
        return np.random.SeedSequence(self.seed, spawn_key=(_STREAMS.index(stream), index))


def sequence_state(sequence: np.random.SeedSequence) -> State:
    """A seed sequence as plain data."""
    entropy = sequence.entropy
    return {
        "entropy": entropy if entropy is None or isinstance(entropy, int) else list(entropy),
        "spawn_key": list(sequence.spawn_key),
        "pool_size": sequence.pool_size,
        "n_children_spawned": sequence.n_children_spawned,
    }


def sequence_from_state(state: State) -> np.random.SeedSequence:
    """The seed sequence that `sequence_state` described."""
    return np.random.SeedSequence(**state)


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
