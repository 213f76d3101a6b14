"""The check of notebook 09's third exercise: minibatches, none of them made before its time."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby, islice, product
from typing import Any, NamedTuple

from ppo_course.feedback import ExerciseError, Named, describe
from ppo_course.mistakes import Exercise, StudentCode, read_words

EXERCISE = Exercise("minibatch_stream", (), read_words(__file__))
Events = list[tuple[str, Any]]
Facts = tuple[str, ...]


class Minibatch(NamedTuple):
    """A minibatch, as a name: of which rollout, of which time it was split, and its number."""

    rollout: int
    epoch: int
    number: int


class Case(NamedTuple):
    """What a student's function is asked."""

    n_rollouts: int  # that it shall collect
    n_epochs: int  # over each
    n_parts: int  # minibatches of an epoch
    # the minibatches for which the policy has gone too far, at most one of a rollout
    stops: tuple[Minibatch, ...] = ()

    def __str__(self) -> str:
        places = [
            f"rollout {b.rollout + 1}, epoch {b.epoch + 1}, minibatch {b.number + 1}"
            for b in self.stops
        ]
        stop = f"; too_far is True in {' and in '.join(places)}" if places else ""
        return (
            f"  Example: {self.n_rollouts} rollouts, {self.n_epochs} epochs over each, "
            f"{self.n_parts} minibatches in an epoch{stop}."
        )

    @property
    def whole(self) -> list[Minibatch]:
        """All minibatches, as if nothing were too far."""
        sizes = (self.n_rollouts, self.n_epochs, self.n_parts)
        return [Minibatch(*place) for place in product(*map(range, sizes))]

    @property
    def right(self) -> list[Minibatch]:
        """The minibatches that get a step."""
        stops = {stop.rollout: stop for stop in self.stops}
        return [b for b in self.whole if b.rollout not in stops or b < stops[b.rollout]]

    @property
    def trace(self) -> list[str]:
        """What happens when it is right."""
        recorder = Recorder(self)
        recorder.train(right)
        return [name for name, _ in recorder.events]


def right(
    collect: Callable[[], Any],
    split: Callable[[Any], Iterable[Any]],
    too_far: Callable[[Any], bool],
    num_rollouts: int,
    epochs_per_rollout: int,
) -> Iterator[Any]:
    """The minibatches in their order."""

    def of(rollout: Any) -> Iterator[Any]:
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    return
                yield batch

    for _ in range(num_rollouts):
        yield from of(collect())


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
        return batch in self.case.stops

    def train(self, function: StudentCode) -> list[tuple[str, Any]]:
        """What Lightning does with the stream: a step on each minibatch. The stub is called here.

        It ends after twice as many minibatches as there should be.
        """
        case = self.case
        asked = (self.collect, self.split, self.too_far, case.n_rollouts, case.n_epochs)
        stream: Any = function(*asked)
        if not isinstance(stream, Iterable) or isinstance(stream, Collection):
            return [("returned", stream)]
        self.events.append(("begin", None))
        for batch in islice(iter(stream), 2 * len(case.whole) + 1):
            self.events.append(("step", batch))
        return self.events


def cases(seed: int | None) -> list[Case]:
    """Without a stop, then with stops at each kind of place, alone and in two rollouts."""
    if seed is None:
        return [
            Case(3, 2, 2),
            Case(3, 3, 3, (Minibatch(0, 1, 1),)),
            Case(3, 3, 3, (Minibatch(0, 0, 1), Minibatch(1, 1, 0))),
            Case(3, 3, 3, (Minibatch(0, 1, 2), Minibatch(2, 2, 2))),
        ]
    source = random.Random(seed)

    def sizes() -> tuple[int, int, int]:
        # Never as many epochs as rollouts: who exchanges them is to be found.
        n_rollouts, n_epochs = source.choice([(3, 4), (4, 3), (5, 3), (5, 4)])
        return n_rollouts, n_epochs, source.randint(3, 6)

    def inner(n: int) -> int:
        return source.randint(1, n - 2)

    chosen = [Case(*sizes())]
    for kind in range(3):
        n_rollouts, n_epochs, n_parts = sizes()
        last = n_parts - 1
        # In one case rollouts follow both stops.
        first, second = sorted(source.sample(range(n_rollouts - (kind == 1)), 2))
        places = (
            ((inner(n_epochs), inner(n_parts)),),
            ((0, inner(n_parts)), (inner(n_epochs), 0)),
            ((inner(n_epochs), last), (source.choice([0, n_epochs - 1]), last)),
        )[kind]
        stops = tuple(Minibatch(r, *at) for r, at in zip((first, second), places, strict=False))
        chosen.append(Case(n_rollouts, n_epochs, n_parts, stops))
    return chosen


def told(names: Iterable[str], also: str = "", *, first_rollout: bool = False) -> str:
    """The order of collecting, learning, and of another kind of event, in a line."""
    wanted = [name for name in names if name in {"collect", "step", also}]
    if first_rollout and wanted.count("collect") > 1:
        wanted = wanted[: wanted.index("collect", wanted.index("collect") + 1)]
    runs = [(name, len(list(group))) for name, group in groupby(wanted)]
    parts = [name if n == 1 else f"{n} × {name}" for name, n in runs]
    # Again for pairs: a question before each step, steps after each split.
    pairs: list[str] = []
    while parts:
        pair = parts[:2]
        n = 1
        while len(pair) == 2 and parts[2 * n : 2 * n + 2] == pair:
            n += 1
        if n > 1:
            pairs.append(f"{n} × ({', '.join(pair)})")
            del parts[: 2 * n]
        else:
            pairs.append(parts.pop(0))
    return ", ".join(pairs) or "nothing"


