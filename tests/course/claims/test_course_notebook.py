"""The notebook that this project began with: its configuration, its interface, its own cells.

The text of that notebook is not part of this repository. Where it lies beside it, its cells run
as they are, with the exercise filled in; the same in our own words runs everywhere.
"""

import ast
import copy
import re
from pathlib import Path

import bbrl.agents
import bbrl_utils.nn
import pytest
import torch
from bbrl.utils.functional import gae
from omegaconf import OmegaConf
from torch import nn

import ppo_bbrl
from ppo_bbrl import (
    EpisodicAlgo,
    KWAgentWrapper,
    PPOClip,
    TemporalAgent,
    build_ortho_mlp,
    copy_parameters,
    iter_partial_episodes,
    run,
    setup_optimizer,
    setup_tensorboard,
)

TEXT = Path(__file__).parents[4] / "shared" / "seeds" / "002_1acd1ce968a9e72c.txt"

PARAMS = {
    "base_dir": "${gym_env.env_name}/ppo-clip-S${algorithm.seed}_${current_time:}",
    "save_best": False,
    "logger": {
        "classname": "bbrl.utils.logger.TFLogger",
        "cache_size": 10000,
        "every_n_seconds": 10,
        "verbose": False,
    },
    "algorithm": {
        "seed": 12,
        "max_grad_norm": 0.5,
        "n_envs": 8,
        "n_steps": 32,
        "eval_interval": 1000,
        "nb_evals": 10,
        "gae": 0.8,
        "discount_factor": 0.98,
        "normalize_advantage": False,
        "max_epochs": 5_000,
        "opt_epochs": 10,
        "batch_size": 256,
        "clip_range": 0.2,
        "clip_range_vf": 0,
        "entropy_coef": 2e-7,
        "policy_coef": 1,
        "critic_coef": 1.0,
        "policy_type": "DiscretePolicy",
        "architecture": {
            "actor_hidden_size": [64, 64],
            "critic_hidden_size": [64, 64],
        },
    },
    "gym_env": {
        "env_name": "CartPole-v1",
    },
    "optimizer": {
        "classname": "torch.optim.AdamW",
        "lr": 1e-3,
        "eps": 1e-5,
    },
}


def shortened(params=PARAMS, **algorithm):
    cfg = OmegaConf.create(copy.deepcopy(params))
    cfg.algorithm.update({"max_epochs": 4} | algorithm)
    return cfg


# ------------------------------------------------------------------------- the interface


def test_the_three_lines(capsys):
    """`PPOClip(OmegaConf.create(params))`, `run(ppo_clip)`, `ppo_clip.visualize_best()`.

    All that the notebook's readers know; the configuration is theirs and stays as it was.
    """
    cfg = shortened(max_epochs=8)
    before = OmegaConf.to_yaml(cfg)
    ppo_clip = PPOClip(cfg)
    assert not list(Path().iterdir()), "nothing is written before there is something to write"
    run(ppo_clip)
    video = ppo_clip.visualize_best()

    assert OmegaConf.to_yaml(cfg) == before
    assert Path(video).suffix == ".mp4"
    assert Path(video).stat().st_size > 1000
    assert str(video) in capsys.readouterr().out
    assert ppo_clip.nb_steps > 1900  # 8 × 8 × 32, but for the steps between episodes
    assert ppo_clip.best_reward > 0
    assert ppo_clip.base_dir.parent == Path("outputs/CartPole-v1").absolute()
    assert re.fullmatch(r"ppo-clip-S12_\d{8}-\d{6}", ppo_clip.base_dir.name)
    events = Path("outputs/tblogs/CartPole-v1") / ppo_clip.base_dir.name
    assert [path.name.split(".")[0] for path in events.iterdir()] == ["events"]
    ppo_clip.close()


def test_a_dict_will_do_and_the_whole_configuration_is_accepted():
    """Not one key of the notebook is refused, its logger and its 5,000 epochs included."""
    ppo_clip = PPOClip(PARAMS)
    assert ppo_clip.cfg.algorithm.max_epochs == 5000
    assert ppo_clip.cfg.logger.classname == "bbrl.utils.logger.TFLogger"
    assert ppo_clip.cfg.algorithm.architecture.critic_hidden_size == [64, 64]
    ppo_clip.close()


