"""Exported policies act as they did in the run."""

import json
import math
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector.utils import concatenate, create_empty_array
from space_envs import space_config
from typer.testing import CliRunner

from ppo_bbrl import DiscretePolicy, PPOClip, export_policy, load
from ppo_bbrl.cli.commands import app
from ppo_bbrl.envs.actions import each_action, leaves
from ppo_bbrl.envs.masks import sizes_of
from ppo_bbrl.envs.parts import parts_of, taken_apart
from ppo_bbrl.errors import UserError
from ppo_bbrl.runs.export import ABOUT
from ppo_bbrl.runs.policy_module import PolicyModule

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
LSTM, GRU = ({"architecture": {"memory": kind, "memory_size": 8}} for kind in ("lstm", "gru"))
HIDDEN = {"actor_hidden_size": [8], "critic_hidden_size": [8]}
STATE_STD = {"architecture": {"state_dependent_std": True} | HIDDEN}

#: observation, action, keys of the algorithm
KINDS = [
    ("vector", "discrete", {"normalize_observation": True, "clip_observation": 1.5}),
    ("integers", "box", {}),
    ("discrete", "box", {"squash_actions": True}),
    ("multi_discrete", "unbounded", STATE_STD),
    ("vector", "box", {"use_sde": True, "squash_actions": True}),
    ("image", "multi_discrete", GRU),
    ("multi_binary", "multi_binary", {}),
    ("dict", "dict", {"normalize_observation": True} | LSTM),
    ("dict", "tuple", {"squash_actions": True, "policy_keys": ["near", "far/place"]}),
    ("tuple", "discrete", LSTM),
]
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed: ppo-bbrl[export]",
)


def saved(observation, action, **settings):
    """A run with weights that make a difference, and with statistics."""
    algo = PPOClip(space_config(observation, action, **settings))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in algo.train_policy.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        for module in algo.train_policy.modules():
            if type(module).__name__ == "RunningMoments":
                module.update(3 + 2 * torch.randn(50, *module.mean.shape))
    algo.evaluate(force=True)
    algo.close()
    return algo.base_dir


def observations(space, n):
    """Random ones, with their parts by the names of the inputs."""
    space.seed(0)
    many = [space.sample() for _ in range(n)]
    rows = zip(*(taken_apart(space, one) for one in many), strict=True)
    paths = parts_of(space)
    inputs = {
        f"observation/{path}" if path else "observation": np.stack(row)
        for path, row in zip(paths, rows, strict=True)
    }
    return many, inputs


def as_typed(inputs, ports):
    """Only what the policy sees, in the types of its inputs."""
    return {p.name: inputs[p.name].astype(p.dtype) for p in ports if p.name in inputs}


def flat(space, action):
    """An action as one row of numbers."""
    parts = zip(parts_of(space).values(), taken_apart(space, action), strict=True)
    return np.concatenate([np.ravel(part).astype(np.float64) for _, part in parts])


def check_equal(space, found, expected, where=""):
    """Numbers to 1e-5, relative to the range of what is wide; indices and bits all the same."""
    width = [
        isinstance(part, Box) for part in leaves(space) for _ in range(math.prod(part.shape or ()))
    ]
    found = found.reshape(len(found), -1).astype(np.float64)
    expected = np.stack([flat(space, one) for one in expected])
    numbers = np.array(width)
    np.testing.assert_allclose(found[:, numbers], expected[:, numbers], atol=1e-5, rtol=1e-5)
    others = (found != expected)[:, ~numbers].any(-1) if (~numbers).any() else np.zeros(1)
    assert others.mean() <= 1e-3, where  # ties of logits


def steps(policy, act, ports, n, with_masks=False):
    """Compare n observations in a row of `policy.predict` with `act(inputs)`, in two batches."""
    rows = n // 2
    many, inputs = observations(policy.observation_space, 2 * rows)
    state = [np.zeros((rows, *p.shape), np.float32) for p in ports if p.name == "memory"]
    random = np.random.default_rng(0)
    policy.reset()
    for half in range(2):
        span = slice(half * rows, (half + 1) * rows)
        given = as_typed({name: one[span] for name, one in inputs.items()}, ports)
        if state:
            given["memory"] = state[0]
        masks = None
        for port in ports if with_masks else ():
            if port.name == "action_mask":
                masks = random.random((rows, *port.shape)) < 0.6
                masks = allowing(policy.action_space, masks)
                given["action_mask"] = masks
        expected = policy_actions(policy, many[span], masks)
        action, *state = act(given)
        check_equal(policy.action_space, action, expected)


def allowing(space, masks):
    """Masks in which each component has an allowed value."""
    ends = np.cumsum(sizes_of(space))[:-1]
    for part in np.split(masks, ends, axis=1):
        part[~part.any(-1), 0] = True
    return masks


def policy_actions(policy, many, masks):
    """What `predict` says, for a batch."""
    space = policy.observation_space
    batch = concatenate(space, many, create_empty_array(space, len(many)))
    actions = policy.predict(batch, action_mask=masks)
    return each_action(policy.action_space, actions, len(many))


