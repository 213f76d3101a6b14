"""What the checks have in common: their error and its words, the call of a student's function."""

import random
import sys
import textwrap
import traceback
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppo_bbrl.errors import one_line

STUB = "Not implemented yet"
WIDTH = 96
LISTED = 6  # of what a student's function returned; of more, the first ones

#: classes of what a student's function may return, besides those that are written in C
PLAIN = (
    *(Tensor, nn.Parameter, np.ndarray),
    *(bool, int, float, complex, Fraction, Decimal, str, bytes),
    *(tuple, list, set, frozenset, dict, OrderedDict, defaultdict, Counter),
)
PYTHON_CLASS = 1 << 9  # Python's flag of a class that is made while it runs
ASKED = ("__eq__", "__ne__", "__len__", "__iter__", "__getitem__", "__contains__", "__hash__")
DEEPEST = 10
LARGEST = sys.float_info.max


class ExerciseError(AssertionError):
    """A student's function is not right yet; the message says what was seen and where to look.

    Notebooks show the message alone, without the lines of the check.

    Attributes:
        keys: the mistakes, as `words.toml` names them. "not-written" and "raises" come from `call`;
            the latter may have the key of a hint behind it.
        alike: whether another such error is about the same results, as far as the check compared
            them; `Exercise.compare` sets it.
        results: those that it compared.
        share: of the marks, earned by the parts that are right; the check sets it, nobody else.
    """

    def __init__(self, message: str, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)
        self.share = 0.0
        self.results: Sequence[Any] = ()
        self.alike: Callable[[ExerciseError], bool] = lambda _other: True

    def _render_traceback_(self) -> list[str]:
        # A notebook's output would break words.
        shape: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
        return [
            part
            for line in str(self).splitlines()
            for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ", **shape)
        ]


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Put the global random streams back as they were: torch's, NumPy's and Python's."""
    torch_state, numpy_state, state = (
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002 - the stream that a student's function may draw from
        random.getstate(),
    )
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(state)


class Named:
    """A call of code under the name of messages; the line of an error is looked for in another."""

    def __init__(self, name: str, run: Callable[..., Any], written_in: Any) -> None:
        self.__name__, self.__code__ = name, getattr(written_in, "__code__", None)
        self._run = run

    def __call__(self, *args: Any) -> Any:
        """What the student's code returns."""
        return self._run(*args)


def call(
    function: Callable[..., Any], *args: Any, hint: Callable[[Exception], tuple[str, str]]
) -> Any:
    """Call a student's function; whatever it raises becomes an `ExerciseError` with its line.

    Args:
        function: the student's.
        args: its arguments.
        hint: what to say about an exception besides its own message, and the key; may be empty.

    Raises:
        ExerciseError: if the function raises, or what it returns is of a class that the student
            made and that could answer to every comparison as it likes.
    """
    name = getattr(function, "__name__", "the function")
    precision = torch.get_default_dtype()
    try:
        result = function(*args)
    except Exception as error:  # a student's code may raise anything
        # torch raises NotImplementedError, too, and says for which type.
        empty = isinstance(error, NotImplementedError) and not str(error)
        if empty or (
            isinstance(error, AssertionError | NotImplementedError) and STUB in str(error)
        ):
            keys = ["not-written"]
            message = (
                f"{name} is not written yet ('{STUB}').\n"
                f"Where to look: replace the line `assert False, '{STUB}'` by your own lines."
            )
        else:
            # A KeyError's own text is quoted and escaped.
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            told = one_line(text)
            message = f"{name} raises {type(error).__name__}: {told}\n{_where(function, error)}"
            key, said = hint(error)
            keys = ["raises", *([key] if key else [])]
            message += f"\nWhere to look: {said}" if said else ""
        raise ExerciseError(message, keys) from error
    finally:
        torch.set_default_dtype(precision)  # a function may set its own; the check has this one
    _check_plain(name, result)
    return result


