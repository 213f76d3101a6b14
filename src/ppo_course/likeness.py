"""Which slip in a right solution a wrong answer behaves like, where a check knows no mistake.

The solutions of the notebooks are in `references.json`, by the names of their checks; `make
notebooks` writes it. Each is tried with every slip (`slips`); one of which the check says the same,
to the last digit, of the same results has what the student's answer has.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from ppo_course.feedback import ExerciseError
from ppo_course.slips import slips

SECONDS = 2.0  # of processor time


@functools.cache
def solutions() -> Mapping[str, Mapping[str, Any]]:
    """The solutions by the names of their checks: their text, and what a check takes of it.

    Where submissions are graded, the file is out of reach of a check: this is called before.
    """
    text = Path(__file__).with_name("references.json").read_text(encoding="utf-8")
    found: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return found


def likeness(
    check: str, run: Callable[..., None], things: Sequence[Any], error: ExerciseError, **kwargs: Any
) -> str | None:
    """How a solution differs of which a check says the same; None if it says so of none.

    Args:
        check: its name.
        run: the check itself, which raises.
        things: the student's, as the check got them.
        error: what it says.
        kwargs: its further arguments.
    """
    reference = solutions().get(check)
    names = _globals_of(things)
    if reference is None or names is None or len(reference["names"]) != len(things):
        return None
    end = time.process_time() + SECONDS
    for slip in slips(reference["text"]):
        if time.process_time() > end:
            return None
        world = dict(names)
        try:
            # The package's own solution, with a slip that `slips` has made.
            exec(compile(slip.tree, "<reference>", "exec"), world)
            run(*(world[name] for name in reference["names"]), **kwargs)
        except ExerciseError as other:
            if other.args == error.args and error.alike(other):
                return slip.how
        except Exception:  # noqa: BLE001 - it may raise anything
            continue
    return None


def _globals_of(things: Sequence[Any]) -> dict[str, Any] | None:
    """What the student's notebook defines; the solution may need it."""
    for thing in things:
        parts = vars(thing).values() if isinstance(thing, type) else (thing,)
        for part in parts:
            if isinstance(part, FunctionType):
                return part.__globals__
    return None
