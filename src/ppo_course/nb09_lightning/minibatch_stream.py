"""The check of notebook 09's third exercise: minibatches, none of them made before its time."""

from typing import Any

from ppo_course.feedback import call, describe, not_right, untouched_randomness
from ppo_course.nb09_lightning.minibatch_stream_cases import (
    Case,
    Minibatch,
    MinibatchStream,
    Recorder,
    cases,
    told,
)
from ppo_course.student_code import Named

NAME = "minibatch_stream"


def check_minibatch_stream(function: MinibatchStream, *, seed: int | None = None) -> None:
    """Check a student's `minibatch_stream(collect, split, too_far, num_rollouts, epochs_…)`.

    It is a generator: it collects a rollout, gives the minibatches of some epochs over it, and
    collects the next one only then. Where too_far(minibatch), it goes on to the next rollout.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other numbers from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness():
        for case in cases(seed):
            run = Named(NAME, Recorder(case).train, function)
            events = call(run, function, hint=_hint)
            _check_kind(events)
            facts = (
                str(case),
                f"  seen      {told(name for name, _ in events)}",
                f"  expected  {told(case.trace)}",
            )
            _check_minibatches(events, facts)
            _check_time(events, facts)
            _check_rollouts(case, events, facts)
            if not case.stops:
                _check_questions(case, events)
            _check_steps(case, events, facts)
    if seed is None:
        print("Well done! Each rollout waits for the last step on the one before.")


def _check_kind(events: list[tuple[str, Any]]) -> None:
    name, result = events[0]
    if name != "returned":
        return
    facts = (f"  seen      {describe(result)}", "  expected  a generator")
    if result is None:
        raise not_right(
            NAME, "it gives no minibatches", "yield batch: one at a time, in the loop", *facts
        )
    raise not_right(
        NAME,
        "everything is made before the first step is taken",
        "no list and no return: yield batch, and the function waits there until the step is done",
        *facts,
    )


def _check_minibatches(events: list[tuple[str, Any]], facts: tuple[str, ...]) -> None:
    steps = [batch for name, batch in events if name == "step"]
    if not steps:
        raise not_right(NAME, "no minibatch comes", "yield batch, in the innermost loop", *facts)
    odd = [batch for batch in steps if not isinstance(batch, Minibatch)]
    if odd:
        raise not_right(
            NAME,
            "what it yields is no minibatch",
            "yield each of split(rollout), not all of them or the rollout: for batch in "
            "split(rollout)",
            f"  seen      {describe(odd[0])}",
            "  expected  a minibatch that split gave",
        )


def _check_time(events: list[tuple[str, Any]], facts: tuple[str, ...]) -> None:
    """Whether a rollout was collected while a minibatch of an earlier one waited for its step."""
    for index, (name, number) in enumerate(events):
        if name != "collect" or number == 0:
            continue
        waiting = [b for n, b in events[index:] if n == "step" and b.rollout < number]
        done = [b for n, b in events[:index] if n == "step"]
        if waiting and not done:
            raise not_right(
                NAME,
                "all rollouts are collected before the first step: all with the same weights",
                "collect() stands inside the loop over the rollouts",
                *facts,
            )
        if waiting:
            raise not_right(
                NAME,
                f"rollout {number + 1} is collected while a minibatch of rollout {number} waits "
                "for its step",
                "take nothing in advance: yield a minibatch before you ask for the next one",
                *facts,
            )


def _check_rollouts(case: Case, events: list[tuple[str, Any]], facts: tuple[str, ...]) -> None:
    collected = sum(name == "collect" for name, _ in events)
    steps = {batch.rollout for name, batch in events if name == "step"}
    if collected == case.n_rollouts:
        return
    if collected > case.n_rollouts and max(steps) < case.n_rollouts:
        wrong = "one rollout more is collected at the end, from which nothing is learned"
        look = "as many calls of collect() as num_rollouts, each right before its epochs"
    elif not case.stops and collected == case.n_epochs:
        wrong, look = "rollouts and epochs are exchanged", "the outer loop: range(num_rollouts)"
    elif collected > case.n_rollouts:
        wrong = "each epoch collects a rollout of its own"
        look = "collect() stands before the loop over the epochs"
    elif any(collected == stop.rollout + 1 for stop in case.stops):
        wrong = "too_far ends everything: the next rollouts never come"
        look = "leave the epochs over this rollout, not the function"
    else:
        wrong, look = "rollouts are missing", "the outer loop: range(num_rollouts)"
    raise not_right(NAME, wrong, look, *facts)


def _check_questions(case: Case, events: list[tuple[str, Any]]) -> None:
    """Whether too_far is asked about a minibatch right before its step; there is no stop."""
    facts = (
        str(case),
        f"  seen      {told((name for name, _ in events), 'ask', first_rollout=True)}",
        f"  expected  {told(case.trace, 'ask', first_rollout=True)}",
    )
    if not any(name == "ask" for name, _ in events):
        look = "if too_far(batch): before batch is given away"
        raise not_right(NAME, "too_far is never asked", look, *facts)
    unasked, pending = [], []
    last: Minibatch | None = None
    for name, batch in events:
        if name == "ask" and batch == last:
            raise not_right(
                NAME,
                "too_far is asked about a minibatch after its step",
                "ask before yield: a minibatch that is too far gets no step",
                *facts,
            )
        if name == "ask":
            pending.append(batch)
            if len(pending) > 1:
                raise not_right(
                    NAME,
                    "too_far is asked about several minibatches before their steps",
                    "the answer changes with each step: ask about one minibatch, yield it, then "
                    "ask about the next one",
                    *facts,
                )
        elif name == "step":
            # The ratios of a rollout's first minibatch are 1: there is nothing to be asked.
            if batch not in pending and (batch.epoch, batch.number) != (0, 0):
                unasked.append(batch)
            last, pending = batch, []
    if not unasked:
        return
    if all(batch.epoch == 0 for batch in unasked):
        wrong = "too_far is not asked in the first epoch over a rollout"
    elif all(batch.number == 0 for batch in unasked):
        wrong = "too_far is not asked about the first minibatch of an epoch"
    else:
        wrong = "minibatches get a step before which too_far is not asked"
    raise not_right(NAME, wrong, "ask before each yield: any step may be the one too far", *facts)


def _check_steps(case: Case, events: list[tuple[str, Any]], facts: tuple[str, ...]) -> None:
    steps = [batch for name, batch in events if name == "step"]
    if steps == case.right:
        return
    if not case.stops:
        raise _wrong_epochs(case, events, steps, facts)
    beyond = [batch for batch in steps if batch not in case.right]
    missing = [batch for batch in case.right if batch not in steps]
    for stop in case.stops:
        after = [batch for batch in beyond if batch.rollout == stop.rollout and batch > stop]
        if stop in steps:
            wrong = "the minibatch for which too_far is True gets a step"
            look = "ask before yield, and leave the loop before it"
        elif any(batch.epoch == stop.epoch for batch in after):
            wrong = "only this minibatch is left out, the rest of the rollout goes on"
            look = "all further minibatches of this rollout are left out: break, not continue"
        elif after:
            wrong = "only this epoch ends: the next epoch over the same rollout begins"
            look = (
                "break leaves the innermost loop alone; a function of its own for one rollout, "
                "with return, leaves both, or a generator that chains the epochs"
            )
        else:
            continue
        raise not_right(NAME, wrong, look, *facts)
    if missing and all(batch.rollout > case.stops[0].rollout for batch in missing):
        wrong = "after too_far, the next rollouts get no step, or too few"
        look = "what remembers that it is over is set back with each collect()"
    else:
        wrong, look = "the wrong minibatches are left out", "what happens where too_far is True"
    raise not_right(NAME, wrong, look, *facts)


def _wrong_epochs(
    case: Case, events: list[tuple[str, Any]], steps: list[Minibatch], facts: tuple[str, ...]
) -> Exception:
    """The error about minibatches that are not those of all epochs; there is no stop."""
    n_splits = sum(name == "split" for name, _ in events)
    if max(batch.epoch for batch in steps) == 0 and len(steps) > case.n_rollouts * case.n_parts:
        return not_right(
            NAME,
            "each epoch has the same minibatches",
            "split(rollout) shuffles: ask it again for each epoch",
            str(case),
            f"  seen      {told((name for name, _ in events), 'split', first_rollout=True)}",
            f"  expected  {told(case.trace, 'split', first_rollout=True)}",
        )
    if max(batch.epoch for batch in steps) == 0:
        wrong = "there is only one epoch over each rollout"
        look = (
            "for _ in range(epochs_per_rollout): with split(rollout) inside, as what it "
            "gives can be gone through once"
        )
    elif n_splits > case.n_rollouts * case.n_epochs:
        wrong, look = "there are too many epochs", "range(epochs_per_rollout)"
    else:
        wrong, look = "minibatches are missing, or in a strange order", "each loop, by hand"
    return not_right(NAME, wrong, look, *facts)


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return (
            "collect() takes nothing, split(rollout) and too_far(batch) take one thing; the "
            "function itself takes five"
        )
    if isinstance(error, TypeError) and ("len()" in text or "subscriptable" in text):
        return "what split gives can be gone through once, and has no length: for batch in …"
    return ""
