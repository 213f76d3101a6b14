"""One graded cell, tried: the student's code, the check, and then the check of the check.

This decides, in a thread of its own (`stage`). It asks nothing of a student's objects, which might
answer with code: that is a piece of work for the other thread, as the code itself.
"""

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import torch

import ppo_course
from ppo_course.grading.answers import demand_own
from ppo_course.grading.attempt import Task, answering, compiled, compiled_apart, lines_of
from ppo_course.grading.private import private
from ppo_course.grading.stage import Run
from ppo_course.grading.tampering import Look

Names = Mapping[str, Any]
#: the file of the engine, whose checks alone give marks for a part
MISTAKES = str(Path(ppo_course.__file__).with_name("mistakes.py"))
#: what `@torch.enable_grad()` makes of a function is between a cell and its check
ENABLES = torch.enable_grad()(lambda: None).__code__


def prepare(
    task: Task, definitions: Names, shown: Names, *, look: Callable[..., None], seen: Look
) -> Callable[[Run], tuple[str, ...]]:
    """Get ready for a task, so that nothing needs to be looked up once the student's code has run.

    The definitions are the names after the teacher's; `shown` is what a student's code gets of
    them. `look` is the hook of `watching.watch`, active in the main thread, `seen` what it saw.
    """
    check = compiled_apart(task.check, prefix="<")
    tries = [
        partial(
            private(_try),
            module_of(definitions),
            compiled(control, prefix="<"),
            module_of(definitions),
            check,
            task.names,
        )
        for control in task.controls
    ]
    pieces = (
        answering(task, module_of(shown)),
        partial(private(_taken), task.names),
        partial(private(_judge), module_of(definitions), check, task.names),
    )
    return partial(private(_run), pieces, tries, look, seen)


def _run(
    pieces: tuple[Callable[..., Any], ...],
    tries: Iterable[Callable[[], None]],
    look: Callable[..., None],
    seen: Look,
    run: Run,
) -> tuple[str, ...]:
    given: tuple[Any, ...] = ()
    profiler: Any = None
    for piece in pieces:
        done, raised = run(partial(piece, *given))
        if not done:
            if found := _found(seen, run):
                return _tampered(f"{found} while your code ran.")
            told, _ = run(partial(_told, raised[0]))
            return "failed", *(told[0][0] if told else ("Exception",))
        given, profiler = (done[0][0],), done[0][1]
    # Only whoever passed has anything to gain from a check that does not work.
    if found := _found(seen, run):
        return _tampered(f"{found} while your code ran.")
    if profiler is not look:
        return _tampered("your code ended the watch over it, as endless recursion does.")
    verdict = given[0]
    sys.stdout = io.StringIO()
    for control in tries:
        done, _ = run(control)
        if done:
            return _tampered("after your code ran, it lets wrong answers pass.")
    return ("partly", *verdict) if verdict else ("passed", "")


def _found(seen: Look, run: Run) -> str | None:
    """What the watch has seen; it compares names, and they may be of a class of the student's."""
    done, _ = run(seen)
    return done[0][0] if done else "something that keeps grading from comparing"


def _taken(names: tuple[str, ...], student: dict[str, Any]) -> list[Any]:
    """What the check takes from the student's code, by name: nothing else of it matters."""
    missing = [name for name in names if name not in student]
    if missing:
        raise NameError(f"no cell defines {' and '.join(missing)}")
    for name in names:
        demand_own(name, student[name])
    return [student[name] for name in names]


def _judge(
    module: ModuleType, check: tuple[CodeType, ...], names: tuple[str, ...], things: list[Any]
) -> tuple[str, ...]:
    """Run the graded cell with the teacher's names; of the student's, the exercise's alone.

    Returns:
        Nothing if all of it passes. Where parts of the answer are right in each of its statements,
        the share of the marks and what to say.
    """
    vars(module).update(zip(names, things, strict=True))
    # Not the check's own names: the student's code could replace its hidden tests from there.
    sys.modules["__main__"] = module_of(vars(module))
    least, told = 1.0, tuple[str, ...]()
    for statement in check:
        try:
            exec(statement, vars(module))
        except Exception as error:
            share = _share(error)
            if not share:
                raise
            least, told = min(least, share), told or _told(error)
    return (f"{least:.6f}", *told) if told else ()


def _share(error: BaseException) -> float:
    """The share of the marks that a check says are earned, if it is a check that says so."""
    trace, share = error.__traceback__, getattr(error, "share", 0.0)
    # This frame, the cell's, then the check's wrapper, which sets the share of all it lets through.
    for _ in range(2):
        trace = trace and trace.tb_next
    if trace and trace.tb_frame.f_code is ENABLES:
        trace = trace.tb_next
    code = trace and trace.tb_frame.f_code
    if not code or code.co_name != "check" or code.co_filename != MISTAKES:
        return 0.0
    return share if type(share) is float and 0 < share < 1 else 0.0


def _try(
    module: ModuleType,
    control: CodeType,
    judged_in: ModuleType,
    check: tuple[CodeType, ...],
    names: tuple[str, ...],
) -> None:
    """Run the graded cell with a wrong solution."""
    sys.modules["__main__"] = module
    exec(control, vars(module))
    if _judge(judged_in, check, names, [vars(module)[name] for name in names]):
        raise AssertionError


def _told(error: BaseException) -> tuple[str, ...]:
    """What a message says of an error: nothing but strings of Python's own."""
    return tuple("".join(line) for line in (type(error).__name__, *lines_of(error)))


def _tampered(why: str) -> tuple[str, ...]:
    return (
        "tampered",
        "CheckDisturbed",
        f"The check could not be trusted: {why}",
        "Where to look: leave the functions of the packages as they are, in all your cells.",
    )


def module_of(names: Names) -> ModuleType:
    """A notebook, whose globals are what the definitions left there."""
    module = ModuleType("__main__")
    vars(module).update({key: value for key, value in names.items() if not key.startswith("__")})
    return module
