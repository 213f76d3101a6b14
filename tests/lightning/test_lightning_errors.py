"""PPO for Lightning: bad input is one clear error before training starts."""

import importlib
import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import gymnasium as gym
import lightning as pl
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from lightning_models import SPACES, Model, Steps, trainer
from space_envs import SpaceEnv
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from ppo_bbrl.agents.curiosity import Curiosity
from ppo_bbrl.errors import EnvironmentFailedError, UserError
from ppo_bbrl.lightning import (
    PPO,
    DummyVecEnv,
    MultiCategorical,
    SubprocVecEnv,
    make_vec_env,
)
from ppo_bbrl.lightning.checks import check_model


def error_of(function):
    """The text of the error, one line of it."""
    with pytest.raises(UserError) as caught:
        function()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("buffer_length", 0, "an integer ≥ 1"),
        ("num_rollouts", 1.5, "an integer ≥ 1"),
        ("batch_size", True, "an integer ≥ 1"),
        ("epochs_per_rollout", "3", "an integer ≥ 1"),
        ("num_eval_episodes", -1, "an integer ≥ 0"),
        ("gamma", 1.1, r"a number in \[0, 1\]"),
        ("gae_lambda", float("nan"), r"a number in \[0, 1\]"),
        ("clip_range", 0, "a number > 0, or a function"),
        ("clip_range", None, "a number > 0, or a function"),
        ("clip_range", lambda _: -1.0, "at a remaining progress of 1: must be a number > 0"),
        ("clip_range_vf", -0.1, "a number > 0, or a function.*, or None"),
        ("target_kl", 0, "a number > 0 or None"),
        ("value_coef", -1, "a number ≥ 0"),
        ("entropy_coef", float("inf"), "a number"),
        ("sde_sample_freq", 0, "an integer ≥ 1 or -1"),
        ("verbose", 3, r"an integer in \[0, 2\]"),
        ("seed", -1, "an integer in"),
    ],
)
def test_an_impossible_argument_is_named(name, value, allowed):
    with pytest.raises(UserError, match=rf"^{name} = .*{allowed}"):
        Model(env=Steps(), eval_env=None, **{name: value})


def test_numbers_of_numpy_are_numbers():
    Model(
        env=Steps(), eval_env=None, batch_size=np.int64(3), gamma=np.float32(0.5), seed=np.int8(1)
    )


class TupleSpace(Steps):
    def __init__(self):
        super().__init__()
        self.action_space = gym.spaces.Tuple([gym.spaces.Discrete(2)])


class IntegerBox(Steps):
    def __init__(self):
        super().__init__()
        self.action_space = gym.spaces.Box(0, 3, (2,), np.int64)


@pytest.mark.parametrize(
    ("env", "eval_env", "expected"),
    [
        ("NoSuchEnv-v1", None, "env = 'NoSuchEnv-v1': .*doesn't exist"),
        ("highway-fast-v0", None, "env = 'highway-fast-v0': .*highway_env:highway-fast-v0"),
        ("MazeMDP-v0", None, "env = 'MazeMDP-v0' cannot be made: .*start_states"),
        ("CartPole-v1", "MazeMDP-v0", "eval_env = 'MazeMDP-v0' cannot be made: .*start_states"),
        ("CartPole-v1", "NoSuchEnv-v1", "eval_env = 'NoSuchEnv-v1': .*doesn't exist"),
        (None, None, "env = None: must be an environment"),
        (Steps, None, "env = <class .*: must be an environment"),
        ("CartPole-v1", 3, "eval_env = 3: must be an environment"),
        ("CartPole-v1", make_vec_env("CartPole-v1", 2), "eval_env = .* is vectorised"),
        ("CartPole-v1", make_vec_env("CartPole-v1", 1), "eval_env = .* is vectorised"),
        ("CartPole-v1", "Acrobot-v1", "eval_env: its observation_space is .* that of env"),
        ("MountainCar-v0", "MountainCarContinuous-v0", "eval_env: its action_space is"),
        (
            gym.vector.SyncVectorEnv([Steps], autoreset_mode=AutoresetMode.SAME_STEP),
            None,
            "AutoresetMode.SAME_STEP: must be AutoresetMode.NEXT_STEP",
        ),
        (TupleSpace(), None, "its action space Tuple.* is not supported; supported are Box"),
        (
            SpaceEnv("dict"),
            None,
            "its observation space Dict.* is not supported; supported are Box",
        ),
        (IntegerBox(), None, "its action space .* has dtype int64"),
    ],
)
def test_an_environment_of_no_use_is_named(env, eval_env, expected):
    with pytest.raises(UserError, match=expected):
        Model(env=env, eval_env=eval_env)


