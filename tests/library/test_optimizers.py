"""Optimisers by name, and the copying of weights."""

import copy

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from ppo_bbrl.config.optimizers import (
    OPTIMIZERS,
    copy_parameters,
    optimizer_section,
    setup_optimizer,
)
from ppo_bbrl.errors import ConfigError

ADAMW = {"classname": "torch.optim.AdamW", "lr": 1e-3, "eps": 1e-5}


def learn(optimizer, model):
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()


def test_the_seeds_section():
    """Class and arguments arrive; a DictConfig is as good as a dict."""
    for section in (ADAMW, OmegaConf.create(ADAMW)):
        optimizer = setup_optimizer(section, nn.Linear(3, 2))
        assert type(optimizer) is torch.optim.AdamW
        assert optimizer.defaults["lr"] == 1e-3
        assert optimizer.defaults["eps"] == 1e-5
    assert set(ADAMW) == {"classname", "lr", "eps"}  # and the section is what it was


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_allowed_optimizer_steps(name):
    """The allow-list promises that each works with its defaults, without a closure."""
    model = nn.Linear(3, 2)
    before = copy.deepcopy(model.state_dict())
    learn(setup_optimizer({"classname": f"torch.optim.{name}"}, model), model)
    assert not torch.equal(model.weight, before["weight"])
    assert torch.isfinite(model.weight).all()


def test_modules_and_single_parameters():
    """Several agents, and a parameter that belongs to none."""
    model, alone = nn.Linear(3, 2), nn.Parameter(torch.zeros(5))
    optimizer = setup_optimizer(ADAMW, model, alone)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in (*model.parameters(), alone)]


def test_the_fused_implementation_is_the_default():
    """It is several times cheaper on small networks; who chooses otherwise, gets that."""
    model = nn.Linear(3, 2)
    assert setup_optimizer(ADAMW, model).defaults["fused"]
    assert not setup_optimizer({**ADAMW, "fused": False}, model).defaults["fused"]
    assert not setup_optimizer({**ADAMW, "foreach": True}, model).defaults["fused"]


def test_betas_come_as_a_list_from_yaml():
    optimizer = setup_optimizer({**ADAMW, "betas": [0.8, 0.9]}, nn.Linear(3, 2))
    assert optimizer.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    "classname",
    [
        "subprocess.Popen",  # would run its arguments
        "os.system",
        "builtins.eval",
        "torch.optim.LBFGS",  # needs a closure
        "torch.optim.SparseAdam",
        "torch.optim.Optimizer",
        "torch.optim.lr_scheduler.LinearLR",
        "torch.load",
        "AdamW",
        "",
        None,
        3,
    ],
)
def test_only_allowed_classes(classname, monkeypatch):
    """A `classname:` is never imported by name: a configuration cannot run code."""
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(ValueError, match="must be one of ") as error:
        optimizer_section({"classname": classname})
    assert repr(str(classname)) in str(error.value)


def test_an_unknown_argument_is_named():
    with pytest.raises(ValueError, match=r"momentum = 0\.9: AdamW has no such argument; .*betas"):
        optimizer_section({**ADAMW, "momentum": 0.9})
    with pytest.raises(ValueError, match="params"):
        optimizer_section({**ADAMW, "params": []})


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan"), float("inf"), "fast", True, None])
def test_a_learning_rate_is_a_positive_number(rate):
    with pytest.raises(ValueError, match=r"lr = .*: must be a number > 0"):
        optimizer_section({**ADAMW, "lr": rate})


