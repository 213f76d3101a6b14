"""`ppo-bbrl check`: what is wrong with an environment is named, and nothing of a sound one is."""

import re
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from broken_envs import BROKEN, HugeReward, InParts, NotPicklable, Sound
from command_line import call
from gymnasium.spaces import Box, MultiDiscrete

from ppo_bbrl import check_env
from ppo_bbrl.errors import UserError


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_named(kind):
    """By a fault about the right thing, and about nothing else."""
    _, topic, words = BROKEN[kind]
    seconds = 0.5 if kind == "hangs" else 30
    report = check_env("Broken-v0", env_args={"kind": kind}, steps=100, seconds=seconds)
    assert not report.ok
    assert {finding.topic for finding in report.faults} == {topic}, str(report)
    assert any(re.search(words, str(finding)) for finding in report.faults), str(report)
    assert len(str(report).splitlines()) == 1 + len(report.findings)


def test_an_environment_that_hangs_while_it_is_made_is_one_line():
    def hangs():
        time.sleep(60)

    with pytest.raises(UserError, match="cannot be made"):
        check_env(hangs, seconds=0.3)


@pytest.mark.parametrize(
    "name", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Taxi-v4", "Sound-v0", "SoundParts-v0"]
)
def test_a_sound_environment_has_no_faults(name):
    report = check_env(name, steps=300)
    assert report.ok, str(report)
    assert "300 random steps" in report.summary
    assert "steps/s" in report.summary


class OfMany(Sound):
    """Actions of several components, at the bounds too, and masks by a method."""

    action_space = MultiDiscrete([2, 3], start=[1, 5])

    def action_masks(self):
        return np.array([1, 0, 0, 1, 1], np.int8)

    def step(self, action):
        assert action.dtype == self.action_space.dtype
        assert action[0] == 1
        assert action[1] in (6, 7)
        return super().step(action)


class Bounded(Sound):
    action_space = Box(np.float32([-1, -np.inf]), np.float32([1, np.inf]))
    seen = set()  # noqa: RUF012 - of all of them

    def step(self, action):
        assert action in self.action_space
        self.seen.add(float(action[0]))
        return super().step(action)


def test_actions_are_those_of_a_policy():
    """Only what a mask allows; at the bounds, where clipped actions lie."""
    assert check_env(OfMany, steps=100).ok
    assert check_env(Bounded, steps=100).ok
    assert {-1.0, 1.0} < Bounded.seen


def test_a_class_a_function_and_an_environment_are_taken():
    for env in (Sound, lambda render_mode=None: InParts(render_mode), Sound("rgb_array")):
        assert check_env(env, steps=50).ok
    for env in (NotPicklable, NotPicklable()):
        assert [finding.topic for finding in check_env(env, steps=50).faults] == ["pickle"]


def test_a_function_that_takes_no_render_mode_is_no_fault_of_the_environment():
    report = check_env(lambda: gym.make("Sound-v0"), steps=50)
    assert report.ok
    assert [finding.topic for finding in report.findings] == ["render"]


@pytest.mark.parametrize(("name", "wrong"), [("steps", 0), ("seed", -1), ("seed", "1")])
def test_a_wrong_argument_is_no_fault_of_the_environment(name, wrong):
    with pytest.raises(UserError, match=f"{name} = {wrong!r}: must be an integer"):
        check_env(Sound, **{name: wrong})


def test_an_environment_that_needs_arguments_and_wrappers():
    report = check_env("Pendulum-v1", env_args={"g": 1.0, "max_episode_steps": 7}, steps=50)
    assert "after 7 steps" in report.summary
    wrapped = check_env(Sound, wrappers=[gym.wrappers.Autoreset], steps=50)
    assert [finding.topic for finding in wrapped.faults] == ["autoreset"]
    assert check_env(HugeReward, steps=50, scaled=(True, False)).ok


@pytest.mark.parametrize("env", [5, None, "Nothing-v0", lambda: 3, lambda: 1 / 0])
def test_what_is_no_environment_is_one_line(env):
    with pytest.raises(UserError) as raised:
        check_env(env)
    assert "\n" not in str(raised.value)


