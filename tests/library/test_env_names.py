"""Environments by name: modules of the user are found, those of strangers are not imported."""

import sys
from pathlib import Path

import gymnasium as gym
import pytest
from command_line import call

import ppo_bbrl
from ppo_bbrl.envs.names import find_spec, look_also_in
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.runs.best_policy import load_policy
from ppo_bbrl.runs.trained_policy import restore_policy

MODULE = """
from pathlib import Path
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

Path("imported").touch()
gym.register("Mine-v0", CartPoleEnv, max_episode_steps=7)
"""
CONFIG = """
base_dir: run
gym_env: {{env_name: "{module}:Mine-v0"}}
algorithm: {{n_envs: 2, n_steps: 8, max_epochs: 1, opt_epochs: 1, nb_evals: 1}}
"""


@pytest.fixture
def fresh(monkeypatch):
    """Whatever is imported, registered or looked into in a test is forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()  # what tests of other files have registered
    yield monkeypatch
    forget()


def forget():
    """The modules of this file's tests, and what they have registered."""
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]
    gym.registry.pop("Mine-v0", None)


@pytest.mark.wide(1)
@pytest.mark.parametrize("where", [".", "configs"])
def test_a_module_in_the_current_folder_or_beside_the_configuration(where, fresh, capsys):
    """As `python -m` would find it, where the console script has another folder on the path."""
    module = f"mine_{len(where)}"
    Path("configs").mkdir()
    Path(where, f"{module}.py").write_text(MODULE)
    Path("configs/mine.yaml").write_text(CONFIG.format(module=module))
    status, *told = call(fresh, capsys, "train", "configs/mine.yaml")
    assert status == 0, told
    Path("imported").unlink()

    # The run as a stranger would get it: in a process that has imported nothing.
    forget()
    fresh.syspath_prepend("configs")  # wherever Python would find it
    for command in (["eval", "outputs/run", "--episodes", 1], ["replay", "outputs/run"]):
        status, out, told = call(fresh, capsys, *command)
        assert (status, out) == (1, "")
        assert told.count("\n") == 1
        assert f"{module}:Mine-v0" in told
        assert "add --trust" in told
    call(fresh, capsys, "plot", "outputs/run", "--out", "curve.png")
    policy = ppo_bbrl.load("outputs/run")
    assert policy.predict([0.0] * 4) in (0, 1)
    restore_policy(load_policy("outputs/run/best"))
    for trying in (policy.make_env, lambda: policy.env_name):
        with pytest.raises(UserError, match="trust=True"):
            trying()
    assert not Path("imported").exists()
    assert module not in sys.modules

    status, *told = call(fresh, capsys, "eval", "outputs/run", "--episodes", 1, "--trust")
    assert status == 0, told
    assert Path("imported").exists()
    policy.make_env().close()  # the module is imported: nothing is left to be asked


def test_a_module_that_is_trusted_in_a_program(fresh):
    Path("mine_trusted.py").write_text(MODULE)
    Path("mine.yaml").write_text(CONFIG.format(module="mine_trusted"))
    fresh.syspath_prepend(".")
    algo = ppo_bbrl.PPOClip(ppo_bbrl.load_config("mine.yaml"))
    algo.evaluate(force=True)
    algo.save_best()
    algo.close()
    forget()
    trusted = ppo_bbrl.load(algo.folder.path, trust=True)
    assert "mine_trusted" not in sys.modules
    trusted.make_env().close()
    assert "mine_trusted" in sys.modules


@pytest.mark.usefixtures("fresh")
def test_a_file_with_the_name_of_a_librarys_module_hides_nothing():
    """Libraries import the rest of themselves, and of Python's own, when they need it."""
    Path("this.py").write_text("raise ZeroDivisionError")
    look_also_in([Path.cwd()])
    look_also_in([Path.cwd()])
    assert sys.path.count(str(Path.cwd())) == 1
    sys.modules.pop("this", None)
    import this

    assert this.__file__ != str(Path("this.py").absolute())


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("ALE/Pong-v5", "write ale_py:ALE/Pong-v5"),
        ("MiniGrid-Empty-5x5-v0", "write minigrid:MiniGrid-Empty-5x5-v0"),
        ("BabyAI-GoToObj-v0", "write minigrid:BabyAI-GoToObj-v0"),
        ("highway-fast-v0", "write highway_env:highway-fast-v0"),
        ("CartPole", "write CartPole-v0, CartPole-v1"),
        ("Mine/Own-v0", "the module that registers it before the name"),
        ("NoSuchEnv-v0", "as in ale_py:ALE/Pong-v5"),
        ("no_such_module:Env-v0", "searched the current folder, the configuration's folder"),
    ],
)
def test_a_name_that_is_not_known_says_how_it_is_written(name, remedy, monkeypatch):
    for known in [known for known in gym.registry if known.startswith(("ALE/", "MiniGrid-"))]:
        monkeypatch.delitem(gym.registry, known)  # the package is installed here
    with pytest.raises(ConfigError) as refused:
        find_spec(name)
    assert remedy in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_comes_with_another_package_is_installed_first(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for known in [known for known in gym.registry if known.startswith("ALE/")]:
        monkeypatch.delitem(gym.registry, known)
    with pytest.raises(ConfigError, match=r"ale_py:ALE/Pong-v5 \(after pip install ale-py\)$"):
        find_spec("ALE/Pong-v5")
    monkeypatch.setitem(sys.modules, "minigrid", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"install it with: pip install minigrid$"):
        find_spec("minigrid:MiniGrid-Empty-5x5-v0")


def test_a_wrong_version_needs_no_advice_on_modules():
    with pytest.raises(ConfigError) as refused:
        find_spec("CartPole-v99")
    assert "module" not in str(refused.value)


def test_a_module_that_fails_or_leaves_is_told(fresh):
    fresh.syspath_prepend(".")
    Path("mine_leaves.py").write_text("import sys; sys.exit(4)")
    with pytest.raises(ConfigError, match=r"'mine_leaves:A-v0': it called sys\.exit\(4\)"):
        find_spec("mine_leaves:A-v0")
    Path("mine_fails.py").write_text("import not_there_either")
    with pytest.raises(ConfigError, match=r"No module named 'not_there_either'$"):
        find_spec("mine_fails:A-v0")
