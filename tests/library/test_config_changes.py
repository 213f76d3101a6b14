"""What is changed in `algo.cfg` after the constructor is used from then on, or refused by name."""

from contextlib import suppress

import pytest
import torch
from engines_testing import algorithm, all_engines, rollouts
from omegaconf import OmegaConf
from probe_envs import config, fresh_log

from ppo_bbrl import ConfigError, EpisodicAlgo, PPOClip, run
from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.config.changes import _AT_CONSTRUCTION, ConfigChanges
from ppo_bbrl.config.schema import known_keys
from ppo_bbrl.fast.compiled import CompiledUpdate
from ppo_bbrl.fast.flat import FlatUpdate

pytestmark = pytest.mark.usefixtures("not_compiled")


def change(name, value):
    def apply(algo):
        section, key = name.split(".")
        algo.cfg[section][key] = value

    return apply


USED = {
    "clip_range": 0.001,
    "clip_range_vf": 0.001,
    "clip_range_schedule": "linear",
    "learning_rate_schedule": "linear",
    "entropy_coef": 2.0,
    "policy_coef": 0.01,
    "critic_coef": 0.01,
    "normalize_advantage": True,
    "max_grad_norm": 1e-6,
    "target_kl": 1e-7,
    "opt_epochs": 5,
    "batch_size": 7,
    "gae": 0.1,
    "discount_factor": 0.1,
    "clip_range_high": 0.5,
    "dual_clip": 1.0001,
    "kl_penalty": 50.0,
    "global_grad_norm": True,
    "recompute_advantage": True,
    "clip_reward": 0.1,
}


@pytest.mark.wide(5)
@pytest.mark.parametrize("key", USED)
def test_a_setting_is_used_from_the_next_update_on_by_every_engine(key):
    """In the middle of a loop, by whoever wrote it; the rollout after next is collected with it."""
    # Enough epochs, and a narrow range, for all that clips.
    options = {"opt_epochs": 4, "clip_range": 0.01, "clip_range_vf": 0.01}
    all_engines(change(f"algorithm.{key}", USED[key]), before=1, after=2, max_epochs=3, **options)


@pytest.mark.parametrize("engine", ["flat", "compiled"])
def test_settings_may_change_between_two_runs(engine):
    algo = algorithm(engine, max_epochs=2)
    run(algo)
    algo.cfg.algorithm.clip_range_schedule = "linear"
    algo.cfg.algorithm.max_epochs, algo.cfg.algorithm.n_steps = 4, 48
    steps = algo.nb_steps
    run(algo)
    assert algo.nb_steps - steps > 4 * 4 * 30
    assert float(algo.logger.newest()["clip_range"]) == pytest.approx(0.2 / 4)
    assert isinstance(algo._engine, CompiledUpdate) == (engine == "compiled")
    algo.close()


REFUSED = {
    "algorithm.seed": 4,
    "algorithm.n_envs": 2,
    "algorithm.policy_type": "DiscretePolicy",
    "algorithm.squash_actions": True,
    "algorithm.use_sde": True,
    "algorithm.sde_sample_freq": 4,
    "gym_env.env_name": "CartPole-v1",
    "gym_env.env_args": {"length": 3},
    "gym_env.vectorization": "async",
    "compute.device": "cuda",
    "optimizer.classname": "torch.optim.SGD",
    "optimizer.eps": 1e-3,
    "optimizer.amsgrad": True,
}


