"""How observations are seen: networks for images, their weights, a trunk that both agents share."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from space_envs import OBSERVATIONS, SpaceEnv, space_config
from torch import nn

from ppo_bbrl import PPOClip, load, run
from ppo_bbrl.agents.base import evaluate_actions, predict_values
from ppo_bbrl.agents.convolutional import Convolutional, layout_of, nature_cnn, small_cnn
from ppo_bbrl.agents.encoders import encoder
from ppo_bbrl.agents.fits import observations
from ppo_bbrl.agents.sequences import step_through
from ppo_bbrl.agents.shared import evaluate_both, share_weights
from ppo_bbrl.errors import ConfigError, UserError

ATARI = Box(0, 255, (4, 84, 84), np.uint8)


@pytest.mark.parametrize(
    ("shape", "axes", "image"),
    [
        ((84, 84), [0, 1], (1, 84, 84)),
        ((210, 160, 3), [2, 0, 1], (3, 210, 160)),
        ((4, 84, 84), [0, 1, 2], (4, 84, 84)),
        ((4, 4, 4), [2, 0, 1], (4, 4, 4)),
        ((4, 84, 80, 3), [0, 3, 1, 2], (12, 84, 80)),
        ((4, 3, 84, 84), [0, 1, 2, 3], (12, 84, 84)),
    ],
)
def test_where_channels_are(shape, axes, image):
    assert layout_of(shape) == (axes, image)


def test_channels_may_be_said():
    """16 frames of 10 × 10 have more frames than pixels in a row, which `auto` cannot know."""
    assert layout_of((16, 10, 10)) == ([2, 0, 1], (10, 16, 10))
    assert layout_of((16, 10, 10), "first") == ([0, 1, 2], (16, 10, 10))
    assert layout_of((4, 84, 84), "last") == ([2, 0, 1], (84, 4, 84))
    assert layout_of((2, 16, 10, 10), "first") == ([0, 1, 2, 3], (32, 10, 10))
    gym.register("Frames-v0", lambda **_: SpaceEnv(Box(0, 255, (16, 10, 10), np.uint8), "discrete"))
    cfg = space_config("image", "discrete")
    cfg["gym_env"]["env_name"] = "Frames-v0"
    with pytest.warns(UserWarning, match=r"last axis .*\[16, 10, 10\].*architecture\.channels"):
        PPOClip(cfg).close()
    cfg["algorithm"]["architecture"]["channels"] = "first"
    algo = PPOClip(cfg)  # without a warning
    for agent in (algo.train_policy, algo.critic_agent):
        assert agent.encoder.image == (16, 10, 10)
    run(algo)
    policy = load(algo.base_dir, which="last")
    assert policy._policy.encoder.image == (16, 10, 10)
    del gym.registry["Frames-v0"]


def test_what_is_no_image():
    assert layout_of((3,)) is layout_of((2, 2, 2, 2, 2)) is layout_of((3, 0, 3)) is None


def test_the_same_image_in_three_layouts():
    """Channels first, last, or one frame of them: the same network gives the same features."""
    pixels = torch.randint(0, 256, (5, 3, 12, 10), dtype=torch.uint8)
    first = small_cnn((3, 12, 10), 255.0)
    expected = first(pixels)
    assert expected.shape == (5, first.n_features) == (5, 32 * 6 * 5)
    for shape, images in [
        ((12, 10, 3), pixels.permute(0, 2, 3, 1)),
        ((1, 12, 10, 3), pixels.permute(0, 2, 3, 1)[:, None]),
    ]:
        other = small_cnn(shape, 255.0)
        other.load_state_dict(first.state_dict())
        assert torch.allclose(other(images), expected)
    assert torch.equal(first(pixels.reshape(5, 1, 3, 12, 10)), expected[:, None])
    assert first(pixels[0]).shape == (first.n_features,)


def test_the_nature_network():
    """Layers, sizes and gains as in CleanRL's ppo_atari.py; bytes are divided by 255."""
    network, n = encoder(ATARI, "auto")
    assert n == 512
    convolutions = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    assert [(one.out_channels, *one.kernel_size, *one.stride) for one in convolutions] == [
        (32, 8, 8, 4, 4),
        (64, 4, 4, 2, 2),
        (64, 3, 3, 1, 1),
    ]
    (linear,) = (one for one in network.modules() if isinstance(one, nn.Linear))
    assert linear.in_features == 64 * 7 * 7
    for layer in (*convolutions, linear):
        rows = layer.weight.detach().flatten(1)
        rows = rows if len(rows) <= rows.shape[1] else rows.T
        assert torch.allclose(rows @ rows.T, 2 * torch.eye(len(rows)), atol=1e-3)
        assert not layer.bias.any()
    image = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    assert torch.allclose(network(image), network.layers(image.float() / 255))


@pytest.mark.parametrize(
    ("side", "kind", "n"),
    [(35, "auto", 32 * 18 * 18), (36, "auto", 512), (84, "cnn", 32 * 42 * 42)],
)
def test_small_images_have_a_small_network(side, kind, n):
    assert encoder(Box(0, 255, (side, side, 3), np.uint8), kind)[1] == n


