"""Policy and critic on one model: one run, one gradient, one norm, one optimiser."""

import copy
import math
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from probe_envs import config, fresh_log
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from ppo_bbrl import KWAgentWrapper, PPOClip, run, shared_agents
from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.agents.shared import SharedPolicy
from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.fast import compiled
from ppo_bbrl.fast.compiled import CompiledUpdate
from ppo_bbrl.hub import PPO2
from ppo_bbrl.runs.best_policy import load_policy, restore
from ppo_bbrl.update import Objective, Update


class Own(nn.Module):
    """As a user of Lightning writes it."""

    def __init__(self, inputs=3, actions=2, dropout=0.0):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Dropout(dropout))
        self.actor = nn.Sequential(nn.Linear(8, actions), nn.Softmax(dim=1))
        self.critic = nn.Linear(8, 1)

    def forward(self, x):
        latent = self.trunk(x)
        return Categorical(probs=self.actor(latent)), self.critic(latent).flatten()


class OwnBox(nn.Module):
    """For actions of two numbers, each a batch entry of its own to torch."""

    def __init__(self):
        super().__init__()
        self.trunk, self.mean, self.v = nn.Linear(2, 8), nn.Linear(8, 2), nn.Linear(8, 1)
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        latent = self.trunk(x).tanh()
        return Normal(self.mean(latent), self.log_std.exp()), self.v(latent).squeeze(-1)


MODELS = {
    "PPO2": ("Chance", lambda: PPO2(3, 8, 2)),
    "own": ("Chance", Own),
    "own, continuous": ("LoggedBox", OwnBox),
}


def algorithm(env_name, make, how="never", optimizer=None, **settings):
    """A model and the algorithm that trains it; the same each time."""
    fresh_log()
    torch.manual_seed(0)
    model = make()
    policy, critic = shared_agents(model)
    cfg = config(env_name, **settings) | {"compute": {"compile": how, "threads": 1}}
    cfg["optimizer"] = optimizer or {"classname": "torch.optim.Adam", "lr": 1e-2}
    return model, PPOClip(cfg, train_policy=policy, critic_agent=critic)


def first_rollout(algo):
    return algo.record(next(algo.iter_partial_episodes(algo.cfg.algorithm.n_steps + 1)))


def joint_loss(model, rollout, settings):
    """The objective as it is defined, by torch's distributions alone."""
    run_model = getattr(model, "dist_and_value", model)
    dist, value = run_model(rollout.variables["env/env_obs"])
    log_probs, entropies = dist.log_prob(rollout.variables["action"]), dist.entropy()
    if log_probs.dim() > 1:
        log_probs, entropies = log_probs.sum(-1), entropies.sum(-1)
    ratio, advantage = (log_probs - rollout.log_prob).exp(), rollout.advantage
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    objective = torch.min(ratio * advantage, clipped * advantage).mean()
    return (
        -settings.policy_coef * objective
        - settings.entropy_coef * entropies.mean()
        + settings.critic_coef * (value - rollout.returns).square().mean()
    )


# ------------------------------------------------------------------------------------- the step


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("max_grad_norm", [0.05, None])
@pytest.mark.parametrize("flat", [True, False])
def test_steps_follow_the_joint_gradient_with_one_norm(case, max_grad_norm, flat):
    """Against the losses written out and torch's own Adam, three steps on a whole rollout."""
    env_name, make = MODELS[case]
    model, algo = algorithm(
        env_name, make, batch_size=0, opt_epochs=3, max_grad_norm=max_grad_norm,
        entropy_coef=0.1, critic_coef=0.7, policy_coef=1.2,
    )  # fmt: skip
    rollout = first_rollout(algo)
    alone = copy.deepcopy(model)
    parameters = list(alone.parameters())
    optimizer, norms = torch.optim.Adam(parameters, lr=1e-2), []
    for _ in range(3):
        gradients = torch.autograd.grad(joint_loss(alone, rollout, algo.cfg.algorithm), parameters)
        norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
        factor = min(1.0, (max_grad_norm or math.inf) / norms[-1])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = factor * gradient
        optimizer.step()
    if flat:
        report = algo.update(rollout)
    else:
        objective = Objective(algo._learners(), algo._settings, algo.losses)
        now = Coefficients(clip_range=algo.cfg.algorithm.clip_range)
        report = Update()(rollout, objective, coefficients=now, generator=torch.Generator())
    told = {name: float(x) for name, x in report.metrics.items() if name.startswith("grad_norm")}
    assert told == {"grad_norm/shared": pytest.approx(sum(norms) / 3, rel=1e-4)}
    assert max_grad_norm is None or norms[0] > max_grad_norm, "clipping was needed"
    for mine, expected in zip(model.parameters(), parameters, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)
    algo.close()