def _check_plain(name: str, result: Any, depth: int = 0) -> None:
    """Raise if something in what was returned could answer to a comparison as it likes.

    Numbers, texts, containers and tensors have to be of the usual classes; a named tuple is one.
    """
    kind = type(result)
    if not _is_plain(kind):
        wrong = f"it returns a {kind.__name__}, a class of its own"
        look = "what is returned: a plain tensor, number, text, tuple, list or dict is expected"
        raise not_right(name, wrong, look, key="own-class")
    if isinstance(result, int | Fraction) and not -LARGEST <= result <= LARGEST:
        wrong = "it returns a number of more than 300 digits"
        look = "a power, or a product in a loop, that grows without end"
        raise not_right(name, wrong, look, key="too-large")
    if isinstance(result, tuple | list | set | frozenset | dict) and depth < DEEPEST:
        for item in (*result, *(result.values() if isinstance(result, dict) else ())):
            _check_plain(name, item, depth + 1)


def _is_plain(kind: type) -> bool:
    if kind in PLAIN or not kind.__flags__ & PYTHON_CLASS:
        return True
    if issubclass(kind, tuple) and kind.__mro__[1:] == (tuple, object):
        return all(getattr(kind, method) is getattr(tuple, method) for method in ASKED)
    # Neither numbers nor containers: models, distributions, functions.
    known = issubclass(kind, (*PLAIN, np.generic))
    return not known and all(getattr(kind, each) is getattr(object, each) for each in ASKED[:2])


def _where(function: Callable[..., Any], error: Exception) -> str:
    """The innermost line of the student's own code, or that it was never reached."""
    code = getattr(function, "__code__", None)
    file = code.co_filename if isinstance(code, CodeType) else None
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if frame.filename == file]
    if not frames:
        return "The call itself failed, before the first line of the function."
    return f"It happens in line {frames[-1].lineno} of the cell: {frames[-1].line}"


def not_right(name: str, wrong: str, look: str, *facts: str, key: str = "") -> ExerciseError:
    """The error about one mistake: what is wrong, and where to look, without full stops."""
    return all_not_right(name, [(wrong, look)], *facts, keys=[key] if key else [])


def all_not_right(
    name: str, mistakes: Sequence[tuple[str, str]], *facts: str, keys: Sequence[str] = ()
) -> ExerciseError:
    """The error about several mistakes at once, each as what is wrong and where to look."""
    if len(mistakes) == 1:
        ((wrong, look),) = mistakes
        lines = [f"{name} is not right yet: {wrong}.", *facts, f"Where to look: {look}."]
    else:
        lines = [
            f"{name} is not right yet. Probably {len(mistakes)} things are wrong:",
            *(f"- {wrong}." for wrong, _ in mistakes),
            *facts,
            "Where to look:",
            *(f"- {look}." for _, look in mistakes),
        ]
    return ExerciseError("\n".join(lines), keys)


def describe(thing: Any) -> str:
    """What a student's function returned, in words: shapes of tensors, types of the rest."""
    if isinstance(thing, Tensor):
        return f"a tensor of shape {list(thing.shape)}" if thing.dim() else "a scalar tensor"
    if thing is None:
        return "None"
    if isinstance(thing, tuple | list):
        items = [describe(item) for item in thing[:LISTED]]
        return f"{len(thing)} values: {', '.join(items)}{', …' if len(thing) > LISTED else ''}"
    return f"a {type(thing).__name__}"


def number(scalar: Tensor) -> str:
    """A scalar tensor with four digits."""
    return f"{scalar.item():.4g}"


def numbers(tensor: Tensor) -> str:
    """A tensor's entries with three decimals, in one row."""
    return "[" + ", ".join(f"{entry:.3f}" for entry in tensor.flatten().tolist()) + "]"


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, whatever their shapes, up to rounding."""
    if one.numel() != other.numel():
        return False
    one, other = one.detach().flatten().double(), other.detach().flatten().double()
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
