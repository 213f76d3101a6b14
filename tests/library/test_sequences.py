"""Sequences: whole columns of a rollout, by hand, each number in its place."""

from dataclasses import replace

import bbrl.agents
import pytest
import torch

from ppo_bbrl import DiscretePolicy, VAgent
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.recurrent import RecurrentCritic, RecurrentPolicy
from ppo_bbrl.agents.sequences import evaluate_sequences, predict_sequences, remember_rollout
from ppo_bbrl.minibatches import Transitions
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.sequences import Sequences, learnable
from ppo_bbrl.workspace.table import Workspace

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


class Own(bbrl.agents.Agent):
    """A user's: it may read any variable."""

    has_memory, memory_size = True, 2

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)


def plain(kind):
    return DiscretePolicy(2, [4], 3) if kind is RecurrentPolicy else VAgent(2, [4])


def remembering(kind):
    return kind(Memory("gru", 2, 2), plain(kind))


def learned_from(policy, critic):
    """What there is to learn from in a rollout that has everything: 3 steps, of 4 rows."""
    policy, critic = policy(RecurrentPolicy), critic(RecurrentCritic)
    policy.prefix, critic.prefix = "current_policy/", "critic/"
    steps, rows = torch.zeros(N_STEPS, N_ENVS), torch.zeros(N_STEPS + 1, N_ENVS)
    variables = {
        "env/env_obs": torch.zeros(N_STEPS + 1, N_ENVS, 2), "action": rows.long(),
        "env/timestep": rows.long(), "env/action_mask": torch.ones(N_STEPS + 1, N_ENVS, 3) > 0,
        "current_policy/memory": torch.zeros(N_STEPS + 1, N_ENVS, 2),
        "critic/memory": torch.zeros(N_STEPS + 1, N_ENVS, 2), "mine": rows,
    }  # fmt: skip
    no = steps > 0
    rollout = Rollout(steps, no, no, steps, steps, steps, ~no, variables)
    return learnable(rollout, policy, critic, advantage=steps, returns=steps)


READ = {"env/env_obs", "action", "env/action_mask"}
MEMORIES = {"current_policy/memory", "critic/memory"}
ALL = READ | MEMORIES | {"env/timestep", "mine"}


@pytest.mark.parametrize(
    ("policy", "critic", "expected"),
    [
        (remembering, remembering, READ | MEMORIES | {"env/timestep"}),
        (remembering, plain, READ | {"current_policy/memory", "env/timestep"}),
        (plain, remembering, READ | {"critic/memory", "env/timestep"}),
        (plain, plain, READ),
        (lambda _: Own(), remembering, ALL),
        (remembering, lambda _: Own(), ALL),
    ],
)
def test_what_the_agents_read_is_learned_from_and_nothing_else(policy, critic, expected):
    """A mask that is left out, or one's own variable, would be missed at the first loss at best."""
    found = learned_from(policy, critic)
    assert set(found.variables) == expected
    assert type(found) is (Sequences if MEMORIES & expected else Transitions)
    for name, tensor in found.variables.items():
        if isinstance(found, Sequences):
            assert tensor.shape[:2] == (1 if name in MEMORIES else N_STEPS, N_ENVS), name


# --------------------------------------------------------------------------- policy and critic


class Led(RecurrentPolicy):
    """Has a forward of its own, so that it is led through its rows."""

    def forward(self, t, **kwargs):
        super().forward(t, **kwargs)


class LedCritic(RecurrentCritic):
    def forward(self, t, **kwargs):
        super().forward(t, **kwargs)


def played():
    """Rows in which episodes begin in the middle, and one goes on from before."""
    torch.manual_seed(0)
    return {
        "env/env_obs": torch.randn(5, 3, 2),
        "action": torch.randint(3, (5, 3)),
        "env/timestep": torch.tensor([[0, 4, 7], [1, 5, 0], [2, 0, 1], [0, 1, 2], [1, 2, 3]]),
        "current_policy/memory": torch.randn(1, 3, 4),
        "critic/memory": torch.randn(1, 3, 4),
    }