@pytest.mark.parametrize("n_envs", [0, -1, 2.0, "4"])
def test_vector_environments_have_environments(n_envs):
    assert "n_envs" in error_of(lambda: make_vec_env("CartPole-v1", n_envs))


def test_an_environment_that_cannot_be_made_is_named():
    text = error_of(lambda: make_vec_env("CartPole-v1", 1, env_kwargs={"colour": "red"}))
    assert "env_id = 'CartPole-v1' cannot be made" in text
    assert "colour" in text


def answering(answer, action_space):
    """A model whose forward returns what it is told."""

    class Answering(Model):
        def forward(self, x):
            return answer(super().forward(x))

    return Answering(
        env=make_vec_env(Steps, 2, env_kwargs={"action_space": action_space}),
        eval_env=None,
        num_eval_episodes=0,
        buffer_length=4,
    )


zeros = torch.zeros
discrete, box, several, binary = (
    SPACES[name] for name in ("Discrete", "Box", "MultiDiscrete", "MultiBinary")
)


@pytest.mark.parametrize(
    ("answer", "space", "expected"),
    [
        (lambda real: real[0], discrete, r"\(distribution, value\), not a Categ"),
        (lambda real: (real[1], real[0]), discrete, "the first a torch Distribution"),
        (
            lambda real: (real[0], real[1][:, None]),
            discrete,
            r"values of shape \[2\], not a tensor of shape \[2, 1\]; value.squeeze\(-1\)",
        ),
        (lambda real: (real[0], real[1].mean()), discrete, r"of shape \[2\], not a tensor of"),
        (
            lambda real: (Categorical(logits=zeros(2, 4)), real[1]),
            discrete,
            r"Categorical is over 4 actions, .* Discrete\(3",
        ),
        (
            lambda real: (Normal(zeros(2), 1.0), real[1]),
            discrete,
            "Normal does not fit the action space .* takes shape .2., integers",
        ),
        (
            lambda real: (Normal(zeros(2, 2), 1.0), real[1]),
            box,
            r"log-probability of 2 actions .* \[2, 2\].*Independent",
        ),
        (
            lambda real: (Categorical(logits=zeros(2, 2)), real[1]),
            box,
            r"Categorical does not fit the action space .* takes shape \[2, 2\], floats",
        ),
        (
            lambda real: (Independent(Normal(zeros(2, 3), 1.0), 1), real[1]),
            box,
            r"Normal does not fit the action space .* shape \[2, 3\]",
        ),
        (
            lambda real: (MultiCategorical(zeros(2, 5), [3, 2]), real[1]),
            several,
            r"MultiCategorical is over 3 × 2 actions, .* MultiDiscrete\(\[2 3\]",
        ),
        (
            lambda real: (Bernoulli(logits=zeros(2, 3)), real[1]),
            binary,
            r"log-probability of 2 actions .* \[2, 3\].*Independent",
        ),
    ],
)
def test_a_forward_that_does_not_fit_is_refused(answer, space, expected):
    made = answering(answer, space)
    steps = []
    made.env.step = lambda _: steps.append(1)
    with pytest.raises(UserError, match=expected):
        trainer().fit(made)
    assert not steps


def test_a_missing_forward_is_named():
    class Without(PPO):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.weight = torch.nn.Parameter(zeros(1))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    made = Without(env=Steps(), eval_env=Steps())
    assert "Without must define forward(x)" in error_of(lambda: trainer().fit(made))


@pytest.mark.parametrize("method", ["forward", "predict"])
def test_layers_for_other_observations_are_refused(method):
    """Torch says which matrices cannot be multiplied, but not where they come from."""

    class Narrow(Model):
        def forward(self, x):
            return super().forward(x[:, :3] if method == "forward" else x)

        def predict(self, x, deterministic=True):
            return super().predict(x[:, :3], deterministic)

    made = Narrow(env=make_vec_env("CartPole-v1", 2), eval_env=None, num_eval_episodes=0)
    n = 2 if method == "forward" else 1
    text = error_of(lambda: trainer().fit(made))
    assert f"{method}(x): fails on observations [{n}, 4] torch.float32: mat1" in text


