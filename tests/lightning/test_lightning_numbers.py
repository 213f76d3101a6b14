"""Lightning's PPO on other precisions, numbers of NumPy, other distributions, in threads."""

import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from lightning_models import SPACES, Model, Steps, trainer
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)
from torch.distributions.transforms import TanhTransform

from ppo_bbrl.errors import UserError
from ppo_bbrl.lightning import make_vec_env


def model(cls=Model, observation="Box", action="Discrete", **kwargs):
    spaces = {"observation_space": SPACES[observation], "action_space": SPACES[action]}
    settings = {"buffer_length": 16, "batch_size": 8, "epochs_per_rollout": 2, "seed": 1}
    settings |= {"env": make_vec_env(Steps, 2, env_kwargs=spaces), "eval_env": Steps(**spaces)}
    return cls(**(settings | {"num_eval_episodes": 1} | kwargs))


def trained(made, **kwargs):
    trainer(**kwargs).fit(made)
    assert all(parameter.isfinite().all() for parameter in made.parameters())
    return {parameter.dtype for parameter in made.parameters()}


@pytest.mark.parametrize("observation", ["Box", "Discrete", "MultiDiscrete", "MultiBinary"])
def test_torchs_default_may_be_float64(observation):
    torch.set_default_dtype(torch.float64)
    try:
        assert trained(model(observation=observation)) == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("action", ["Box", "Discrete", "MultiDiscrete"])
def test_a_model_may_be_float64(action):
    """Observations reach it in its precision, when it acts and when it learns."""
    assert trained(model(action=action, target_kl=1.0).double()) == {torch.float64}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_refused(dtype):
    with pytest.raises(UserError, match=rf"{dtype}; must be torch.float32 or torch.float64"):
        trainer().fit(model().to(dtype))


def test_numbers_of_numpy_are_numbers_and_checkpoints_hold_pythons(tmp_path):
    made = model(
        buffer_length=np.int64(16),
        batch_size=np.int32(8),
        num_rollouts=np.int64(1),
        epochs_per_rollout=np.uint8(2),
        seed=np.int64(1),
        gamma=np.float32(0.5),
        lr=np.float64(1e-2),
    )
    plain = model(gamma=0.5, lr=1e-2)
    fit = trainer()
    fit.fit(made)
    trainer().fit(plain)
    for one, other in zip(made.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    fit.save_checkpoint(tmp_path / "it.ckpt")
    kept = torch.load(tmp_path / "it.ckpt", weights_only=True)["hyper_parameters"]
    assert kept["lr"] == 1e-2
    assert not any(isinstance(value, np.generic) for value in kept.values())


class Masked(Model):
    """Its first action is forbidden."""

    def forward(self, x):
        dist, value = super().forward(x)
        first = torch.arange(dist.logits.shape[-1]) == 0
        return Categorical(logits=dist.logits.masked_fill(first, -torch.inf)), value


class Squashed(Model):
    def forward(self, x):
        dist, value = super().forward(x)
        return TransformedDistribution(dist, [TanhTransform(cache_size=1)]), value


class Mixed(Model):
    def forward(self, x):
        dist, value = super().forward(x)
        mean = torch.stack((dist.mean, -dist.mean), 1)
        weights = Categorical(logits=mean.new_zeros(len(mean), 2))
        return MixtureSameFamily(weights, Independent(Normal(mean, 1.0), 1)), value


class Wide(Independent):
    def entropy(self):
        return self.base_dist.entropy()


class WideEntropy(Model):
    def forward(self, x):
        dist, value = super().forward(x)
        return Wide(dist.base_dist, 1), value


def test_masks_and_squashed_gaussians_are_learned():
    trained(model(Masked, entropy_coef=0.01))
    trained(model(Squashed, action="Box", entropy_coef=0.01))


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Mixed, "MixtureSameFamily has no mode"),
        (WideEntropy, r"entropy of Wide has shape \[2, 2\]"),
    ],
)
def test_what_it_cannot_do_without_is_one_line_before_the_first_step(cls, expected):
    made, steps = model(cls, action="Box"), []
    made.env.step = lambda _: steps.append(1)
    with pytest.raises(UserError, match=expected) as error:
        trainer().fit(made)
    assert "\n" not in str(error.value)
    assert not steps


def test_trainings_in_two_threads_are_what_each_is_alone():
    """Of models without dropout that were made before: what is in docs/lightning.md."""
    alone = {seed: weights(model(seed=seed)) for seed in (1, 2)}
    made = {seed: model(seed=seed) for seed in (1, 2)}
    together = {}

    def train(seed):
        together[seed] = weights(made[seed])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=train, args=(seed,)) for seed in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert all(torch.equal(together[seed], alone[seed]) for seed in alone)


class Reseeding(Steps):
    """Sets torch's global generator in each step, as another thread's Trainer does at its start."""

    def step(self, action):
        torch.manual_seed(0)
        return super().step(action)


@pytest.mark.parametrize("deterministic", [True, False])
def test_whoever_sets_the_global_generator_changes_no_action(deterministic):
    def results(env):
        made = model(env=make_vec_env(env, 2), eval_env=env())
        return weights(made), made.evaluate(2, deterministic=deterministic)

    (expected, returns), (found, other_returns) = results(Steps), results(Reseeding)
    assert torch.equal(found, expected)
    assert other_returns == returns


def weights(made):
    trainer(max_epochs=2).fit(made)
    return torch.cat([parameter.detach().flatten() for parameter in made.parameters()])


def test_half_precision_that_ends_in_nan_is_refused():
    """Around the training, or as the Trainer's own."""
    with torch.autocast("cpu"), pytest.raises(UserError, match=r"torch\.autocast is on"):
        trainer().fit(model())
    with pytest.raises(UserError, match=r"16-true.*use 16-mixed or bf16-mixed"):
        trainer(precision="16-true").fit(model())


class Detached(Model):
    policy, value = True, True

    def forward(self, x):
        dist, value = super().forward(x)
        if self.policy:
            dist = Categorical(logits=dist.logits.detach())
        return dist, value.detach() if self.value else value


class Listed(Model):
    def forward(self, x):
        self.layers = vars(self).get("layers") or [torch.nn.Linear(1, 1)]
        dist, value = super().forward(x)
        return dist, self.layers[0](value[:, None]).squeeze(-1)


class Forgetful(Model):
    def configure_optimizers(self):
        return torch.optim.Adam(self.actor.parameters())


def test_what_cannot_learn_is_refused_and_what_does_not_is_told():
    with pytest.raises(UserError, match=r"^forward\(x\): its loss has no gradient"):
        trainer().fit(model(Detached))
    only_value = model(Detached)
    only_value.value = False
    with pytest.warns(UserWarning, match="the log-probability has no gradient"):
        trainer().fit(only_value)
    with pytest.warns(UserWarning, match=r"Listed: its loss .*nn\.ModuleList"):
        trainer().fit(model(Listed))


def test_weights_that_no_optimiser_holds_are_told_of():
    """Those of a head that was forgotten; frozen ones are meant so."""
    told = r"no optimiser holds critic\.weight, critic\.bias"
    with pytest.warns(UserWarning, match=told):
        trainer().fit(model(Forgetful))
    frozen = model(Forgetful)
    frozen.critic.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", told)
        trainer().fit(frozen)
