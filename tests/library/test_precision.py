"""float64 works everywhere, whoever asks for it; half precision is refused by name."""

import copy

import numpy as np
import pytest
import torch
from probe_envs import config
from torch import nn

from ppo_bbrl import DiscretePolicy, GaussianPolicy, PPOClip, VAgent, run, shared_agents
from ppo_bbrl.errors import UserError
from ppo_bbrl.fast import compiled
from ppo_bbrl.hub import PPO2


@pytest.fixture
def double():
    """torch's default is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(cfg, **agents):
    """A short training, evaluated; the precisions of its weights."""
    algo = PPOClip(cfg, **agents)
    run(algo)
    algo.evaluate(force=True)
    algo.close()
    learned = [*algo.train_policy.parameters(), *algo.critic_agent.parameters()]
    assert all(parameter.isfinite().all() for parameter in learned)
    return {parameter.dtype for parameter in learned}


@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox", "Pixels", "FrozenLake-v1"])
@pytest.mark.usefixtures("double")
def test_torchs_default_may_be_float64(env_name):
    assert trained(config(env_name)) == {torch.float64}


@pytest.mark.parametrize("engine", ["never", "always"])
def test_float32_agents_work_where_the_default_is_float64(engine, monkeypatch):
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    agents = {"train_policy": GaussianPolicy(2, [8], 2), "critic_agent": VAgent(2, [8])}
    torch.set_default_dtype(torch.float64)
    try:
        cfg = config("LoggedBox") | {"compute": {"compile": engine, "threads": 1}}
        assert trained(cfg, **agents) == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["train_policy", "critic_agent"])
def test_weights_without_values_are_told(name):
    """On the device meta there are shapes and no numbers."""
    algo = PPOClip(config("Logged"))
    getattr(algo, name).to("meta")
    with pytest.raises(UserError, match=f"{name}: .*meta"):
        run(algo)
    algo.close()


def test_another_device_for_all_tensors_is_told():
    with torch.device("meta"), pytest.raises(UserError, match="default device is 'meta'"):
        PPOClip(config("Logged"))
    algo = PPOClip(config("Logged"))
    with torch.device("meta"), pytest.raises(UserError, match="default device is 'meta'"):
        run(algo)
    algo.close()


AGENTS = {
    "policy": lambda: {"train_policy": DiscretePolicy(2, [8], 3).double()},
    "critic": lambda: {"critic_agent": VAgent(2, [8]).double()},
    "both": lambda: {
        "train_policy": DiscretePolicy(2, [8], 3).double(),
        "critic_agent": VAgent(2, [8]).double(),
    },
    "one model": lambda: dict(
        zip(("train_policy", "critic_agent"), shared_agents(PPO2(2, 8, 3).double()), strict=True)
    ),
}


@pytest.mark.parametrize("case", AGENTS)
def test_agents_may_be_float64(case):
    assert torch.float64 in trained(config("Logged"), **AGENTS[case]())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("told", [4, (4,), (2, 2)])
def test_observations_are_taken_in_the_precision_of_the_weights(dtype, told):
    """Gymnasium's float64 observations, as of MuJoCo, meet float32 weights."""
    obs = torch.randn(3, 4).reshape(3, *(told if isinstance(told, tuple) else (told,)))
    critic, policy = VAgent(told, [8]), DiscretePolicy(told, [8], 2)
    rounded = obs.to(dtype)
    assert torch.equal(critic.value(rounded), critic.value(rounded.float()))
    assert torch.equal(policy.logits(rounded), policy.logits(rounded.float()))


def test_float64_agents_lose_no_digits_of_the_observations():
    obs = torch.randn(3, 2, 2, dtype=torch.float64)
    critic = VAgent((2, 2), [8]).double()
    near = obs + 1e-12
    assert not torch.equal(critic.value(obs), critic.value(near))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_hub_model_takes_arrays(dtype):
    model = PPO2(4, 8, 2)
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(dtype)
    expected = model(torch.tensor(obs, dtype=torch.float32), action=torch.zeros(5, dtype=int))
    found = model(obs, action=np.zeros(5, int))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_hub_models_loss_takes_arrays():
    """Whatever comes from a buffer is NumPy's, often float64; what learns is a tensor."""
    model, random = PPO2(4, 8, 2), np.random.default_rng(0)
    value, _, neg_log_prob, entropy = model(random.normal(size=(5, 4)))
    returns, advantages, old_values, old_nll = random.normal(size=(4, 5))
    total, *_ = model.loss(
        returns, value, neg_log_prob, entropy, advantages, old_values, old_nll,
        np.float64(0.2), np.float32(0.01), 0.5,
    )  # fmt: skip
    expected, *_ = model.loss(
        *(torch.tensor(returns), value, neg_log_prob, entropy, torch.tensor(advantages)),
        *(torch.tensor(old_values), torch.tensor(old_nll), 0.2, 0.01, 0.5),
    )
    torch.testing.assert_close(total, expected)
    total.backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


class Trunk(nn.Module):
    """A model of one's own, which knows nothing of precision."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 4)

    def forward(self, x):
        out = self.layer(x)
        return torch.distributions.Categorical(logits=out[:, :3]), out[:, 3]


@pytest.mark.usefixtures("double")
def test_a_trunk_of_ones_own_may_be_float64():
    policy, critic = shared_agents(Trunk())
    cfg = config("Logged")
    assert trained(cfg, train_policy=policy, critic_agent=critic) == {torch.float64}


def test_single_precision_is_what_it_was():
    """The cast is of other precisions alone: a float32 network is not even copied through."""
    critic = VAgent(4, [8])
    obs = torch.randn(3, 4)
    same = copy.deepcopy(critic)
    assert torch.equal(critic.value(obs), same.value(obs.double()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_as_torchs_default_is_refused(dtype):
    torch.set_default_dtype(dtype)
    try:
        with pytest.raises(UserError, match=rf"{dtype}.: must be torch.float32 or torch.float64"):
            PPOClip(config("Logged"))
    finally:
        torch.set_default_dtype(torch.float32)


def test_autocast_is_refused():
    """Networks would act and learn in bfloat16, and the numbers be others, without a word."""
    algo = PPOClip(config("Logged"))
    with torch.autocast("cpu"), pytest.raises(UserError, match=r"torch\.autocast is on"):
        run(algo)
    algo.close()
    with torch.autocast("cpu"), pytest.raises(UserError, match="precision"):
        PPOClip(config("Logged"))
