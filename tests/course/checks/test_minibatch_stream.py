"""The check of `minibatch_stream`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import itertools

import pytest
from estimates_testing import check_the_check, complaint
from seeds import SEEDS

from ppo_course import check_minibatch_stream

# ------------------------------------------------------------------------------- right answers


def by_a_second_generator(collect, split, too_far, num_rollouts, epochs_per_rollout):
    def of(rollout):
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    return
                yield batch

    for _ in range(num_rollouts):
        yield from of(collect())


def by_a_flag(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout, stopped = collect(), False
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    stopped = True
                    break
                yield batch
            if stopped:
                break


def by_itertools(collect, split, too_far, num_rollouts, epochs_per_rollout):
    rollouts = (collect() for _ in range(num_rollouts))
    return itertools.chain.from_iterable(
        itertools.takewhile(
            lambda batch: not too_far(batch),
            itertools.chain.from_iterable(split(rollout) for _ in range(epochs_per_rollout)),
        )
        for rollout in rollouts
    )


class ByAnIterable:
    """What Lightning takes: it has __iter__, and is no iterator."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __iter__(self):
        return by_a_flag(*self.arguments)


def by_for_else(collect, split, too_far, num_rollouts, epochs_per_rollout):
    """Does not ask about the first minibatch, of which the answer is known."""
    for _ in range(num_rollouts):
        rollout, first = collect(), True
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if not first and too_far(batch):
                    break
                first = False
                yield batch
            else:
                continue
            break


# ------------------------------------------------------------------------------- wrong answers


def as_list(*arguments):
    return list(by_a_flag(*arguments))


def nothing(collect, *rest):
    collect()


def everything_first(collect, split, too_far, num_rollouts, epochs_per_rollout):
    rollouts = [collect() for _ in range(num_rollouts)]
    yield from by_a_flag(iter(rollouts).__next__, split, too_far, num_rollouts, epochs_per_rollout)


def prefetch(*arguments):
    stream = by_a_flag(*arguments)
    waiting = next(stream)
    for batch in stream:
        yield waiting
        waiting = batch
    yield waiting


