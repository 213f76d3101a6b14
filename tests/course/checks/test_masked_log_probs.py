"""The check of `masked_log_probs`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of
from seeds import SEEDS
from torch.distributions import Categorical

from ppo_course import check_masked_log_probs
from ppo_course.nb06_spaces.masked_log_probs import MASKED, Case

# ------------------------------------------------------------------------------- right answers


def by_masked_fill(logits, mask):
    return logits.masked_fill(~mask, -torch.inf).log_softmax(-1)


def by_where(logits, mask):
    return torch.log_softmax(torch.where(mask, logits, torch.tensor(-torch.inf)), dim=1)


def by_a_large_penalty(logits, mask):
    return logits.masked_fill(mask.logical_not(), -1e8).log_softmax(-1)


def by_the_lowest_number(logits, mask):
    lowest = torch.finfo(logits.dtype).min
    return Categorical(logits=logits.masked_fill(~mask, lowest)).logits


def by_logsumexp(logits, mask):
    total = logits.masked_fill(~mask, -torch.inf).logsumexp(-1, keepdim=True)
    return (logits - total).masked_fill(~mask, -torch.inf)


def by_sum(logits, mask):
    return (logits + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)).log_softmax(-1)


def by_assignment(logits, mask):
    masked = logits.clone()
    masked[~mask] = -torch.inf
    return masked.log_softmax(-1)


RIGHT = [
    *(by_masked_fill, by_where, by_a_large_penalty, by_the_lowest_number),
    *(by_logsumexp, by_sum, by_assignment),
]

# ------------------------------------------------------------------------------- wrong answers


def stub(logits, mask):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def after_exp(logits, mask):
    weights = logits.exp() * mask
    return (weights / weights.sum(-1, keepdim=True)).log()


def after_softmax(logits, mask):
    probs = logits.softmax(-1) * mask
    return (probs / probs.sum(-1, keepdim=True)).log()


def nan_gradient(logits, mask):
    """As from a square root, or a division, in an unlucky place."""
    masked = by_masked_fill(logits, mask)
    return masked + 0 * (logits - logits).sqrt()


WRONG = {
    stub: "not-written",
    after_softmax: "underflow",
    nan_gradient: "nan-gradient",
    lambda z, m: by_masked_fill(z.detach(), m): "no-gradient",
    lambda z, m: z.masked_fill(m, -torch.inf).log_softmax(-1): "mask-inverted",
    lambda z, m: z.log_softmax(-1): "mask-missing",
    lambda z, m: (z * m).log_softmax(-1): "zero-logits",
    lambda z, m: (z.softmax(-1) * m).log(): "not-renormalised",
    lambda z, m: z.log_softmax(-1).masked_fill(~m, -torch.inf): "not-renormalised",
    lambda z, m: z.masked_fill(~m, -torch.inf).softmax(-1): "probabilities",
    lambda z, m: z.masked_fill(~m, -100).log_softmax(-1): "too-small",
    lambda z, m: z.masked_fill(~m, -10).log_softmax(-1): "too-small",
    lambda z, m: (z - 50 * ~m).log_softmax(-1): "too-small",
    lambda z, m: z.masked_fill(not m, -torch.inf): "one-truth-value",
    lambda z, m: z.masked_fill(-m, -torch.inf): "not",
    lambda z, m: z.masked_fill_(~m, -torch.inf).log_softmax(-1): "in-place",
    lambda z, m: z[m].log_softmax(-1): "wrong-shape",
    lambda z, m: by_masked_fill(z, m).tolist(): "no-tensor",
    lambda z, m: None: "returns-nothing",
    lambda z: None: "called-as",
    lambda z, m: (z * torch.where(m, 1, -torch.inf)).log_softmax(-1): "nan",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_masked_log_probs, None, RIGHT, WRONG)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_every_known_mistake_is_named(seed):
    for key, value in MASKED.wrong.items():
        error = error_of(
            check_masked_log_probs, lambda z, m, value=value: value(Case(z, m)), seed=seed
        )
        assert [k.partition("~")[0] for k in error.keys] == [key.partition("~")[0]]


def test_exponentials_that_come_too_early_are_noticed():
    assert error_of(check_masked_log_probs, after_exp).keys == ("underflow",)


def test_the_message_shows_a_state_to_follow_by_hand():
    lines = complaint(check_masked_log_probs, lambda z, m: z.log_softmax(-1)).splitlines()
    assert "Example: logits [" in lines[1]
    assert "mask [True, False," in lines[1]
    assert "-inf" in lines[3]