@pytest.mark.wide(6)
@pytest.mark.parametrize("name", REFUSED)
def test_what_comes_too_late_is_refused_before_anything_is_done(name):
    """In every entry: one line with the key and both values; set back, all goes on."""
    algo = algorithm("flat")
    section, key = name.split(".")
    algo.update(next(rollouts(algo, 1)))
    rollout = next(rollouts(algo, 1))
    then, steps = OmegaConf.to_container(algo.cfg)[section].get(key), algo.nb_steps
    algo.cfg[section][key] = REFUSED[name]
    for use in (
        lambda: run(algo),
        lambda: next(algo.iter_partial_episodes()),
        lambda: algo.update(rollout),
        lambda: algo.evaluate(force=True),
    ):
        with pytest.raises(ConfigError, match=rf"^{name}.* = .*{REFUSED[name]}|^{name}") as error:
            use()
        assert "\n" not in str(error.value)
    assert algo.nb_steps == steps
    if then is None:
        del algo.cfg[section][key]
    else:
        algo.cfg[section][key] = then
    run(algo)
    assert algo.nb_steps > steps
    algo.close()


def test_what_was_not_there_is_not_called_none():
    algo = algorithm("flat")
    algo.cfg.optimizer.amsgrad = True
    with pytest.raises(ConfigError, match="the optimisers were made without it; change the"):
        run(algo)
    algo.close()


def test_a_value_that_is_not_allowed_is_refused_when_it_is_used():
    algo = algorithm("flat")
    algo.cfg.algorithm.clip_range = -1.0
    with pytest.raises(ConfigError, match=r"algorithm\.clip_range = -1\.0: must be a number > 0"):
        run(algo)
    algo.close()


@pytest.mark.parametrize("key", ["n_steps", "max_epochs"])
def test_what_a_loop_has_begun_with_is_refused_inside_it(key):
    algo = algorithm("flat")
    loop = algo.iter_partial_episodes(17)
    rollout = algo.record(next(loop))
    algo.cfg.algorithm[key] = 5
    for use in (lambda: algo.update(rollout), lambda: next(loop)):
        with pytest.raises(ConfigError, match=rf"algorithm\.{key} = 5: .*between loops"):
            use()
    left = algo.iter_partial_episodes(17)
    next(left)
    algo.cfg.algorithm[key] = 4
    run(algo)  # another loop, though one was left
    assert algo.cfg.algorithm[key] == 4
    algo.close()


def test_a_loop_looks_at_the_configuration_though_nobody_updates():
    """A student's own algorithm on EpisodicAlgo."""
    algo = EpisodicAlgo(config("Chance"), autoreset=True)
    algo.train_policy = PPOClip(config("Chance")).train_policy
    loop = algo.iter_partial_episodes()
    next(loop)
    algo.cfg.algorithm.n_envs = 9
    with pytest.raises(ConfigError, match=r"algorithm\.n_envs = 9: .*made with 4"):
        next(loop)
    algo.cfg.algorithm.n_envs = 4
    algo.cfg.algorithm.mine = "anything"
    assert next(algo.iter_partial_episodes())
    algo.close()


def test_evaluations_follow_the_configuration():
    """Their environments were made at the first one."""
    algo = PPOClip(config("Chance", nb_evals=2))
    algo.evaluate(force=True)
    algo.cfg.algorithm.nb_evals = 5
    algo.evaluate(force=True)
    assert [len(returns) for returns in algo.eval_rewards] == [2, 5]
    algo.cfg.algorithm.max_eval_steps = 2
    with pytest.warns(UserWarning, match="after 2 steps"):
        algo.evaluate(force=True)
    algo.close()


def test_where_a_run_writes_is_fixed_once_it_does():
    algo = PPOClip(config("Chance"))
    algo.cfg.base_dir = "elsewhere"
    algo.cfg.logger.modulo = 2
    run(algo)
    assert algo.base_dir.name == "elsewhere"
    algo.cfg.base_dir = "again"
    with pytest.raises(ConfigError, match=r"base_dir = 'again': .* 'elsewhere'"):
        run(algo)
    algo.cfg.base_dir = "elsewhere"
    algo.cfg.logger.modulo = 3
    with pytest.raises(ConfigError, match=r"logger\.modulo = 3"):
        run(algo)
    algo.close()


