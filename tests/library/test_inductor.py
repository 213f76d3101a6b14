"""The update through torch's own compiler, Inductor: each new key and each kind of policy.

`test_engines.py` has the same settings traced, which takes no compiler. Compiling takes a minute.
"""

import masked_envs  # noqa: F401 - registers them
import pytest
import space_envs  # noqa: F401 - likewise
import torch
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.fast.compiled import CompiledUpdate

SMALL = {"actor_hidden_size": [8], "critic_hidden_size": [8]}
EVERYTHING = {
    "normalize_observation": True, "clip_observation": 1.0, "normalize_reward": True,
    "clip_reward": 1.0, "normalize_value": True, "clip_range_vf": 0.2, "normalize_advantage": True,
    "dual_clip": 2.0, "clip_range": 0.1, "clip_range_high": 0.15, "clip_range_schedule": "linear",
    "kl_penalty": 0.5, "kl_target": 0.01, "learning_rate_schedule": "adaptive_kl",
    "entropy_coef": 0.1, "entropy_schedule": "linear", "global_grad_norm": True,
    "max_grad_norm": 0.05, "recompute_advantage": True, "batch_size": 13,
}  # fmt: skip


def spaces(observation, action):
    return {"env_name": "Space-v0", "env_args": {"observation": observation, "action": action}}


#: the environment, and settings of `algorithm`
CASES = {
    "everything": ({"env_name": "CartPole-v1"}, EVERYTHING),
    "one minibatch": ({"env_name": "CartPole-v1"}, EVERYTHING | {"batch_size": 0}),
    "no clipping": (
        {"env_name": "CartPole-v1"},
        {"clip_range": None, "kl_penalty": 0.5, "kl_target": 1e-3},
    ),
    "everything, continuous": ({"env_name": "Pendulum-v1"}, EVERYTHING | {"squash_actions": True}),
    "several discrete actions": (spaces("vector", "multi_discrete"), {}),
    "flags": (spaces("vector", "multi_binary"), {}),
    "dicts": (spaces("dict", "dict"), {"entropy_coef": 0.01}),
    "everything, dicts": (spaces("dict", "tuple"), EVERYTHING),
    "masks": (
        {"env_name": "Masked-v0", "env_args": {"nvec": [3, 4]}},
        {"entropy_coef": 0.01},
    ),
    "gSDE": (
        spaces("vector", "box"),
        {"use_sde": True, "squash_actions": True, "entropy_coef": 0.01},
    ),
    "images on a shared trunk": (
        spaces("image", "box"),
        {"architecture": SMALL | {"features": "cnn", "shared_trunk": True}},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_compiled_and_eager_runs_end_with_the_same_weights(case):
    gym_env, settings = CASES[case]
    weights = []
    for how in ("never", "always"):
        torch.manual_seed(0)
        cfg = config("CartPole-v1", **{"architecture": SMALL, **settings})
        algo = PPOClip(cfg | {"gym_env": gym_env, "compute": {"compile": how, "threads": 1}})
        first = [weight.detach().clone() for weight in algo.train_policy.parameters()]
        run(algo)
        weights.append([*algo.train_policy.parameters(), *algo.critic_agent.parameters()])
        assert any(not torch.equal(*pair) for pair in zip(first, weights[-1], strict=False))
    assert isinstance(algo._engine, CompiledUpdate)
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-5)
