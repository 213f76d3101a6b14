"""The environments of a worker process, which answer the run, and have their states there."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ppo_bbrl.envs.first_steps import seed_global_chance
from ppo_bbrl.envs.state import read_state, written
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.errors import StateError
from ppo_bbrl.system.state import check_names, packed, unpacked


class WorkerEnvs(SyncEnvs):
    """`SyncEnvs` in a worker process: each environment has a state of its own.

    Which environments share a process depends on the machine.
    """

    def _draws_told(self) -> AbstractContextManager[None]:
        return nullcontext()  # here nobody shares the generators: they are seeded

    def answer(self, command: str, data: Any) -> Any:
        """Do what the run's process asks for, and return what it expects."""
        if command == "step":
            self.advance(data)
            return self.faults
        if command == "reset":
            first = data[0][0] if isinstance(data[0], list) else data[0]
            if first is not None:
                seed_global_chance(first)
            self.reset(seed=data[0], options=data[1])
            return self.action_masks is not None, self.faults
        if command == "call":
            name, args, kwargs = data
            return self.call(name, *args, **kwargs)
        if command == "set":
            self.set_attr(*data)
        elif command in {"state", "load"}:
            return self._give_or_take_states(data)
        return True

    def _give_or_take_states(self, content: bytes | None) -> tuple[bytes, str]:
        """The packed states, if none are given; and why it is not possible, if it is not."""
        try:
            if content is None:
                return packed([self._state_of(i) for i in range(self.num_envs)]), ""
            self._load(unpacked(content))
        except StateError as error:
            return b"", str(error)
        return b"", ""

    def _parts(self, i: int) -> dict[str, Any]:
        masks = self.action_masks
        ends = self._terminations[i], self._truncations[i]
        return {
            "env": self.envs[i],
            "over": self._over[i],
            "steps": self._n_steps,
            "guard": self._guard.seed_of(i),
            "rows": [array[i].copy() for array in self._arrays],
            "row": [float(self._rewards[i]), *map(bool, ends)],
            "mask": None if masks is None else masks[i].copy(),
            "mask_from": self._mask_from,
        }

    def _place(self, i: int) -> str:
        return f"envs[{self._first + i}]"

    def _state_of(self, i: int) -> Any:
        return written(self._parts(i), self._place(i), self._name)

    def _load(self, states: Sequence[Any]) -> None:
        read = []
        for i, state in enumerate(states):
            now = self._parts(i)
            made, change = read_state(state, now, self._place(i), self._name)
            check_names(made, now, self._name)
            shapes = [[row.shape for row in one["rows"]] for one in (made, now)]
            if shapes[0] != shapes[1]:
                raise StateError(f"{self._name}: the state has rows of other shapes")
            read.append((made, change))
        if any(made["mask"] is not None for made, _ in read) and self.action_masks is None:
            self.action_masks = self._new_mask_rows()
        for i, (made, change) in enumerate(read):
            change()
            self._over[i], self._n_steps = bool(made["over"]), int(made["steps"])
            self._guard.take_seed(i, *made["guard"])
            for array, row in zip(self._arrays, made["rows"], strict=True):
                array[i] = row
            self._rewards[i], self._terminations[i], self._truncations[i] = made["row"]
            self._mask_from = str(made["mask_from"])
            if made["mask"] is not None:
                self.action_masks[i] = made["mask"]