def in_torch(module, ports):
    def act(given):
        n = len(next(iter(given.values())))
        everything = {p.name: np.ones((n, *p.shape), bool) for p in ports if p.optional}
        given = everything | given
        made = [torch.from_numpy(np.ascontiguousarray(given[port.name])) for port in ports]
        return [one.numpy() for one in module(*made)]

    return act


@pytest.mark.wide(5)
@pytest.mark.parametrize(("observation", "action", "settings"), KINDS)
def test_what_is_exported_acts_as_the_policy(observation, action, settings):
    policy = load(saved(observation, action, **settings))
    module = PolicyModule(policy.agent.wrapped, policy.seen, policy.action_space)
    with torch.no_grad():
        for masks in (False, True):
            steps(policy, in_torch(module, module.inputs), module.inputs, 40, masks)


def in_onnx(file):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options)
    return lambda given: session.run(None, given)


def check_onnx(run, n):
    made = export_policy(run, onnx="policy.onnx")
    for masks in (False, True):
        steps(load(run), in_onnx("policy.onnx"), made.inputs, n, masks)
    return made


@needs_onnx
@pytest.mark.parametrize(("observation", "action", "settings"), [KINDS[7]])
def test_onnx_runtime_gives_the_same_actions(observation, action, settings):
    """With memory, masks, images, statistics; in batches and one by one."""
    run = saved(observation, action, **settings)
    check_onnx(run, 40)
    check_onnx_of_one(run)


def check_onnx_of_one(run):
    policy = load(run)
    steps(policy, in_onnx("policy.onnx"), export_ports(policy), 2)


def export_ports(policy):
    return PolicyModule(policy.agent.wrapped, policy.seen, policy.action_space).inputs


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize(("observation", "action", "settings"), KINDS)
def test_onnx_runtime_gives_the_same_10000_actions(observation, action, settings):
    check_onnx(saved(observation, action, **settings), 10_000)


@pytest.mark.parametrize(("observation", "action", "settings"), [KINDS[0], KINDS[9]])
def test_torch_export_gives_the_same_actions(observation, action, settings):
    run = saved(observation, action, **settings)
    made = export_policy(run, torch_export="policy.pt2")
    extra = {ABOUT: ""}
    module = torch.export.load("policy.pt2", extra_files=extra).module()
    about = json.loads(extra[ABOUT])
    assert about["env_name"] == "Space-v0"
    assert [port["name"] for port in about["inputs"]] == [port.name for port in made.inputs]
    for masks in (False, True):
        steps(load(run), in_torch(module, made.inputs), made.inputs, 40, masks)


@needs_onnx
def test_the_command_and_the_page_s_snippet():
    """The file says what it is, tells nothing of this machine, and its default is no mask."""
    import onnx

    run = saved("vector", "discrete", **LSTM)
    done = CliRunner().invoke(app, ["export", str(run), "--onnx", "policy.onnx"])
    assert done.exit_code == 0, done.output
    for word in ("observation", "memory", "action_mask", "InferenceSession"):
        assert word in done.output
    model = onnx.load("policy.onnx")
    about = {prop.key: prop.value for prop in model.metadata_props}
    assert about["env_name"] == "Space-v0"
    assert json.loads(about["action_names"]) == ["action"]
    content = Path("policy.onnx").read_bytes()
    assert not any(word in content for word in (b"site-packages", b"src/", b".py"))

    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1], names)
    policy = load(run)
    many, _ = observations(policy.observation_space, 6)
    for step, observation in enumerate(many):
        if step == 3:
            names["forget"]()
            policy.reset()
        assert names["act"](observation) == policy.predict(observation)


def test_what_cannot_be_exported_is_one_line_and_no_file():
    run = saved("vector", "box")
    Path("folder").mkdir()
    for arguments, told in [
        ({}, "nothing to export"),
        ({"torch_export": "folder"}, "folder"),
        ({"onnx": "a", "torch_export": "a"}, "one file"),
        ({"onnx": "a.pt2"}, r"a\.pt2: \.pt2 promises .* ends in \.onnx"),
        ({"torch_export": "a.onnx"}, r"ends in \.pt2"),
        ({"torch_export": "a", "which": "first"}, "best, last"),
    ]:
        with pytest.raises(UserError, match=told):
            export_policy(run, **arguments)
    done = CliRunner().invoke(app, ["export", str(run)])
    assert done.exit_code == 2
    assert not [*Path().glob("a*")]
    assert not [*Path("folder").iterdir()]


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("ppo_bbrl.runs.export.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"onnxscript.*pip install 'ppo-bbrl\[export\]'"):
        export_policy("anywhere", onnx="policy.onnx")


def test_own_agents_cannot_be_exported():
    class Mine(DiscretePolicy):
        pass

    cfg = space_config("vector", "discrete")
    algo = PPOClip(cfg, train_policy=Mine(3, [4], 3))
    algo.evaluate(force=True)
    algo.close()
    with pytest.raises(UserError, match="Mine"):
        export_policy(algo.base_dir, torch_export="a.pt2")
    assert not Path("a.pt2").exists()