@pytest.mark.parametrize(
    "wrong", [{"eps": -1.0}, {"betas": [2.0, 0.9]}, {"fused": True, "foreach": True}]
)
def test_what_torch_refuses_is_one_error(wrong):
    with pytest.raises(ValueError, match="optimizer: AdamW"):
        setup_optimizer({**ADAMW, **wrong}, nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("AdamW", {"amsgrad": 7}),
        ("AdamW", {"amsgrad": "maybe"}),
        ("AdamW", {"fused": "abc"}),
        ("AdamW", {"foreach": 1}),
        ("AdamW", {"eps": "small"}),
        ("AdamW", {"eps": True}),
        ("AdamW", {"eps": float("nan")}),
        ("AdamW", {"weight_decay": float("inf")}),
        ("AdamW", {"betas": [0.9]}),
        ("AdamW", {"betas": [0.9, 0.99, 0.999]}),
        ("AdamW", {"betas": 0.9}),
        ("AdamW", {"betas": ["a", "b"]}),
        ("SGD", {"nesterov": 1, "momentum": 0.9}),
        ("RMSprop", {"centered": "no way"}),
        ("Rprop", {"etas": [0.5]}),
        ("Adafactor", {"d": None}),
    ],
)
def test_an_argument_has_the_type_of_its_default(name, wrong):
    """torch takes `amsgrad=7` for true, and three betas until the first step."""
    key = next(iter(wrong))
    with pytest.raises(ConfigError) as error:
        optimizer_section({"classname": f"torch.optim.{name}", **wrong})
    assert str(error.value).startswith(f"optimizer.{key} = ")
    assert ": must be " in str(error.value)


def test_numbers_may_be_of_numpy_or_in_strings():
    """`1e-3` of PyYAML is a string, and so is every environment variable."""
    section = {
        "classname": "torch.optim.AdamW",
        "lr": "1e-3",
        "eps": np.float32(0.5),
        "betas": (np.float64(0.8), "0.9"),
        "weight_decay": np.array(0.25),
        "amsgrad": "true",
        "fused": "null",
    }
    defaults = setup_optimizer(section, nn.Linear(3, 2)).defaults
    given = {"lr": 1e-3, "eps": 0.5, "betas": (0.8, 0.9), "weight_decay": 0.25, "amsgrad": True}
    assert {key: defaults[key] for key in given} == given
    assert all(type(value) in (float, bool, tuple) for value in (defaults[key] for key in given))
    assert section["lr"] == "1e-3", "the section is what it was"


# ------------------------------------------------------------------------- copying parameters


def normalised(features=3):
    """A network with buffers: the running statistics of its batch normalisation."""
    return nn.Sequential(nn.Linear(features, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def test_copy_parameters_copies_buffers_too():
    """Upstream copies `parameters()`: running statistics stay behind, and the copy differs."""
    source, target = normalised(), normalised()
    source(torch.randn(64, 3) * 5 + 2)  # moves the running statistics
    copy_parameters(source, target)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name]), name
    obs = torch.randn(8, 3)
    assert torch.equal(source.eval()(obs), target.eval()(obs))


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)),  # a layer less
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)),  # no statistics
        normalised(features=5),
        nn.Linear(3, 1),
    ],
    ids=["shorter", "other layers", "other shape", "other network"],
)
@pytest.mark.parametrize("turned", [False, True])
def test_copy_parameters_refuses_another_architecture(other, turned):
    """Upstream copies what fits (or the first few) and says nothing."""
    source, target = (other, normalised()) if turned else (normalised(), other)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(ValueError, match="cannot copy parameters"):
        copy_parameters(source, target)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_copy_parameters_names_what_differs():
    with pytest.raises(ValueError, match=r"0\.weight is \[4, 5\] in the source and \[4, 3\]"):
        copy_parameters(normalised(features=5), normalised())
    with pytest.raises(ValueError, match=r"only one of the two has .*'1\.bias'"):
        copy_parameters(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)), normalised()[:1])


def test_copies_are_independent_and_keep_their_optimizer():
    """Parameters stay the same objects: an optimiser that was made before still moves them."""
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = setup_optimizer(ADAMW, target)
    copy_parameters(source, target)
    assert torch.equal(source.weight, target.weight)
    assert target.weight.requires_grad
    learn(optimizer, target)
    assert not torch.equal(source.weight, target.weight)