def test_a_predict_that_does_not_fit_is_refused():
    class Wrong(Model):
        def predict(self, x, deterministic=True):
            return super().predict(x, deterministic)[:, None]

    made = Wrong(env=Steps(), eval_env=Steps())
    text = error_of(lambda: trainer().fit(made))
    assert text.startswith("predict(x): ")
    assert "not fit the action space Discrete(2)" in text


@pytest.mark.parametrize(
    ("settings", "trained", "expected"),
    [
        ({}, {"accumulate_grad_batches": 2}, "accumulate_grad_batches = 2: must be 1"),
        ({"eval_env": None}, {}, "eval_env = None: training evaluates"),
        ({"clip_range": lambda p: p}, {"max_epochs": -1}, "clip_range: a function of the remain"),
    ],
)
def test_what_would_go_wrong_later_is_refused_at_once(settings, trained, expected):
    made = Model(**({"env": Steps(), "eval_env": Steps()} | settings))
    with pytest.raises(UserError, match=expected):
        trainer(**trained).fit(made)


class Accumulating(pl.Callback):
    """Sets it as some plugins do, when training is under way."""

    def on_train_epoch_start(self, trainer, pl_module):
        trainer.accumulate_grad_batches = 2


@pytest.mark.parametrize(
    "callback",
    [
        GradientAccumulationScheduler({0: 4}),
        GradientAccumulationScheduler({3: 2}),  # at once, not in the fourth epoch
        Accumulating(),
    ],
)
def test_no_callback_keeps_gradients_for_the_next_rollout(callback):
    made = Model(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8)
    training = trainer(callbacks=[callback])
    with pytest.raises(UserError, match=r"accumulate_grad_batches = \d: must be 1"):
        training.fit(made)
    assert training.global_step == 0


class OwnSteps(Model):
    """Makes so many steps for a minibatch, and forgets the gradients of some."""

    made = (1,)
    forgets = True

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer_closure()
        for _ in range(self.made[batch_idx % len(self.made)]):
            optimizer.step()

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        if self.forgets:
            optimizer.zero_grad()


def own_steps(**attributes):
    model = OwnSteps(
        env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=16, batch_size=4
    )
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def test_hooks_of_ones_own_that_make_one_step_each_are_fine():
    trainer(max_epochs=2).fit(own_steps())  # warnings are errors


@pytest.mark.parametrize(("made", "told"), [((1, 0), "0"), ((2,), "2"), ((1, 1, 3), "3")])
def test_another_number_of_steps_than_one_is_told_once(made, told):
    with pytest.warns(UserWarning, match=rf"optimizer_step: {told} optimiser steps") as warned:
        trainer(max_epochs=2).fit(own_steps(made=made))
    assert sum("optimizer_step" in str(one.message) for one in warned) == 1


def test_gradients_that_are_left_are_refused():
    told = error_of(lambda: trainer().fit(own_steps(forgets=False)))
    assert told.startswith("optimizer_zero_grad: gradients of an earlier minibatch are left")


def test_without_automatic_optimisation_somebody_has_to_step():
    """Else nothing is learned, in silence."""

    class Steps2(Model):
        def training_step(self, batch, index):
            loss, optimizer = super().training_step(batch, index), self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    for kind in (Model, Steps2):
        made = kind(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8)
        made.automatic_optimization = False
        training = trainer(max_epochs=1)
        if kind is Model:
            with pytest.raises(UserError, match="automatic_optimization = False"):
                training.fit(made)
        else:
            training.fit(made)
            assert training.global_step > 0


def test_no_callback_adds_an_epoch_without_steps():
    """Averaged weights need new running means, which Lightning finds in one more epoch."""

    class Normalised(Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.norm = torch.nn.BatchNorm1d(3)

    average = StochasticWeightAveraging(1e-3, swa_epoch_start=1)
    made = Normalised(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8)
    with pytest.raises(UserError, match="StochasticWeightAveraging"):
        trainer(max_epochs=3, callbacks=[average]).fit(made)
    plain = Model(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8)
    training = trainer(max_epochs=3, callbacks=[average])
    training.fit(plain)
    assert training.current_epoch == 3


def test_evaluations_do_not_share_the_environment_of_training():
    """They would end its episodes unseen."""
    env = gym.make("CartPole-v1")
    made = Model(env=env, eval_env=env)
    assert made.evaluate(1)[1][0] > 0  # a loaded model may
    assert "eval_env is also the training environment" in error_of(lambda: trainer().fit(made))


def test_forked_trainings_do_not_share_environments_in_processes(monkeypatch):
    """As strategy='ddp_fork' and notebooks have it: each would get answers meant for others."""
    env = make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv)
    made = Model(env=env, eval_env=None, num_eval_episodes=0)
    with monkeypatch.context() as patched:
        patched.setattr(made, "made_by", made.made_by + 1)
        assert "env: this training process was forked" in error_of(lambda: trainer().fit(made))
    env.close()
    made = Model(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8)
    made.made_by += 1
    trainer().fit(made)