def test_the_attributes_of_the_algorithm():
    """What the notebook's own `run` takes from `ppo_clip`, and what a reader may look at."""
    ppo_clip = PPOClip(shortened())
    assert ppo_clip.train_env.get_obs_and_actions_sizes() == (4, 2)
    assert isinstance(ppo_clip, ppo_bbrl.EpisodicAlgo)
    assert ppo_clip.train_policy.prefix == "current_policy/"
    assert ppo_clip.critic_agent.prefix == "critic/"
    assert ppo_clip.old_policy.prefix == "old_policy/"
    assert ppo_clip.old_critic_agent.prefix == "old_critic/"
    for new, old in (
        (ppo_clip.train_policy, ppo_clip.old_policy),
        (ppo_clip.critic_agent, ppo_clip.old_critic_agent),
    ):
        assert new is not old
        for weight, old_weight in zip(new.parameters(), old.parameters(), strict=True):
            assert torch.equal(weight, old_weight)
    assert isinstance(ppo_clip.policy_optimizer, torch.optim.AdamW)
    assert isinstance(ppo_clip.critic_optimizer, torch.optim.AdamW)
    assert ppo_clip.policy_optimizer.param_groups[0]["eps"] == 1e-5
    assert isinstance(ppo_clip.eval_policy, KWAgentWrapper)
    assert ppo_clip.best_policy is None
    assert ppo_clip.best_reward == -float("inf")
    assert ppo_clip.nb_steps == 0
    ppo_clip.close()


def test_the_agents_of_the_notebook():
    """Constructors and `forward` as in the notebook; both agents are pure functions too."""
    critic = ppo_bbrl.VAgent(4, [8, 8], "critic").with_prefix("critic/")
    policy = ppo_bbrl.DiscretePolicy(4, [8, 8], 2, "policy").with_prefix("current_policy/")
    workspace = ppo_bbrl.Workspace()
    workspace.set("env/env_obs", 0, torch.randn(5, 4))
    critic(workspace, t=0)
    policy(workspace, t=0, stochastic=True, predict_proba=False, compute_entropy=False)
    action = workspace.get("action", 0)
    assert "current_policy/entropy" not in workspace.variables
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    assert torch.equal(workspace.get("action", 0), action)
    obs = workspace.get("env/env_obs", 0)
    dist = policy.dist(obs)
    log_prob, entropy = (
        workspace.get(f"current_policy/{name}", 0) for name in ("logprob_predict", "entropy")
    )
    assert torch.allclose(log_prob, dist.log_prob(action), atol=1e-6)
    assert torch.allclose(entropy, dist.entropy(), atol=1e-6)
    assert log_prob.requires_grad
    policy(workspace, t=0, stochastic=False)
    assert torch.equal(workspace.get("action", 0), dist.probs.argmax(-1))
    assert torch.equal(workspace.get("critic/v_values", 0), critic.value(obs))
    assert critic.value(torch.randn(3, 5, 4)).shape == (3, 5)
    assert policy.dist(torch.randn(3, 5, 4)).batch_shape == (3, 5)


def test_the_minimal_configuration_that_the_seed_prints():
    """No optimizer, gae or logger, but a student's own keys: enough for `EpisodicAlgo`.

    CartPoleContinuous-v1 itself crashes upstream under numpy ≥ 2.4.
    """
    cfg = OmegaConf.create(
        {
            "base_dir": "${gym_env.env_name}/myalgo_${current_time:}",
            "gym_env": {"env_name": "CartPoleContinuous-v1"},
            "algorithm": {
                "seed": 1023,
                "n_envs": 8,
                "eval_interval": 500,
                "nb_evals": 10,
                "max_epochs": 3,
                "n_steps": 100,
                "my_temperature": 0.3,
            },
            "my_notes": ["kept", "as they are"],
        }
    )

    class Swing(bbrl.agents.Agent):
        def forward(self, t, **kwargs):
            self.set(("action", t), torch.rand(self.get(("env/env_obs", t)).shape[0], 1) * 2 - 1)

    class MyAlgo(EpisodicAlgo):
        def __init__(self, cfg):
            super().__init__(cfg, autoreset=True)
            self.train_policy = Swing()
            self.eval_policy = Swing()

    algo = MyAlgo(cfg)
    assert algo.cfg.algorithm.my_temperature == 0.3
    assert algo.cfg.my_notes == ["kept", "as they are"]
    for workspace in algo.iter_partial_episodes():
        assert workspace["env/env_obs"].shape == (100, 8, 4)
        algo.logger.add_log("critic_loss", torch.tensor(1.0), algo.nb_steps)
        algo.evaluate()
    assert algo.best_reward > 0
    algo.close()


