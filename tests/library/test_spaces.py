"""Spaces: what they become in the workspace, for a network and for the environment."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import (
    Box,
    Dict,
    Discrete,
    Graph,
    MultiBinary,
    MultiDiscrete,
    OneOf,
    Sequence,
    Text,
    Tuple,
)  # fmt: skip

from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.encoders import encoder
from ppo_bbrl.agents.policies import DiscretePolicy, GaussianPolicy
from ppo_bbrl.envs.actions import action_converter
from ppo_bbrl.envs.space_data import as_data, from_data
from ppo_bbrl.envs.spaces import (
    as_observation,
    check_supported,
    is_image,
    observation_template,
    size,
)
from ppo_bbrl.errors import ConfigError

VECTOR = Box(-1, 1, (3,), np.float32)
TWO = Discrete(2)
SEVERAL = MultiDiscrete([2, 3], start=[1, -1])
MATRIX = MultiDiscrete([[2, 3], [4, 5]])

# space, size, type and shape of two rows in the workspace, number of features
OBSERVATIONS = {
    "vector": (VECTOR, 3, (2, 3), torch.float32, 3),
    "float64": (Box(-1, 1, (3,), np.float64), 3, (2, 3), torch.float32, 3),
    "float16": (Box(-1, 1, (3,), np.float16), 3, (2, 3), torch.float32, 3),
    "int": (Box(-5, 5, (3,), np.int64), 3, (2, 3), torch.float32, 3),
    "number": (Box(-1, 1, (), np.float32), (), (2,), torch.float32, 1),
    "matrix": (Box(-1, 1, (2, 4), np.float32), (2, 4), (2, 2, 4), torch.float32, 8),
    "int matrix": (Box(-5, 5, (2, 4), np.int32), (2, 4), (2, 2, 4), torch.float32, 8),
    "image": (Box(0, 255, (4, 5, 3), np.uint8), (4, 5, 3), (2, 4, 5, 3), torch.uint8, 60),
    "grey image": (Box(0, 255, (4, 5), np.uint8), (4, 5), (2, 4, 5), torch.uint8, 20),
    "bytes": (Box(0, 255, (3,), np.uint8), 3, (2, 3), torch.float32, 3),
    "flags": (Box(0, 1, (3,), np.bool_), 3, (2, 3), torch.float32, 3),
    "states": (Discrete(5), 5, (2,), torch.int64, 5),
    "states from 3": (Discrete(5, start=3), 5, (2,), torch.int64, 5),
    "states from -2": (Discrete(5, start=-2), 5, (2,), torch.int64, 5),
    "several states": (SEVERAL, SEVERAL, (2, 2), torch.int64, 5),
    "a matrix of states": (MATRIX, MATRIX, (2, 2, 2), torch.int64, 14),
    "several flags": (MultiBinary(3), 3, (2, 3), torch.float32, 3),
    "a matrix of flags": (MultiBinary((2, 2)), (2, 2), (2, 2, 2), torch.float32, 4),
}


@pytest.mark.parametrize(
    ("space", "length", "shape", "dtype", "n_features"), OBSERVATIONS.values(), ids=OBSERVATIONS
)
def test_observations(space, length, shape, dtype, n_features):
    """Sizes for constructors, rows of the workspace, features of networks."""
    check_supported("Env-v0", space, TWO)
    assert size(space) == length
    template = observation_template(space, 2)
    assert template.shape == shape
    assert template.dtype == dtype
    network, n = encoder(space)
    assert n == n_features
    for leading in [(2,), (7, 2), ()]:
        rows = torch.zeros((*leading, *shape[1:]), dtype=dtype)
        features = network(rows)
        assert features.shape == (*leading, n_features)
        assert features.dtype == torch.float32


@pytest.mark.parametrize("space", [entry[0] for entry in OBSERVATIONS.values()], ids=OBSERVATIONS)
@pytest.mark.parametrize("told", ["space", "size"])
def test_agents_of_every_observation(space, told):
    """Whether an agent was given the space or, as in the course notebook, its size."""
    state_dim = space if told == "space" else size(space)
    critic, policy = VAgent(state_dim, [8]), DiscretePolicy(state_dim, [8], 2)
    obs = observation_template(space, 6)
    for leading in [(6,), (3, 2), (1, 6)]:
        rows = obs.reshape(*leading, *obs.shape[1:])
        assert critic.value(rows).shape == leading
        assert policy.dist(rows).sample().shape == leading


def test_only_bytes_of_several_axes_are_images():
    assert [name for name, entry in OBSERVATIONS.items() if is_image(entry[0])] == [
        "image",
        "grey image",
    ]


def test_images_are_scaled_and_other_arrays_are_not():
    """Their numbers are 0..255; a matrix of numbers stays as it is."""
    for name, expected in [("image", 1.0), ("bytes", 255.0), ("matrix", 255.0)]:
        space = OBSERVATIONS[name][0]
        row = torch.full_like(observation_template(space, 1), 255)
        assert encoder(space)[0](row).unique().tolist() == [expected]


@pytest.mark.parametrize("wrong", [None, "4", 4.0, True, 0, [4.0], Text(3)])
def test_an_agent_needs_a_number_a_shape_or_a_space(wrong):
    with pytest.raises(ValueError, match="must be a number, a shape, a Box or a Discrete"):
        encoder(wrong)


def test_several_discrete_observations_become_one_hot_codes_side_by_side():
    """Codes that overlap would let one value look like another."""
    space = MultiDiscrete([2, 3], start=[5, 0])
    row = as_observation(space, np.array([[5, 2], [6, 0]]))
    assert row.tolist() == [[0, 2], [1, 0]]
    network, n_features = encoder(space)
    assert n_features == 5
    assert network(row).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    assert network(row.expand(4, 2, 2)).shape == (4, 2, 5)


@pytest.mark.parametrize(
    ("space", "observed", "expected"),
    [
        (Discrete(3, start=-1), [-1, 1], torch.tensor([0, 2])),
        (MultiBinary(2), [[0, 1], [1, 1]], torch.tensor([[0.0, 1.0], [1.0, 1.0]])),
        (Box(-1, 1, (1,), np.float64), [[0.5], [0.25]], torch.tensor([[0.5], [0.25]])),
    ],
    ids=["Discrete", "MultiBinary", "Box"],
)
def test_observations_become_rows_that_nobody_else_writes_in(space, observed, expected):
    array = np.array(observed, space.dtype)
    row = as_observation(space, array)
    array[...] = 0
    assert row.dtype == expected.dtype
    assert torch.equal(row, expected)


def test_several_discrete_and_binary_actions_reach_the_environment():
    several = action_converter(MultiDiscrete([2, 3], start=[5, 0]), 1)
    assert several(torch.tensor([[1, 2]])).tolist() == [[6, 2]]
    binary = action_converter(MultiBinary(3), 1)
    sent = binary(torch.tensor([[1.0, 0.0, 1.0]]))
    assert sent.dtype == np.int8
    assert sent.tolist() == [[1, 0, 1]]
    with pytest.raises(ValueError, match=r"takes shape \[1, 2\], integers"):
        several(torch.tensor([1]))
    with pytest.raises(ValueError, match=r"takes shape \[1, 3\], zeros and ones"):
        binary(torch.tensor([[1.0]]))


# ------------------------------------------------------------------------------------- refused

WIDE = Box(-np.arange(1.0, 31), np.arange(1.0, 31), dtype=np.float64)  # its name has many lines

REFUSED = {
    "Text": Text(5),
    "Sequence": Sequence(TWO),
    "Graph": Graph(VECTOR, TWO),
    "OneOf": OneOf((VECTOR, TWO)),
    "Dict of many numbers and a Text": Dict(a=WIDE, b=WIDE, c=Dict(d=Text(5))),
    "Tuple with a Text": Tuple((VECTOR, Text(5))),
}


@pytest.mark.parametrize("space", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("role", ["observation", "action"])
def test_other_spaces_are_refused_in_one_line(space, role):
    """Upstream reads a wrong size out of some and crashes on others."""
    spaces = (space, TWO) if role == "observation" else (VECTOR, space)
    with pytest.raises(ConfigError) as error:
        check_supported("Env-v0", *spaces)
    message = str(error.value)
    assert message.startswith(f"Env-v0: its {role} space {type(space).__name__}")
    assert "supported are Box" in message
    assert "Discrete" in message
    assert "\n" not in message


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_box_actions_are_floats(dtype):
    """A Gaussian of bytes would be rounded towards 0 in silence."""
    with pytest.raises(ConfigError, match=rf"action space .* has dtype {np.dtype(dtype)};"):
        check_supported("Env-v0", VECTOR, Box(0, 1, (2,), dtype))


# ------------------------------------------------------------------------------------- actions


@pytest.mark.parametrize("start", [0, 1, -3])
def test_discrete_actions_begin_at_start(start):
    """Upstream hands 0 to an environment whose first action is 1."""
    convert = action_converter(Discrete(3, start=start), 4)
    row = torch.tensor([0, 1, 2, 0])
    given = convert(row)
    assert given.tolist() == [start, start + 1, start + 2, start]
    assert np.issubdtype(given.dtype, np.integer)
    assert row.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", [(2,), (), (2, 3)])
def test_box_actions_are_clipped_and_of_the_spaces_type(shape, dtype):
    """Upstream: unclipped float64."""
    space = Box(-1, 2, shape, dtype)
    convert = action_converter(space, 3)
    row = torch.tensor([-9.0, 0.5, 9.0]).reshape(3, *[1] * len(shape)).expand(3, *shape).clone()
    given = convert(row)
    assert given.dtype == dtype
    assert given.shape == (3, *shape)
    assert [np.unique(action).tolist() for action in given] == [[-1], [0.5], [2]]
    assert row.min() == -9  # the workspace keeps what was sampled


def test_bounds_of_each_component():
    """Some components bounded, some on one side only, some not at all."""
    low = np.array([-1, 0, -np.inf, -np.inf], np.float32)
    high = np.array([1, np.inf, 0, np.inf], np.float32)
    convert = action_converter(Box(low, high, dtype=np.float32), 2)
    given = convert(torch.tensor([[9.0] * 4, [-9.0] * 4]))
    assert given.tolist() == [[1, 9, 0, 9], [-1, 0, -9, -9]]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ([-1, -np.inf], [np.inf, np.inf], [[9, 9], [-1, -9]]),
        ([-np.inf, -np.inf], [1, np.inf], [[1, 9], [-9, -9]]),
    ],
)
def test_a_single_bound_is_one(low, high, expected):
    """Of one component, on one side: all others are without."""
    space = Box(np.array(low, np.float32), np.array(high, np.float32))
    given = action_converter(space, 2)(torch.tensor([[9.0, 9.0], [-9.0, -9.0]]))
    assert given.tolist() == expected


def test_an_environment_cannot_write_into_the_workspace():
    """It gets an array of its own, bounded or not, of any type, from 0 or not."""
    for space, dtype in (
        (Box(-1, 1, (2,), np.float32), torch.float32),
        (Box(-np.inf, np.inf, (2,), np.float32), torch.float32),
        (MultiDiscrete([3, 3]), torch.int64),
        (MultiDiscrete([3, 3], start=[1, 1]), torch.int64),
        (MultiBinary(2), torch.float32),
    ):
        row = torch.zeros(3, 2, dtype=dtype)
        action_converter(space, 3)(row)[...] = 5
        assert not row.any(), space


def test_an_action_with_a_gradient_is_no_problem():
    """A reparametrised sample of a student's policy."""
    row = torch.zeros(3, 2, requires_grad=True)
    assert action_converter(Box(-1, 1, (2,), np.float32), 3)(row).shape == (3, 2)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (TWO, torch.zeros(3)),  # floats
        (TWO, torch.zeros(4, dtype=torch.int64)),  # of another number of environments
        (TWO, torch.zeros(3, 1, dtype=torch.int64)),
        (VECTOR, torch.zeros(3, 3, dtype=torch.int64)),
        (VECTOR, torch.zeros(3)),
        (VECTOR, torch.zeros(3, 1)),  # would broadcast
        (VECTOR, torch.zeros(1, 3)),
    ],
)
def test_a_wrong_action_says_what_was_written_and_what_is_taken(space, action):
    with pytest.raises(ValueError, match="the policy wrote actions of shape") as error:
        action_converter(space, 3)(action)
    message = str(error.value)
    assert f"of shape {list(action.shape)} and dtype " in message
    assert str(action.dtype).removeprefix("torch.") in message
    assert "[3], integers" in message or "[3, 3], floats" in message