def test_gsde_needs_a_box_and_noise():
    text = error_of(lambda: Model(env="CartPole-v1", eval_env=None, use_sde=True))
    assert "use_sde = True: gSDE needs a Box action space" in text

    class Silent(Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.noise = torch.nn.Identity()

    made = Silent(env="Pendulum-v1", eval_env="Pendulum-v1", use_sde=True)
    assert "neither a StateDependentNoise nor" in error_of(lambda: trainer().fit(made))


@pytest.mark.parametrize("what", ["env/env_obs", "action", "env/reward"])
def test_what_is_no_number_in_an_evaluation_is_named(what):
    """The argmax of NaN is 0: the returns of such an evaluation would look like any others."""

    class Broken(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

        n = 0

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t, self.n = 0, self.n + 1
            return np.zeros(2, np.float32), {}

        def step(self, action):
            self.t += 1
            broken = float("nan") if self.t == 3 and self.n == 2 else 0.0
            observation = np.full(2, broken if what == "env/env_obs" else 0.0, np.float32)
            return observation, broken if what == "env/reward" else 1.0, self.t == 6, False, {}

    class Wild(Model):
        def predict(self, x, deterministic=True):
            action = super().predict(x, deterministic)
            if what == "action" and self.eval_env.t == 3 and self.eval_env.n == 2:
                action[:] = float("nan")
            return action

    made = Wild(env=Broken(), eval_env=Broken())
    told = error_of(lambda: made.evaluate(2))
    assert "episode 1: in step 3" in told
    assert f"{what} is nan" in told


def test_evaluation_without_an_environment_or_pictures_says_so():
    made = Model(env=Steps(), eval_env=None)
    assert "eval_env = None" in error_of(lambda: made.evaluate(1))
    made = Model(env=Steps(), eval_env=Steps())
    assert "make it with render_mode='rgb_array'" in error_of(lambda: made.evaluate(1, render=True))


def test_a_function_that_was_not_saved_has_to_be_given_again():
    def half(progress):
        return 0.5 * progress

    made = Model(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8, clip_range=half)
    run = trainer(enable_checkpointing=True)
    run.fit(made)
    path = run.checkpoint_callback.best_model_path
    loaded = Model.load_from_checkpoint(path, env=Steps(), eval_env=None)
    assert "clip_range: was a function in the saved model" in error_of(
        lambda: trainer().fit(loaded)
    )
    trainer().fit(Model.load_from_checkpoint(path, env=Steps(), eval_env=None, clip_range=half))


def test_a_checkpoint_is_opened_with_the_environment_of_its_training():
    """A wrapper that was forgotten is told as that, not as weights of wrong sizes."""
    made = Model(env=Steps(), eval_env=None, num_eval_episodes=0, buffer_length=8)
    run = trainer(enable_checkpointing=True)
    run.fit(made)
    path = run.checkpoint_callback.best_model_path

    def opened(env):
        return Model.load_from_checkpoint(path, env=env, eval_env=None)

    stacked = gym.wrappers.FrameStackObservation(Steps(), 3)
    told = error_of(lambda: opened(stacked))
    assert told.startswith("env: its observation space is Box(")
    assert "trained on Box(" in told
    assert "action space" in error_of(lambda: opened(Steps(action_space=gym.spaces.Discrete(3))))
    opened(gym.wrappers.RecordEpisodeStatistics(Steps()))


class Named(Model):
    """Its environment is among its hyper-parameters, by name."""

    def __init__(self, env_id="CartPole-v1"):
        super().__init__(env=env_id, eval_env=None)
        self.save_hyperparameters()


def test_a_checkpoint_imports_nothing_unless_it_is_trusted(tmp_path, monkeypatch):
    """It may be a stranger's, and a module may do anything when it is imported."""
    (tmp_path / "found.py").write_text("import gymnasium as gym; gym.make('CartPole-v1').close()")
    monkeypatch.syspath_prepend(tmp_path)
    made = Named()
    run = trainer()
    run.strategy.connect(made)
    checkpoint = run._checkpoint_connector.dump_checkpoint()
    checkpoint["hyper_parameters"] = {"env_id": "found:CartPole-v1"}
    torch.save(checkpoint, "it.ckpt")
    told = error_of(lambda: Named.load_from_checkpoint("it.ckpt"))
    assert "'found:CartPole-v1'" in told
    Named.load_from_checkpoint("it.ckpt", env_id="CartPole-v1")
    assert "found" not in sys.modules
    Named.load_from_checkpoint("it.ckpt", trust=True)
    assert sys.modules.pop("found")
    Named.load_from_checkpoint("it.ckpt", env_id="found:CartPole-v1")
    with pytest.raises(TypeError, match="Named"):
        made.load_from_checkpoint("it.ckpt")


def test_statistics_of_its_own_in_each_environment_are_told():
    """The evaluation's begin anew."""
    env = make_vec_env(Steps, 2, wrapper_class=gym.wrappers.NormalizeObservation)
    with pytest.warns(UserWarning, match="NormalizeObservation"):
        Model(env=env, eval_env=None)
    env.close()


BLOCKED = """
import sys
from pathlib import Path
asked = []
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"lightning", "pytorch_lightning"}:
            asked.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_lightning_one_line_says_what_to_install():
    result = run_python("import ppo_bbrl.lightning")
    *_, line = result.stderr.strip().splitlines()
    assert line == (
        "ModuleNotFoundError: ppo_bbrl.lightning needs Lightning: pip install 'ppo-bbrl[lightning]'"
    )
    assert "During handling" not in result.stderr


def test_the_rest_of_the_package_neither_needs_nor_imports_lightning():
    """Not even if it is there: it takes seconds to import."""
    result = run_python("""
import importlib, pkgutil
import ppo_bbrl
for module in pkgutil.iter_modules(ppo_bbrl.__path__, "ppo_bbrl."):
    if module.name not in {"ppo_bbrl.lightning", "ppo_bbrl.__main__"}:
        importlib.import_module(module.name)
assert not asked, asked
""")
    assert result.returncode == 0, result.stderr


class Odd(Steps):
    """Its step returns another reward or observation."""

    def __init__(self, reward=1.0, seen=0.0):
        super().__init__()
        self.odd = np.full(2, seen, np.float32), reward

    def step(self, action):
        return *self.odd, *super().step(action)[2:]


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"reward": 1e39}, "its rewards have numbers too large for float32"),
        ({"reward": float("nan")}, "rewards are not all numbers"),
        ({"seen": float("nan")}, "in a step: its observations are not all numbers"),
    ],
)
def test_what_is_no_number_is_told_of_the_environment(odd, told):
    """Not of logits, a rollout later; in Gymnasium's own vector environments, too."""
    env = gym.vector.SyncVectorEnv([lambda: Odd(**odd)] * 2)
    model = Model(env=env, eval_env=None, num_eval_episodes=0, buffer_length=4)
    assert told in error_of(lambda: trainer().fit(model))


@pytest.mark.parametrize("name", ["batch_size", "buffer_length"])
def test_an_argument_that_is_changed_before_training_is_checked(name):
    model = Model(env=Steps(), eval_env=None, num_eval_episodes=0)
    setattr(model, name, "8")
    assert error_of(lambda: trainer().fit(model)).startswith(f"{name} = '8': must be")


class Touch:
    """Runs code where a file is unpickled."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('canary').touch()",)


@pytest.mark.parametrize("place", ["hyper_parameters", "state_dict", "callbacks", "own"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_is_not_loaded(place, zipped):
    """Neither in torch's format nor in its old one; one line says so."""
    content = {"state_dict": {}, "hyper_parameters": {}, place: Touch()}
    torch.save(content, "it.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"it\.ckpt: it holds more than numbers and texts") as told:
        Model.load_from_checkpoint("it.ckpt")
    assert "\n" not in str(told.value)
    assert not Path("canary").exists()


def test_an_older_lightning_is_refused(monkeypatch):
    """Its checkpoints run code, whatever we do."""
    import lightning

    monkeypatch.setattr(lightning, "__version__", "2.5.5")
    for name in [one for one in sys.modules if one.startswith("ppo_bbrl.lightning")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"needs Lightning 2\.6, and this is 2\.5\.5"):
        importlib.import_module("ppo_bbrl.lightning")


def test_a_model_with_curiosity_is_refused():
    """Its rewards would be written by nobody, and never learned from."""
    model = torch.nn.Module()
    model.curiosity = Curiosity(Box(-1, 1, (3,)), [4])
    with pytest.raises(UserError, match=r"Curiosity.*algorithm\.curiosity: rnd") as error:
        check_model(model, "32")
    assert "\n" not in str(error.value)


class Failing(Steps):
    """Crashes in its third step, but for the environment that takes its place."""

    made = 0

    def __init__(self):
        super().__init__()
        Failing.made += 1
        self.crashes = Failing.made == 1
        self.steps = 0

    def step(self, action):
        self.steps += 1
        if self.crashes and self.steps == 3:
            raise ConnectionError("the simulator is gone")
        return super().step(action)


class Hanging(Steps):
    def step(self, action):
        time.sleep(60)


@pytest.mark.parametrize("vec_env_cls", [DummyVecEnv, SubprocVecEnv])
def test_an_environment_that_hangs_is_named(vec_env_cls):
    env = make_vec_env(Hanging, 2, vec_env_cls=vec_env_cls, step_timeout=0.2)
    model = Model(env=env, eval_env=None, num_eval_episodes=0, buffer_length=8)
    with pytest.raises(EnvironmentFailedError, match=r"environment 0 of 2.*step_timeout"):
        trainer().fit(model)
    env.close()


@pytest.mark.parametrize("vec_env_cls", [DummyVecEnv, SubprocVecEnv])
def test_an_evaluation_environment_that_hangs_is_named(vec_env_cls):
    env = make_vec_env(Steps, 1, vec_env_cls=vec_env_cls, step_timeout=0.2)
    model = Model(env=env, eval_env=Hanging(), num_eval_episodes=1, buffer_length=8)
    with pytest.raises(EnvironmentFailedError, match=r"step_timeout"):
        model.evaluate()
    env.close()


@pytest.mark.parametrize("on_failure", ["stop", "restart"])
def test_an_environment_that_fails_is_named_or_replaced(on_failure):
    Failing.made = 0
    env = make_vec_env(Failing, 2, on_failure=on_failure)
    model = Model(env=env, eval_env=None, num_eval_episodes=0, buffer_length=8)
    if on_failure == "stop":
        with pytest.raises(EnvironmentFailedError, match=r"environment 0 of 2.*gone"):
            trainer().fit(model)
    else:
        with pytest.warns(UserWarning, match=r"environment 0 of 2.*gone.*another one"):
            trainer().fit(model)
        assert model._run.env.n_replaced == 1
    env.close()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"step_timeout": 0}, "step_timeout = 0: must be"),
        ({"on_failure": "ignore"}, "on_failure = 'ignore': must be one of stop, restart"),
        ({"step_timeout": 1.5, "vec_env_cls": AsyncVectorEnv}, "step_timeout = 1.5: .*SubprocVec"),
        ({"on_failure": "restart", "vec_env_cls": AsyncVectorEnv}, "on_failure = restart: .*Subpr"),
    ],
)
def test_what_cannot_be_done_about_failures_is_refused_by_name(more, named):
    with pytest.raises(UserError, match=named):
        make_vec_env(Steps, 2, **more)


@pytest.mark.parametrize("how", ["a byte", "cut", "compressed"])
def test_a_damaged_checkpoint_is_refused(how):
    """Torch compares no checksums: it would load other weights without a word."""
    model = Model(env=make_vec_env(Steps, 1), eval_env=None, num_eval_episodes=0, buffer_length=8)
    fit = trainer(enable_checkpointing=True)
    fit.fit(model)
    fit.save_checkpoint("model.ckpt")
    path, content = Path("model.ckpt"), bytearray(Path("model.ckpt").read_bytes())
    if how == "compressed":
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w", 8) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        weight = model.actor.weight.detach().numpy().tobytes()
        content[content.index(weight) + 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.ckpt: it.*(damaged|compressed)"):
        Model.load_from_checkpoint(path, env=make_vec_env(Steps, 1), eval_env=None)
