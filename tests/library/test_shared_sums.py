"""Sums in shared memory: the same in every process, and no wait for one that has gone."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ppo_bbrl.distributed.neighbours import Neighbours
from ppo_bbrl.distributed.shared_memory import CAPACITY, SharedSums, can_share, make_file
from ppo_bbrl.distributed.watch import ProcessLostError

pytestmark = pytest.mark.skipif(not can_share(), reason="processes share no memory here")


@pytest.fixture
def memory():
    """Makes the ends of so many processes, which are threads here."""
    made = []

    def ends(size):
        made.append(make_file(size))
        return [SharedSums(made[-1], rank, size) for rank in range(size)]

    yield ends
    for path in made:
        path.unlink()


def never():
    return None


def test_each_process_gets_the_sum_of_every_exchange(memory):
    """Who is ahead must not overwrite what another one still reads."""
    size, rounds = 3, 60
    given = [[torch.randn(1 + k % 7, 5) for k in range(rounds)] for _ in range(size)]
    given[0][3] = given[1][3] = given[2][3] = torch.tensor(2)  # a number
    given[0][4] = given[1][4] = given[2][4] = torch.ones(2, 3, dtype=torch.float64).T  # strided
    expected = [(given[0][k] + given[1][k]) + given[2][k] for k in range(rounds)]
    ends = memory(size)

    def exchange(rank):
        return [ends[rank].total(values, never) for values in given[rank]]

    with ThreadPoolExecutor(size) as pool:
        for sums in pool.map(exchange, range(size)):
            for found, wanted in zip(sums, expected, strict=True):
                assert found.dtype == wanted.dtype
                assert torch.equal(found, wanted)


def test_the_values_that_were_given_stay(memory):
    (end,) = memory(1)
    values = torch.arange(3.0)
    end.total(values, never).zero_()
    assert values.tolist() == [0, 1, 2]
    assert end.total(values, never).tolist() == [0, 1, 2]


def test_a_process_that_has_ended_is_named(memory):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    watch = type("Watch", (), {"lost": False, "look": lambda _: None})()
    end, _ = memory(2)
    both = Neighbours(end, 0, [os.getpid(), ended.pid], watch)
    with pytest.raises(ProcessLostError, match="process 1 has ended"):
        both.total(torch.ones(3))
    assert watch.lost  # so that nothing waits for it when this process ends


def test_what_a_process_gave_before_it_ended_counts(memory):
    first, second = memory(2)
    second._counts[8] = 1  # its count: it has begun the first exchange, and nothing else
    assert first.total(torch.ones(2), lambda: RuntimeError("never asked")).tolist() == [1, 1]


def test_what_is_too_large_or_elsewhere_is_added_up_in_another_way(memory):
    end, _ = memory(2)
    both = Neighbours(end, 0, [0, 0], None)
    assert both.can_add(torch.zeros(CAPACITY // 4))
    assert not both.can_add(torch.zeros(CAPACITY // 4 + 1))


def test_a_full_memory_leaves_no_file(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    in_memory = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: in_memory(dir=tmp_path))
    with pytest.raises(OSError, match="No space left"):
        make_file(2)
    assert not list(tmp_path.iterdir())