@pytest.mark.parametrize("shape", [(2,), (), (2, 3)])
def test_gaussian_policies_of_every_shape(shape):
    """From the policy's action to the environment's."""
    space = Box(-1, 1, shape, np.float32)
    policy = GaussianPolicy(4, [8], size(space))
    for leading in [(5,), (2, 5), ()]:
        obs = torch.zeros(*leading, 4)
        action = policy.act(obs)
        assert action.shape == (*leading, *shape)
        log_prob, entropy = policy.evaluate_actions(obs, action)
        assert log_prob.shape == entropy.shape == leading
    space_of_five = gym.vector.utils.batch_space(space, 5)
    assert (
        action_converter(space, 5)(policy.act(torch.zeros(5, 4), stochastic=False).detach())
        in space_of_five
    )


# -------------------------------------------------------------------------------- in a file

KEPT = {
    "vector": VECTOR,
    "float64, its bounds to the last bit": Box(-1 / 3, 0.1, (3,), np.float64),
    "no bounds": Box(-np.inf, np.inf, (2,), np.float32),
    "bounds of each number": Box(np.array([-2, 0.1]), np.array([0, np.inf]), dtype=np.float64),
    "the largest integers": Box(-(2**63), 2**63 - 1, (2,), np.int64),
    "image": Box(0, 255, (4, 5, 3), np.uint8),
    "flags": Box(0, 1, (3,), np.bool_),
    "number": Box(-1, 1, (), np.float32),
    "nothing": Box(-1, 1, (0,), np.float32),
    "discrete": TWO,
    "discrete from -2": Discrete(5, start=-2),
    "multidiscrete": MultiDiscrete([2, 3]),
    "multidiscrete matrix": MultiDiscrete([[2, 3], [4, 5]], start=[[0, -1], [7, 0]]),
    "multibinary": MultiBinary(3),
    "multibinary matrix": MultiBinary((2, 2)),
}