def test_cartpole_continuous_trains():
    """The notebook's first environment, with the package's PPO and its Gaussian policy."""
    cfg = shortened(policy_type="auto", max_epochs=6)
    cfg.gym_env.env_name = "CartPoleContinuous-v1"
    ppo_clip = PPOClip(cfg)
    weights = copy.deepcopy(ppo_clip.train_policy.state_dict())
    run(ppo_clip)
    assert ppo_clip.best_reward > 0
    for name, weight in ppo_clip.train_policy.state_dict().items():
        assert weight.isfinite().all()
        assert not torch.equal(weight, weights[name])
    ppo_clip.close()


# --------------------------------------------------------- the notebook's cells, as they are


def code_cells(text):
    """The code after each `In [None]:`: as many lines as are Python.

    Headings of the prose that follows are comments to Python, its sentences are errors.
    """
    cells = []
    for chunk in re.split(r"^In \[None\]:\n", text, flags=re.MULTILINE)[1:]:
        lines = chunk.splitlines()
        for end in range(len(lines), 0, -1):
            code = "\n".join(lines[:end])
            try:
                ast.parse(code)
            except SyntaxError:
                continue
            cells.append(code)
            break
    return cells


def the_cell(cells, start):
    (found,) = [cell for cell in cells if re.search(rf"^{re.escape(start)}", cell, re.MULTILINE)]
    return found


STUB = "            assert False, 'Not implemented yet'\n"

SOLUTION = """
            ppo_clip.train_policy(
                sample_workspace, t=0, predict_proba=True, compute_entropy=True
            )
            policy_advantage, old_log_prob, log_prob, entropy = sample_workspace[
                "advantage",
                "old_policy/logprob_predict",
                "current_policy/logprob_predict",
                "current_policy/entropy",
            ]
            ratio = (log_prob[0] - old_log_prob[0]).exp()
            clipped = ratio.clamp(1 - cfg.algorithm.clip_range, 1 + cfg.algorithm.clip_range)
            policy_loss = torch.min(
                ratio * policy_advantage[0], clipped * policy_advantage[0]
            ).mean()
"""

OUR_NAMES = {
    "Agent": ppo_bbrl.Agent,
    "EpisodicAlgo": EpisodicAlgo,
    "KWAgentWrapper": KWAgentWrapper,
    "TemporalAgent": TemporalAgent,
    "build_ortho_mlp": build_ortho_mlp,
    "copy_parameters": copy_parameters,
    "iter_partial_episodes": iter_partial_episodes,
    "setup_optimizer": setup_optimizer,
    "setup_tensorboard": setup_tensorboard,
}
BBRL_NAMES = OUR_NAMES | {
    "Agent": bbrl.agents.Agent,
    "KWAgentWrapper": bbrl.agents.KWAgentWrapper,
    "TemporalAgent": bbrl.agents.TemporalAgent,
    "build_ortho_mlp": bbrl_utils.nn.build_ortho_mlp,
    "setup_optimizer": bbrl_utils.nn.setup_optimizer,
}


def namespace(names):
    common = {"OmegaConf": OmegaConf, "copy": copy, "gae": gae, "nn": nn, "torch": torch}
    return {"__name__": "notebook", **common, **names}


@pytest.fixture(scope="module")
def cells():
    if not TEXT.is_file():
        pytest.skip(f"the notebook is not there: {TEXT.name} in shared/seeds beside this")
    cells = code_cells(TEXT.read_text(encoding="utf-8"))
    assert len(cells) == 9
    return cells


def execute(cells, names, *starts):
    scope = namespace(names)
    for start in starts:
        code = the_cell(cells, start)
        if start == "def run(":
            assert code.count(STUB) == 1
            code = code.replace(STUB, SOLUTION)
        exec(compile(code, f"<cell {start}>", "exec"), scope)
    return scope


def test_the_parameters_are_those_of_the_notebook(cells):
    """So that the other tests here speak of the notebook's configuration."""
    assert execute(cells, {}, "params = {")["params"] == PARAMS