@EXERCISE.check
def check_minibatch_stream(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `minibatch_stream(collect, split, too_far, num_rollouts, epochs_…)`.

    It is a generator: it collects a rollout, gives the minibatches of some epochs over it, and
    collects the next one only then. Where too_far(minibatch), it goes on to the next rollout.
    """
    for case in cases(seed):
        # Its stream is run to the end.
        run = Named(EXERCISE.name, Recorder(case).train, function)
        events: Events = EXERCISE.call(run, function)
        first, result = events[0]
        if first == "returned":
            EXERCISE.expect(result, "made-before", "a generator")
        facts = _facts(case, events)
        steps = [batch for name, batch in events if name == "step"]
        EXERCISE.refuse(not steps, "none-comes", facts=facts)
        for batch in steps:
            if not isinstance(batch, Minibatch):
                expected = "a minibatch that split gave"
                raise EXERCISE.error("odd", seen=describe(batch), expected=expected)
        _check_time(events, facts)
        _check_rollouts(case, events, facts)
        if not case.stops:
            _check_questions(case, events)
        _check_steps(case, events, steps, facts)


def _facts(case: Case, events: Events, also: str = "") -> Facts:
    """What happened; with another kind of event in it, in the first rollout."""
    rows = {"seen": [name for name, _ in events], "expected": case.trace}
    first = also != ""
    lines = (f"  {label:<10}{told(it, also, first_rollout=first)}" for label, it in rows.items())
    return (str(case), *lines)


def _check_time(events: Events, facts: Facts) -> None:
    """Whether a rollout was collected while a minibatch of an earlier one waited for its step."""
    for index, (name, number) in enumerate(events):
        if name != "collect" or number == 0:
            continue
        waiting = [b for n, b in events[index:] if n == "step" and b.rollout < number]
        done = [b for n, b in events[:index] if n == "step"]
        if waiting:
            key = "collected-early" if done else "all-collected-first"
            raise EXERCISE.error(key, facts=facts, later=number + 1, earlier=number)


def _check_rollouts(case: Case, events: Events, facts: Facts) -> None:
    collected = sum(name == "collect" for name, _ in events)
    steps = {batch.rollout for name, batch in events if name == "step"}
    if collected == case.n_rollouts:
        return
    key = "rollouts-missing"
    if collected > case.n_rollouts and max(steps) < case.n_rollouts:
        key = "one-rollout-more"
    elif not case.stops and collected == case.n_epochs:
        key = "rollouts-and-epochs"
    elif collected > case.n_rollouts:
        key = "rollout-of-epoch"
    elif any(collected == stop.rollout + 1 for stop in case.stops):
        key = "ends-everything"
    raise EXERCISE.error(key, facts=facts)


def _check_questions(case: Case, events: Events) -> None:
    """Whether too_far is asked about a minibatch right before its step; there is no stop."""
    facts = _facts(case, events, "ask")
    EXERCISE.refuse(not any(name == "ask" for name, _ in events), "never-asked", facts=facts)
    unasked, pending = [], []
    last: Minibatch | None = None
    for name, batch in events:
        if name == "ask":
            EXERCISE.refuse(batch == last, "asked-after", facts=facts)
            pending.append(batch)
            EXERCISE.refuse(len(pending) > 1, "asked-about-several", facts=facts)
        elif name == "step":
            # The ratios of a rollout's first minibatch are 1: there is nothing to be asked.
            if batch not in pending and (batch.epoch, batch.number) != (0, 0):
                unasked.append(batch)
            last, pending = batch, []
    if unasked:
        key = "some-unasked"
        if all(batch.epoch == 0 for batch in unasked):
            key = "first-epoch-unasked"
        elif all(batch.number == 0 for batch in unasked):
            key = "first-minibatch-unasked"
        raise EXERCISE.error(key, facts=facts)


def _check_steps(case: Case, events: Events, steps: list[Minibatch], facts: Facts) -> None:
    if steps == case.right:
        return
    if not case.stops:
        raise _wrong_epochs(case, events, steps, facts)
    beyond = [batch for batch in steps if batch not in case.right]
    missing = [batch for batch in case.right if batch not in steps]
    for stop in case.stops:
        after = [batch for batch in beyond if batch.rollout == stop.rollout and batch > stop]
        EXERCISE.refuse(stop in steps, "step-too-far", facts=facts)
        if any(batch.epoch == stop.epoch for batch in after):
            raise EXERCISE.error("rest-goes-on", facts=facts)
        EXERCISE.refuse(after, "epoch-ends-only", facts=facts)
    later = missing and all(batch.rollout > case.stops[0].rollout for batch in missing)
    raise EXERCISE.error("rollouts-after-missing" if later else "wrong-left-out", facts=facts)


def _wrong_epochs(
    case: Case, events: Events, steps: list[Minibatch], facts: Facts
) -> ExerciseError:
    """The error about minibatches that are not those of all epochs; there is no stop."""
    n_splits = sum(name == "split" for name, _ in events)
    key = "order"
    if max(batch.epoch for batch in steps) == 0:
        key = "one-epoch"
        if len(steps) > case.n_rollouts * case.n_parts:
            key, facts = "same-minibatches", _facts(case, events, "split")
    elif n_splits > case.n_rollouts * case.n_epochs:
        key = "too-many-epochs"
    return EXERCISE.error(key, facts=facts)