def test_heads_that_only_one_agent_has_are_clipped_with_the_rest():
    """Two agents that have a layer in common: one step, whose length is the limit's."""
    policy, critic = DiscretePolicy(3, [8], 2), VAgent(3, [8])
    critic.model[0] = policy.model[0]
    cfg = config("Chance", batch_size=0, opt_epochs=1, max_grad_norm=1e-3)
    cfg["optimizer"] = {"classname": "torch.optim.SGD", "lr": 0.5}
    algo = PPOClip(cfg, train_policy=policy, critic_agent=critic)
    weights = torch.nn.ModuleList((policy, critic)).parameters
    before = torch.nn.utils.parameters_to_vector(weights()).detach()
    report = algo.update(first_rollout(algo))
    moved = torch.nn.utils.parameters_to_vector(weights()).detach() - before
    assert report.metrics["grad_norm/shared"] > 1e-2
    assert float(moved.norm()) == pytest.approx(0.5 * 1e-3, rel=1e-3)
    algo.close()


@pytest.mark.parametrize("case", MODELS)
def test_there_is_one_optimiser_with_each_parameter_once(case):
    env_name, make = MODELS[case]
    model, algo = algorithm(env_name, make)
    assert algo.policy_optimizer is algo.critic_optimizer
    held = [p for group in algo.policy_optimizer.param_groups for p in group["params"]]
    assert len(held) == len(list(model.parameters()))
    assert set(held) == set(model.parameters())
    assert algo.old_policy.model is algo.old_critic_agent.model
    assert algo.old_policy.model is not model
    algo.close()


def test_the_model_runs_once_in_a_minibatch_and_acts_without_dropout():
    """And once for a whole rollout; it learns in training mode, and is left in it."""
    model, algo = algorithm("Chance", lambda: Own(dropout=0.5), n_steps=16, batch_size=20)
    runs = []  # whether each run was in training mode
    model.register_forward_hook(lambda *_: runs.append(model.training))
    rollout = first_rollout(algo)
    assert runs == [False] * (17 + 1)
    runs.clear()
    report = algo.update(rollout)
    assert runs == [True] * report.n_minibatches
    assert report.n_minibatches > 4
    assert all(module.training for module in model.modules())
    algo.close()


@pytest.mark.parametrize("case", MODELS)
def test_the_ratio_of_the_first_minibatch_is_1(case):
    env_name, make = MODELS[case]
    _, algo = algorithm(env_name, make, batch_size=0, opt_epochs=1)
    for _ in range(3):
        metrics = algo.update(first_rollout(algo)).metrics
        assert abs(float(metrics["approx_kl"])) < 1e-6
        assert metrics["clip_fraction"] == 0
    algo.close()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_same_seed_gives_the_same_run(dropout):
    """Dropout draws from a stream of its own, whoever else uses torch's generator."""
    states = []
    for other in (1, 2):
        model, algo = algorithm("Chance", lambda: Own(dropout=dropout), eval_interval=50)
        torch.manual_seed(other)
        run(algo)
        algo.close()
        states.append(model.state_dict())
    for one, two in zip(states[0].values(), states[1].values(), strict=True):
        assert torch.equal(one, two)


def test_heads_of_two_models_are_separate_networks():
    """Nothing is shared: two optimisers, two norms."""
    policy, critic = shared_agents(Own())[0], shared_agents(Own())[1]
    algo = PPOClip(config("Chance"), train_policy=policy, critic_agent=critic)
    assert algo.policy_optimizer is not algo.critic_optimizer
    metrics = algo.update(first_rollout(algo)).metrics
    assert {"grad_norm/policy", "grad_norm/critic"} < set(metrics)
    algo.close()


class Warmer(SharedPolicy):
    def dist(self, obs):
        return Categorical(logits=super().dist(obs).logits / 10)