@pytest.mark.wide(2)
@pytest.mark.parametrize("names", [OUR_NAMES, BBRL_NAMES], ids=["ppo_bbrl", "bbrl"])
@pytest.mark.parametrize(
    "algorithm",
    [{}, {"batch_size": 0}, {"clip_range_vf": 0.2, "normalize_advantage": True}],
    ids=["seed", "whole batch", "options"],
)
def test_the_notebooks_own_classes_run_on_our_base(cells, names, algorithm):
    """Its VAgent, DiscretePolicy, PPOClip and run, with our EpisodicAlgo and workspace."""
    scope = execute(
        cells,
        names,
        "class VAgent",
        "class DiscretePolicy",
        "class PPOClip",
        "def run(",
        "params = {",
        "setup_tensorboard",
    )
    cfg = shortened(scope["params"], max_epochs=8, **algorithm)
    ppo_clip = scope["PPOClip"](cfg)
    weights = copy.deepcopy(ppo_clip.train_policy.state_dict())
    scope["run"](ppo_clip)
    assert type(ppo_clip.train_policy) is scope["DiscretePolicy"]
    assert ppo_clip.best_reward > 0
    assert ppo_clip.visualize_best().is_file()
    for name, weight in ppo_clip.train_policy.state_dict().items():
        assert weight.isfinite().all()
        assert not torch.equal(weight, weights[name])
    ppo_clip.close()


def test_the_notebooks_own_classes_learn_cartpole(cells):
    """Not only without an error: the return grows, from about 20."""
    scope = execute(
        cells, OUR_NAMES, "class VAgent", "class DiscretePolicy", "class PPOClip", "def run("
    )
    ppo_clip = scope["PPOClip"](shortened(max_epochs=60, eval_interval=3000))
    scope["run"](ppo_clip)
    assert ppo_clip.best_reward > 100
    ppo_clip.close()


def test_the_notebooks_run_drives_the_packages_ppo(cells):
    """Its `run` cell on `ppo_bbrl.PPOClip`: the same agents, attributes and workspace names."""
    scope = execute(cells, OUR_NAMES | {"PPOClip": PPOClip}, "def run(")
    ppo_clip = PPOClip(shortened(max_epochs=60, eval_interval=3000))
    scope["run"](ppo_clip)
    assert ppo_clip.best_reward > 100
    ppo_clip.close()