def collect_in_epoch(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        for _ in range(epochs_per_rollout):
            for batch in split(collect()):
                if too_far(batch):
                    break
                yield batch


def exchanged(collect, split, too_far, num_rollouts, epochs_per_rollout):
    return by_a_flag(collect, split, too_far, epochs_per_rollout, num_rollouts)


def one_rollout(collect, split, too_far, num_rollouts, epochs_per_rollout):
    return by_a_flag(collect, split, too_far, 1, epochs_per_rollout)


def same_minibatches(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        batches = list(split(collect()))
        for _ in range(epochs_per_rollout):
            for batch in batches:
                if too_far(batch):
                    break
                yield batch


def one_epoch(collect, split, too_far, num_rollouts, epochs_per_rollout):
    return by_a_flag(collect, split, too_far, num_rollouts, 1)


def one_epoch_more(collect, split, too_far, num_rollouts, epochs_per_rollout):
    return by_a_flag(collect, split, too_far, num_rollouts, epochs_per_rollout + 1)


def never_asked(collect, split, too_far, num_rollouts, epochs_per_rollout):
    return by_a_flag(collect, split, lambda _: False, num_rollouts, epochs_per_rollout)


def asked_after(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout, stopped = collect(), False
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                yield batch
                stopped = stopped or too_far(batch)
                if stopped:
                    break
            if stopped:
                break


def asked_in_advance(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            yield from [batch for batch in split(rollout) if not too_far(batch)]


def answer_ignored(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                too_far(batch)
                yield batch


def skipping(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    continue
                yield batch


def inner_break(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    break
                yield batch


def ends_all(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    return
                yield batch


def whole_splits(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            yield split(rollout)


def never_in_the_first_epoch(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout, stopped = collect(), False
        for epoch in range(epochs_per_rollout):
            for batch in split(rollout):
                stopped = epoch > 0 and too_far(batch)
                if stopped:
                    break
                yield batch
            if stopped:
                break


def never_at_the_beginning_of_an_epoch(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout, stopped = collect(), False
        for _ in range(epochs_per_rollout):
            for number, batch in enumerate(split(rollout)):
                stopped = number > 0 and too_far(batch)
                if stopped:
                    break
                yield batch
            if stopped:
                break


def every_other_time(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout, stopped, number = collect(), False, 0
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                number += 1
                stopped = number % 2 == 1 and too_far(batch)
                if stopped:
                    break
                yield batch
            if stopped:
                break


def goes_on_after_the_last_of_an_epoch(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            batches, stopped = list(split(rollout)), False
            for batch in batches:
                stopped = too_far(batch)
                if stopped:
                    break
                yield batch
            if stopped and batch != batches[-1]:
                break


def two_stops_end_all(collect, split, too_far, num_rollouts, epochs_per_rollout):
    stops = 0
    for _ in range(num_rollouts):
        rollout, stopped = collect(), False
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                stopped = too_far(batch)
                if stopped:
                    break
                yield batch
            if stopped:
                stops += 1
                break
        if stops == 2:
            return


def flag_never_set_back(collect, split, too_far, num_rollouts, epochs_per_rollout):
    stopped = False
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                stopped = stopped or too_far(batch)
                if stopped:
                    break
                yield batch


def one_rollout_more(collect, *arguments):
    yield from by_a_flag(collect, *arguments)
    collect()


def empty(*arguments):
    yield from ()


WRONG = {
    as_list: "made-before",
    nothing: "returns-nothing",
    empty: "none-comes",
    whole_splits: "odd",
    everything_first: "all-collected-first",
    prefetch: "collected-early",
    collect_in_epoch: "rollout-of-epoch",
    exchanged: "rollouts-and-epochs",
    one_rollout: "rollouts-missing",
    same_minibatches: "same-minibatches",
    one_epoch: "one-epoch",
    one_epoch_more: "too-many-epochs",
    never_asked: "never-asked",
    asked_after: "asked-after",
    asked_in_advance: "asked-about-several",
    answer_ignored: "step-too-far",
    skipping: "rest-goes-on",
    inner_break: "epoch-ends-only",
    ends_all: "ends-everything",
    never_in_the_first_epoch: "first-epoch-unasked",
    never_at_the_beginning_of_an_epoch: "first-minibatch-unasked",
    every_other_time: "some-unasked",
    flag_never_set_back: "rollouts-after-missing",
    one_rollout_more: "one-rollout-more",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_numbers_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    _,
) = check_the_check(
    check_minibatch_stream,
    None,
    [by_a_second_generator, by_a_flag, by_itertools, by_for_else, ByAnIterable],
    WRONG,
)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (goes_on_after_the_last_of_an_epoch, "only this epoch ends"),
        (two_stops_end_all, "too_far ends everything"),
    ],
)
def test_a_stop_at_any_place_is_seen(function, said):
    """Each of these is right where too_far is True once, in the middle of an epoch."""
    for seed in (None, *SEEDS):
        assert said in complaint(check_minibatch_stream, function, seed=seed), seed


def stub(*arguments):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def endless(collect, split, *rest):
    while True:
        yield from split(collect())


def failing(collect, split, *rest):
    for batch in split(collect()):
        yield batch / 2


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (stub, "is not written yet"),
        (lambda collect: None, "the function itself takes five"),
        (failing, "yield batch / 2"),
        (endless, "each epoch collects a rollout of its own"),
    ],
)
def test_what_fails_or_never_ends_is_told(function, said):
    assert said in complaint(check_minibatch_stream, function)


def test_a_message_shows_what_was_seen_and_expected():
    message = complaint(check_minibatch_stream, everything_first)
    assert "  seen      3 × collect, 12 × step" in message
    assert "  expected  3 × (collect, 4 × step)" in message
    message = complaint(check_minibatch_stream, asked_after)
    assert "  seen      collect, 4 × (step, ask)" in message
    assert "  expected  collect, 4 × (ask, step)" in message
    message = complaint(check_minibatch_stream, same_minibatches)
    assert "  seen      collect, split, 4 × step" in message
    assert "  expected  collect, 2 × (split, 2 × step)" in message
    message = complaint(check_minibatch_stream, ends_all)
    assert "too_far is True in rollout 1, epoch 2, minibatch 2." in message
