"""Sequences: whole columns of a rollout, by hand, each number in its place."""

from dataclasses import replace

import pytest
import torch

from ppo_bbrl.sequences import Sequences

N_STEPS, N_ENVS = 3, 4


def numbered():
    """Entry [t, b] of the first tensor is 10·t + b, of the next one 100 + 10·t + b, and so on."""
    cells = 10.0 * torch.arange(N_STEPS)[:, None] + torch.arange(N_ENVS)
    log_prob, value, advantage, returns, seen = (100 * i + cells for i in range(5))
    mask = torch.ones(N_STEPS, N_ENVS, dtype=torch.bool)
    mask[1, 0] = mask[:, 3] = False  # an autoreset step; and an environment without transitions
    variables = {"env/env_obs": seen, "critic/memory": seen[:1]}
    return Sequences(variables, log_prob, value, advantage, returns, mask)


def of_environments(*chosen):
    """What `numbered` has of these environments, field by field."""
    whole, index = numbered(), torch.tensor(chosen)
    fields = {name: getattr(whole, name)[:, index] for name in FIELDS}
    return fields | {name: rows[:, index] for name, rows in whole.variables.items()}


FIELDS = ("log_prob", "value", "advantage", "returns", "mask")


def fields_of(part):
    return {name: getattr(part, name) for name in FIELDS} | part.variables


def test_the_environments_of_an_index_keep_all_that_is_theirs():
    """A value in the place of a log-probability would be learned from without a word."""
    found, expected = fields_of(numbered().select(torch.tensor([2, 0]))), of_environments(2, 0)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert torch.equal(found[name], rows), name


def test_the_flat_form_is_row_after_row():
    whole = numbered()
    variables, *flat = whole.flat()
    assert variables is whole.variables
    cells = [float(10 * t + b) for t in range(N_STEPS) for b in range(N_ENVS)]
    for i, tensor in enumerate(flat):
        assert tensor.tolist() == [100 * i + cell for cell in cells]
    assert whole.which().tolist() == [bool(one) for one in whole.mask.reshape(-1)]
    assert whole.which().sum() == len(whole) == 8


def test_only_transitions_are_judged():
    """By hand: returns 0, 2 and values 0, 1 of two transitions; the third step is none."""
    tensor = torch.tensor([[0.0], [2.0], [99.0]])
    value = torch.tensor([[0.0], [1.0], [-99.0]])
    mask = torch.tensor([[True], [True], [False]])
    one = Sequences({}, tensor, value, tensor, tensor, mask)
    assert one.valid_returns().tolist() == [0, 2]
    assert one.explained_variance().item() == pytest.approx(1 - 0.25 / 1)


def test_environments_are_shuffled_by_the_given_generator_alone():
    """Whatever others have drawn; each environment once, none without transitions."""

    def order(seed, n_others):
        torch.rand(n_others)  # of the global generator
        generator = torch.Generator().manual_seed(seed)
        parts = list(numbered().minibatches(N_STEPS, generator))
        assert all(part.mask.shape == (N_STEPS, 1) for part in parts)
        return [int(part.log_prob[0, 0]) for part in parts]

    for seed in range(5):
        assert sorted(order(seed, 0)) == [0, 1, 2]
        assert order(seed, 0) == order(seed, 3)
    assert len({tuple(order(seed, 0)) for seed in range(20)}) > 3


@pytest.mark.parametrize(
    ("batch_size", "widths"),
    [(0, [4]), (1, [1] * 4), (5, [1] * 4), (6, [2, 2]), (11, [2, 2]), (12, [4]), (99, [4])],
)
def test_a_minibatch_has_as_many_environments_as_fit_into_it(batch_size, widths):
    whole = replace(numbered(), mask=torch.ones(N_STEPS, N_ENVS, dtype=torch.bool))
    parts = list(whole.minibatches(batch_size, torch.Generator()))
    assert [part.mask.shape[1] for part in parts] == widths
    assert (parts[0] is whole) == (len(widths) == 1)  # as it is, and nothing is drawn for it
