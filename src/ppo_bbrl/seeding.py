"""Random streams: one seed, and for each use of chance a stream of its own.

Weights, actions, minibatches, training environments and every single evaluation draw from
streams that `numpy.random.SeedSequence` keeps independent. So an evaluation more or less, or
another user of torch's global generator, changes nothing in training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_STREAMS = ("weights", "actions", "minibatches", "train_env", "evaluation", "replay", "learning")


class RandomStream:
    """A private state of torch's global generator.

    Agents draw from torch's global generator (`Categorical.sample()` knows no other). Inside
    `with stream.active():` that generator continues this stream; outside it is untouched.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch's global CPU generator continue this stream inside the `with` block."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            yield
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(outside)


class Seeds:
    """The streams of one run, all derived from `algorithm.seed`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.weights = RandomStream(_to_int(self.sequence("weights")))
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