def test_the_last_cells_as_they_are(cells, monkeypatch):
    """TensorBoard, launch and video cells word for word, on the package's names."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    scope = namespace(OUR_NAMES | {"PPOClip": PPOClip, "run": run})
    exec(the_cell(cells, "setup_tensorboard"), scope)
    scope["params"] = OmegaConf.to_container(shortened())
    exec(the_cell(cells, "ppo_clip = PPOClip"), scope)
    exec(the_cell(cells, "ppo_clip.visualize_best()"), scope)
    assert list(Path("outputs").glob("CartPole-v1/*/video/best.mp4"))
    scope["ppo_clip"].close()


# ---------------------------------------------------------------- the same in our own words


class OwnCritic(bbrl.agents.Agent):
    """A bbrl agent that knows nothing of this package."""

    def __init__(self, n_features, name="critic"):
        super().__init__(name)
        self.model = nn.Sequential(nn.Linear(n_features, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, t, **kwargs):
        values = self.model(self.get(("env/env_obs", t)))
        self.set((f"{self.prefix}v_values", t), values.squeeze(-1))


class OwnPolicy(bbrl.agents.Agent):
    """Written for one row: `probs[torch.arange(B), action]` would be wrong for `[T, B]`."""

    def __init__(self, n_features, n_actions, name="policy"):
        super().__init__(name)
        self.model = nn.Sequential(nn.Linear(n_features, 64), nn.ReLU(), nn.Linear(64, n_actions))

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        probs = self.model(self.get(("env/env_obs", t))).softmax(-1)
        if predict_proba:
            action = self.get(("action", t))
            chosen = probs[torch.arange(probs.shape[0]), action].log()
            self.set((f"{self.prefix}logprob_predict", t), chosen)
        else:
            action = torch.multinomial(probs, 1).squeeze(1) if stochastic else probs.argmax(1)
            self.set(("action", t), action)
        if compute_entropy:
            entropy = torch.distributions.Categorical(probs).entropy()
            self.set((f"{self.prefix}entropy", t), entropy)


class OwnAlgo(EpisodicAlgo):
    def __init__(self, cfg):
        super().__init__(cfg, autoreset=True)
        n_features, n_actions = self.train_env.get_obs_and_actions_sizes()
        self.train_policy = OwnPolicy(n_features, n_actions).with_prefix("current_policy/")
        self.eval_policy = KWAgentWrapper(self.train_policy, stochastic=False)
        self.critic_agent = OwnCritic(n_features).with_prefix("critic/")
        self.old_policy = copy.deepcopy(self.train_policy).with_prefix("old_policy/")
        self.policy_optimizer = setup_optimizer(cfg.optimizer, self.train_policy)
        self.critic_optimizer = setup_optimizer(cfg.optimizer, self.critic_agent)


def own_run(algo, temporal=TemporalAgent):
    """PPO as a student may write it, all through the workspace."""
    cfg = algo.cfg.algorithm
    for workspace in iter_partial_episodes(algo, cfg.n_steps):
        with torch.no_grad():
            temporal(algo.old_policy)(workspace, t=0, n_steps=cfg.n_steps, predict_proba=True)
        temporal(algo.critic_agent)(workspace, t=0, n_steps=cfg.n_steps)
        reward, terminated, values = workspace["env/reward", "env/terminated", "critic/v_values"]
        with torch.no_grad():
            advantage = gae(
                reward[1:], values[1:], ~terminated[1:], values[:-1], cfg.discount_factor, cfg.gae
            )
        goes_on = ~workspace["env/done"][:-1]
        critic_loss = (values[:-1] - (advantage + values[:-1]).detach())[goes_on].square().mean()
        algo.critic_optimizer.zero_grad()
        critic_loss.backward()
        algo.critic_optimizer.step()
        workspace.set_full("advantage", torch.cat((advantage, torch.zeros_like(advantage[:1]))))
        transitions = workspace.get_transitions()
        for _ in range(cfg.opt_epochs):
            sample = transitions.select_batch_n(cfg.batch_size)
            algo.train_policy(sample, t=0, predict_proba=True, compute_entropy=True)
            log_prob = sample["current_policy/logprob_predict"][0]
            ratio = (log_prob - sample["old_policy/logprob_predict"][0]).exp()
            gain = ratio * sample["advantage"][0]
            clipped = ratio.clamp(1 - cfg.clip_range, 1 + cfg.clip_range) * sample["advantage"][0]
            policy_loss = torch.min(gain, clipped).mean()
            entropy = sample["current_policy/entropy"][0].mean()
            algo.logger.log_losses(critic_loss, entropy, policy_loss, algo.nb_steps)
            algo.policy_optimizer.zero_grad()
            (-policy_loss - cfg.entropy_coef * entropy).backward()
            algo.policy_optimizer.step()
        copy_parameters(algo.train_policy, algo.old_policy)
        algo.evaluate()


@pytest.mark.parametrize("temporal", [TemporalAgent, bbrl.agents.TemporalAgent])
def test_a_student_can_write_ppo_on_the_workspace(temporal):
    """Own agents and an own loop learn. Protects: gradients through `[T, B]` rows and batches."""
    algo = OwnAlgo(shortened(max_epochs=60, eval_interval=3000))
    own_run(algo, temporal)
    assert algo.best_reward > 100
    algo.close()


def test_own_agents_drive_the_packages_loop():
    """`PPOClip(cfg, train_policy=…, critic_agent=…)`: any bbrl agent that follows the notebook."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        algo = PPOClip(
            shortened(max_epochs=60, eval_interval=3000),
            train_policy=OwnPolicy(4, 2),
            critic_agent=OwnCritic(4),
        )
    assert algo.train_policy.prefix == "current_policy/"
    run(algo)
    assert algo.best_reward > 100
    algo.close()


class SeedLikePolicy(OwnPolicy):
    """With the network of another policy."""

    def __init__(self, other):
        super().__init__(4, 2)
        self.model = copy.deepcopy(other.model)


class SeedLikeCritic(OwnCritic):
    def __init__(self, other):
        super().__init__(4)
        self.model = copy.deepcopy(other.model)


def test_own_agents_learn_the_same_losses_as_the_packages():
    """The same weights on the same rollouts: all metrics agree, update after update.

    Protects: the batched pass that is shown to an agent written for one row.
    """
    cfg = shortened(max_epochs=5, clip_range_vf=0.2, normalize_advantage=True, opt_epochs=4)
    ours = PPOClip(cfg)
    foreign = PPOClip(
        cfg,
        train_policy=SeedLikePolicy(ours.train_policy),
        critic_agent=SeedLikeCritic(ours.critic_agent),
    )
    for workspace in ours.iter_partial_episodes():
        same = ppo_bbrl.Workspace(workspace)
        report, other = (
            algo.update(algo.record(rows)) for algo, rows in ((ours, workspace), (foreign, same))
        )
        assert report.metrics.keys() == other.metrics.keys()
        assert report.n_minibatches == other.n_minibatches == 4
        for name, value in report.metrics.items():
            assert float(other.metrics[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5)
    ours.close()
    foreign.close()
