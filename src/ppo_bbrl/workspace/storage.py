"""Storage of a variable: preallocated, or row by row with gradients, or the two newest rows."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class TemporalTensor:
    """One variable of a workspace, `[T, B, …]`: preallocated, or a list of rows with gradients.

    It has the methods of bbrl's `SlicedTemporalTensor`.
    """

    def __init__(self, name: str = "variable", capacity: int = 16) -> None:
        self.name = name
        self._capacity = capacity
        self._length = 0
        self._storage: Tensor | None = None
        self._array: Array | None = None  # the storage as an array, made on first use
        self._rows: list[Tensor] | None = None  # used while some row requires grad

    # Reading. All results are copies, except those of `view`, `row_view` and `row_array`.

    def time_size(self) -> int:
        """The number of rows, T."""
        return self._length

    def batch_size(self) -> int:
        """The number of environments, B."""
        return self._template().shape[0]

    def get(self, t: int, batch_dims: Any = None) -> Tensor:
        """A copy of row t, `[B, …]`, with its gradient if it has one."""
        self._no_batch_dims(batch_dims)
        self._check_time(t)
        if self._rows is not None:
            return self._rows[t].clone()
        return self.row_view(t).clone()

    def get_full(self, batch_dims: Any = None) -> Tensor:
        """A copy of all rows, `[T, B, …]`, with their gradients if they have any."""
        self._no_batch_dims(batch_dims)
        if self._rows is not None:
            return torch.stack(self._rows)
        return self.view().clone()

    def get_time_truncated(self, from_time: int, to_time: int, batch_dims: Any = None) -> Tensor:
        """A copy of rows from_time to to_time - 1, or to the last row if there are fewer."""
        self._no_batch_dims(batch_dims)
        if not 0 <= from_time < to_time:
            raise ValueError(f"{self.name}: no rows between {from_time} and {to_time}")
        if self._rows is not None:
            return torch.stack(self._rows[from_time:to_time])
        return self.view()[from_time:to_time].clone()

    def view(self) -> Tensor:
        """The storage itself, `[T, B, …]`: later writes show in it."""
        if self._rows is not None:
            raise ValueError(f"{self.name} has rows with gradients, so it is not a single tensor")
        if self._storage is None:
            raise ValueError(f"{self.name} is empty")
        return self._storage[: self._length]

    def row_view(self, t: int) -> Tensor:
        """Row t of the storage itself, `[B, …]`."""
        self._check_time(t)
        if self._rows is not None:
            return self._rows[t]
        assert self._storage is not None
        return self._storage[t]

    def row_array(self, t: int) -> Array:
        """Row t of the storage itself as an array, `[B, …]`; any gradient is left out."""
        if self._array is None or t >= self._length:
            checked = self.row_view(t)
            if self._rows is not None:
                return checked.detach().numpy()
            assert self._storage is not None
            self._array = self._storage.numpy()
        row: Array = self._array[t]
        return row

    # Writing.

    def set(self, t: int, value: Tensor, batch_dims: Any = None) -> None:
        """Write row t, `[B, …]`; skipped rows are 0.

        Raises:
            ValueError: if its shape, dtype or device differs from the other rows'.
        """
        self._no_batch_dims(batch_dims)
        self._check_row(t, value)
        if value.requires_grad and self._rows is None:
            self._rows = [] if self._storage is None else list(self.view().clone().unbind(0))
            self._replace(None)
        if self._rows is not None:
            while len(self._rows) <= t:
                self._rows.append(torch.zeros_like(value))
            self._rows[t] = value.clone()
            self._length = len(self._rows)
            return
        self.writable(t, value)[t] = value

    def writable(self, t: int, like: Tensor) -> Tensor:
        """The storage, with room for row t; rows have the shape and dtype of `like`."""
        if self._rows is not None:
            raise ValueError(f"{self.name} has rows with gradients: write to another name")
        if t == 0:  # in-place writing begins here; broadcasting would hide a wrong shape
            self._check_row(t, like)
        if self._storage is None:
            room = max(self._capacity, t + 1)
            self._replace(like.new_zeros((room, *like.shape)))
        elif t >= self._storage.shape[0]:
            grown = self._storage.new_zeros((max(2 * self._storage.shape[0], t + 1), *like.shape))
            grown[: self._length] = self._storage[: self._length]
            self._replace(grown)
        if t >= self._length:
            self._length = t + 1
        assert self._storage is not None
        return self._storage

    def put(self, t: int, row: Array, like: Tensor) -> None:
        """Write row t in place from an array: fast enough to use in every step.

        Args:
            t: the index of the row.
            row: the values, `[B, …]`.
            like: a tensor with the shape and dtype of the rows.
        """
        if self._array is None or t == 0 or t >= len(self._array):
            self._array = self.writable(t, like).numpy()
        elif t >= self._length:
            self._length = t + 1
        self._array[t] = row

    def _replace(self, storage: Tensor | None) -> None:
        self._storage, self._array = storage, None

    def set_full(self, value: Tensor, batch_dims: Any = None) -> None:
        """Replace all rows by `[T, B, …]`."""
        self._no_batch_dims(batch_dims)
        if value.requires_grad:
            self._replace(None)
            self._rows = list(value.clone().unbind(0))
            self._length = len(self._rows)
            return
        fits = (
            self._rows is None
            and self._storage is not None
            and self._storage.shape[1:] == value.shape[1:]
            and self._storage.dtype == value.dtype
            and self._storage.device == value.device
            and self._storage.shape[0] >= value.shape[0]
        )
        if fits:
            assert self._storage is not None
            self._storage[: value.shape[0]] = value
            self._storage[value.shape[0] :] = 0
        else:
            self._replace(value.clone())
            self._rows = None
        self._length = value.shape[0]

    def copy_time(self, from_time: int, to_time: int, n_steps: int) -> None:
        """Copy rows from_time to from_time + n_steps - 1 to the rows from to_time on."""
        for i in range(n_steps):
            if self._array is not None and max(from_time, to_time) + i < self._length:
                self._array[to_time + i] = self._array[from_time + i]
            else:
                self.set(to_time + i, self.get(from_time + i))

    def cut(self, n_rows: int) -> None:
        """Forget the rows from n_rows on."""
        self._length = min(self._length, n_rows)
        if self._rows is not None:
            del self._rows[n_rows:]

    def zero_grad(self) -> None:
        """Drop the gradients; return to preallocated storage."""
        if self._rows is not None:
            self._replace(torch.stack([row.detach() for row in self._rows]))
            self._rows = None

    def clear(self) -> None:
        """Remove all rows."""
        self._replace(None)
        self._rows, self._length = None, 0

    # Deriving.

    def select_batch(self, batch_indexes: Tensor) -> "TemporalTensor":
        """A variable with only the environments at these indices, in every row."""
        full = self.get_full()
        return self._derive(full[:, batch_indexes.to(full.device)])

    def subtime(self, from_t: int, to_t: int) -> "TemporalTensor":
        """A variable with only the rows from_t to to_t - 1."""
        return self._derive(self.get_full()[from_t:to_t])

    def to(self, device: torch.device) -> "TemporalTensor":
        """A copy on another device."""
        return self._derive(self.get_full().to(device))

    def _derive(self, full: Tensor) -> "TemporalTensor":
        derived = TemporalTensor(self.name)
        derived.set_full(full)
        return derived

    def _template(self) -> Tensor:
        if self._rows:
            return self._rows[0]
        if self._storage is not None:
            return self._storage[0]
        raise ValueError(f"{self.name} is empty")

    def _check_row(self, t: int, value: Tensor) -> None:
        if self._length == 0:
            return
        row = self._template()
        if value.shape != row.shape or value.dtype != row.dtype or value.device != row.device:
            raise ValueError(
                f"{self.name} at t={t}: rows are {list(row.shape)} {row.dtype} on {row.device}, "
                f"this one is {list(value.shape)} {value.dtype} on {value.device}"
            )

    def _check_time(self, t: int) -> None:
        if not 0 <= t < self._length:
            raise IndexError(f"{self.name} has rows 0 to {self._length - 1}, not {t}")

    def _no_batch_dims(self, batch_dims: Any) -> None:
        if batch_dims is not None:
            raise ValueError(f"{self.name}: batch dimensions need a shared workspace")


class RowsGone(BaseException):
    """Code asked for rows that were not kept.

    This is not an `Exception`, so that an agent that catches every failure to read an earlier row
    does not hide it.
    """


class NewestRows(TemporalTensor):
    """A variable that keeps only its two newest rows, so that memory does not grow.

    Row numbers count all rows. Reading or changing an earlier row, or all of them at once, raises
    `RowsGone`. Rows are detached.
    """

    def row_view(self, t: int) -> Tensor:
        """Row t of the storage itself, `[B, …]`."""
        self._check_time(t)
        assert self._storage is not None
        return self._storage[t % 2]

    def row_array(self, t: int) -> Array:
        """Row t of the storage itself as an array, `[B, …]`."""
        self._check_time(t)
        if self._array is None:
            assert self._storage is not None
            self._array = self._storage.numpy()
        row: Array = self._array[t % 2]
        return row

    def view(self) -> Tensor:
        """The storage itself, as long as it holds all rows."""
        if self._length > 2:
            raise RowsGone(f"{self.name}: only the two newest of its rows were kept")
        return super().view()

    def set(self, t: int, value: Tensor, batch_dims: Any = None) -> None:
        """Write row t, `[B, …]`; skipped rows are 0."""
        self._no_batch_dims(batch_dims)
        self._check_row(t, value)
        self._room(t, value)[t % 2] = value.detach()

    def put(self, t: int, row: Array, like: Tensor) -> None:
        """Write row t in place from an array with the shape and dtype of `like`."""
        if self._storage is None or t != self._length:
            self._room(t, like)
        else:
            self._length = t + 1
        if self._array is None:
            assert self._storage is not None
            self._array = self._storage.numpy()
        self._array[t % 2] = row

    def _room(self, t: int, like: Tensor) -> Tensor:
        if self._storage is None:
            self._replace(like.new_zeros((2, *like.shape)))
        assert self._storage is not None
        if t < self._length:
            self._check_time(t)
        for skipped in range(max(self._length, t - 1), t):
            self._storage[skipped % 2] = 0
        self._length = max(self._length, t + 1)
        return self._storage

    def set_full(self, value: Tensor, batch_dims: Any = None) -> None:
        """Not allowed, since it would need all rows."""
        raise RowsGone(f"{self.name}: only the two newest of its rows are kept")

    def writable(self, t: int, like: Tensor) -> Tensor:
        """Not allowed, since row t is not at index t of the storage."""
        raise RowsGone(f"{self.name}: only the two newest of its rows are kept")

    def copy_time(self, from_time: int, to_time: int, n_steps: int) -> None:
        """Copy rows from_time to from_time + n_steps - 1 to the rows from to_time on."""
        for i in range(n_steps):
            self.set(to_time + i, self.get(from_time + i))

    def _check_time(self, t: int) -> None:
        super()._check_time(t)
        if t < self._length - 2:
            last = self._length - 1
            raise RowsGone(f"{self.name}: row {t} was not kept; the newest row is {last}")