def agents(of_policy, of_critic, shared=False):
    torch.manual_seed(1)
    memory = Memory("lstm", 2, 2)
    other = memory if shared else Memory("lstm", 2, 2)
    policy = of_policy(memory, DiscretePolicy(2, [4], 3))
    critic = of_critic(other, VAgent(2, [4]))
    return policy.with_prefix("current_policy/"), critic.with_prefix("critic/")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("of_policy", [RecurrentPolicy, Led])
@pytest.mark.parametrize("of_critic", [RecurrentCritic, LedCritic])
def test_sequences_are_judged_as_step_by_step_by_hand(of_policy, of_critic, shared):
    """Each environment by itself: zeros where an episode begins, else what came before."""
    policy, critic = agents(of_policy, of_critic, shared)
    rows = played()
    if shared:  # then both have remembered the same
        rows["critic/memory"] = rows["current_policy/memory"]
    found = evaluate_sequences(policy, critic, rows)
    expected = []
    states = [rows["current_policy/memory"][0], rows["critic/memory"][0]]
    for t in range(5):
        fresh = (rows["env/timestep"][t] == 0).unsqueeze(-1)
        obs = rows["env/env_obs"][t]
        states = [agent.memory.after(obs, state.masked_fill(fresh, 0))
                  for agent, state in zip((policy, critic), states, strict=True)]  # fmt: skip
        dist = policy.head.dist(policy.memory.features(states[0]))
        value = critic.head.value(critic.memory.features(states[1]))
        expected.append((dist.log_prob(rows["action"][t]), dist.entropy(), value))
    for one, other in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(one, torch.cat(other))


def test_what_has_no_memory_is_judged_row_by_row_beside_what_has():
    (policy, critic), rows = agents(RecurrentPolicy, RecurrentCritic), played()
    obs, action = rows["env/env_obs"].flatten(0, 1), rows["action"].flatten()
    log_prob, entropy, value = evaluate_sequences(policy.head, critic, rows)
    dist = policy.head.dist(obs)
    torch.testing.assert_close((log_prob, entropy), (dist.log_prob(action), dist.entropy()))
    torch.testing.assert_close(value, predict_sequences(critic, rows))
    *_, value = evaluate_sequences(policy, critic.head, rows)
    torch.testing.assert_close(value, critic.head.value(obs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_critic_remembers_a_rollout_in_which_it_has_not_acted(dtype):
    """From row 0 on, in its own precision; an episode that begins there is one too."""
    _, critic = agents(RecurrentPolicy, RecurrentCritic)
    rows, workspace = played(), Workspace()
    rows = {name: one.to(dtype) if one.is_floating_point() else one for name, one in rows.items()}
    workspace.set_full("env/timestep", rows["env/timestep"])
    workspace.set_full("critic/memory", rows["critic/memory"])
    memory = remember_rollout(critic.to(dtype), workspace, rows, torch.device("cpu"))
    assert torch.equal(workspace["critic/memory"], memory)
    assert (memory.shape, memory.dtype) == ((5, 3, 4), dtype)
    begins = rows["env/timestep"] == 0
    assert torch.equal(memory[0, 1:], rows["critic/memory"][0, 1:])
    assert not memory[begins].any()
    for t in range(4):
        after = critic.memory.after(rows["env/env_obs"][t], memory[t])
        torch.testing.assert_close(memory[t + 1][~begins[t + 1]], after[~begins[t + 1]])


class Counts(Own):
    """A critic of one's own that trusts the table: its memory is the number of rows so far."""

    def forward(self, t, **kwargs):
        name = f"{self.prefix}memory"
        self.set((name, t + 1), self.get((name, t)) + 1)


@pytest.mark.parametrize("before", [None, torch.ones(1, 3, 5)])
def test_what_another_critic_remembered_is_not_handed_on(before):
    critic, rows, workspace = Counts().with_prefix("critic/"), played(), Workspace()
    workspace.set_full("env/timestep", rows["env/timestep"])
    del rows["critic/memory"]
    if before is not None:
        rows["critic/memory"] = before
        workspace.set_full("critic/memory", before)
    memory = remember_rollout(critic, workspace, rows, torch.device("cpu"))
    assert memory[:, 0].tolist() == [[t] * 2 for t in range(5)]