def test_a_head_that_a_subclass_changes_learns_as_it_acts():
    """The one run of the model would leave the change out."""
    model = Own()
    _, critic = shared_agents(model)
    algo = PPOClip(
        config("Chance", batch_size=0, opt_epochs=1),
        train_policy=Warmer(model),
        critic_agent=critic,
    )
    rollout = first_rollout(algo)
    dist = Categorical(logits=model(rollout.variables["env/env_obs"])[0].logits / 10)
    torch.testing.assert_close(rollout.log_prob, dist.log_prob(rollout.variables["action"]))
    assert abs(float(algo.update(rollout).metrics["approx_kl"])) < 1e-6
    algo.close()


# ------------------------------------------------------------------------------------- compiled


@pytest.mark.wide(1)
@pytest.mark.parametrize("case", ["PPO2", "own", "own, continuous"])
def test_the_compiled_update_agrees_or_falls_back(case, monkeypatch, capsys):
    """Whichever it is: the same weights, and at most one line."""
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    env_name, make = MODELS[case]
    results = []
    for how in ("never", "always"):
        model, algo = algorithm(env_name, make, how, batch_size=13, max_grad_norm=0.1)
        run(algo)
        algo.close()
        results.append(list(model.parameters()))
    told = [line for line in capsys.readouterr().out.splitlines() if "not compiled" in line]
    assert len(told) == (not isinstance(algo._engine, CompiledUpdate))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


# ------------------------------------------------------------------- what is around the learning


def test_evaluation_best_policy_checkpoint_and_replay():
    """As with the package's agents."""
    model, algo = algorithm("Logged", lambda: PPO2(2, 8, 3), eval_interval=50, max_epochs=4)
    algo.cfg.save_best = True
    run(algo)
    assert algo.best_reward > -math.inf
    assert algo.best_policy.wrapped.model is not model
    saved = load_policy(algo.folder.best)
    again, _ = shared_agents(PPO2(2, 8, 3))
    restore(KWAgentWrapper(again, stochastic=False), saved)
    for one, two in zip(again.parameters(), algo.best_policy.wrapped.parameters(), strict=True):
        assert torch.equal(one, two)
    assert algo.record_best().stat().st_size > 0
    assert Path(algo.folder.metrics).read_text().splitlines()[0].count("grad_norm/shared") == 1
    algo.close()


def test_a_model_with_an_environment_is_copied_without_it():
    """A LightningModule has its environments and its trainer with it, which cannot be copied."""

    class Uncopied:
        def __deepcopy__(self, memo):
            raise TypeError("a process cannot be copied")

    class Env(Uncopied, gym.Env):
        pass

    model = Own()
    model.env, model._trainer = Env(), Uncopied()
    policy, critic = shared_agents(model)
    algo = PPOClip(config("Chance"), train_policy=policy, critic_agent=critic)
    assert algo.old_policy.model.env is model.env
    assert algo.old_policy.model.trunk is not model.trunk
    algo.close()


# ------------------------------------------------------------------------------------- bad input


def answer(function, inputs=3):
    """A model whose forward is a function of observations."""

    class Answers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(inputs, 2)

        def forward(self, x):
            return function(self.layer(x))

    return Answers()


