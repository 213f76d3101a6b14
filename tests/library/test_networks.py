"""Networks: shapes, initialisation, and what becomes of observations before them."""

import math

import pytest
import torch
from torch import nn

from ppo_bbrl.agents.encoders import FlatOrOneHot, Flatten, MultiOneHot, OneHot, Parts
from ppo_bbrl.agents.networks import ACTIVATIONS, build_ortho_mlp
from ppo_bbrl.config.schema import known_keys
from ppo_bbrl.errors import UserError


def linears(network):
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def test_layers_of_the_multilayer_perceptron():
    """Activations between the layers, none after the last: it would cut values at 0."""
    network = build_ortho_mlp([4, 8, 6, 2])
    assert [type(layer) for layer in network] == [
        nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear,
    ]  # fmt: skip
    assert [(layer.in_features, layer.out_features) for layer in linears(network)] == [
        (4, 8), (8, 6), (6, 2),
    ]  # fmt: skip
    assert network(torch.zeros(3, 5, 4)).shape == (3, 5, 2)
    assert (network(torch.randn(100, 4)) < 0).any()


def test_without_hidden_layers_it_is_linear():
    """`hidden_layers: []` is allowed."""
    network = build_ortho_mlp([4, 2])
    assert [type(layer) for layer in network] == [nn.Linear]


@pytest.mark.parametrize(
    ("activation", "kind"),
    [(nn.Tanh(), nn.Tanh), (nn.ReLU(), nn.ReLU), (nn.ELU(), nn.ELU), ("tanh", nn.Tanh)],
)
def test_the_activation_is_the_one_asked_for(activation, kind):
    """By name, or as in the course notebook an instance: `activation=nn.ReLU()`."""
    network = build_ortho_mlp([4, 8, 2], activation=activation)
    assert type(network[1]) is kind
    x = torch.randn(5, 4)
    torch.testing.assert_close(network(x), network[2](kind()(network[0](x))))


def test_orthogonal_weights_of_the_right_gain_and_no_bias():
    """docs/ppo.md#detail-2: √2 for hidden layers, the caller's gain for the last."""
    network = build_ortho_mlp([8, 16, 16, 3], output_gain=0.01)
    for layer, gain in zip(linears(network), (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
        weight = layer.weight / gain
        small = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(small, torch.eye(len(small)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


def test_activations_by_name():
    """The names that the configuration offers."""
    offered = known_keys()["algorithm.architecture.activation"][0].choices
    assert set(ACTIVATIONS) == set(offered)
    for name, layer in ACTIVATIONS.items():
        assert layer.__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("leading", [(), (5,), (2, 5), (0,)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2, 3)])
def test_flatten_keeps_leading_dimensions(leading, shape):
    """One observation, a row, a rollout: the features of each are its own numbers, in order."""
    observation = torch.arange(math.prod((*leading, *shape))).reshape((*leading, *shape))
    features = Flatten(shape)(observation)
    assert features.shape == (*leading, math.prod(shape))
    assert features.dtype == torch.float32
    assert torch.equal(features.flatten(), observation.flatten().float())


def test_images_are_scaled_to_one():
    """Bytes 0..255 become 0..1."""
    features = Flatten((1, 2), 255.0)(torch.tensor([[[0, 255]]], dtype=torch.uint8))
    assert features.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("leading", [(), (5,), (2, 5)])
def test_one_hot(leading):
    """A state number as features."""
    features = OneHot(3)(torch.full(leading, 2))
    assert features.shape == (*leading, 3)
    assert torch.equal(features, torch.tensor([0.0, 0.0, 1.0]).expand(*leading, 3))


def test_a_bare_number_fits_vectors_and_states():
    """`VAgent(n, …)` cannot tell n features from n states: the observation's type does."""
    encode = FlatOrOneHot(3)
    vector = torch.rand(5, 3)
    assert encode(vector) is vector
    assert encode(torch.tensor([1, 0])).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("leading", [(), (5,), (2, 5)])
def test_multi_one_hot(leading):
    """Each has a part of its own, of its own size."""
    features = MultiOneHot([2, 3, 4])(torch.tensor([1, 2, 3]).expand(*leading, 3))
    assert features.shape == (*leading, 9)
    expected = torch.tensor([0, 1, 0, 0, 1, 0, 0, 0, 1.0])
    assert torch.equal(features, expected.expand(*leading, 9))
    assert MultiOneHot([2, 3, 4])(torch.tensor([0, 1, 0])).tolist() == [1, 0, 0, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("leading", [(), (5,), (2, 5)])
def test_parts_lie_side_by_side(leading):
    """In the precision of the weights, whatever that of a part is."""
    parts = Parts({"far": (nn.Identity(), 2), "kind": (OneHot(3), 3)})
    far = torch.tensor([1.5, -1.0], dtype=torch.float64).expand(*leading, 2)
    features = parts({"kind": torch.full(leading, 1), "far": far})
    assert parts.n_features == 5
    assert torch.equal(features, torch.tensor([1.5, -1.0, 0, 1, 0]).expand(*leading, 5))


@pytest.mark.parametrize("wrong", ["rely", nn.Tanh, torch.tanh, None, 3])
def test_what_is_no_activation_is_one_line(wrong):
    with pytest.raises(UserError, match=r"activation = .*: must be one of relu, .* nn\.Tanh\(\)$"):
        build_ortho_mlp([4, 8, 2], wrong)
