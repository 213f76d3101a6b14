"""Opening a checkpoint, which may be a stranger's: no module is imported because it names one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import lightning as pl

from ppo_bbrl.envs.names import check_trusted

#: while a checkpoint is opened: the names that the caller gives, which are trusted
_GIVEN: ContextVar[frozenset[str] | None] = ContextVar("_GIVEN", default=None)


class _CalledOnTheClass(classmethod):  # type: ignore[type-arg] # generic in newer Pythons alone
    """A class method that says so where it is called on an instance, which it would not load."""

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Any]:
        if instance is None:
            bound: Callable[..., Any] = super().__get__(instance, owner)
            return bound

        def refuse(*_: Any, **__: Any) -> Any:
            name = type(instance).__name__
            raise TypeError(f"a new model is what you get: {name}.load_from_checkpoint(…)")

        return refuse


class Opened(pl.LightningModule):
    """A module whose checkpoints may name environments."""

    @_CalledOnTheClass
    def load_from_checkpoint(
        cls,  # noqa: N805 - of a class method
        checkpoint_path: Any,
        *args: Any,
        trust: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Lightning's. A module that the file names as `module:Name-v0` is not imported.

        Args:
            checkpoint_path: of the file.
            args: Lightning's.
            trust: whether it may be. It need not be asked for a module that your program has
                imported, or that you name here.
            kwargs: Lightning's, and those of the model, which win over those of the file.

        Raises:
            UserError: if the model cannot be made without the module.
        """
        with _opening(kwargs, trust):
            model: Self = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        return model


def check_name(name: str) -> None:
    """Refuse the name of an environment that comes from a checkpoint and wants an import.

    Raises:
        UserError: naming it.
    """
    given = _GIVEN.get()
    if given is not None:
        check_trusted(name, name in given)


@contextmanager
def _opening(kwargs: Mapping[str, Any], trust: bool) -> Iterator[None]:
    names = frozenset(value for value in kwargs.values() if isinstance(value, str))
    token = _GIVEN.set(None if trust else names)
    try:
        yield
    finally:
        _GIVEN.reset(token)
