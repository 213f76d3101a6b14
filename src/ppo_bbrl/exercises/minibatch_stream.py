"""The check of notebook 09's third exercise: minibatches, none of them made before its time."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Any, NamedTuple

from ppo_bbrl.exercises.feedback import call, describe, not_right, untouched_randomness

NAME = "minibatch_stream"

#: (collect, split, too_far, num_rollouts, epochs_per_rollout) → minibatches
MinibatchStream = Callable[..., Iterable[Any]]


class Minibatch(NamedTuple):
    """A minibatch, as a name: of which rollout, of which time it was split, and its number."""

    rollout: int
    epoch: int
    number: int


class Case(NamedTuple):
    """What a student's function is asked.

    Attributes:
        n_rollouts: that it shall collect.
        n_epochs: over each.
        n_parts: minibatches of an epoch.
        stop: the minibatch for which the policy has gone too far; None: never.
    """

    n_rollouts: int
    n_epochs: int
    n_parts: int
    stop: Minibatch | None = None

    def __str__(self) -> str:
        stop = (
            f"; too_far is True once, in rollout {self.stop.rollout + 1}, epoch "
            f"{self.stop.epoch + 1}, minibatch {self.stop.number + 1}"
            if self.stop
            else ""
        )
        return (
            f"  Example: {self.n_rollouts} rollouts, {self.n_epochs} epochs over each, "
            f"{self.n_parts} minibatches in an epoch{stop}."
        )

    @property
    def whole(self) -> list[Minibatch]:
        """All minibatches, as if nothing were too far."""
        return [
            Minibatch(r, e, k)
            for r in range(self.n_rollouts)
            for e in range(self.n_epochs)
            for k in range(self.n_parts)
        ]

    @property
    def right(self) -> list[Minibatch]:
        """The minibatches that get a step."""
        stop = self.stop
        return [b for b in self.whole if not (stop and b.rollout == stop.rollout and b >= stop)]

    @property
    def trace(self) -> list[str]:
        """What happens when it is right."""
        steps = [(r, [b for b in self.right if b.rollout == r]) for r in range(self.n_rollouts)]
        return [each for _, batches in steps for each in ("collect", *("step" for _ in batches))]


class Recorder:
    """A collector, a splitter and a judge that note when they are asked; and a Trainer."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.events: list[tuple[str, Any]] = []

    def collect(self) -> str:
        """A rollout, collected now."""
        number = sum(name == "collect" for name, _ in self.events)
        self.events.append(("collect", number))
        return f"rollout {number + 1}"

    def split(self, rollout: str) -> Iterator[Minibatch]:
        """Its minibatches, shuffled anew each time."""
        number = int(str(rollout).removeprefix("rollout ")) - 1
        epoch = sum(name == "split" and of == number for name, of in self.events)
        self.events.append(("split", number))
        return iter([Minibatch(number, epoch, k) for k in range(self.case.n_parts)])

    def too_far(self, batch: Minibatch) -> bool:
        """Whether a minibatch should get no step any more."""
        self.events.append(("ask", batch))
        return batch == self.case.stop

    def train(self, function: MinibatchStream) -> list[tuple[str, Any]]:
        """What Lightning does with the stream: a step on each minibatch. The stub is called here.

        It ends after twice as many minibatches as there should be.
        """
        case = self.case
        stream = function(self.collect, self.split, self.too_far, case.n_rollouts, case.n_epochs)
        if not isinstance(stream, Iterator):
            return [("returned", stream)]
        self.events.append(("begin", None))
        for batch in islice(stream, 2 * len(case.whole) + 1):
            self.events.append(("step", batch))
        return self.events


class _Run:
    """The student's function with its stream run to the end, to be called like the function."""

    def __init__(self, function: MinibatchStream) -> None:
        self.__name__ = NAME
        self.__code__ = getattr(function, "__code__", None)
        self._function = function

    def __call__(self, recorder: Recorder) -> Any:
        return recorder.train(self._function)