@pytest.mark.parametrize("space", KEPT.values(), ids=KEPT)
def test_a_space_in_a_file_of_data(space, tmp_path):
    """The same space again, from a file that torch reads without running code."""
    torch.save(as_data(space), tmp_path / "space.pt")
    again = from_data(torch.load(tmp_path / "space.pt", weights_only=True))
    assert again == space
    assert again.dtype == space.dtype
    assert np.array_equal(getattr(again, "start", 0), getattr(space, "start", 0))


def test_a_discrete_space_of_another_type_in_a_file():
    try:
        space = Discrete(3, dtype=np.int32)
    except TypeError:
        pytest.skip("this version of Gymnasium has no such spaces")
    assert from_data(as_data(space)).dtype == np.int32


def test_bounds_that_are_all_the_same_take_no_room():
    assert as_data(Box(0, 255, (210, 160, 3), np.uint8))["low"] == 0


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "Graph"},
        {"kind": "Discrete", "n": 0, "start": 0, "dtype": "int64"},
        {"kind": "Box", "low": 0, "high": 1, "shape": [2], "dtype": "object"},
        {"kind": "Box", "low": 0, "high": 1, "shape": [2], "dtype": "V9999999999"},
        {"kind": "Box", "low": 0, "high": 1, "shape": [2**40], "dtype": "float32"},
        {"kind": "Box", "low": [0, 0, 0], "high": 1, "shape": [2], "dtype": "float32"},
        {"kind": "Box", "low": "a", "high": 1, "shape": [2], "dtype": "float32"},
    ],
    ids=str,
)
def test_data_that_describe_no_space(data):
    """A stranger's file: refused, and without the memory that it asks for."""
    with pytest.raises((ValueError, TypeError, KeyError, AssertionError)):
        from_data(data)


def test_a_space_that_cannot_be_kept():
    with pytest.raises(ValueError, match="Text"):
        as_data(Text(3))