def test_the_command(monkeypatch, capsys):
    """A name, a module's, a configuration with its wrappers; the status says what was found."""
    status, out, err = call(monkeypatch, capsys, "check", "CartPole-v1", "--steps", 50)
    assert (status, err, out.count("\n")) == (0, "", 1)
    words = ("broken_envs:Broken-v0", "gym_env.env_args.kind=NaN", "--steps", 20)
    status, out, err = call(monkeypatch, capsys, "check", *words)
    assert (status, err) == (1, "")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["fault", "observation:"]]
    Path("run.yaml").write_text(
        "gym_env: {env_name: 'broken_envs:Broken-v0', env_args: {kind: huge reward}}\n"
        "algorithm: {normalize_reward: true}\n"
    )
    assert call(monkeypatch, capsys, "check", "run.yaml", "--steps", 20)[0] == 0
    unscaled = "algorithm.normalize_reward=false"
    assert call(monkeypatch, capsys, "check", "run.yaml", unscaled)[0] == 1
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    "words",
    [["Nothing-v0"], ["nowhere:Mine-v0"], ["none.yaml"], ["CartPole-v1", "gym_env.x=1"], ["."]],
)
def test_what_cannot_be_checked_is_one_line(words, monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, "check", *words)
    assert (status, out, err.count("\n")) == (1, "", 1)


ODD = """
import os, sys
import gymnasium as gym
from broken_envs import Sound

class Odd(Sound):
    def __init__(self, where="", **kwargs):
        super().__init__(**kwargs)
        self.where = where
        self.leave("make")

    def leave(self, where):
        if where == self.where:
            os._exit(7)

    def step(self, action):
        self.leave("step")
        print("a step\\nwas made")
        print("and so on", file=sys.stderr)
        os.write(1, b"in C")
        return super().step(action)

    def close(self):
        self.leave("close")

gym.register("Odd-v0", Odd, disable_env_checker=True)
"""


@pytest.mark.parametrize("where", ["make", "step", "close"])
def test_an_environment_that_ends_its_process_is_named(where, monkeypatch, capfd):
    """What was found before is told too."""
    Path("odd.py").write_text(ODD)
    words = ("odd:Odd-v0", f"gym_env.env_args.where={where}", "--steps", 20)
    status, out, err = call(monkeypatch, capfd, "check", *words)
    assert status == 1
    if where == "make":
        assert (out, err.count("\n")) == ("", 1)
        assert "exit code 7" in err
        return
    (fault,) = [line for line in out.splitlines() if line.startswith("fault")]
    assert fault.startswith("fault process: ")
    assert "exit code 7" in fault
    assert err == ""


def test_what_an_environment_prints_is_counted_and_not_shown(monkeypatch, capfd):
    Path("odd.py").write_text(ODD)
    status, out, err = call(monkeypatch, capfd, "check", "odd:Odd-v0", "--steps", 20)
    assert (status, err) == (0, "")
    assert "made" not in out
    assert "in C" not in out
    (note,) = [line for line in out.splitlines() if line.startswith("note")]
    lines = int(re.search(r"(\d+) lines", note)[1])
    assert lines % 3 == 0
    assert lines >= 60


def test_wrappers_for_training_are_checked_with_it(monkeypatch, capsys):
    """Training has them: a reward that is too large is not, once it is clipped."""
    Path("run.yaml").write_text(
        "gym_env:\n"
        "  env_name: 'broken_envs:Broken-v0'\n"
        "  env_args: {kind: huge reward}\n"
        "  training_wrappers: [{classname: ClipReward, min_reward: -1, max_reward: 1}]\n"
    )
    assert call(monkeypatch, capsys, "check", "run.yaml", "--steps", 20)[0] == 0
    none = "gym_env.training_wrappers=[]"
    assert call(monkeypatch, capsys, "check", "run.yaml", none, "--steps", 20)[0] == 1