def test_what_is_computed_with_may_change():
    """The engine at the next update, the threads at once; `auto` is decided anew."""
    algo = algorithm("flat", max_epochs=6)
    engines, threads = [], []
    before = torch.get_num_threads()
    for number, workspace in enumerate(algo.iter_partial_episodes(17)):
        if number == 2:
            algo.cfg.compute.compile = "always"
            algo.cfg.compute.threads = 2
        if number == 4:
            algo.cfg.compute.compile = algo.cfg.compute.threads = "auto"
        algo.update(algo.record(workspace))
        engines.append(type(algo._engine))
        threads.append(torch.get_num_threads())
    assert engines == [FlatUpdate] * 2 + [CompiledUpdate] * 2 + [FlatUpdate] * 2
    assert threads == [1, 1, 2, 2, 1, 1]
    assert torch.get_num_threads() == before
    assert algo.cfg.compute.compile == "never"
    algo.close()


ELSEWHERE = {
    "loops": {"n_steps", "max_epochs"},
    "evaluations": {"eval_interval", "nb_evals", "max_eval_steps"},
    "what they go with": {"kl_target", "entropy_schedule", "curiosity_coef"},
}


def test_no_key_of_the_algorithm_is_without_effect_in_silence():
    """Each is used or refused, here or in a test of its own; a new one has to be put somewhere."""
    known = {name.split(".")[1] for name in known_keys() if name.startswith("algorithm.")}
    refused = {key.removeprefix("algorithm.") for key in _AT_CONSTRUCTION}
    assert not refused & USED.keys()
    assert known - refused - USED.keys() == set().union(*ELSEWHERE.values())


def test_another_configuration_is_one_with_changes():
    algo = algorithm("flat")
    rollout = next(rollouts(algo, 1))
    then, algo.cfg = algo.cfg, {"algorithm": {"clip_range": 0.1}}
    with pytest.raises(ConfigError, match="cfg is a dict"):
        algo.update(rollout)
    algo.cfg = OmegaConf.merge(then, {"algorithm": {"clip_range": 0.1}})
    assert float(algo.update(rollout).metrics["clip_range"]) == pytest.approx(0.1)
    algo.cfg = OmegaConf.merge(then, {"algorithm": {"seed": 8}})
    with pytest.raises(ConfigError, match=r"algorithm\.seed = 8"):
        algo.update(rollout)
    algo.close()


def test_every_key_is_seen():
    """However OmegaConf stores it: the comparison reads its inner attributes."""
    algo = algorithm("flat")
    changes = ConfigChanges(algo.cfg)
    assert changes.find(algo.cfg) == {}
    for name, (rule, _) in known_keys().items():
        *sections, key = name.split(".")
        node = algo.cfg
        for section in sections:
            node = node[section]
        then = OmegaConf.to_container(node)[key]
        if rule.kind is dict:
            node[key] = {**then, "new": {"inner": [1]}}
        elif isinstance(then, list) or rule.items:
            node[key] = [3]
        elif rule.kind is bool:
            node[key] = not then
        elif rule.kind is str:
            node[key] = "another"
        else:
            node[key] = 7
        with suppress(ConfigError):
            (found,) = changes.find(algo.cfg, in_a_loop=True)
            assert found.startswith(name)
        assert changes.known != ConfigChanges(algo.cfg).known
        node[key] = then
    assert changes.find(algo.cfg) == {}
    algo.close()


def test_own_loops_with_longer_rollouts_than_configured():
    """The compiled update has room for `n_steps`; another loop may ask for more rows."""
    fresh_log()
    algo = algorithm("compiled", n_steps=8, max_epochs=3)
    for rows in (9, 40, 20):
        rollout = algo.record(next(algo.iter_partial_episodes(rows)))
        report = algo.update(rollout)
        assert report.n_minibatches == 2 * -(-len(rollout) // 30)
    assert isinstance(algo._engine, CompiledUpdate)
    assert isinstance(algo.eval_policy, KWAgentWrapper)
    algo.close()