def test_the_shorter_side_says_how_small_an_image_is():
    assert encoder(Box(0, 255, (35, 84, 3), np.uint8), "auto")[1] == 32 * 18 * 42


def test_flattened_images_are_scaled_and_other_matrices_are_not():
    for space, expected in (
        (Box(0, 255, (2, 2), np.uint8), [0, 1, 1, 0]),
        (Box(0, 255, (2, 2), np.float32), [0, 255, 255, 0]),
    ):
        network, n = encoder(space, "mlp")
        assert n == 4
        assert (
            network(torch.tensor(np.array([[0, 255], [255, 0]], space.dtype))).tolist() == expected
        )


def test_what_has_no_network_for_images():
    """Vectors, matrices of floats unless they are asked to be images, and everything else."""
    matrix = Box(-1, 1, (6, 6), np.float32)
    assert type(encoder(Box(-1, 1, (3,)), "auto")[0]) is nn.Identity
    assert not isinstance(encoder(matrix, "auto")[0], Convolutional)
    asked = encoder(matrix, "cnn")[0]
    assert asked.scale == 1.0
    assert encoder(OBSERVATIONS["image"], "mlp")[1] == 12 * 10 * 3


def test_images_within_a_dict():
    space = Dict(eye=Box(0, 255, (8, 8, 3), np.uint8), place=Discrete(3))
    network, n = encoder(space, "cnn")
    assert n == 32 * 4 * 4 + 3
    assert isinstance(network.encoders[0], Convolutional)


@pytest.mark.parametrize(
    ("observation", "features", "told"),
    [
        ("vector", "cnn", "its observations Box.* are no images"),
        ("discrete", "nature_cnn", "its observations Discrete.* are no images"),
        (
            "image",
            "nature_cnn",
            r"images must have at least 36 × 36 pixels, and these are \[12, 10, 3\]",
        ),
        ("tuple", "cnn", "none of its parts 0, 1/0, 1/1 is an image"),
    ],
)
def test_networks_that_do_not_fit(observation, features, told):
    cfg = space_config(observation, "discrete")
    cfg["algorithm"]["architecture"]["features"] = features
    expected = f"algorithm.architecture.features = '{features}': Space-v0: {told}"
    with pytest.raises(ConfigError, match=expected) as error:
        PPOClip(cfg)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError):
        nature_cnn((12, 10, 3), 255.0)


def with_architecture(observation="image", action="discrete", **keys):
    cfg = space_config(observation, action)
    cfg["algorithm"]["architecture"] |= keys
    return cfg


@pytest.mark.wide(3)
@pytest.mark.parametrize("observation", ["image", "stacked", "dict"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_run_on_images(observation, shared):
    """Trained, saved, and loaded with the same answers; both heads move the trunk if it is one."""
    algo = PPOClip(with_architecture(observation, shared_trunk=shared))
    before = [one.clone() for one in algo.train_policy.encoder.parameters()]
    assert share_weights(algo.train_policy, algo.critic_agent) == shared
    assert (algo.policy_optimizer is algo.critic_optimizer) == shared
    run(algo)
    moved = [
        not torch.equal(one, other)
        for one, other in zip(before, algo.train_policy.encoder.parameters(), strict=True)
    ]
    assert all(moved)
    policy = load(algo.folder.path)
    state = policy.agent.wrapped.state_dict()
    saved = algo.best_policy.wrapped.state_dict()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], saved[name]) for name in state)


@pytest.mark.parametrize("observation", ["image", "vector", "dict"])
@pytest.mark.parametrize("memory", ["none", "lstm"])
@pytest.mark.parametrize("action", ["multi_discrete", "box"])
def test_a_shared_trunk_runs_once_for_both(observation, memory, action):
    """And both get from it what each of them would get alone."""
    algo = PPOClip(with_architecture(observation, action, shared_trunk=True, memory=memory))
    rollout = algo.record(next(algo.iter_partial_episodes(9)))
    policy, critic = algo.train_policy, algo.critic_agent
    runs = []
    trunk = policy.encoder if memory == "none" else policy.memory.encoder
    trunk.register_forward_hook(lambda *_: runs.append(1))
    together = evaluate_both(policy, critic, rollout.variables)
    assert len(runs) == 1
    if memory == "none":
        alone = (
            *evaluate_actions(policy, rollout.variables),
            predict_values(critic, rollout.variables),
        )
    else:
        known = {"stochastic": True, "predict_proba": True, "compute_entropy": True}
        alone = (
            *step_through(policy, rollout.variables, ("logprob_predict", "entropy"), **known),
            *step_through(critic, rollout.variables, ("v_values",)),
        )
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other.flatten(), rtol=1e-4, atol=1e-5)
    algo.close()


