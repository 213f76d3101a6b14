"""Whether minibatches use each transition once, in nearly equal sizes; what is wrong if not."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import not_right

NAME = "minibatch_indices"


class Question(NamedTuple):
    """What a student's function is asked, and the words for it."""

    n: int
    batch_size: int

    @property
    def needed(self) -> int:
        """How many minibatches there must be at least."""
        return -(-self.n // self.batch_size)

    def __str__(self) -> str:
        return f"  Example: {self.n} transitions, at most {self.batch_size} in a minibatch."


def check_partition(case: Question, batches: Sequence[Tensor]) -> None:
    """Raise unless each index is in one minibatch, and the minibatches have the right sizes."""
    sizes = [len(batch) for batch in batches]
    used = torch.cat([*batches, torch.empty(0, dtype=torch.int64)])
    facts = [str(case), f"  seen      {len(batches)} minibatches of {_sizes(sizes)} transitions"]
    outside = used[(used < 0) | (used >= case.n)]
    if len(outside):
        raise not_right(
            NAME,
            f"there is no transition {int(outside[0])}",
            "the indices go from 0 to n_transitions - 1",
            *facts,
        )
    times = used.bincount(minlength=case.n)
    if (times > 1).any():
        raise not_right(
            NAME,
            f"{_are(int((times > 1).sum()))} used more than once, and "
            f"{int((times == 0).sum())} never",
            "the indices are drawn with replacement, or each minibatch is drawn anew: shuffle all "
            "of them once (torch.randperm), then cut",
            *facts,
        )
    short = case.n // case.needed
    missing = _are(int((times == 0).sum()))
    if (times == 0).any() and len(sizes) >= case.needed:
        raise not_right(
            NAME,
            f"{missing} in none of the minibatches, though there are enough of them",
            f"n_transitions // {case.needed} rounds the size down; tensor_split spreads the rest "
            "over the minibatches"
            if {*sizes} == {short}
            else "where each minibatch begins, and where it ends",
            *facts,
        )
    if (times == 0).any():
        raise not_right(
            NAME,
            f"{missing} never used: the rest is dropped",
            "n_transitions is not always a multiple of batch_size; round the number of minibatches "
            "up",
            *facts,
        )
    everything = torch.arange(case.n)
    wanted = [len(part) for part in everything.tensor_split(case.needed)]
    expected = f"  expected  {case.needed} of {_sizes(wanted)}"
    if len(sizes) == case.needed and sizes[-1] > short + 1 and {*sizes[:-1]} == {short}:
        raise not_right(
            NAME,
            "the last minibatch gets the whole rest, and is larger by more than one than the "
            "others",
            f"n_transitions // {case.needed} rounds the size down; tensor_split spreads the rest "
            "over the minibatches",
            *facts,
            expected,
        )
    if max(sizes) > case.batch_size:
        raise not_right(
            NAME,
            "a minibatch is larger than batch_size",
            "the number of minibatches is n_transitions / batch_size, rounded up, not down",
            *facts,
            expected,
        )
    if min(sizes) == 0:
        raise not_right(NAME, "a minibatch is empty", "how the indices are cut", *facts, expected)
    if len(sizes) > case.needed:
        raise not_right(
            NAME,
            "there are more minibatches than needed",
            "their number is n_transitions / batch_size, rounded up; parts of a size that is "
            "rounded down leave a rest, which becomes one more",
            *facts,
            expected,
        )
    if max(sizes) - min(sizes) > 1 and sizes == [len(x) for x in everything.chunk(case.needed)]:
        raise not_right(
            NAME,
            "the last minibatch is smaller by more than one than the others",
            "a size that is rounded up, in torch.split or by torch.chunk, leaves too little for "
            "the last one; tensor_split makes the sizes nearly equal",
            *facts,
            expected,
        )
    if max(sizes) - min(sizes) > 1:
        raise not_right(
            NAME,
            "a small rest gets a minibatch, and an optimiser step, of its own",
            "cut into a number of nearly equal parts (tensor_split), not into parts of a size "
            "(split)",
            *facts,
            expected,
        )


def _are(count: int) -> str:
    return f"{count} transition{' is' if count == 1 else 's are'}"


def _sizes(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes[:8])) + (" + …" if len(sizes) > 8 else "") or "no"