BAD = {
    "other sizes": (lambda: Own(4), "fails on observations [7, 3] torch.float32"),
    "PPO2 of other sizes": (lambda: PPO2(4, 8, 2), "must be [N, 4] floats"),
    "no tuple": (lambda: answer(lambda y: y), "must give (distribution, value), not a tensor"),
    "three": (lambda: answer(lambda y: (y, y, y)), "must give (distribution, value), not a tuple"),
    "no distribution": (lambda: answer(lambda y: (y, y[:, 0])), "the first a torch Distribution"),
    "a column of values": (
        lambda: answer(lambda y: (Categorical(logits=y), y[:, :1])),
        "values of shape [7], not a tensor of shape [7, 1]; value.squeeze(-1)",
    ),
    "more actions": (lambda: Own(3, 3), "Categorical is over 3 actions"),
    "fewer actions": (lambda: Own(3, 1), "Categorical is over 1 actions"),
    "numbers": (
        lambda: answer(lambda y: (Normal(y, 1.0), y[:, 0])),
        "Normal does not fit the action space Discrete(2)",
    ),
    "bits": (
        lambda: answer(lambda y: (Bernoulli(logits=y[:, 0]), y[:, 0])),
        "Bernoulli does not fit the action space Discrete(2)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_model_that_does_not_fit_is_one_error_before_training(case):
    make, reason = BAD[case]
    policy, critic = shared_agents(make())
    state = torch.get_rng_state()
    with pytest.raises(ConfigError) as error:
        PPOClip(config("Chance"), train_policy=policy, critic_agent=critic)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert "on Chance-v0" in str(error.value)
    assert torch.equal(state, torch.get_rng_state())
    assert not list(Path().iterdir())


def test_integers_for_a_box_are_refused():
    policy, critic = shared_agents(Own(2, 2))
    with pytest.raises(ConfigError, match="Categorical does not fit the action space Box"):
        PPOClip(config("LoggedBox"), train_policy=policy, critic_agent=critic)


def test_a_distribution_of_one_event_fits_too():
    class Joint(OwnBox):
        def forward(self, x):
            dist, value = super().forward(x)
            return Independent(dist, 1), value

    rollouts = [first_rollout(algorithm("LoggedBox", make)[1]) for make in (Joint, OwnBox)]
    assert torch.equal(rollouts[0].log_prob, rollouts[1].log_prob)


class Shown(nn.Module):
    """Keeps what it was shown."""

    def forward(self, x):
        self.seen = x
        return Categorical(logits=torch.zeros(len(x), 2)), torch.zeros(len(x))


def test_a_model_gets_floats_in_its_precision_and_everything_else_as_it_is():
    floats, integers = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64)
    double, whole = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    for weight, obs, expected in (
        (double, floats, torch.float64),
        (double, integers, torch.int64),
        (whole, floats, torch.float32),
        (None, floats, torch.float32),
    ):
        model = Shown()
        model.weight = None if weight is None else nn.Parameter(weight, requires_grad=False)
        policy, critic = shared_agents(model)
        for head in (policy.dist, critic.value):
            head(obs)
            assert model.seen.dtype == expected


def test_a_missing_forward_or_something_else_than_a_module():
    with pytest.raises(ConfigError, match="Module has no forward"):
        shared_agents(nn.Module())
    with pytest.raises(ConfigError, match=r"must be an nn.Module, not a function"):
        shared_agents(lambda x: x)
    with pytest.raises(ConfigError, match=r"train_policy is a Own, .*shared_agents\(model\)"):
        PPOClip(config("Chance"), train_policy=Own(), critic_agent=VAgent(3, [8]))
    with pytest.raises(ConfigError, match="critic_agent is a Own"):
        PPOClip(config("Chance"), train_policy=DiscretePolicy(3, [8], 2), critic_agent=Own())


# -------------------------------------------------------------------------------------- learning


@pytest.mark.wide(1)
@pytest.mark.parametrize("make", [lambda: PPO2(1, 16, 2), lambda: Own(1)], ids=["PPO2", "own"])
def test_a_task_of_one_step_is_learned(make):
    """The sign of the observation is the action that pays; then V = 1."""
    model, algo = algorithm(
        "ActionAndObservationDecide", make, n_envs=16, n_steps=16, max_epochs=30, opt_epochs=5,
        batch_size=64, normalize_advantage=True,
    )  # fmt: skip
    run(algo)
    model.eval()
    observations = torch.tensor([[-1.0], [1.0]])
    assert algo.train_policy.dist(observations).probs.diagonal().min() > 0.9
    assert algo.critic_agent.value(observations).detach().tolist() == pytest.approx([1, 1], abs=0.2)
    algo.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_cartpole_is_learned_on_a_shared_trunk(seed):
    torch.manual_seed(seed)
    model = PPO2(4, 64, 2)
    model.reset_parameters()
    policy, critic = shared_agents(model)
    path = Path(__file__).parents[2] / "configs" / "cartpole_fast.yaml"
    cfg = load_config(path, [f"algorithm.seed={seed}", "optimizer.lr=2.5e-3"])
    algo = PPOClip(cfg, train_policy=policy, critic_agent=critic)
    run(algo)
    assert algo.best_reward >= 475
    algo.close()