def test_a_shared_trunk_has_the_hidden_layers():
    sizes = {"actor_hidden_size": [5, 6, 7], "critic_hidden_size": [5, 6, 7]}
    algo = PPOClip(with_architecture("vector", shared_trunk=True, **sizes))
    assert algo.train_policy.encoder is algo.critic_agent.encoder
    assert [one.out_features for one in layers_of(algo.train_policy.encoder)] == [5, 6, 7]
    for agent in (algo.train_policy, algo.critic_agent):
        assert [one.in_features for one in layers_of(agent.model)] == [7]
    algo.close()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"critic_hidden_size": [9]}, r"critic_hidden_size = \[9\]: with shared_trunk, must be"),
        ({"actor_hidden_size": [], "critic_hidden_size": []}, "there is nothing to share"),
    ],
)
def test_a_trunk_that_cannot_be_shared(keys, told):
    with pytest.raises(ConfigError, match=told):
        PPOClip(with_architecture("vector", shared_trunk=True, **keys))


def test_a_policy_of_ones_own_has_no_trunk_to_share():
    policy = PPOClip(with_architecture("vector")).train_policy
    policy.__class__ = type("Own", (type(policy),), {})
    with pytest.raises(ConfigError, match=r"shared_trunk = True: Own is an agent of your own"):
        PPOClip(with_architecture("vector", shared_trunk=True), train_policy=policy)


def layers_of(agent):
    return [one for one in agent.modules() if isinstance(one, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("action", ["discrete", "box", "multi_binary", "dict"])
@pytest.mark.parametrize("shared", [False, True])
def test_gains_of_initial_weights(action, shared):
    """Each layer is what it was, times the ratio of the gains: once, in a shared trunk too."""
    gains = {"hidden_gain": 1.0, "actor_output_gain": 0.5, "critic_output_gain": 3.0}
    usual = PPOClip(with_architecture(action=action, shared_trunk=shared))
    scaled = PPOClip(with_architecture(action=action, shared_trunk=shared, **gains))
    for name, factor in (("train_policy", 50.0), ("critic_agent", 3.0)):
        pairs = list(
            zip(layers_of(getattr(usual, name)), layers_of(getattr(scaled, name)), strict=True)
        )
        assert len(pairs) > 2
        for one, other in pairs[:-1]:
            assert torch.allclose(one.weight / math.sqrt(2), other.weight)
        assert torch.allclose(pairs[-1][0].weight * factor, pairs[-1][1].weight)


def test_weights_that_are_not_orthogonal():
    """They are drawn from the run's own stream, whatever others have drawn."""
    algos = []
    for n_others in range(2):
        torch.rand(n_others)  # of the global generator
        algos.append(PPOClip(with_architecture("vector", ortho_init=False)))
    for one, other in zip(*(layers_of(algo.train_policy) for algo in algos), strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.bias, other.bias)
    first, last = layers_of(algos[0].train_policy)
    assert first.bias.any()
    for layer in (first, last):
        bound = 1 / math.sqrt(layer.in_features)
        assert bound / 2 < float(layer.weight.detach().abs().max()) <= bound


@pytest.mark.parametrize(
    ("action", "how"),
    [
        ("discrete", {}), ("box", {}), ("multi_discrete", {}), ("multi_binary", {}), ("dict", {}),
        ("box", {"squash_actions": True}), ("box", {"use_sde": True}),
        ("discrete", {"curiosity": "rnd"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shared", [False, True])
def test_no_network_has_another_activation(action, how, shared):
    cfg = with_architecture("vector", action, activation="tanh", shared_trunk=shared)
    cfg["algorithm"] |= how
    algo = PPOClip(cfg)
    for agent in (algo.train_policy, algo.critic_agent):
        kinds = {type(one) for one in agent.modules()}
        assert nn.Tanh in kinds
        assert nn.ReLU not in kinds
    algo.close()


@pytest.mark.wide(4)
@pytest.mark.parametrize("activation", ["elu", "gelu", "leaky_relu", "silu", "tanh"])
@pytest.mark.parametrize("observation", ["vector", "image"])
def test_activations(activation, observation):
    """What the network computes is what its layers compute; acting is the same function."""
    algo = PPOClip(with_architecture(observation, activation=activation))
    policy = algo.train_policy
    run(algo)
    obs = next(observations(algo.train_env.observation_space, 5))
    features = policy.encoder(obs)
    expected = features
    for layer in policy.model:
        expected = layer(expected)
    assert torch.allclose(policy.model(features), expected)
    kinds = {type(one) for one in policy.modules()}
    assert kinds & {nn.ELU, nn.GELU, nn.LeakyReLU, nn.SiLU, nn.Tanh}
    assert nn.ReLU not in kinds


def test_a_run_from_before_there_were_networks_for_images():
    """Its weights are those of an MLP, and its configuration says nothing of it."""
    algo = PPOClip(with_architecture(features="mlp"))
    run(algo)
    for path in algo.folder.path.rglob("config.yaml"):
        text = path.read_text()
        path.write_text(text.replace("      features: mlp\n", ""))
    policy = load(algo.folder.path)
    assert not isinstance(policy.agent.wrapped.encoder, Convolutional)
    policy.predict(policy.observation_space.sample())