def cases(seed: int | None) -> list[Case]:
    """Without a stop, then with one in the middle of an epoch that is not the last one."""
    if seed is None:
        return [Case(3, 2, 2), Case(3, 3, 3, stop=Minibatch(0, 1, 1))]
    source = random.Random(seed)

    def sizes() -> tuple[int, int, int]:
        # Never as many epochs as rollouts: who exchanges them is to be found.
        n_epochs = source.randint(3, 4)
        return n_epochs + source.choice([-1, 1, 2]), n_epochs, source.randint(3, 6)

    n_rollouts, n_epochs, n_parts = sizes()
    stop = Minibatch(
        source.randint(0, n_rollouts - 2),
        source.randint(1, n_epochs - 2),
        source.randint(1, n_parts - 2),
    )
    return [Case(*sizes()), Case(n_rollouts, n_epochs, n_parts, stop)]


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
            events = call(_Run(function), Recorder(case), hint=_hint)
            _check_kind(events)
            facts = (
                str(case),
                f"  seen      {_told([name for name, _ in events])}",
                f"  expected  {_told(case.trace)}",
            )
            _check_minibatches(events, facts)
            _check_time(events, facts)
            _check_rollouts(case, events, facts)
            _check_questions(case, events, facts)
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
    if case.stop is None and collected == case.n_epochs:
        wrong, look = "rollouts and epochs are exchanged", "the outer loop: range(num_rollouts)"
    elif collected > case.n_rollouts:
        wrong = "each epoch collects a rollout of its own"
        look = "collect() stands before the loop over the epochs"
    elif case.stop and max(steps, default=0) == case.stop.rollout:
        wrong = "too_far ends everything: the next rollouts never come"
        look = "leave the epochs over this rollout, not the function"
    else:
        wrong, look = "rollouts are missing", "the outer loop: range(num_rollouts)"
    raise not_right(NAME, wrong, look, *facts)


def _check_questions(case: Case, events: list[tuple[str, Any]], facts: tuple[str, ...]) -> None:
    """Whether too_far is asked about a minibatch right before its step."""
    asked = [batch for name, batch in events if name == "ask"]
    if not asked:
        raise not_right(
            NAME,
            "too_far is never asked",
            "if too_far(batch): before batch is given away",
            *facts,
        )
    last: Minibatch | None = None
    pending = 0
    for name, batch in events:
        if name == "ask":
            if batch == last:
                raise not_right(
                    NAME,
                    "too_far is asked about a minibatch after its step",
                    "ask before yield: a minibatch that is too far gets no step",
                    *facts,
                )
            pending += 1
            if pending > 1 and not case.stop:
                raise not_right(
                    NAME,
                    "too_far is asked about several minibatches before their steps",
                    "the answer changes with each step: ask about one minibatch, yield it, then "
                    "ask about the next one",
                    *facts,
                )
        elif name == "step":
            last, pending = batch, 0
        elif name == "collect":
            pending = 0


def _check_steps(case: Case, events: list[tuple[str, Any]], facts: tuple[str, ...]) -> None:
    steps = [batch for name, batch in events if name == "step"]
    if steps == case.right:
        return
    splits = [number for name, number in events if name == "split"]
    if case.stop is None:
        if steps and max(batch.epoch for batch in steps) == 0 and case.n_epochs > 1:
            if len(steps) > case.n_rollouts * case.n_parts:
                wrong = "each epoch has the same minibatches"
                look = "split(rollout) shuffles: ask it again for each epoch"
            else:
                wrong = "there is only one epoch over each rollout"
                look = (
                    "for _ in range(epochs_per_rollout): with split(rollout) inside, as what it "
                    "gives can be gone through once"
                )
            raise not_right(NAME, wrong, look, *facts)
        if len(splits) > case.n_rollouts * case.n_epochs:
            wrong, look = "there are too many epochs", "range(epochs_per_rollout)"
        else:
            wrong, look = "minibatches are missing, or in a strange order", "each loop, by hand"
        raise not_right(NAME, wrong, look, *facts)
    after = [batch for batch in steps if batch.rollout == case.stop.rollout and batch > case.stop]
    if case.stop in steps:
        wrong = "the minibatch for which too_far is True gets a step"
        look = "ask before yield, and leave the loop before it"
    elif any(batch.epoch == case.stop.epoch for batch in after):
        wrong = "only this minibatch is left out, the rest of the rollout goes on"
        look = "all further minibatches of this rollout are left out: break, not continue"
    elif after:
        wrong = "only this epoch ends: the next epoch over the same rollout begins"
        look = (
            "break leaves the innermost loop alone; a function of its own for one rollout, with "
            "return, leaves both, or a generator that chains the epochs"
        )
    else:
        wrong, look = "the wrong minibatches are left out", "what happens where too_far is True"
    raise not_right(NAME, wrong, look, *facts)


def _told(names: list[str]) -> str:
    """The order of collecting and learning, in a line."""
    wanted = [name for name in names if name in {"collect", "step"}]
    parts = [(name, len(list(group))) for name, group in groupby(wanted)]
    return ", ".join(name if n == 1 else f"{n} × {name}" for name, n in parts) or "nothing"


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
